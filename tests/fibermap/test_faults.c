/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_faults.c - the map without memory
 *
 * sweep() makes the nth allocation of a call fail, once and from there on, for n = 1, 2, ... until
 * the call gets through without having met the failure. Each time: the call fails with -ENOMEM and
 * nothing else, what was there is as it was, what the caller gave is still his, and the same call
 * works right afterwards. Leaks are found by the leak checker (TEST).
 */
#include "tests/fibermap/map_test.h"
#include "tests/fibermap/sweep.h"

struct scene {
    struct fm_map *map;
    struct fm_fiber *old; /* under the key, if the scene has one */
    struct fm_key key;
    uint32_t conflict;
    _Atomic int drops, runs; /* of the argument, which is the scene */
};

/* A key that needs a blob of its own. */
static const char long_key[201] =
    "a long key: .........................................................................."
    "..........................................................................";

static struct fm_exit run_and_park(void *arg)
{
    struct scene *scene = arg;
    atomic_fetch_add(&scene->runs, 1);
    return fm_fail(fm_never());
}

static void dropped(void *arg)
{
    struct scene *scene = arg;
    atomic_fetch_add(&scene->drops, 1);
}

static int run_in(struct scene *scene, struct fm_key key, struct fm_fiber **ret_fiber)
{
    struct fm_map_run_options options = conflict(scene->conflict);
    options.arg_drop = dropped;
    return fm_map_run(scene->map, key, run_and_park, scene, &options, ret_fiber);
}

static struct scene scene_with(bool incumbent, bool long_one)
{
    struct scene scene = { .map = make_map(),
                           .key = long_one ? fm_key_bytes(long_key, 200) : KEY("short") };
    if (incumbent) {
        cr_assert_eq(fm_map_run(scene.map, scene.key, until_interrupted, NULL, NULL,
                                &scene.old),
                     0);
        settle();
    }
    return scene;
}

static void scene_over(struct scene *scene)
{
    fm_map_destroy(scene->map);
    fm_fiber_unref(scene->old);
}

static void old_is_untouched(struct scene *scene)
{
    struct fm_fiber *found;
    cr_assert_eq(fm_map_get(scene->map, scene->key, &found), 0);
    cr_assert_eq(found, scene->old);
    fm_fiber_unref(found);
    settle();
    cr_assert_eq(fm_fiber_poll(scene->old, NULL), -EAGAIN, "the old fiber was interrupted");
    cr_assert_eq(fm_map_size(scene->map), 1);
    cr_assert_eq(fm_map_count(scene->map, FM_MEMBER_ENDING), 0);
}

/* ---- making ---- */

static int create_one(void *arg)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map = NULL;

    config.name = "named";
    armed(true);
    int r = fm_map_create(&config, &map);
    armed(false);
    cr_assert_eq(r == 0, map != NULL);
    fm_map_destroy(map);
    return r;
}

static int create_runner(void *arg)
{
    struct fm_runner *runner = NULL;
    armed(true);
    int r = fm_runner_create(NULL, NULL, &runner);
    armed(false);
    cr_assert_eq(r == 0, runner != NULL);
    fm_runner_destroy(runner);
    return r;
}

WORKER_TEST(map_faults, creation_without_memory_leaves_nothing)
{
    cr_assert_geq(sweep(create_one, NULL), 6);
    cr_assert_geq(sweep(create_runner, NULL), 6);
}

/* ---- running ---- */

static int replace_one(void *long_one)
{
    struct scene scene = scene_with(true, long_one != NULL);
    struct fm_fiber *fiber = NULL;
    armed(true);
    int r = run_in(&scene, scene.key, &fiber);
    armed(false);
    if (r < 0) {
        cr_assert_null(fiber);
        old_is_untouched(&scene);
        cr_assert_eq(atomic_load(&scene.drops), 0, "the argument is the caller's");
        cr_assert_eq(run_in(&scene, scene.key, &fiber), FM_MAP_REPLACED);
    } else {
        cr_assert_eq(r, FM_MAP_REPLACED);
    }
    settle();
    cr_assert_eq(atomic_load(&scene.runs), 1);
    cr_assert_eq(finish(fm_fiber_ref(scene.old)).reason, FM_BY_REPLACE);
    fm_fiber_unref(fiber);
    scene_over(&scene);
    return r;
}

