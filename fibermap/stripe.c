/*
 * stripe.c - lookups; entries in and out of the chains; sweeping
 *
 * Owns        slabs, tables and blobs from the first need until fini. Nothing is unmapped
 *             before: that is what lets lookups walk without a lock.
 * Knows not   fibers, waiting, the map's state.
 * Invariant   a linked entry is in exactly one chain of the table in use; a key has at most one
 *             linked entry; an entry is LIVE, HELD, COMING or DEAD while it is linked, and
 *             while the lock is free not COMING; DEAD, GONE and MOVED ones come to `dead`
 *             exactly once, by the exit that ended them, or by who made use of them for an
 *             instant alone.
 * Together    (X: the caller keeps the two apart; -: they may run at once)
 *                           find  locked  bury  fini
 *                 find       -      -      -     X
 *                 locked     -      X      -     X
 *                 bury       -      -      -     X
 *
 * Order       all that a lookup reads (links, heads, words, states, blobs) is stored with
 *             release and read with acquire. So:
 *             (E) raise the version   release   after the unlinking, before anything is used
 *                                               again
 *             (F) first read of it    acquire   a lookup that sees (E) sees the unlinking: it
 *                                               cannot reach the entry by the table
 *             (G) use again           release   a lookup that sees any such store sees (E) as
 *                                               well, so
 *             (H) last read of it     relaxed   differs from F, and the lookup starts over
 *             What a lookup stands on between equal F and H has therefore not been used again:
 *             each link it followed was, at some instant since F, the link of a chain, and the
 *             words it compared belong to one key. README.md goes through the cases.
 */
#include "fibermap/stripe.h"

#include <stdlib.h>

#include "fibermap/lookup.h"
#include "runtime/platform/check.h"

enum {
    FIND_TRIES = 8,    /* then take the lock */
    FIND_STEPS = 4096, /* of one walk: far above any chain */
    SWEEP_BATCH = 64,  /* entries freed under one hold of the lock */
    BURY_SWEEPS = 512, /* dead entries that make an exit sweep */
};

void fm__stripe_init(struct stripe *s, struct fm_map *map, struct block_source *source)
{
    memset(s, 0, sizeof *s);
    fm__lock_init(&s->lock, LOCK_MAP_STRIPE);
    s->map = map;
    s->source = source;
}

void fm__stripe_fini(struct stripe *s)
{
    for (uint32_t i = 0; i < SLABS_MAX; i++)
        if (!fm__block_is_large(s, fm__slab_bytes(SLAB_FIRST << i)))
            free(s->slabs[i]);
    for (unsigned i = 0; i < TABLES_MAX; i++)
        if (!fm__block_is_large(s, fm__table_bytes(i)))
            free(s->tables[i]);
    while (s->blobs) {
        struct key_blob *blob = s->blobs;
        s->blobs = blob->made;
        free(blob);
    }
}

/* ---- keys of entries ---- */

bool fm__blob_matches(struct entry *e, const struct map_key *key)
{
    FM_ASSERT(key->len > KEY_INLINE);
    struct key_blob *blob = atomic_load_explicit(&e->blob, memory_order_acquire);
    /*
     * An entry that is used again while we look may have any blob of the stripe: the capacity
     * never changes.
     */
    if (!blob || blob->capacity < key->words)
        return false;
    for (uint32_t i = 0; i < key->words; i++)
        if (atomic_load_explicit(&blob->word[i], memory_order_acquire) != fm__key_word(key, i))
            return false;
    return true;
}

void fm__entry_copy_key(struct entry *e, void *to)
{
    FM_ASSERT(to);
    uint32_t len = fm__entry_key_length(e);
    for (uint32_t i = 0; i < fm__key_words(len); i++)
        fm__put_word(to, len, i, fm__entry_key_word(e, len, i));
}

/* ---- lookups ---- */

