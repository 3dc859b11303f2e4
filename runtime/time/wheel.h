/*
 * wheel.h - a hierarchical timing wheel: arm and cancel in constant time
 *
 * Ticks are 1 ms. A deadline is rounded up to a tick, so that a timer is never early and late
 * by less than a tick, if fire is called in time. The wheel reads no clock and allocates
 * nothing.
 */
#ifndef FM_RUNTIME_TIME_WHEEL_H
#define FM_RUNTIME_TIME_WHEEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/fiber/timer.h"
#include "runtime/platform/atomic.h"
#include "runtime/platform/lock.h"

#define WHEEL_TICK_NS INT64_C(1000000)

/*
 * Level 0 has windows of 1024 ticks, each level above windows of 64 units; a level has the
 * slots of two windows. Seven levels hold 2^46 ticks, more than there are int64_t nanoseconds.
 */
enum {
    WHEEL_LEVELS = 7,
    WHEEL_FIRST_BITS = 10,
    WHEEL_BITS = 6,
    WHEEL_FIRST_SLOTS = 2 << WHEEL_FIRST_BITS,
    WHEEL_LEVEL_SLOTS = 2 << WHEEL_BITS,
    WHEEL_SLOTS = WHEEL_FIRST_SLOTS + (WHEEL_LEVELS - 1) * WHEEL_LEVEL_SLOTS,
    WHEEL_LANES = 3,
    WHEEL_BATCH = 64, /* most timers that one call of wheel_fire_fn gets */
};

/*
 * A slot has its timers in three lists, which take turns: to walk one list is to wait for each
 * timer's memory in turn, to walk three is to wait for three at once. Nothing in it counts
 * unless its bit in `occupied` is set.
 */
struct wheel_slot {
    _Alignas(FM_CACHE_LINE) struct timer *first[WHEEL_LANES];
    struct timer **tail[WHEEL_LANES];
    uint8_t in, out; /* the lane that the next timer goes to, comes from */
};

struct wheel {
    FM_ALONE _Atomic int64_t next_ns; /* written under the lock, read by everybody */
    FM_ALONE struct lock lock;
    uint32_t number;   /* timer.wheel is number + 1 */
    int64_t cursor;    /* the tick that is being served; never falls */
    int64_t next_tick; /* what next_ns says; no timer is due before */
    _Atomic uint64_t armed, fired, cancelled; /* counted under the lock, since init */
    uint64_t occupied[WHEEL_SLOTS / 64];
    struct wheel_slot slots[WHEEL_SLOTS]; /* of level 0, of level 1 ... */
};

struct wheel_due {
    struct timer *timer; /* no longer armed, nor the wheel's: only its address counts */
    uint64_t epoch;
};

/* Called by fm__wheel_fire with no lock held, 1 to WHEEL_BATCH timers at a time. */
typedef void wheel_fire_fn(void *context, const struct wheel_due *due, unsigned count);

/* An empty wheel in the caller's zeroed storage. number: below TIMER_IN_HEAP - 1. */
void fm__wheel_init(struct wheel *wheel, uint32_t number, int64_t now_ns);

/*
 * fm__wheel_arm - have `timer` fire at deadline_ns
 *
 * A deadline that has passed fires with the next fm__wheel_fire; FM_NEVER arms nothing.
 *
 * timer      not armed.
 * Returns    true if fm__wheel_next is earlier now than before: a thread that sleeps until that
 *            time must be told.
 * Callers    any thread. Order: the new time is in the single order of seq_cst before the
 *            return.
 */
bool fm__wheel_arm(struct wheel *wheel, struct timer *timer, int64_t deadline_ns,
                   uint64_t epoch);

/*
 * fm__wheel_disarm - take `timer` off
 *
 * Returns    true if it was armed: it will not fire. False if it has fired: wheel_fire_fn may
 *            still be given its address and old epoch, but the wheel does not touch it any
 *            more.
 * Callers    who armed it, on any thread.
 */
bool fm__wheel_disarm(struct wheel *wheel, struct timer *timer);

/*
 * fm__wheel_fire - take out timers whose deadline is at or before now_ns
 *
 * In order of their ticks, and within a tick, mostly, in the order of arming. Stops early after
 * max timers, after some thousand that had to be moved, or when another thread holds the wheel;
 * fm__wheel_next tells then that more are due.
 *
 * Returns    how many were given to fire.
 * Callers    any thread, several at once.
 * Cost       one load if nothing is due.
 */
unsigned fm__wheel_fire(struct wheel *wheel, int64_t now_ns, unsigned max, wheel_fire_fn *fire,
                        void *context);

/*
 * When the earliest timer would fire, INT64_MAX if there is none. Never later than that;
 * earlier where the timer that it was computed for has been cancelled, or where a slot of a
 * higher level with many timers comes first: some time before that begins, they want to be
 * moved.
 */
static inline int64_t fm__wheel_next(const struct wheel *wheel)
{
    /* seq_cst (B): see wheel.c */
    return atomic_load_explicit(&wheel->next_ns, memory_order_seq_cst);
}

/* How many are armed. Racy. */
static inline uint64_t fm__wheel_count(const struct wheel *wheel)
{
    uint64_t gone = fm__counted(&wheel->fired) + fm__counted(&wheel->cancelled);
    uint64_t armed = fm__counted(&wheel->armed);
    return armed > gone ? armed - gone : 0;
}

/* Asserts the invariant of wheel.c, in debug builds. */
void fm__wheel_check(struct wheel *wheel);

#endif
