/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_restart_limit.c - fibers that the map runs again: when, how often, and what is refused
 *
 * On one worker and the virtual clock: pass_ms() returns when all that is due has happened.
 */
#include <string.h>

#include "runtime/platform/memory.h"
#include "tests/fibermap/restart_test.h"

/* ---- the back-off ---- */

/* T253: removed at once in a back-off, then not found. */
EXACT_TEST(map_restart_limit, back_off_follows_the_schedule)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_restart restart = policy(FM_PERMANENT, 0);
    restart.schedule = fm_schedule_exponential(10 * MS, 2);
    life.lives_ms = 1;
    fm_fiber_unref(run_again(map, live, &life, restart));
    pass_ms(1000);
    static const int64_t expected[] = { 0, 11, 32, 73, 154, 315, 636 };
    cr_assert_eq(life.bodies, 7);
    for (int i = 0; i < 7; i++)
        cr_assert_eq(life.began_ms[i], expected[i], "%d: %d", i, (int)life.began_ms[i]);
    cr_assert_eq(remove_key(map), 0);
    cr_assert_eq(now_ms(), 1000);
    cr_assert_eq(remove_key(map), -ENOENT);
    fm_map_destroy(map);
}

static struct fm_exit asks_which(void *arg)
{
    struct life *life = arg;
    struct fm_schedule_info info;
    int n = atomic_fetch_add(&life->bodies, 1);
    cr_assert_eq(fm_schedule_current(&info), 0);
    cr_assert_eq(info.recurrence, (uint64_t)n);
    cr_assert_eq(info.input.code, n ? -EIO : 0);
    cr_assert_null(info.input.value, "it has been dropped");
    return n < 3 ? fm_fail_with(-EIO, life) : fm_ok(NULL);
}

EXACT_TEST(map_restart_limit, body_can_ask_where_in_the_schedule_it_is)
{
    struct fm_map *map = new_map();
    struct life life = { 0 };
    struct fm_fiber *fiber = run_again(map, asks_which, &life, policy(FM_TRANSIENT, 1));
    pass_ms(10);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    cr_assert_eq(life.values, 3);
    fm_map_destroy(map);
}

/* Run by a thread, that is by nobody who has a seed. */
static void back_off_with_seed(uint64_t seed, int64_t began_ms[8])
{
    struct fm_runtime_config runtime_config = FM_RUNTIME_CONFIG_INIT;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_restart restart = policy(FM_PERMANENT, 0);
    struct life life = failing();
    struct fm_map *map;

    runtime_config.worker_count = 1;
    runtime_config.clock = FM_CLOCK_VIRTUAL;
    runtime_config.seed = seed;
    cr_assert_eq(fm_runtime_create(&runtime_config, &config.runtime), 0);
    cr_assert_eq(fm_map_create(&config, &map), 0);
    restart.schedule = fm_schedule_jittered(fm_schedule_spaced_ns(1000 * MS));
    fm_fiber_unref(run_again(map, live, &life, restart));
    cr_assert_eq(fm_clock_advance_ns(config.runtime, 10000 * MS), 0);
    cr_assert_geq(life.bodies, 8);
    memcpy(began_ms, life.began_ms, 8 * sizeof *began_ms);
    fm_map_destroy(map);
    fm_runtime_destroy(config.runtime);
}

TEST(map_restart_limit, jitter_follows_from_the_seed_of_the_runtime_whoever_runs_it)
{
    int64_t first[8], again[8], other[8];
    back_off_with_seed(7, first);
    back_off_with_seed(7, again);
    back_off_with_seed(8, other);
    cr_assert_eq(memcmp(first, again, sizeof first), 0);
    cr_assert_neq(memcmp(first, other, sizeof first), 0);
}

/* F63: failing at once, no back-off, and the clock stands still: others run all the same. */
EXACT_TEST(map_restart_limit, without_a_back_off_others_run_between_incarnations)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    fm_fiber_unref(run_again(map, live, &life, policy(FM_PERMANENT, 0)));
    for (int i = 0; i < 100; i++)
        fm_yield();
    cr_assert_gt(life.bodies, 10);
    cr_assert_lt(life.bodies, 1000, "%d incarnations in 100 turns", life.bodies);
    cr_assert_eq(remove_key(map), 0);
    cr_assert_eq(now_ms(), 0);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart_limit, a_back_off_without_end_can_be_removed)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_restart restart = policy(FM_PERMANENT, 0);
    restart.schedule = fm_schedule_spaced_ns(INT64_MAX);
    fm_fiber_unref(run_again(map, live, &life, restart));
    pass_ms(1000000);
    cr_assert(has(map));
    cr_assert_eq(remove_key(map), 0);
    cr_assert_eq(life.bodies, 1);
    fm_map_destroy(map);
}

/* ---- limits ---- */

