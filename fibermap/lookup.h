/*
 * lookup.h - finding a key's entry without the lock
 *
 * Inline, for get: what it waits for is memory, and the processor looks some hundred
 * instructions ahead. Order and proof stand in stripe.c, which owns what is read here.
 */
#ifndef FM_FIBERMAP_LOOKUP_H
#define FM_FIBERMAP_LOOKUP_H

#include "fibermap/table.h"

enum {
    FIND_TRIES = 8,    /* then take the lock */
    FIND_STEPS = 4096, /* of one walk: far above any chain */
};

/* Of a key that stands in a blob. */
bool fm__blob_matches(struct entry *entry, const struct map_key *key);
/* fm__stripe_find under the lock. */
uint64_t fm__stripe_find_slow(struct stripe *stripe, const struct map_key *key);

#define ALWAYS static inline __attribute__((always_inline))

ALWAYS bool fm__entry_matches(struct entry *e, const struct map_key *key)
{
    if (atomic_load_explicit(&e->head, memory_order_acquire) != key->head)
        return false;
    if (__builtin_expect(key->len > KEY_INLINE, 0))
        return fm__blob_matches(e, key);
    /* Three words are compared without a branch; most keys have no more. */
    _Static_assert(KEY_FIRST == 3, "as many as are compared here");
    uint64_t differ = atomic_load_explicit(&e->word[0], memory_order_acquire) ^ key->word[0];
    differ |= atomic_load_explicit(&e->word[1], memory_order_acquire) ^ key->word[1];
    differ |= atomic_load_explicit(&e->word[2], memory_order_acquire) ^ key->word[2];
    if (__builtin_expect(differ != 0, 0))
        return false;
    for (uint32_t i = KEY_FIRST; __builtin_expect(i < key->words, 0); i++)
        if (atomic_load_explicit(&e->word[i], memory_order_acquire) != key->word[i])
            return false;
    return true;
}

/*
 * Told the low bits of the id of each fiber on the way before its entry is read, so that what
 * the caller will do with the fiber does not wait for memory a second time.
 */
typedef void stripe_ahead_fn(uint32_t slot);

static inline struct entry *fm__follow_ahead(_Atomic(struct entry *) *link,
                                             stripe_ahead_fn *ahead)
{
    struct entry *to = fm__link_read(link);
    if (ahead && to)
        ahead(fm__link_slot(to));
    return fm__link_entry(to);
}

/* One walk. False: something was used again under it, or it went on too long. */
ALWAYS bool fm__stripe_walk(struct stripe *s, const struct map_key *key, stripe_ahead_fn *ahead,
                            uint64_t *ret_id)
{
    /* acquire (F) */
    uint64_t version = atomic_load_explicit(&s->version, memory_order_acquire);
    uintptr_t table = fm__table_in_use(s);
    struct entry *e = NULL;
    uint64_t id = 0;
    unsigned steps = 0;

    if (__builtin_expect(!table, 0)) {
        *ret_id = 0;
        return true;
    }
    unsigned parity = fm__table_parity(table);
    for (e = fm__follow_ahead(fm__table_bucket(table, key->head), ahead);
         e && !fm__entry_matches(e, key); e = fm__follow_ahead(&e->next[parity], ahead))
        if (__builtin_expect(++steps > FIND_STEPS, 0))
            return false;
    while (e) {
        uint64_t state = fm__entry_read(e);
        id = fm__entry_present(state);
        enum entry_life life = fm__entry_life(state);
        if (__builtin_expect(life != ENTRY_ZOMBIE && life != ENTRY_GONE, 1))
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

/* fm__stripe_find; `ahead` is a constant, or NULL. */
static inline uint64_t fm__stripe_find_ahead(struct stripe *s, const struct map_key *key,
                                             stripe_ahead_fn *ahead)
{
    uint64_t id = 0;

    for (int i = 0; i < FIND_TRIES; i++)
        if (__builtin_expect(fm__stripe_walk(s, key, ahead, &id), 1))
            return id;
    return fm__stripe_find_slow(s, key);
}

#undef ALWAYS

#endif
