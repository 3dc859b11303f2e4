/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_close.c - closing against everything: X5 run and set, X9 the verdict, X18 other closers and members
 */
#include "tests/stress/race.h"

/* A stranger's close: everybody has ended. */
static void close_as_stranger(struct slot *slot)
{
    struct fm_close_report report;
    int r = fm_map_close(slot->map, NULL, &report);
    RACE_CHECK(slot, r == 0 && report.stuck == 0, "close: %d, %zu stuck", r, report.stuck);
    fm_close_report_fini(&report);
    atomic_store(&slot->closed, true);
    for (uint32_t state = FM_MEMBER_LIVE; state <= FM_MEMBER_ENDING; state++) {
        size_t count = fm_map_count(slot->map, state);
        RACE_CHECK(slot, count == 0, "%zu members of state %u after close", count, state);
    }
}

static void closed_for_good(struct slot *slot)
{
    RACE_CHECK(slot, atomic_load(&slot->closed), "nobody has closed");
    RACE_CHECK(slot, fm_map_size(slot->map) == 0 && !fm_map_has(slot->map, slot->key),
               "not empty");
    RACE_CHECK(slot, race_run(slot, slot->key, race_park, FM_REPLACE, NULL) == -ESHUTDOWN,
               "a run after close");
    race_settle(slot);
    race_release(slot);
    slot->map = fm_map_destroy(slot->map);
}

/* ---- X5: close x run x set ---- */

static struct fm_exit stand_by(void *arg)
{
    return fm_fail(fm_never());
}

static void one_to_set(struct slot *slot)
{
    slot->first = race_spawn(slot, stand_by);
    if (slot->choice & 1) {
        int r = race_run(slot, slot->key, race_park, FM_REPLACE, NULL);
        RACE_CHECK(slot, r == 0, "run: %d", r);
    }
}

static void close_run_or_set(struct slot *slot, struct part *part)
{
    int r;
    switch (part->role) {
    case 0: close_as_stranger(slot); return;
    case 1:
        r = fm_map_set(slot->map, slot->choice & 2 ? slot->key : slot->key2, slot->first, NULL);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED || r == -ESHUTDOWN, "set: %d", r);
        break;
    case 2:
        r = race_run_as(slot, part, race_park, FM_REPLACE);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED || r == -ESHUTDOWN, "run: %d", r);
        break;
    default:
        r = race_run_as(slot, part, race_park, FM_KEEP);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT || r == -ESHUTDOWN, "run: %d", r);
        break;
    }
    slot->result[part->index] = r;
}

static void all_ended(struct slot *slot)
{
    struct fm_exit exit = race_finish(slot, fm_fiber_ref(slot->first));
    RACE_CHECK(slot, exit.kind == FM_INTERRUPTED, "%s", fm_exit_kind_name(exit.kind));
    RACE_CHECK(slot,
               exit.reason == FM_BY_CLOSE || exit.reason == FM_BY_REJECT ||
                   exit.reason == FM_BY_REPLACE,
               "by %s", fm_reason_name(exit.reason));
    for (uint32_t i = 0; i < slot->parts; i++) {
        /* Who was started or kept has left the map; its end is public an instant later. */
        if (slot->fiber[i])
            race_finish(slot, fm_fiber_ref(slot->fiber[i]));
    }
    closed_for_good(slot);
}

/* ---- X9: join x first failure x close. Members fail with a code of their own when they are interrupted. ---- */

static struct fm_exit fail_one(void *arg)
{
    race_enter(arg);
    fm_never();
    return fm_fail(-101);
}

static struct fm_exit fail_two(void *arg)
{
    race_enter(arg);
    fm_never();
    return fm_fail(-102);
}

static uint32_t verdict_of(struct slot *slot)
{
    struct fm_exit exit = { .kind = 255 };
    int r = fm_map_join(slot->map, FM_NEVER, &exit);
    RACE_CHECK(slot, r == 0, "join: %d", r);
    if (exit.kind == FM_SUCCESS)
        return 1;
    RACE_CHECK(slot, exit.kind == FM_FAILURE && (exit.code == -101 || exit.code == -102),
               "verdict %s %d", fm_exit_kind_name(exit.kind), exit.code);
    return (uint32_t)-exit.code;
}

