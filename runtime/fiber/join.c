/*
 * join.c - waiting for ends: join, stop, observe, readiness
 */
#include <errno.h>

#include "runtime/fiber/ring.h"
#include "runtime/fiber/run.h"
#include "runtime/fiber/runtime.h"
#include "runtime/platform/check.h"
#include "runtime/platform/spin.h"

static int join_until(struct fm_fiber *fiber, int64_t deadline_ns, unsigned flags)
{
    FM_ASSERT(fiber);
    struct fm_fiber *self = fm__fiber_self();
    struct exit_node node = { .kind = EXIT_JOINER };
    struct wait wait;
    int r;

    if (deadline_ns > 0)
        fm__budget_spend_by(self);
    if (fm__fiber_ended(fiber))
        return 0;
    if (fiber == self)
        return -EDEADLK;
    if (deadline_ns <= 0)
        return -ETIMEDOUT;
    r = fm__wait_begin(&wait, flags, "join");
    if (r < 0)
        return r;
    node.who = wait.who;
    node.epoch = wait.epoch;
    if (fm__ring_enter_join(wait.who, fiber, deadline_ns)) {
        fm__wait_abort(wait);
        r = -EDEADLK;
    } else if (!fm__exit_list_add(&fiber->exits, &node)) {
        fm__wait_abort(wait);
        r = 0;
    } else {
        r = fm__wake_result(fm__wait_end(wait, deadline_ns));
        /* The exit took the node off before it woke us; otherwise it is ours to take. */
        if (r != 0)
            fm__exit_list_remove(&fiber->exits, &node);
    }
    if (r == 0)
        /* sealed means public, which the owners' being told may still hold up for an instant */
        FM_BUG_IF(!fm__fiber_ended(fiber), "a join returned before the end");
    fm__ring_leave(wait.who);
    return r;
}

int fm_fiber_join(struct fm_fiber *fiber, int64_t deadline_ns, struct fm_exit *ret_exit)
{
    if (!fiber)
        return -EINVAL;
    int r = join_until(fiber, deadline_ns, 0);
    if (r == 0 && ret_exit)
        *ret_exit = fiber->exit;
    return r;
}

int fm_fiber_poll(struct fm_fiber *fiber, struct fm_exit *ret_exit)
{
    if (!fiber)
        return -EINVAL;
    if (!fm__fiber_ended(fiber))
        return -EAGAIN;
    if (ret_exit)
        *ret_exit = fiber->exit;
    return 0;
}

int fm_fiber_interrupt(struct fm_fiber *fiber)
{
    return fiber ? fm__fiber_interrupt(fiber, FM_BY_USER) : -EINVAL;
}

int fm_fiber_stop(struct fm_fiber *fiber, int64_t deadline_ns, struct fm_exit *ret_exit)
{
    if (!fiber)
        return -EINVAL;
    fm__fiber_interrupt(fiber, FM_BY_USER);
    return fm_fiber_join(fiber, deadline_ns, ret_exit);
}

int fm_fiber_stop_many(struct fm_fiber *const fibers[], size_t count, int64_t deadline_ns)
{
    int result = 0;

    if (count && !fibers)
        return -EINVAL;
    for (size_t i = 0; i < count; i++)
        if (!fibers[i])
            return -EINVAL;
    for (size_t i = 0; i < count; i++)
        fm__fiber_interrupt(fibers[i], FM_BY_USER);
    for (size_t i = 0; i < count; i++) {
        int r = fm_fiber_join(fibers[i], deadline_ns, NULL);
        if (r < 0 && result == 0)
            result = r;
        if (r == -ECANCELED)
            break;
    }
    return result;
}

int fm_fiber_finalizer_exit(struct fm_fiber *fiber, struct fm_exit *ret_exit)
{
    if (!fiber)
        return -EINVAL;
    if (!fm__fiber_ended(fiber))
        return -EAGAIN;
    struct fiber_extra *extra = atomic_load_explicit(&fiber->extra, memory_order_acquire);
    if (!extra || !extra->finalizer_failed)
        return -ENOENT;
    if (ret_exit)
        *ret_exit = extra->finalizer_exit;
    return 0;
}

/* ---- observers ---- */

int fm_fiber_observe(struct fm_fiber *fiber, struct fm_observer *observer)
{
    if (!fiber || !observer || !observer->fn)
        return -EINVAL;
    struct exit_node *node = (struct exit_node *)observer;
    node->kind = EXIT_OBSERVER;
    if (fm__exit_list_add(&fiber->exits, node))
        return 0;
    node->listed = 0;
    FM_BUG_IF(!fm__fiber_ended(fiber), "an exit list is sealed before the end");
    observer->fn(fiber, fiber->exit, observer->arg);
    return FM_ALREADY_DONE;
}

int fm_fiber_unobserve(struct fm_fiber *fiber, struct fm_observer *observer)
{
    if (!fiber || !observer)
        return -EINVAL;
    struct exit_node *node = (struct exit_node *)observer;
    if (fm__exit_list_remove(&fiber->exits, node))
        return 0;
    /*
     * It has been called or is being called: wait for its return, unless it is we who are in
     * it.
     */
    if (fm__fiber_self() != fiber) {
        /* acquire, with fired: what the observer did */
        for (unsigned spins = 0;
             atomic_load_explicit(&fiber->exits.firing, memory_order_acquire) == node; spins++)
            fm__spin(spins);
    }
    return FM_ALREADY_DONE;
}

/* ---- readiness ---- */

/*
 *   fm_ready                               fm_fiber_await_ready
 *     set READY in the word   (A)            make the extra                 (C)
 *     read the extra          (B)            on its list, then read the word (D)
 *     wake who is on its list                ready or done: leave, else wait
 * All four are seq_cst: either B sees the extra, and the lock orders the rest, or D sees READY.
 * The end of a fiber takes the place of A with DONE.
 */
int fm_ready(void)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self)
        return -EPERM;
    atomic_fetch_or_explicit(&self->state, STATE_READY, memory_order_seq_cst);
    struct fiber_extra *extra = atomic_load_explicit(&self->extra, memory_order_seq_cst);
    if (extra)
        fm__waitlist_wake_all(fm__ready_waiters(extra), &extra->lock, WAKE_VALUE);
    return 0;
}

static int readiness(struct fm_fiber *fiber)
{
    uint64_t word = atomic_load_explicit(&fiber->state, memory_order_seq_cst);
    if (word & STATE_READY)
        return 0;
    return fm__state_life(word) == LIFE_DONE ? -ESRCH : -EAGAIN;
}

int fm_fiber_await_ready(struct fm_fiber *fiber, int64_t deadline_ns)
{
    if (!fiber)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend();
    int r = readiness(fiber);
    if (r != -EAGAIN)
        return r;
    if (fiber == fm__fiber_self())
        return -EDEADLK;
    struct fiber_extra *extra = fm__fiber_extra(fiber);
    if (!extra)
        return -ENOMEM;
    struct wait_node node = { 0 };
    fm__lock(&extra->lock);
    r = readiness(fiber);
    if (r != -EAGAIN) {
        fm__unlock(&extra->lock);
        return r;
    }
    r = fm__waitlist_wait(fm__ready_waiters(extra), &extra->lock, &node, deadline_ns, 0,
                          "await_ready");
    return r == 0 || r == -EBADF ? readiness(fiber) : r;
}
