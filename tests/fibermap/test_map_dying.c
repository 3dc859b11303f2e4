/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_dying.c - FM_MAP_DYING_IS_ABSENT, which makes of a run one that awaits
 *
 * On one worker and the virtual clock: pass_ms() returns when all that is due has happened.
 */
#include "tests/fibermap/turn_test.h"

/* An incumbent that has been interrupted and takes SLOW ms to end. */
static struct fm_fiber *dying(struct fm_map *map, struct act *act)
{
    struct fm_fiber *fiber = act_started(map, act, FM_REPLACE, 0);
    cr_assert_eq(fm_map_interrupt(map, fm_key_str("key")), 0);
    pass_ms(0);
    return fiber;
}

EXACT_TEST(map_dying, an_incumbent_that_ends_is_awaited_and_not_kept_if_told_so)
{
    static const uint32_t conflicts[] = { FM_KEEP, FM_FAIL, FM_JOIN };
    for (int i = 0; i < 3; i++) {
        struct told told = { 0 };
        struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
        struct fm_map *map = new_map();
        struct fm_fiber *old = dying(map, &a), *fiber;
        struct fm_map_run_options options = act_options(conflicts[i]);
        options.flags = FM_MAP_DYING_IS_ABSENT;
        cr_assert_eq(act_run_as(map, &b, options, &fiber), FM_MAP_REPLACED);
        pass_ms(0);
        told_is(&told, "A");
        pass_ms(SLOW);
        told_is(&told, "AaBb");
        expect_interruption(finish(old), FM_BY_REMOVE);
        cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
        fm_map_destroy(map);
    }
}

EXACT_TEST(map_dying, a_run_that_replaces_anyway_does_not_await_him)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_fiber *old = dying(map, &a), *fiber;
    struct fm_map_run_options options = act_options(FM_REPLACE);
    options.flags = FM_MAP_DYING_IS_ABSENT;
    cr_assert_eq(act_run_as(map, &b, options, &fiber), FM_MAP_REPLACED);
    pass_ms(0);
    told_is(&told, "ABb");
    pass_ms(SLOW);
    told_is(&told, "ABba");
    finish(old);
    finish(fiber);
    fm_map_destroy(map);
}

EXACT_TEST(map_dying, an_incumbent_that_ends_counts_as_present_otherwise)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_fiber *old = dying(map, &a), *kept;
    cr_assert_eq(act_run(map, &b, FM_KEEP, &kept), FM_MAP_KEPT);
    cr_assert_eq(kept, old);
    cr_assert_eq(act_run(map, &b, FM_FAIL, NULL), -EEXIST);
    fm_fiber_unref(kept);
    fm_fiber_unref(old);
    pass_ms(SLOW);
    told_is(&told, "Aa");
    fm_map_destroy(map);
}

EXACT_TEST(map_dying, an_incumbent_that_lives_is_kept)
{
    struct told told = { 0 };
    struct act a = { &told, 'A', -1, 0, 0 }, b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_fiber *old = act_started(map, &a, FM_REPLACE, 0), *kept;
    struct fm_map_run_options options = act_options(FM_KEEP);
    options.flags = FM_MAP_DYING_IS_ABSENT;
    cr_assert_eq(act_run_as(map, &b, options, &kept), FM_MAP_KEPT);
    cr_assert_eq(kept, old);
    cr_assert_eq(act_run_as(map, &b, options, NULL), FM_MAP_KEPT);
    fm_fiber_unref(kept);
    fm_fiber_unref(old);
    told_is(&told, "A");
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_dying, run_wait_awaits_what_ends_and_then_its_own)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    run(map, "key", act_body, &a);
    fm_sleep_ms(1);
    cr_assert_eq(fm_map_interrupt(map, fm_key_str("key")), 0);
    struct fm_map_run_options options = act_options(FM_JOIN);
    struct fm_exit exit;
    options.flags = FM_MAP_DYING_IS_ABSENT;
    cr_assert_eq(fm_map_run_wait(map, fm_key_str("key"), act_body, &b, &options, FM_NEVER,
                                 &exit),
                 0);
    cr_assert_eq(exit.value, &b);
    told_is(&told, "AaBb");
    fm_map_destroy(map);
}
