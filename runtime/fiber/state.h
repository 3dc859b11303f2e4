/*
 * state.h - the state word: who may run a fiber, and what ended its wait
 *
 * One 64-bit atomic a fiber:
 *
 *     63                    16  15..12    11..8   5            4         3     2..0
 *     epoch of the last wait   (zero)    reason  interruptible interrupt ready life
 *
 *           recycle           wait_begin                   commit
 *        ---------> ACTIVE ---------------------> PARKING ---------------> PARKED
 *                   ^ ^  |                         |  |                      |
 *                   | |  | end        wake: noted  |  | wait_abort           |
 *                   | |  v                         |  |                      |
 *                   | | DONE                       v  |                      |
 *                   | '---------------------------WOKEN (commit sees it)     |
 *                   '--------------------------------------------------------' wake: the
 *                   winner queues it
 *
 * ACTIVE covers made, queued and running: who holds the task out of a queue runs it, nothing
 * else says so. The fiber itself draws wait_begin, wait_abort and end; the code that runs
 * next on its worker draws commit, when the context is saved; wakers draw wake, each with the
 * epoch of the wait it means. Exactly one wake of an epoch succeeds and its reason is what the
 * wait returns. A wake that finds the fiber PARKING leaves WOKEN, and commit queues the fiber
 * instead.
 *
 * The epoch never falls, not even when the descriptor is used again, so a waker that comes late
 * (a timer, an interrupter, the last signaller) compares and goes. 48 bits at 10^7 waits a
 * second last for 325 days of one descriptor waiting without a pause; to be mistaken a waker
 * would have to sleep through all of them between two instructions.
 *
 * Order      (A) wait_begin  acq_rel   what the fiber did before is shown to whoever wakes it
 *            (B) commit      acq_rel   release: the saved context is shown to the waker that
 *                            reads PARKED (C)
 *            (C) wake        acq_rel   acquire of B: the context is whole when the winner
 *                            queues the fiber;
 *                                      release: what the waker did (the value, the permit) is
 *                                      shown to the fiber at D
 *            (D) the fiber's next read of the word, acquire; through the queue's own order
 *            besides
 *            (E) interrupt   acq_rel   release: interrupter and reason, written before, are
 *                            shown to who sees the flag
 *            (F) end         seq_cst   release: the exit, stored before, is shown to who reads
 *                            DONE with acquire; and it has its place in the one order in which
 *                            who awaits readiness looks for it, see fm_ready
 *            Without B/C a thief could jump into a frame that is still being written; without
 *            C/D the value of a channel could be missing; without F a poll could read half an
 *            exit.
 */
#ifndef FM_RUNTIME_FIBER_STATE_H
#define FM_RUNTIME_FIBER_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum life {
    LIFE_ACTIVE,
    LIFE_PARKING,
    LIFE_WOKEN,
    LIFE_PARKED,
    LIFE_DONE,
};

enum wake_reason {
    WAKE_VALUE = 0,     /* what was waited for */
    WAKE_TIMEOUT = 1,   /* the deadline */
    WAKE_INTERRUPT = 2, /* an interruption */
    WAKE_CLOSED = 3,    /* the thing waited on has gone */
};

#define STATE_LIFE UINT64_C(7)
#define STATE_READY UINT64_C(8)          /* fm_ready was called */
#define STATE_INTERRUPT UINT64_C(16)     /* sticky, save for a body that runs again */
#define STATE_INTERRUPTIBLE UINT64_C(32) /* this wait may be ended by an interruption */
#define STATE_REASON_SHIFT 8
#define STATE_REASON (UINT64_C(15) << STATE_REASON_SHIFT)
#define STATE_EPOCH_SHIFT 16
#define STATE_EPOCH_ONE (UINT64_C(1) << STATE_EPOCH_SHIFT)

typedef _Atomic uint64_t state_word;

static inline enum life fm__state_life(uint64_t word)
{
    return (enum life)(word & STATE_LIFE);
}

static inline uint64_t fm__state_epoch(uint64_t word)
{
    return word >> STATE_EPOCH_SHIFT;
}

static inline uint64_t fm__state_read(state_word *word)
{
    /* acquire (D) */
    return atomic_load_explicit(word, memory_order_acquire);
}

/*
 * The fiber is about to wait: ACTIVE -> PARKING under a new epoch, which the caller then hands
 * to whoever may wake it. 0 if it is interruptible and an interrupt is pending: then nothing
 * has changed.
 */
static inline uint64_t fm__state_wait_begin(state_word *word, bool interruptible)
{
    /* acquire, here and where the CAS fails: who finds the mark reads the record of it (E) */
    uint64_t old = atomic_load_explicit(word, memory_order_acquire);
    for (;;) {
        if (interruptible && (old & STATE_INTERRUPT))
            return 0;
        uint64_t next = (old & (STATE_READY | STATE_INTERRUPT)) |
                        (((old >> STATE_EPOCH_SHIFT) + 1) << STATE_EPOCH_SHIFT) |
                        (interruptible ? STATE_INTERRUPTIBLE : 0) | LIFE_PARKING;
        /* acq_rel (A) */
        if (atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acq_rel,
                                                  memory_order_acquire))
            return fm__state_epoch(next);
    }
}

