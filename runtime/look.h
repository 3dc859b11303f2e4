/*
 * look.h - what fibers are doing, for those who tell it
 */
#ifndef FM_RUNTIME_LOOK_H
#define FM_RUNTIME_LOOK_H

#include "runtime/fiber/fiber.h"

/* The worker that is running it, -1 if none is. */
int fm__fiber_runs_on(struct fm_runtime *runtime, const struct fm_fiber *fiber);
/* For how long it has been in its wait. */
uint32_t fm__fiber_waited_ms(const struct fm_fiber *fiber);

/*
 * Each fiber that is live when its turn comes, referenced during the call. A result other than
 * 0 ends the walk and is returned.
 */
typedef int fiber_each_fn(void *ctx, struct fm_fiber *fiber);
int fm__fiber_each(struct fm_runtime *runtime, fiber_each_fn *fn, void *ctx);

#endif
