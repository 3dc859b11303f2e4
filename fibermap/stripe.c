/*
 * stripe.c - chains, room, sweeping
 *
 * Owns        slabs, tables and blobs from the first need until fini. Nothing is unmapped before: that is what lets lookups walk
 *             without a lock.
 * Knows not   fibers, waiting, the map's state.
 * Invariant   a linked entry is in exactly one chain of the table in use; a key has at most one linked entry; an entry is LIVE, HELD or
 *             DEAD while it is linked; DEAD and GONE ones come to `dead` exactly once, by the exit that ended them.
 * Together    (X: the caller keeps the two apart; -: they may run at once)
 *                           find  locked  bury  fini
 *                 find       -      -      -     X
 *                 locked     -      X      -     X
 *                 bury       -      -      -     X
 *
 * Order       all that a lookup reads (links, heads, words, states, blobs) is stored with release and read with acquire. So:
 *             (E) raise the version   release   after the unlinking, before anything is used again
 *             (F) first read of it    acquire   a lookup that sees (E) sees the unlinking: it cannot reach the entry by the table
 *             (G) use again           release   a lookup that sees any such store sees (E) as well, so
 *             (H) last read of it     relaxed   differs from F, and the lookup starts over
 *             What a lookup stands on between equal F and H has therefore not been used again: each link it followed was, at some
 *             instant since F, the link of a chain, and the words it compared belong to one key. README.md goes through the cases.
 */
#include "fibermap/stripe.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

enum {
    FIND_TRIES = 8,    /* then take the lock */
    FIND_STEPS = 4096, /* of one walk: far above any chain */
    SWEEP_BATCH = 64,  /* entries freed under one hold of the lock */
    SWEEP_WORTH = 8,   /* dead entries that make a sweep worth raising the version */
    BURY_SWEEPS = 512, /* dead entries that make an exit sweep */
};

void fm__stripe_init(struct stripe *s, struct fm_map *map)
{
    memset(s, 0, sizeof *s);
    fm__lock_init(&s->lock, LOCK_MAP_STRIPE);
    s->map = map;
}

void fm__stripe_fini(struct stripe *s)
{
    for (int i = 0; i < SLABS_MAX; i++)
        free(s->slabs[i]);
    for (int i = 0; i < 32; i++)
        free(s->tables[i]);
    while (s->blobs) {
        struct key_blob *blob = s->blobs;
        s->blobs = blob->made;
        free(blob);
    }
}

/* ---- tables ---- */

static inline unsigned table_parity(uintptr_t table)
{
    return (unsigned)(table & TABLE_PARITY);
}

static inline unsigned table_log2(uintptr_t table)
{
    return (unsigned)((table & TABLE_FLAGS) >> TABLE_LOG2_SHIFT);
}

static inline _Atomic(struct entry *) *bucket_of(uintptr_t table, uint64_t head)
{
    uint64_t mask = (UINT64_C(1) << table_log2(table)) - 1;
    return &((struct table *)(table & ~TABLE_FLAGS))->bucket[(head >> KEY_LENGTH_BITS) & mask];
}

static inline struct entry *follow(_Atomic(struct entry *) *link)
{
    /* acquire, with (A) of entry.h, and the fourth line of Order above */
    return atomic_load_explicit(link, memory_order_acquire);
}

static inline void point(_Atomic(struct entry *) *link, struct entry *to)
{
    /* release: all of `to` is written; (G) where `to` or the holder of the link is used again */
    atomic_store_explicit(link, to, memory_order_release);
}

static inline uintptr_t table_in_use(struct stripe *s)
{
    /* acquire: the chains are built */
    return atomic_load_explicit(&s->table, memory_order_acquire);
}

/* ---- keys of entries ---- */

static bool blob_matches(struct entry *e, const struct map_key *key)
{
    struct key_blob *blob = atomic_load_explicit(&e->blob, memory_order_acquire);
    /* An entry that is used again while we look may have any blob of the stripe: the capacity never changes. */
    if (!blob || blob->capacity < key->words)
        return false;
    for (uint32_t i = 0; i < key->words; i++)
        if (atomic_load_explicit(&blob->word[i], memory_order_acquire) != fm__key_word(key, i))
            return false;
    return true;
}

static inline bool matches(struct entry *e, const struct map_key *key)
{
    if (atomic_load_explicit(&e->head, memory_order_acquire) != key->head)
        return false;
    if (__builtin_expect(key->len > KEY_INLINE, 0))
        return blob_matches(e, key);
    for (uint32_t i = 0; i < key->words; i++)
        if (atomic_load_explicit(&e->word[i], memory_order_acquire) != key->word[i])
            return false;
    return true;
}

