/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_rules.c - what holds for all calls: callbacks may call, lookups and exits wait for no
 * lock, a closing map shows who ends
 */
#include <stdio.h>
#include <unistd.h>

#include "fibermap/map.h"
#include "runtime/platform/lock.h"
#include "tests/fibermap/map_test.h"

/* ---- callbacks ---- */

/* Two maps, and which callbacks have called them. */
static struct scene {
    struct fm_map *map, *other;
    _Atomic int calls;
} scene;

/* Everything that does not wait, on this key and another, in this map and another. */
static void call_the_maps(struct fm_key key)
{
    struct fm_map_run_options keep = conflict(FM_KEEP), queue = conflict(FM_QUEUE);
    struct fm_map *maps[] = { scene.map, scene.other };
    struct fm_snapshot *snapshot;
    struct fm_fiber *fiber;
    struct fm_exit exit;

    for (int i = 0; i < 2; i++) {
        struct fm_map *map = maps[i];
        cr_assert_geq(fm_map_run(map, KEY("side"), until_interrupted, NULL, NULL, &fiber), 0);
        cr_assert_eq(fm_map_set(map, KEY("second"), fiber, NULL), 0);
        cr_assert_eq(fm_map_compare_and_replace(map, KEY("side"), fiber, until_interrupted,
                                                NULL, NULL, NULL),
                     FM_MAP_REPLACED);
        fm_fiber_unref(fiber);
        cr_assert_eq(fm_map_move(map, KEY("second"), KEY("third")), 0);
        cr_assert_eq(fm_map_touch(map, KEY("third")), 0);
        cr_assert_eq(fm_map_run_many(map,
                                     (struct fm_map_run_item[2]) {
                                         { .key = KEY("left"), .entry = until_interrupted },
                                         { .key = KEY("right"), .entry = until_interrupted } },
                                     2, FM_MAP_ALL_OR_NOTHING),
                     0);
        cr_assert_geq(fm_map_run(map, KEY("side"), until_interrupted, NULL, &keep, NULL), 0);
        cr_assert_eq(fm_map_run(map, KEY("side"), until_interrupted, NULL, &queue, NULL),
                     FM_MAP_QUEUED);
        cr_assert(fm_map_has(map, KEY("side")) && fm_map_size(map) >= 3);
        cr_assert_geq(fm_map_count(map, FM_MEMBER_QUEUED), 1);
        if (fm_map_get(map, key, &fiber) == 0)
            fm_fiber_unref(fiber);
        cr_assert_eq(fm_map_snapshot(map, FM_SNAPSHOT_CONSISTENT, &snapshot), 0);
        fm_snapshot_free(snapshot);
        cr_assert_eq(fm_map_interrupt(map, KEY("side")), 0);
        cr_assert_eq(fm_map_detach(map, KEY("side"), NULL), 0);
        cr_assert_eq(fm_map_detach(map, KEY("third"), NULL), 0);
        cr_assert_eq(fm_map_detach(map, KEY("left"), NULL), 0);
        cr_assert_eq(fm_map_detach(map, KEY("right"), NULL), 0);
        cr_assert_eq(fm_map_last_exit(scene.map, KEY("nobody"), &exit), -ENOENT);
        cr_assert_eq(fm_map_forget(scene.map, KEY("nobody")), -ENOENT);
        int r = fm_map_run(map, key, return_arg, NULL, &keep, NULL);
        cr_assert(r == 0 || r == FM_MAP_KEPT, "%d", r);
    }
    scene.calls++;
}

static void drop_calls(void *arg)
{
    call_the_maps(KEY("a"));
}

static bool match_calls(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    call_the_maps(key);
    return false;
}

static int each_calls(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    call_the_maps(key);
    return 0;
}

static bool policy_calls(void *ctx, struct fm_key key, struct fm_exit exit, uint64_t count)
{
    call_the_maps(key);
    return false;
}

static void observer_calls(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    call_the_maps(KEY("a"));
}

static void setup_scene(void)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.stripe_count = 1; /* all keys under one lock */
    config.retain_count = 1;
    cr_assert_eq(fm_map_create(&config, &scene.map), 0);
    config.retain_count = 0;
    cr_assert_eq(fm_map_create(&config, &scene.other), 0);
    scene.calls = 0;
}

/* Exactly one more callback has called. */
static void has_called(int *calls)
{
    settle();
    cr_assert_eq(scene.calls, ++*calls);
}

