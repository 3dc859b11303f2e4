/*
 * table.h - what stripe.c and room.c share: the chains of a table, and two guesses
 */
#ifndef FM_FIBERMAP_TABLE_H
#define FM_FIBERMAP_TABLE_H

#include "fibermap/stripe.h"
#include "runtime/platform/check.h"

static inline unsigned fm__table_log2(uintptr_t table)
{
    FM_ASSERT(table);
    return (unsigned)(64 - (table & TABLE_SHIFT));
}

static inline unsigned fm__table_parity(uintptr_t table)
{
    return (unsigned)(table & 1);
}

static inline _Atomic(struct entry *) *fm__table_bucket(uintptr_t table, uint64_t head)
{
    FM_ASSERT(table);
    uint64_t i = head << KEY_STRIPE_BITS >> (table & TABLE_SHIFT);
    return &((struct table *)(table & ~TABLE_SHIFT))->bucket[i];
}

/*
 * A link is the address of an entry, without the bits that alignment leaves 0, and above it the
 * low bits of the slot of its fiber: a lookup that wants the fiber can have both fetched at
 * once, where memory is far away. A hint alone: the entry's state says who it is.
 */
#define LINK_HIGH 48 /* bits of an address, of which LINK_LOW are 0 */
#define LINK_LOW 6
#define LINK_SLOT_SHIFT (LINK_HIGH - LINK_LOW)

/*
 * Whether links can point into this block: memory tags, and mappings above 2^48 that a program
 * asks for by address, take the bits of the slot.
 */
static inline bool fm__link_holds(const void *block, size_t bytes)
{
    return (((uintptr_t)block | ((uintptr_t)block + bytes)) >> LINK_HIGH) == 0;
}

static inline struct entry *fm__link_entry(struct entry *link)
{
    return (struct entry *)((uintptr_t)link << (64 - LINK_SLOT_SHIFT) >> (64 - LINK_HIGH));
}

static inline uint32_t fm__link_slot(struct entry *link)
{
    return (uint32_t)((uintptr_t)link >> LINK_SLOT_SHIFT);
}

/* The link as it is, for fm__link_entry and fm__link_slot. */
static inline struct entry *fm__link_read(_Atomic(struct entry *) *link)
{
    /* acquire, with (A) of entry.h, and the fourth line of Order above */
    return atomic_load_explicit(link, memory_order_acquire);
}

static inline struct entry *fm__follow(_Atomic(struct entry *) *link)
{
    return fm__link_entry(fm__link_read(link));
}

static inline void fm__point(_Atomic(struct entry *) *link, struct entry *to)
{
    uintptr_t bits = (uintptr_t)to >> LINK_LOW;
    if (to) {
        /* relaxed: a hint */
        uint64_t id = atomic_load_explicit(&to->state, memory_order_relaxed);
        FM_ASSERT(fm__link_entry((struct entry *)bits) == to);
        bits |= id << LINK_SLOT_SHIFT;
    }
    /*
     * release: all of `to` is written; (G) where `to` or the holder of the link is used again
     */
    atomic_store_explicit(link, (struct entry *)bits, memory_order_release);
}

static inline uintptr_t fm__table_in_use(struct stripe *s)
{
    /* acquire: the chains are built */
    return atomic_load_explicit(&s->table, memory_order_acquire);
}

/*
 * A guess: detached fibers count as dead, and an exit may read the two numbers at different
 * times.
 */
static inline uint32_t fm__dead_estimate(struct stripe *s, uint64_t count)
{
    /* relaxed: an exit may read it while the lock's holder writes */
    uint32_t used = atomic_load_explicit(&s->used, memory_order_relaxed);
    uint64_t members = fm__count_members(count);
    return used > members ? (uint32_t)(used - members) : 0;
}

static inline unsigned fm__blob_class(uint32_t words)
{
    FM_ASSERT(words);
    return words <= 16 ? 0 : 32 - (unsigned)__builtin_clz((words - 1) / 16);
}

static inline size_t fm__table_bytes(unsigned log2)
{
    return sizeof(void *) << log2;
}

/* With room to align what malloc gives. */
static inline size_t fm__slab_bytes(uint32_t entries)
{
    return ((size_t)entries + 1) * sizeof(struct entry);
}

static inline bool fm__block_is_large(struct stripe *s, size_t bytes)
{
    return s->source && bytes >= BLOCK_LARGE;
}

#endif
