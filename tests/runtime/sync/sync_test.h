/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_test.h - what the tests of runtime/sync share
 *
 * With one worker a fiber runs until it waits: once settle() has let the others run, whoever
 * was on his way to a wait is in it. That makes the orders in these tests exact.
 */
#ifndef TESTS_RUNTIME_SYNC_SYNC_TEST_H
#define TESTS_RUNTIME_SYNC_SYNC_TEST_H

#include <errno.h>
#include <fm/fm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/test.h"

/*
 * Run body(arg) as the main fiber of a runtime with so many workers; it must end with success.
 */
static inline void in_runtime(uint32_t workers, fm_entry_fn *body, void *arg)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;

    config.worker_count = workers;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, body, arg, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS, "the main fiber ended with %s, code %d",
                 fm_exit_kind_name(exit.kind), exit.code);
    fm_runtime_destroy(runtime);
}

static inline void settle(void)
{
    for (int i = 0; i < 40; i++)
        fm_yield();
}

static inline struct fm_fiber *spawn(fm_entry_fn *entry, void *arg)
{
    struct fm_fiber *fiber;
    cr_assert_eq(fm_fiber_spawn(entry, arg, NULL, &fiber), 0);
    return fiber;
}

/* Wait for its end, drop the reference, hand on its exit. */
static inline struct fm_exit finish(struct fm_fiber *fiber)
{
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
    fm_fiber_unref(fiber);
    return exit;
}

static inline void *number(intptr_t n)
{
    return (void *)n;
}

#endif