static int run_on_free_key(void *kind)
{
    struct scene scene = scene_with(false, true);
    struct fm_fiber *fiber = NULL;
    scene.conflict = (uint32_t)(intptr_t)kind;
    armed(true);
    int r = run_in(&scene, scene.key, &fiber);
    armed(false);
    if (r < 0) {
        cr_assert_null(fiber);
        cr_assert_not(fm_map_has(scene.map, scene.key));
        cr_assert_eq(fm_map_size(scene.map), 0);
        cr_assert_eq(atomic_load(&scene.drops), 0, "the argument is the caller's");
        cr_assert_eq(run_in(&scene, scene.key, &fiber), 0);
    }
    settle();
    cr_assert_eq(atomic_load(&scene.runs) + atomic_load(&scene.drops), 1);
    fm_fiber_unref(fiber);
    scene_over(&scene);
    return r;
}

static int run_on_held_key(void *kind)
{
    struct scene scene = scene_with(true, true);
    struct fm_fiber *fiber = NULL;
    scene.conflict = (uint32_t)(intptr_t)kind;
    armed(true);
    int r = run_in(&scene, scene.key, &fiber);
    armed(false);
    bool keeps = scene.conflict != FM_FAIL;
    cr_assert_eq(r, keeps ? FM_MAP_KEPT : -EEXIST, "needs no memory: %d", r);
    cr_assert_eq(fiber, keeps ? scene.old : NULL);
    old_is_untouched(&scene);
    fm_fiber_unref(fiber);
    scene_over(&scene);
    return 0;
}

WORKER_TEST(map_faults, run_without_memory_changes_nothing)
{
    unsigned met = sweep(replace_one, NULL) + sweep(replace_one, number(1));
    for (intptr_t kind = FM_REPLACE; kind <= FM_QUEUE; kind++)
        met += sweep(run_on_free_key, number(kind));
    cr_assert_gt(met, 0);
    cr_assert_eq(sweep(run_on_held_key, number(FM_KEEP)), 0);
    cr_assert_eq(sweep(run_on_held_key, number(FM_FAIL)), 0);
    cr_assert_eq(sweep(run_on_held_key, number(FM_JOIN)), 0);
}

/* FM_REPLACE_AWAIT, FM_QUEUE: the new one is there and waits, or nothing has changed. */
static int wait_behind(void *kind)
{
    atomic_bool go = false;
    struct scene scene = scene_with(false, true);
    struct fm_fiber *fiber = NULL;
    scene.conflict = (uint32_t)(intptr_t)kind;
    int outcome = scene.conflict == FM_QUEUE ? FM_MAP_QUEUED : FM_MAP_REPLACED;
    cr_assert_eq(fm_map_run(scene.map, scene.key, stubborn, &go, NULL, &scene.old), 0);
    settle();
    armed(true);
    int r = run_in(&scene, scene.key, &fiber);
    armed(false);
    if (r < 0) {
        cr_assert_null(fiber);
        old_is_untouched(&scene);
        cr_assert_eq(atomic_load(&scene.drops), 0, "the argument is the caller's");
        cr_assert_eq(run_in(&scene, scene.key, &fiber), outcome);
    } else {
        cr_assert_eq(r, outcome);
    }
    settle();
    cr_assert_eq(atomic_load(&scene.runs), 0);
    atomic_store(&go, true);
    finish(scene.old);
    scene.old = NULL;
    while (!atomic_load(&scene.runs))
        fm_yield();
    fm_fiber_unref(fiber);
    scene_over(&scene);
    return r < 0 ? r : 0;
}

