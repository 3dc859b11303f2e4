/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_test.h - what the tests of fibermap share
 *
 * Tests run in the main fiber of a runtime, most with one worker: then a fiber runs until it waits, and once settle() has let
 * the others run, whoever was on his way to a wait is in it.
 */
#ifndef TESTS_FIBERMAP_MAP_TEST_H
#define TESTS_FIBERMAP_MAP_TEST_H

#include <errno.h>
#include <fm/fm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/support/passing.h"
#include "tests/support/test.h"

#define KEY(text) fm_key_str(text)

/* For workers: one, and time stands still until it is advanced; one, and time passes by itself. */
enum { VIRTUAL_CLOCK = 0, PASSING_CLOCK = 1000 };

/* Run body(arg) as the main fiber of a runtime with so many workers; it must end with success. */
static inline void in_runtime(uint32_t workers, fm_entry_fn *body, void *arg)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct passing passing;
    struct fm_exit exit;
    bool is_virtual = workers == VIRTUAL_CLOCK || workers == PASSING_CLOCK;

    config.worker_count = is_virtual ? 1 : workers;
    config.clock = is_virtual ? FM_CLOCK_VIRTUAL : FM_CLOCK_REAL;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    if (workers == PASSING_CLOCK)
        passing_start(&passing, runtime);
    cr_assert_eq(fm_runtime_run(runtime, body, arg, &exit), 0);
    if (workers == PASSING_CLOCK)
        passing_stop(&passing);
    cr_assert_eq(exit.kind, FM_SUCCESS, "the main fiber ended with %s, code %d",
                 fm_exit_kind_name(exit.kind), exit.code);
    fm_runtime_destroy(runtime);
}

/* A test whose body is a fiber: MAP_TEST(suite, promise, workers) { ... } */
#define MAP_TEST(suite, promise, workers) \
    static void body_##suite##_##promise(void); \
    static struct fm_exit fiber_##suite##_##promise(void *arg) \
    { \
        body_##suite##_##promise(); \
        return fm_ok(NULL); \
    } \
    TEST(suite, promise) \
    { \
        in_runtime(workers, fiber_##suite##_##promise, NULL); \
    } \
    static void body_##suite##_##promise(void)

static inline void settle(void)
{
    for (int i = 0; i < 40; i++)
        fm_yield();
}

static inline struct fm_map *make_map(void)
{
    struct fm_map *map;
    cr_assert_eq(fm_map_create(NULL, &map), 0);
    return map;
}

/* ---- bodies ---- */

static inline struct fm_exit park(void *arg)
{
    return fm_fail(fm_never());
}

static inline struct fm_exit give(void *arg)
{
    return fm_ok(arg);
}

static inline struct fm_exit fail_with(void *arg)
{
    return fm_fail((int)(intptr_t)arg);
}

/* Does not listen to interruptions until *arg is true, and looks at that again and again. */
static inline struct fm_exit stubborn(void *arg)
{
    atomic_bool *go = arg;
    fm_mask();
    while (!atomic_load(go))
        fm_sleep_ms(1);
    fm_unmask();
    return fm_fail(fm_check());
}

static inline void *number(intptr_t n)
{
    return (void *)n;
}

/* ---- short forms ---- */

static inline struct fm_map_run_options conflict(uint32_t kind)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = kind;
    return options;
}

static inline struct fm_map_run_options flags(uint32_t bits)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.flags = bits;
    return options;
}

/* Run under a key that is free, or is replaced: the new fiber. */
static inline struct fm_fiber *run(struct fm_map *map, const char *key, fm_entry_fn *entry,
                                   void *arg)
{
    struct fm_fiber *fiber;
    cr_assert_geq(fm_map_run(map, KEY(key), entry, arg, NULL, &fiber), 0);
    return fiber;
}

/* The id of the fiber under the key, 0 if there is none. */
static inline uint64_t under(struct fm_map *map, const char *key)
{
    struct fm_fiber *fiber;
    if (fm_map_get(map, KEY(key), &fiber) < 0)
        return 0;
    uint64_t id = fm_fiber_id(fiber);
    fm_fiber_unref(fiber);
    return id;
}

/* Wait for its end, drop the reference, hand on its exit. */
static inline struct fm_exit finish(struct fm_fiber *fiber)
{
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
    fm_fiber_unref(fiber);
    return exit;
}

#endif
