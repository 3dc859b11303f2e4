/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_limit.c - so many present, so many starts: waiting, failing, evicting
 */
#include "tests/fibermap/limit_test.h"

struct runs {
    struct fm_map *map;
    const char *key;
    int result;
    int64_t at_ms;
};

static struct fm_exit run_one(void *arg)
{
    struct runs *runs = arg;
    runs->result = try_run(runs->map, runs->key);
    runs->at_ms = now_ms();
    return fm_ok(NULL);
}

static struct fm_fiber *start_run(struct runs *runs, struct fm_map *map, const char *key)
{
    *runs = (struct runs) { .map = map, .key = key, .result = 99 };
    struct fm_fiber *fiber = start(run_one, runs);
    settle();
    return fiber;
}

/* T222, T094 */
WORKER_TEST(map_limit, one_too_many_fails_and_starts_nothing)
{
    struct fm_map *map = make_limited(2, 0, FM_EXCESS_FAIL);
    cr_assert_eq(try_run(map, "a"), 0);
    cr_assert_eq(try_run(map, "b"), 0);
    cr_assert_eq(try_run(map, "c"), -EAGAIN);
    cr_assert_eq(fm_map_size(map), 2);
    settle();
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_assert_eq(try_run(map, "c"), 0);
    cr_assert_eq(try_run(map, "a"), -EAGAIN);
    fm_map_destroy(map);
}

WORKER_TEST(map_limit, a_replacement_takes_the_place_over)
{
    struct fm_map *map = make_limited(1, 0, FM_EXCESS_FAIL);
    struct fm_map_run_options keep = conflict(FM_KEEP);
    struct fm_fiber *old = run(map, "a", until_interrupted, NULL);
    settle();
    for (int i = 0; i < 3; i++)
        cr_assert_eq(try_run(map, "a"), FM_MAP_REPLACED);
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &keep, NULL), FM_MAP_KEPT);
    expect_interruption(finish(old), FM_BY_REPLACE);
    cr_assert_eq(fm_map_await_quiescent(map, 0), -ETIMEDOUT);
    cr_assert_eq(try_run(map, "b"), -EAGAIN, "a zombie's end gives no second place back");
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_assert_eq(try_run(map, "b"), 0);
    fm_map_destroy(map);
}

/* Neither a place nor a start is lost with whoever gave up waiting for it. */
TIMED_WORKER_TEST(map_limit, waiting_has_a_deadline)
{
    struct fm_map_run_options until = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *places = make_limited(1, 0, FM_EXCESS_WAIT);
    struct fm_map *starts = make_limited(0, 1, FM_EXCESS_WAIT);

    cr_assert_eq(try_run(places, "a"), 0);
    cr_assert_eq(try_run(starts, "a"), 0);
    for (int i = 0; i < 2; i++) {
        int64_t begin_ms = now_ms();
        until.deadline_ns = fm_after_ms(i ? 20 : 30);
        cr_assert_eq(fm_map_run(i ? starts : places, KEY("b"), until_interrupted, NULL, &until,
                                NULL),
                     -ETIMEDOUT);
        cr_assert_eq(now_ms() - begin_ms, i ? 20 : 30);
    }
    cr_assert_eq(fm_map_remove(places, KEY("a"), FM_NEVER), 0);
    until.deadline_ns = 1;
    cr_assert_eq(fm_map_run(places, KEY("b"), until_interrupted, NULL, &until, NULL), 0);
    cr_assert_eq(fm_map_size(places), 1);
    cr_assert_eq(fm_map_size(starts), 1);
    cr_assert_eq(try_run(starts, "b"), 0, "at the end of the interval");
    cr_assert_eq(now_ms(), 100);
    fm_map_destroy(places);
    fm_map_destroy(starts);
}

