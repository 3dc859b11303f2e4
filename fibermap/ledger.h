/*
 * ledger.h - what a map with options writes down of each stay
 *
 * A map that is asked for completions, hooks, results or limits keeps a ledger; a plain one has
 * none, and its runs and exits look once, at a constant, and go on. In a map with a ledger each
 * registration has a `stay`, made with it, which holds its key and in the end its exit, so that
 * nothing need be allocated when a fiber ends. And there every step in the life of an entry is
 * taken under the lock of its stripe, the exit's too: so these steps have an order, and what is
 * written down has the same.
 *
 *     stay    begun by run and set, under the stripe lock; ended by the exit, under it too;
 *             referenced by its registration, by each event that is still to be told, by the
 *             ring of completions, and by the user who took it from there
 */
#ifndef FM_FIBERMAP_LEDGER_H
#define FM_FIBERMAP_LEDGER_H

#include "fibermap/map.h"

enum event_kind { EVENT_START, EVENT_RESTART, EVENT_EXIT, EVENT_KINDS };

/* Something that hooks are to be told; lies in its stay. */
struct event {
    struct event *next; /* stripe lock */
    struct stay *stay;
};

struct stay {
    struct fm_completion end; /* key: ours; fiber: from begin on; exit: from the end on */
    _Atomic uint32_t refs;
    bool starts;                /* who tells of the start starts the fiber */
    struct fm_fiber *displaced; /* until the start has been told */
    struct event events[EVENT_KINDS];
    struct fm_exit last; /* of the incarnation that is followed by another */
    _Atomic bool restart_told;
    /* while it is retained; under the wait lock */
    uint64_t head; /* of the key; constant */
    int64_t ended_ns;
    struct stay *chain, *older, *newer;
    struct stay *dropped;        /* what it has pushed out, to be released by its exit */
    struct stay *before, *after; /* by the time of the last touch; under the wait lock */
    bool listed;
    bool leaving; /* evicted, or on its way out when it was to be, and its place is not back */
    unsigned char key[];
};

struct event_queue {
    struct event *first, **last; /* stripe lock */
    bool telling;                /* stripe lock; somebody tells them */
};

struct ledger {
    struct fm_map_hooks hooks;
    struct event_queue *events; /* one for each stripe; NULL: no hooks */

    /* completions, the oldest first; under the wait lock */
    struct stay **ring; /* NULL: none are kept */
    uint32_t ring_size, ring_at, ring_count;
    uint64_t dropped;

    /* last exits, by key and by age; under the wait lock */
    struct stay **retained; /* NULL: none are retained */
    uint32_t retained_mask, retained_count, retain_count;
    int64_t retain_ns;
    struct stay *oldest, *newest;

    /* limits; under the wait lock */
    uint32_t max_live, live; /* 0: no limit; present entries, places handed to who waits too */
    uint32_t on_excess;      /* enum fm_excess */
    int32_t wanting, leaving; /* places that are waited for; who has been evicted, see stay */
    struct stay *first_idle, *last_idle; /* FM_EXCESS_EVICT_IDLE: the longest idle first */
    uint32_t max_starts; /* in a window; 0: no limit */
    uint32_t taken;      /* of the window that began at begin_ns; 0: none is under way */
    uint32_t held;       /* by runs that have not put anybody in yet */
    bool line;           /* somebody is first in line for a start */
    int64_t interval_ns, begin_ns;
};

/*
 * What a run has got hold of for its new entry, and not used yet; or runs that start together.
 */
struct limit_hand {
    uint32_t runs; /* so many: 1, but for those, of which none displaces anybody */
    uint32_t places, starts; /* at most one for each */
    bool lacks_place;
    bool begins_window; /* it had the first start of a window */
};

/* map->ledger, where the config asks for something that needs one. 0 · -ENOMEM · -EINVAL */
int fm__ledger_make(struct fm_map *map, const struct fm_map_config *config);
/* All members have left. NULL-safe. */
void fm__ledger_free(struct fm_map *map);

/* A stay for a registration to come; NULL: no memory. It goes with fm__stay_unref. */
struct stay *fm__stay_make(const struct map_key *key);
void fm__stay_ref(struct stay *stay);
/* May call a value_drop: no lock is held. */
void fm__stay_unref(struct stay *stay);
/*
 * The fiber stands under its key and has not started, or been started if !starts. The stripe
 * lock is held; `displaced` is whom it has displaced, 0: nobody.
 */
void fm__stay_begin_locked(struct stay *stay, struct stripe *stripe, struct fm_fiber *fiber,
                           uint64_t displaced, bool starts);
/*
 * The stripe lock is free: start the fiber, or leave that to who tells of its start. The stay
 * may be gone, by a move. Not of one that was set: it runs already.
 */