/* F54 */
WORKER_TEST(map_rules, callbacks_call_the_map_on_any_key)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_observer observer = { .fn = observer_calls };
    struct fm_fiber *fiber;
    int calls = 0;

    setup_scene();
    options.arg_drop = drop_calls;
    cr_assert_eq(fm_map_run(scene.map, KEY("a"), until_interrupted, NULL, &options, NULL), 0);
    cr_assert_eq(fm_map_interrupt(scene.map, KEY("a")), 0);
    has_called(&calls); /* arg_drop of one that never began */

    fiber = run(scene.map, "b", until_interrupted, NULL);
    options = (struct fm_map_run_options)FM_MAP_RUN_OPTIONS_INIT;
    options.arg_drop = drop_calls;
    cr_assert_eq(fm_map_run_wait(scene.map, KEY("b"), return_arg, NULL, &options, 0, NULL),
                 -ETIMEDOUT);
    has_called(&calls); /* of a caller that joins */
    cr_assert_eq(fm_fiber_observe(fiber, &observer), 0);
    cr_assert_eq(fm_map_remove(scene.map, KEY("b"), FM_NEVER), 0);
    fm_fiber_unref(fiber);
    has_called(&calls);

    options = (struct fm_map_run_options)FM_MAP_RUN_OPTIONS_INIT;
    options.value_drop = drop_calls;
    cr_assert_eq(fm_map_run(scene.other, KEY("c"), return_arg, &calls, &options, NULL), 0);
    has_called(&calls); /* value_drop with the last reference */
    cr_assert_eq(fm_map_run(scene.map, KEY("c"), return_arg, &calls, &options, NULL), 0);
    settle();
    cr_assert_eq(fm_map_forget(scene.map, KEY("c")), 0);
    has_called(&calls); /* of an exit that was retained */

    options = (struct fm_map_run_options)FM_MAP_RUN_OPTIONS_INIT;
    restart.type = FM_TRANSIENT;
    restart.should_restart = policy_calls;
    options.restart = &restart;
    cr_assert_eq(fm_map_run(scene.map, KEY("d"), fail_with, number(-EIO), &options, NULL), 0);
    has_called(&calls);

    cr_assert_eq(fm_map_clear(scene.map, FM_NEVER), 0);
    fm_fiber_unref(run(scene.map, "e", until_interrupted, NULL));
    cr_assert_eq(fm_map_clear_matching(scene.map, match_calls, NULL, FM_NEVER), 0);
    has_called(&calls);
    cr_assert_eq(fm_map_clear(scene.map, FM_NEVER), 0);
    fm_fiber_unref(run(scene.map, "e", until_interrupted, NULL));
    cr_assert_eq(fm_map_each(scene.map, each_calls, NULL), 0);
    has_called(&calls);
    fm_map_destroy(scene.map);
    fm_map_destroy(scene.other);
}

/* ---- no lock ---- */

struct holder {
    struct stripe *stripe;
    _Atomic bool holds, done;
};

static void *hold(void *arg)
{
    struct holder *holder = arg;
    fm__lock(&holder->stripe->lock);
    atomic_store(&holder->holds, true);
    while (!atomic_load(&holder->done))
        sched_yield();
    fm__unlock(&holder->stripe->lock);
    return NULL;
}

/* F53: somebody who holds the stripe's lock is frozen. All below returns while he is. */
WORKER_TEST(map_rules, lookups_and_exits_wait_for_no_lock)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_run_options keep = conflict(FM_KEEP), fail = conflict(FM_FAIL);
    struct fm_map *map;
    struct fm_exit exit;
    pthread_t thread;

    config.stripe_count = 1;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    struct fm_fiber *a = run(map, "a", until_interrupted, NULL),
                    *b = run(map, "b", until_interrupted, NULL), *found;
    settle();
    struct holder holder = { .stripe = map->stripes };
    cr_assert_eq(pthread_create(&thread, NULL, hold, &holder), 0);
    while (!atomic_load(&holder.holds))
        fm_yield();
    cr_expect_eq(under(map, "a"), fm_fiber_id(a));
    cr_expect(fm_map_has(map, KEY("b")) && !fm_map_has(map, KEY("c")));
    cr_expect_eq(fm_map_size(map), 2);
    cr_expect_eq(fm_map_count(map, FM_MEMBER_LIVE), 2);
    cr_expect_eq(fm_map_run(map, KEY("a"), return_arg, NULL, &keep, &found), FM_MAP_KEPT);
    fm_fiber_unref(found);
    cr_expect_eq(fm_map_run(map, KEY("a"), return_arg, NULL, &fail, NULL), -EEXIST);
    cr_expect_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_expect_eq(fm_map_interrupt(map, KEY("b")), 0);
    cr_expect_eq(fm_map_await_empty(map, FM_NEVER), 0);
    cr_expect_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    cr_expect_eq(fm_fiber_join(b, 0, &exit), 0);
    cr_expect_eq(fm_map_size(map), 0);
    cr_expect_not(atomic_load(&holder.done));
    atomic_store(&holder.done, true);
    pthread_join(thread, NULL);
    fm_fiber_unref(a);
    fm_fiber_unref(b);
    fm_map_destroy(map);
}

/* ---- closing ---- */

static struct fm_exit closes(void *arg)
{
    cr_assert_eq(fm_map_close(arg, NULL, NULL), 0);
    return fm_ok(NULL);
}

TIMED_WORKER_TEST(map_rules, a_dump_shows_who_ends_in_a_closing_map)
{
    struct fm_map *map = make_map();
    static char dump[65536];
    atomic_bool go = false;
    FILE *file = tmpfile();

    fm_fiber_unref(run(map, "ends slowly", stubborn, &go));
    settle();
    struct fm_fiber *closer = start(closes, map);
    settle();
    cr_assert_not(fm_map_has(map, KEY("ends slowly")));
    cr_assert_eq(fm_runtime_dump(fm_runtime_current(), fileno(file)), 0);
    ssize_t n = pread(fileno(file), dump, sizeof dump - 1, 0);
    cr_assert_gt(n, 0);
    dump[n] = 0;
    cr_expect(strstr(dump, "key \"ends slowly\""), "%s", dump);
    fclose(file);
    atomic_store(&go, true);
    finish(closer);
    fm_map_destroy(map);
}
