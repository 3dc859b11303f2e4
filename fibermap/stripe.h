/*
 * stripe.h - a part of the map: one lock, one table, its entries
 *
 * Whoever changes who stands under a key holds the stripe's lock: run, set, detach, and the
 * sweep. Lookups and exits hold nothing.
 *
 * The table is a power of two of chains. Each entry has two links, one for the table in use and
 * one for the table that is built beside it when it grows, so that a lookup always walks a
 * whole table; one store makes the new one the table in use.
 *
 * An entry is used again only after it has been unlinked, and only after the version has been
 * raised. A lookup reads the version, walks, and reads the version again: unequal, and
 * something it stood on may have been used again, so it starts over.
 */
#ifndef FM_FIBERMAP_STRIPE_H
#define FM_FIBERMAP_STRIPE_H

#include "fibermap/entry.h"
#include "fibermap/key.h"
#include "runtime/platform/atomic.h"
#include "runtime/platform/lock.h"

struct fm_map;
struct turn_lines;
struct idler;

enum {
    SLAB_FIRST = 16, /* entries of the first slab; each further one doubles */
    SLABS_MAX = 24,
    BLOB_CLASSES = 6, /* 128 bytes to 4096 */
    TABLE_FIRST_LOG2 = 4,
    TABLES_MAX = 32,
};

/*
 * The members of a stripe, in one word:
 *     63 watched   62 ..... 31 members   30 ..... 0 live
 * live: present entries; members: these and the zombies. Watched: somebody waits for emptiness,
 * so a change that takes either count to or from 0 is made under the map's wait lock (count.c).
 */
#define COUNT_LIVE_ONE UINT64_C(1)
#define COUNT_LIVE_MASK ((UINT64_C(1) << 31) - 1)
#define COUNT_MEMBER_ONE (UINT64_C(1) << 31)
#define COUNT_MEMBER_MASK (((UINT64_C(1) << 32) - 1) << 31)
#define COUNT_WATCHED (UINT64_C(1) << 63)

/*
 * The words of a long key. Of a fixed capacity for ever, so that a late reader never reads past
 * its end.
 */
struct key_blob {
    uint32_t capacity; /* in words */
    uint32_t size_class;
    struct key_blob *free; /* stripe lock */
    struct key_blob *made; /* stripe lock: all of this stripe */
    _Atomic uint64_t
        word[]; /* written by the maker of an entry before it publishes; read by lookups */
};

/*
 * The chains of a table; aligned, so that its address has room for 64 - log2 of their number:
 * the shift that leaves the number of a key's bucket. Its lowest bit is the parity.
 */
struct table {
    _Alignas(64) _Atomic(struct entry *) bucket[1];
};
#define TABLE_SHIFT UINT64_C(63)

/*
 * Where large blocks come from: zeroed, aligned to 128, kept by the source until the stripe is
 * no more. A block that is given back has not been touched.
 */
struct block_source {
    void *(*take)(struct block_source *source, size_t bytes);
    void (*give)(struct block_source *source, void *block, size_t bytes);
};
enum { BLOCK_LARGE = 128 << 10 }; /* bytes; smaller ones are malloc's */

struct stripe {
    /* read by lookups; written when a batch of entries is freed and when the table grows */
    FM_ALONE _Atomic uint64_t version;
    _Atomic uintptr_t table;     /* struct table * | 64 - log2; 0: none yet */
    struct fm_map *map;          /* constant */
    struct block_source *source; /* constant; NULL: malloc for all */
    /* who waits for his turn, by key (turn.c): NULL until somebody does for the first time */
    _Atomic(struct turn_lines *) lines;
    /* written seldom, under the lock */
    struct key_blob *blob_free[BLOB_CLASSES];
    struct key_blob *blobs;   /* all */
    size_t blob_bytes;        /* of the keys that stand in them */
    void *tables[TABLES_MAX]; /* all that were, by log2 */
    void *slabs[SLABS_MAX];   /* as allocated; slab i holds SLAB_FIRST << i entries */
    _Atomic uint32_t closing_ended, closing_failed; /* by exits, once the map is closing */
    _Atomic uint8_t lines_wanted; /* log2 of the buckets that `lines` should have; 0: enough */

    /* written by every run and every exit */
    FM_ALONE struct lock lock;    /* LOCK_MAP_STRIPE */
    _Atomic uint64_t count;       /* see above */
    _Atomic(struct entry *) dead; /* pushed by exits, taken whole by a sweep */
    struct entry *condemned;      /* lock: taken from dead, not swept yet */
    struct entry *free;           /* lock */
    _Atomic uint32_t
        made;          /* entries ever taken from the slabs: written under the lock, release */
    uint32_t capacity; /* lock: entries in the slabs */
    _Atomic uint32_t used; /* neither free nor MOVED: written under the lock, relaxed */
    uint32_t linked;       /* lock: in chains */
    struct idler *idlers;  /* lock: a heap of those with a ttl (idle.c) */
};

