/*
 * timer.h - one armed deadline: the present wait of one fiber
 *
 * It lives in the descriptor, so that arming allocates nothing, and belongs to the timer room
 * while it is armed: to the wheel or the heap that `wheel` names, under the lock of that one.
 *
 * wheel      TIMER_NOT_ARMED · wheel number + 1 · TIMER_IN_HEAP. Set by who arms, reset as the
 *            last access of who takes the timer off: an acquire load that reads TIMER_NOT_ARMED
 *            shows that nobody touches the timer any more.
 */
#ifndef FM_RUNTIME_FIBER_TIMER_H
#define FM_RUNTIME_FIBER_TIMER_H

#include <stdatomic.h>
#include <stdint.h>

#define TIMER_NOT_ARMED UINT32_C(0)
#define TIMER_IN_HEAP UINT32_MAX

struct timer {
    /* neighbours in a slot or among siblings; *link is this timer */
    struct timer *next, **link;
    union {
        struct timer *child; /* heap: first of those that come after this one */
        uint32_t place;      /* wheel: level and slot */
    };
    int64_t deadline_ns;
    uint64_t epoch; /* of the wait it ends */
    _Atomic uint32_t wheel;
    uint32_t order; /* heap, ties: first come, first served; compared as a difference */
};

#endif