void fm__entry_copy_key(struct entry *e, void *to)
{
    /* relaxed, all: the entry is not free, so nobody writes its key */
    uint32_t len = fm__entry_key_length(e), words = (len + 7) / 8;
    struct key_blob *blob = atomic_load_explicit(&e->blob, memory_order_relaxed);
    for (uint32_t i = 0; i < words; i++) {
        uint64_t word = atomic_load_explicit(len > KEY_INLINE ? &blob->word[i] : &e->word[i],
                                             memory_order_relaxed);
        memcpy((char *)to + 8 * i, &word, 8);
    }
}

/* ---- lookups ---- */

/* One walk. False: something was used again under it, or it went on too long. */
static bool walk(struct stripe *s, const struct map_key *key, uint64_t *ret_id)
{
    /* acquire (F) */
    uint64_t version = atomic_load_explicit(&s->version, memory_order_acquire);
    uintptr_t table = table_in_use(s);
    struct entry *e = NULL;
    uint64_t id = 0;
    unsigned steps = 0;

    if (!table) {
        *ret_id = 0;
        return true;
    }
    unsigned parity = table_parity(table);
    for (e = follow(bucket_of(table, key->head)); e && !matches(e, key);
         e = follow(&e->next[parity]))
        if (__builtin_expect(++steps > FIND_STEPS, 0))
            return false;
    while (e) {
        uint64_t state = fm__entry_read(e);
        id = fm__entry_present(state);
        enum entry_life life = fm__entry_life(state);
        if (life != ENTRY_ZOMBIE && life != ENTRY_GONE)
            break;
        /* acquire, with the swap that we saw: the successor is written */
        e = atomic_load_explicit(&e->successor, memory_order_acquire);
        if (__builtin_expect(++steps > FIND_STEPS, 0))
            return false;
    }
    /* relaxed (H): all reads before it are acquire, so it stays behind them */
    if (__builtin_expect(atomic_load_explicit(&s->version, memory_order_relaxed) != version, 0))
        return false;
    *ret_id = id;
    return true;
}

uint64_t fm__stripe_find(struct stripe *s, const struct map_key *key)
{
    uint64_t id = 0;

    for (int i = 0; i < FIND_TRIES; i++)
        if (__builtin_expect(walk(s, key, &id), 1))
            return id;
    fm__lock(&s->lock);
    struct place place = fm__stripe_find_locked(s, key);
    if (place.entry)
        id = fm__entry_present(fm__entry_read(place.entry));
    fm__unlock(&s->lock);
    return id;
}

struct place fm__stripe_find_locked(struct stripe *s, const struct map_key *key)
{
    uintptr_t table = table_in_use(s);
    if (!table)
        return (struct place) { NULL, NULL };
    unsigned parity = table_parity(table);
    _Atomic(struct entry *) *bucket = bucket_of(table, key->head), *link = bucket;
    for (struct entry *e = follow(link); e; link = &e->next[parity], e = follow(link))
        if (matches(e, key))
            return (struct place) { link, e };
    return (struct place) { bucket, NULL };
}

/* ---- room ---- */

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

static unsigned blob_class(uint32_t words)
{
    return words <= 16 ? 0 : 32 - (unsigned)__builtin_clz((words - 1) / 16);
}

/* A guess: detached fibers count as dead, and an exit may read the two numbers at different times. */
static uint32_t dead_estimate(struct stripe *s, uint64_t count)
{
    /* relaxed: an exit may read it while the lock's holder writes */
    uint32_t used = atomic_load_explicit(&s->used, memory_order_relaxed);
    uint64_t members = fm__count_members(count);
    return used > members ? (uint32_t)(used - members) : 0;
}

static bool have_entry_locked(struct stripe *s)
{
    if (s->free)
        return true;
    uint32_t dead = dead_estimate(s, fm__stripe_count(s));
    if (dead >= SWEEP_WORTH &&
        dead >= atomic_load_explicit(&s->used, memory_order_relaxed) / 16) {
        fm__stripe_sweep_locked(s);
        if (s->free)
            return true;
    }
    return atomic_load_explicit(&s->made, memory_order_relaxed) < s->capacity;
}

static unsigned needs_locked(struct stripe *s, const struct map_key *key)
{
    unsigned need = 0;
    uintptr_t table = table_in_use(s);

    if (!have_entry_locked(s))
        need |= NEED_ENTRY;
    if (!table || s->linked >> table_log2(table))
        need |= NEED_TABLE;
    if (key->len > KEY_INLINE && !s->blob_free[blob_class(key->words)])
        need |= NEED_BLOB;
    return need;
}