/* One walk. False: something was used again under it, or it went on too long. */
static bool walk(struct stripe *s, const struct map_key *key, uint64_t *ret_id)
{
    /* acquire (F) */
    uint64_t version = atomic_load_explicit(&s->version, memory_order_acquire);
    uintptr_t table = fm__table_in_use(s);
    struct entry *e = NULL;
    uint64_t id = 0;
    unsigned steps = 0;

    if (!table) {
        *ret_id = 0;
        return true;
    }
    unsigned parity = fm__table_parity(table);
    for (e = fm__follow(fm__table_bucket(table, key->head)); e && !fm__entry_matches(e, key);
         e = fm__follow(&e->next[parity]))
        if (++steps > FIND_STEPS)
            return false;
    while (e) {
        uint64_t state = fm__entry_read(e);
        id = fm__entry_present(state);
        enum entry_life life = fm__entry_life(state);
        if (life != ENTRY_ZOMBIE && life != ENTRY_GONE && life != ENTRY_COMING)
            break;
        if (life == ENTRY_COMING && fm__entry_coming(e, state, &id))
            break;
        if (life != ENTRY_COMING)
            /* acquire, with the swap that we saw: the successor is written */
            e = atomic_load_explicit(&e->successor, memory_order_acquire);
        if (++steps > FIND_STEPS)
            return false;
    }
    /* relaxed (H): all reads before it are acquire, so it stays behind them */
    if (atomic_load_explicit(&s->version, memory_order_relaxed) != version)
        return false;
    *ret_id = id;
    return true;
}

static uint64_t find_with_lock(struct stripe *s, const struct map_key *key)
{
    FM_ASSERT(key);
    uint64_t id = 0;

    fm__lock(&s->lock);
    struct place place = fm__stripe_find_locked(s, key);
    if (place.entry)
        id = fm__entry_present(fm__entry_read(place.entry));
    fm__unlock(&s->lock);
    return id;
}

uint64_t fm__stripe_search(struct stripe *s, const struct map_key *key)
{
    uint64_t id = 0;

    for (int i = 0; i < FIND_TRIES; i++)
        if (walk(s, key, &id))
            return id;
    return find_with_lock(s, key);
}

uint64_t fm__stripe_find(struct stripe *s, const struct map_key *key)
{
    if (key->words <= KEY_FIRST) {
        struct short_key read = { key->head, { key->word[0], key->word[1], key->word[2] } };
        struct glance seen = fm__stripe_glance(s, &read, NULL);
        if (__builtin_expect(seen.sure, 1))
            return seen.id;
    }
    return fm__stripe_search(s, key);
}

struct place fm__stripe_find_locked(struct stripe *s, const struct map_key *key)
{
    FM_ASSERT(fm__lock_held(&s->lock));
    uintptr_t table = fm__table_in_use(s);
    if (!table)
        return (struct place) { NULL, NULL };
    unsigned parity = fm__table_parity(table);
    _Atomic(struct entry *) *bucket = fm__table_bucket(table, key->head), *link = bucket;
    for (struct entry *e = fm__follow(link); e; link = &e->next[parity], e = fm__follow(link))
        if (fm__entry_matches(e, key))
            return (struct place) { link, e };
    return (struct place) { bucket, NULL };
}

/* ---- entries in and out ---- */

