/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_run_many.c - runs under many keys: one after the other, or all or none
 */
#include <stdio.h>

#include "tests/fibermap/map_test.h"

enum { MANY = 5 };

static struct fm_map_run_item item(const char *key, fm_entry_fn *entry, void *arg,
                                   const struct fm_map_run_options *options)
{
    return (struct fm_map_run_item) {
        .key = KEY(key), .entry = entry, .arg = arg, .options = options, .result = 77
    };
}

static int all(struct fm_map *map, struct fm_map_run_item runs[], size_t count)
{
    return fm_map_run_many(map, runs, count, FM_MAP_ALL_OR_NOTHING);
}

static void drop_one(void *arg)
{
    ++*(int *)arg;
}

static struct fm_exit count_one(void *arg)
{
    ++*(int *)arg;
    return fm_fail(fm_never());
}

/* ---- one after the other ---- */

WORKER_TEST(run_many, each_run_goes_by_its_own_options)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options keep = conflict(FM_KEEP), fail = conflict(FM_FAIL);
    struct fm_fiber *held = run(map, "held", until_interrupted, NULL), *kept = NULL,
                    *fresh = NULL, *untouched = NULL;
    struct fm_map_run_item runs[] = {
        item("fresh", until_interrupted, NULL, NULL),
        item("held", until_interrupted, NULL, &keep),
        item("held", until_interrupted, NULL, &fail),
        item("", until_interrupted, NULL, NULL),
        item("no body", NULL, NULL, NULL),
        item("held", until_interrupted, NULL, NULL),
    };
    settle();
    runs[0].ret_fiber = &fresh;
    runs[1].ret_fiber = &kept;
    runs[2].ret_fiber = &untouched;
    cr_assert_eq(fm_map_run_many(map, runs, 6, 0), 3, "three of them have failed");
    const int results[] = { 0, FM_MAP_KEPT, -EEXIST, -EINVAL, -EINVAL, FM_MAP_REPLACED };
    for (int i = 0; i < 6; i++)
        cr_expect_eq(runs[i].result, results[i], "run %d: %d", i, runs[i].result);
    cr_assert_eq(fm_fiber_id(fresh), under(map, "fresh"));
    cr_assert_eq(kept, held);
    cr_assert_null(untouched);
    expect_interruption(finish(held), FM_BY_REPLACE);
    fm_fiber_unref(kept);
    fm_fiber_unref(fresh);
    fm_map_destroy(map);
}

WORKER_TEST(run_many, a_key_that_stands_there_twice_meets_itself)
{
    struct fm_map *map = make_map();
    int bodies = 0, dropped = 0;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.arg_drop = drop_one;
    struct fm_map_run_item runs[] = { item("a", count_one, &bodies, NULL),
                                      item("a", count_one, &bodies, NULL) };
    runs[0].options = &options;
    runs[0].arg = &dropped;
    cr_assert_eq(fm_map_run_many(map, runs, 2, 0), 0);
    cr_assert_eq(runs[0].result, 0);
    cr_assert_eq(runs[1].result, FM_MAP_REPLACED);
    settle();
    cr_assert_eq(dropped, 1, "its body never ran");
    cr_assert_eq(bodies, 1);
    cr_assert_eq(fm_map_size(map), 1);
    fm_map_destroy(map);
}

WORKER_TEST(run_many, what_is_no_call_changes_nothing)
{
    struct fm_map *map = make_map();
    struct fm_map_run_item runs[] = { item("a", until_interrupted, NULL, NULL) };
    cr_assert_eq(fm_map_run_many(NULL, runs, 1, 0), -EINVAL);
    cr_assert_eq(fm_map_run_many(map, NULL, 1, 0), -EINVAL);
    cr_assert_eq(fm_map_run_many(map, runs, 1, 2), -EINVAL);
    cr_assert_eq(fm_map_run_many(map, runs, (size_t)1 << 31, 0), -EINVAL);
    cr_assert_eq(runs[0].result, 77);
    cr_assert_eq(fm_map_run_many(map, NULL, 0, 0), 0);
    cr_assert_eq(all(map, NULL, 0), 0);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
}

