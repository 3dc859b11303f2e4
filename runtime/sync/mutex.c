/*
 * mutex.c - one holder at a time, handed on first come, first served
 *
 * Owns        the list of those who wait. The holder owns the right to give the mutex up, and
 *             the list of those to whom it has promised it.
 * Knows not   conditions; they use mutex.h.
 * Invariant   word is 0 (free) or holder << 2 | QUEUED | LOCKED (word.h). QUEUED says whether
 *             anybody is listed; where it or LOCKED is set the holder cannot leave without the
 *             lock.
 * Callers     any fiber, any thread. Only lock suspends.
 *
 *                   lock: CAS (A)                another comes: locked section
 *     FREE -------------------------> HELD -------------------------------> HELD, QUEUED
 *       ^                             |  ^                                  |   |    ^
 *       '------- unlock: CAS (B) -----'  '- unlock, the last one is handed -'   |    |
 *       '-------- unlock, all who queued have left -----------------------------'    |
 *                                          unlock, one is handed it, more wait ------'
 *
 *   A acquire, B release: the next holder sees what the last one wrote. A hand-off is ordered
 *   by the wake (state.h: C release, D acquire) instead.
 *
 * The hand-off against a waiter that leaves:
 *
 *   unlock                                    a waiter who is interrupted or too late
 *     lock the word                             its wait ends by one CAS: that, or our wake
 *     take the first waiter off                 |
 *     word = that waiter, still locked          |
 *     win its wake ---- won: the holder         |
 *                 \-- lost: on with the next    lock the word (waits for us), leave the list if
 *     unlock the word                           still on it, return without the mutex
 *     let the winner go
 *
 * Whose CAS wins decides. The word names the waiter before its wake is tried: a winner that had
 * not left its stack yet goes on at once and must find itself the holder. A loser cannot come
 * back to look before the word names another, since it needs the lock. The winner may unlock,
 * even destroy the mutex, as soon as the word is unlocked: that is our last access.
 *
 * Rings: who is about to wait without a deadline for somebody who waits for it, by way of other
 * mutexes or of ends, is told -EDEADLK instead (runtime/fiber/ring.c). But for the end of a
 * condition's wait, which has to have its mutex.
 *
 * A promise: who signals a condition while it holds the mutex wins the wake of the waiter, but
 * lets it stand and notes it here. It would only run into the mutex. At unlock the first of
 * them gets mutex and processor in one step, behind those who were queued already.
 */
#include "runtime/sync/mutex.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/fiber/ring.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/word.h"

#define QUEUED UINT64_C(2)

struct fm_mutex {
    struct word word;
    struct waitlist waiters;  /* node->amount: who; node->item: not NULL if its wake is won */
    struct waitlist promised; /* the holder's alone, no lock: the same */
};

int fm_mutex_create(struct fm_mutex **ret_mutex)
{
    if (!ret_mutex)
        return -EINVAL;
    /* a line of its own: neighbours on the heap would slow the CAS */
    struct fm_mutex *mutex = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *mutex);
    if (!mutex)
        return -ENOMEM;
    fm__word_init(&mutex->word, 0);
    *ret_mutex = mutex;
    return 0;
}

struct fm_mutex *fm_mutex_destroy(struct fm_mutex *mutex)
{
    if (mutex) {
        fm__word_lock(&mutex->word); /* lets an unlock out that has handed it to us */
        FM_BUG_IF(!fm__waitlist_empty(&mutex->waiters) || !fm__waitlist_empty(&mutex->promised),
                  "a mutex is destroyed while waited for");
        fm__word_unlock(&mutex->word, 0);
        fm__ring_forget();
        free(mutex);
    }
    return NULL;
}

static uint64_t holder_of(uint64_t word)
{
    return word >> HOLDER_SHIFT;
}

static uint64_t word_of(uint64_t who)
{
    return who << HOLDER_SHIFT;
}

bool fm__mutex_held_by(struct fm_mutex *mutex, uint64_t who)
{
    /* relaxed: only the holder itself can make or unmake this true for itself */
    return holder_of(atomic_load_explicit(&mutex->word.value, memory_order_relaxed)) == who;
}

/* Free -> held by `who`. On failure *ret_word is what stood there. */
static bool take(struct fm_mutex *mutex, uint64_t who, uint64_t *ret_word)
{
    *ret_word = 0;
    /* acquire (A) */
    return atomic_compare_exchange_strong_explicit(&mutex->word.value, ret_word, word_of(who),
                                                   memory_order_acquire, memory_order_relaxed);
}

static void unlock_word(struct fm_mutex *mutex, uint64_t holder)
{
    bool queued = !fm__waitlist_empty(&mutex->waiters);
    fm__word_unlock(&mutex->word, word_of(holder) | (queued ? QUEUED : 0));
}

