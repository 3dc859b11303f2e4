/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_runtime_explored.c - workers that come and go, in many schedules
 */
#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "runtime/platform/sanitizer.h"
#include "tests/support/stress.h"
#include "tests/support/test.h"

enum { WORKERS_TRIED = 3, SCHEDULES = 1700, SCHEDULES_LONG = 20000, TOGETHER = 40 };
/* There one costs twenty times as much. */
enum { SANITIZED = 20, SANITIZED_LONG = 2000 };

static void explore(fm_entry_fn *test, const char *name)
{
    bool is_long = getenv("FM_LONG");
    uint64_t schedules = is_long ? SCHEDULES_LONG : SCHEDULES;
    if (FM_ASAN || FM_TSAN)
        schedules = is_long ? SANITIZED_LONG : SANITIZED;
    for (uint32_t workers = 1; workers <= WORKERS_TRIED; workers++) {
        for (uint32_t strategy = FM_EXPLORE_RANDOM; strategy <= FM_EXPLORE_PCT; strategy++) {
            struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
            struct fm_explore_options options = FM_EXPLORE_OPTIONS_INIT;
            config.worker_count = workers;
            options.config = &config;
            options.name = name;
            options.strategy = strategy;
            options.schedules = stress_fewer(schedules);
            options.together = TOGETHER;
            options.flags = FM_EXPLORE_LIGHT;
            cr_assert_eq(fm_explore(test, NULL, &options, NULL), 0, "%u workers", workers);
        }
    }
}

/* ---- resize ---- */

static _Atomic int leaves;

static struct fm_exit leaf(void *arg)
{
    fm_yield();
    atomic_fetch_add(&leaves, 1);
    return fm_ok(NULL);
}

static struct fm_exit tree(void *arg)
{
    struct fm_fiber *fibers[3];
    for (int i = 0; i < 3; i++)
        fm_fiber_spawn(leaf, NULL, NULL, &fibers[i]);
    if (fm_explore_random() % 2)
        fm_sleep_ms(1); /* a timer of a worker that may have gone when it is due */
    for (int i = 0; i < 3; i++) {
        fm_fiber_join(fibers[i], FM_NEVER, NULL);
        fm_fiber_unref(fibers[i]);
    }
    return fm_ok(NULL);
}

static void resize_often(void *runtime)
{
    for (int i = 0; i < 3; i++)
        if (fm_runtime_resize(runtime, 1 + fm_explore_random() % 3) < 0)
            abort();
}

static struct fm_exit grow_and_shrink(void *arg)
{
    struct fm_fiber *fibers[2];
    atomic_store(&leaves, 0);
    int r = fm_explore_thread(resize_often, fm_runtime_current());
    for (int i = 0; i < 2; i++)
        fm_fiber_spawn(tree, NULL, NULL, &fibers[i]);
    if (r == 0)
        r = fm_runtime_resize(fm_runtime_current(), 2);
    for (int i = 0; i < 2; i++) {
        fm_fiber_join(fibers[i], FM_NEVER, NULL);
        fm_fiber_unref(fibers[i]);
    }
    if (r < 0)
        return fm_fail(r);
    return atomic_load(&leaves) == 6 ? fm_ok(NULL) : fm_fail(-EPROTO);
}

/* F16, X20 */
TEST_WITH(runtime_explored, resize_loses_no_task_and_no_timer_in_any_schedule, .timeout = 3600)
{
    explore(grow_and_shrink, "resize");
}

/* ---- shutdown ---- */

static struct fm_exit wait_for_ever(void *arg)
{
    return fm_fail(fm_never());
}

static struct fm_exit leave_one_behind(void *arg)
{
    struct fm_spawn_options options = { .size = sizeof options, .flags = FM_SPAWN_DETACHED };
    fm_fiber_spawn(wait_for_ever, NULL, &options, NULL);
    fm_yield();
    return fm_ok(NULL);
}

/* Its runtime is shut down and destroyed while these begin, wait and spawn. */
static struct fm_exit leave_some_behind(void *arg)
{
    struct fm_spawn_options options = { .size = sizeof options, .flags = FM_SPAWN_DETACHED };
    for (int i = 0; i < 3; i++)
        fm_fiber_spawn(i % 2 ? wait_for_ever : leave_one_behind, NULL, &options, NULL);
    return fm_ok(NULL);
}

/* F21 */
TEST_WITH(runtime_explored, shutdown_ends_everybody_in_any_schedule, .timeout = 3600)
{
    explore(leave_some_behind, "shutdown");
}
