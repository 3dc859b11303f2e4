/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_idle.c - who is not used for a while is interrupted, and nobody else
 */
#include "tests/fibermap/idle_test.h"

EXACT_TEST(map_idle, nobody_uses_it_and_it_ends_when_its_time_is_over)
{
    struct fm_map *map = make_map();
    struct stay_of stay = { 0 };
    struct fm_fiber *fiber = run_idle(map, "a", &stay, 1000);

    pass_ms(999);
    cr_assert(!has_ended(fiber) && fm_map_has(map, KEY("a")));
    pass_ms(1);
    cr_assert(has_ended(fiber) && !fm_map_has(map, KEY("a")));
    cr_assert_eq(stay.ended_ms, 1000);
    expect_interruption(finish(fiber), FM_BY_IDLE);
    expect_nothing_left();
    fm_map_destroy(map);
}

/* T093 */
EXACT_TEST(map_idle, a_touch_puts_the_end_off)
{
    struct fm_map *map = make_map();
    struct stay_of stay = { 0 };
    struct fm_fiber *fiber = run_idle(map, "a", &stay, 1000);

    pass_ms(500);
    cr_assert_eq(fm_map_touch(map, KEY("a")), 0);
    pass_ms(999);
    cr_assert_not(has_ended(fiber));
    pass_ms(1);
    cr_assert_eq(stay.ended_ms, 1500);
    cr_assert_eq(fm_map_touch(map, KEY("a")), -ENOENT);
    expect_interruption(finish(fiber), FM_BY_IDLE);
    fm_map_destroy(map);
}

/* T097 */
EXACT_TEST(map_idle, each_key_has_its_own_time)
{
    struct fm_map *map = make_map();
    struct stay_of brief = { 0 }, lasting = { 0 };
    struct fm_fiber *fibers[] = { run_idle(map, "lasting", &lasting, 2000),
                                  run_idle(map, "brief", &brief, 500) };

    pass_ms(5000);
    cr_assert_eq(brief.ended_ms, 500);
    cr_assert_eq(lasting.ended_ms, 2000);
    for (int i = 0; i < 2; i++)
        expect_interruption(finish(fibers[i]), FM_BY_IDLE);
    fm_map_destroy(map);
}

/* T100: the old one takes its time to end, and its own time is over meanwhile. */
EXACT_TEST(map_idle, the_time_of_one_that_was_replaced_ends_nobody)
{
    struct fm_map *map = make_map();
    struct stay_of old = { .ends_ms = 5000 }, young = { 0 }, lasting = { 0 };
    struct fm_fiber *first = run_idle(map, "a", &old, 1000);

    pass_ms(500);
    struct fm_fiber *second = run_idle(map, "a", &young, 1000);
    cr_assert_eq(old.ended_ms, 500);
    pass_ms(500);
    cr_assert_not(has_ended(second));
    pass_ms(499);
    cr_assert_not(has_ended(second));
    pass_ms(1);
    cr_assert_eq(young.ended_ms, 1500);
    struct fm_fiber *third = run_idle(map, "a", &lasting, 0); /* has no time at all */
    pass_ms(10000);
    cr_assert_not(has_ended(third));
    expect_interruption(finish(first), FM_BY_REPLACE);
    expect_interruption(finish(second), FM_BY_IDLE);
    fm_map_destroy(map);
    expect_interruption(finish(third), FM_BY_CLOSE);
}

