/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_group.c - rounds of a group that meet the ends of its members, and maps below a key that meet the ends of their fibers
 *
 * In the first no incarnation from before a round may meet one from after it; in the second nothing runs below a key but while its
 * body is under way.
 */
#include <stdlib.h>

#include "tests/stress/race.h"

/* ---- rounds ---- */

enum { MEMBERS = 3 };

enum {
    REST = 1, /* for one; else one for all */
    STOPPED = 2,
    CLOSED = 4,
    DRAINED = 8,
    BACKS_OFF = 16,
    JOINED = 32, /* one more comes meanwhile */
    LIMITED = 64,
};

struct group_stage;

struct racer {
    struct group_stage *stage;
    uint32_t index;
    struct fm_fiber *fiber;
    _Atomic uint64_t began, ended; /* in the order of all; ended: of the last incarnation */
    _Atomic bool inside;
};

struct group_stage {
    struct slot *slot;
    struct fm_map_group *group;
    _Atomic uint64_t order;
    _Atomic bool over; /* the group has been stopped, or the map closed: no body may begin */
    struct racer racer[MEMBERS + 1];
};

static uint64_t next_in_order(struct group_stage *stage)
{
    return atomic_fetch_add(&stage->order, 1) + 1;
}

static int racer_ends(void *arg, struct fm_exit exit)
{
    struct racer *racer = arg;
    atomic_store(&racer->inside, false);
    atomic_store(&racer->ended, next_in_order(racer->stage));
    return 0;
}

/* One who was inside while an earlier incarnation of this one was has been ended meanwhile. */
static void nobody_is_left(struct racer *racer)
{
    struct group_stage *stage = racer->stage;
    uint64_t ended = atomic_load(&racer->ended);
    uint32_t first = stage->slot->choice & REST ? racer->index + 1 : 0;

    for (uint32_t i = first; ended && i <= MEMBERS; i++) {
        struct racer *other = &stage->racer[i];
        if (other == racer || !atomic_load(&other->inside))
            continue;
        RACE_CHECK(stage->slot, atomic_load(&other->began) > ended,
                   "%u begins anew beside an incarnation of %u from before", racer->index, i);
    }
}

static struct fm_exit race_in_group(void *arg)
{
    struct racer *racer = arg;
    struct slot *slot = racer->stage->slot;

    RACE_CHECK(slot, !atomic_load(&racer->stage->over), "a body begins in a stopped group");
    RACE_CHECK(slot, !atomic_load(&racer->inside), "two incarnations at once");
    nobody_is_left(racer);
    atomic_store(&racer->began, next_in_order(racer->stage));
    atomic_store(&racer->inside, true);
    int r = fm_defer(racer_ends, racer);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
    r = fm_never();
    fm_mask();
    fm_yield(); /* it takes a while to end */
    fm_unmask();
    return fm_fail(r);
}

static struct fm_key key_of(struct racer *racer)
{
    static const char *const keys[] = { "a", "b", "c", "d" };
    return fm_key_str(keys[racer->index]);
}

static int run_racer(struct racer *racer)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    struct slot *slot = racer->stage->slot;

    restart.type = FM_PERMANENT;
    restart.on_limit = FM_LIMIT_REMOVE;
    restart.schedule = fm_schedule_recurs(6);
    if ((slot->choice & BACKS_OFF) && racer->index == 0)
        restart.schedule = fm_schedule_intersect(restart.schedule, fm_schedule_spaced_ns(20000));
    options.restart = &restart;
    options.group = racer->stage->group;
    int r = fm_map_run(slot->map, key_of(racer), race_in_group, racer, &options, &racer->fiber);
    fm_schedule_unref(restart.schedule);
    return r;
}

