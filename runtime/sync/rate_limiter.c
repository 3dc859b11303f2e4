/*
 * rate_limiter.c - permits that time brings back, first come, first served
 *
 * Owns        the account of permits, and the list of those who wait.
 * Knows not   what is started.
 * Invariant   whoever is first on the list has a timer for the time at which its permits are
 *             there, or is on its way to the lock to see to that; all others sleep without.
 *             Permits are taken by nobody but who is first, or comes while the list is empty.
 * Callers     any fiber, any thread. Only acquire suspends.
 *
 *   acquire                                   who leaves the list: served, late or interrupted
 *     lock                                      lock
 *     nobody waits and it fits: take, done      off the list
 *     join the list                             the first now: end its wait   (W)
 *     first: sleep until the permits are        unlock
 *            there; else: just sleep
 *     lock; first and it fits: take, leave
 *     else sleep again
 *
 * A waiter stays listed while it sleeps and begins a new wait each time, always under the lock.
 * So W needs not win: if it loses, the first is awake for another reason, and it looks at its
 * place under the lock before it does anything else. Nothing is granted by others, so who is
 * interrupted has taken nothing.
 *
 * The bucket counts in parts of a permit so small that one nanosecond brings `limit` of them
 * and a permit is `interval_ns` of them: no rounding, however long it runs.
 *
 * A clock that stands still or steps back brings no permits and takes none away.
 */
#include <errno.h>
#include <stdlib.h>

#include "fm/sync.h"
#include "runtime/fiber/runtime.h"
#include "runtime/fiber/waitlist.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"

__extension__ typedef unsigned __int128 parts;

struct fm_rate_limiter {
    struct lock lock; /* LOCK_SYNC: all below */
    bool windows;
    int64_t limit, interval_ns;
    struct fm_runtime *runtime; /* whose virtual clock it follows; NULL: the real clock */
    struct waitlist waiters;
    union {
        struct { /* bucket */
            parts full, filled;
            int64_t filled_ns; /* when filled was right */
        };
        struct {                     /* windows */
            int64_t begin_ns, taken; /* taken 0: no window has begun */
        };
    };
};

/* The virtual clock that the caller lives by; NULL: the real one. */
static struct fm_runtime *clock_of_caller(void)
{
    struct fm_fiber *self = fm__fiber_self();
    return self && self->runtime->virtual_clock ? self->runtime : NULL;
}

static int64_t now_of(const struct fm_rate_limiter *limiter)
{
    return limiter->runtime ? fm__runtime_now_ns(limiter->runtime) : fm__clock_ns();
}

int fm_rate_limiter_create(const struct fm_rate_limiter_config *given,
                           struct fm_rate_limiter **ret_limiter)
{
    struct fm_rate_limiter_config config = FM_RATE_LIMITER_CONFIG_INIT;

    if (!given || !ret_limiter)
        return -EINVAL;
    int r = fm__config_read(&config, sizeof config, given);
    if (r < 0)
        return r;
    if (config.limit < 1 || config.interval_ns < 1 || config.algorithm > FM_RATE_FIXED_WINDOW)
        return -EINVAL;
    struct fm_rate_limiter *limiter = fm__zalloc_aligned(_Alignof(struct fm_rate_limiter),
                                                         sizeof *limiter);
    if (!limiter)
        return -ENOMEM;
    fm__lock_init(&limiter->lock, LOCK_SYNC);
    limiter->windows = config.algorithm == FM_RATE_FIXED_WINDOW;
    limiter->limit = config.limit;
    limiter->interval_ns = config.interval_ns;
    limiter->runtime = clock_of_caller();
    if (config.runtime)
        limiter->runtime = config.runtime->virtual_clock ? config.runtime : NULL;
    if (!limiter->windows) {
        limiter->full = limiter->filled = (parts)config.limit * (parts)config.interval_ns;
        limiter->filled_ns = now_of(limiter);
    }
    *ret_limiter = limiter;
    return 0;
}

struct fm_rate_limiter *fm_rate_limiter_destroy(struct fm_rate_limiter *limiter)
{
    if (limiter) {
        fm__lock(&limiter->lock); /* lets one out that has just left the list */
        FM_BUG_IF(!fm__waitlist_empty(&limiter->waiters),
                  "a rate limiter is destroyed while waited for");
        fm__unlock(&limiter->lock);
        free(limiter);
    }
    return NULL;
}

/* ---- the account ---- */

static parts parts_of(const struct fm_rate_limiter *limiter, int64_t permits)
{
    FM_ASSERT(permits >= 0);
    return (parts)permits * (parts)limiter->interval_ns;
}

/* Bring the account up to date. */
static void settle_locked(struct fm_rate_limiter *limiter, int64_t now_ns)
{
    FM_ASSERT(fm__lock_held(&limiter->lock));
    if (limiter->windows) {
        if (limiter->taken && now_ns >= fm__time_add(limiter->begin_ns, limiter->interval_ns))
            limiter->taken = 0;
    } else if (now_ns > limiter->filled_ns) {
        uint64_t elapsed_ns = (uint64_t)now_ns - (uint64_t)limiter->filled_ns;
        parts more = (parts)elapsed_ns * (parts)limiter->limit;
        parts room = limiter->full - limiter->filled;
        limiter->filled += more < room ? more : room;
        limiter->filled_ns = now_ns;
    }
}

