/*
 * round.h - a group and its members, and the steps that follow from what happens to them
 */
#ifndef FM_FIBERMAP_ROUND_H
#define FM_FIBERMAP_ROUND_H

#include "fibermap/map.h"
#include "fibermap/restart.h"
#include "fm/map_group.h"
#include "runtime/fiber/waitlist.h"

enum phase { PHASE_REST, PHASE_STOP, PHASE_START, PHASE_END };

enum member_state {
    MEMBER_OUT, /* not in the list: not yet, or detached */
    MEMBER_NEW,
    MEMBER_RUNS,
    MEMBER_STOPPING,
    MEMBER_BACKS_OFF,
    MEMBER_WAITS,
    MEMBER_RELEASED,
    MEMBER_ENDING, /* told to end for good */
};

struct group_member {
    struct exit_node node;
    struct fm_map_group *group;
    struct fm_fiber *fiber;           /* in the list: it has not left its exit list */
    /* under the lock; in the order of the runs */
    struct group_member *next, *prev;
    uint64_t number;
    enum member_state state;
};

struct fm_map_group {
    struct lock lock;
    _Atomic uint32_t refs;
    struct fm_map *map; /* its memory */
    struct fm_map_group *newer, *older; /* of the map's; under its wait lock */
    uint32_t strategy, on_limit;
    /* the rest under the lock */
    struct restart_window rounds;
    struct group_member *first, *last;
    uint64_t numbers;
    size_t count;
    enum phase phase;
    uint64_t from;
    struct group_member *at;
    uint32_t backing_off;          /* members: all of the round */
    struct group_member *at_limit; /* END waits for it first */
    enum fm_reason end_reason;     /* END: what its members are interrupted for */
    struct waitlist stopped;       /* END: until there is nobody */
    int64_t times[];
};

/* The lock is held. From its last member on; then go on. */
void fm__round_begin_locked(struct fm_map_group *group, enum phase phase);
/* The same: END, unless it is under way; then go on. */
void fm__round_end_locked(struct fm_map_group *group, enum fm_reason reason);
/* It is a member no more; then go on. */
void fm__round_take_out_locked(struct group_member *member);
/* All steps that can be taken. The lock is free when this returns. */
void fm__round_go_on_and_unlock(struct fm_map_group *group);

#endif
