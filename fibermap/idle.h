/*
 * idle.h - fibers that end when nobody has used them for a while
 */
#ifndef FM_FIBERMAP_IDLE_H
#define FM_FIBERMAP_IDLE_H

#include "fibermap/map.h"
#include "fibermap/share.h"

/* Of a registration with a ttl. Attached to its entry until its exit, or a detach. */
struct idler {
    struct entry *entry; /* constant, from attach on */
    int64_t ttl_ns;      /* constant */
    /* under the stripe lock */
    int64_t since_ns; /* of the entry, where our address stands in its place */
    int64_t used_ns;  /* the last use */
    int64_t due_ns;   /* when the reaper looks: not later than used_ns + ttl_ns */
    struct idler *left, *right, *up; /* in the stripe's heap */
    uint32_t rank;                   /* 0: not in it */
};

/* ---- who puts a fiber in: make, without a lock; attach; told, when the lock is free ---- */

/* What the options and the map say; 0: no ttl. */
static inline int64_t fm__idle_ttl(struct fm_map *map, const struct fm_map_run_options *options)
{
    int64_t ttl_ns = options->idle_ttl_ns ? options->idle_ttl_ns : map->idle_ttl_ns;
    return ttl_ns == FM_NEVER ? 0 : ttl_ns;
}
/* 0, NULL where there is no ttl · -ENOMEM · -EAGAIN · -ESHUTDOWN · -EPERM */
int fm__idle_make(struct fm_map *map, int64_t ttl_ns, struct idler **ret_idler);
/* It has not been attached, or not any more. NULL-safe. */
void fm__idle_drop(struct fm_map *map, struct idler *idler);
/* The entry is in place; begins: its time runs from now on, else from fm__idle_begin_locked. */
int64_t fm__idle_attach_locked(struct stripe *stripe, struct entry *entry, struct idler *idler,
                               bool begins);
/* Of an entry with a ttl or without. Returns when the reaper has to look, for fm__idle_told. */
int64_t fm__idle_begin_locked(struct stripe *stripe, struct entry *entry);
void fm__idle_told(struct fm_map *map, int64_t due_ns);

/* ---- who takes it out ---- */

/* About to be displaced: no longer idle, whatever it does; nor evicted (evict.c). */
void fm__idle_displace_locked(struct stripe *stripe, struct entry *entry);
/* Off the entry, which is detached; to be dropped. NULL: none. */
struct idler *fm__idle_detach_locked(struct stripe *stripe, struct entry *entry);
/* Its fiber stands in `to` now. Returns as fm__idle_begin_locked. */
int64_t fm__idle_move_locked(struct stripe *from_stripe, struct entry *from,
                             struct stripe *to_stripe, struct entry *to);
/* Its fiber has ended, and the entry is not buried yet. Takes the lock. */
void fm__idle_left(struct stripe *stripe, struct entry *entry);

/* ---- who uses it: of any entry ---- */

/* Its fiber, present, is used at this moment; for evict.c, too. */
void fm__idle_used_locked(struct stripe *stripe, struct entry *entry);
static inline void fm__idle_use_locked(struct stripe *stripe, struct entry *entry)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    if (__builtin_expect(entry->idles || stripe->map->ledger, 0))
        fm__idle_used_locked(stripe, entry);
}
/* Nobody has used it for so long that it has been interrupted, or is about to be. */
static inline bool fm__idle_expired_locked(const struct entry *entry)
{
    return entry->shared & SHARED_EXPIRED;
}
static inline int64_t fm__idle_since_locked(const struct entry *entry)
{
    FM_ASSERT(!entry->idles || entry->idler);
    return entry->idles ? entry->idler->since_ns : entry->since_ns;
}

/* All members have left, and nobody calls: wait until the reaper has, too. */
void fm__idle_fini(struct fm_map *map);

#endif
