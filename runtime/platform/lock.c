/*
 * lock.c - the slow side of the short lock, and the rank check of debug builds
 *
 * Source   Drepper, "Futexes are tricky", the second mutex; changed: a bounded spin before the
 *          first sleep.
 */
#include "runtime/platform/lock.h"

#include "runtime/platform/check.h"
#include "runtime/platform/futex.h"

enum { SPINS = 60 };

void fm__lock_slow(struct lock *lock)
{
    for (int i = 0; i < SPINS; i++) {
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
    /*
     * acquire (A); 2 also when nobody sleeps any more: one wake too many is the price of one
     * word
     */
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        fm__futex_wait(&lock->word, 2, INT64_MAX);
}

void fm__lock_wake(struct lock *lock)
{
    fm__futex_wake(&lock->word, 1);
}

#ifndef NDEBUG
enum { HELD_MAX = 1024 + 16 }; /* a consistent snapshot of a map holds all its stripes */

/*
 * Dynamic, unlike the build's other thread-locals: it is large, and a library that is loaded by
 * dlopen has little room in the static block. Locks are taken and let go between switches, so the
 * address is never used in another thread.
 */
static __thread struct {
    struct lock *held[HELD_MAX];
    int count;
} holder __attribute__((tls_model("global-dynamic")));

__attribute__((noinline)) void fm__lock_note(struct lock *lock)
{
    FM_BUG_IF(holder.count == HELD_MAX, "a thread holds %d locks", HELD_MAX);
    /* equal ranks may nest only by address: the stripes of one map, taken in order */
    if (holder.count) {
        struct lock *last = holder.held[holder.count - 1];
        FM_BUG_IF(last->rank > lock->rank || (last->rank == lock->rank && last >= lock),
                  "lock of rank %u taken under one of rank %u", lock->rank, last->rank);
    }
    holder.held[holder.count++] = lock;
}

__attribute__((noinline)) void fm__lock_forget(struct lock *lock)
{
    for (int i = holder.count; i-- > 0;) {
        if (holder.held[i] != lock)
            continue;
        for (int j = i + 1; j < holder.count; j++)
            holder.held[j - 1] = holder.held[j];
        holder.count--;
        return;
    }
    FM_BUG("unlock of rank %u by a thread that does not hold it", lock->rank);
}

__attribute__((noinline)) void fm__lock_check_none(void)
{
    FM_BUG_IF(holder.count, "a fiber switches while it holds a lock of rank %u",
              holder.held[0]->rank);
}
#endif