EXACT_TEST(map_idle, a_run_that_finds_it_uses_it_and_a_look_does_not)
{
    struct fm_map *map = make_map();
    struct stay_of stay = { 0 };
    struct fm_map_run_options fail = conflict(FM_FAIL);
    struct fm_fiber *fiber = run_idle(map, "a", &stay, 1000), *found;
    struct fm_snapshot *snapshot;

    pass_ms(900);
    cr_assert_eq(run_stay(map, "a", &stay, FM_KEEP, 0, NULL), FM_MAP_KEPT);
    pass_ms(900);
    cr_assert_eq(run_stay(map, "a", &stay, FM_JOIN, 5, &found), FM_MAP_KEPT);
    cr_assert_eq(found, fiber);
    fm_fiber_unref(found);
    pass_ms(900);
    cr_assert_eq(fm_map_get(map, KEY("a"), &found), 0);
    fm_fiber_unref(found);
    cr_assert(fm_map_has(map, KEY("a")));
    cr_assert_eq(fm_map_run(map, KEY("a"), stay_body, &stay, &fail, NULL), -EEXIST);
    cr_assert_eq(fm_map_await_key(map, KEY("a"), 1, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_map_set(map, KEY("a"), fiber, NULL), FM_MAP_SAME);
    cr_assert_eq(fm_map_snapshot(map, 0, &snapshot), 0);
    cr_assert_eq(fm_snapshot_at(snapshot, 0)->age_ns, 2700 * MS);
    fm_snapshot_free(snapshot);
    pass_ms(100);
    cr_assert_eq(stay.ended_ms, 2800);
    cr_assert_eq(stay.begun, 1);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

struct waiter {
    struct fm_map *map;
    int64_t deadline_ns;
    int result;
    struct stay_of *stay;
    struct fm_exit exit;
};

static struct fm_exit wait_for_run(void *arg)
{
    struct waiter *waiter = arg;
    struct fm_map_run_options options = idle_options(FM_JOIN, 100);
    waiter->result = fm_map_run_wait(waiter->map, KEY("a"), stay_body, waiter->stay, &options,
                                     waiter->deadline_ns, &waiter->exit);
    return fm_ok(NULL);
}

EXACT_TEST(map_idle, who_is_waited_for_is_not_idle)
{
    struct fm_map *map = make_map();
    struct stay_of stay = { 0 };
    struct waiter one = { map, 350 * MS, 9, &stay, { 0 } };
    struct waiter two = { map, 730 * MS, 9, &stay, { 0 } };
    struct fm_fiber *waiters[] = { start(wait_for_run, &one), start(wait_for_run, &two) };

    pass_ms(829);
    cr_assert_eq(one.result, -ETIMEDOUT);
    cr_assert_eq(two.result, -ETIMEDOUT);
    cr_assert_eq(fm_map_size(map), 1);
    pass_ms(1);
    cr_assert_eq(stay.ended_ms, 830, "its time runs from the last one's leaving");
    for (int i = 0; i < 2; i++)
        fm_fiber_unref(waiters[i]);
    fm_map_destroy(map);
}

EXACT_TEST(map_idle, no_timer_and_no_fiber_stays_behind)
{
    struct fm_map *map = make_map();
    struct stay_of stay = { 0 };
    struct fm_fiber *fiber;

    for (int way = 0; way < 6; way++) {
        fiber = run_idle(map, "a", &stay, 1000);
        switch (way) {
        case 0: cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0); break;
        case 1: cr_assert_eq(fm_map_clear(map, FM_NEVER), 0); break;
        case 2: cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0); break;
        case 3: cr_assert_eq(fm_map_interrupt(map, KEY("a")), 0); break;
        case 4:
            cr_assert_eq(fm_map_detach(map, KEY("a"), NULL), 0);
            pass_ms(2000);
            cr_assert(!has_ended(fiber), "the runtime's own, and nobody's idle one");
            cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
            break;
        default: cr_assert_eq(fm_map_close(map, NULL, NULL), 0); break;
        }
        fm_fiber_unref(fiber);
        expect_nothing_left();
    }
    fm_map_destroy(map);
    expect_nothing_left();
}

EXACT_TEST(map_idle, destroy_ends_all_of_it)
{
    struct fm_map *map = make_map();
    struct stay_of stay = { 0 };
    fm_fiber_unref(run_idle(map, "a", &stay, 1000));
    fm_map_destroy(map);
    cr_assert_eq(stay.ended_ms, 0, "at once");
    expect_nothing_left();
}

