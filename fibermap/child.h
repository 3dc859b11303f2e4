/*
 * child.h - maps that belong to fibers of maps
 */
#ifndef FM_FIBERMAP_CHILD_H
#define FM_FIBERMAP_CHILD_H

#include "fibermap/work.h"
#include "runtime/fiber/fiber.h"

struct nest;

/*
 * Wrap the work of a fiber that may have a map of its own; then, when the fiber is made, before
 * it is started or known to anybody, give it the nest. 0 · -ENOMEM
 */
int fm__child_wrap(struct work *work, struct nest **ret_nest);
int fm__child_attach(struct fm_fiber *fiber, struct nest *nest);
/* It will not be run: what wrap made goes, or with the fiber. Any work. */
void fm__child_unwrap(struct work *work);

#endif