WORKER_TEST(map_limit, a_detached_fiber_leaves_its_place)
{
    struct fm_map *map = make_limited(1, 0, FM_EXCESS_FAIL);
    struct fm_fiber *fiber;
    cr_assert_eq(try_run(map, "a"), 0);
    cr_assert_eq(fm_map_detach(map, KEY("a"), &fiber), 0);
    cr_assert_eq(try_run(map, "b"), 0);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(try_run(map, "c"), -EAGAIN);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

WORKER_TEST(map_limit, a_set_is_counted_but_not_limited)
{
    struct fm_map *map = make_limited(1, 0, FM_EXCESS_FAIL);
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_assert_eq(try_run(map, "a"), 0);
    cr_assert_eq(fm_map_set(map, KEY("b"), fiber, NULL), 0);
    settle();
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_assert_eq(try_run(map, "a"), -EAGAIN);
    cr_assert_eq(fm_map_remove(map, KEY("b"), FM_NEVER), 0);
    cr_assert_eq(try_run(map, "a"), 0);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

WORKER_TEST(map_limit, those_who_wait_are_served_in_turn)
{
    struct fm_map *map = make_limited(1, 0, FM_EXCESS_WAIT);
    struct runs first, second;
    cr_assert_eq(try_run(map, "a"), 0);
    struct fm_fiber *one = start_run(&first, map, "b"), *two = start_run(&second, map, "c");
    cr_assert(first.result == 99 && second.result == 99);
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    finish(one);
    cr_assert(first.result == 0 && second.result == 99 && fm_map_has(map, KEY("b")));
    cr_assert_eq(fm_map_remove(map, KEY("b"), FM_NEVER), 0);
    finish(two);
    cr_assert(second.result == 0 && fm_map_size(map) == 1);
    fm_map_destroy(map);
}

/* "No permit is lost to an interruption": the next one gets it. */
WORKER_TEST(map_limit, who_is_interrupted_while_he_waits_takes_nothing_along)
{
    struct fm_map *map = make_limited(1, 0, FM_EXCESS_WAIT);
    struct runs first, second;
    cr_assert_eq(try_run(map, "a"), 0);
    struct fm_fiber *one = start_run(&first, map, "b"), *two = start_run(&second, map, "c");
    fm_fiber_interrupt(one);
    cr_assert_eq(fm_map_interrupt(map, KEY("a")), 0);
    finish(one);
    finish(two);
    cr_assert_eq(first.result, -ECANCELED);
    cr_assert_eq(second.result, 0);
    cr_assert_not(fm_map_has(map, KEY("b")));
    cr_assert_eq(fm_map_remove(map, KEY("c"), FM_NEVER), 0);
    cr_assert_eq(try_run(map, "d"), 0);
    fm_map_destroy(map);
}

WORKER_TEST(map_limit, closing_sends_those_who_wait_away)
{
    struct fm_map *map = make_limited(1, 0, FM_EXCESS_WAIT);
    struct runs first, second;
    cr_assert_eq(try_run(map, "a"), 0);
    struct fm_fiber *one = start_run(&first, map, "b"), *two = start_run(&second, map, "c");
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    finish(one);
    finish(two);
    cr_assert(first.result == -ESHUTDOWN && second.result == -ESHUTDOWN);
    fm_map_destroy(map);
}

/* T151, in a window; a run that waits starts when the window ends. */
TIMED_WORKER_TEST(map_limit, so_many_start_in_each_interval)
{
    struct fm_map *map = make_limited(0, 2, FM_EXCESS_WAIT);
    int64_t begun_ms = now_ms();
    for (int i = 0; i < 6; i++) {
        cr_assert_geq(try_run(map, i % 2 ? "a" : "b"), 0);
        cr_assert_eq(now_ms() - begun_ms, i / 2 * 100);
    }
    fm_map_destroy(map);
}

EXACT_TEST(map_limit, a_start_too_many_fails_until_the_interval_ends)
{
    struct fm_map *map = make_limited(0, 2, FM_EXCESS_FAIL);
    struct fm_map_run_options keep = conflict(FM_KEEP);
    cr_assert_eq(try_run(map, "a"), 0);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &keep, NULL),
                     FM_MAP_KEPT, "nothing starts, nothing is used up");
    cr_assert_eq(try_run(map, "b"), 0);
    cr_assert_eq(try_run(map, "c"), -EAGAIN);
    cr_assert_eq(try_run(map, "a"), -EAGAIN, "a replacement is a start");
    pass_ms(99);
    cr_assert_eq(try_run(map, "c"), -EAGAIN);
    pass_ms(1);
    cr_assert_eq(try_run(map, "c"), 0);
    fm_map_destroy(map);
}