WORKER_TEST(run_many, a_closed_map_refuses_each)
{
    struct fm_map *map = make_map();
    struct fm_map_run_item runs[] = { item("a", until_interrupted, NULL, NULL),
                                      item("b", until_interrupted, NULL, NULL) };
    fm_map_close(map, NULL, NULL);
    cr_assert_eq(fm_map_run_many(map, runs, 2, 0), 2);
    cr_assert_eq(runs[1].result, -ESHUTDOWN);
    cr_assert_eq(all(map, runs, 2), -ESHUTDOWN);
    cr_assert(runs[0].result == -ESHUTDOWN && runs[1].result == -ESHUTDOWN);
    fm_map_destroy(map);
}

/* ---- all or nothing ---- */

struct member {
    struct fm_map *map;
    const char *const *names;
    int found;
};

static struct fm_exit find_the_others(void *arg)
{
    struct member *member = arg;
    for (int i = 0; i < MANY; i++)
        member->found += fm_map_has(member->map, KEY(member->names[i]));
    return fm_fail(fm_never());
}

#define LONG_NAME "one whose name is longer than an entry holds: it stands in a block of its own"
static const char *const names[MANY] = { "a", "b", "c", "d", LONG_NAME };

FIBER_TEST(run_many, all_are_there_when_the_first_body_begins)
{
    struct fm_map *map = make_map();
    struct member members[MANY];
    struct fm_map_run_item runs[MANY];
    struct fm_fiber *fibers[MANY] = { NULL };
    for (int i = 0; i < MANY; i++) {
        members[i] = (struct member) { map, names, 0 };
        runs[i] = item(names[i], find_the_others, &members[i], NULL);
        runs[i].ret_fiber = &fibers[i];
    }
    cr_assert_eq(all(map, runs, MANY), 0);
    cr_assert_eq(fm_map_size(map), MANY);
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(runs[i].result, 0);
        cr_assert_eq(under(map, names[i]), fm_fiber_id(fibers[i]));
        cr_assert_eq(fm_map_remove(map, KEY(names[i]), FM_NEVER), 0);
        expect_interruption(finish(fibers[i]), FM_BY_REMOVE);
    }
    for (int i = 0; i < MANY; i++)
        cr_assert(members[i].found == 0 || members[i].found > MANY - 1 - i,
                  "the body %d found %d", i, members[i].found);
    fm_map_destroy(map);
}

WORKER_TEST(run_many, one_held_key_keeps_all_from_starting)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options options = conflict(FM_FAIL);
    struct fm_fiber *fiber = NULL, *holder = run(map, "c", until_interrupted, NULL);
    int bodies = 0, dropped = 0;
    options.arg_drop = drop_one;
    struct fm_map_run_item runs[] = { item("a", count_one, &dropped, &options),
                                      item("b", count_one, &bodies, NULL),
                                      item("c", count_one, &bodies, NULL) };
    runs[0].ret_fiber = &fiber;
    settle();
    cr_assert_eq(all(map, runs, 3), -EEXIST);
    cr_assert_eq(runs[0].result, -ECANCELED);
    cr_assert_eq(runs[1].result, -ECANCELED);
    cr_assert_eq(runs[2].result, -EEXIST);
    settle();
    cr_assert(bodies == 0 && dropped == 0, "the arguments are the caller's");
    cr_assert_null(fiber);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert_not(fm_map_has(map, KEY("a")) || fm_map_has(map, KEY("b")));
    cr_assert_eq(under(map, "c"), fm_fiber_id(holder));
    cr_assert_eq(fm_fiber_poll(holder, NULL), -EAGAIN);
    /* the key of somebody who has ended is free */
    cr_assert_eq(fm_map_remove(map, KEY("c"), FM_NEVER), 0);
    cr_assert_eq(all(map, runs, 3), 0);
    settle();
    cr_assert(bodies == 2 && dropped == 1);
    fm_fiber_unref(fiber);
    fm_fiber_unref(holder);
    fm_map_destroy(map);
}

