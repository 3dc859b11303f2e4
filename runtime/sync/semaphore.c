/*
 * semaphore.c - counted permits, first come, first served
 *
 * Owns        the permits that are free, and the list of those who wait for some.
 * Knows not   who holds permits: anybody may release.
 * Invariant   word is free << 1 | QUEUED. Where QUEUED is clear the list is empty and anybody may move
 *             free by a CAS; where it is set only the holder of the lock writes word. At the end of
 *             each locked section the first waiter wants more than is free.
 *             free + permits taken and not released = total + what was released without taking.
 * Callers     any fiber, any thread. Only acquire and with suspend.
 *
 *   acquire, release                          any locked section
 *     CAS free, QUEUED clear in both            lock
 *       (acquire A, release B)                  freeze: set QUEUED  (acq_rel, A and B)
 *                                               count, list, wakes
 *                                               thaw: store free, QUEUED if any wait  (release B)
 *                                               unlock
 *
 * B to A: what a releaser did before happens before the acquirer goes on, also by way of a
 * locked section, which reads (A) before it writes (B).
 *
 * A grant against a waiter that leaves. Under the lock the first waiter is taken off, its permits are
 * counted off and it is woken. The wake is one CAS: won, the permits are the waiter's, even if an interruption
 * or the deadline comes a moment later, since its wait has ended with a value. Lost, the permits are
 * counted back and the next is looked at. A waiter that left, or was never listed, looks through the list itself (serve): it
 * may have been the large one that kept small ones behind it waiting.
 */
#include <errno.h>
#include <stdlib.h>

#include "fm/sync.h"
#include "runtime/fiber/waitlist.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

#define QUEUED 1
#define ONE 2                        /* one permit in word */
#define PERMITS_MAX (INT64_MAX >> 2) /* free stays between -max and +max */

struct fm_semaphore {
    _Atomic int64_t word;
    struct lock lock;        /* LOCK_SYNC: the rest, and word where QUEUED is set */
    struct waitlist waiters; /* node->amount: permits wanted */
    int64_t total;
};

int fm_semaphore_create(int64_t permits, struct fm_semaphore **ret_semaphore)
{
    if (!ret_semaphore || permits < 0 || permits > PERMITS_MAX)
        return -EINVAL;
    struct fm_semaphore *semaphore = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *semaphore);
    if (!semaphore)
        return -ENOMEM;
    atomic_init(&semaphore->word, permits * ONE);
    fm__lock_init(&semaphore->lock, LOCK_SYNC);
    semaphore->total = permits;
    *ret_semaphore = semaphore;
    return 0;
}

struct fm_semaphore *fm_semaphore_destroy(struct fm_semaphore *semaphore)
{
    if (semaphore) {
        fm__lock(&semaphore->lock);
        FM_BUG_IF(!fm__waitlist_empty(&semaphore->waiters),
                  "a semaphore is destroyed while waited for");
        fm__unlock(&semaphore->lock);
        free(semaphore);
    }
    return NULL;
}

static int64_t free_of(int64_t word)
{
    return word >> 1; /* arithmetic: rounds down, which drops QUEUED */
}

/* From here to thaw only the caller writes word. Returns the free permits. */
static int64_t freeze_locked(struct fm_semaphore *semaphore)
{
    /* acq_rel (A, B): the permits seen were put there by releases that now happen before */
    return free_of(atomic_fetch_or_explicit(&semaphore->word, QUEUED, memory_order_acq_rel));
}

static void thaw_locked(struct fm_semaphore *semaphore, int64_t free_permits, bool queued)
{
    /* release (B) */
    atomic_store_explicit(&semaphore->word, free_permits * ONE + (queued ? QUEUED : 0),
                          memory_order_release);
}

/* Hand out what is free, in order; returns what is left. */
static int64_t serve_locked(struct fm_semaphore *semaphore, int64_t free_permits)
{
    struct wait_node *node;

    while ((node = semaphore->waiters.first) && node->amount <= free_permits) {
        struct wait wait = node->wait;
        int64_t n = node->amount;
        fm__waitlist_remove_locked(&semaphore->waiters, node);
        if (fm__wake(wait, WAKE_VALUE))
            free_permits -= n;
    }
    return free_permits;
}