/* T156: the place that was in hand goes back. */
EXACT_TEST(map_limit, who_is_interrupted_while_he_waits_for_a_start_gives_his_place_back)
{
    struct fm_map *map = make_limited(2, 1, FM_EXCESS_WAIT);
    struct runs runs;
    cr_assert_eq(try_run(map, "a"), 0);
    struct fm_fiber *one = start_run(&runs, map, "b");
    fm_fiber_interrupt(one);
    finish(one);
    cr_assert_eq(runs.result, -ECANCELED);
    one = start_run(&runs, map, "c");
    pass_ms(100);
    cr_assert(runs.result == 0 && fm_map_size(map) == 2);
    finish(one);
    fm_map_destroy(map);
}

static void set_key(struct fm_map *map, const char *key)
{
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_assert_eq(fm_map_set(map, KEY(key), fiber, NULL), 0);
    fm_fiber_unref(fiber);
}

/* Who waits for a place is let in when a newcomer would be, and not before. */
WORKER_TEST(map_limit, nobody_is_let_in_while_sets_have_made_it_too_many)
{
    struct fm_map *map = make_limited(1, 0, FM_EXCESS_WAIT);
    struct runs runs;
    cr_assert_eq(try_run(map, "a"), 0);
    struct fm_fiber *one = start_run(&runs, map, "b");
    set_key(map, "c");
    settle();
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    settle();
    cr_assert_eq(runs.result, 99, "the one that was set is there");
    cr_assert_eq(fm_map_remove(map, KEY("c"), FM_NEVER), 0);
    finish(one);
    cr_assert(runs.result == 0 && fm_map_size(map) == 1);
    fm_map_destroy(map);
}

static struct fm_exit sleep_100_ms(void *arg)
{
    return fm_fail(fm_sleep_ms(100));
}

/*
 * Whoever was to displace somebody has a start when that one has just left, and needs a place; the
 * place has gone to one who needs a start.
 */
EXACT_TEST(map_limit, a_place_and_a_start_do_not_wait_for_each_other)
{
    struct fm_map *map = make_limited(1, 1, FM_EXCESS_WAIT);
    struct runs places, starts;
    cr_assert_eq(fm_map_run(map, KEY("a"), sleep_100_ms, NULL, NULL, NULL), 0);
    settle();
    struct fm_fiber *one = start_run(&starts, map, "a"), *two = start_run(&places, map, "b");
    pass_ms(100); /* the sleeper wakes first, then the line moves on */
    cr_assert(places.result == 0 || starts.result == 0, "one of them has both");
    pass_ms(100);
    cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
    pass_ms(100);
    cr_assert(places.result == 0 && starts.result == 0);
    finish(one);
    finish(two);
    fm_map_destroy(map);
}

WORKER_TEST(map_limit, the_longest_idle_makes_room)
{
    struct fm_map *map = make_limited(3, 0, FM_EXCESS_EVICT_IDLE);
    struct fm_fiber *b;
    cr_assert_eq(try_run(map, "a"), 0);
    b = run(map, "b", until_interrupted, NULL);
    cr_assert_eq(try_run(map, "c"), 0);
    settle();
    cr_assert_eq(fm_map_touch(map, KEY("a")), 0);
    cr_assert_eq(fm_map_touch(map, KEY("nobody")), -ENOENT);
    cr_assert_eq(try_run(map, "d"), 0);
    expect_interruption(finish(b), FM_BY_REMOVE);
    cr_assert(fm_map_has(map, KEY("a")) && fm_map_has(map, KEY("c")));
    cr_assert_eq(try_run(map, "c"), FM_MAP_REPLACED, "which counts as used");
    cr_assert_eq(try_run(map, "e"), 0);
    cr_assert(!fm_map_has(map, KEY("a")) && fm_map_has(map, KEY("c")));
    cr_assert_eq(fm_map_size(map), 3);
    fm_map_destroy(map);
}