void fm__stripe_init(struct stripe *stripe, struct fm_map *map, struct block_source *source);
/* Give all memory back. Nobody looks any more. */
void fm__stripe_fini(struct stripe *stripe);

/* ---- lookups: no lock, unless sweeps and growth go on and on ---- */

/* The id of the fiber that is present under the key, else 0. lookup.h has a glance, inline. */
uint64_t fm__stripe_find(struct stripe *stripe, const struct map_key *key);
/* ---- writers ---- */

/*
 * Lock the stripe, with room for one more entry of this key; nothing is allocated under the
 * lock. 0, locked · -ENOMEM, not locked
 */
int fm__stripe_lock_with_room(struct stripe *stripe, const struct map_key *key);

/*
 * Take an entry for the key ahead: as fm__stripe_take_locked, with the lock free before and
 * after. `ahead` are taken so by this caller and not installed yet. It is installed later, or
 * given back by fm__stripe_bury. 0 · -ENOMEM
 */
int fm__stripe_reserve(struct stripe *stripe, const struct map_key *key, size_t ahead,
                       struct entry **ret_entry);

/*
 * Where a key stands in the table: the link that points to its entry, or to the first of its
 * chain.
 */
struct place {
    _Atomic(struct entry *) *link;
    struct entry *entry; /* NULL: none. LIVE or DEAD. */
};
struct place fm__stripe_find_locked(struct stripe *stripe, const struct map_key *key);

/* An entry for the key, out of the room: neither published nor linked. */
struct entry *fm__stripe_take_locked(struct stripe *stripe, const struct map_key *key);
/*
 * Let the entry, which is published, stand under its key, at `place`, for which nothing has
 * changed since it was found. Returns the id of the fiber that was displaced, 0 if none was
 * present.
 */
uint64_t fm__stripe_install_locked(struct stripe *stripe, struct place place,
                                   struct entry *entry);
/* Take the entry at `place` out of the table. It stays in use until it is buried. */
void fm__stripe_unlink_locked(struct stripe *stripe, struct place place);
/* One entry is MOVED: for estimates it is not in use any more, although its memory is. */
void fm__stripe_leave_locked(struct stripe *stripe);
/* Free some of the dead entries. */
void fm__stripe_sweep_locked(struct stripe *stripe);

/* ---- exits ---- */

/*
 * The entry has ended: its memory goes to the next sweep, which this does itself where the
 * stripe holds mostly dead and is not locked.
 */
void fm__stripe_bury(struct stripe *stripe, struct entry *entry);

/* ---- all entries ---- */

/*
 * Entry i, for all i below fm__stripe_made(). Whatever their states: a caller that holds no
 * lock reads the state word and no more.
 */
static inline uint32_t fm__stripe_made(struct stripe *stripe)
{
    /* acquire, with take: the slabs below are there */
    return atomic_load_explicit(&stripe->made, memory_order_acquire);
}
static inline struct entry *fm__stripe_at(struct stripe *stripe, uint32_t i)
{
    uint32_t slab = 31 - (uint32_t)__builtin_clz(i / SLAB_FIRST + 1);
    uintptr_t base = ((uintptr_t)stripe->slabs[slab] + 127) & ~(uintptr_t)127;
    /*
     * Lookups read the first of two lines. Half of the slabs, and in the next stripe the other
     * half, begin a line later: otherwise all first lines would share half of the cache's sets.
     */
    base += (((uintptr_t)stripe / sizeof *stripe ^ slab) & 1) * FM_CACHE_LINE;
    return (struct entry *)base + (i - SLAB_FIRST * ((1u << slab) - 1));
}

static inline uint64_t fm__stripe_count(struct stripe *stripe)
{
    /* relaxed: a number for the reader; who acts on it holds the lock that keeps it */
    return atomic_load_explicit(&stripe->count, memory_order_relaxed);
}
static inline uint64_t fm__count_live(uint64_t count)
{
    return count & COUNT_LIVE_MASK;
}
static inline uint64_t fm__count_members(uint64_t count)
{
    return (count & COUNT_MEMBER_MASK) / COUNT_MEMBER_ONE;
}

/* The length of an entry's key, its words, all its bytes. Of an entry that is not free. */
static inline uint32_t fm__entry_key_length(struct entry *entry)
{
    /* relaxed: while an entry is not free nobody writes its key */
    return fm__key_head_length(atomic_load_explicit(&entry->head, memory_order_relaxed));
}
/* A dump may ask of an entry that is being freed: then the word is any, and nothing breaks. */
static inline uint64_t fm__entry_key_word(struct entry *entry, uint32_t len, uint32_t i)
{
    if (len <= KEY_INLINE) /* relaxed: as above */
        return i < KEY_WORDS ? atomic_load_explicit(&entry->word[i], memory_order_relaxed) : 0;
    /* acquire: the blob's capacity */
    struct key_blob *blob = atomic_load_explicit(&entry->blob, memory_order_acquire);
    return blob && i < blob->capacity
               ? atomic_load_explicit(&blob->word[i], memory_order_relaxed)
               : 0;
}
void fm__entry_copy_key(struct entry *entry, void *to);

#endif