static void make_group(struct slot *slot)
{
    struct fm_map_group_config config = FM_MAP_GROUP_CONFIG_INIT;
    struct group_stage *stage = calloc(1, sizeof *stage);
    RACE_CHECK(slot, stage != NULL, "no memory");
    slot->thing = stage;
    stage->slot = slot;
    config.strategy = slot->choice & REST ? FM_REST_FOR_ONE : FM_ONE_FOR_ALL;
    config.intensity = slot->choice & LIMITED ? 2 : 0;
    config.on_limit = FM_LIMIT_REMOVE;
    int r = fm_map_group_create(slot->map, &config, &stage->group);
    RACE_CHECK(slot, r == 0, "group: %d", r);
    for (uint32_t i = 0; i <= MEMBERS; i++) {
        stage->racer[i].stage = stage;
        stage->racer[i].index = i;
        r = i < MEMBERS ? run_racer(&stage->racer[i]) : 0;
        RACE_CHECK(slot, r == 0, "run: %d", r);
    }
}

static void fail_one(struct slot *slot, struct racer *racer, int times)
{
    for (int i = 0; i < times; i++) {
        int r = fm_fiber_interrupt(racer->fiber);
        RACE_CHECK(slot, r == 0 || r == FM_ALREADY_DONE, "interrupt: %d", r);
    }
}

static void remove_one(struct slot *slot, struct part *part, struct racer *racer)
{
    int r = fm_map_remove(slot->map, key_of(racer), FM_NEVER);
    RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
    if (r == 0)
        slot->result[part->index] = 1 + (int)fm_fiber_incarnation(racer->fiber);
}

static void end_all(struct slot *slot, struct group_stage *stage)
{
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    int r = 0;
    if (slot->choice & STOPPED) {
        r = fm_map_group_stop(stage->group, FM_NEVER);
        RACE_CHECK(slot, r == 0 && fm_map_group_size(stage->group) == 0, "stop: %d", r);
        for (uint32_t i = 0; i < MEMBERS; i++)
            RACE_CHECK(slot, !fm_map_has(slot->map, key_of(&stage->racer[i])), "it is there");
        atomic_store(&stage->over, true);
    } else if (slot->choice & CLOSED) {
        policy.kind = FM_CLOSE_CANCEL;
        r = fm_map_close(slot->map, &policy, NULL);
        RACE_CHECK(slot, r == 0, "close: %d", r);
        atomic_store(&stage->over, true);
    } else {
        fail_one(slot, &stage->racer[2], 2);
    }
}

static void meet_a_round(struct slot *slot, struct part *part)
{
    struct group_stage *stage = slot->thing;
    int r;
    switch (part->role) {
    case 0: fail_one(slot, &stage->racer[0], 2); return;
    case 1:
        fail_one(slot, &stage->racer[1], 1);
        remove_one(slot, part, &stage->racer[1]);
        return;
    case 2: end_all(slot, stage); return;
    }
    if (!(slot->choice & JOINED))
        return;
    r = run_racer(&stage->racer[MEMBERS]);
    RACE_CHECK(slot, r == 0 || r == -ESHUTDOWN, "run: %d", r);
}

static void group_has_ended(struct slot *slot)
{
    struct group_stage *stage = slot->thing;
    int r = fm_map_clear(slot->map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "clear: %d", r);
    for (uint32_t i = 0; i <= MEMBERS; i++) {
        struct racer *racer = &stage->racer[i];
        if (!racer->fiber)
            continue;
        r = fm_fiber_join(racer->fiber, FM_NEVER, NULL);
        RACE_CHECK(slot, r == 0 && !atomic_load(&racer->inside), "join: %d", r);
        uint64_t count = fm_fiber_incarnation(racer->fiber);
        for (uint32_t p = 0; i == 1 && p < slot->parts; p++)
            RACE_CHECK(slot, !slot->result[p] || (uint64_t)slot->result[p] == count + 1,
                       "incarnation %d, in the end %" PRIu64, slot->result[p] - 1, count);
        fm_fiber_unref(racer->fiber);
    }
    RACE_CHECK(slot, fm_map_group_size(stage->group) == 0, "members are left");
    fm_map_group_unref(stage->group);
    free(stage);
    slot->thing = NULL;
    slot->map = fm_map_destroy(slot->map);
}

