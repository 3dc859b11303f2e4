/*
 * readiness.c - waiting for a descriptor, and what its events do
 *
 * Waiting must not miss an event:
 *
 *   a call                                        the poller
 *     seen = tick                     (A)
 *     system call: EAGAIN                           (readiness comes: an edge)
 *     lock                                          lock
 *     registered? else epoll_ctl adds it            tick + 1                (C)
 *     tick is no longer seen: try again  (B)        take the first waiter
 *     join the waiters                              unlock, wake him
 *     unlock, sleep
 *
 * Readiness that comes after the system call makes an edge that comes after A. If the poller
 * had the lock first, B sees C; else it finds the waiter. A descriptor that was not registered
 * is added under the lock, and epoll reports what is there at that moment.
 *
 * Invariant   A waiter's node is off every list when fm__use_wait returns; a waker never
 *             touches a node once the lock is free.
 */
#include "runtime/io/readiness.h"

#include <errno.h>

#include "runtime/fiber/runtime.h"

#define FAR_OFF_NS INT64_C(1000000000)

void fm__use_drained(struct use *use, enum direction direction, uint32_t seen)
{
    /*
     * relaxed: a hint about the socket; it guards no memory. Unregistered, no event would take
     * it back.
     */
    if (!(seen & TICK_DRAINED) &&
        atomic_load_explicit(&use->record->pollers, memory_order_relaxed) != 0)
        atomic_compare_exchange_strong_explicit(&use->record->ticks[direction], &seen,
                                                seen | TICK_DRAINED, memory_order_relaxed,
                                                memory_order_relaxed);
}

bool fm__use_short_is_drained(const struct use *use)
{
    /*
     * relaxed: an event that came before the attempt is seen by way of its tick; one that came
     * later moves the tick
     */
    return use->kind == KIND_TCP &&
           !(atomic_load_explicit(&use->record->state, memory_order_relaxed) & STATE_EXACT);
}

bool fm__use_expired(const struct use *use, int64_t deadline_ns)
{
    FM_ASSERT(use->fiber == fm__fiber_self());
    struct fm_runtime *runtime = use->fiber->runtime;

    if (deadline_ns <= 0)
        return true;
    /*
     * Most deadlines are far off: the worker's last look at the clock tells. Should a fiber
     * have kept it from looking for so long, the timer that is armed in vain fires at once.
     */
    if (deadline_ns - fm__runtime_coarse_ns(runtime) > FAR_OFF_NS)
        return false;
    return deadline_ns <= fm__runtime_now_ns(runtime);
}

/* ---- waiting ---- */

/*
 * Register it with the poller of the fiber's runtime, if it is not. The caller holds the lock.
 * 0 · 1 cannot be polled · -errno
 */
static int register_locked(struct use *use)
{
    FM_ASSERT(fm__lock_held(&use->record->lock));
    struct fd_record *d = use->record;
    struct poller *poller = use->fiber->runtime->poller;
    uint64_t bit = UINT64_C(1) << poller->slot;
    /* relaxed: written under the lock alone */
    uint64_t mask = atomic_load_explicit(&d->pollers, memory_order_relaxed);

    if (mask & bit)
        return 0;
    int r = fm__epoll_add(poller, use->fd,
                          (uint64_t)use->generation << STATE_GENERATION_SHIFT |
                              (uint32_t)use->fd);
    if (r == -EPERM) {
        atomic_fetch_or_explicit(&d->state, KIND_FILE, memory_order_relaxed);
        use->kind = KIND_FILE;
        return 1;
    }
    if (r < 0)
        return r;
    atomic_store_explicit(&d->pollers, mask | bit, memory_order_relaxed);
    return 0;
}

static bool ticked(const struct use *use, unsigned events, const uint32_t seen[2])
{
    for (unsigned i = 0; i < 2; i++)
        if ((events & 1u << i) &&
            (fm__use_tick(use, (enum direction)i) | TICK_DRAINED) != (seen[i] | TICK_DRAINED))
            return true;
    return false;
}