static struct fm_exit join_early(void *arg)
{
    struct slot *slot = arg;
    atomic_store(&slot->seen[0], verdict_of(slot));
    return fm_ok(NULL);
}

static void two_who_fail(struct slot *slot)
{
    int r = race_run(slot, slot->key, fail_one, FM_REPLACE, &slot->first);
    RACE_CHECK(slot, r == 0, "run: %d", r);
    r = race_run(slot, slot->key2, fail_two, FM_REPLACE, &slot->second);
    RACE_CHECK(slot, r == 0, "run: %d", r);
    slot->fiber[0] = race_spawn(slot, join_early);
    /* Who is interrupted before his first step does not fail: let them start. */
    while (atomic_load(&slot->entered) < 2)
        fm_yield();
}

static void fail_close_or_join(struct slot *slot, struct part *part)
{
    switch (part->role % 5) {
    case 0: close_as_stranger(slot); break;
    case 1: fm_fiber_interrupt(slot->first); break;
    case 2:
        if (slot->choice % 2)
            fm_fiber_interrupt(slot->second);
        else
            slot->result[part->index] = (int)verdict_of(slot);
        break;
    default: slot->result[part->index] = (int)verdict_of(slot); break;
    }
}

static void one_verdict(struct slot *slot)
{
    int verdict = (int)verdict_of(slot);
    struct fm_exit exit = race_finish(slot, slot->fiber[0]);
    slot->fiber[0] = NULL;
    RACE_CHECK(slot, exit.kind == FM_SUCCESS, "the early joiner: %s",
               fm_exit_kind_name(exit.kind));
    RACE_CHECK(slot, (int)atomic_load(&slot->seen[0]) == verdict, "verdict %d", verdict);
    for (uint32_t i = 0; i < slot->parts; i++)
        RACE_CHECK(slot, slot->result[i] == 0 || slot->result[i] == verdict, "verdict %d",
                   verdict);
    closed_for_good(slot);
}

/* ---- X18: close x close x close by members ---- */

static struct fm_exit close_my_map(void *arg)
{
    struct slot *slot = arg;
    race_enter(slot);
    fm_yield();
    int r = fm_map_close(slot->map, NULL, NULL);
    /* Canceled: another closer's signal came in time */
    RACE_CHECK(slot, r == FM_MAP_SELF || r == -ECANCELED, "close by a member: %d", r);
    atomic_fetch_add(&slot->seen[r == FM_MAP_SELF ? 0 : 1], 1);
    return fm_fail(fm_check());
}

/* Under a mask nobody's signal reaches it: it must have been left out by all others, and they by it. */
static struct fm_exit close_my_map_masked(void *arg)
{
    struct slot *slot = arg;
    race_enter(slot);
    fm_mask();
    int r = fm_map_close(slot->map, NULL, NULL);
    fm_unmask();
    RACE_CHECK(slot, r == FM_MAP_SELF, "close by a masked member: %d", r);
    atomic_fetch_add(&slot->seen[0], 1);
    return fm_fail(fm_check());
}

static void members(struct slot *slot)
{
    int r = race_run(slot, slot->key, race_park, FM_REPLACE, NULL);
    RACE_CHECK(slot, r == 0, "run: %d", r);
    if (slot->choice & 1)
        r = race_run(slot, slot->key2, slot->choice & 2 ? close_my_map : close_my_map_masked,
                     FM_REPLACE, NULL);
    /* The one that closes may have been quicker than begin() is. */
    RACE_CHECK(slot, r == 0, "run: %d", r);
}

static void close_from_all_sides(struct slot *slot, struct part *part)
{
    if (part->role >= 2 || (part->role == 1 && slot->choice & 4)) {
        int r = race_run_as(slot, part, slot->choice & 8 ? close_my_map : close_my_map_masked,
                            FM_REPLACE);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED || r == -ESHUTDOWN, "run: %d", r);
        return;
    }
    close_as_stranger(slot);
}

const struct race close_races[] = {
    /* F45 */
    { "x5_close_run_set", "nobody lives when close returns", one_to_set, close_run_or_set,
      all_ended, NULL },
    /* F58 */
    { "x9_verdict", "one verdict for all: a failure, or the close", two_who_fail,
      fail_close_or_join, one_verdict, NULL },
    /* F46 */
    { "x18_close_close", "closers, members among them, all come back", members,
      close_from_all_sides, closed_for_good, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
