/*
 * member.h - how a fiber leaves a map, what its exit says of the map, how members are signalled
 */
#ifndef FM_FIBERMAP_MEMBER_H
#define FM_FIBERMAP_MEMBER_H

#include "fibermap/map.h"

/*
 * Make the fiber, which has not started, the holder of the entry: its exit will tell the map.
 * The stripe lock is held.
 */
void fm__member_bind(struct fm_fiber *fiber, struct stripe *stripe, struct entry *entry,
                     uint32_t flags);

/*
 * The state of the entry in which the fiber stands that was run: LIVE while it is moved. 0: it
 * has ended.
 */
uint64_t fm__member_stands(struct fm_fiber *fiber);
/* Whether it has been detached: the map may be gone, but for its memory. */
bool fm__member_is_detached(struct fm_fiber *fiber);
/* Whether the fiber was run in this map, and is under its key. The caller holds a reference. */
bool fm__member_is_in(struct fm_fiber *fiber, struct fm_map *map);
/* Of a fiber that is present: FM_MEMBER_LIVE, _ENDING or _BACKING_OFF. */
enum fm_member_state fm__member_state(struct fm_fiber *fiber);
/* Whether it was run, and this is its entry. The caller knows that it has not ended. */
bool fm__member_is_at(struct fm_fiber *fiber, struct entry *entry);
/*
 * What a fiber that is bound may say of itself before its end, besides FM_MAP_ISOLATE_FAILURE.
 */
#define MEMBER_CLOSES_MAP 4u
/* What else its exit has to look after: an idler (idle.h). */
#define MEMBER_IDLES 64u
/* The caller, bound: its exit will be judged with this flag as well. */
void fm__member_mark(struct fm_fiber *self, uint32_t flag);
/* The stripe, the map and, in a map with a ledger, the stay of the caller, bound. */
struct stripe *fm__member_stripe(struct fm_fiber *self);
struct fm_map *fm__member_map(struct fm_fiber *self);
static inline struct stay *fm__member_stay(struct fm_fiber *self)
{
    return self->owner.words[2];
}
/* Give the fiber, bound, which has not started, its stay. The stripe lock is held. */
static inline void fm__member_keep(struct fm_fiber *fiber, struct stay *stay)
{
    fiber->owner.words[2] = stay;
}
/*
 * Whether the caller, bound, is present in a map that is open: neither replaced nor detached.
 */
bool fm__member_goes_on(struct fm_fiber *self);

/*
 * A registration by set. The node is told by the fiber's exit, and frees itself then. Memory is
 * taken before the stripe lock.
 */
struct set_node {
    struct exit_node node;
    struct stripe *stripe;
    struct entry *entry;
    uint32_t flags;
    struct stay *stay; /* in a map with a ledger */
};
struct set_node *fm__set_node_make(struct stripe *stripe, uint32_t flags);

/* It stood elsewhere in the end: so its home, in this stripe, has served. */
void fm__home_leave(struct stripe *stripe, struct entry *home, struct entry *now);
static inline struct stripe *fm__entry_stripe(struct fm_map *map, struct entry *entry)
{
    /* relaxed: the stripe of an entry never changes */
    return fm__map_stripe_of(map, atomic_load_explicit(&entry->head, memory_order_relaxed));
}

/*
 * The fiber of this registration has ended: everything an exit does, its last access to the map
 * included.
 */
void fm__member_left(struct stripe *stripe, struct entry *entry, uint32_t flags,
                     struct fm_fiber *fiber, struct fm_exit exit, enum entry_end end);

/* Interrupt the fiber of this id, if it has not ended. */
void fm__member_signal(uint64_t id, enum fm_reason reason);
/*
 * Signal all of these, then await all but the caller, who is signalled last. 0 · FM_MAP_SELF ·
 * -ECANCELED · -ETIMEDOUT
 */
int fm__members_end(const uint64_t *ids, size_t count, enum fm_reason reason,
                    int64_t deadline_ns);
/*
 * Interrupt all members (or all present ones) but the fiber `except`. Whom a run puts in
 * meanwhile may be left out.
 */
void fm__map_signal_all(struct fm_map *map, enum fm_reason reason, bool zombies_too,
                        uint64_t except);

/*
 * No run or set succeeds any more, none is under way when this returns, and the verdict is in.
 * Again and again, by anybody.
 */
void fm__map_shut(struct fm_map *map);
/* The first verdict stays. */
bool fm__map_decide(struct fm_map *map, struct fm_exit exit);

enum self { SELF_STRANGER, SELF_ZOMBIE, SELF_PRESENT };
/* What the caller is to the map. */
enum self fm__map_self(struct fm_map *map);

#endif
