/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fibers.h - a unit test whose body is a fiber
 *
 *     FIBER_TEST(fiber, join_returns_the_exit)     { ... }      two workers, no waiting for time
 *     VIRTUAL_TEST(map, await_empty_...)            { ... }      the virtual clock, moved by the body
 *     TIMED_TEST(map, close_has_a_deadline)         { ... }      the virtual clock, passing by itself
 *     WORKER_TEST(sched, order_is_...)              { ... }      one worker, no waiting for time
 *     REAL_TIME_TEST(sched, timers_of_...)          { ... }      two workers, the real clock, and why
 *     EXACT_TEST(flow, at_each_millisecond_...)     { ... }      one worker, the virtual clock
 *     TIMED_WORKER_TEST(...)                                     one worker, the clock passing
 *
 * After the body the runtime is shut down and must have no fiber left.
 */
#ifndef TESTS_SUPPORT_FIBERS_H
#define TESTS_SUPPORT_FIBERS_H

#include "fm/fm.h"
#include "tests/support/passing.h"
#include "tests/support/test.h"

/* More clocks: the real one, to test real time itself; the virtual one, passing by itself. */
enum { REAL_TIME = FM_CLOCK_REAL + 16, PASSING_CLOCK = FM_CLOCK_VIRTUAL + 16 };

static inline void run_in_fibers(fm_entry_fn *body, uint32_t workers, uint32_t clock)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_runtime_stats stats;
    struct passing passing;
    struct fm_exit exit;

    config.worker_count = workers;
    config.clock = clock % 16;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    if (clock == PASSING_CLOCK)
        passing_start(&passing, runtime);
    cr_assert_eq(fm_runtime_run(runtime, body, NULL, &exit), 0);
    if (clock == PASSING_CLOCK)
        passing_stop(&passing);
    cr_assert_eq(exit.kind, FM_SUCCESS, "the body ended as %s", fm_exit_kind_name(exit.kind));
    cr_assert_eq(fm_runtime_shutdown(runtime, FM_NEVER), 0);
    cr_assert_eq(fm_runtime_stats(runtime, &stats), 0);
    cr_assert_eq(stats.fibers_live, 0);
    cr_assert_eq(stats.timers_armed, 0);
    if (clock == FM_CLOCK_REAL)
        cr_assert_eq(stats.timers_fired, 0, "it waited in real time and is no REAL_TIME_TEST");
    fm_runtime_destroy(runtime);
}

#define FIBER_TEST_ON(suite, promise, workers, clock)                                          \
    static void body_##suite##_##promise(void);                                                \
    static struct fm_exit entry_##suite##_##promise(void *arg)                                 \
    {                                                                                          \
        (void)arg;                                                                             \
        body_##suite##_##promise();                                                            \
        return fm_ok(NULL);                                                                    \
    }                                                                                          \
    TEST(suite, promise)                                                                       \
    {                                                                                          \
        run_in_fibers(entry_##suite##_##promise, workers, clock);                              \
    }                                                                                          \
    static void body_##suite##_##promise(void)

#define FIBER_TEST(suite, promise) FIBER_TEST_ON(suite, promise, 2, FM_CLOCK_REAL)
#define REAL_TIME_TEST(suite, promise) FIBER_TEST_ON(suite, promise, 2, REAL_TIME)
#define WORKER_TEST(suite, promise) FIBER_TEST_ON(suite, promise, 1, FM_CLOCK_REAL)
#define VIRTUAL_TEST(suite, promise) FIBER_TEST_ON(suite, promise, 2, FM_CLOCK_VIRTUAL)
#define TIMED_TEST(suite, promise) FIBER_TEST_ON(suite, promise, 2, PASSING_CLOCK)
#define TIMED_WORKER_TEST(suite, promise) FIBER_TEST_ON(suite, promise, 1, PASSING_CLOCK)
#define EXACT_TEST(suite, promise) FIBER_TEST_ON(suite, promise, 1, FM_CLOCK_VIRTUAL)

/* The virtual clock moves on; all that is due by then has happened when this returns. */
static inline void pass_ms(int64_t ms)
{
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), ms * 1000000), 0);
}

static inline int64_t now_ms(void)
{
    return fm_now_ns() / 1000000;
}

static inline bool has_ended(struct fm_fiber *fiber)
{
    return fm_fiber_poll(fiber, NULL) == 0;
}

/*
 * Let the others run. With one worker a fiber runs until it waits: whoever was on his way to a wait
 * is in it then. That makes orders exact.
 */
static inline void settle(void)
{
    for (int i = 0; i < 40; i++)
        fm_yield();
}

/* A runtime of its own, for tests whose body is no fiber. */
static inline struct fm_runtime *runtime_with(uint32_t workers)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime = NULL;
    config.worker_count = workers;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    return runtime;
}

/* Start a fiber that must start. */
static inline struct fm_fiber *start(fm_entry_fn *entry, void *arg)
{
    struct fm_fiber *fiber = NULL;
    cr_assert_eq(fm_fiber_spawn(entry, arg, NULL, &fiber), 0);
    return fiber;
}

/*
 * Its exit; the reference goes. Where the value is dropped with the fiber, look at kind and
 * code alone.
 */
static inline struct fm_exit finish(struct fm_fiber *fiber)
{
    struct fm_exit exit = {.kind = 255};
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
    fm_fiber_unref(fiber);
    return exit;
}

static inline void expect_interruption(struct fm_exit exit, int reason)
{
    cr_assert_eq(exit.kind, FM_INTERRUPTED, "%s (%d)", fm_exit_kind_name(exit.kind), exit.code);
    cr_assert_eq(exit.reason, reason, "by %s", fm_reason_name(exit.reason));
}

static inline void *number(intptr_t n)
{
    return (void *)n;
}

static inline struct fm_exit until_interrupted(void *arg)
{
    (void)arg;
    return fm_fail(fm_never());
}

static inline struct fm_exit return_arg(void *arg)
{
    return fm_ok(arg);
}

static inline struct fm_exit fail_with(void *code)
{
    return fm_fail((int)(intptr_t)code);
}

#endif
