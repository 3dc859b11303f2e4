/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_test.h - what the tests of fibermap share
 *
 * Most tests have one worker: a fiber runs until it waits, and whoever was on his way to a wait is in
 * it after settle().
 */
#ifndef TESTS_FIBERMAP_MAP_TEST_H
#define TESTS_FIBERMAP_MAP_TEST_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/support/fibers.h"

#define KEY(text) fm_key_str(text)

static inline struct fm_map *make_map(void)
{
    struct fm_map *map;
    cr_assert_eq(fm_map_create(NULL, &map), 0);
    return map;
}

/* ---- bodies ---- */

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

#endif
