/*
 * semaphore.c - counted permits, first come, first served
 *
 * Owns        the permits that are free, and the list of those who wait for some.
 * Knows not   who holds permits: anybody may release.
 * Invariant   word is free << 2 | QUEUED | LOCKED. Where both flags are clear the list is empty
 *             and anybody may move free by a CAS; else only the holder of LOCKED writes it
 *             (word.h). At the end of each locked section QUEUED says whether anybody waits,
 *             and the first waiter wants more than is free.
 *             free + permits taken and not released = total + what was released without taking
 * Callers     any fiber, any thread. Only acquire and with suspend.
 *
 *   acquire, release                          any locked section
 *     CAS free, no flag in either               lock              (A)
 *       (acquire A, release B)                  count; win the wakes of those who are served
 *                                               unlock: store     (B)
 *                                               let those go whose wakes were won
 *
 * B to A: what a releaser did before happens before the acquirer goes on, also by way of a
 * locked section, which reads (A) before it writes (B).
 *
 * A grant against a waiter that leaves. Under the lock the first waiter is taken off and its
 * wake is tried: one CAS. Won, the permits are the waiter's, even if an interruption or the
 * deadline comes a moment later, since its wait has ended with a value. Lost, it gets none and
 * the next is looked at. A waiter that left looks through the list itself: it may have been the
 * large one that kept small ones behind it waiting.
 */
#include <errno.h>
#include <stdlib.h>

#include "fm/sync.h"
#include "runtime/fiber/waitlist.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/word.h"

#define QUEUED UINT64_C(2)
#define FREE_SHIFT 2
#define PERMITS_MAX (INT64_MAX >> 3) /* free stays between -max and +max */

struct fm_semaphore {
    struct word word;
    struct waitlist waiters; /* under word's lock; node->amount: permits wanted */
    int64_t total;           /* the same */
};

static int64_t free_of(uint64_t word)
{
    return (int64_t)word >> FREE_SHIFT; /* arithmetic: drops the flags, keeps the sign */
}

static uint64_t word_of(int64_t free_permits)
{
    return (uint64_t)free_permits << FREE_SHIFT;
}

int fm_semaphore_create(int64_t permits, struct fm_semaphore **ret_semaphore)
{
    if (!ret_semaphore || permits < 0 || permits > PERMITS_MAX)
        return -EINVAL;
    /* a line of its own: neighbours on the heap would slow the CAS */
    struct fm_semaphore *semaphore = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *semaphore);
    if (!semaphore)
        return -ENOMEM;
    fm__word_init(&semaphore->word, word_of(permits));
    semaphore->total = permits;
    *ret_semaphore = semaphore;
    return 0;
}

static void unlock(struct fm_semaphore *semaphore, int64_t free_permits)
{
    FM_ASSERT(fm__lock_held(&semaphore->word.rank) && free_permits <= PERMITS_MAX);
    bool queued = !fm__waitlist_empty(&semaphore->waiters);
    fm__word_unlock(&semaphore->word, word_of(free_permits) | (queued ? QUEUED : 0));
}

struct fm_semaphore *fm_semaphore_destroy(struct fm_semaphore *semaphore)
{
    if (semaphore) {
        /* lock: lets a releaser out that has woken the last holder and is about to unlock */
        int64_t free_permits = free_of(fm__word_lock(&semaphore->word));
        FM_BUG_IF(!fm__waitlist_empty(&semaphore->waiters),
                  "a semaphore is destroyed while waited for");
        unlock(semaphore, free_permits);
        free(semaphore);
    }
    return NULL;
}

/* Hand out what is free, in order, and unlock; then let those go who got something. */
static void serve_and_unlock(struct fm_semaphore *semaphore, int64_t free_permits)
{
    FM_ASSERT(fm__lock_held(&semaphore->word.rank));
    struct waitlist won = { .first = NULL };
    struct wait_node *node;

    while ((node = semaphore->waiters.first) && node->amount <= free_permits) {
        int64_t n = node->amount;
        fm__waitlist_remove_locked(&semaphore->waiters, node);
        enum wake wake = fm__wake_win(node->wait, WAKE_VALUE);
        if (wake == WAKE_QUEUE)
            fm__waitlist_push_locked(&won, node);
        if (wake != WAKE_LOST)
            free_permits -= n;
    }
    unlock(semaphore, free_permits);
    fm__waitlist_release(&won);
}

