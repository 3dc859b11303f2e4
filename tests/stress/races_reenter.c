/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_reenter.c - fibers of a map that call the map: X11 finalizers, X17 two maps whose members remove each other
 */
#include "tests/stress/race.h"

/*
 * ---- X11: the finalizer of a fiber that is replaced, removed or closed calls the map ----
 *
 * What it starts under its own key or another is owned by the map like any other: close ends it.
 */

static void own_remove(struct slot *slot)
{
    int r = fm_map_remove(slot->map, slot->key, FM_NEVER);
    /* Self: nobody has replaced us. Else it is another one, who may be waiting for us in turn. */
    RACE_CHECK(slot, r == FM_MAP_SELF || r == 0 || r == -ENOENT || r == -EDEADLK,
               "remove by a finalizer: %d", r);
}

static int call_the_map(void *arg, struct fm_exit exit)
{
    struct slot *slot = arg;
    uint64_t choice = slot->choice >> 8;
    int r = 0;

    switch (choice % 8) {
    case 0: r = race_run(slot, slot->key, race_linger, FM_REPLACE, NULL); break;
    case 1: r = race_run(slot, slot->key, race_park, FM_KEEP, NULL); break;
    case 2: r = race_run(slot, slot->key2, race_park, FM_REPLACE, NULL); break;
    case 3: own_remove(slot); break;
    case 4:
        r = fm_map_clear(slot->map, FM_NEVER);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_SELF || r == -EDEADLK,
                   "clear by a finalizer: %d", r);
        r = 0;
        break;
    case 5:
        r = fm_map_close(slot->map, NULL, NULL);
        RACE_CHECK(slot, r == FM_MAP_SELF, "close by a finalizer: %d", r);
        r = 0;
        break;
    case 6: fm_map_set(slot->map, slot->key2, fm_fiber_self(), NULL); break;
    default: fm_map_interrupt(slot->map, slot->key); break;
    }
    RACE_CHECK(slot, r >= 0 || r == -ESHUTDOWN, "run by a finalizer: %d", r);
    atomic_fetch_add(&slot->seen[0], 1);
    return 0;
}

static struct fm_exit finalize_with_calls(void *arg)
{
    struct slot *slot = arg;
    race_enter(slot);
    fm_defer(call_the_map, slot);
    return fm_fail(fm_never());
}

static void one_that_calls(struct slot *slot)
{
    int r = race_run(slot, slot->key, finalize_with_calls, FM_REPLACE, &slot->first);
    RACE_CHECK(slot, r == 0, "run: %d", r);
    while (slot->choice & 1 && atomic_load(&slot->entered) < 1)
        fm_yield(); /* else it may end before its first step, and never call */
}

static void replace_remove_or_close(struct slot *slot, struct part *part)
{
    int r;
    switch ((part->role + slot->choice / 2) % 4) {
    case 0:
        r = race_run_as(slot, part, slot->choice & 4 ? finalize_with_calls : race_park,
                        FM_REPLACE);
        RACE_CHECK(slot, r >= 0 || r == -ESHUTDOWN, "run: %d", r);
        break;
    case 1:
        r = fm_map_remove(slot->map, slot->key, FM_NEVER);
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
        break;
    case 2:
        r = fm_map_clear(slot->map, FM_NEVER);
        RACE_CHECK(slot, r == 0, "clear: %d", r);
        break;
    default:
        if (slot->choice & 64) {
            r = fm_map_close(slot->map, NULL, NULL);
            RACE_CHECK(slot, r == 0, "close: %d", r);
        } else {
            r = race_run_as(slot, part, race_park, FM_KEEP);
            RACE_CHECK(slot, r >= 0 || r == -ESHUTDOWN, "run: %d", r);
        }
        break;
    }
}

static void nobody_is_orphaned(struct slot *slot)
{
    int r = fm_map_close(slot->map, NULL, NULL);
    RACE_CHECK(slot, r == 0, "close: %d", r);
    struct fm_exit exit = race_finish(slot, fm_fiber_ref(slot->first));
    RACE_CHECK(slot, exit.kind == FM_INTERRUPTED && !exit.flags, "%s",
               fm_exit_kind_name(exit.kind));
    RACE_CHECK(slot, fm_map_size(slot->map) == 0, "not empty");
    race_settle(slot);
    race_release(slot);
    slot->map = fm_map_destroy(slot->map);
}

/*
 * ---- X17: a member of each map removes the member of the other ----
 *
 * Unmasked, the first removal interrupts the second one's waiting. Masked, nothing can, and one of the two is told the ring.
 */

static struct fm_exit remove_other(struct slot *slot, struct fm_map *map)
{
    bool masked = slot->choice & 1;
    race_enter(slot);
    if (masked)
        fm_mask();
    int r = fm_map_remove(map, slot->key, FM_NEVER);
    RACE_CHECK(slot, r == 0 || r == -ENOENT || r == -EDEADLK || (!masked && r == -ECANCELED),
               "remove: %d", r);
    atomic_fetch_add(&slot->seen[r == -EDEADLK ? 1 : r == -ECANCELED ? 2 : 0], 1);
    if (masked)
        fm_unmask();
    return fm_fail(fm_check());
}

static struct fm_exit in_map(void *arg)
{
    struct slot *slot = arg;
    return remove_other(slot, slot->other);
}

static struct fm_exit in_other(void *arg)
{
    struct slot *slot = arg;
    return remove_other(slot, slot->map);
}

static void nobody(struct slot *slot) {}

static void start_or_interrupt(struct slot *slot, struct part *part)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_FAIL;
    options.arg_drop = race_drop;
    int r = 0;
    switch (part->role) {
    case 0:
        r = fm_map_run(slot->map, slot->key, in_map, slot, &options, &slot->fiber[part->index]);
        break;
    case 1:
        r = fm_map_run(slot->other, slot->key, in_other, slot, &options,
                       &slot->fiber[part->index]);
        break;
    case 2:
        if (slot->choice & 2)
            fm_map_interrupt(slot->map, slot->key);
        return;
    default:
        if (slot->choice & 4)
            fm_map_remove(slot->other, slot->key, FM_NEVER);
        return;
    }
    RACE_CHECK(slot, r == 0, "run: %d", r);
    atomic_fetch_add(&slot->started, 1);
}

static void both_ended(struct slot *slot)
{
    for (uint32_t i = 0; i < slot->parts; i++) {
        if (slot->fiber[i])
            race_finish(slot, fm_fiber_ref(slot->fiber[i]));
    }
    RACE_CHECK(slot, !fm_map_has(slot->map, slot->key) && !fm_map_has(slot->other, slot->key),
               "still there");
    RACE_CHECK(slot, atomic_load(&slot->seen[1]) <= 2, "told the ring too often");
    race_empty(slot);
    race_release(slot);
}

const struct race reenter_races[] = {
    /* F47 */
    { "x11_finalizer", "finalizers call their own map: no deadlock, no orphan", one_that_calls,
      replace_remove_or_close, nobody_is_orphaned, NULL },
    /* F32 */
    { "x17_two_maps", "members who remove each other come apart", nobody, start_or_interrupt,
      both_ended, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