/* T259: one restart a second at most; an end each 2.1 s is tolerated for ever. */
EXACT_TEST(map_restart_limit, rare_failures_never_reach_the_limit)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_restart restart = policy(FM_PERMANENT, 0);
    life.lives_ms = 2100;
    restart.intensity = 1;
    restart.period_ns = 1000 * MS;
    struct fm_fiber *fiber = run_again(map, live, &life, restart);
    pass_ms(2100 * 50);
    cr_assert_eq(life.bodies, 51);
    cr_assert_eq(remove_key(map), 0);
    expect_interruption(finish(fiber), FM_BY_REMOVE);
    fm_map_destroy(map);
}

/* Both ends of the period count; one nanosecond more and it is another period. */
EXACT_TEST(map_restart_limit, window_is_inclusive_and_slides)
{
    static const int64_t period_ms[] = { 300, 299 };
    for (int i = 0; i < 2; i++) {
        struct fm_map *map = new_map();
        struct life life = failing();
        struct fm_restart restart = policy(FM_PERMANENT, 0);
        life.lives_ms =
            100; /* ends at 100, 200, 300, 400: the fourth restart meets the first */
        restart.intensity = 3;
        restart.period_ns = period_ms[i] * MS;
        restart.on_limit = FM_LIMIT_REMOVE;
        struct fm_fiber *fiber = run_again(map, live, &life, restart);
        pass_ms(10000);
        cr_assert_eq(life.bodies, i == 0 ? 4 : 101);
        cr_assert_eq(has_ended(fiber), i == 0);
        if (i == 0)
            cr_assert_eq(fm_fiber_incarnation(fiber), 3);
        fm_fiber_unref(fiber);
        fm_map_destroy(map);
    }
}

EXACT_TEST(map_restart_limit, period_is_five_seconds_unless_given)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_restart restart = policy(FM_PERMANENT, 0);
    restart.intensity = 1;
    life.lives_ms = 5000;
    fm_fiber_unref(run_again(map, live, &life, restart));
    pass_ms(60000);
    cr_assert_eq(life.bodies, 2);
    cr_assert(!has(map));
    life = failing();
    life.lives_ms = 5001;
    fm_fiber_unref(run_again(map, live, &life, restart));
    pass_ms(60000);
    cr_assert_gt(life.bodies, 10);
    fm_map_destroy(map);
}

/* A map's window counts the restarts of all its keys. */
EXACT_TEST(map_restart_limit, map_has_a_window_for_all_keys_together)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_fiber *fiber[3];
    struct life life[3];
    struct fm_map *map;
    int restarts = 0, ended = 0;

    config.restart_intensity = 5;
    config.restart_period_ns = 1000 * MS;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    restart.type = FM_PERMANENT;
    restart.on_limit = FM_LIMIT_REMOVE;
    options.restart = &restart;
    for (int i = 0; i < 3; i++) {
        life[i] = failing();
        life[i].lives_ms = 100;
        cr_assert_eq(fm_map_run(map, FM_KEY_U64((uint64_t)i), live, &life[i], &options,
                                &fiber[i]),
                     0);
    }
    pass_ms(250); /* three restarts at 100 ms, two of three at 200 */
    for (int i = 0; i < 3; i++) {
        restarts += (int)fm_fiber_incarnation(fiber[i]);
        ended += has_ended(fiber[i]);
    }
    cr_assert_eq(restarts, 5);
    cr_assert_eq(ended, 1);
    for (int i = 0; i < 3; i++)
        fm_fiber_unref(fiber[i]);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart_limit, healthy_time_begins_window_and_schedule_anew)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_restart restart = policy(FM_PERMANENT, 0);
    restart.schedule = fm_schedule_intersect(fm_schedule_exponential(10 * MS, 2),
                                             fm_schedule_recurs(3));
    restart.intensity = 3;
    restart.period_ns = 3600 * 1000 * MS;
    restart.reset_after_ns = 100 * MS;
    life.lives_ms = 100;
    fm_fiber_unref(run_again(map, live, &life, restart));
    pass_ms(1100);
    cr_assert_eq(life.bodies, 11, "always the first delay: %d", life.bodies);
    cr_assert_eq(remove_key(map), 0);

    life = failing();
    life.lives_ms = 99;
    restart.schedule = NULL;
    struct fm_fiber *fiber = run_again(map, live, &life, restart);
    pass_ms(2000);
    cr_assert(has_ended(fiber), "not healthy enough");
    cr_assert_eq(life.bodies, 4);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static struct fm_restart limited(uint32_t on_limit)
{
    struct fm_restart restart = policy(FM_PERMANENT, 1);
    restart.intensity = 3;
    restart.on_limit = on_limit;
    return restart;
}

