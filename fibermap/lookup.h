/*
 * lookup.h - finding a key's entry without the lock: what keys are compared by, and a glance
 *
 * Inline, for get: what it waits for is memory, and the processor looks some hundred
 * instructions ahead. Order and proof stand in stripe.c, which owns what is read here.
 */
#ifndef FM_FIBERMAP_LOOKUP_H
#define FM_FIBERMAP_LOOKUP_H

#include "fibermap/table.h"

enum { GLANCE_STEPS = 4 };

/* Of a key that stands in a blob. */
bool fm__blob_matches(struct entry *entry, const struct map_key *key);
/* What fm__stripe_find does when a glance has not shown it. */
uint64_t fm__stripe_search(struct stripe *stripe, const struct map_key *key);

#define ALWAYS static inline __attribute__((always_inline))

/* Head and first three words, without a branch: most keys have no more. 0: the same. */
ALWAYS uint64_t fm__entry_differs(struct entry *e, uint64_t head, const uint64_t *word)
{
    _Static_assert(KEY_FIRST == 3, "as many as are compared here");
    uint64_t differ = atomic_load_explicit(&e->head, memory_order_acquire) ^ head;
    differ |= atomic_load_explicit(&e->word[0], memory_order_acquire) ^ word[0];
    differ |= atomic_load_explicit(&e->word[1], memory_order_acquire) ^ word[1];
    return differ | (atomic_load_explicit(&e->word[2], memory_order_acquire) ^ word[2]);
}

ALWAYS bool fm__entry_matches(struct entry *e, const struct map_key *key)
{
    if (__builtin_expect(key->len > KEY_INLINE, 0))
        return atomic_load_explicit(&e->head, memory_order_acquire) == key->head &&
               fm__blob_matches(e, key);
    if (__builtin_expect(fm__entry_differs(e, key->head, key->word) != 0, 0))
        return false;
    for (uint32_t i = KEY_FIRST; __builtin_expect(i < key->words, 0); i++)
        if (atomic_load_explicit(&e->word[i], memory_order_acquire) != key->word[i])
            return false;
    return true;
}

/*
 * Told the low bits of the id of a fiber on the way before its entry is read, so that what the
 * caller will do with the fiber does not wait for memory a second time: returns what that is.
 */
typedef struct fm_fiber *stripe_ahead_fn(uint32_t slot);

/* What a glance saw. */
struct glance {
    bool sure;              /* there is fiber `id`, or nobody if it is 0; else look properly */
    uint32_t slot;          /* what the link said: most often of that fiber */
    uint64_t id;
    struct fm_fiber *ahead; /* what `ahead` said of the slot */
};

/*
 * A walk that gives up where there is anything to do but to find a LIVE entry, a DEAD one or
 * none, for a key of at most 24 bytes: few instructions, since few are needed almost always.
 */
ALWAYS struct glance fm__stripe_glance(struct stripe *s, const struct short_key *key,
                                       stripe_ahead_fn *ahead)
{
    struct glance seen = { 0 };
    /* acquire (F) */
    uint64_t version = atomic_load_explicit(&s->version, memory_order_acquire);
    uintptr_t table = fm__table_in_use(s);

    if (__builtin_expect(!table, 0)) {
        seen.sure = true;
        return seen;
    }
    struct entry *link = fm__link_read(fm__table_bucket(table, key->head)), *e;
    for (int steps = GLANCE_STEPS; link;
         link = fm__link_read(&e->next[fm__table_parity(table)])) {
        if (__builtin_expect(!steps--, 0))
            return seen;
        if (ahead)
            seen.ahead = ahead(fm__link_slot(link));
        e = fm__link_entry(link);
        if (__builtin_expect(fm__entry_differs(e, key->head, key->word) != 0, 0))
            continue;
        uint64_t state = fm__entry_read(e);
        seen.id = state ^ fm__entry_state(ENTRY_LIVE, 0); /* the id alone, if it is LIVE */
        if (__builtin_expect(seen.id > ENTRY_ID, 0)) {
            if (state != 0) /* not DEAD */
                return seen;
            seen.id = 0;
        }
        seen.slot = fm__link_slot(link);
        break;
    }
    /* relaxed (H), as in a walk */
    seen.sure = atomic_load_explicit(&s->version, memory_order_relaxed) == version;
    return seen;
}

#undef ALWAYS

#endif
