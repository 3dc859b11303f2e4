/*
 * cond.c - give up a mutex, wait for a signal, take the mutex again
 *
 * Owns        the list of those who wait for a signal.
 * Knows not   which mutex goes with it: each wait brings its own.
 * Invariant   word is length of the list << 1 | LOCKED (word.h).
 * Callers     any fiber, any thread. Only wait suspends.
 *
 *   wait                                      signal
 *     begin the wait                            (holding the mutex, or having held it since the
 *     lock; join the list; unlock                state changed that the waiter looks at)
 *     give up the mutex     (B) <--- pairs (A)
 *     suspend                                   if (the length is 0) nobody is there
 *     .                                         lock
 *     .                                         take the first off, win its wake -- won: done
 *     if left early: lock; leave; unlock                                        \- lost: next
 *     take the mutex again, masked              unlock; let the winner go
 *
 * Nothing is lost between giving up the mutex and suspending: the waiter is on the list before
 * B, and whoever takes the mutex after B (A) reads a length above 0. A signal is spent only on
 * a wait that it ended: a waiter whose deadline or interruption came first makes the wake fail,
 * and the signal goes to the next. Wakes are won under the lock, so the loser, who needs the
 * lock to leave, cannot go (and have the condition destroyed) under our feet.
 *
 * Who signals while it holds the waiter's mutex wins the wake but does not let the waiter run,
 * which would only run into the mutex: it is let go when that is given up (mutex.c, promise).
 *
 * A broadcast wakes those who were listed when it began, by their tickets: who waits again at
 * once is not woken twice.
 */
#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/word.h"

enum { WAKE_BATCH = 32 };

struct cond_waiter {
    struct wait_node node; /* first; amount: ticket, item: not NULL if promised the mutex */
    struct fm_mutex *mutex;
    uint64_t who;
};

#define WAITING_ONE UINT64_C(2)

struct fm_cond {
    struct word word;
    struct waitlist waiters; /* under word's lock; of struct cond_waiter */
    int64_t next_ticket;     /* the same */
};

int fm_cond_create(struct fm_cond **ret_cond)
{
    if (!ret_cond)
        return -EINVAL;
    struct fm_cond *cond = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *cond);
    if (!cond)
        return -ENOMEM;
    fm__word_init(&cond->word, 0);
    *ret_cond = cond;
    return 0;
}

struct fm_cond *fm_cond_destroy(struct fm_cond *cond)
{
    if (cond) {
        uint64_t word = fm__word_lock(&cond->word); /* lets a signaller out that has woken us */
        FM_BUG_IF(word, "a condition is destroyed while waited on");
        fm__word_unlock(&cond->word, word);
        free(cond);
    }
    return NULL;
}

static bool nobody_waits(struct fm_cond *cond)
{
    /*
     * relaxed: a waiter that must be seen joined before it gave up the mutex, which the caller
     * has held since
     */
    return atomic_load_explicit(&cond->word.value, memory_order_relaxed) == 0;
}

int fm_cond_wait(struct fm_cond *cond, struct fm_mutex *mutex, int64_t deadline_ns)
{
    if (!cond || !mutex)
        return -EINVAL;
    struct cond_waiter self = { .mutex = mutex, .who = fm__mutex_caller() };
    if (!fm__mutex_held_by(mutex, self.who))
        return -EPERM;
    if (deadline_ns <= 0)
        return -ETIMEDOUT;
    int r = fm__wait_begin(&self.node.wait, 0, "condition");
    if (r < 0)
        return r;

    uint64_t word = fm__word_lock(&cond->word);
    self.node.amount = cond->next_ticket++;
    fm__waitlist_push_locked(&cond->waiters, &self.node);
    fm__word_unlock(&cond->word, word + WAITING_ONE);
    fm__mutex_release(mutex, self.who);

    enum wake_reason reason = fm__wait_end(self.node.wait, deadline_ns);
    if (reason != WAKE_VALUE) {
        word = fm__word_lock(&cond->word);
        if (self.node.listed) {
            fm__waitlist_remove_locked(&cond->waiters, &self.node);
            word -= WAITING_ONE;
        }
        fm__word_unlock(&cond->word, word);
    }
    fm__mutex_retake(mutex, &self.node, self.who);
    return fm__wake_result(reason);
}

/* What to do for a waiter that was taken off. */
enum verdict {
    GONE,  /* its wait had ended otherwise */
    WOKEN, /* nothing more: it goes on by itself, or with its mutex */
    OWED,  /* its wake is won, it stands still until it is released */
};

/*
 * Win the wake of a waiter just taken off; where the caller, `me`, holds its mutex, promise
 * that.
 */
static enum verdict win_locked(struct cond_waiter *waiter, uint64_t me)
{
    FM_ASSERT(waiter->mutex && me);
    /*
     * its mutex is there: the waiter has to take it yet; read before the wake, after which it
     * may go
     */
    bool promise = fm__mutex_held_by(waiter->mutex, me);
    enum wake won = fm__wake_win(waiter->node.wait, WAKE_VALUE);

    if (won == WAKE_QUEUE && !promise)
        return OWED;
    if (won == WAKE_QUEUE)
        fm__mutex_promise(waiter->mutex, &waiter->node, waiter->who);
    return won == WAKE_LOST ? GONE : WOKEN;
}

int fm_cond_signal(struct fm_cond *cond)
{
    enum verdict verdict = GONE;
    struct fm_fiber *owed = NULL;

    if (!cond)
        return -EINVAL;
    if (nobody_waits(cond))
        return 0;
    uint64_t me = fm__mutex_caller();
    uint64_t word = fm__word_lock(&cond->word);
    while (verdict == GONE && word) {
        struct wait_node *node = fm__waitlist_shift_locked(&cond->waiters);
        word -= WAITING_ONE;
        owed = node->wait.who;
        verdict = win_locked((struct cond_waiter *)node, me);
    }
    fm__word_unlock(&cond->word, word);
    if (verdict == OWED)
        fm__wake_release(owed);
    return verdict != GONE;
}

int fm_cond_broadcast(struct fm_cond *cond)
{
    int woken = 0;

    if (!cond)
        return -EINVAL;
    if (nobody_waits(cond))
        return 0;
    uint64_t me = fm__mutex_caller();
    uint64_t word = fm__word_lock(&cond->word);
    int64_t end = cond->next_ticket;
    for (bool more = true; more;) {
        struct waitlist owed = { .first = NULL };
        struct wait_node *node;
        for (int i = 0; i < WAKE_BATCH && (node = cond->waiters.first) && node->amount < end;
             i++) {
            fm__waitlist_remove_locked(&cond->waiters, node);
            word -= WAITING_ONE;
            enum verdict verdict = win_locked((struct cond_waiter *)node, me);
            if (verdict == OWED)
                fm__waitlist_push_locked(&owed, node);
            woken += verdict != GONE;
        }
        node = cond->waiters.first;
        more = node && node->amount < end;
        fm__word_unlock(&cond->word, word);
        fm__waitlist_release(&owed);
        if (more) /* somebody still waits, so the condition is still there */
            word = fm__word_lock(&cond->word);
    }
    return woken;
}