/* Build the table that grows out of the one in use, and put it into use. */
static void grow_locked(struct stripe *s, void *memory, unsigned log2)
{
    uintptr_t old = table_in_use(s);
    unsigned from = table_parity(old), to = old ? !from : 0;
    uintptr_t new = (uintptr_t)memory | log2 << TABLE_LOG2_SHIFT | to;
    uint32_t linked = 0;

    s->tables[log2] = memory;
    /* (E): the links of this parity belonged to the table before the one in use; a lookup may still walk that */
    atomic_store_explicit(&s->version,
                          atomic_load_explicit(&s->version, memory_order_relaxed) + 1,
                          memory_order_release);
    for (size_t i = 0; old && i < (size_t)1 << table_log2(old); i++) {
        struct entry *e = follow(&((struct table *)(old & ~TABLE_FLAGS))->bucket[i]), *next;
        for (; e; e = next) {
            next = follow(&e->next[from]);
            if (fm__entry_life(fm__entry_read(e)) == ENTRY_DEAD) {
                e->linked = false;
                continue;
            }
            _Atomic(struct entry *) *bucket =
                bucket_of(new, atomic_load_explicit(&e->head, memory_order_relaxed));
            point(&e->next[to], follow(bucket));
            point(bucket, e);
            linked++;
        }
    }
    s->linked = linked;
    /* release: the new chains */
    atomic_store_explicit(&s->table, new, memory_order_release);
}

