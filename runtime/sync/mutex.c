/*
 * mutex.c - one holder at a time, handed on first come, first served
 *
 * Owns        the list of those who wait. The holder owns the right to give the mutex up, and the list of
 *             those to whom it has promised it.
 * Knows not   conditions; they use mutex.h.
 * Invariant   word is 0 (free) or holder << 1 | QUEUED. While somebody is listed, QUEUED is set, so the
 *             holder cannot leave without the lock. A free word means an empty list.
 * Callers     any fiber, any thread. Only lock suspends.
 *
 *                       lock: CAS (A)                       another comes: CAS, under the lock
 *        FREE  ------------------------------> HELD  ------------------------------> HELD, QUEUED
 *          ^                                   |  ^                                   |   |   ^
 *          '---------- unlock: CAS (B) --------'  '-- unlock, the last one is handed -'   |   |
 *          '----------- unlock, all who queued have left --------------------------------'   |
 *                                                   unlock, one is handed it, more wait -----'
 *
 *   A acquire, B release: the next holder sees what the last one wrote. A hand-off is ordered by the
 *   wake (state.h: C release, D acquire) instead.
 *
 * The hand-off against a waiter that leaves:
 *
 *   unlock                                    a waiter whose deadline passes, or who is interrupted
 *     lock                                      its wait ends by one CAS: that, or our wake
 *     take the first waiter off, copy it        |
 *     word = that waiter                        |
 *     wake it ---- won: it is the holder        |
 *              \-- lost: go on with the next    lock (waits for us), leave the list if still on it
 *     unlock                                    return without the mutex
 *
 * A promise: who signals a condition while it holds the mutex wins the wake of the waiter, but lets it stand and
 * notes it here. It would only run into the mutex. At unlock the first of them gets mutex and
 * processor in one step, behind those who were queued already.
 *
 * Whose CAS wins decides. The word names a waiter who lost for a moment only, and he cannot come back to look:
 * he needs the lock first, which is held until the word names another. The winner may unlock, even
 * destroy the mutex, while we still hold the lock: destroy takes the lock once to let us out.
 */
#include "runtime/sync/mutex.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/fiber/waitlist.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

#define QUEUED UINT64_C(1)
#define HOLDER_SHIFT 1
#define THREAD_TOKEN (UINT64_C(1) << 60) /* ids of fibers are below */

struct fm_mutex {
    _Atomic uint64_t word;
    struct lock
        lock; /* LOCK_SYNC: the list, and every change of word where QUEUED is set or set anew */
    struct waitlist waiters;  /* node->amount: who; node->item: not NULL if its wake is won */
    struct waitlist promised; /* the holder's alone, no lock: the same */
};

uint64_t fm__mutex_self(void)
{
    static _Atomic uint64_t threads;
    static __thread uint64_t token; /* read in threads only, and these do not migrate */

    uint64_t id = fm__self_id();
    if (id)
        return id;
    if (!token) /* relaxed: the numbers differ, nothing else is asked of them */
        token = THREAD_TOKEN + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);
    return token;
}

int fm_mutex_create(struct fm_mutex **ret_mutex)
{
    if (!ret_mutex)
        return -EINVAL;
    /* a line of its own: neighbours on the heap would slow the CAS */
    struct fm_mutex *mutex = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *mutex);
    if (!mutex)
        return -ENOMEM;
    fm__lock_init(&mutex->lock, LOCK_SYNC);
    *ret_mutex = mutex;
    return 0;
}

struct fm_mutex *fm_mutex_destroy(struct fm_mutex *mutex)
{
    if (mutex) {
        fm__lock(&mutex->lock);
        FM_BUG_IF(!fm__waitlist_empty(&mutex->waiters),
                  "a mutex is destroyed while waited for");
        fm__unlock(&mutex->lock);
        free(mutex);
    }
    return NULL;
}

bool fm__mutex_held_by(struct fm_mutex *mutex, uint64_t who)
{
    /* relaxed: only the holder itself can make or unmake this true for itself */
    return atomic_load_explicit(&mutex->word, memory_order_relaxed) >> HOLDER_SHIFT == who;
}

