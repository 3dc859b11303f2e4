/*
 * mutex.c - one holder at a time; who comes may pass those who wait, the first of them once
 *
 * Owns        the list of those who wait. The holder owns the right to give the mutex up, and
 *             the list of those who are to go on when it does.
 * Knows not   conditions; they use mutex.h.
 * Invariant   word is 0 (free) or holder << 2 | QUEUED | LOCKED (word.h). QUEUED says that who
 *             gives it up has somebody to wake: somebody is listed, and nobody is `woken`, that
 *             is on the way to look at the word. So whoever is listed waits for a holder, or
 *             for one who will look. Where QUEUED or LOCKED is set the holder cannot leave
 *             without the lock.
 * Callers     any fiber, any thread. Only lock suspends.
 *
 *                  lock: CAS (A)                another comes: locked section
 *     FREE ------------------------> HELD -------------------------------> HELD, QUEUED
 *     ^  ^                             |                                     |       |
 *     |  '------ unlock: CAS (B) ------'   unlock, the first was passed:     |       |
 *     |                                    HELD by him, QUEUED if more wait <'       |
 *     '---- unlock, the first is woken to try, or all who queued have left ----------'
 *
 *   A acquire, B release: the next holder sees what the last one wrote. A hand-over is ordered
 *   by the wake (state.h: C release, D acquire) instead.
 *
 * Why it is not always handed over: the heir has to be scheduled first, and nobody has any use
 * of the mutex meanwhile. Who comes then waits, too, and is handed it in turn: from there on
 * each lock costs a wake and two switches, be it held for an instant only. So the first of
 * those who wait is woken to try, and the mutex is free:
 *
 *   holder                    the first who waits              another who comes
 *     unlock: free, wake him    .                                .
 *     .                         (runnable)                       lock: CAS (A), passes him
 *     .                         lock the word, woken = no        .
 *     .                         held: to the front of the list   .
 *     .                         .                                unlock: QUEUED
 *     .                         .                                  word = the first, wake him
 *     .                         goes on as the holder            .
 *
 * Who was passed is handed the mutex by the next unlock: those in front of a waiter look once
 * each and are handed it once each, and so is he. While one is woken nobody else is: he looks
 * in any case, interrupted and too late as he may be, and who holds the mutex then wakes the
 * next.
 *
 * The wake against a waiter that leaves:
 *
 *   unlock                                    a waiter who is interrupted or too late
 *     lock the word                             its wait ends by one CAS: that, or our wake
 *     take the first waiter off                 |
 *     word = free or that waiter, locked        |
 *     win its wake ---- won: out                |
 *                 \-- lost: on with the next    lock the word (waits for us), leave the list if
 *     unlock the word                           still on it, return without the mutex
 *     let the winner go
 *
 * Whose CAS wins decides. The word names the heir before its wake is tried: a winner that had
 * not left its stack yet goes on at once and must find itself the holder. A loser cannot come
 * back to look before the word names another, since it needs the lock. The winner may unlock,
 * even destroy the mutex, as soon as the word is unlocked: that is our last access.
 *
 * Rings: who is about to wait without a deadline for somebody who waits for it, by way of other
 * mutexes or of ends, is told -EDEADLK instead (runtime/fiber/ring.c). But for the end of a
 * condition's wait, which has to have its mutex; so its note stands until it has, also while it
 * has been woken and is passed: who passes it is told.
 *
 * A promise: who signals a condition while it holds the mutex wins the wake of the waiter, but
 * lets it stand and notes it here. It would only run into the mutex. It goes on when the mutex
 * has been given up, and takes it like anybody who comes. But where the one who signalled waits
 * itself now, and nobody else is queued, its one waiter is the holder: nobody is passed or kept
 * waiting by that, and two that give each other the turn do with one CAS a turn.
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
    struct waitlist waiters;  /* under word's lock; of struct locker */
    bool woken;               /* the same: one taken off has yet to look at the word */
    struct waitlist promised; /* the holder's alone, no lock: waits on conditions, won */
};

