/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_faults_options.c - maps with options, without memory: each call fails whole or gets through
 */
#include "tests/fibermap/map_test.h"
#include "tests/fibermap/sweep.h"

static int told; /* by hooks: starts less exits */

static void started(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    told++;
}

static void exited(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit)
{
    told--;
}

static int create_watched(struct fm_map **ret_map)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    hooks.on_start = started;
    hooks.on_exit = exited;
    config.hooks = &hooks;
    config.completions = 8;
    config.retain_count = 8;
    config.max_live = 1;
    config.max_starts = 100;
    config.interval_ns = 1000000000;
    config.on_excess = FM_EXCESS_FAIL;
    config.name = "watched";
    return fm_map_create(&config, ret_map);
}

static int create_one(void *arg)
{
    struct fm_map *map = NULL;
    armed(true);
    int r = create_watched(&map);
    armed(false);
    cr_assert_eq(r == 0, map != NULL);
    fm_map_destroy(map);
    return r;
}

static int run_one(void *arg)
{
    struct fm_map *map;
    struct fm_fiber *fiber = NULL;
    cr_assert_eq(create_watched(&map), 0);
    told = 0;
    armed(true);
    int r = fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, &fiber);
    armed(false);
    cr_assert_eq(told, r == 0);
    cr_assert_eq(fm_map_try_next(map, NULL), r == 0 ? -EAGAIN : -ENOENT);
    int second = fm_map_run(map, KEY("b"), until_interrupted, NULL, NULL, NULL);
    cr_assert_eq(second, r == 0 ? -EAGAIN : 0, "a place is taken or it is not");
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
    cr_assert_eq(told, 0);
    return r;
}

static int set_one(void *arg)
{
    struct fm_map *map;
    struct fm_fiber *fiber = NULL;
    cr_assert_eq(create_watched(&map), 0);
    cr_assert_eq(fm_fiber_spawn(until_interrupted, NULL, NULL, &fiber), 0);
    told = 0;
    armed(true);
    int r = fm_map_set(map, KEY("a"), fiber, NULL);
    armed(false);
    cr_assert_eq(told, r == 0);
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_map_try_next(map, NULL), r == 0 ? 0 : -ENOENT);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
    return r;
}

WORKER_TEST(map_faults_options, a_watched_map_without_memory_tells_nothing)
{
    cr_assert_geq(sweep(create_one, NULL), 14);
    cr_assert_gt(sweep(run_one, NULL), 0);
    cr_assert_gt(sweep(set_one, NULL), 0);
}

/* ---- idle times ---- */

static struct fm_map *make_idle(bool watched)
{
    struct fm_map *map;
    if (!watched)
        return make_map();
    cr_assert_eq(create_watched(&map), 0);
    return map;
}

/* Without memory nothing has changed; with it, it ends in time. */
static void expect_whole(struct fm_map *map, int r)
{
    cr_assert_eq(fm_map_size(map), r == 0);
    pass_ms(1000);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
    settle();
}

static int run_idle(void *watched)
{
    struct fm_map *map = make_idle(watched);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.idle_ttl_ns = 1000000000;
    armed(true);
    int r = fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, NULL);
    armed(false);
    settle();
    expect_whole(map, r);
    return r;
}

static int set_idle(void *watched)
{
    struct fm_map *map = make_idle(watched);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    options.idle_ttl_ns = 1000000000;
    settle();
    armed(true);
    int r = fm_map_set(map, KEY("a"), fiber, &options);
    armed(false);
    settle();
    expect_whole(map, r);
    cr_assert_eq(has_ended(fiber), r == 0);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    fm_fiber_unref(fiber);
    return r;
}

EXACT_TEST(map_faults_options, an_idle_time_without_memory_is_none)
{
    cr_assert_geq(sweep(run_idle, NULL), 3);
    cr_assert_geq(sweep(set_idle, NULL), 3);
    cr_assert_geq(sweep(run_idle, number(1)), 4);
    cr_assert_geq(sweep(set_idle, number(1)), 4);
}

/* More fibers than there is room for stacks without another mapping: those that got one park. */
enum { TOO_MANY = 2000 };
static struct fm_fiber *parked[TOO_MANY];

static void take_all_stacks(void)
{
    int failed = 0;
    for (int i = 0; i < TOO_MANY; i++)
        parked[i] = start(until_interrupted, NULL);
    fm__fault_set(FAULT_MAP, 1, true);
    settle();
    for (int i = 0; i < TOO_MANY; i++)
        failed += has_ended(parked[i]);
    cr_assert(failed > 0 && failed < TOO_MANY, "%d", failed);
}

static void give_them_back(void)
{
    fm__fault_set(FAULT_MAP, 0, false);
    cr_assert_eq(fm_fiber_stop_many(parked, TOO_MANY, FM_NEVER), 0);
    for (int i = 0; i < TOO_MANY; i++)
        fm_fiber_unref(parked[i]);
}