static void accept_locked(struct stripe *s, struct room *room)
{
    uintptr_t table = table_in_use(s);

    if (room->slab && room->slab_entries == s->capacity + SLAB_FIRST) {
        s->slabs[31 - __builtin_clz(room->slab_entries / SLAB_FIRST)] = room->slab;
        s->capacity += room->slab_entries;
        room->slab = NULL;
    }
    if (room->table && !s->tables[room->table_log2] &&
        (!table || room->table_log2 > table_log2(table))) {
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

static void room_free(struct room *room)
{
    free(room->slab);
    free(room->table);
    free(room->blob);
    room->slab = room->table = NULL;
    room->blob = NULL;
}

/* Without the lock. False: no memory for what cannot be done without. */
static bool room_make(struct room *room, unsigned need, uint32_t capacity, uintptr_t table,
                      const struct map_key *key)
{
    if (need & NEED_ENTRY) {
        room->slab_entries = capacity + SLAB_FIRST;
        if (room->slab_entries >> (SLABS_MAX + 3))
            return false;
        room->slab = fm__calloc(room->slab_entries + 1, sizeof(struct entry));
        if (!room->slab)
            return false;
    }
    if (need & NEED_TABLE) {
        room->table_log2 = table ? table_log2(table) + 1 : TABLE_FIRST_LOG2;
        room->table = room->table_log2 < 32
                          ? fm__zalloc_aligned(64, sizeof(void *) << room->table_log2)
                          : NULL;
        if (!room->table && !table)
            return false;
        room->no_table = !room->table;
    }
    if (need & NEED_BLOB) {
        unsigned size_class = blob_class(key->words);
        uint32_t capacity_words = 16u << size_class;
        room->blob = fm__calloc(1, sizeof *room->blob + 8 * (size_t)capacity_words);
        if (!room->blob)
            return false;
        room->blob->size_class = size_class;
        room->blob->capacity = capacity_words;
    }
    return true;
}

int fm__stripe_lock_with_room(struct stripe *s, const struct map_key *key)
{
    struct room room = { 0 };

    for (;;) {
        fm__lock(&s->lock);
        accept_locked(s, &room);
        unsigned need = needs_locked(s, key);
        if (room.no_table)
            need &= ~(unsigned)NEED_TABLE;
        if (__builtin_expect(!need && !room.slab && !room.table, 1))
            return 0;
        uint32_t capacity = s->capacity;
        uintptr_t table = table_in_use(s);
        fm__unlock(&s->lock);
        room_free(&room);
        if (!room_make(&room, need, capacity, table, key)) {
            room_free(&room);
            return -ENOMEM;
        }
    }
}

/* ---- entries in and out ---- */

static void write_key(struct stripe *s, struct entry *e, const struct map_key *key)
{
    struct key_blob *blob = NULL;

    if (key->len > KEY_INLINE) {
        unsigned size_class = blob_class(key->words);
        blob = s->blob_free[size_class];
        s->blob_free[size_class] = blob->free;
        s->blob_bytes += key->len;
        for (uint32_t i = 0; i < key->words; i++)
            atomic_store_explicit(&blob->word[i], fm__key_word(key, i),
                                  memory_order_release); /* (G) */
    } else {
        for (uint32_t i = 0; i < key->words; i++)
            atomic_store_explicit(&e->word[i], key->word[i], memory_order_release); /* (G) */
    }
    atomic_store_explicit(&e->blob, blob, memory_order_release);      /* (G) */
    atomic_store_explicit(&e->head, key->head, memory_order_release); /* (G) */
}

struct entry *fm__stripe_take_locked(struct stripe *s, const struct map_key *key)
{
    struct entry *e = s->free;
    if (e) {
        s->free = e->link;
    } else {
        uint32_t made = atomic_load_explicit(&s->made, memory_order_relaxed);
        FM_ASSERT(made < s->capacity);
        e = fm__stripe_at(s, made);
        /* release: the slab is in place, for who looks at all entries without the lock */
        atomic_store_explicit(&s->made, made + 1, memory_order_release);
    }
    FM_ASSERT(!e->linked);
    atomic_store_explicit(&s->used, atomic_load_explicit(&s->used, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    write_key(s, e, key);
    return e;
}

uint64_t fm__stripe_install_locked(struct stripe *s, struct place place, struct entry *e)
{
    unsigned parity = table_parity(table_in_use(s));
    struct entry *old = place.entry;
    uint64_t displaced = 0;

    if (old) {
        point(&e->next[parity], follow(&old->next[parity]));
        displaced = fm__entry_displace(old, e);
        old->linked = false;
    } else {
        point(&e->next[parity], follow(place.link));
        s->linked++;
    }
    e->linked = true;
    point(place.link, e);
    return displaced;
}

void fm__stripe_unlink_locked(struct stripe *s, struct place place)
{
    FM_ASSERT(place.entry->linked);
    place.entry->linked = false;
    s->linked--;
    point(place.link, follow(&place.entry->next[table_parity(table_in_use(s))]));
}

static void unlink_dead_locked(struct stripe *s, struct entry *dead)
{
    uintptr_t table = table_in_use(s);
    unsigned parity = table_parity(table);
    _Atomic(struct entry *) *link = bucket_of(table,
                                              atomic_load_explicit(&dead->head,
                                                                   memory_order_relaxed));
    struct entry *e = follow(link);
    while (e != dead) {
        FM_ASSERT(e);
        link = &e->next[parity];
        e = follow(link);
    }
    fm__stripe_unlink_locked(s, (struct place) { link, dead });
}

void fm__stripe_sweep_locked(struct stripe *s)
{
    struct entry *first = NULL, *last = NULL;
    uint32_t n = 0;

    if (!s->condemned)
        /* acquire, with bury: the link and the end of each entry */
        s->condemned = atomic_exchange_explicit(&s->dead, NULL, memory_order_acquire);
    while (s->condemned && n < SWEEP_BATCH) {
        struct entry *e = s->condemned;
        s->condemned = e->link;
        if (e->linked)
            unlink_dead_locked(s, e);
        e->link = first;
        first = e;
        last = last ? last : e;
        n++;
    }
    if (!n)
        return;
    /* release (E): the unlinking comes before, all new use after */
    atomic_store_explicit(&s->version,
                          atomic_load_explicit(&s->version, memory_order_relaxed) + 1,
                          memory_order_release);
    for (struct entry *e = first; e; e = e->link) {
        struct key_blob *blob = atomic_load_explicit(&e->blob, memory_order_relaxed);
        if (!blob)
            continue;
        s->blob_bytes -= fm__entry_key_length(e);
        blob->free = s->blob_free[blob->size_class];
        s->blob_free[blob->size_class] = blob;
        atomic_store_explicit(&e->blob, NULL, memory_order_release); /* (G) */
    }
    last->link = s->free;
    s->free = first;
    atomic_store_explicit(&s->used, atomic_load_explicit(&s->used, memory_order_relaxed) - n,
                          memory_order_relaxed);
}

void fm__stripe_bury(struct stripe *s, struct entry *e)
{
    /* relaxed: the swap checks */
    struct entry *head = atomic_load_explicit(&s->dead, memory_order_relaxed);
    do
        e->link = head;
    /* release: the link and the end of the entry, to the sweep */
    while (!atomic_compare_exchange_weak_explicit(&s->dead, &head, e, memory_order_release,
                                                  memory_order_relaxed));

    uint64_t count = fm__stripe_count(s);
    uint32_t dead = dead_estimate(s, count);
    if (__builtin_expect(dead > BURY_SWEEPS && dead > fm__count_live(count), 0) &&
        fm__lock_try(&s->lock)) {
        fm__stripe_sweep_locked(s);
        fm__unlock(&s->lock);
    }
}
