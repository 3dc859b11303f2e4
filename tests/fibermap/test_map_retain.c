/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_retain.c - last exits of keys: how many, how long, and used again
 */
#include "tests/fibermap/map_test.h"

static struct fm_map *make_retaining(uint32_t count, int64_t ms)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.retain_count = count;
    config.retain_ns = ms * 1000000;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    return map;
}

static void ends(struct fm_map *map, const char *key, fm_entry_fn *entry, intptr_t n)
{
    finish(run(map, key, entry, number(n)));
}

static bool has_value(struct fm_map *map, const char *key, intptr_t value)
{
    struct fm_exit exit;
    return fm_map_last_exit(map, KEY(key), &exit) == 0 && exit.kind == FM_SUCCESS &&
           exit.value == number(value);
}

WORKER_TEST(map_retain, the_last_exit_of_a_key_is_there_when_its_join_returns)
{
    struct fm_map *map = make_retaining(4, 0);
    struct fm_exit exit;
    cr_assert_eq(fm_map_last_exit(map, KEY("a"), &exit), -ENOENT);
    ends(map, "a", return_arg, 1);
    cr_assert(has_value(map, "a", 1));
    ends(map, "a", return_arg, 2);
    cr_assert(has_value(map, "a", 2));
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    settle();
    cr_assert(has_value(map, "a", 2), "while another holds the key");
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_assert_eq(fm_map_last_exit(map, KEY("a"), &exit), 0);
    cr_assert_eq(exit.reason, FM_BY_REMOVE);
    cr_assert_eq(fm_map_last_exit(map, KEY("a"), NULL), 0);
    ends(map, "b", fail_with, -EIO);
    cr_assert_eq(fm_map_last_exit(map, KEY("b"), &exit), 0);
    cr_assert_eq(exit.code, -EIO);
    fm_map_destroy(map);
}

WORKER_TEST(map_retain, a_replaced_or_detached_fiber_leaves_nothing)
{
    struct fm_map *map = make_retaining(4, 0);
    struct fm_fiber *old = run(map, "a", until_interrupted, NULL), *detached;
    settle();
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    finish(old);
    cr_assert_eq(fm_map_detach(map, KEY("a"), &detached), 0);
    fm_fiber_stop(detached, FM_NEVER, NULL);
    fm_fiber_unref(detached);
    cr_assert_eq(fm_map_last_exit(map, KEY("a"), NULL), -ENOENT);
    fm_map_destroy(map);
}

WORKER_TEST(map_retain, the_oldest_is_pushed_out_by_one_too_many)
{
    struct fm_map *map = make_retaining(3, 0);
    ends(map, "a", return_arg, 1);
    ends(map, "b", return_arg, 2);
    ends(map, "c", return_arg, 3);
    ends(map, "a", return_arg, 4); /* the youngest now */
    cr_assert(has_value(map, "b", 2) && has_value(map, "c", 3));
    ends(map, "d", return_arg, 5);
    cr_assert_eq(fm_map_last_exit(map, KEY("b"), NULL), -ENOENT);
    cr_assert(has_value(map, "a", 4) && has_value(map, "c", 3) && has_value(map, "d", 5));
    fm_map_destroy(map);
}

EXACT_TEST(map_retain, each_is_there_for_its_time)
{
    struct fm_map *map = make_retaining(4, 100);
    ends(map, "a", return_arg, 1);
    pass_ms(50);
    ends(map, "b", return_arg, 2);
    pass_ms(49);
    cr_assert(has_value(map, "a", 1));
    pass_ms(1);
    cr_assert_eq(fm_map_last_exit(map, KEY("a"), NULL), -ENOENT);
    cr_assert_eq(fm_map_forget(map, KEY("a")), -ENOENT);
    cr_assert(has_value(map, "b", 2));
    ends(map, "b", return_arg, 3);
    pass_ms(99);
    cr_assert(has_value(map, "b", 3), "the second end counts anew");
    fm_map_destroy(map);
}

static struct fm_map_run_options reusing(uint32_t reuse)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.reuse = reuse;
    return options;
}

EXACT_TEST(map_retain, a_success_is_used_again_and_a_failure_only_if_asked_for)
{
    struct fm_map *map = make_retaining(4, 100);
    struct fm_map_run_options success = reusing(FM_REUSE_SUCCESS), any = reusing(FM_REUSE_ANY);
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, number(1), &success, NULL), 0);
    settle();
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, number(2), &success, &fiber),
                 FM_MAP_REUSED);
    cr_assert_eq(finish(fiber).value, number(1));
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, number(2), &success, NULL),
                 FM_MAP_REUSED);
    ends(map, "a", return_arg, 3);
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, number(2), &any, &fiber), FM_MAP_REUSED);
    cr_assert_eq(finish(fiber).value, number(3));
    ends(map, "b", fail_with, -EIO);
    cr_assert_eq(fm_map_run(map, KEY("b"), return_arg, number(2), &any, &fiber), FM_MAP_REUSED);
    cr_assert_eq(finish(fiber).code, -EIO);
    cr_assert_eq(fm_map_run(map, KEY("b"), return_arg, number(2), &success, &fiber), 0);
    cr_assert_eq(finish(fiber).value, number(2));
    cr_assert_eq(fm_map_forget(map, KEY("b")), 0);
    cr_assert_eq(fm_map_run(map, KEY("b"), return_arg, number(4), &success, &fiber), 0);
    cr_assert_eq(finish(fiber).value, number(4));
    pass_ms(100);
    cr_assert_eq(fm_map_run(map, KEY("b"), return_arg, number(5), &any, &fiber), 0,
                 "its time is over");
    cr_assert_eq(finish(fiber).value, number(5));
    fm_map_destroy(map);
}