/* Free -> held by `who`. On failure *ret_word is what stood there. */
static bool take(struct fm_mutex *mutex, uint64_t who, uint64_t *ret_word)
{
    *ret_word = 0;
    /* acquire (A) */
    return atomic_compare_exchange_strong_explicit(&mutex->word, ret_word, who << HOLDER_SHIFT,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Make sure that the holder must come by the lock; false if the mutex has become free. */
static bool mark_queued_locked(struct fm_mutex *mutex, uint64_t word)
{
    while (word && !(word & QUEUED)) {
        /* relaxed: a note for the holder, who reads the list under the lock */
        if (atomic_compare_exchange_weak_explicit(&mutex->word, &word, word | QUEUED,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return word != 0;
}

static int lock_slow(struct fm_mutex *mutex, uint64_t who, int64_t deadline_ns, unsigned flags)
{
    uint64_t word;

    fm__lock(&mutex->lock);
    do {
        if (take(mutex, who, &word)) {
            fm__unlock(&mutex->lock);
            return 0;
        }
        int r = word >> HOLDER_SHIFT == who ? -EDEADLK : deadline_ns <= 0 ? -ETIMEDOUT : 0;
        if (r < 0) {
            fm__unlock(&mutex->lock);
            return r;
        }
    } while (!mark_queued_locked(mutex, word));

    struct wait_node node = { .amount = (int64_t)who };
    return fm__waitlist_wait(&mutex->waiters, &mutex->lock, &node, deadline_ns, flags, "mutex");
}

/* The first of the list; the list must not be empty. */
static struct wait_node *shift(struct waitlist *list)
{
    struct wait_node *node = list->first;
    fm__waitlist_remove_locked(list, node);
    return node;
}

static void unlock_slow(struct fm_mutex *mutex)
{
    bool handed = false;

    fm__lock(&mutex->lock);
    while (!fm__waitlist_empty(&mutex->promised))
        fm__waitlist_push_locked(&mutex->waiters, shift(&mutex->promised));
    while (!handed && !fm__waitlist_empty(&mutex->waiters)) {
        struct wait_node *node = shift(&mutex->waiters);
        struct wait wait = node->wait;
        bool won = node->item != NULL;
        uint64_t next = (uint64_t)node->amount << HOLDER_SHIFT;
        if (!fm__waitlist_empty(&mutex->waiters))
            next |= QUEUED;
        /* release (B): a later CAS by who finds it free again reads through this word */
        atomic_store_explicit(&mutex->word, next, memory_order_release);
        if (won)
            fm__wake_release(wait.who);
        handed = won || fm__wake(wait, WAKE_VALUE);
    }
    if (!handed) /* release (B) */
        atomic_store_explicit(&mutex->word, 0, memory_order_release);
    fm__unlock(&mutex->lock);
}

/* Held -> free, or to the first who waits. False if `who` is not the holder. */
static bool give_up(struct fm_mutex *mutex, uint64_t who)
{
    uint64_t word = who << HOLDER_SHIFT, next = 0;
    struct wait_node *heir = NULL;

    if (!fm__mutex_held_by(mutex, who))
        return false;
    if (__builtin_expect(!fm__waitlist_empty(&mutex->promised), 0)) {
        heir = mutex->promised.first;
        next = (uint64_t)heir->amount << HOLDER_SHIFT;
    }
    /* release (B) */
    if (!atomic_compare_exchange_strong_explicit(&mutex->word, &word, next,
                                                 memory_order_release, memory_order_relaxed)) {
        unlock_slow(mutex);
    } else if (heir) {
        /* it stands still, so the list of promises is still ours */
        fm__waitlist_remove_locked(&mutex->promised, heir);
        fm__wake_release(heir->wait.who);
    }
    return true;
}

void fm__mutex_promise(struct fm_mutex *mutex, struct wait_node *node, uint64_t who)
{
    node->amount = (int64_t)who;
    node->item = mutex;
    fm__waitlist_push_locked(&mutex->promised, node);
}

void fm__mutex_receive(struct fm_mutex *mutex, uint64_t who)
{
    /* acquire (A) */
    uint64_t word = atomic_load_explicit(&mutex->word, memory_order_acquire);
    FM_BUG_IF(word >> HOLDER_SHIFT != who, "a promised mutex was not handed over");
}

void fm__mutex_release(struct fm_mutex *mutex, uint64_t who)
{
    bool held = give_up(mutex, who);
    FM_ASSERT(held);
    (void)held;
}

void fm__mutex_retake(struct fm_mutex *mutex, uint64_t who)
{
    uint64_t word;
    if (take(mutex, who, &word))
        return;
    int r = lock_slow(mutex, who, FM_NEVER, WAIT_MASKED);
    FM_BUG_IF(r < 0, "a masked wait for a mutex ended with %d", r);
}

int fm_mutex_lock(struct fm_mutex *mutex, int64_t deadline_ns)
{
    uint64_t word;

    if (!mutex)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend(); /* before: a fiber that yields here holds nothing yet */
    uint64_t who = fm__mutex_self();
    return take(mutex, who, &word) ? 0 : lock_slow(mutex, who, deadline_ns, 0);
}

int fm_mutex_trylock(struct fm_mutex *mutex)
{
    uint64_t word;

    if (!mutex)
        return -EINVAL;
    uint64_t who = fm__mutex_self();
    if (take(mutex, who, &word))
        return 0;
    return word >> HOLDER_SHIFT == who ? -EDEADLK : -EBUSY;
}

int fm_mutex_unlock(struct fm_mutex *mutex)
{
    if (!mutex)
        return -EINVAL;
    return give_up(mutex, fm__mutex_self()) ? 0 : -EPERM;
}
