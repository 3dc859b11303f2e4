/*
 * heap.h - timers in exact order: by deadline, and first come, first served
 *
 * A pairing heap of struct timer, linked through the timers themselves: it allocates nothing,
 * so that arming cannot fail. Push O(1); remove O(log n) over a series of calls. The caller
 * locks.
 *
 * Ties are broken by timer.order, which push hands out. It has 32 bits and is compared as a
 * difference: two timers of one deadline keep their order unless 2^31 were pushed between them.
 */
#ifndef FM_RUNTIME_TIME_HEAP_H
#define FM_RUNTIME_TIME_HEAP_H

#include <stddef.h>

#include "runtime/fiber/timer.h"

/* All zero is empty. */
struct timer_heap {
    struct timer *root;
    uint32_t order; /* of the next timer pushed */
};

/* The earliest timer, NULL if there is none; it stays in. */
static inline struct timer *fm__heap_first(const struct timer_heap *heap)
{
    return heap->root;
}

/* Put in a timer whose deadline_ns is set. */
void fm__heap_push(struct timer_heap *heap, struct timer *timer);

/* Take out a timer that is in, whichever it is. */
void fm__heap_remove(struct timer_heap *heap, struct timer *timer);

#endif
