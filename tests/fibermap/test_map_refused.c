/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_refused.c - arguments that make no sense: each call refuses them, nothing has happened
 *
 * The bounds of a config go for whatever is made by one, those of run options for whatever runs
 * by them: so each table is given to each of these calls.
 */
#include "tests/fibermap/map_test.h"

enum { SIZE = sizeof(struct fm_map_config) };

/* ---- configs ---- */

static const struct fm_map_hooks no_such_hooks = { .size = sizeof no_such_hooks,
                                                   .reserved = 1 };
static const struct fm_map_hooks sizeless_hooks = { .size = 1 };

static const struct fm_map_config wrong_configs[] = {
    { .size = 1 },
    { .size = SIZE, .hash = FM_HASH_FAST + 1 },
    { .size = SIZE, .on_failure = FM_CLOSE_MAP + 1 },
    { .size = SIZE, .flags = 1 },
    { .size = SIZE, .reserved = 1 },
    { .size = SIZE, .restart_intensity = FM_RESTART_INTENSITY_MAX + 1 },
    { .size = SIZE, .restart_reserved = 1 },
    { .size = SIZE, .restart_period_ns = -1 },
    { .size = SIZE, .completions = FM_COMPLETIONS_MAX + 1 },
    { .size = SIZE, .retain_count = FM_RETAIN_MAX + 1 },
    { .size = SIZE, .retain_count = 1, .retain_ns = -1 },
    { .size = SIZE, .retain_ns = 1 },
    { .size = SIZE, .max_starts = 1 },
    { .size = SIZE, .interval_ns = 1 },
    { .size = SIZE, .max_starts = 1, .interval_ns = -1 },
    { .size = SIZE, .max_live = FM_LIVE_MAX + 1 },
    { .size = SIZE, .max_live = 1, .on_excess = FM_EXCESS_EVICT_IDLE + 1 },
    { .size = SIZE, .max_live = 1, .excess_reserved = 1 },
    { .size = SIZE, .idle_ttl_ns = -1 },
    { .size = SIZE, .hooks = &no_such_hooks },
    { .size = SIZE, .hooks = &sizeless_hooks },
};

/* One of a later time, which asks for what is not known here. */
static const struct {
    struct fm_map_config config;
    uint64_t tail;
} later_config = { .config = { .size = sizeof later_config }, .tail = 1 };

static int make_map_of(const struct fm_map_config *config)
{
    struct fm_map *map = NULL;
    int r = fm_map_create(config, &map);
    cr_assert_null(map);
    return r;
}

static int make_scoped_map_of(const struct fm_map_config *config)
{
    struct fm_map *map = NULL;
    int r = fm_map_create_scoped(config, &map);
    cr_assert_null(map);
    return r;
}

static int make_set_of(const struct fm_map_config *config)
{
    struct fm_set *set = NULL;
    int r = fm_set_create(config, &set);
    cr_assert_null(set);
    return r;
}

static int make_scoped_set_of(const struct fm_map_config *config)
{
    struct fm_set *set = NULL;
    int r = fm_set_create_scoped(config, &set);
    cr_assert_null(set);
    return r;
}

static int make_handle_of(const struct fm_map_config *config)
{
    struct fm_handle *handle = NULL;
    int r = fm_handle_create(config, &handle);
    cr_assert_null(handle);
    return r;
}

static int make_scoped_handle_of(const struct fm_map_config *config)
{
    struct fm_handle *handle = NULL;
    int r = fm_handle_create_scoped(config, &handle);
    cr_assert_null(handle);
    return r;
}

static int make_runner_of(const struct fm_map_config *config)
{
    struct fm_runner *runner = NULL;
    int r = fm_runner_create(NULL, config, &runner);
    cr_assert_null(runner);
    return r;
}