EXACT_TEST(map_idle, the_time_of_one_that_queues_runs_from_its_turn)
{
    struct fm_map *map = make_map();
    struct stay_of stays[3] = { 0 };

    for (int i = 0; i < 3; i++)
        cr_assert_eq(run_stay(map, "a", &stays[i], FM_QUEUE, 1000, NULL),
                     i ? FM_MAP_QUEUED : 0);
    cr_assert_eq(fm_map_touch(map, KEY("a")), 0);
    pass_ms(10000);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(stays[i].begun_ms, 1000 * i);
        cr_assert_eq(stays[i].ended_ms, 1000 * (i + 1));
    }
    expect_nothing_left();
    fm_map_destroy(map);
}

EXACT_TEST(map_idle, the_time_of_one_that_awaits_the_replaced_one_runs_from_its_turn)
{
    struct fm_map *map = make_map();
    struct stay_of old = { .ends_ms = 5000 }, young = { 0 }, dropped = { 0 };
    fm_fiber_unref(run_idle(map, "a", &old, 0));

    cr_assert_eq(run_stay(map, "a", &dropped, FM_REPLACE_AWAIT, 1000, NULL), FM_MAP_REPLACED);
    cr_assert_eq(run_stay(map, "a", &young, FM_REPLACE_AWAIT, 1000, NULL), FM_MAP_REPLACED);
    pass_ms(10000);
    cr_assert_eq(young.begun_ms, 5000);
    cr_assert_eq(young.ended_ms, 6000);
    cr_assert_eq(dropped.begun, 0);
    expect_nothing_left();
    fm_map_destroy(map);
}

static struct fm_exit fail_after_300_ms(void *arg)
{
    ++*(int *)arg;
    int r = fm_sleep_ms(300);
    return fm_fail(r < 0 ? r : -EIO);
}

/* One that backs off ends at once: a restart is no use of it. */
EXACT_TEST(map_idle, a_lineages_time_runs_through_its_restarts_and_ends_it_for_good)
{
    for (int64_t delay_ms = 100; delay_ms <= 1000; delay_ms += 900) {
        struct fm_map *map = make_map();
        struct fm_map_run_options options = idle_options(FM_REPLACE, 1000);
        struct fm_restart restart = FM_RESTART_INIT;
        struct fm_fiber *fiber;
        int64_t begin_ms = now_ms();
        int bodies = 0;

        restart.type = FM_PERMANENT;
        restart.schedule = fm_schedule_spaced_ns(delay_ms * MS);
        options.restart = &restart;
        cr_assert_eq(fm_map_run(map, KEY("a"), fail_after_300_ms, &bodies, &options, &fiber),
                     0);
        fm_schedule_unref(restart.schedule);
        pass_ms(999);
        cr_assert_not(has_ended(fiber));
        pass_ms(1);
        cr_assert(has_ended(fiber));
        expect_interruption(finish(fiber), FM_BY_IDLE);
        cr_assert_eq(bodies, delay_ms == 100 ? 3 : 1);
        cr_assert_eq(now_ms() - begin_ms, 1000);
        pass_ms(5000);
        cr_assert_eq(bodies, delay_ms == 100 ? 3 : 1);
        expect_nothing_left();
        fm_map_destroy(map);
    }
}

EXACT_TEST(map_idle, a_fiber_that_was_set_has_the_time_of_its_key)
{
    struct fm_map *map = make_map();
    struct stay_of stay = { 0 };
    struct fm_map_run_options hour = idle_options(FM_REPLACE, 3600 * 1000);
    struct fm_map_run_options second = idle_options(FM_REPLACE, 1000);
    struct fm_fiber *fiber = start(stay_body, &stay), *gone = start(return_arg, NULL);

    settle();
    cr_assert_eq(fm_map_set(map, KEY("a"), fiber, &hour), 0);
    cr_assert_eq(fm_map_set(map, KEY("b"), fiber, &second), 0);
    cr_assert_eq(fm_map_set(map, KEY("c"), gone, &second), 0, "ended: in and out");
    pass_ms(600);
    cr_assert_eq(fm_map_touch(map, KEY("b")), 0);
    pass_ms(600);
    cr_assert_eq(fm_map_touch(map, KEY("a")), 0, "another key's time");
    pass_ms(399);
    cr_assert_not(has_ended(fiber));
    pass_ms(1);
    cr_assert_eq(stay.ended_ms, 1600);
    cr_assert_eq(fm_map_size(map), 0);
    expect_interruption(finish(fiber), FM_BY_IDLE);
    fm_fiber_unref(gone);
    expect_nothing_left();
    fm_map_destroy(map);
}