/* T261 */
EXACT_TEST(map_restart_limit, limit_escalates_to_the_verdict)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_exit verdict;
    struct fm_fiber *fiber = run_again(map, live, &life, limited(FM_LIMIT_ESCALATE));
    run(map, "sibling", until_interrupted, NULL);
    pass_ms(2);
    cr_assert_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT, "no verdict before");
    pass_ms(2);
    cr_assert_eq(fm_map_join(map, FM_NEVER, &verdict), 0);
    cr_assert_eq(verdict.kind, FM_FAILURE);
    cr_assert_eq(verdict.code, -EIO);
    cr_assert_eq(verdict.reason, FM_BY_RESTART_LIMIT);
    struct fm_exit exit = finish(fiber);
    cr_assert_eq(exit.code, -EIO);
    cr_assert_eq(exit.reason, FM_BY_RESTART_LIMIT);
    cr_assert_eq(life.bodies, 4);
    cr_assert(!has(map));
    cr_assert_eq(fm_map_size(map), 1, "the sibling goes on");
    fm_map_destroy(map);
}

EXACT_TEST(map_restart_limit, limit_of_one_that_succeeds_or_is_interrupted_is_an_interruption)
{
    for (int i = 0; i < 2; i++) {
        struct fm_map *map = new_map();
        struct life life = { .end = { i ? fm_interrupted() : fm_ok(NULL) }, .ends = 1 };
        struct fm_exit verdict;
        struct fm_fiber *fiber = run_again(map, live, &life, limited(FM_LIMIT_ESCALATE));
        pass_ms(10);
        expect_interruption(finish(fiber), FM_BY_RESTART_LIMIT);
        cr_assert_eq(fm_map_join(map, FM_NEVER, &verdict), 0);
        expect_interruption(verdict, FM_BY_RESTART_LIMIT);
        fm_map_destroy(map);
    }
}

EXACT_TEST(map_restart_limit, interruptions_from_outside_count_for_the_limit)
{
    struct fm_map *map = new_map();
    struct life life = { 0 };
    struct fm_fiber *fiber = run_again(map, live_for_ever, &life, limited(FM_LIMIT_REMOVE));
    for (int i = 0; i < 3; i++) {
        pass_ms(2);
        cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    }
    pass_ms(2);
    cr_assert(!has_ended(fiber));
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    expect_interruption(finish(fiber), FM_BY_RESTART_LIMIT);
    cr_assert_eq(life.bodies, 4);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart_limit, limit_removes_quietly)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_exit exit = { 0 };
    struct fm_fiber *fiber = run_again(map, live, &life, limited(FM_LIMIT_REMOVE));
    pass_ms(10);
    cr_assert(!has(map));
    exit = finish(fiber);
    cr_assert_eq(exit.code, -EIO);
    cr_assert_eq(exit.reason, FM_BY_RESTART_LIMIT);
    cr_assert_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    run(map, "key", until_interrupted, NULL);
    cr_assert(has(map));
    fm_map_destroy(map);
}

/* T261 */
EXACT_TEST(map_restart_limit, limit_closes_the_map)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_exit verdict;
    struct fm_fiber *fiber = run_again(map, live, &life, limited(FM_LIMIT_CLOSE_MAP)), *sibling;
    cr_assert_eq(fm_map_run(map, fm_key_str("sibling"), until_interrupted, NULL, NULL,
                            &sibling),
                 0);
    pass_ms(10);
    expect_interruption(finish(sibling), FM_BY_CLOSE);
    cr_assert_eq(finish(fiber).code, -EIO);
    cr_assert_eq(fm_map_join(map, FM_NEVER, &verdict), 0);
    cr_assert_eq(verdict.code, -EIO);
    cr_assert_eq(verdict.reason, FM_BY_RESTART_LIMIT);
    cr_assert_eq(fm_map_run(map, fm_key_str("key"), live, &life, NULL, NULL), -ESHUTDOWN);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart_limit, isolated_lineage_at_its_limit_brings_no_verdict_but_closes)
{
    for (uint32_t on_limit = FM_LIMIT_ESCALATE; on_limit <= FM_LIMIT_CLOSE_MAP; on_limit++) {
        struct fm_map *map = new_map();
        struct life life = failing();
        struct fm_restart restart = limited(on_limit);
        struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
        struct fm_exit verdict;
        options.restart = &restart;
        options.flags = FM_MAP_ISOLATE_FAILURE;
        cr_assert_eq(fm_map_run(map, fm_key_str("key"), live, &life, &options, NULL), 0);
        fm_schedule_unref(restart.schedule);
        pass_ms(10);
        cr_assert_eq(life.bodies, 4);
        int r = fm_map_join(map, 0, &verdict);
        cr_assert_eq(r, on_limit == FM_LIMIT_CLOSE_MAP ? 0 : -ETIMEDOUT);
        if (r == 0)
            cr_assert_eq(verdict.kind, FM_SUCCESS);
        fm_map_destroy(map);
    }
}