/* ---- maps below a key: seen[0] workers inside, seen[1] parents ---- */

static int worker_ends(void *arg, struct fm_exit exit)
{
    atomic_fetch_sub(&((struct slot *)arg)->seen[0], 1);
    return 0;
}

static struct fm_exit work_below(void *arg)
{
    struct slot *slot = arg;
    atomic_fetch_add(&slot->seen[0], 1);
    int r = fm_defer(worker_ends, slot);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
    return fm_fail(slot->choice & 1 ? fm_never() : fm_yield());
}

static int parent_ends(void *arg, struct fm_exit exit)
{
    struct slot *slot = arg;
    for (int i = 0; i < 3; i++) {
        RACE_CHECK(slot, atomic_load(&slot->seen[0]) == 0, "its finalizer, and workers below it");
        fm_yield();
    }
    atomic_fetch_sub(&slot->seen[1], 1);
    return 0;
}

static struct fm_exit live_above(void *arg)
{
    struct slot *slot = arg;
    RACE_CHECK(slot, atomic_fetch_add(&slot->seen[1], 1) == 0, "two bodies of one key");
    int r = fm_defer(parent_ends, slot);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
    return fm_fail(slot->choice & 2 ? fm_never() : fm_yield());
}

static int run_parent(struct slot *slot)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    restart.type = FM_PERMANENT;
    restart.intensity = 2;
    restart.on_limit = FM_LIMIT_REMOVE;
    options.own_map = 1;
    options.conflict = FM_REPLACE_AWAIT;
    options.restart = slot->choice & 4 ? &restart : NULL;
    return fm_map_run(slot->map, slot->key, live_above, slot, &options, NULL);
}

static void one_above(struct slot *slot)
{
    int r = run_parent(slot);
    RACE_CHECK(slot, r == 0, "run: %d", r);
}

static void run_below(struct slot *slot)
{
    struct fm_map *below = NULL;
    int r = fm_map_child(slot->map, slot->key, NULL, FM_NEVER, &below);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT || r == -ENOENT || r == -ESHUTDOWN,
               "map_child: %d", r);
    if (r < 0)
        return;
    r = fm_map_run(below, slot->key2, work_below, slot, NULL, NULL);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED || r == -ESHUTDOWN, "run: %d", r);
    fm_map_unref(below);
}

static void meet_below(struct slot *slot, struct part *part)
{
    int r;
    switch (part->role) {
    case 0: run_below(slot); return;
    case 1:
        if (slot->choice & 8) {
            r = run_parent(slot);
            RACE_CHECK(slot, r >= 0 || r == -ESHUTDOWN, "run: %d", r);
            return;
        }
        r = fm_map_remove(slot->map, slot->key, FM_NEVER);
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
        RACE_CHECK(slot, r != 0 || atomic_load(&slot->seen[0]) == 0,
                   "removed, and workers below it");
        return;
    case 2:
        if (!(slot->choice & 16))
            break;
        r = fm_map_close(slot->map, NULL, NULL);
        RACE_CHECK(slot, r == 0, "close: %d", r);
        RACE_CHECK(slot, atomic_load(&slot->seen[0]) == 0, "closed, and workers below it");
        return;
    }
    run_below(slot);
}

static void nothing_is_below(struct slot *slot)
{
    slot->map = fm_map_destroy(slot->map);
    RACE_CHECK(slot, atomic_load(&slot->seen[0]) == 0 && atomic_load(&slot->seen[1]) == 0,
               "somebody is left");
}

const struct race group_races[] = {
    { "group_round", "no incarnation from before a round meets one from after it", make_group,
      meet_a_round, group_has_ended, NULL },
    { "child_map", "nothing runs below a key but while its body is under way", one_above,
      meet_below, nothing_is_below, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