/* Take the mutex (true), or lock its word because somebody holds it: *ret_holder. */
static bool take_or_lock(struct fm_mutex *mutex, uint64_t who, uint64_t *ret_holder)
{
    uint64_t word;
    for (unsigned spins = 0; !take(mutex, who, &word);) {
        if (word & LOCKED) {
            fm__spin(spins++);
        } else if (atomic_compare_exchange_strong_explicit(&mutex->word.value, &word,
                                                           word | LOCKED, memory_order_acquire,
                                                           memory_order_relaxed)) {
            fm__word_locked(&mutex->word);
            *ret_holder = holder_of(word);
            return false;
        }
    }
    return true;
}

/*
 * The caller's wait has begun, and it is not to be: off the list. False: too late, the mutex
 * has been handed to it, or would have been had it not been interrupted.
 */
static bool withdraw(struct fm_mutex *mutex, struct wait_node *node)
{
    uint64_t word = fm__word_lock(&mutex->word);
    bool listed = node->listed;
    if (listed)
        fm__waitlist_remove_locked(&mutex->waiters, node);
    unlock_word(mutex, holder_of(word));
    if (listed)
        fm__wait_abort(node->wait);
    return listed;
}

static int lock_slow(struct fm_mutex *mutex, uint64_t who, int64_t deadline_ns, unsigned flags)
{
    struct wait_node node = { .amount = (int64_t)who };
    uint64_t holder;

    if (take_or_lock(mutex, who, &holder))
        return 0;
    int r = holder == who ? -EDEADLK : deadline_ns <= 0 ? -ETIMEDOUT : 0;
    if (r == 0)
        r = fm__wait_begin(&node.wait, flags, "mutex");
    if (r == 0)
        fm__waitlist_push_locked(&mutex->waiters, &node);
    unlock_word(mutex, holder);
    if (r < 0)
        return r;

    if (fm__ring_enter_lock(node.wait.who, &mutex->word.value, deadline_ns) &&
        !(flags & WAIT_MASKED) && withdraw(mutex, &node)) {
        fm__ring_leave(node.wait.who);
        return -EDEADLK;
    }
    enum wake_reason reason = fm__wait_end(node.wait, deadline_ns);
    if (reason != WAKE_VALUE) {
        uint64_t word = fm__word_lock(&mutex->word);
        if (node.listed)
            fm__waitlist_remove_locked(&mutex->waiters, &node);
        unlock_word(mutex, holder_of(word));
    }
    fm__ring_leave(node.wait.who);
    return fm__wake_result(reason);
}

static void unlock_slow(struct fm_mutex *mutex)
{
    struct wait heir = { .who = NULL };
    uint64_t holder = 0;
    enum wake won = WAKE_LOST;

    fm__word_lock(&mutex->word);
    while (!fm__waitlist_empty(&mutex->promised))
        fm__waitlist_push_locked(&mutex->waiters, fm__waitlist_shift_locked(&mutex->promised));
    while (won == WAKE_LOST && !fm__waitlist_empty(&mutex->waiters)) {
        struct wait_node *node = fm__waitlist_shift_locked(&mutex->waiters);
        bool promised = node->item != NULL;
        heir = node->wait;
        holder = (uint64_t)node->amount;
        /* relaxed: only the heir looks for itself here, and sees it by way of its wake */
        atomic_store_explicit(&mutex->word.value, word_of(holder) | LOCKED,
                              memory_order_relaxed);
        won = promised ? WAKE_QUEUE : fm__wake_win(heir, WAKE_VALUE);
    }
    unlock_word(mutex, won == WAKE_LOST ? 0 : holder);
    if (won == WAKE_QUEUE)
        fm__wake_release(heir.who);
}

/* Held -> free, or to the first who waits. False if `who` is not the holder. */
static bool give_up(struct fm_mutex *mutex, uint64_t who)
{
    uint64_t word = word_of(who), next = 0;
    struct wait_node *heir = NULL;

    if (!fm__mutex_held_by(mutex, who))
        return false;
    if (__builtin_expect(!fm__waitlist_empty(&mutex->promised), 0)) {
        heir = mutex->promised.first;
        next = word_of((uint64_t)heir->amount);
    }
    /* release (B) */
    if (!atomic_compare_exchange_strong_explicit(&mutex->word.value, &word, next,
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
    fm__ring_note_promise(node->wait.who, &mutex->word.value);
}

void fm__mutex_receive(struct fm_mutex *mutex, struct wait_node *node, uint64_t who)
{
    fm__ring_leave(node->wait.who);
    /* acquire (A) */
    uint64_t word = atomic_load_explicit(&mutex->word.value, memory_order_acquire);
    FM_BUG_IF(holder_of(word) != who, "a promised mutex was not handed over");
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
    uint64_t who = fm__holder_self();
    return take(mutex, who, &word) ? 0 : lock_slow(mutex, who, deadline_ns, 0);
}

int fm_mutex_trylock(struct fm_mutex *mutex)
{
    uint64_t word;

    if (!mutex)
        return -EINVAL;
    uint64_t who = fm__holder_self();
    if (take(mutex, who, &word))
        return 0;
    return holder_of(word) == who ? -EDEADLK : -EBUSY;
}

int fm_mutex_unlock(struct fm_mutex *mutex)
{
    if (!mutex)
        return -EINVAL;
    return give_up(mutex, fm__holder_self()) ? 0 : -EPERM;
}
