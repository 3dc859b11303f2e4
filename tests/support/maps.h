/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.h - what tests of the map share: bodies that tell, and runs that must succeed
 */
#ifndef TESTS_SUPPORT_MAPS_H
#define TESTS_SUPPORT_MAPS_H

#include <errno.h>
#include <stdatomic.h>

#include "tests/support/fibers.h"

static inline struct fm_map *new_map(void)
{
    struct fm_map *map = NULL;
    cr_assert_eq(fm_map_create(NULL, &map), 0);
    return map;
}

/* A body that is ready at once, waits for ever, and counts the interruption that ends it. */
static inline int count_up(void *counter, struct fm_exit exit)
{
    (void)exit;
    if (counter)
        atomic_fetch_add((_Atomic int *)counter, 1);
    return 0;
}

static inline struct fm_exit never_counting(void *counter)
{
    fm_defer_on_interrupt(count_up, counter);
    fm_ready();
    return fm_fail(fm_never());
}

/* Run under a key with options and wait until the body has started. Returns the reference. */
static inline struct fm_fiber *run_started(struct fm_map *map, const char *key,
                                           fm_entry_fn *entry, void *arg,
                                           const struct fm_map_run_options *options)
{
    struct fm_fiber *fiber = NULL;
    int r = fm_map_run(map, fm_key_str(key), entry, arg, options, &fiber);
    cr_assert(r == 0 || r == FM_MAP_REPLACED, "run of %s: %d", key, r);
    cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), 0);
    return fiber;
}

static inline void run(struct fm_map *map, const char *key, fm_entry_fn *entry, void *arg)
{
    int r = fm_map_run(map, fm_key_str(key), entry, arg, NULL, NULL);
    cr_assert(r == 0 || r == FM_MAP_REPLACED, "run of %s: %d", key, r);
}

static inline int run_if_missing(struct fm_map *map, const char *key, fm_entry_fn *entry,
                                 void *arg, struct fm_fiber **ret_fiber)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_ONLY_IF_MISSING;
    return fm_map_run(map, fm_key_str(key), entry, arg, &options, ret_fiber);
}

/* Wait until the key is free. */
static inline void await_absent(struct fm_map *map, const char *key)
{
    while (fm_map_has(map, fm_key_str(key)))
        fm_yield();
}

/* Masked for so many milliseconds (in arg), then at its end; ready at once. */
static inline struct fm_exit slow_to_end(void *ms)
{
    fm_mask();
    fm_ready();
    fm_sleep_ms((intptr_t)ms);
    fm_unmask();
    return fm_fail(fm_check());
}

/* Waits for the interruption, then takes so many milliseconds in a finalizer. */
static inline int sleep_in_finalizer(void *ms, struct fm_exit exit)
{
    (void)exit;
    fm_sleep_ms((intptr_t)ms);
    return 0;
}

static inline struct fm_exit never_with_slow_finalizer(void *ms)
{
    fm_defer(sleep_in_finalizer, ms);
    fm_ready();
    return fm_fail(fm_never());
}

static inline struct fm_exit sleep_for(void *ms)
{
    fm_ready();
    return fm_fail(fm_sleep_ms((intptr_t)ms));
}

static inline struct fm_exit sleep_then_succeed(void *ms)
{
    fm_ready();
    int r = fm_sleep_ms((intptr_t)ms);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

#endif