EXACT_TEST(map_idle, the_map_says_it_for_those_who_say_nothing)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct stay_of stays[3] = { 0 };
    struct fm_map *map;

    config.idle_ttl_ns = -1;
    cr_assert_eq(fm_map_create(&config, &map), -EINVAL);
    config.idle_ttl_ns = 1000 * MS;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    cr_assert_eq(fm_map_run(map, KEY("a"), stay_body, &stays[0], NULL, NULL), 0);
    cr_assert_eq(run_stay(map, "b", &stays[1], FM_REPLACE, 500, NULL), 0);
    struct fm_map_run_options never = FM_MAP_RUN_OPTIONS_INIT;
    never.idle_ttl_ns = FM_NEVER;
    cr_assert_eq(fm_map_run(map, KEY("c"), stay_body, &stays[2], &never, NULL), 0);
    never.idle_ttl_ns = -1;
    cr_assert_eq(fm_map_run(map, KEY("c"), stay_body, &stays[2], &never, NULL), -EINVAL);
    pass_ms(100000);
    cr_assert_eq(stays[0].ended_ms, 1000);
    cr_assert_eq(stays[1].ended_ms, 500);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert(fm_map_has(map, KEY("c")));
    fm_map_destroy(map);
}

/* It has been idle, and takes two seconds to end. */
EXACT_TEST(map_idle, one_that_ends_for_being_idle_holds_its_key_against_keep_alone)
{
    struct fm_map *map = make_map();
    struct stay_of old = { .ends_ms = 2000 }, fresh = { 0 }, awaiting = { 0 };
    struct fm_fiber *fiber = run_idle(map, "a", &old, 1000), *found;
    struct fm_map_run_options absent = idle_options(FM_KEEP, 0);

    pass_ms(1000);
    cr_assert_eq(old.ended_ms, 1000);
    cr_assert(fm_map_has(map, KEY("a")));
    cr_assert_eq(fm_map_touch(map, KEY("a")), -ENOENT);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ENDING), 1);
    cr_assert_eq(run_stay(map, "a", &fresh, FM_KEEP, 0, &found), FM_MAP_KEPT);
    cr_assert_eq(found, fiber);
    fm_fiber_unref(found);
    absent.flags = FM_MAP_DYING_IS_ABSENT;
    cr_assert_eq(fm_map_run(map, KEY("a"), stay_body, &awaiting, &absent, NULL),
                 FM_MAP_REPLACED);
    pass_ms(2000);
    cr_assert_eq(awaiting.begun_ms, 3000);
    old = (struct stay_of) { .ends_ms = 2000 };
    fm_fiber_unref(run_idle(map, "b", &old, 1000));
    pass_ms(1000);
    cr_assert_eq(run_stay(map, "b", &fresh, FM_JOIN, 0, NULL), FM_MAP_REPLACED);
    settle();
    cr_assert_eq(fresh.begun_ms, 4000);
    cr_assert_eq(fm_map_touch(map, KEY("b")), 0);
    pass_ms(2000);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

EXACT_TEST(map_idle, its_end_is_the_maps_own_and_does_not_count_for_the_verdict)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options options = idle_options(FM_REPLACE, 1000);
    struct stay_of stay = { 0 };
    struct fm_exit verdict;

    options.flags = FM_MAP_PROPAGATE_INTERRUPT;
    cr_assert_eq(fm_map_run(map, KEY("a"), stay_body, &stay, &options, NULL), 0);
    pass_ms(1000);
    cr_assert_eq(fm_map_size(map), 0);
    cr_assert_eq(fm_map_join(map, 1, &verdict), -ETIMEDOUT);
    fm_map_destroy(map);
}