/* The fiber that looks has no stack at first: it is made anew with the next one. */
EXACT_TEST(map_faults_options, those_who_were_late_without_memory_end_with_the_next)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = start(until_interrupted, NULL), *next;

    options.idle_ttl_ns = 1000000000;
    cr_assert_eq(fm_map_run(map, KEY("of another map"), return_arg, NULL, NULL, NULL), 0);
    settle(); /* the stripes have their memory */
    take_all_stacks();
    int r = fm_map_set(map, KEY("a"), fiber, &options);
    settle();
    give_them_back();
    cr_assert(r == 0 || r == -ENOMEM);
    if (r < 0)
        cr_assert_eq(fm_map_set(map, KEY("a"), fiber, &options), 0);
    pass_ms(2000);
    cr_assert_eq(has_ended(fiber), r < 0);
    cr_assert_eq(fm_map_run(map, KEY("b"), until_interrupted, NULL, &options, &next), 0);
    settle();
    expect_interruption(finish(fiber), FM_BY_IDLE);
    pass_ms(1000);
    expect_interruption(finish(next), FM_BY_IDLE);
    fm_map_destroy(map);
}

/* The end of a fiber needs no memory to be told and to be taken. */
WORKER_TEST(map_faults_options, an_end_is_told_without_memory)
{
    struct fm_map *map;
    struct fm_completion *completion;
    char key[300] = { 'x' };
    cr_assert_eq(create_watched(&map), 0);
    cr_assert_eq(fm_map_run(map, fm_key_bytes(key, sizeof key), until_interrupted, NULL, NULL,
                            NULL),
                 0);
    settle();
    fm__fault_set(FAULT_MALLOC, 1, true);
    int removed = fm_map_remove(map, fm_key_bytes(key, sizeof key), FM_NEVER);
    int taken = fm_map_next(map, FM_NEVER, &completion);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert(removed == 0 && taken == 0 && completion->key.len == sizeof key);
    fm_completion_free(completion);
    fm_map_destroy(map);
}

/* ---- who is stuck ---- */

struct stuck {
    struct fm_map *map;
    atomic_bool go;
    struct fm_close_report report;
};

static struct fm_exit close_in_vain(void *arg)
{
    struct stuck *stuck = arg;
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    policy.deadline_ns = 1;
    cr_assert_eq(fm_map_set(stuck->map, KEY("closer"), fm_fiber_self(), NULL), 0);
    cr_assert_eq(fm_map_set(stuck->map, KEY("closer too"), fm_fiber_self(), NULL), 0);
    armed(true);
    int r = fm_map_close(stuck->map, &policy, &stuck->report);
    armed(false);
    return fm_fail(r);
}

static int report_who_is_stuck(void *arg)
{
    struct stuck stuck = { .map = make_map() };
    fm_fiber_unref(run(stuck.map, "replaced", stubborn, &stuck.go));
    settle();
    fm_fiber_unref(run(stuck.map, "replaced", stubborn, &stuck.go));
    settle();
    cr_assert_eq(finish(start(close_in_vain, &stuck)).code, -ETIMEDOUT);
    cr_assert_eq(stuck.report.stuck, 2, "all but the caller, not %zu", stuck.report.stuck);
    cr_assert(stuck.report.stuck_count == 2 || (sweep_hit && !stuck.report.stuck_members));
    fm_close_report_fini(&stuck.report);
    atomic_store(&stuck.go, true);
    fm_map_destroy(stuck.map);
    return 0;
}

TIMED_WORKER_TEST(map_faults_options, who_is_stuck_is_counted_without_memory_to_name_them)
{
    cr_assert_gt(sweep(report_who_is_stuck, NULL), 0);
}

/* ---- sets, handles, many keys ---- */

static int create_set(void *arg)
{
    struct fm_set *set = NULL;
    armed(true);
    int r = fm_set_create(NULL, &set);
    armed(false);
    cr_assert_eq(r == 0, set != NULL);
    fm_set_destroy(set);
    return r;
}

static int create_handle(void *arg)
{
    struct fm_handle *handle = NULL;
    armed(true);
    int r = fm_handle_create(NULL, &handle);
    armed(false);
    cr_assert_eq(r == 0, handle != NULL);
    fm_handle_destroy(handle);
    return r;
}

enum scoped_kind { SCOPED_MAP, SCOPED_SET, SCOPED_HANDLE, SCOPED_KINDS };

struct scoped {
    enum scoped_kind kind;
    int result;
};

static struct fm_exit create_in_a_scope(void *arg)
{
    struct scoped *scoped = arg;
    struct fm_handle *handle = NULL;
    struct fm_map *map = NULL;
    struct fm_set *set = NULL;
    armed(true);
    int r = scoped->kind == SCOPED_MAP   ? fm_map_create_scoped(NULL, &map)
            : scoped->kind == SCOPED_SET ? fm_set_create_scoped(NULL, &set)
                                         : fm_handle_create_scoped(NULL, &handle);
    armed(false);
    cr_assert_eq(r == 0, map || set || handle);
    scoped->result = r;
    return fm_ok(NULL);
}

