/*
 * slab.h - descriptors in type-stable memory
 *
 * Process-wide, so that an id names one fiber for ever: chunks of descriptors that are never
 * unmapped, a depot of free ones under a lock, and a cache of each worker. A stale pointer
 * always points to a descriptor.
 */
#ifndef FM_RUNTIME_FIBER_SLAB_H
#define FM_RUNTIME_FIBER_SLAB_H

#include "runtime/fiber/fiber.h"

enum {
    SLAB_CHUNK = 1024, /* descriptors */
    SLAB_CHUNKS = (1 << FIBER_ID_SLOT_BITS) / SLAB_CHUNK,
    SLAB_BATCH = 64,
};

struct slab_cache {
    struct fm_fiber *list; /* linked through task.next */
    uint32_t count;
};

/*
 * A free descriptor: its references word holds its next generation and 0 references. NULL: no
 * memory. `cache` NULL: the depot itself.
 */
struct fm_fiber *fm__slab_take(struct slab_cache *cache);
/* Its references word is set for the next generation. */
void fm__slab_give(struct slab_cache *cache, struct fm_fiber *fiber);
void fm__slab_flush(struct slab_cache *cache);

/* The descriptor of a slot, NULL if there was never one. Any thread. */
struct fm_fiber *fm__slab_find(uint32_t slot);

/* Where the chunks are: read by fm__slab_at alone. */
extern _Atomic(struct fm_fiber *) fm__slab_chunks[SLAB_CHUNKS];

/* fm__slab_find, inline: it is part of every lookup in a map. */
static inline struct fm_fiber *fm__slab_at(uint32_t slot)
{
    if (__builtin_expect(slot >= (1u << FIBER_ID_SLOT_BITS), 0))
        return NULL;
    /* acquire: the chunk's descriptors are in order */
    struct fm_fiber *chunk = atomic_load_explicit(&fm__slab_chunks[slot / SLAB_CHUNK],
                                                  memory_order_acquire);
    return chunk ? &chunk[slot % SLAB_CHUNK] : NULL;
}

#define FIBER_ID_SLOT ((UINT64_C(1) << FIBER_ID_SLOT_BITS) - 1)

/* A reference to fiber `id`, whose slot's descriptor this is; NULL if it is no more. */
static inline struct fm_fiber *fm__slab_ref_at(struct fm_fiber *fiber, uint64_t id)
{
    const uint64_t count = FIBER_ID_SLOT;
    uint64_t generation = id & ~count;
    /* relaxed: the swap checks */
    uint64_t old = atomic_load_explicit(&fiber->refs, memory_order_relaxed);
    while ((old & ~count) == generation && (old & count)) {
        /*
         * acquire: with the release in reset; the descriptor is this fiber's for as long as we
         * hold it
         */
        if (__builtin_expect(atomic_compare_exchange_weak_explicit(
                                 &fiber->refs, &old, old + 1, memory_order_acq_rel,
                                 memory_order_relaxed),
                             1))
            return fiber;
    }
    return NULL;
}

/* What fm__fiber_ref_id does, inline for the same reason. */
static inline struct fm_fiber *fm__slab_ref(uint64_t id)
{
    struct fm_fiber *fiber = fm__slab_at((uint32_t)(id & FIBER_ID_SLOT));
    return __builtin_expect(fiber != NULL, 1) ? fm__slab_ref_at(fiber, id) : NULL;
}

/*
 * The caller will want the fiber of this slot: have its memory fetched. Any number will do.
 * Returns the descriptor, NULL if there was never one.
 */
static inline struct fm_fiber *fm__slab_fetch(uint32_t slot)
{
    struct fm_fiber *fiber = fm__slab_at(slot & FIBER_ID_SLOT);
    /* to write: who wants the fiber counts a reference */
    if (fiber)
        __builtin_prefetch(fiber, 1);
    return fiber;
}

/* The same for a fiber that the caller will interrupt: all that a wake touches. */
static inline void fm__slab_fetch_to_wake(uint32_t slot)
{
    struct fm_fiber *fiber = fm__slab_fetch(slot);
    if (fiber) {
        __builtin_prefetch(&fiber->exits, 1);
        __builtin_prefetch(&fiber->kind, 1);
    }
}

/* One past the highest slot ever made. */
uint32_t fm__slab_slots(void);

#endif
