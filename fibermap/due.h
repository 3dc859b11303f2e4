/*
 * due.h - idlers by when they are due
 *
 * A heap that lies in the idlers themselves: nothing is allocated. The caller has a lock.
 */
#ifndef FM_FIBERMAP_DUE_H
#define FM_FIBERMAP_DUE_H

#include "fibermap/idle.h"

/* One that is in no heap goes into that of `root`. The root is the earliest. */
void fm__due_put(struct idler **root, struct idler *idler, int64_t due_ns);
/* Out of it, wherever it stands; nothing if it is in none. */
void fm__due_take(struct idler **root, struct idler *idler);

#endif