/* Take n without waiting, if nobody waits and so many are free. */
static bool take(struct fm_semaphore *semaphore, int64_t n)
{
    FM_ASSERT(n > 0);
    /* relaxed: the CAS orders */
    uint64_t word = atomic_load_explicit(&semaphore->word.value, memory_order_relaxed);
    while (!(word & (QUEUED | LOCKED)) && free_of(word) >= n) {
        /* acquire (A) */
        if (atomic_compare_exchange_weak_explicit(&semaphore->word.value, &word,
                                                  word - word_of(n), memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    }
    return false;
}

static int acquire_slow(struct fm_semaphore *semaphore, int64_t n, int64_t deadline_ns)
{
    FM_ASSERT(n > 0);
    struct wait_node node = { .amount = n };
    int64_t free_permits = free_of(fm__word_lock(&semaphore->word));
    bool taken = fm__waitlist_empty(&semaphore->waiters) && free_permits >= n;
    int r = taken || deadline_ns <= 0 ? 0 : fm__wait_begin(&node.wait, 0, "semaphore");

    if (taken || deadline_ns <= 0 || r < 0) {
        unlock(semaphore, free_permits - (taken ? n : 0));
        return taken || r < 0 ? r : -ETIMEDOUT;
    }
    fm__waitlist_push_locked(&semaphore->waiters, &node);
    unlock(semaphore, free_permits);

    enum wake_reason reason = fm__wait_end(node.wait, deadline_ns);
    if (reason != WAKE_VALUE) {
        free_permits = free_of(fm__word_lock(&semaphore->word));
        if (node.listed)
            fm__waitlist_remove_locked(&semaphore->waiters, &node);
        serve_and_unlock(semaphore, free_permits); /* who stood behind may go on */
    }
    return fm__wake_result(reason);
}

int fm_semaphore_acquire(struct fm_semaphore *semaphore, int64_t n, int64_t deadline_ns)
{
    if (!semaphore || n < 0)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend(); /* before: a fiber that yields here holds nothing yet */
    if (n == 0 || take(semaphore, n))
        return 0;
    return acquire_slow(semaphore, n, deadline_ns);
}

int fm_semaphore_try_acquire(struct fm_semaphore *semaphore, int64_t n)
{
    if (!semaphore || n < 0)
        return -EINVAL;
    if (n == 0 || take(semaphore, n))
        return 0;
    /*
     * relaxed: only a moment of somebody else's locked section may hide permits that are free
     */
    uint64_t word = atomic_load_explicit(&semaphore->word.value, memory_order_relaxed);
    if (!(word & LOCKED))
        return -EAGAIN;
    return acquire_slow(semaphore, n, 0) < 0 ? -EAGAIN : 0;
}

int fm_semaphore_release(struct fm_semaphore *semaphore, int64_t n)
{
    if (!semaphore || n < 0)
        return -EINVAL;
    if (n > PERMITS_MAX)
        return -EOVERFLOW;
    /* relaxed: the CAS orders */
    uint64_t word = atomic_load_explicit(&semaphore->word.value, memory_order_relaxed);
    while (!(word & (QUEUED | LOCKED))) {
        if (free_of(word) > PERMITS_MAX - n)
            return -EOVERFLOW;
        /* release (B) */
        if (atomic_compare_exchange_weak_explicit(&semaphore->word.value, &word,
                                                  word + word_of(n), memory_order_release,
                                                  memory_order_relaxed))
            return 0;
    }
    int64_t free_permits = free_of(fm__word_lock(&semaphore->word));
    if (free_permits > PERMITS_MAX - n) {
        unlock(semaphore, free_permits);
        return -EOVERFLOW;
    }
    serve_and_unlock(semaphore, free_permits + n);
    return 0;
}

int fm_semaphore_resize(struct fm_semaphore *semaphore, int64_t permits)
{
    if (!semaphore || permits < 0 || permits > PERMITS_MAX)
        return -EINVAL;
    int64_t free_permits = free_of(fm__word_lock(&semaphore->word));
    /*
     * never below -PERMITS_MAX: free - total does not change here, and was at least -total at
     * each take
     */
    int64_t wanted = free_permits + permits - semaphore->total;
    if (wanted > PERMITS_MAX) {
        unlock(semaphore, free_permits);
        return -EINVAL;
    }
    semaphore->total = permits;
    serve_and_unlock(semaphore, wanted);
    return 0;
}

int64_t fm_semaphore_free(struct fm_semaphore *semaphore)
{
    if (!semaphore)
        return 0;
    /* relaxed: a number for the eye; it may be old when it is read */
    return free_of(atomic_load_explicit(&semaphore->word.value, memory_order_relaxed));
}

/*
 * Between the acquire that succeeds and the release there is no step at which an interruption
 * could be seen but the body's own waits, and their failure comes back as the body's exit. So
 * the permits are installed by the acquire itself, and there is nothing to undo in between.
 */
int fm_semaphore_with(struct fm_semaphore *semaphore, int64_t n, fm_entry_fn *entry, void *arg,
                      int64_t deadline_ns, struct fm_exit *ret_exit)
{
    if (!entry)
        return -EINVAL;
    int r = fm_semaphore_acquire(semaphore, n, deadline_ns);
    if (r < 0)
        return r;
    struct fm_exit exit = entry(arg);
    r = fm_semaphore_release(semaphore, n);
    if (r == 0 && ret_exit)
        *ret_exit = exit;
    return r; /* -EOVERFLOW if others have released what they never took */
}
