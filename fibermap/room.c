/*
 * room.c - memory for a stripe: slabs of entries, larger tables, blobs for long keys
 *
 * What is missing is read under the lock, allocated with the lock free, and put in under the
 * lock; then all is looked at again, since others may have done the same.
 *
 * Owns        what is on its way; the stripe owns it from accept on.
 * Letters     of stripe.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/table.h"
#include "runtime/platform/atomic.h"
#include "runtime/platform/memory.h"

enum {
    SWEEP_WORTH = 8, /* dead entries that make a sweep worth raising the version */
};

/* What was allocated outside the lock, on its way into the stripe. */
struct room {
    void *slab;
    uint32_t slab_entries;
    void *table;
    unsigned table_log2;
    struct key_blob *blob;
    bool no_table; /* none to be had: longer chains will do */
};

enum { NEED_ENTRY = 1, NEED_TABLE = 2, NEED_BLOB = 4 };

static bool have_entry_locked(struct stripe *s)
{
    FM_ASSERT(fm__lock_held(&s->lock));
    if (s->free)
        return true;
    uint32_t dead = fm__dead_estimate(s, fm__stripe_count(s));
    if (dead >= SWEEP_WORTH &&
        dead >= atomic_load_explicit(&s->used, memory_order_relaxed) / 16) {
        fm__stripe_sweep_locked(s);
        if (s->free)
            return true;
    }
    return atomic_load_explicit(&s->made, memory_order_relaxed) < s->capacity;
}

static inline unsigned needs_locked(struct stripe *s, const struct map_key *key, size_t ahead)
{
    FM_ASSERT(fm__lock_held(&s->lock));
    unsigned need = 0;
    uintptr_t table = fm__table_in_use(s);

    if (!have_entry_locked(s))
        need |= NEED_ENTRY;
    if (!table || ((uint64_t)s->linked + ahead) * 2 > UINT64_C(1) << fm__table_log2(table))
        need |= NEED_TABLE;
    if (key->len > KEY_INLINE && !s->blob_free[fm__blob_class(key->words)])
        need |= NEED_BLOB;
    return need;
}

/* Build the table that grows out of the one in use, and put it into use. */
static void grow_locked(struct stripe *s, void *memory, unsigned log2)
{
    FM_ASSERT(fm__lock_held(&s->lock) && memory && log2 < TABLES_MAX);
    uintptr_t old = fm__table_in_use(s);
    uintptr_t new = (uintptr_t)memory | (64 - log2);
    unsigned from = fm__table_parity(old), to = fm__table_parity(new);
    uint32_t linked = 0;

    FM_ASSERT(!old || from != to); /* one step at a time */
    s->tables[log2] = memory;
    /*
     * (E): the links of this parity belonged to the table before the one in use; a lookup may
     * still walk that
     */
    atomic_store_explicit(&s->version,
                          atomic_load_explicit(&s->version, memory_order_relaxed) + 1,
                          memory_order_release);
    for (size_t i = 0; old && i < (size_t)1 << fm__table_log2(old); i++) {
        struct entry *e = fm__follow(&((struct table *)(old & ~TABLE_SHIFT))->bucket[i]), *next;
        for (; e; e = next) {
            next = fm__follow(&e->next[from]);
            if (fm__entry_life(fm__entry_read(e)) == ENTRY_DEAD) {
                e->linked = false;
                continue;
            }
            _Atomic(struct entry *) *bucket =
                fm__table_bucket(new, atomic_load_explicit(&e->head, memory_order_relaxed));
            fm__point(&e->next[to], fm__follow(bucket));
            fm__point(bucket, e);
            linked++;
        }
    }
    s->linked = linked;
    /* release: the new chains */
    atomic_store_explicit(&s->table, new, memory_order_release);
}

static void accept_locked(struct stripe *s, struct room *room)
{
    FM_ASSERT(fm__lock_held(&s->lock));
    uintptr_t table = fm__table_in_use(s);

    if (room->slab && room->slab_entries == s->capacity + SLAB_FIRST) {
        s->slabs[31 - __builtin_clz(room->slab_entries / SLAB_FIRST)] = room->slab;
        s->capacity += room->slab_entries;
        room->slab = NULL;
    }
    if (room->table && !s->tables[room->table_log2] &&
        (!table || room->table_log2 > fm__table_log2(table))) {
        grow_locked(s, room->table, room->table_log2);
        room->table = NULL;
    }
    if (room->blob) {
        room->blob->made = s->blobs;
        s->blobs = room->blob;
        room->blob->free = s->blob_free[room->blob->size_class];
        s->blob_free[room->blob->size_class] = room->blob;
        room->blob = NULL;
    }
}

