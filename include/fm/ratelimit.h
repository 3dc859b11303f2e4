/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/ratelimit.h - so many starts in an interval
 *
 * A limiter hands out permits that are never given back: time brings new ones. It limits how
 * often something starts, not how much of it runs at once (that is a semaphore). Limiters nest:
 * acquire from each in turn.
 */
#ifndef FM_RATELIMIT_H
#define FM_RATELIMIT_H

#include "fm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_rate_limiter;
struct fm_runtime;

enum fm_rate_algorithm {
    /*
     * `limit` permits at the start, and one comes back each interval_ns / limit, up to `limit`:
     * never more than limit + elapsed * limit / interval_ns starts in any stretch of time.
     */
    FM_RATE_TOKEN_BUCKET = 0,
    /*
     * At most `limit` permits in a window of interval_ns. A window begins when the first permit
     * is taken after the last window's end; at its end all permits are back.
     */
    FM_RATE_FIXED_WINDOW = 1,
};

struct fm_rate_limiter_config {
    uint32_t size;       /* set by FM_RATE_LIMITER_CONFIG_INIT */
    uint32_t algorithm;  /* enum fm_rate_algorithm */
    int64_t limit;       /* permits, at least 1 */
    int64_t interval_ns; /* at least 1 */
    /*
     * Whose clock it follows; NULL: that of the runtime of the fiber that creates it, and in a
     * thread CLOCK_MONOTONIC, which is that of every runtime without a virtual clock. A limiter
     * on a virtual clock must be destroyed before its runtime.
     */
    struct fm_runtime *runtime;
};
#define FM_RATE_LIMITER_CONFIG_INIT \
    { \
        .size = sizeof(struct fm_rate_limiter_config) \
    }

/* 0 · -ENOMEM · -EINVAL · -E2BIG */
FM_API int fm_rate_limiter_create(const struct fm_rate_limiter_config *config,
                                  struct fm_rate_limiter **ret_limiter);
/* Nobody may be waiting. NULL-safe, returns NULL. */
FM_API struct fm_rate_limiter *fm_rate_limiter_destroy(struct fm_rate_limiter *limiter);

/*
 * fm_rate_limiter_acquire - wait for the turn to start something that costs so many permits
 *
 * First come, first served: a small cost does not overtake a large one. Who leaves early has
 * consumed nothing, and those behind move up.
 *
 * cost         0 to limit; 0 is always there.
 * deadline_ns  on the caller's own clock.
 *
 * Returns      0 · -ECANCELED · -ETIMEDOUT · -ENOMEM (a thread's first wait)
 *              -EINVAL  cost below 0 or above the limit; or a fiber would have to wait for
 *                       another clock than its runtime's
 *
 * Callers      any fiber, any thread. Suspends until the permits are there. A virtual clock
 *              does not stand still for a thread that it has woken, as it does for fibers.
 * Cost         one short lock; a wait is one timer for the first of the queue, none for others.
 */
FM_API int fm_rate_limiter_acquire(struct fm_rate_limiter *limiter, int64_t cost,
                                   int64_t deadline_ns);
/* 0 · -EAGAIN not now, or others wait in front · -EINVAL as above. Never suspends. */
FM_API int fm_rate_limiter_try_acquire(struct fm_rate_limiter *limiter, int64_t cost);
/* How many permits are there now; a number for the eye. -EINVAL for NULL. */
FM_API int64_t fm_rate_limiter_free(struct fm_rate_limiter *limiter);

#ifdef __cplusplus
}
#endif
#endif
