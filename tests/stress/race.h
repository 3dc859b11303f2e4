/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race.h - a race: some calls that meet on one key, thousands of times
 *
 * A race is three functions: begin() sets the stage, act() is one participant's call, end() checks what must hold now. Participants
 * are fibers and foreign threads that live as long as the run; who plays which role changes from meeting to meeting.
 *
 *     leader      begin x SLOTS |                        | end x SLOTS
 *     everybody             meet | act on slot 0, 1, ... | meet
 *
 * A round is one slot. A meeting covers SLOTS of them, so that a round costs microseconds although threads have to
 * wait for one another; within it all walk the slots in one order, wait for each other at each slot for a bounded number of
 * steps, and then for 0 to 100 more.
 *
 * Members count themselves: a fiber that the map started has either run its body (entered, left) or had its argument
 * dropped. At rest, started = left + dropped + live.
 *
 * races.c is the program that does this. A run prints its seed; FM_SEED=... repeats the delays and choices. A run that
 * makes no progress for a minute dumps the fibers and aborts. races_explored.c plays the same races one slot at a time
 * under fm_explore().
 */
#ifndef TESTS_STRESS_RACE_H
#define TESTS_STRESS_RACE_H

#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/support/stress.h"

enum { RACE_SLOTS = 32, RACE_PARTS_MAX = 6 };

struct slot {
    struct fm_map *map;   /* a map of its own; made anew where end() has destroyed it */
    struct fm_map *other; /* the same, for races over two maps */
    struct fm_key key;
    struct fm_key key2;
    uint64_t round;
    uint64_t choice; /* a random number for this round, the same for all */
    uint32_t parts;
    struct fm_runtime *runtime;

    _Atomic uint32_t arrived;
    _Atomic uint32_t started, entered, left, dropped;
    _Atomic bool closed;      /* a close has returned: no body may run any more */
    _Atomic uint32_t seen[4]; /* whatever the race counts */

    struct fm_fiber *first, *second; /* made by begin(), or by a role */
    void *thing, *thing2;            /* the same, of whatever kind the race is about */
    struct fm_fiber *fiber[RACE_PARTS_MAX];
    int result[RACE_PARTS_MAX];
    struct fm_exit exit[RACE_PARTS_MAX];
    struct fm_observer observer[RACE_PARTS_MAX];

    char text[24], text2[24];
};

struct part {
    uint32_t index; /* of the results in the slot */
    uint32_t role;  /* 0 .. parts - 1, another one at each meeting */
    uint64_t random;
    struct fm_runtime *runtime;
};

struct race {
    const char *name;
    const char *says;
    void (*begin)(struct slot *slot);
    void (*act)(struct slot *slot, struct part *part);
    void (*end)(struct slot *slot);
    void (*over)(uint64_t meeting,
                 uint64_t meetings); /* after each meeting, by the leader; or NULL */
};

/* Each room's races; ends with a race without a name. */
extern const struct race watch_races[], group_races[];
extern const struct race replace_races[], close_races[], exit_races[], reenter_races[],
    wait_races[], flow_races[], restart_races[], share_races[], turn_races[], cut_races[],
    order_races[], idle_races[], many_races[], late_races[], meet_races[];

#define RACE_CHECK(slot, condition, ...) \
    do { \
        if (!(condition)) { \
            race_show(slot); \
            STRESS_CHECK(condition, __VA_ARGS__); \
        } \
    } while (0)

/* Tell what the slot holds, before the program stops. */
void race_show(const struct slot *slot);

/* ---- members ---- */

/* For bodies: count this fiber in, and out when it ends. */
void race_enter(struct slot *slot);
/* arg_drop: the body has never run. */
void race_drop(void *slot);
/* Bodies: until interrupted; at once; after a few yields. */
struct fm_exit race_park(void *slot);
struct fm_exit race_quick(void *slot);
struct fm_exit race_linger(void *slot);

/* Run under a key, counted. The result. */
int race_run(struct slot *slot, struct fm_key key, fm_entry_fn *entry, uint32_t conflict,
             struct fm_fiber **ret_fiber);
/* The same by a participant, who keeps result and handle in his place of the slot. */
int race_run_as(struct slot *slot, struct part *part, fm_entry_fn *entry, uint32_t conflict);
/* A fiber of its own that nobody owns but the runtime, uncounted. */
struct fm_fiber *race_spawn(struct slot *slot, fm_entry_fn *entry);

/* Wait for the end; drops the reference. */
struct fm_exit race_finish(struct slot *slot, struct fm_fiber *fiber);
/* Drop the handles of all participants. */
void race_release(struct slot *slot);
/* All members have ended: the books of the round are closed. */
void race_settle(struct slot *slot);
/* Remove whoever is under the key, wait for zombies, then settle. */
void race_empty(struct slot *slot);

#endif