/* Completions, results, limits: an exit of such a map takes another way. */
TIMED_WORKER_TEST(map_idle, it_ends_in_a_map_with_options_too)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct stay_of stays[3] = { 0 };
    struct fm_completion *ended;
    struct fm_exit exit;
    struct fm_map *map;

    config.completions = 4;
    config.retain_count = 4;
    config.max_live = 1;
    config.idle_ttl_ns = 1000 * MS;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    for (int i = 0; i < 3; i++) /* each waits for the place of the one before */
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), stay_body, &stays[i], NULL, NULL), 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(fm_map_next(map, FM_NEVER, &ended), 0);
        expect_interruption(ended->exit, FM_BY_IDLE);
        cr_assert_eq(stays[i].ended_ms, 1000 * (i + 1));
        fm_completion_free(ended);
    }
    cr_assert_eq(fm_map_last_exit(map, FM_KEY_U64(1), &exit), 0);
    expect_interruption(exit, FM_BY_IDLE);
    expect_nothing_left();
    fm_map_destroy(map);
}

EXACT_TEST(map_idle, many_end_each_at_its_own_time_whatever_is_touched)
{
    enum { MANY = 400 };
    static struct stay_of stays[MANY];
    int64_t due_ms[MANY], ttl_ms[MANY];
    struct fm_map *map = make_map();
    uint32_t seed = 12345;

    for (int i = 0; i < MANY; i++) {
        struct fm_map_run_options options;
        seed = seed * 1103515245 + 12345;
        due_ms[i] = ttl_ms[i] = 1 + (seed >> 16) % 300;
        options = idle_options(FM_REPLACE, ttl_ms[i]);
        stays[i] = (struct stay_of) { 0 };
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), stay_body, &stays[i], &options, NULL), 0);
    }
    for (int64_t now = 1; now <= 2000; now++) {
        pass_ms(1);
        for (int n = 0; n < 3; n++) {
            seed = seed * 1103515245 + 12345;
            int i = (seed >> 16) % MANY;
            int r = fm_map_touch(map, FM_KEY_U64(i));
            cr_assert_eq(r, now < due_ms[i] ? 0 : -ENOENT, "%d, at %d", i, (int)now);
            if (r == 0)
                due_ms[i] = now + ttl_ms[i];
        }
        for (int i = 0; i < MANY; i++)
            cr_assert_eq(stays[i].ended_ms, now < due_ms[i] ? 0 : due_ms[i], "%d", i);
    }
    fm_map_destroy(map);
    expect_nothing_left();
}

static struct fm_exit leave_a_map(void *arg)
{
    static struct stay_of stay;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    cr_assert_eq(fm_map_create(&config, (struct fm_map **)arg), 0);
    fm_fiber_unref(run_idle(*(struct fm_map **)arg, "a", &stay, 1000));
    return fm_ok(NULL);
}

/* The map goes after its fibers: it has nobody left who could end them. */
TEST(map_idle, a_runtime_may_shut_down_before)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_map *map = NULL;

    config.worker_count = 1;
    config.clock = FM_CLOCK_VIRTUAL;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, leave_a_map, &map, NULL), 0);
    cr_assert_eq(fm_runtime_shutdown(runtime, FM_NEVER), 0);
    fm_map_destroy(map);
    fm_runtime_destroy(runtime);
}

/* More of one stripe than are ended in one hold of its lock. */
EXACT_TEST(map_idle, all_of_many_end_at_their_time)
{
    enum { MANY = 100 };
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_run_options options = idle_options(FM_REPLACE, 30);
    struct stay_of stays[MANY] = { 0 };
    struct fm_map *map;
    config.stripe_count = 1;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    for (uint64_t i = 0; i < MANY; i++)
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), stay_body, &stays[i], &options, NULL), 0);
    settle();
    pass_ms(29);
    cr_assert_eq(fm_map_size(map), MANY);
    pass_ms(1);
    cr_assert_eq(fm_map_size(map), 0);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(stays[i].ended_ms - stays[i].begun_ms, 30);
    fm_map_destroy(map);
}