TIMED_WORKER_TEST(map_faults, a_run_that_is_to_wait_changes_nothing_without_memory)
{
    cr_assert_gt(sweep(wait_behind, number(FM_REPLACE_AWAIT)), 0);
    cr_assert_gt(sweep(wait_behind, number(FM_QUEUE)), 0);
}

/* The run is started, or the argument is the caller's; whether he waits is not asked. */
static int share_one(void *incumbent)
{
    struct scene scene = scene_with(incumbent != NULL, true);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.arg_drop = dropped;
    armed(true);
    int r = fm_map_run_wait(scene.map, scene.key, run_and_park, &scene, &options, 0, NULL);
    armed(false);
    if (r != -ETIMEDOUT) {
        cr_assert_eq(r, -ENOMEM);
        cr_assert_not(fm_map_has(scene.map, scene.key));
        cr_assert_eq(atomic_load(&scene.drops), 0, "the argument is the caller's");
    }
    settle();
    cr_assert_eq(atomic_load(&scene.runs), r == -ETIMEDOUT && !incumbent);
    cr_assert_eq(atomic_load(&scene.drops), incumbent != NULL);
    scene_over(&scene);
    return r == -ETIMEDOUT ? 0 : r;
}

WORKER_TEST(map_faults, run_wait_without_memory_starts_nothing)
{
    cr_assert_gt(sweep(share_one, NULL), 0);
    cr_assert_eq(sweep(share_one, number(1)), 0, "joining needs no memory");
}

/* So many keys that tables grow: at each -ENOMEM the map is as it was, and the same run works at once. */
static int fill(void *arg)
{
    enum { KEYS = 400 };
    struct scene scene = scene_with(false, false);
    uint64_t key;
    int result = 0;

    armed(true);
    for (key = 0; key < KEYS && result == 0; key++)
        result = run_in(&scene, fm_key_bytes(&key, sizeof key), NULL);
    armed(false);
    key -= result < 0;
    cr_assert_eq(fm_map_size(scene.map), key);
    for (; key < KEYS; key++)
        cr_assert_eq(run_in(&scene, fm_key_bytes(&key, sizeof key), NULL), 0);
    for (key = 0; key < KEYS; key++)
        cr_assert(fm_map_has(scene.map, fm_key_bytes(&key, sizeof key)), "key %d is lost",
                  (int)key);
    cr_assert_eq(fm_map_clear(scene.map, FM_NEVER), 0);
    cr_assert_eq(atomic_load(&scene.runs) + atomic_load(&scene.drops), KEYS);
    scene_over(&scene);
    return result;
}

WORKER_TEST(map_faults, a_table_that_cannot_grow_loses_nobody)
{
    cr_assert_gt(sweep(fill, NULL), 0);
}

/* run has returned 0, and then there is no stack: the fiber ends without having run. */
static unsigned run_without_a_stack(const struct fm_restart *restart)
{
    unsigned failed = 0;
    for (uint64_t n = 1; n < 8; n++) {
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            struct scene scene = scene_with(false, false);
            struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
            struct fm_fiber *fiber;
            struct fm_exit exit;
            options.arg_drop = dropped;
            options.restart = restart;
            options.stack_bytes = 1 << 20; /* a class of its own, so none is pooled at first */
            cr_assert_eq(fm_map_run(scene.map, scene.key, run_and_park, &scene, &options,
                                    &fiber),
                         0);
            fm__fault_set(FAULT_MAP, n, for_ever);
            settle();
            fm__fault_set(FAULT_MAP, 0, false);
            if (fm_fiber_poll(fiber, &exit) == 0) {
                failed++;
                cr_assert_eq(exit.kind, FM_FAILURE);
                cr_assert_eq(exit.code, -ENOMEM);
                cr_assert_eq(atomic_load(&scene.drops), 1);
                cr_assert_eq(atomic_load(&scene.runs), 0);
                cr_assert_not(fm_map_has(scene.map, scene.key));
                cr_assert_eq(fm_map_join(scene.map, FM_NEVER, &exit), 0);
                cr_assert_eq(exit.code, -ENOMEM, "it is a failure like any other");
            } else {
                cr_assert_eq(atomic_load(&scene.runs), 1);
            }
            fm_fiber_unref(fiber);
            scene_over(&scene);
        }
    }
    return failed;
}

