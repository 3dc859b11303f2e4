/*
 * lock.h - a short lock that spins a little, then sleeps
 *
 * One word: 0 free, 1 held, 2 held and somebody sleeps. The sections it guards are a few dozen
 * instructions and never switch fibers; a holder that the kernel preempts costs its waiters a
 * futex call, not a time slice.
 *
 *   lock    acquire   (A) <--- pairs ---> (B)   release   unlock
 *
 * A shows the next holder all that was written before B. The unlock's last access to the word
 * frees it; the wake that may follow uses the address alone, so an object that holds the lock
 * may be freed by the next holder.
 *
 * Nobody but the holder writes 0, so an unlock reads whether somebody sleeps and stores: a
 * locked instruction would be half the cost of a lock that nobody else wants. Who makes a 2 of
 * the 1 between the two is not woken: he naps, for all who find the 2, until the lock is his.
 *
 * Ranks: a thread that holds one lock may take only locks of a higher rank. Debug builds check
 * it, that no lock is held at a switch, and no lock of a stripe or of a map's waiters where
 * memory is asked for, a fiber is interrupted, or its argument or value is dropped.
 */
#ifndef FM_RUNTIME_PLATFORM_LOCK_H
#define FM_RUNTIME_PLATFORM_LOCK_H

#include <stdbool.h>

#include "runtime/platform/atomic.h"
#include "runtime/platform/turn.h"

enum lock_rank {
    LOCK_RUNTIME = 1, /* resize, shutdown, blocking pool */
    LOCK_MAP_STRIPE,
    LOCK_MAP_WAIT,
    LOCK_MAP_GROUP, /* fibers of the map are interrupted under it */
    LOCK_SCOPE,
    LOCK_SYNC, /* mutex, cond, semaphore, deferred and their wait lists */
    LOCK_IO,   /* one descriptor's record */
    LOCK_EXIT, /* nothing but the claim on an exit list */
    LOCK_TIMERS,
    LOCK_INJECT,
    LOCK_IDLE,
    LOCK_STACK_POOL,
    LOCK_SLAB,
    LOCK_RANKS,
};

struct lock {
    _Atomic uint32_t word;
    uint32_t rank; /* enum lock_rank */
};
#define LOCK_INIT(r) \
    { \
        .rank = (r) \
    }

void fm__lock_slow(struct lock *lock);
void fm__lock_wake(struct lock *lock);
#ifdef NDEBUG
static inline void fm__lock_note(struct lock *lock)
{
    (void)lock;
}
static inline void fm__lock_forget(struct lock *lock)
{
    (void)lock;
}
static inline void fm__lock_check_none(void) {}
static inline void fm__lock_check_map(const char *what)
{
    (void)what;
}
#else
void fm__lock_note(struct lock *lock);
void fm__lock_forget(struct lock *lock);
/* Stops the program if the calling thread holds a lock: called at each switch. */
void fm__lock_check_none(void);
/* Stops it if it holds the lock of a stripe or of a map's waiters: there is no `what` then. */
void fm__lock_check_map(const char *what);
#endif
/* For FM_ASSERT, there in debug builds: whether the caller holds it, or another of its rank. */
bool fm__lock_held(const struct lock *lock);

static inline void fm__lock_init(struct lock *lock, enum lock_rank rank)
{
    atomic_init(&lock->word, 0);
    lock->rank = rank;
}

static inline bool fm__lock_try(struct lock *lock)
{
    uint32_t free_word = 0;
    /* acquire (A) */
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1,
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    fm__lock_note(lock);
    return true;
}

static inline void fm__lock(struct lock *lock)
{
    uint32_t free_word = 0;
    /* acquire (A) */
    if (__builtin_expect(!atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1,
                                                                  memory_order_acquire,
                                                                  memory_order_relaxed),
                         0))
        fm__lock_slow(lock);
    fm__lock_note(lock);
}

static inline void fm__unlock(struct lock *lock)
{
    fm__lock_forget(lock);
    uint32_t was;
    if (fm__turn_taken()) {
        /* virtual time should not hang on naps: nobody is overlooked, and nobody naps */
        was = atomic_exchange_explicit(&lock->word, 0, memory_order_release); /* (B) */
    } else {
        /* relaxed: only whether to wake hangs on it */
        was = atomic_load_explicit(&lock->word, memory_order_relaxed);
        atomic_store_explicit(&lock->word, 0, memory_order_release); /* (B) */
    }
    if (__builtin_expect(was == 2, 0))
        fm__lock_wake(lock);
}

#endif