static void *block_take(struct stripe *s, size_t bytes)
{
    FM_ASSERT(bytes);
    if (fm__block_is_large(s, bytes))
        return s->source->take(s->source, bytes);
    return fm__zalloc_aligned(FM_CACHE_LINE, bytes);
}

static void block_give(struct stripe *s, void *block, size_t bytes)
{
    FM_ASSERT(bytes || !block);
    if (block && fm__block_is_large(s, bytes))
        s->source->give(s->source, block, bytes);
    else
        free(block);
}

/* What did not fit, because another was faster. */
static void room_free(struct stripe *s, struct room *room)
{
    FM_ASSERT(s && room);
    block_give(s, room->slab, fm__slab_bytes(room->slab_entries));
    block_give(s, room->table, fm__table_bytes(room->table_log2));
    free(room->blob);
    room->slab = room->table = NULL;
    room->blob = NULL;
}

/* Without the lock. False: no memory for what cannot be done without. */
static bool room_make(struct stripe *s, struct room *room, unsigned need, uint32_t capacity,
                      uintptr_t table, const struct map_key *key)
{
    FM_ASSERT(!room->slab && !room->table && !room->blob);
    if (need & NEED_ENTRY) {
        room->slab_entries = capacity + SLAB_FIRST;
        if (room->slab_entries >> (SLABS_MAX + 3))
            return false;
        size_t bytes = fm__slab_bytes(room->slab_entries);
        room->slab = block_take(s, bytes);
        if (!room->slab || !fm__link_holds(room->slab, bytes))
            return false;
    }
    if (need & NEED_TABLE) {
        room->table_log2 = table ? fm__table_log2(table) + 1 : TABLE_FIRST_LOG2;
        room->table = room->table_log2 < TABLES_MAX
                          ? block_take(s, fm__table_bytes(room->table_log2))
                          : NULL;
        if (!room->table && !table)
            return false;
        room->no_table = !room->table;
    }
    if (need & NEED_BLOB) {
        unsigned size_class = fm__blob_class(key->words);
        uint32_t capacity_words = 16u << size_class;
        room->blob = fm__calloc(1, sizeof *room->blob + 8 * (size_t)capacity_words);
        if (!room->blob)
            return false;
        room->blob->size_class = size_class;
        room->blob->capacity = capacity_words;
    }
    return true;
}

static inline __attribute__((always_inline)) int lock_with_room(struct stripe *s,
                                                                const struct map_key *key,
                                                                size_t ahead)
{
    fm__lock(&s->lock);
    unsigned need = needs_locked(s, key, ahead);
    if (__builtin_expect(!need, 1))
        return 0;
    struct room room = { 0 };
    for (;;) {
        if (room.no_table)
            need &= ~(unsigned)NEED_TABLE;
        if (!need && !room.slab && !room.table)
            return 0;
        uint32_t capacity = s->capacity;
        uintptr_t table = fm__table_in_use(s);
        fm__unlock(&s->lock);
        room_free(s, &room);
        if (!room_make(s, &room, need, capacity, table, key)) {
            room_free(s, &room);
            return -ENOMEM;
        }
        fm__lock(&s->lock);
        accept_locked(s, &room);
        need = needs_locked(s, key, ahead);
    }
}

int fm__stripe_lock_with_room(struct stripe *s, const struct map_key *key)
{
    return lock_with_room(s, key, 0);
}

int fm__stripe_reserve(struct stripe *s, const struct map_key *key, size_t ahead,
                       struct entry **ret_entry)
{
    int r = lock_with_room(s, key, ahead);
    if (r < 0)
        return r;
    *ret_entry = fm__stripe_take_locked(s, key);
    fm__entry_publish(*ret_entry, 0); /* it may be given back as it is */
    fm__unlock(&s->lock);
    return 0;
}
