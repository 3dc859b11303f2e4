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
 * A broadcast wakes those who were listed when it began, by their tickets: who waits again at once is not
 * woken twice. It spends nothing, so it wakes outside the lock.
 */
#include <errno.h>
#include <stdlib.h>

#include "runtime/fiber/waitlist.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/mutex.h"

enum { WAKE_BATCH = 32 };

struct fm_cond {
    struct lock lock;         /* LOCK_SYNC: all that follows */
    _Atomic uint32_t waiting; /* also read without the lock */
    struct waitlist waiters;  /* node->amount: ticket */
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
    struct wait_node node;

    if (!cond || !mutex)
        return -EINVAL;
    uint64_t who = fm__mutex_self();
    if (!fm__mutex_held_by(mutex, who))
        return -EPERM;
    if (deadline_ns <= 0)
        return -ETIMEDOUT;
    int r = fm__wait_begin(&node.wait, 0, "condition");
    if (r < 0)
        return r;

    fm__lock(&cond->lock);
    join_locked(cond, &node);
    fm__unlock(&cond->lock);
    fm__mutex_release(mutex, who);

    enum wake_reason reason = fm__wait_end(node.wait, deadline_ns);
    if (reason != WAKE_VALUE) {
        fm__lock(&cond->lock);
        if (node.listed)
            leave_locked(cond, &node);
        fm__unlock(&cond->lock);
    }
    fm__mutex_retake(mutex, who);
    return fm__wake_result(reason);
}

int fm_cond_signal(struct fm_cond *cond)
{
    bool woke = false;

    if (!cond)
        return -EINVAL;
    if (waiting(cond) == 0)
        return 0;
    fm__lock(&cond->lock);
    while (!woke && !fm__waitlist_empty(&cond->waiters)) {
        struct wait_node *node = cond->waiters.first;
        struct wait wait = node->wait;
        leave_locked(cond, node);
        woke = fm__wake(wait, WAKE_VALUE);
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
    fm__lock(&cond->lock);
    int64_t end = cond->next_ticket;
    for (bool more = true; more;) {
        struct wait batch[WAKE_BATCH];
        int count = 0;
        struct wait_node *node;
        while (count < WAKE_BATCH && (node = cond->waiters.first) && node->amount < end) {
            batch[count++] = node->wait;
            leave_locked(cond, node);
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