WORKER_TEST(run_many, a_key_listed_twice_keeps_all_from_starting)
{
    struct fm_map *map = make_map();
    int bodies = 0;
    struct fm_map_run_item runs[] = { item("a", count_one, &bodies, NULL),
                                      item("b", count_one, &bodies, NULL),
                                      item("a", count_one, &bodies, NULL),
                                      item("a", count_one, &bodies, NULL) };
    cr_assert_eq(all(map, runs, 4), -EEXIST);
    const int results[] = { -ECANCELED, -ECANCELED, -EEXIST, -EEXIST };
    for (int i = 0; i < 4; i++)
        cr_assert_eq(runs[i].result, results[i]);
    settle();
    cr_assert_eq(bodies + fm_map_size(map), 0);
    fm_map_destroy(map);
}

WORKER_TEST(run_many, bad_arguments_of_one_come_before_keys_that_are_held)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options keep = conflict(FM_KEEP), dying = flags(FM_MAP_DYING_IS_ABSENT),
                              unknown = conflict(99),
                              reuse = FM_MAP_RUN_OPTIONS_INIT,
                              foreign = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *other = make_map();
    cr_assert_eq(fm_map_group_create(other, NULL, &foreign.group), 0);
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    reuse.reuse = FM_REUSE_ANY;
    struct fm_map_run_item runs[] = { item("a", until_interrupted, NULL, NULL),
                                      item("b", until_interrupted, NULL, &keep),
                                      item("c", until_interrupted, NULL, &dying),
                                      item("d", until_interrupted, NULL, &reuse),
                                      item("e", until_interrupted, NULL, &unknown),
                                      item("f", until_interrupted, NULL, &foreign) };
    cr_assert_eq(all(map, runs, 6), -EINVAL);
    cr_assert_eq(runs[0].result, -ECANCELED);
    for (int i = 1; i < 6; i++)
        cr_assert_eq(runs[i].result, -EINVAL, "%d", i);
    cr_assert_eq(fm_map_size(map), 1);
    fm_map_group_unref(foreign.group);
    fm_map_destroy(other);
    fm_map_destroy(map);
}

/* The last thing that can fail of a fiber that has been made. */
WORKER_TEST(run_many, a_group_that_is_stopped_keeps_all_from_starting)
{
    struct fm_map *map = make_map();
    struct fm_map_group *group;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fibers[2] = { NULL };
    int bodies = 0, dropped = 0;
    cr_assert_eq(fm_map_group_create(map, NULL, &group), 0);
    cr_assert_eq(fm_map_group_stop(group, FM_NEVER), 0);
    options.group = group;
    options.arg_drop = drop_one;
    struct fm_map_run_item runs[] = { item("a", count_one, &bodies, NULL),
                                      item("b", count_one, &dropped, &options) };
    for (int i = 0; i < 2; i++)
        runs[i].ret_fiber = &fibers[i];
    cr_assert_eq(all(map, runs, 2), -ESHUTDOWN);
    cr_assert(runs[0].result == -ESHUTDOWN && runs[1].result == -ESHUTDOWN);
    cr_assert(!fibers[0] && !fibers[1]);
    runs[1].options = NULL;
    cr_assert_eq(all(map, runs, 2), 0);
    settle();
    cr_assert(bodies == 1 && dropped == 1, "one body each");
    for (int i = 0; i < 2; i++)
        fm_fiber_unref(fibers[i]);
    fm_map_group_unref(group);
    fm_map_destroy(map);
}

static struct fm_exit fail_twice(void *arg)
{
    return ++*(int *)arg < 3 ? fm_fail(-EIO) : fm_ok(NULL);
}