/* Of a settled account. */
static int64_t free_locked(const struct fm_rate_limiter *limiter)
{
    FM_ASSERT(fm__lock_held(&limiter->lock));
    FM_ASSERT(limiter->windows ? limiter->taken <= limiter->limit
                               : limiter->filled <= limiter->full);
    return limiter->windows ? limiter->limit - limiter->taken
                            : (int64_t)(limiter->filled / (parts)limiter->interval_ns);
}

static bool take_locked(struct fm_rate_limiter *limiter, int64_t cost)
{
    FM_ASSERT(fm__lock_held(&limiter->lock) && cost > 0);
    int64_t now_ns = now_of(limiter);
    settle_locked(limiter, now_ns);
    if (free_locked(limiter) < cost)
        return false;
    if (!limiter->windows) {
        limiter->filled -= parts_of(limiter, cost);
    } else {
        if (limiter->taken == 0)
            limiter->begin_ns = now_ns;
        limiter->taken += cost;
    }
    return true;
}

/* When so many permits will be there, which are not now. */
static int64_t ready_ns_locked(const struct fm_rate_limiter *limiter, int64_t cost)
{
    FM_ASSERT(fm__lock_held(&limiter->lock));
    FM_ASSERT(cost > 0);
    if (limiter->windows)
        return fm__time_add(limiter->begin_ns, limiter->interval_ns);
    parts missing = parts_of(limiter, cost) - limiter->filled;
    parts limit = (parts)limiter->limit;
    return fm__time_add(limiter->filled_ns, (int64_t)((missing + limit - 1) / limit));
}

/* ---- the queue ---- */

/* The caller is listed. 0, permits taken · -ECANCELED · -ETIMEDOUT · -ENOMEM; still locked. */
static int wait_locked(struct fm_rate_limiter *limiter, struct wait_node *node, int64_t cost,
                       int64_t deadline_ns)
{
    FM_ASSERT(fm__lock_held(&limiter->lock) && node->listed);
    FM_ASSERT(cost > 0);
    for (;;) {
        bool first = limiter->waiters.first == node;
        int64_t ready_ns = first ? ready_ns_locked(limiter, cost) : FM_NEVER;
        int r = fm__wait_begin(&node->wait, 0, "rate limiter");
        if (r < 0)
            return r;
        fm__unlock(&limiter->lock);
        enum wake_reason reason = fm__wait_end_at(node->wait, deadline_ns, limiter->runtime,
                                                  ready_ns);
        fm__lock(&limiter->lock);
        if (reason == WAKE_INTERRUPT)
            return -ECANCELED;
        if (limiter->waiters.first == node && take_locked(limiter, cost))
            return 0;
        if (deadline_ns != FM_NEVER && fm_now_ns() >= deadline_ns)
            return -ETIMEDOUT;
    }
}

int fm_rate_limiter_acquire(struct fm_rate_limiter *limiter, int64_t cost, int64_t deadline_ns)
{
    struct wait_node node = { .amount = cost };

    if (!limiter || cost < 0 || cost > limiter->limit)
        return -EINVAL;
    if (deadline_ns > 0) {
        fm__budget_spend();
        if (fm__fiber_self() && limiter->runtime != clock_of_caller())
            return -EINVAL;
    }
    if (cost == 0)
        return 0;

    fm__lock(&limiter->lock);
    bool taken = fm__waitlist_empty(&limiter->waiters) && take_locked(limiter, cost);
    if (taken || deadline_ns <= 0) {
        fm__unlock(&limiter->lock);
        return taken ? 0 : -ETIMEDOUT;
    }
    fm__waitlist_push_locked(&limiter->waiters, &node);
    int r = wait_locked(limiter, &node, cost, deadline_ns);
    bool was_first = limiter->waiters.first == &node;
    fm__waitlist_remove_locked(&limiter->waiters, &node);
    struct wait_node *first = limiter->waiters.first;
    struct fm_fiber *owed = NULL;
    if (was_first && first && fm__wake_win(first->wait, WAKE_VALUE) == WAKE_QUEUE) /* (W) */
        owed = first->wait.who;
    fm__unlock(&limiter->lock);
    if (owed)
        fm__wake_release(owed);
    return r;
}

int fm_rate_limiter_try_acquire(struct fm_rate_limiter *limiter, int64_t cost)
{
    int r = fm_rate_limiter_acquire(limiter, cost, 0);
    return r == -ETIMEDOUT ? -EAGAIN : r;
}

int64_t fm_rate_limiter_free(struct fm_rate_limiter *limiter)
{
    if (!limiter)
        return -EINVAL;
    fm__lock(&limiter->lock);
    settle_locked(limiter, now_of(limiter));
    int64_t permits = free_locked(limiter);
    fm__unlock(&limiter->lock);
    return permits;
}