static void write_key(struct stripe *s, struct entry *e, const struct map_key *key)
{
    FM_ASSERT(key->len && key->len <= FM_KEY_MAX);
    struct key_blob *blob = NULL;

    if (key->len > KEY_INLINE) {
        unsigned size_class = fm__blob_class(key->words);
        FM_ASSERT(s->blob_free[size_class]);
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
    FM_ASSERT(fm__lock_held(&s->lock));
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
    e->shared = 0;
    e->idles = false;
    atomic_store_explicit(&s->used, atomic_load_explicit(&s->used, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    write_key(s, e, key);
    return e;
}

uint64_t fm__stripe_install_locked(struct stripe *s, struct place place, struct entry *e)
{
    FM_ASSERT(fm__lock_held(&s->lock) && place.link);
    FM_ASSERT(!e->linked && e != place.entry);
    unsigned parity = fm__table_parity(fm__table_in_use(s));
    struct entry *old = place.entry;
    uint64_t displaced = 0;

    if (old) {
        fm__point(&e->next[parity], fm__follow(&old->next[parity]));
        displaced = fm__entry_displace(old, e);
        old->linked = false;
    } else {
        fm__point(&e->next[parity], fm__follow(place.link));
        s->linked++;
    }
    e->linked = true;
    fm__point(place.link, e);
    return displaced;
}

void fm__stripe_unlink_locked(struct stripe *s, struct place place)
{
    FM_ASSERT(place.entry->linked);
    FM_ASSERT(fm__lock_held(&s->lock) && s->linked);
    FM_ASSERT(place.link && place.entry);
    place.entry->linked = false;
    s->linked--;
    fm__point(place.link,
              fm__follow(&place.entry->next[fm__table_parity(fm__table_in_use(s))]));
}

static void unlink_dead_locked(struct stripe *s, struct entry *dead)
{
    FM_ASSERT(fm__lock_held(&s->lock));
    FM_ASSERT(dead->linked);
    uintptr_t table = fm__table_in_use(s);
    unsigned parity = fm__table_parity(table);
    _Atomic(struct entry *) *link =
        fm__table_bucket(table, atomic_load_explicit(&dead->head, memory_order_relaxed));
    struct entry *e = fm__follow(link);
    while (e != dead) {
        FM_ASSERT(e);
        link = &e->next[parity];
        e = fm__follow(link);
    }
    fm__stripe_unlink_locked(s, (struct place) { link, dead });
}

void fm__stripe_sweep_locked(struct stripe *s)
{
    FM_ASSERT(fm__lock_held(&s->lock));
    struct entry *first = NULL, *last = NULL;
    uint32_t n = 0, moved = 0;

    if (!s->condemned)
        /* acquire, with bury: the link and the end of each entry */
        s->condemned = atomic_exchange_explicit(&s->dead, NULL, memory_order_acquire);
    while (s->condemned && n < SWEEP_BATCH) {
        struct entry *e = s->condemned;
        s->condemned = e->link;
        enum entry_life life = fm__entry_life(fm__entry_read(e));
        /* a displaced one is out already: its second line need not be read */
        if (life == ENTRY_DEAD && e->linked)
            unlink_dead_locked(s, e);
        moved += life == ENTRY_MOVED; /* counted out of `used` when it was left */
        e->link = first;
        first = e;
        last = last ? last : e;
        n++;
        FM_ASSERT(n <= SWEEP_BATCH && moved <= n);
    }
    if (!n)
        return;
    /* release (E): the unlinking comes before, all new use after */
    atomic_store_explicit(&s->version,
                          atomic_load_explicit(&s->version, memory_order_relaxed) + 1,
                          memory_order_release);
    for (struct entry *e = first; e; e = e->link) {
        if (fm__entry_key_length(e) <= KEY_INLINE)
            continue;
        struct key_blob *blob = atomic_load_explicit(&e->blob, memory_order_relaxed);
        s->blob_bytes -= fm__entry_key_length(e);
        blob->free = s->blob_free[blob->size_class];
        s->blob_free[blob->size_class] = blob;
        atomic_store_explicit(&e->blob, NULL, memory_order_release); /* (G) */
    }
    last->link = s->free;
    s->free = first;
    uint32_t used = atomic_load_explicit(&s->used, memory_order_relaxed);
    atomic_store_explicit(&s->used, used - (n - moved), memory_order_relaxed);
}

void fm__stripe_leave_locked(struct stripe *s)
{
    FM_ASSERT(fm__lock_held(&s->lock));
    uint32_t used = atomic_load_explicit(&s->used, memory_order_relaxed);
    FM_ASSERT(used);
    atomic_store_explicit(&s->used, used - 1, memory_order_relaxed);
}

void fm__stripe_bury(struct stripe *s, struct entry *e)
{
    FM_ASSERT(e);
    /* relaxed: the swap checks */
    struct entry *head = atomic_load_explicit(&s->dead, memory_order_relaxed);
    do
        e->link = head;
    /* release: the link and the end of the entry, to the sweep */
    while (!atomic_compare_exchange_weak_explicit(&s->dead, &head, e, memory_order_release,
                                                  memory_order_relaxed));

    uint64_t count = fm__stripe_count(s);
    uint32_t dead = fm__dead_estimate(s, count);
    if (__builtin_expect(dead > BURY_SWEEPS && dead > fm__count_live(count), 0) &&
        fm__lock_try(&s->lock)) {
        fm__stripe_sweep_locked(s);
        fm__unlock(&s->lock);
    }
}
