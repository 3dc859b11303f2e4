/*
 * atomic.h - what C11 atomics leave out
 *
 * Atomic accesses are written out in full where they happen, each with its order; this room
 * holds only the cache line, the pause of a spinning processor, and the shape of a relaxed
 * counter.
 */
#ifndef FM_RUNTIME_PLATFORM_ATOMIC_H
#define FM_RUNTIME_PLATFORM_ATOMIC_H

#include <stdatomic.h>
#include <stdint.h>

#include "runtime/platform/turn.h"

/* Two lines: x86 prefetches them in pairs. */
#define FM_CACHE_LINE 64
#define FM_ALONE _Alignas(2 * FM_CACHE_LINE)

static inline void fm__cpu_relax(void)
{
#if defined FM_EXPLORE
    fm__turn_give();
#elif defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield" ::: "memory");
#endif
}

/* A counter with one writer and racy readers: no read-modify-write, no order. */
static inline void fm__count(_Atomic uint64_t *counter, uint64_t n)
{
    /* relaxed: one writer; readers want a recent value, not an order */
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + n, memory_order_relaxed);
}

static inline uint64_t fm__counted(const _Atomic uint64_t *counter)
{
    /* relaxed: see fm__count */
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
