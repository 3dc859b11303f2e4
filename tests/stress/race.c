/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race.c - what bodies, roles and ends of races are made of, and the members' books
 */
#include "tests/stress/race.h"

void race_show(const struct slot *slot)
{
    fprintf(stderr,
            "round %" PRIu64 ": started %u entered %u left %u dropped %u, size %zu, results",
            slot->round, atomic_load(&slot->started), atomic_load(&slot->entered),
            atomic_load(&slot->left), atomic_load(&slot->dropped), fm_map_size(slot->map));
    for (uint32_t i = 0; i < slot->parts; i++)
        fprintf(stderr, " %d", slot->result[i]);
    fprintf(stderr, ", seen %u %u %u %u\n", atomic_load(&slot->seen[0]),
            atomic_load(&slot->seen[1]), atomic_load(&slot->seen[2]),
            atomic_load(&slot->seen[3]));
}

/* ---- members ---- */

static int leave(void *arg, struct fm_exit exit)
{
    struct slot *slot = arg;
    RACE_CHECK(slot, !atomic_load(&slot->closed), "a body ends after the close has returned");
    atomic_fetch_add(&slot->left, 1);
    return 0;
}

void race_enter(struct slot *slot)
{
    RACE_CHECK(slot, !atomic_load(&slot->closed), "a body begins after the close has returned");
    atomic_fetch_add(&slot->entered, 1);
    int r = fm_defer(leave, slot);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
}

void race_drop(void *arg)
{
    struct slot *slot = arg;
    atomic_fetch_add(&slot->dropped, 1);
}

struct fm_exit race_park(void *arg)
{
    race_enter(arg);
    return fm_fail(fm_never());
}

struct fm_exit race_quick(void *arg)
{
    race_enter(arg);
    return fm_ok(NULL);
}

struct fm_exit race_linger(void *arg)
{
    race_enter(arg);
    for (int i = 0; i < 2; i++) {
        if (fm_yield() < 0)
            return fm_interrupted();
    }
    return fm_ok(NULL);
}

int race_run(struct slot *slot, struct fm_key key, fm_entry_fn *entry, uint32_t conflict,
             struct fm_fiber **ret_fiber)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = conflict;
    options.arg_drop = race_drop;
    int r = fm_map_run(slot->map, key, entry, slot, &options, ret_fiber);
    if (r == 0 || r == FM_MAP_REPLACED)
        atomic_fetch_add(&slot->started, 1);
    return r;
}

int race_run_as(struct slot *slot, struct part *part, fm_entry_fn *entry, uint32_t conflict)
{
    int r = race_run(slot, slot->key, entry, conflict, &slot->fiber[part->index]);
    slot->result[part->index] = r;
    return r;
}

struct fm_fiber *race_spawn(struct slot *slot, fm_entry_fn *entry)
{
    struct fm_fiber *fiber = NULL;
    int r = fm_runtime_spawn(slot->runtime, entry, slot, NULL, &fiber);
    RACE_CHECK(slot, r == 0, "spawn: %d", r);
    return fiber;
}

struct fm_exit race_finish(struct slot *slot, struct fm_fiber *fiber)
{
    struct fm_exit exit = { .kind = 255 };
    int r = fm_fiber_join(fiber, FM_NEVER, &exit);
    RACE_CHECK(slot, r == 0, "join: %d", r);
    fm_fiber_unref(fiber);
    return exit;
}

void race_release(struct slot *slot)
{
    for (uint32_t i = 0; i < slot->parts; i++)
        slot->fiber[i] = fm_fiber_unref(slot->fiber[i]);
    slot->first = fm_fiber_unref(slot->first);
    slot->second = fm_fiber_unref(slot->second);
}

void race_settle(struct slot *slot)
{
    uint32_t entered = atomic_load(&slot->entered), left = atomic_load(&slot->left);
    uint32_t ended = left + atomic_load(&slot->dropped);
    RACE_CHECK(slot, entered == left, "a body is left");
    RACE_CHECK(slot, atomic_load(&slot->started) == ended, "%u have ended", ended);
}

void race_empty(struct slot *slot)
{
    int r = fm_map_clear(slot->map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "clear: %d", r);
    r = fm_map_await_quiescent(slot->map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await_quiescent: %d", r);
    RACE_CHECK(slot, fm_map_size(slot->map) == 0 && !fm_map_has(slot->map, slot->key),
               "not empty");
    RACE_CHECK(slot, fm_map_count(slot->map, FM_MEMBER_ZOMBIE) == 0, "a zombie at rest");
    race_settle(slot);
}