static int make_child_of(const struct fm_map_config *config)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map = make_map(), *child = NULL;
    options.own_map = 1;
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, NULL), 0);
    int r = fm_map_child(map, KEY("a"), config, FM_NEVER, &child);
    cr_assert_null(child);
    cr_assert_eq(fm_map_child(map, KEY("a"), NULL, FM_NEVER, &child), 0, "none was made");
    fm_map_unref(child);
    fm_map_destroy(map);
    return r;
}

typedef int make_fn(const struct fm_map_config *config);
static make_fn *const makers[] = { make_map_of,    make_scoped_map_of,
                                   make_set_of,    make_scoped_set_of,
                                   make_handle_of, make_scoped_handle_of,
                                   make_runner_of, make_child_of };
enum { MAKERS = sizeof makers / sizeof *makers };

WORKER_TEST(map_refused, nothing_is_made_by_a_config_out_of_its_bounds)
{
    for (size_t maker = 0; maker < MAKERS; maker++) {
        for (size_t i = 0; i < sizeof wrong_configs / sizeof *wrong_configs; i++)
            cr_expect_eq(makers[maker](&wrong_configs[i]), -EINVAL, "maker %zu, config %zu",
                         maker, i);
        cr_expect_eq(makers[maker](&later_config.config), -E2BIG, "maker %zu", maker);
    }
}

WORKER_TEST(map_refused, a_config_at_its_bounds_is_taken)
{
    struct fm_map_config config = {
        .size = SIZE,
        .stripe_count = UINT32_MAX,
        .hash = FM_HASH_FAST,
        .on_failure = FM_CLOSE_MAP,
        .restart_intensity = FM_RESTART_INTENSITY_MAX,
        .restart_period_ns = INT64_MAX,
        .retain_count = 100,
        .retain_ns = INT64_MAX,
        .max_live = FM_LIVE_MAX,
        .max_starts = UINT32_MAX,
        .interval_ns = INT64_MAX,
        .on_excess = FM_EXCESS_EVICT_IDLE,
        .idle_ttl_ns = INT64_MAX,
    };
    struct fm_map *map;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    finish(run(map, "a", return_arg, number(1)));
    cr_assert_eq(fm_map_last_exit(map, KEY("a"), NULL), 0);
    fm_map_destroy(map);
}