int fm__use_wait(struct use *use, unsigned events, const uint32_t seen[2], int64_t deadline_ns,
                 const char *what)
{
    FM_ASSERT(events && !(events & ~(FM_IO_READ | FM_IO_WRITE)));
    FM_ASSERT(use->fiber == fm__fiber_self());
    struct fd_record *d = use->record;
    struct wait_node nodes[2] = { { .listed = false }, { .listed = false } };
    struct wait wait;
    int r;

    if (!use->on_time && fm__use_expired(use, deadline_ns)) {
        r = -ETIMEDOUT;
        goto end;
    }
    use->on_time = false;
    r = fm__wait_begin(&wait, 0, what);
    if (r < 0)
        goto end;

    fm__lock(&d->lock);
    /* relaxed: `closing` is set under this lock */
    if (atomic_load_explicit(&d->state, memory_order_relaxed) & STATE_CLOSING)
        r = -EBADF;
    else
        r = register_locked(use);
    if (r != 0 || ticked(use, events, seen)) {
        fm__unlock(&d->lock);
        fm__wait_abort(wait);
        if (r < 0)
            goto end;
        return 0;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (events & 1u << i) {
            nodes[i].wait = wait;
            fm__waitlist_push_locked(&d->waiters[i], &nodes[i]);
        }
    }
    fm__unlock(&d->lock);
    fm__use_end(use);

    enum wake_reason reason = fm__wait_end(wait, deadline_ns);

    /* Whoever ended a wait for one direction has taken its node. */
    if (reason == WAKE_TIMEOUT || reason == WAKE_INTERRUPT ||
        events == (FM_IO_READ | FM_IO_WRITE)) {
        fm__lock(&d->lock);
        for (unsigned i = 0; i < 2; i++)
            if (nodes[i].listed)
                fm__waitlist_remove_locked(&d->waiters[i], &nodes[i]);
        fm__unlock(&d->lock);
    }
    if (reason != WAKE_VALUE)
        return fm__wake_result(reason);
    use->more = (nodes[0].amount ? FM_IO_READ : 0) | (nodes[1].amount ? FM_IO_WRITE : 0);
    return fm__use_resume(use) ? 0 : -EBADF;

end:
    fm__use_end(use);
    return r;
}

/*
 * Take the first waiter: true with a copy of his wait. He is told whether there are more. The
 * caller holds the lock.
 */
static bool take_locked(struct fd_record *d, enum direction direction, struct wait *ret_wait)
{
    FM_ASSERT(fm__lock_held(&d->lock));
    struct wait_node *node = d->waiters[direction].first;
    if (!node)
        return false;
    *ret_wait = node->wait;
    fm__waitlist_remove_locked(&d->waiters[direction], node);
    node->amount = !fm__waitlist_empty(&d->waiters[direction]);
    return true;
}

/* Wake the first waiter of that generation that still waits. Returns how many woke: 0 or 1. */
static unsigned wake_one(struct fd_record *d, uint32_t generation, enum direction direction)
{
    FM_ASSERT(direction <= DIRECTION_WRITE);
    struct wait wait;

    for (;;) {
        fm__lock(&d->lock);
        bool taken = fm__fd_generation(atomic_load_explicit(&d->state, memory_order_relaxed)) ==
                         generation &&
                     take_locked(d, direction, &wait);
        fm__unlock(&d->lock);
        if (!taken)
            return 0;
        if (fm__wake(wait, WAKE_VALUE))
            return 1;
    }
}

void fm__use_pass_on(struct use *use)
{
    for (unsigned i = 0; i < 2; i++)
        if (use->more & 1u << i)
            wake_one(use->record, use->generation, (enum direction)i);
    use->more = 0;
}

unsigned fm__fd_event(uint64_t tag, uint32_t events)
{
    struct fd_record *d = fm__fd_find((int)(uint32_t)tag);
    uint32_t generation = fm__fd_generation(tag);
    const uint32_t end = EPOLLHUP | EPOLLERR;
    bool hit[2] = { (events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | end)) != 0,
                    (events & (EPOLLOUT | end)) != 0 };
    bool taken[2] = { false, false };
    struct wait waits[2];
    unsigned woken = 0;

    fm__lock(&d->lock);
    uint64_t state = atomic_load_explicit(&d->state, memory_order_relaxed);
    if (fm__fd_generation(state) != generation || (state & (STATE_CLOSING | STATE_FINISHING))) {
        fm__unlock(&d->lock);
        return 0;
    }
    /* relaxed: shown by the tick that follows */
    if ((events & (EPOLLRDHUP | EPOLLPRI | end)) && !(state & STATE_EXACT))
        atomic_fetch_or_explicit(&d->state, STATE_EXACT, memory_order_relaxed);
    for (unsigned i = 0; i < 2; i++) {
        if (hit[i]) {
            fm__fd_tick_locked(d, (enum direction)i);
            taken[i] = take_locked(d, (enum direction)i, &waits[i]);
        }
    }
    fm__unlock(&d->lock);

    for (unsigned i = 0; i < 2; i++)
        if (taken[i])
            woken += fm__wake(waits[i], WAKE_VALUE)
                         ? 1
                         : wake_one(d, generation, (enum direction)i);
    return woken;
}