static int create_scoped(void *kind)
{
    struct scoped scoped = { .kind = (enum scoped_kind)(intptr_t)kind };
    cr_assert_eq(fm_scoped(create_in_a_scope, &scoped).kind, FM_SUCCESS);
    return scoped.result;
}

static int remove_two(void *arg)
{
    struct fm_map *map = make_map();
    struct fm_key keys[] = { KEY("a"), KEY("b") };
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    fm_fiber_unref(run(map, "b", until_interrupted, NULL));
    settle();
    armed(true);
    int r = fm_map_remove_many(map, keys, 2, FM_NEVER);
    armed(false);
    cr_assert_eq(fm_map_size(map), r < 0 ? 2 : 0);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ENDING), 0);
    fm_map_destroy(map);
    return r;
}

static void drop_nothing(void *arg)
{
    ++*(int *)arg;
}

/* All or none, in a map with a ledger or without one: entries, long keys, policies, stays. */
static int run_three(void *watched)
{
    static const char long_key[300] = "a key that stands in a block of its own";
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT, idles = options,
                              nameless = options;
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_fiber *fiber = NULL;
    struct fm_map *map;
    int dropped = 0;
    restart.type = FM_TRANSIENT;
    options.restart = nameless.restart = &restart;
    options.name = "with a name";
    options.arg_drop = drop_nothing;
    struct fm_map_run_item runs[] = {
        { KEY("a"), until_interrupted, &dropped, &options, &fiber, 0 },
        { fm_key_bytes(long_key, sizeof long_key), until_interrupted, NULL, &nameless, NULL,
          0 },
        { KEY("c"), until_interrupted, NULL, &idles, NULL, 0 },
    };
    idles.idle_ttl_ns = INT64_C(3600000000000);
    if (watched) {
        struct fm_map_config config = FM_MAP_CONFIG_INIT;
        struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
        hooks.on_start = started;
        hooks.on_exit = exited;
        config.hooks = &hooks;
        config.max_live = 3;
        config.on_excess = FM_EXCESS_FAIL;
        cr_assert_eq(fm_map_create(&config, &map), 0);
    } else {
        map = make_map();
    }
    told = 0;
    armed(true);
    int r = fm_map_run_many(map, runs, 3, FM_MAP_ALL_OR_NOTHING);
    armed(false);
    cr_assert_eq(fm_map_size(map), r < 0 ? 0 : 3);
    cr_assert_eq(fiber != NULL, r == 0);
    cr_assert_eq(dropped, 0, "the argument is the caller's");
    cr_assert_eq(told, watched && r == 0 ? 3 : 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(runs[i].result, r);
    if (r < 0) /* nothing is in the way of the next, no place is lost */
        cr_assert_eq(fm_map_run_many(map, runs, 3, FM_MAP_ALL_OR_NOTHING), 0);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
    cr_assert_eq(told, 0);
    return r;
}

WORKER_TEST(map_faults_options, many_start_or_none_does_without_memory)
{
    cr_assert_gt(sweep(run_three, NULL), 10);
    cr_assert_gt(sweep(run_three, &told), 10);
}

/* A key that is long, in a stripe that has room for none. */
static int move_one(void *watched)
{
    static const char long_key[300] = "a key that stands in a block of its own";
    struct fm_key to = fm_key_bytes(long_key, sizeof long_key);
    struct fm_map *map;
    if (watched)
        cr_assert_eq(create_watched(&map), 0);
    else
        map = make_map();
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    settle();
    armed(true);
    int r = fm_map_move(map, KEY("a"), to);
    armed(false);
    cr_assert_eq(fm_map_has(map, to), r == 0);
    cr_assert_eq(fm_map_has(map, KEY("a")), r < 0);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert_eq(fm_map_remove(map, r < 0 ? KEY("a") : to, FM_NEVER), 0);
    fm_map_destroy(map);
    return r;
}

WORKER_TEST(map_faults_options, a_fiber_moves_or_stays_without_memory)
{
    cr_assert_gt(sweep(move_one, NULL), 0);
    cr_assert_gt(sweep(move_one, &told), 0);
}

WORKER_TEST(map_faults_options, sets_handles_and_many_keys_without_memory)
{
    cr_assert_geq(sweep(create_set, NULL), 6);
    cr_assert_geq(sweep(create_handle, NULL), 6);
    for (intptr_t kind = 0; kind < SCOPED_KINDS; kind++)
        cr_assert_geq(sweep(create_scoped, number(kind)), 6);
    cr_assert_gt(sweep(remove_two, NULL), 0);
}
