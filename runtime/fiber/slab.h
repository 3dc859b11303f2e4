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
/* One past the highest slot ever made. */
uint32_t fm__slab_slots(void);

#endif