WORKER_TEST(map_retain, who_holds_the_key_comes_before_what_is_retained)
{
    struct fm_map *map = make_retaining(4, 0);
    struct fm_map_run_options keep = reusing(FM_REUSE_ANY), replace = keep;
    struct fm_fiber *fiber, *holder;
    keep.conflict = FM_KEEP;
    ends(map, "a", return_arg, 1);
    holder = run(map, "a", until_interrupted, NULL);
    settle();
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &keep, &fiber),
                 FM_MAP_KEPT);
    cr_assert_eq(fiber, holder);
    fm_fiber_unref(fiber);
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &replace, NULL),
                 FM_MAP_REPLACED);
    finish(holder);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &keep, NULL), -ESHUTDOWN);
    fm_map_destroy(map);
}

static _Atomic int args_dropped, values_dropped;

static void drop_arg(void *arg)
{
    atomic_fetch_add(&args_dropped, 1);
}

static void drop_value(void *value)
{
    atomic_fetch_add(&values_dropped, 1);
}

/* A cache: computed once, for all who come while it runs and after it. */
WORKER_TEST(map_retain, callers_that_share_a_run_share_its_result_afterwards)
{
    struct fm_map *map = make_retaining(4, 0);
    struct fm_map_run_options options = reusing(FM_REUSE_SUCCESS);
    struct fm_exit exit;
    options.arg_drop = drop_arg;
    cr_assert_eq(fm_map_run_wait(map, KEY("a"), return_arg, number(1), &options, FM_NEVER,
                                 &exit),
                 0);
    cr_assert_eq(fm_map_run_wait(map, KEY("a"), return_arg, number(2), &options, FM_NEVER,
                                 &exit),
                 FM_MAP_KEPT);
    cr_assert(exit.value == number(1) && atomic_load(&args_dropped) == 1);
    fm_map_destroy(map);
}

/* What the hook of an end gets in the instant in which the exit is made public. */
struct instant {
    struct fm_map *map;
    struct fm_exit exit;
    int result;
};

static void shares_at_the_end(void *ctx, struct fm_key key, struct fm_fiber *fiber,
                              struct fm_exit exit)
{
    struct instant *instant = ctx;
    struct fm_map_run_options options = reusing(FM_REUSE_ANY);
    instant->result = fm_map_run_wait(instant->map, key, return_arg, number(2), &options, 0,
                                      &instant->exit);
}

WORKER_TEST(map_retain, a_retained_exit_is_shared_without_waiting_even_for_a_join)
{
    struct instant instant = { .result = -1 };
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    hooks.ctx = &instant;
    hooks.on_exit = shares_at_the_end;
    config.hooks = &hooks;
    config.retain_count = 1;
    cr_assert_eq(fm_map_create(&config, &instant.map), 0);
    ends(instant.map, "a", return_arg, 1);
    cr_assert_eq(instant.result, FM_MAP_KEPT);
    cr_assert_eq(instant.exit.value, number(1));
    fm_map_destroy(instant.map);
}

WORKER_TEST(map_retain, a_value_lives_as_long_as_it_is_retained)
{
    struct fm_map *map = make_retaining(1, 0);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.value_drop = drop_value;
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, number(1), &options, NULL), 0);
    settle();
    cr_assert_eq(atomic_load(&values_dropped), 0);
    cr_assert_eq(fm_map_run(map, KEY("b"), return_arg, number(1), &options, NULL), 0);
    settle();
    cr_assert_eq(atomic_load(&values_dropped), 1);
    cr_assert_eq(fm_map_forget(map, KEY("b")), 0);
    cr_assert_eq(atomic_load(&values_dropped), 2);
    cr_assert_eq(fm_map_run(map, KEY("c"), return_arg, number(1), &options, NULL), 0);
    settle();
    fm_map_destroy(map);
    cr_assert_eq(atomic_load(&values_dropped), 3);
}

WORKER_TEST(map_retain, a_map_that_retains_nothing_says_so)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_run_options options = reusing(FM_REUSE_ANY);
    struct fm_map *map = make_map();
    ends(map, "a", return_arg, 1);
    cr_assert_eq(fm_map_last_exit(map, KEY("a"), NULL), -EINVAL);
    cr_assert_eq(fm_map_forget(map, KEY("a")), -EINVAL);
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, NULL, &options, NULL), 0);
    options.reuse = FM_REUSE_ANY + 1;
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, NULL, &options, NULL), -EINVAL);
    fm_map_destroy(map);
    config.retain_ns = 1;
    cr_assert_eq(fm_map_create(&config, &map), -EINVAL);
    config.retain_count = FM_RETAIN_MAX + 1;
    cr_assert_eq(fm_map_create(&config, &map), -EINVAL);
}