WORKER_TEST(run_many, those_with_a_policy_are_run_again)
{
    struct fm_map *map = make_map();
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = NULL;
    int bodies = 0;
    restart.type = FM_TRANSIENT;
    options.restart = &restart;
    struct fm_map_run_item runs[] = { item("a", fail_twice, &bodies, &options),
                                      item("b", until_interrupted, NULL, NULL) };
    runs[0].ret_fiber = &fiber;
    cr_assert_eq(all(map, runs, 2), 0);
    cr_assert_eq(finish(fm_fiber_ref(fiber)).kind, FM_SUCCESS);
    cr_assert_eq(fm_fiber_incarnation(fiber), 2);
    cr_assert_eq(bodies, 3);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

WORKER_TEST(run_many, flags_of_each_run_are_its_own)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options isolated = flags(FM_MAP_ISOLATE_FAILURE);
    struct fm_map_run_item runs[] = { item("a", fail_with, number(-EIO), &isolated),
                                      item("b", fail_with, number(-EPIPE), NULL) };
    struct fm_exit verdict;
    cr_assert_eq(all(map, runs, 2), 0);
    cr_assert_eq(fm_map_join(map, FM_NEVER, &verdict), 0);
    cr_assert_eq(verdict.code, -EPIPE, "the other's does not count");
    fm_map_destroy(map);
}

/* Far more than the first tables hold, in one stripe and in many. */
WORKER_TEST(run_many, a_thousand_start_at_once)
{
    enum { THOUSAND = 1000 };
    static char text[THOUSAND][8];
    static struct fm_map_run_item runs[THOUSAND];
    for (uint32_t stripes = 1; stripes <= 8; stripes *= 8) {
        struct fm_map_config config = FM_MAP_CONFIG_INIT;
        struct fm_map *map;
        int bodies = 0;
        config.stripe_count = stripes;
        cr_assert_eq(fm_map_create(&config, &map), 0);
        for (int i = 0; i < THOUSAND; i++) {
            snprintf(text[i], sizeof text[i], "%d", i);
            runs[i] = item(text[i], count_one, &bodies, NULL);
        }
        cr_assert_eq(all(map, runs, THOUSAND), 0);
        cr_assert_eq(fm_map_size(map), THOUSAND);
        for (int i = 0; i < THOUSAND; i++)
            cr_assert(fm_map_has(map, KEY(text[i])));
        settle();
        cr_assert_eq(bodies, THOUSAND);
        cr_assert_eq(all(map, runs, THOUSAND), -EEXIST);
        cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
        cr_assert_eq(all(map, runs, THOUSAND), 0);
        fm_map_destroy(map);
    }
}

/* ---- maps with options ---- */

static struct fm_map *limited(uint32_t max_live, uint32_t max_starts, uint32_t on_excess)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.max_live = max_live;
    config.max_starts = max_starts;
    config.interval_ns = max_starts ? 1000000000 : 0;
    config.on_excess = on_excess;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    return map;
}

WORKER_TEST(run_many, places_for_all_or_none_is_taken)
{
    struct fm_map *map = limited(3, 0, FM_EXCESS_FAIL);
    struct fm_map_run_item runs[] = { item("a", until_interrupted, NULL, NULL),
                                      item("b", until_interrupted, NULL, NULL),
                                      item("c", until_interrupted, NULL, NULL) };
    fm_fiber_unref(run(map, "there", until_interrupted, NULL));
    settle();
    cr_assert_eq(all(map, runs, 3), -EAGAIN);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(runs[i].result, -EAGAIN);
    cr_assert_eq(all(map, runs, 2), 0);
    cr_assert_eq(all(map, runs + 2, 1), -EAGAIN);
    cr_assert_eq(fm_map_remove(map, KEY("b"), FM_NEVER), 0);
    cr_assert_eq(all(map, runs + 2, 1), 0);
    cr_assert(fm_map_has(map, KEY("there")));
    fm_map_destroy(map);
}

