/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_move_options.c - moves in maps that tell, retain, limit, and end who is idle
 */
#include <stdio.h>

#include "tests/fibermap/map_test.h"

static int move(struct fm_map *map, const char *from, const char *to)
{
    return fm_map_move(map, KEY(from), KEY(to));
}

struct told {
    char text[256];
};

static void tell(struct told *told, const char *what, struct fm_key key)
{
    size_t at = strlen(told->text);
    snprintf(told->text + at, sizeof told->text - at, "%s %.*s ", what, (int)key.len,
             (const char *)key.data);
}

static void told_start(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    tell(ctx, "start", key);
}

static void told_exit(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit)
{
    tell(ctx, "exit", key);
}

static void told_restart(void *ctx, struct fm_key key, struct fm_fiber *fiber,
                         struct fm_exit exit)
{
    tell(ctx, "restart", key);
}

static struct fm_map *make_watched(struct told *told)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_map *map;
    hooks.ctx = told;
    hooks.on_start = told_start;
    hooks.on_exit = told_exit;
    hooks.on_restart = told_restart;
    config.hooks = &hooks;
    config.completions = 8;
    config.retain_count = 8;
    config.max_live = 2;
    config.on_excess = FM_EXCESS_EVICT_IDLE;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    return map;
}

static struct fm_exit fail_once(void *arg)
{
    int *bodies = arg;
    if (++*bodies > 1)
        return fm_ok(NULL);
    fm_sleep_ms(10);
    return fm_fail(-EIO);
}

TIMED_WORKER_TEST(map_move_options, hooks_completions_and_results_name_the_key_where_it_ends)
{
    struct told told = { "" };
    struct fm_map *map = make_watched(&told);
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_completion *completion;
    int bodies = 0;
    restart.type = FM_TRANSIENT;
    options.restart = &restart;
    cr_assert_eq(fm_map_run(map, KEY("a"), fail_once, &bodies, &options, NULL), 0);
    settle();
    cr_assert_eq(move(map, "a", "b"), 0);
    cr_assert_eq(move(map, "b", "c"), 0);
    cr_assert_eq(fm_map_next(map, FM_NEVER, &completion), 0);
    cr_assert(completion->key.len == 1 && *(const char *)completion->key.data == 'c');
    fm_completion_free(completion);
    cr_assert_eq(fm_map_last_exit(map, KEY("c"), NULL), 0);
    cr_assert_eq(fm_map_last_exit(map, KEY("a"), NULL), -ENOENT);
    settle();
    cr_assert_str_eq(told.text, "start a restart c exit c ");
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_assert_eq(fm_map_set(map, KEY("x"), fiber, NULL), 0);
    cr_assert_eq(move(map, "x", "y"), 0);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_map_next(map, FM_NEVER, &completion), 0);
    cr_assert(completion->fiber == fiber && *(const char *)completion->key.data == 'y');
    fm_completion_free(completion);
    cr_assert_str_eq(told.text, "start a restart c exit c start x exit y ");
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

WORKER_TEST(map_move_options, it_keeps_its_place_and_its_turn_among_the_idle)
{
    struct told told = { "" };
    struct fm_map *map = make_watched(&told);
    struct fm_fiber *first = run(map, "a", until_interrupted, NULL);
    fm_fiber_unref(run(map, "b", until_interrupted, NULL));
    settle();
    cr_assert_eq(move(map, "a", "c"), 0);
    fm_fiber_unref(run(map, "d", until_interrupted, NULL)); /* evicts the longest idle */
    expect_interruption(finish(first), FM_BY_REMOVE);
    cr_assert(fm_map_has(map, KEY("b")) && fm_map_has(map, KEY("d")));
    cr_assert_eq(move(map, "b", "e"), 0);
    cr_assert_eq(fm_map_touch(map, KEY("e")), 0);
    fm_fiber_unref(run(map, "f", until_interrupted, NULL));
    cr_assert(fm_map_has(map, KEY("e")) && !fm_map_has(map, KEY("d")));
    cr_assert_eq(fm_map_size(map), 2);
    fm_map_destroy(map);
}

WORKER_TEST(map_move_options, one_between_others_that_are_idle_stays_between_them)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.max_live = 3;
    config.on_excess = FM_EXCESS_EVICT_IDLE;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    fm_fiber_unref(run(map, "b", until_interrupted, NULL));
    fm_fiber_unref(run(map, "c", until_interrupted, NULL));
    settle();
    cr_assert_eq(move(map, "b", "moved"), 0);
    fm_fiber_unref(run(map, "d", until_interrupted, NULL));
    cr_assert(!fm_map_has(map, KEY("a")) && fm_map_has(map, KEY("moved")));
    fm_fiber_unref(run(map, "e", until_interrupted, NULL));
    cr_assert(!fm_map_has(map, KEY("moved")) && fm_map_has(map, KEY("c")));
    fm_fiber_unref(run(map, "f", until_interrupted, NULL));
    cr_assert(!fm_map_has(map, KEY("c")) && fm_map_has(map, KEY("d")));
    cr_assert_eq(fm_map_size(map), 3);
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_move_options, its_idle_time_goes_on)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = NULL;
    options.idle_ttl_ns = 30 * 1000000;
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, &fiber), 0);
    int64_t begin_ms = now_ms();
    cr_assert_eq(fm_sleep_ms(10), 0);
    cr_assert_eq(move(map, "a", "b"), 0);
    expect_interruption(finish(fm_fiber_ref(fiber)), FM_BY_IDLE);
    cr_assert_eq(now_ms() - begin_ms, 30);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}
