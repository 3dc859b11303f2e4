/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_late.c - who comes late: to a group that stops, into a map below a key that closes
 *
 * In the first a group is stopped beside all that may happen to its members: what it counted
 * when a stop has returned, be it at once, is what it counts in the end. Its references are
 * dropped meanwhile, so the last one is often that of a member that ends.
 */
#include <stdlib.h>

#include "tests/stress/race.h"

enum { MEMBERS = 3, ALL = MEMBERS + 1 };

struct late_group;

struct late {
    struct late_group *stage;
    struct fm_fiber *fiber;
    _Atomic uint32_t bodies, dropped, values, values_dropped;
    _Atomic bool inside, detached;
};

struct late_group {
    struct slot *slot;
    struct fm_map_group *group;
    _Atomic uint32_t refs; /* one for each value */
    struct late late[ALL];
};

static struct fm_key key_of(uint32_t i)
{
    static const char *const keys[] = { "a", "b", "c", "d" };
    return fm_key_str(keys[i]);
}

static uint64_t draw(uint64_t *random, uint64_t below)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*random >> 33) % below;
}

/* ---- bodies ---- */

static int late_ends(void *arg, struct fm_exit exit)
{
    (void)exit;
    atomic_store(&((struct late *)arg)->inside, false);
    return 0;
}

static struct fm_exit late_lives(void *arg)
{
    struct late *late = arg;
    struct slot *slot = late->stage->slot;
    uint32_t bodies = atomic_fetch_add(&late->bodies, 1);

    RACE_CHECK(slot, !atomic_exchange(&late->inside, true), "two incarnations at once");
    int r = fm_defer(late_ends, late);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
    switch ((slot->choice >> 8 & 3) + bodies + (uint64_t)(late - late->stage->late)) {
    default: r = fm_never(); break;
    case 0: return fm_fail(-EIO);
    case 1:
    case 2: r = fm_yield();
    }
    if (r < 0)
        return fm_fail(r);
    atomic_fetch_add(&late->values, 1);
    atomic_fetch_add(&late->stage->refs, 1);
    return fm_ok(late);
}

static struct fm_exit stranger(void *arg)
{
    (void)arg;
    return fm_fail(fm_never());
}

static void arg_drop(void *arg)
{
    atomic_fetch_add(&((struct late *)arg)->dropped, 1);
}

static void stage_unref(struct late_group *stage)
{
    if (atomic_fetch_sub(&stage->refs, 1) == 1)
        free(stage);
}

/* The last one of a fiber may be dropped after the round. */
static void value_drop(void *value)
{
    struct late *late = value;
    atomic_fetch_add(&late->values_dropped, 1);
    stage_unref(late->stage);
}

/* ---- the stage ---- */

static int run_late(struct late_group *stage, uint32_t i, struct fm_key key, uint32_t conflict)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    uint64_t choice = stage->slot->choice;

    restart.type = (uint32_t)(choice >> (2 * i) & 3) % 3;
    restart.on_limit = FM_LIMIT_REMOVE;
    restart.schedule = fm_schedule_recurs(5);
    if (choice >> 20 & 1)
        restart.schedule = fm_schedule_intersect(restart.schedule, fm_schedule_spaced_ns(3000));
    options.restart = &restart;
    options.group = stage->group;
    options.conflict = conflict;
    options.arg_drop = arg_drop;
    options.value_drop = value_drop;
    int r = fm_map_run(stage->slot->map, key, late_lives, &stage->late[i], &options,
                       &stage->late[i].fiber);
    fm_schedule_unref(restart.schedule);
    return r;
}