static struct fm_exit run_when_interrupted(void *arg)
{
    fm_mask();
    while (fm_interrupt_info(NULL) == -ENOENT)
        fm_yield();
    fm_unmask();
    return run_one(arg);
}

/* He is the first in line for the next start, and leaves it to others. */
EXACT_TEST(map_limit, who_is_interrupted_before_he_waits_for_a_start_takes_none)
{
    struct fm_map *map = make_limited(0, 1, FM_EXCESS_WAIT);
    struct runs late = { .map = map, .key = "late", .result = 99 }, next;
    cr_assert_eq(try_run(map, "a"), 0);
    struct fm_fiber *fiber = start(run_when_interrupted, &late);
    settle();
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    finish(fiber);
    cr_assert_eq(late.result, -ECANCELED);
    struct fm_fiber *other = start_run(&next, map, "next");
    pass_ms(100);
    cr_assert_eq(next.result, 0);
    cr_assert(fm_map_has(map, KEY("next")) && !fm_map_has(map, KEY("late")));
    finish(other);
    fm_map_destroy(map);
}

/* What the fiber's clock calls a deadline, and the map's the end of a window, must be the same. */
static void expect_wait_for_a_start(struct fm_runtime *runtime, int expected)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map;
    config.runtime = runtime;
    config.max_starts = 1;
    config.interval_ns = INT64_C(3600000000000);
    options.deadline_ns = 1;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    cr_assert_eq(try_run(map, "a"), 0);
    cr_assert_eq(fm_map_run(map, KEY("b"), until_interrupted, NULL, &options, NULL), expected);
    cr_assert_eq(fm_map_size(map), 1);
    fm_map_destroy(map);
}

EXACT_TEST(map_limit, a_fiber_waits_for_a_start_by_one_clock_only)
{
    struct fm_runtime *real = runtime_with(1);
    pass_ms(1); /* the deadline is over by both clocks */
    expect_wait_for_a_start(real, -EINVAL);
    expect_wait_for_a_start(fm_runtime_current(), -ETIMEDOUT);
    fm_runtime_destroy(real);
}

/* In real time, because it is the real clock by which the fiber waits. */
REAL_TIME_TEST(map_limit, a_fiber_of_another_runtime_waits_by_the_real_clock)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *real = runtime_with(1), *virtual;
    config.worker_count = 1;
    config.clock = FM_CLOCK_VIRTUAL;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    cr_assert_eq(fm_runtime_create(&config, &virtual), 0);
    expect_wait_for_a_start(real, -ETIMEDOUT);
    expect_wait_for_a_start(virtual, -EINVAL);
    fm_runtime_destroy(virtual);
    fm_runtime_destroy(real);
}

WORKER_TEST(map_limit, what_makes_no_sense_is_refused)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map = make_map();
    config.max_starts = 1;
    cr_assert_eq(fm_map_create(&config, &map), -EINVAL);
    config.interval_ns = 1;
    config.on_excess = FM_EXCESS_EVICT_IDLE + 1;
    cr_assert_eq(fm_map_create(&config, &map), -EINVAL);
    cr_assert_eq(try_run(map, "a"), 0);
    cr_assert_eq(fm_map_touch(map, KEY("a")), 0, "a map without limits, too");
    cr_assert_eq(fm_map_touch(map, KEY("")), -EINVAL);
    cr_assert_eq(fm_map_touch(NULL, KEY("a")), -EINVAL);
    fm_map_destroy(map);
}