/* One locked section: add permits, serve, thaw. -EOVERFLOW, nothing added, if they would be too many. */
static int add(struct fm_semaphore *semaphore, int64_t n)
{
    fm__lock(&semaphore->lock);
    int64_t free_permits = freeze_locked(semaphore);
    int r = free_permits > PERMITS_MAX - n ? -EOVERFLOW : 0;
    if (r == 0)
        free_permits = serve_locked(semaphore, free_permits + n);
    thaw_locked(semaphore, free_permits, !fm__waitlist_empty(&semaphore->waiters));
    fm__unlock(&semaphore->lock);
    return r;
}

/* Take n without waiting, if nobody waits and so many are free. */
static bool take(struct fm_semaphore *semaphore, int64_t n)
{
    /* relaxed: the CAS orders */
    int64_t word = atomic_load_explicit(&semaphore->word, memory_order_relaxed);
    while (!(word & QUEUED) && free_of(word) >= n) {
        /* acquire (A) */
        if (atomic_compare_exchange_weak_explicit(&semaphore->word, &word, word - n * ONE,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    }
    return false;
}

static int acquire_slow(struct fm_semaphore *semaphore, int64_t n, int64_t deadline_ns)
{
    fm__lock(&semaphore->lock);
    int64_t free_permits = freeze_locked(semaphore);
    bool alone = fm__waitlist_empty(&semaphore->waiters);
    bool taken = alone && free_permits >= n;
    if (taken || deadline_ns <= 0) {
        thaw_locked(semaphore, free_permits - (taken ? n : 0), !alone);
        fm__unlock(&semaphore->lock);
        return taken ? 0 : -ETIMEDOUT;
    }
    thaw_locked(semaphore, free_permits, true);
    struct wait_node node = { .amount = n };
    int r = fm__waitlist_wait(&semaphore->waiters, &semaphore->lock, &node, deadline_ns, 0,
                              "semaphore");
    if (r < 0)
        add(semaphore, 0); /* who stood behind may go on; clears QUEUED if nobody did */
    return r;
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
    /* QUEUED may be left from a waiter that has gone, and only a locked section clears it */
    return acquire_slow(semaphore, n, 0) < 0 ? -EAGAIN : 0;
}

int fm_semaphore_release(struct fm_semaphore *semaphore, int64_t n)
{
    if (!semaphore || n < 0)
        return -EINVAL;
    /* relaxed: the CAS orders */
    int64_t word = atomic_load_explicit(&semaphore->word, memory_order_relaxed);
    while (!(word & QUEUED)) {
        if (n > PERMITS_MAX || free_of(word) > PERMITS_MAX - n)
            return -EOVERFLOW;
        /* release (B) */
        if (atomic_compare_exchange_weak_explicit(&semaphore->word, &word, word + n * ONE,
                                                  memory_order_release, memory_order_relaxed))
            return 0;
    }
    return n > PERMITS_MAX ? -EOVERFLOW : add(semaphore, n);
}

int fm_semaphore_resize(struct fm_semaphore *semaphore, int64_t permits)
{
    if (!semaphore || permits < 0 || permits > PERMITS_MAX)
        return -EINVAL;
    fm__lock(&semaphore->lock);
    int64_t free_permits = freeze_locked(semaphore);
    /* never below -PERMITS_MAX: free - total does not change here, and was above -total at each take */
    int64_t wanted = free_permits + permits - semaphore->total;
    int r = wanted > PERMITS_MAX ? -EINVAL : 0;
    if (r == 0) {
        semaphore->total = permits;
        free_permits = serve_locked(semaphore, wanted);
    }
    thaw_locked(semaphore, free_permits, !fm__waitlist_empty(&semaphore->waiters));
    fm__unlock(&semaphore->lock);
    return r;
}

int64_t fm_semaphore_free(struct fm_semaphore *semaphore)
{
    if (!semaphore)
        return 0;
    /* relaxed: a number for the eye; it may be old when it is read */
    return free_of(atomic_load_explicit(&semaphore->word, memory_order_relaxed));
}

/*
 * Between the acquire that succeeds and the release there is no step at which an interruption could be seen but
 * the body's own waits, and their failure comes back as the body's exit. So the permits are
 * installed by the acquire itself, and there is nothing to undo in between.
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
