/*
 * count.h - how many members there are, and who waits until there is nobody
 */
#ifndef FM_FIBERMAP_COUNT_H
#define FM_FIBERMAP_COUNT_H

#include "fibermap/stripe.h"
#include "runtime/fiber/waitlist.h"
#include "runtime/platform/lock.h"

struct fm_map;

enum wait_kind {
    WAIT_EMPTY,     /* nobody present */
    WAIT_QUIESCENT, /* no members: zombies have ended, too */
    WAIT_VERDICT,
    WAIT_NEXT, /* a completion, or nobody present */
    WAIT_PLACE, /* one more may be present */
    WAIT_START, /* to be the first in line for a start */
    WAIT_WINDOW, /* who is: one more may start */
    WAIT_REAPER, /* the reaper has ended: idle.c */
    WAIT_KINDS,
};

struct waiting {
    struct lock lock; /* LOCK_MAP_WAIT */
    /* who waits for emptiness; above 0 all stripes are watched and the next two are exact */
    uint32_t watchers;
    uint32_t stripes_live;
    uint32_t stripes_with_members;
    /*
     * of each wake; a waiter keeps that of its coming, and only wakes that come later mean it
     */
    int64_t epoch;
    struct waitlist lists[WAIT_KINDS];
};

void fm__waiting_init(struct waiting *waiting);

/*
 * Add to the stripe's count. A decrease is, unless somebody waits, one swap and the last access
 * to the map's memory; else the unlock of the wait lock is. Increases: under the stripe lock;
 * decreases: not.
 */
void fm__count_add(struct stripe *stripe, uint64_t delta);
static inline void fm__count_subtract(struct stripe *stripe, uint64_t delta)
{
    fm__count_add(stripe, -delta);
}

/* Wait for an instant without anybody. 0 · -ECANCELED · -ETIMEDOUT · -ENOMEM */
int fm__count_await(struct fm_map *map, enum wait_kind kind, int64_t deadline_ns,
                    const char *what);

/* From now on the number of stripes with somebody present is exact under the wait lock. */
void fm__count_watch(struct fm_map *map);

/*
 * The wait lock is held: all who wait for this kind now are to be woken; unlocks, then wakes.
 */
void fm__waiting_wake_and_unlock(struct waiting *waiting, unsigned kinds);
/*
 * Join the list; the wait lock is held, and is free on return. As fm__waitlist_wait, for who
 * called fm__wait_prepare before he took the lock: -ENOMEM if that had no success.
 */
int fm__waiting_wait(struct waiting *waiting, enum wait_kind kind, int64_t deadline_ns,
                     const char *what);
/* The same by a node that says more, in its item, to who wakes. */
int fm__waiting_wait_as(struct waiting *waiting, enum wait_kind kind, struct wait_node *node,
                        int64_t deadline_ns, const char *what);

#endif