static void make_stage(struct slot *slot)
{
    struct fm_map_group_config config = FM_MAP_GROUP_CONFIG_INIT;
    struct late_group *stage = calloc(1, sizeof *stage);
    RACE_CHECK(slot, stage != NULL, "no memory");
    slot->thing = stage;
    stage->slot = slot;
    atomic_init(&stage->refs, 1);
    config.strategy = (uint32_t)(slot->choice >> 21) % 3;
    config.intensity = slot->choice >> 24 & 1 ? 2 : 0;
    config.on_limit = FM_LIMIT_REMOVE;
    int r = fm_map_group_create(slot->map, &config, &stage->group);
    RACE_CHECK(slot, r == 0, "group: %d", r);
    for (uint32_t i = 0; i < ALL; i++)
        stage->late[i].stage = stage;
    bool queues = slot->choice >> 25 & 1; /* the first one behind a stranger */
    r = queues ? fm_map_run(slot->map, key_of(0), stranger, slot, NULL, NULL) : 0;
    RACE_CHECK(slot, r == 0, "run: %d", r);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        r = run_late(stage, i, key_of(i), i == 0 && queues ? FM_QUEUE : FM_REPLACE);
        /* too many rounds already, and the group has stopped */
        RACE_CHECK(slot, r >= 0 || (config.intensity && r == -ESHUTDOWN), "run: %d", r);
    }
    for (uint32_t i = 1; i < slot->parts; i++)
        fm_map_group_ref(stage->group); /* one for each */
}

/* ---- what happens ---- */

static void disturb(struct slot *slot, struct late_group *stage, uint64_t *random)
{
    uint32_t i = (uint32_t)draw(random, MEMBERS);
    struct late *late = &stage->late[i];
    int r;

    switch (draw(random, 6)) {
    default: r = late->fiber ? fm_fiber_interrupt(late->fiber) : 0; break;
    case 0: r = fm_map_remove(slot->map, key_of(i), FM_NEVER); break;
    case 1:
        atomic_store(&late->detached, true);
        atomic_store(&stage->late[MEMBERS].detached, true); /* who may stand there, too */
        r = fm_map_detach(slot->map, key_of(i), NULL);
        break;
    case 2: r = fm_map_run(slot->map, key_of(i), stranger, slot, NULL, NULL); break;
    case 3: r = fm_map_clear(slot->map, FM_NEVER); break;
    }
    RACE_CHECK(slot, r >= 0 || r == -ENOENT || r == -ESHUTDOWN, "disturb: %d", r);
}

static void come(struct slot *slot, struct late_group *stage, uint64_t *random)
{
    static const uint32_t conflicts[] = { FM_REPLACE, FM_KEEP, FM_QUEUE, FM_REPLACE_AWAIT };
    uint32_t at = (uint32_t)draw(random, ALL), conflict = conflicts[draw(random, 4)];
    int r = run_late(stage, MEMBERS, key_of(at), conflict);

    RACE_CHECK(slot, r >= 0 || r == -ESHUTDOWN, "run: %d", r);
    if (r == FM_MAP_KEPT)
        stage->late[MEMBERS].fiber = fm_fiber_unref(stage->late[MEMBERS].fiber);
}

static void stop(struct slot *slot, struct late_group *stage, uint64_t *random)
{
    uint64_t count[MEMBERS];
    int r = fm_map_group_stop(stage->group, 0);

    RACE_CHECK(slot, r == 0 || r == -ETIMEDOUT, "stop: %d", r);
    for (int i = 0; i < MEMBERS; i++)
        count[i] = fm_fiber_incarnation(stage->late[i].fiber);
    if (draw(random, 2)) {
        r = fm_map_group_stop(stage->group, FM_NEVER);
        RACE_CHECK(slot, r == 0 && fm_map_group_size(stage->group) == 0, "stop: %d", r);
        for (int i = 0; i < MEMBERS; i++)
            RACE_CHECK(slot,
                       atomic_load(&stage->late[i].detached) || !stage->late[i].fiber ||
                           fm_fiber_poll(stage->late[i].fiber, NULL) == 0,
                       "a member is left");
    }
    for (int i = 0; i < MEMBERS; i++)
        slot->result[i] = 1 + (int)count[i];
}

static void come_late(struct slot *slot, struct part *part)
{
    struct late_group *stage = slot->thing;
    struct fm_map_group *group = stage->group;
    uint64_t random = part->random;
    int r;

    switch (part->role) {
    case 0: disturb(slot, stage, &random); break;
    case 1: come(slot, stage, &random); break;
    case 2: stop(slot, stage, &random); break;
    default:
        if (draw(&random, 2)) {
            disturb(slot, stage, &random);
            break;
        }
        r = fm_map_close(slot->map, NULL, NULL);
        RACE_CHECK(slot, r == 0, "close: %d", r);
    }
    fm_map_group_unref(group);
}

