/*
 * lock.c - the slow side of the short lock, and the rank check of debug builds
 *
 * Source   Drepper, "Futexes are tricky", the second mutex; changed: a bounded spin before the
 *          first sleep, and an unlock that may overlook a sleeper, who therefore only naps.
 */
#include "runtime/platform/lock.h"

#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/futex.h"
#include "runtime/platform/sanitizer.h"
#include "runtime/platform/turn.h"

#ifndef LOCK_SPINS
#define LOCK_SPINS 60
#endif
enum { NAP_NS = 50000, NAP_MAX_NS = 64 * NAP_NS };

void fm__lock_slow(struct lock *lock)
{
    for (int i = 0; i < LOCK_SPINS && !fm__turn_taken(); i++) {
        fm__cpu_relax();
        uint32_t free_word = 0;
        /*
         * relaxed look first: a spinner must not take the line away from the holder; acquire
         * (A) on success
         */
        if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1,
                                                    memory_order_acquire, memory_order_relaxed))
            return;
    }
    int64_t nap_ns = 0;
    uint32_t was;
    /*
     * acquire (A); 2 also when nobody sleeps any more: one wake too many is the price of one
     * word
     */
    while ((was = atomic_exchange_explicit(&lock->word, 2, memory_order_acquire)) != 0) {
        /*
         * It was 1: the holder may have read that already and not see our 2, so we nap until
         * the lock is ours. It was 2: the holder wrote it himself as he took the lock, or
         * another who then naps, for all.
         */
        nap_ns = was == 1 ? NAP_NS : nap_ns < NAP_MAX_NS ? 2 * nap_ns : nap_ns;
        /* where turns are taken nobody is overlooked: see the unlock */
        bool naps = nap_ns && !fm__turn_taken();
        fm__futex_wait(&lock->word, 2, naps ? fm__clock_ns() + nap_ns : INT64_MAX);
    }
}

void fm__lock_wake(struct lock *lock)
{
    fm__futex_wake(&lock->word, 1);
}

#ifndef NDEBUG
/*
 * Per rank, not per lock: a consistent snapshot holds all stripes of a map, and a library that
 * is loaded by dlopen has little room for thread-locals.
 */
static __thread struct {
    uint32_t total;
    struct {
        uint32_t count;
        struct lock *last; /* the highest address: equal ranks nest by address alone */
    } rank[LOCK_RANKS];
} held;

__attribute__((noinline)) FM_THREADS_OWN void fm__lock_note(struct lock *lock)
{
    uint32_t rank = lock->rank;

    FM_BUG_IF(rank == 0 || rank >= LOCK_RANKS, "a lock of rank %u", rank);
    for (uint32_t higher = rank + 1; held.total && higher < LOCK_RANKS; higher++)
        FM_BUG_IF(held.rank[higher].count, "lock of rank %u taken under one of rank %u", rank,
                  higher);
    FM_BUG_IF(held.rank[rank].count && held.rank[rank].last >= lock,
              "two locks of rank %u taken against the order of their addresses", rank);
    held.rank[rank].count++;
    held.rank[rank].last = lock;
    held.total++;
}

__attribute__((noinline)) FM_THREADS_OWN void fm__lock_forget(struct lock *lock)
{
    FM_BUG_IF(held.rank[lock->rank].count == 0,
              "unlock of rank %u by a thread that does not hold it", lock->rank);
    held.rank[lock->rank].count--;
    held.total--;
}

__attribute__((noinline)) FM_THREADS_OWN bool fm__lock_held(const struct lock *lock)
{
    return held.rank[lock->rank].count != 0;
}

__attribute__((noinline)) FM_THREADS_OWN void fm__lock_check_none(void)
{
    for (uint32_t rank = 1; held.total && rank < LOCK_RANKS; rank++)
        FM_BUG_IF(held.rank[rank].count, "a fiber switches while it holds a lock of rank %u",
                  rank);
}

__attribute__((noinline)) FM_THREADS_OWN void fm__lock_check_map(const char *what)
{
    FM_BUG_IF(held.rank[LOCK_MAP_STRIPE].count, "%s under the lock of a stripe", what);
    FM_BUG_IF(held.rank[LOCK_MAP_WAIT].count, "%s under the lock of a map's waiters", what);
}
#endif