static struct fm_exit make_without_a_place(void *arg)
{
    cr_assert_eq(fm_map_create_scoped(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_set_create_scoped(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_handle_create_scoped(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_handle_create(NULL, NULL), -EINVAL);
    return fm_ok(NULL);
}

TEST(map_refused, what_a_scope_is_to_close_is_made_by_a_fiber_that_has_one)
{
    struct fm_runtime *runtime = runtime_with(1);
    struct fm_handle *handle = NULL;
    struct fm_set *set = NULL;
    struct fm_exit exit;
    cr_assert_eq(fm_set_create_scoped(NULL, &set), -EPERM);
    cr_assert_eq(fm_handle_create_scoped(NULL, &handle), -EPERM);
    cr_assert(!set && !handle);
    cr_assert_eq(fm_runtime_run(runtime, make_without_a_place, NULL, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_runtime_destroy(runtime);
}

/* ---- options of a run ---- */

enum { OPTIONS = sizeof(struct fm_map_run_options) };
static int drops; /* of arguments, which stay the caller's */

static void drop(void *arg)
{
    drops++;
}

static const struct fm_map_run_options wrong_options[] = {
    { .size = 1, .arg_drop = drop },
    { .size = OPTIONS, .arg_drop = drop, .conflict = FM_QUEUE + 1 },
    { .size = OPTIONS, .arg_drop = drop, .flags = 1u << 31 },
    { .size = OPTIONS, .arg_drop = drop, .flags = FM_AWAIT_PROCEED, .conflict = FM_QUEUE },
    { .size = OPTIONS, .arg_drop = drop, .stack_bytes = (1u << 20) + 1 },
    { .size = OPTIONS, .arg_drop = drop, .deadline_ns = -1 },
    { .size = OPTIONS, .arg_drop = drop, .own_map = 2 },
    { .size = OPTIONS, .arg_drop = drop, .reuse = FM_REUSE_ANY + 1 },
    { .size = OPTIONS, .arg_drop = drop, .reuse_reserved = 1 },
    { .size = OPTIONS, .arg_drop = drop, .idle_ttl_ns = -1 },
};

static const struct {
    struct fm_map_run_options options;
    uint64_t tail;
} later_options = { .options = { .size = sizeof later_options, .arg_drop = drop }, .tail = 1 };

static int run_by(struct fm_map *map, const struct fm_map_run_options *options)
{
    struct fm_fiber *fiber = NULL;
    int r = fm_map_run(map, KEY("a"), until_interrupted, NULL, options, &fiber);
    cr_assert_null(fiber);
    return r;
}

static int run_and_wait_by(struct fm_map *map, const struct fm_map_run_options *options)
{
    struct fm_exit exit = { .kind = 255 };
    int r = fm_map_run_wait(map, KEY("a"), until_interrupted, NULL, options, 0, &exit);
    cr_assert_eq(exit.kind, 255);
    return r;
}

static int compare_by(struct fm_map *map, const struct fm_map_run_options *options)
{
    struct fm_fiber *fiber = NULL;
    int r = fm_map_compare_and_replace(map, KEY("a"), NULL, until_interrupted, NULL, options,
                                       &fiber);
    cr_assert_null(fiber);
    return r;
}

static int run_many_by(struct fm_map *map, const struct fm_map_run_options *options)
{
    struct fm_map_run_item runs[] = {
        { .key = KEY("good"), .entry = until_interrupted },
        { .key = KEY("bad"), .entry = until_interrupted, .options = options },
    };
    int r = fm_map_run_many(map, runs, 2, FM_MAP_ALL_OR_NOTHING);
    cr_assert_eq(runs[0].result, -ECANCELED, "nothing is wrong with it");
    cr_assert_eq(runs[1].result, r);
    return r;
}

typedef int run_fn(struct fm_map *map, const struct fm_map_run_options *options);
static run_fn *const runs[] = { run_by, run_and_wait_by, compare_by, run_many_by };

WORKER_TEST(map_refused, nothing_is_run_by_options_out_of_their_bounds)
{
    struct fm_map *map = make_map();
    for (size_t call = 0; call < sizeof runs / sizeof *runs; call++) {
        for (size_t i = 0; i < sizeof wrong_options / sizeof *wrong_options; i++)
            cr_expect_eq(runs[call](map, &wrong_options[i]), -EINVAL, "call %zu, options %zu",
                         call, i);
        cr_expect_eq(runs[call](map, &later_options.options), -E2BIG, "call %zu", call);
    }
    cr_assert_eq(fm_map_size(map), 0);
    cr_assert_eq(drops, 0);
    fm_map_destroy(map);
}

WORKER_TEST(map_refused, several_run_as_one_only_if_each_has_a_key_and_a_body)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options keep = conflict(FM_KEEP), absent = flags(FM_MAP_DYING_IS_ABSENT),
                              proceed = flags(FM_AWAIT_PROCEED),
                              reuse = FM_MAP_RUN_OPTIONS_INIT;
    reuse.reuse = FM_REUSE_ANY;
    struct fm_map_run_item items[] = {
        { .key = KEY("a"), .entry = until_interrupted },
        { .key = KEY("b"), .entry = NULL },
        { .key = KEY(""), .entry = until_interrupted },
        { .key = KEY("c"), .entry = until_interrupted, .options = &keep },
        { .key = KEY("d"), .entry = until_interrupted, .options = &absent },
        { .key = KEY("e"), .entry = until_interrupted, .options = &proceed },
        { .key = KEY("f"), .entry = until_interrupted, .options = &reuse },
    };
    cr_assert_eq(fm_map_run_many(map, items, 7, FM_MAP_ALL_OR_NOTHING), -EINVAL);
    cr_assert_eq(items[0].result, -ECANCELED);
    for (int i = 1; i < 7; i++)
        cr_expect_eq(items[i].result, -EINVAL, "item %d", i);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
}

/* ---- what the map was not made for ---- */

static void nothing_is_told(void *ctx, struct fm_key key, struct fm_fiber *fiber) {}

/* It follows what happens, as those that retain and keep completions do, but keeps nothing. */
WORKER_TEST(map_refused, a_map_that_only_tells_keeps_nothing)
{
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_map_config config = { .size = SIZE, .hooks = &hooks };
    struct fm_map_run_options reuse = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_completion *completion = NULL;
    struct fm_map *map;
    hooks.on_start = nothing_is_told;
    reuse.reuse = FM_REUSE_ANY;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    for (int i = 0; i < 2; i++) {
        struct fm_fiber *fiber;
        cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, NULL, &reuse, &fiber), 0,
                     "there is nothing to reuse");
        finish(fiber);
    }
    cr_expect_eq(fm_map_next(map, 0, &completion), -EINVAL);
    cr_expect_eq(fm_map_try_next(map, &completion), -EINVAL);
    cr_expect_eq(fm_map_try_next(NULL, &completion), -EINVAL);
    cr_expect_null(completion);
    cr_expect_eq(fm_map_completions_dropped(map), 0);
    cr_expect_eq(fm_map_completions_dropped(NULL), 0);
    cr_expect_eq(fm_map_last_exit(map, KEY("a"), NULL), -EINVAL);
    cr_expect_eq(fm_map_last_exit(NULL, KEY("a"), NULL), -EINVAL);
    cr_expect_eq(fm_map_forget(map, KEY("a")), -EINVAL);
    fm_map_destroy(map);
}

/* ---- sets and handles that are none ---- */

WORKER_TEST(map_refused, without_a_set_there_is_nothing_to_do)
{
    struct fm_map_run_options keep = conflict(FM_KEEP), plain = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = start(until_interrupted, NULL), *ran;
    struct fm_set *set;
    cr_assert_eq(fm_set_create(NULL, &set), 0);
    cr_expect_eq(fm_set_add(set, fiber, &keep), -EINVAL);
    cr_expect_eq(fm_set_add(NULL, fiber, NULL), -EINVAL);
    cr_expect_eq(fm_set_close(NULL, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_set_clear(NULL, FM_NEVER), -EINVAL);
    cr_expect_eq(fm_set_join(NULL, 0, NULL), -EINVAL);
    cr_expect_eq(fm_set_await_empty(NULL, 0), -EINVAL);
    cr_assert_eq(fm_set_size(set), 0);
    cr_assert_eq(fm_set_add(set, fiber, &plain), 0);
    cr_assert_eq(fm_set_run(set, until_interrupted, NULL, &plain, &ran), 0);
    cr_assert_eq(fm_set_size(set), 2);
    fm_set_destroy(set);
    expect_interruption(finish(fiber), FM_BY_CLOSE);
    expect_interruption(finish(ran), FM_BY_CLOSE);
}

WORKER_TEST(map_refused, without_a_handle_there_is_nothing_to_do)
{
    struct fm_fiber *fiber = start(until_interrupted, NULL), *ran = NULL;
    cr_expect_null(fm_handle_map(NULL));
    cr_expect_eq(fm_handle_run(NULL, until_interrupted, NULL, NULL, &ran), -EINVAL);
    cr_expect_null(ran);
    cr_expect_eq(fm_handle_set(NULL, fiber, NULL), -EINVAL);
    cr_expect_eq(fm_handle_clear(NULL, FM_NEVER), -EINVAL);
    cr_expect_eq(fm_handle_close(NULL, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_handle_join(NULL, 0, NULL), -EINVAL);
    cr_expect_eq(fm_handle_await_empty(NULL, 0), -EINVAL);
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN, "nobody has interrupted it");
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    fm_fiber_unref(fiber);
}