/* One that was detached is ended by whoever has it; an interruption may be too early for it. */
static struct fm_exit end_of(struct slot *slot, struct late *late)
{
    struct fm_exit exit = { 0 };
    int r;
    do {
        if (atomic_load(&late->detached))
            fm_fiber_interrupt(late->fiber);
        r = fm_fiber_join(late->fiber,
                          atomic_load(&late->detached) ? fm_after_ms(1) : FM_NEVER, &exit);
    } while (r == -ETIMEDOUT);
    RACE_CHECK(slot, r == 0, "join: %d", r);
    return exit;
}

static void books_of(struct slot *slot, struct late *late, int counted)
{
    struct fm_exit exit = end_of(slot, late);
    uint64_t count = fm_fiber_incarnation(late->fiber);
    uint32_t bodies = atomic_load(&late->bodies), dropped = atomic_load(&late->dropped);

    RACE_CHECK(slot, !atomic_load(&late->inside), "a body is left");
    RACE_CHECK(slot, dropped == (bodies == 0), "arg dropped %u times, %u bodies", dropped,
               bodies);
    RACE_CHECK(slot, bodies <= count + 1 && count <= 5 * ALL, "%u bodies, %" PRIu64,
               bodies, count);
    RACE_CHECK(slot,
               atomic_load(&late->detached) || !counted || (uint64_t)counted == count + 1,
               "incarnation %d when it was stopped, in the end %" PRIu64, counted - 1, count);
    uint32_t kept = exit.kind == FM_SUCCESS; /* until our reference goes */
    RACE_CHECK(slot, atomic_load(&late->values) == atomic_load(&late->values_dropped) + kept,
               "%u values, %u dropped, exit %s", atomic_load(&late->values),
               atomic_load(&late->values_dropped), fm_exit_kind_name(exit.kind));
}

static void late_have_ended(struct slot *slot)
{
    struct late_group *stage = slot->thing;

    slot->map = fm_map_destroy(slot->map);
    for (int i = 0; i < ALL; i++) {
        if (!stage->late[i].fiber)
            continue;
        books_of(slot, &stage->late[i], i < MEMBERS ? slot->result[i] : 0);
        stage->late[i].fiber = fm_fiber_unref(stage->late[i].fiber);
    }
    slot->thing = NULL;
    stage_unref(stage);
}

/* ---- a map below a key, whose fibers idle ---- */

static void one_above(struct slot *slot)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.own_map = 1;
    int r = fm_map_run(slot->map, slot->key, stranger, slot, &options, NULL);
    RACE_CHECK(slot, r == 0, "run: %d", r);
}

/* With a time, or one that is long: its map's reaper is there as long as it is. */
static void come_below(struct slot *slot, uint64_t choice)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *below = NULL;
    config.idle_ttl_ns = choice & 1 ? 1 : INT64_C(3600000000000);
    int r = fm_map_child(slot->map, slot->key, &config, FM_NEVER, &below);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT || r == -ENOENT || r == -ESHUTDOWN,
               "map_child: %d", r);
    if (r < 0)
        return;
    r = fm_map_run(below, slot->key2, stranger, slot, NULL, NULL);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED || r == -ESHUTDOWN, "run: %d", r);
    r = fm_map_touch(below, slot->key2);
    RACE_CHECK(slot, r == 0 || r == -ENOENT, "touch: %d", r);
    fm_map_unref(below);
}

static void come_as_it_closes(struct slot *slot, struct part *part)
{
    if (part->role) {
        come_below(slot, part->random >> 4);
        return;
    }
    int r = fm_map_remove(slot->map, slot->key, FM_NEVER);
    RACE_CHECK(slot, r == 0, "remove: %d", r);
}

const struct race late_races[] = {
    { "late_in_group", "in a group that stops nobody begins anew", make_stage, come_late,
      late_have_ended, NULL },
    { "late_below", "a map is there as long as somebody may look into it", one_above,
      come_as_it_closes, race_empty, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