WORKER_TEST(map_faults, a_fiber_without_a_stack_fails_and_leaves)
{
    cr_assert_gt(run_without_a_stack(NULL), 0);
}

WORKER_TEST(map_faults, a_body_that_never_had_a_stack_is_not_run_again)
{
    struct fm_restart restart = FM_RESTART_INIT;
    restart.type = FM_PERMANENT;
    cr_assert_gt(run_without_a_stack(&restart), 0);
}

/* What waits without a stack fails, and leaves the line to the next. */
TIMED_WORKER_TEST(map_faults, a_fiber_that_is_to_wait_and_has_no_stack_leaves_its_turn)
{
    for (uint32_t kind = FM_REPLACE_AWAIT; kind <= FM_QUEUE; kind += 2) {
        atomic_bool go = false;
        struct scene scene = scene_with(false, false);
        struct fm_map_run_options options = conflict(kind);
        struct fm_fiber *fiber;
        scene.conflict = kind;
        cr_assert_eq(fm_map_run(scene.map, scene.key, stubborn, &go, NULL, &scene.old), 0);
        settle();
        options.arg_drop = dropped;
        options.stack_bytes = 1 << 20; /* a class of its own, so none is pooled */
        fm__fault_set(FAULT_MAP, 1, true);
        cr_assert_gt(fm_map_run(scene.map, scene.key, run_and_park, &scene, &options, &fiber),
                     0);
        settle();
        fm__fault_set(FAULT_MAP, 0, false);
        cr_assert_eq(finish(fiber).code, -ENOMEM);
        cr_assert_eq(atomic_load(&scene.drops), 1);
        cr_assert_geq(run_in(&scene, scene.key, &fiber), 0);
        settle();
        cr_assert_eq(atomic_load(&scene.runs), 0, "the old one has not ended");
        atomic_store(&go, true);
        finish(fm_fiber_ref(scene.old));
        while (!atomic_load(&scene.runs))
            fm_yield();
        fm_fiber_unref(fiber);
        scene_over(&scene);
    }
}

/* ---- setting, looking at all, ending ---- */

static int set_one(void *arg)
{
    struct scene scene = scene_with(true, true);
    struct fm_fiber *fiber;
    cr_assert_eq(fm_fiber_spawn(until_interrupted, NULL, NULL, &fiber), 0);
    settle();
    armed(true);
    int r = fm_map_set(scene.map, scene.key, fiber, NULL);
    armed(false);
    if (r < 0) {
        old_is_untouched(&scene);
        cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN, "nobody has interrupted it");
        cr_assert_eq(fm_map_set(scene.map, scene.key, fiber, NULL), FM_MAP_REPLACED);
    }
    cr_assert_eq(finish(fm_fiber_ref(scene.old)).reason, FM_BY_REPLACE);
    cr_assert_eq(fm_map_remove(scene.map, scene.key, FM_NEVER), 0);
    cr_assert_eq(finish(fiber).reason, FM_BY_REMOVE);
    scene_over(&scene);
    return r;
}

static int snapshot_one(void *flags)
{
    struct scene scene = scene_with(true, true);
    struct fm_snapshot *snapshot = NULL;
    armed(true);
    int r = fm_map_snapshot(scene.map, (uint32_t)(intptr_t)flags, &snapshot);
    armed(false);
    cr_assert_eq(fm_snapshot_count(snapshot), r == 0 ? 1 : 0);
    fm_snapshot_free(snapshot);
    old_is_untouched(&scene);
    scene_over(&scene);
    return r;
}

static bool match_all(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    return true;
}