/*
 * The fiber does not wait after all: PARKING or WOKEN -> ACTIVE. True if a wake had won in
 * between: its reason stands in *ret_reason.
 */
static inline bool fm__state_wait_abort(state_word *word, enum wake_reason *ret_reason)
{
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    uint64_t next;
    do {
        next = (old & ~(STATE_LIFE | STATE_INTERRUPTIBLE)) | LIFE_ACTIVE;
        /* acquire (D) of a wake that came first; nothing to release */
    } while (!atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acquire,
                                                    memory_order_relaxed));
    *ret_reason = (enum wake_reason)((old & STATE_REASON) >> STATE_REASON_SHIFT);
    return fm__state_life(old) == LIFE_WOKEN;
}

/*
 * The context is saved: PARKING -> PARKED. False if a wake came before: the fiber is ACTIVE
 * again and the caller queues it. Called by whatever runs next on the worker, never on the
 * fiber's own stack.
 */
static inline bool fm__state_commit(state_word *word)
{
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    for (;;) {
        bool parked = fm__state_life(old) == LIFE_PARKING;
        uint64_t next = (old & ~STATE_LIFE) | (parked ? LIFE_PARKED : LIFE_ACTIVE);
        if (!parked)
            next &= ~STATE_INTERRUPTIBLE;
        /*
         * acq_rel (B): release publishes the context; acquire of the wake (C) that we hand on
         * by queueing
         */
        if (atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return parked;
    }
}

enum wake {
    WAKE_LOST,  /* another wake has won, or the wait is over */
    WAKE_NOTED, /* won; the fiber is still leaving its stack and will be queued by commit */
    WAKE_QUEUE, /* won; the caller must queue the fiber */
};

/*
 * Try to end the wait `epoch`. Touches nothing but the word; after WAKE_NOTED the fiber may be
 * gone.
 */
static inline enum wake fm__state_wake(state_word *word, uint64_t epoch,
                                       enum wake_reason reason)
{
    /* relaxed: the CAS orders; a word of another epoch is left alone */
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    for (;;) {
        enum life life = fm__state_life(old);
        if (fm__state_epoch(old) != epoch || (life != LIFE_PARKING && life != LIFE_PARKED))
            return WAKE_LOST;
        uint64_t next = (old & ~(STATE_LIFE | STATE_REASON)) |
                        ((uint64_t)reason << STATE_REASON_SHIFT);
        next |= life == LIFE_PARKED ? LIFE_ACTIVE : LIFE_WOKEN;
        if (life == LIFE_PARKED)
            next &= ~STATE_INTERRUPTIBLE;
        /* acq_rel (C) */
        if (atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return life == LIFE_PARKED ? WAKE_QUEUE : WAKE_NOTED;
    }
}

/*
 * Set the sticky mark, and end an interruptible wait. The caller has recorded who and why
 * before. WAKE_LOST: the mark is set (or the fiber is DONE) and there was no wait to end.
 */
static inline enum wake fm__state_interrupt(state_word *word)
{
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    for (;;) {
        enum life life = fm__state_life(old);
        if (life == LIFE_DONE)
            return WAKE_LOST;
        bool ends = (old & STATE_INTERRUPTIBLE) &&
                    (life == LIFE_PARKING || life == LIFE_PARKED);
        uint64_t next = old | STATE_INTERRUPT;
        if (ends) {
            next = (next & ~(STATE_LIFE | STATE_REASON)) |
                   ((uint64_t)WAKE_INTERRUPT << STATE_REASON_SHIFT);
            next |= life == LIFE_PARKED ? LIFE_ACTIVE : LIFE_WOKEN;
            if (life == LIFE_PARKED)
                next &= ~STATE_INTERRUPTIBLE;
        }
        /* acq_rel (E), and (C) where it ends a wait */
        if (atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return !ends ? WAKE_LOST : life == LIFE_PARKED ? WAKE_QUEUE : WAKE_NOTED;
    }
}

/*
 * The fiber takes its mark off: the interruption ended one running of its body, and another
 * follows. Who sets marks is held off meanwhile (again.c).
 */
static inline void fm__state_forgive(state_word *word)
{
    /* relaxed: the lock that holds them off orders */
    atomic_fetch_and_explicit(word, ~STATE_INTERRUPT, memory_order_relaxed);
}

/* The reason of the wait that has just ended; the fiber's own. */
static inline enum wake_reason fm__state_reason(state_word *word)
{
    return (enum wake_reason)((fm__state_read(word) & STATE_REASON) >> STATE_REASON_SHIFT);
}

/* ACTIVE -> DONE (F). The exit is stored. */
static inline void fm__state_end(state_word *word)
{
    atomic_fetch_add_explicit(word, LIFE_DONE - LIFE_ACTIVE, memory_order_seq_cst);
}

/*
 * A descriptor that is used again: ACTIVE, no flags, the epoch goes on. Nobody holds a
 * reference; late wakers read the epoch.
 */
static inline void fm__state_recycle(state_word *word)
{
    /*
     * relaxed: a late waker finds an old epoch or a life that is not waiting, whichever it
     * reads
     */
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word,
                          (((old >> STATE_EPOCH_SHIFT) + 1) << STATE_EPOCH_SHIFT) | LIFE_ACTIVE,
                          memory_order_relaxed);
}

#endif