WORKER_TEST(run_many, each_of_them_can_be_evicted_the_longest_idle_first)
{
    struct fm_map *map = limited(3, 0, FM_EXCESS_EVICT_IDLE);
    struct fm_map_run_item runs[] = { item("a", until_interrupted, NULL, NULL),
                                      item("b", until_interrupted, NULL, NULL) };
    fm_fiber_unref(run(map, "there", until_interrupted, NULL));
    settle();
    cr_assert_eq(all(map, runs, 2), 0);
    settle();
    cr_assert_eq(fm_map_touch(map, KEY("there")), 0);
    fm_fiber_unref(run(map, "one more", until_interrupted, NULL));
    cr_assert_not(fm_map_has(map, KEY("a")));
    cr_assert(fm_map_has(map, KEY("b")) && fm_map_has(map, KEY("there")));
    fm_map_destroy(map);
}

EXACT_TEST(run_many, without_starts_for_all_the_places_go_back)
{
    struct fm_map *map = limited(4, 3, FM_EXCESS_FAIL);
    struct fm_map_run_item runs[] = { item("a", until_interrupted, NULL, NULL),
                                      item("b", until_interrupted, NULL, NULL),
                                      item("c", until_interrupted, NULL, NULL),
                                      item("d", until_interrupted, NULL, NULL) };
    cr_assert_eq(all(map, runs, 4), -EAGAIN, "more than ever start in an interval");
    cr_assert_eq(all(map, runs, 2), 0);
    cr_assert_eq(all(map, runs + 2, 2), -EAGAIN);
    cr_assert_eq(all(map, runs + 2, 1), 0, "the third start is still there");
    pass_ms(1000);
    cr_assert_eq(all(map, runs + 3, 1), 0, "so is the fourth place");
    fm_map_destroy(map);
}

struct log {
    int starts, bodies, bodies_first, exits;
};

static void log_start(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    struct log *log = ctx;
    log->starts++;
    log->bodies_first += log->bodies > log->starts;
}

static void log_exit(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit)
{
    ((struct log *)ctx)->exits++;
}

static struct fm_exit log_body(void *arg)
{
    ((struct log *)arg)->bodies++;
    return fm_ok(NULL);
}

WORKER_TEST(run_many, hooks_and_completions_tell_of_each)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_map *map;
    struct log log = { 0 };
    hooks.ctx = &log;
    hooks.on_start = log_start;
    hooks.on_exit = log_exit;
    config.hooks = &hooks;
    config.completions = 8;
    config.retain_count = 8;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    struct fm_map_run_item runs[] = { item("a", log_body, &log, NULL),
                                      item("b", log_body, &log, NULL),
                                      item("c", log_body, &log, NULL) };
    cr_assert_eq(all(map, runs, 3), 0);
    cr_assert_eq(log.starts, 3);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_map_next(map, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_map_next(map, FM_NEVER, NULL), -ENOENT);
    cr_assert(log.bodies == 3 && log.exits == 3 && log.bodies_first == 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_map_last_exit(map, runs[i].key, NULL), 0);
    fm_map_destroy(map);
}

/* Each has its own time; the caller's options may be gone by then. */
TIMED_WORKER_TEST(run_many, those_with_a_ttl_end_when_nobody_uses_them)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = NULL;
    {
        struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
        options.idle_ttl_ns = 20 * 1000000;
        struct fm_map_run_item runs[] = { item("a", until_interrupted, NULL, &options),
                                          item("b", until_interrupted, NULL, NULL) };
        runs[0].ret_fiber = &fiber;
        cr_assert_eq(all(map, runs, 2), 0);
    }
    int64_t begin_ms = now_ms();
    expect_interruption(finish(fiber), FM_BY_IDLE);
    cr_assert_eq(now_ms() - begin_ms, 20);
    cr_assert(fm_map_has(map, KEY("b")));
    fm_map_destroy(map);
}