EXACT_TEST(map_restart_limit, end_of_the_schedule_is_a_limit)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_restart restart = policy(FM_TRANSIENT, 0);
    restart.schedule = fm_schedule_delays((const int64_t[]) { 10 * MS, 50 * MS }, 2);
    struct fm_fiber *fiber = run_again(map, live, &life, restart);
    pass_ms(100);
    cr_assert_eq(life.bodies, 3);
    cr_assert_eq(life.began_ms[2], 60);
    cr_assert_eq(finish(fiber).reason, FM_BY_RESTART_LIMIT);
    fm_map_destroy(map);
}

/* Restarts are no failures of the map before the limit. */
EXACT_TEST(map_restart_limit, failures_that_are_followed_by_another_incarnation_bring_no_verdict)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    struct life life = { .end = { fm_fail(1), fm_fail(2), fm_fail(3), fm_ok(NULL) },
                         .ends = 4 };
    config.on_failure = FM_CLOSE_MAP;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    cr_assert_eq(finish(run_again(map, live, &life, policy(FM_TRANSIENT, 0))).kind, FM_SUCCESS);
    cr_assert_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    run(map, "other", until_interrupted, NULL);
    fm_map_destroy(map);
}

/* ---- asked first ---- */

struct asked {
    int times;
    int until;
};

static bool ask(void *ctx, struct fm_key key, struct fm_exit exit, uint64_t count)
{
    struct asked *asked = ctx;
    cr_assert_eq(key.len, 3);
    cr_assert_eq(memcmp(key.data, "key", 3), 0);
    cr_assert_eq(exit.code, -EIO);
    cr_assert_eq(count, (uint64_t)asked->times);
    cr_assert(fm_masked());
    return ++asked->times < asked->until;
}

EXACT_TEST(map_restart_limit, should_restart_is_asked_before_each_and_decides)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct asked asked = { .until = 4 };
    struct fm_restart restart = policy(FM_TRANSIENT, 0);
    restart.should_restart = ask;
    restart.ctx = &asked;
    struct fm_exit exit = finish(run_again(map, live, &life, restart));
    cr_assert_eq(exit.code, -EIO);
    cr_assert_eq(exit.reason, 0, "no limit");
    cr_assert_eq(life.bodies, 4);
    cr_assert_eq(asked.times, 4);
    fm_map_destroy(map);
}

/* ---- what is refused: T255 ---- */

EXACT_TEST(map_restart_limit, senseless_policies_are_refused)
{
    struct fm_map *map = new_map();
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *refused = NULL;
    struct {
        struct fm_restart restart;
        uint64_t newer;
    } longer = { .restart = { .size = sizeof longer }, .newer = 1 };
    struct fm_restart bad[6] = { { 0 } };
    bad[0].type = 3;
    bad[1].on_limit = 3;
    bad[2].intensity = FM_RESTART_INTENSITY_MAX + 1;
    bad[3].period_ns = -1;
    bad[4].reset_after_ns = -1;
    bad[5].size = 1;
    for (int i = 0; i < 7; i++) {
        struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
        if (i < 5)
            bad[i].size = sizeof bad[i];
        options.restart = i < 6 ? &bad[i] : &longer.restart;
        cr_assert_eq(fm_map_run(map, fm_key_str("key"), live, NULL, &options, NULL),
                     i < 6 ? -EINVAL : -E2BIG, "%d", i);
        cr_assert(!has(map));
    }
    config.restart_intensity = FM_RESTART_INTENSITY_MAX + 1;
    cr_assert_eq(fm_map_create(&config, &refused), -EINVAL);
    config.restart_intensity = 1;
    config.restart_period_ns = -1;
    cr_assert_eq(fm_map_create(&config, &refused), -EINVAL);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart_limit, without_memory_nothing_starts_and_nothing_is_lost)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_restart restart = policy(FM_PERMANENT, 10);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = NULL;
    int r = -ENOMEM, failed = 0;
    restart.intensity = 100;
    restart.reset_after_ns = 5 * MS;
    options.restart = &restart;
    options.arg_drop = drop_arg;
    for (uint64_t n = 1; r == -ENOMEM; n++) {
        fm__fault_set(FAULT_MALLOC, n, false);
        r = fm_map_run(map, fm_key_str("key"), live, &life, &options, &fiber);
        fm__fault_set(FAULT_MALLOC, 0, false);
        failed += r == -ENOMEM;
        cr_assert_eq(has(map), r == 0);
    }
    cr_assert_eq(r, 0);
    cr_assert_geq(failed, 3, "lineage, schedule, extra");
    fm_schedule_unref(restart.schedule);
    pass_ms(15);
    cr_assert_eq(life.bodies, 2);
    cr_assert_eq(life.dropped, 0);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}