static int clear_all(void *matching)
{
    struct scene scene = scene_with(true, true);
    armed(true);
    int r = matching ? fm_map_clear_matching(scene.map, match_all, NULL, FM_NEVER)
                     : fm_map_clear(scene.map, FM_NEVER);
    armed(false);
    if (r < 0) {
        old_is_untouched(&scene);
        cr_assert_eq(fm_map_clear(scene.map, FM_NEVER), 0);
    }
    cr_assert_eq(finish(fm_fiber_ref(scene.old)).reason, FM_BY_CLEAR);
    scene_over(&scene);
    return r;
}

static int each_one(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    return 0;
}

static int each_of_all(void *arg)
{
    struct scene scene = scene_with(true, true);
    armed(true);
    int r = fm_map_each(scene.map, each_one, NULL);
    armed(false);
    old_is_untouched(&scene);
    scene_over(&scene);
    return r;
}

static struct fm_exit fail_when_interrupted(void *arg)
{
    fm_never();
    return fm_fail(-EIO);
}

static int close_one(void *arg)
{
    struct scene scene = scene_with(true, true);
    struct fm_close_report report;
    run(scene.map, "fails", fail_when_interrupted, NULL);
    struct fm_fiber *failing;
    cr_assert_eq(fm_map_get(scene.map, KEY("fails"), &failing), 0);
    settle();
    armed(true);
    int r = fm_map_close(scene.map, NULL, &report);
    armed(false);
    cr_assert_eq(r, 0, "closing needs no memory");
    cr_assert_eq(report.awaited, 2);
    cr_assert_eq(report.failed, 1);
    cr_assert_leq(report.failure_count, 1);
    fm_close_report_fini(&report);
    cr_assert_eq(finish(fm_fiber_ref(scene.old)).reason, FM_BY_CLOSE);
    cr_assert_eq(fm_fiber_poll(failing, NULL), 0);
    fm_fiber_unref(failing);
    scene_over(&scene);
    return r;
}

WORKER_TEST(map_faults, set_snapshot_clear_and_close_without_memory_are_clean)
{
    cr_assert_gt(sweep(set_one, NULL), 0);
    cr_assert_gt(sweep(snapshot_one, number(0)), 0);
    cr_assert_gt(sweep(snapshot_one, number(FM_SNAPSHOT_CONSISTENT | FM_SNAPSHOT_ZOMBIES)), 0);
    cr_assert_gt(sweep(clear_all, NULL), 0);
    cr_assert_gt(sweep(clear_all, number(1)), 0);
    cr_assert_gt(sweep(each_of_all, NULL), 0);
    sweep(close_one, NULL);
}

/* ---- promises ---- */

static int promise_one(void *held)
{
    struct fm_map_run_options options = conflict(FM_KEEP);
    struct fm_promise *promise = NULL;
    struct fm_runner *runner;
    struct fm_exit exit;

    cr_assert_eq(fm_runner_create(NULL, NULL, &runner), 0);
    if (held)
        cr_assert_eq(fm_runner_run(runner, KEY("key"), until_interrupted, NULL, NULL, NULL), 0);
    settle();
    armed(true);
    int r = fm_runner_promise(runner, KEY("key"), until_interrupted, NULL, &options, &promise);
    armed(false);
    cr_assert_eq(r >= 0, promise != NULL);
    cr_assert_eq(fm_map_size(fm_runner_map(runner)), held || r >= 0 ? 1 : 0);
    if (r < 0)
        cr_assert_geq(fm_runner_promise(runner, KEY("key"), until_interrupted, NULL, &options,
                                        &promise),
                      0);
    fm_map_remove(fm_runner_map(runner), KEY("key"), FM_NEVER);
    cr_assert_eq(fm_promise_await(promise, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_INTERRUPTED);
    fm_promise_unref(promise);
    fm_runner_destroy(runner);
    return r;
}

WORKER_TEST(map_faults, a_promise_without_memory_is_none)
{
    cr_assert_gt(sweep(promise_one, NULL), 0);
    cr_assert_gt(sweep(promise_one, number(1)), 0);
}