void fm__stay_begun(struct fm_fiber *fiber, struct stripe *stripe);
/* The fiber ends: all that its exit does, in the order of member.c. A move writes *place. */
void fm__stay_ended(struct stay **place, struct stripe *stripe, struct entry *home,
                    uint32_t flags, struct fm_fiber *fiber, struct fm_exit exit);
/*
 * A fiber that had ended before it was set, as far as the stay goes: in the hold in which it
 * began, and after fm__stay_begun, which drops the stay.
 */
void fm__stay_over_locked(struct stay *stay, struct stripe *stripe, struct fm_exit exit);
void fm__stay_over(struct stay *stay, struct stripe *stripe);

/* completions.c: its fiber was present and has left. */
int fm__completions_make(struct ledger *ledger, const struct fm_map_config *config);
void fm__completions_free(struct ledger *ledger);
void fm__completions_push(struct fm_map *map, struct stay *stay);

/* retain.c */
int fm__retain_make(struct ledger *ledger, const struct fm_map_config *config);
void fm__retain_free(struct ledger *ledger);
/* The stay has ended, present; its stripe lock is held. What it pushes out hangs on it. */
void fm__retain_put_locked(struct fm_map *map, struct stay *stay);
/* No lock is held. */
void fm__retain_drop(struct stay *dropped);
/*
 * Nobody is under the key or queues for it, and what is retained of it fits (enum fm_reuse): a
 * reference, else NULL. It goes with hand_out: FM_MAP_REUSED.
 */
struct stay *fm__retain_reuse_locked(struct fm_map *map, const struct map_key *key,
                                     struct place place, uint32_t reuse);
struct stay *fm__retain_reuse(struct stripe *stripe, const struct map_key *key, uint32_t reuse);
int fm__retain_hand_out(struct stay *stay, struct fm_fiber **ret_fiber);

/* limit.c */
void fm__limit_make(struct fm_map *map, const struct fm_map_config *config);
/* All that a run needs is in hand: 0, else -ERESTART; then wait. The stripe lock is held. */
int fm__limit_take_locked(struct fm_map *map, struct limit_hand *hand, bool displaces);
/* 0, try again · -EAGAIN · -ESHUTDOWN · what waiting fails with */
int fm__limit_wait(struct fm_map *map, struct limit_hand *hand, int64_t deadline_ns);
/* So many places are free, but for those who wait. The wait lock is held. */
static inline int32_t fm__limit_spare(const struct ledger *ledger)
{
    return ledger->live < ledger->max_live ? (int32_t)(ledger->max_live - ledger->live) : 0;
}
/* Whether it matters who has been touched when. */
static inline bool fm__limit_evicts(const struct ledger *ledger)
{
    return ledger->max_live && ledger->on_excess == FM_EXCESS_EVICT_IDLE;
}
/* It has been put in, in the same hold. */
void fm__limit_use_locked(struct fm_map *map, struct stay *stay, struct limit_hand *hand,
                          bool displaces, bool queues);
/* A set, which is not limited, has put one in where nobody was. */
void fm__limit_count_locked(struct fm_map *map);
void fm__limit_put_back(struct fm_map *map, struct limit_hand *hand);
/* Somebody has left for good (stay not NULL), or leaves his place at least. No lock is held. */
void fm__limit_left(struct fm_map *map, struct stay *stay, bool held_place);
/* The map is closing: nobody waits for a place or a start any more. */
void fm__limit_shut(struct fm_map *map);

/* evict.c */
/* Has been used just now, and was in no list. The wait lock is held, this and the next. */
void fm__evict_list_locked(struct ledger *ledger, struct stay *stay);
/* It gives no place back, or not as the one who was to be evicted. */
void fm__evict_forget_locked(struct ledger *ledger, struct stay *stay);
/* Who stands by this entry, if anybody, has been used. The stripe lock is held. */
void fm__evict_touch_locked(struct fm_map *map, struct entry *entry);
/* Who stands by this entry, if anybody, is about to be displaced or detached. */
void fm__evict_displace_locked(struct fm_map *map, struct entry *entry);
/* `to` takes the place of `from` among the idle. The stripe locks are held. */
void fm__evict_move_locked(struct fm_map *map, struct stay *from, struct stay *to);
/* No lock is held: evict whom somebody waits for to go. */
void fm__evict_settle(struct fm_map *map);

/* hooks.c */
int fm__hooks_make(struct ledger *ledger, const struct fm_map_config *config, uint32_t stripes);
/* One more thing to tell. The stripe lock is held; fm__hooks_tell comes after it. */
void fm__hooks_note_locked(struct stripe *stripe, struct stay *stay, enum event_kind kind);
void fm__hooks_tell(struct stripe *stripe);
/* All members have left: returns when nobody tells any more. */
void fm__hooks_finish(struct fm_map *map);
/* The caller, a lineage, is about to run again after this exit. Returns when that is told. */
void fm__hooks_restart(struct fm_fiber *self, struct fm_exit exit);

#endif
