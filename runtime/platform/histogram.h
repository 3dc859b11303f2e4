/*
 * histogram.h - powers of two, one writer, racy readers
 */
#ifndef FM_RUNTIME_PLATFORM_HISTOGRAM_H
#define FM_RUNTIME_PLATFORM_HISTOGRAM_H

#include "fm/runtime.h"
#include "runtime/platform/atomic.h"

enum { HISTOGRAM_BUCKETS = 48 };

struct histogram {
    _Atomic uint64_t sum;
    _Atomic uint64_t max;
    _Atomic uint64_t bucket[HISTOGRAM_BUCKETS];
};

static inline void fm__histogram_add(struct histogram *h, int64_t value)
{
    uint64_t v = value > 0 ? (uint64_t)value : 0;
    unsigned i = v ? 63u - (unsigned)__builtin_clzll(v) : 0;
    fm__count(&h->bucket[i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1], 1);
    fm__count(&h->sum, v);
    /* relaxed: one writer */
    if (v > fm__counted(&h->max))
        atomic_store_explicit(&h->max, v, memory_order_relaxed);
}

/* Add what `from` holds to a public one. */
static inline void fm__histogram_sum(struct fm_histogram *to, const struct histogram *from)
{
    to->sum += fm__counted(&from->sum);
    uint64_t max = fm__counted(&from->max);
    if (max > to->max)
        to->max = max;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t n = fm__counted(&from->bucket[i]);
        to->bucket[i] += n;
        to->count += n;
    }
}

#endif