/* One who waits for the mutex. */
struct locker {
    struct wait_node node; /* first; amount: who */
    bool passed;           /* was woken once, and found it taken again */
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
        FM_BUG_IF(!fm__waitlist_empty(&mutex->waiters) || mutex->woken ||
                      !fm__waitlist_empty(&mutex->promised),
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
    FM_ASSERT(who && ret_word);
    *ret_word = 0;
    /* acquire (A) */
    return atomic_compare_exchange_strong_explicit(&mutex->word.value, ret_word, word_of(who),
                                                   memory_order_acquire, memory_order_relaxed);
}

static void unlock_word(struct fm_mutex *mutex, uint64_t holder)
{
    FM_ASSERT(fm__lock_held(&mutex->word.rank));
    bool queued = !mutex->woken && !fm__waitlist_empty(&mutex->waiters);
    fm__word_unlock(&mutex->word, word_of(holder) | (queued ? QUEUED : 0));
}

/* Take the mutex (true), or lock its word because somebody holds it: *ret_holder. */
static bool take_or_lock(struct fm_mutex *mutex, uint64_t who, uint64_t *ret_holder)
{
    FM_ASSERT(who);
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

/* The same for one who was woken for it. */
static bool take_woken(struct fm_mutex *mutex, uint64_t who, uint64_t *ret_holder)
{
    FM_ASSERT(who);
    *ret_holder = holder_of(fm__word_lock(&mutex->word));
    mutex->woken = false;
    if (*ret_holder)
        return false;
    unlock_word(mutex, who);
    return true;
}

/* Off the list, where the node still is on it: nobody has chosen it, or will. */
static bool leave_list(struct fm_mutex *mutex, struct wait_node *node)
{
    FM_ASSERT(node);
    uint64_t word = fm__word_lock(&mutex->word);
    bool listed = node->listed;
    if (listed)
        fm__waitlist_remove_locked(&mutex->waiters, node);
    unlock_word(mutex, holder_of(word));
    return listed;
}

/* The word is locked, and `holder` is another. Returns without the lock. */
static int wait_listed(struct fm_mutex *mutex, struct locker *self, uint64_t holder,
                       int64_t deadline_ns, unsigned flags)
{
    FM_ASSERT(fm__lock_held(&mutex->word.rank) && !self->node.listed);
    struct wait_node *node = &self->node;
    bool masked = flags & WAIT_MASKED; /* noted for all of it, and not to be told of a ring */
    int r = fm__wait_begin(&node->wait, flags, "mutex");
    if (r == 0 && self->passed)
        fm__waitlist_unshift_locked(&mutex->waiters, node);
    else if (r == 0)
        fm__waitlist_push_locked(&mutex->waiters, node);
    unlock_word(mutex, holder);
    if (r < 0)
        return r;

    if (!masked && fm__ring_enter_lock(node->wait.who, &mutex->word.value, deadline_ns) &&
        leave_list(mutex, node)) {
        fm__wait_abort(node->wait);
        r = -EDEADLK;
    } else {
        enum wake_reason reason = fm__wait_end(node->wait, deadline_ns);
        if (reason != WAKE_VALUE)
            leave_list(mutex, node);
        r = fm__wake_result(reason);
    }
    if (!masked)
        fm__ring_leave(node->wait.who);
    return r;
}

static int lock_slow(struct fm_mutex *mutex, uint64_t who, int64_t deadline_ns, unsigned flags)
{
    FM_ASSERT(who);
    struct locker self = { .node.amount = (int64_t)who };
    uint64_t holder;
    int r;

    if (take_or_lock(mutex, who, &holder))
        return 0;
    if (holder == who || deadline_ns <= 0) {
        unlock_word(mutex, holder);
        return holder == who ? -EDEADLK : -ETIMEDOUT;
    }
    r = wait_listed(mutex, &self, holder, deadline_ns, flags);
    if (r < 0 || take_woken(mutex, who, &holder))
        return r;
    self.passed = true;
    return wait_listed(mutex, &self, holder, deadline_ns, flags);
}

/* Let the next one go on: as the holder, if it has been passed, or to try. */
static void unlock_slow(struct fm_mutex *mutex)
{
    struct wait heir = { .who = NULL };
    uint64_t holder = 0;
    enum wake won = WAKE_LOST;

    fm__word_lock(&mutex->word);
    while (won == WAKE_LOST && !mutex->woken && !fm__waitlist_empty(&mutex->waiters)) {
        struct wait_node *node = fm__waitlist_shift_locked(&mutex->waiters);
        bool passed = ((struct locker *)node)->passed;
        heir = node->wait;
        holder = passed ? (uint64_t)node->amount : 0;
        /* relaxed: only the heir looks for itself here, and sees it by way of its wake */
        atomic_store_explicit(&mutex->word.value, word_of(holder) | LOCKED,
                              memory_order_relaxed);
        won = fm__wake_win(heir, WAKE_VALUE);
        mutex->woken = won != WAKE_LOST && !passed;
    }
    unlock_word(mutex, won == WAKE_LOST ? 0 : holder);
    if (won == WAKE_QUEUE)
        fm__wake_release(heir.who);
}

/* Held -> free, where nobody is to be woken. */
static bool let_go(struct fm_mutex *mutex, uint64_t who)
{
    FM_ASSERT(who);
    uint64_t word = word_of(who);
    /* release (B) */
    return atomic_compare_exchange_strong_explicit(&mutex->word.value, &word, 0,
                                                   memory_order_release, memory_order_relaxed);
}

static __attribute__((noinline)) bool give_up_slow(struct fm_mutex *mutex, uint64_t who)
{
    FM_ASSERT(who);
    if (!fm__mutex_held_by(mutex, who))
        return false;
    /* off the mutex while it is ours; they stand still until they are released */
    struct waitlist promised = mutex->promised;
    mutex->promised = (struct waitlist) { .first = NULL };
    if (!let_go(mutex, who))
        unlock_slow(mutex);
    fm__waitlist_release(&promised);
    return true;
}

/* Held -> free, or to the first who waits. False if `who` is not the holder. */
static bool give_up(struct fm_mutex *mutex, uint64_t who)
{
    if (__builtin_expect(fm__mutex_held_by(mutex, who) &&
                             fm__waitlist_empty(&mutex->promised) && let_go(mutex, who),
                         1))
        return true;
    return give_up_slow(mutex, who);
}

void fm__mutex_promise(struct fm_mutex *mutex, struct wait_node *node, uint64_t who)
{
    FM_ASSERT(who && node);
    node->amount = (int64_t)who;
    node->item = mutex;
    fm__waitlist_push_locked(&mutex->promised, node);
    fm__ring_note_promise(node->wait.who, &mutex->word.value);
}

/* Held by `who` -> held by the only one that it is promised to, if nobody is queued. */
static bool pass_on(struct fm_mutex *mutex, uint64_t who)
{
    FM_ASSERT(who);
    uint64_t word = word_of(who);
    struct wait_node *heir = mutex->promised.first;
    if (!heir || heir->next)
        return false;
    /* before: from then on the list is the heir's */
    fm__waitlist_remove_locked(&mutex->promised, heir);
    /* release (B) */
    if (atomic_compare_exchange_strong_explicit(&mutex->word.value, &word,
                                                word_of((uint64_t)heir->amount),
                                                memory_order_release, memory_order_relaxed)) {
        fm__wake_release(heir->wait.who);
        return true;
    }
    fm__waitlist_push_locked(&mutex->promised, heir);
    return false;
}

void fm__mutex_release(struct fm_mutex *mutex, uint64_t who)
{
    FM_ASSERT(who);
    bool held = pass_on(mutex, who) || give_up(mutex, who);
    FM_ASSERT(held);
    (void)held;
}

void fm__mutex_retake(struct fm_mutex *mutex, struct wait_node *node, uint64_t who)
{
    FM_ASSERT(who && node);
    uint64_t word;
    bool noted = node->item;
    /* acquire (A): it has been passed on to us */
    bool ours = node->item && holder_of(atomic_load_explicit(&mutex->word.value,
                                                             memory_order_acquire)) == who;
    if (!ours && !take(mutex, who, &word)) {
        /* also while it has been woken to try: who passes it then may wait for it next */
        fm__ring_note_promise(node->wait.who, &mutex->word.value);
        noted = true;
        int r = lock_slow(mutex, who, FM_NEVER, WAIT_MASKED);
        FM_BUG_IF(r < 0, "a masked wait for a mutex ended with %d", r);
    }
    if (noted)
        fm__ring_leave(node->wait.who); /* not before: till now it had to have the mutex */
}

int fm_mutex_lock(struct fm_mutex *mutex, int64_t deadline_ns)
{
    uint64_t word;

    if (!mutex)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend(); /* before: a fiber that yields here holds nothing yet */
    uint64_t who = fm__mutex_caller();
    return take(mutex, who, &word) ? 0 : lock_slow(mutex, who, deadline_ns, 0);
}

int fm_mutex_trylock(struct fm_mutex *mutex)
{
    uint64_t word;

    if (!mutex)
        return -EINVAL;
    uint64_t who = fm__mutex_caller();
    for (unsigned spins = 0; !take(mutex, who, &word); fm__spin(spins++))
        if (holder_of(word))
            return holder_of(word) == who ? -EDEADLK : -EBUSY;
    return 0; /* while it was free somebody may have had the word locked, to look at it */
}

int fm_mutex_unlock(struct fm_mutex *mutex)
{
    if (!mutex)
        return -EINVAL;
    return give_up(mutex, fm__mutex_caller()) ? 0 : -EPERM;
}
