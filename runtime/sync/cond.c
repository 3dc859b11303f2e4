/*
 * cond.c - give up a mutex, wait for a signal, take the mutex again
 *
 * Owns        the list of those who wait for a signal.
 * Knows not   which mutex goes with it: each wait brings its own.
 * Invariant   waiting is the length of the list; it changes with the list, under the lock.
 * Callers     any fiber, any thread. Only wait suspends.
 *
 *   wait                                      signal
 *     begin the wait                            (holding the mutex, or having held it since the
 *     lock; join the list; unlock                state changed that the waiter looks at)
 *     give up the mutex     (B) <--- pairs (A)
 *     suspend                                   if (waiting == 0) nobody is there
 *     .                                         lock
 *     .                                         take the first off; wake it ---- won: done
 *     left early: lock; leave the list; unlock                               \-- lost: the next
 *     take the mutex again, masked              unlock
 *
 * Nothing is lost between giving up the mutex and suspending: the waiter is on the list before B, and
 * whoever takes the mutex after B (A) reads waiting above 0. A signal is spent only on a wait that it ended:
 * a waiter whose deadline or interruption came first makes the wake fail, and the signal goes to
 * the next. It is woken under the lock, so the loser, who needs the lock to leave, cannot go (and
 * have the condition destroyed) under our feet.
 *
 * Who signals while it holds the waiter's mutex wins the wake but does not let the waiter run, which would only
 * run into the mutex: the mutex takes the waiter over (mutex.c, promise) and hands itself on at unlock.
 *
 * A broadcast wakes those who were listed when it began, by their tickets: who waits again at once is not
 * woken twice. It spends nothing, so it wakes outside the lock whom it does not promise the mutex.
 */
#include <errno.h>
#include <stdlib.h>

#include "runtime/fiber/waitlist.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/mutex.h"

enum { WAKE_BATCH = 32 };

struct cond_waiter {
    struct wait_node node; /* first; amount: ticket, item: not NULL if promised the mutex */
    struct fm_mutex *mutex;
    uint64_t who;
};

struct fm_cond {
    struct lock lock;         /* LOCK_SYNC: all that follows */
    _Atomic uint32_t waiting; /* also read without the lock */
    struct waitlist waiters;  /* of struct cond_waiter */
    int64_t next_ticket;
};

int fm_cond_create(struct fm_cond **ret_cond)
{
    if (!ret_cond)
        return -EINVAL;
    struct fm_cond *cond = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *cond);
    if (!cond)
        return -ENOMEM;
    fm__lock_init(&cond->lock, LOCK_SYNC);
    *ret_cond = cond;
    return 0;
}

struct fm_cond *fm_cond_destroy(struct fm_cond *cond)
{
    if (cond) {
        fm__lock(&cond->lock);
        FM_BUG_IF(!fm__waitlist_empty(&cond->waiters),
                  "a condition is destroyed while waited on");
        fm__unlock(&cond->lock);
        free(cond);
    }
    return NULL;
}

static uint32_t waiting(struct fm_cond *cond)
{
    /* relaxed: a waiter that must be seen joined before it gave up the mutex, and the caller has held that since */
    return atomic_load_explicit(&cond->waiting, memory_order_relaxed);
}

static void count_locked(struct fm_cond *cond, int by)
{
    /* relaxed: written under the lock alone, hence no read-modify-write */
    atomic_store_explicit(&cond->waiting, waiting(cond) + (uint32_t)by, memory_order_relaxed);
}

static void join_locked(struct fm_cond *cond, struct wait_node *node)
{
    node->amount = cond->next_ticket++;
    fm__waitlist_push_locked(&cond->waiters, node);
    count_locked(cond, 1);
}

static void leave_locked(struct fm_cond *cond, struct wait_node *node)
{
    fm__waitlist_remove_locked(&cond->waiters, node);
    count_locked(cond, -1);
}

int fm_cond_wait(struct fm_cond *cond, struct fm_mutex *mutex, int64_t deadline_ns)
{
    if (!cond || !mutex)
        return -EINVAL;
    struct cond_waiter self = { .mutex = mutex, .who = fm__mutex_self() };
    if (!fm__mutex_held_by(mutex, self.who))
        return -EPERM;
    if (deadline_ns <= 0)
        return -ETIMEDOUT;
    int r = fm__wait_begin(&self.node.wait, 0, "condition");
    if (r < 0)
        return r;

    fm__lock(&cond->lock);
    join_locked(cond, &self.node);
    fm__unlock(&cond->lock);
    fm__mutex_release(mutex, self.who);

    enum wake_reason reason = fm__wait_end(self.node.wait, deadline_ns);
    if (reason != WAKE_VALUE) {
        fm__lock(&cond->lock);
        if (self.node.listed)
            leave_locked(cond, &self.node);
        fm__unlock(&cond->lock);
    }
    if (reason == WAKE_VALUE && self.node.item)
        fm__mutex_receive(mutex, self.who);
    else
        fm__mutex_retake(mutex, self.who);
    return fm__wake_result(reason);
}

/*
 * Wake a waiter just taken off; `me` is the caller. Its mutex is there: the waiter has to take it yet. If `later` is given, a
 * waiter whose mutex the caller does not hold is left to the caller: WAKE_QUEUE.
 */
static enum wake wake_locked(struct cond_waiter *waiter, uint64_t me, bool later)
{
    struct wait wait = waiter->node.wait;

    if (!fm__mutex_held_by(waiter->mutex, me)) {
        if (later)
            return WAKE_QUEUE;
        return fm__wake(wait, WAKE_VALUE) ? WAKE_NOTED : WAKE_LOST;
    }
    enum wake won = fm__wake_win(wait, WAKE_VALUE);
    if (won == WAKE_QUEUE) {
        fm__mutex_promise(waiter->mutex, &waiter->node, waiter->who);
        return WAKE_NOTED;
    }
    return won;
}

int fm_cond_signal(struct fm_cond *cond)
{
    bool woke = false;

    if (!cond)
        return -EINVAL;
    if (waiting(cond) == 0)
        return 0;
    uint64_t me = fm__mutex_self();
    fm__lock(&cond->lock);
    while (!woke && !fm__waitlist_empty(&cond->waiters)) {
        struct wait_node *node = cond->waiters.first;
        leave_locked(cond, node);
        woke = wake_locked((struct cond_waiter *)node, me, false) != WAKE_LOST;
    }
    fm__unlock(&cond->lock);
    return woke;
}

int fm_cond_broadcast(struct fm_cond *cond)
{
    int woken = 0;

    if (!cond)
        return -EINVAL;
    if (waiting(cond) == 0)
        return 0;
    uint64_t me = fm__mutex_self();
    fm__lock(&cond->lock);
    int64_t end = cond->next_ticket;
    for (bool more = true; more;) {
        struct wait batch[WAKE_BATCH];
        int count = 0;
        struct wait_node *node;
        for (int i = 0; i < WAKE_BATCH && (node = cond->waiters.first) && node->amount < end;
             i++) {
            struct wait wait = node->wait;
            leave_locked(cond, node);
            enum wake wake = wake_locked((struct cond_waiter *)node, me, true);
            if (wake == WAKE_QUEUE)
                batch[count++] = wait;
            else
                woken += wake != WAKE_LOST;
        }
        node = cond->waiters.first;
        more = node && node->amount < end;
        fm__unlock(&cond->lock);
        for (int i = 0; i < count; i++)
            woken += fm__wake(batch[i], WAKE_VALUE);
        if (more) /* somebody still waits, so the condition is still there */
            fm__lock(&cond->lock);
    }
    return woken;
}
