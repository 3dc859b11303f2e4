/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_bounds.c - counts that would leave their bounds while somebody waits, options of a later
 * version, and waits of more than a batch
 */
#include <errno.h>
#include <stdatomic.h>

#include "tests/support/fibers.h"
#include "tests/support/waits.h"

/* ---- counts ---- */

static struct fm_exit acquire_five(void *semaphore)
{
    return fm_fail(fm_semaphore_acquire(semaphore, 5, FM_NEVER));
}

FIBER_TEST(sync_bounds, permits_beyond_all_bounds_are_refused_beside_a_waiter_too)
{
    const int64_t most = INT64_MAX >> 3;
    struct fm_semaphore *semaphore;
    cr_assert_eq(fm_semaphore_create(3, &semaphore), 0);
    cr_assert_eq(fm_semaphore_release(semaphore, most - 2), -EOVERFLOW);
    cr_assert_eq(fm_semaphore_resize(semaphore, -1), -EINVAL);
    cr_assert_eq(fm_semaphore_resize(semaphore, most + 1), -EINVAL);
    cr_assert_eq(fm_semaphore_resize(NULL, 1), -EINVAL);
    struct fm_fiber *waiter = start(acquire_five, semaphore);
    await_wait(waiter);
    cr_assert_eq(fm_semaphore_release(semaphore, most - 2), -EOVERFLOW);
    cr_assert_eq(fm_semaphore_free(semaphore), 3, "as before");
    cr_assert_eq(fm_semaphore_release(semaphore, 2), 0);
    cr_assert_eq(finish(waiter).code, 0);
    fm_semaphore_destroy(semaphore);
}

static struct fm_exit await_group(void *waitgroup)
{
    return fm_fail(fm_waitgroup_wait(waitgroup, FM_NEVER));
}

FIBER_TEST(sync_bounds, less_than_no_work_is_refused_beside_a_waiter_too)
{
    struct fm_waitgroup *waitgroup;
    cr_assert_eq(fm_waitgroup_create(&waitgroup), 0);
    cr_assert_eq(fm_waitgroup_add(waitgroup, 0), 0);
    cr_assert_eq(fm_waitgroup_add(waitgroup, -1), -EINVAL);
    cr_assert_eq(fm_waitgroup_add(waitgroup, 2), 0);
    cr_assert_eq(fm_waitgroup_add(waitgroup, INT64_MAX), -EOVERFLOW);
    struct fm_fiber *waiter = start(await_group, waitgroup);
    await_wait(waiter);
    cr_assert_eq(fm_waitgroup_add(waitgroup, -5), -EINVAL);
    cr_assert_eq(fm_waitgroup_add(waitgroup, INT64_MIN), -EINVAL);
    cr_assert_eq(fm_waitgroup_add(waitgroup, INT64_MAX), -EOVERFLOW);
    cr_assert_eq(fm_waitgroup_count(waitgroup), 2);
    cr_assert_eq(fm_waitgroup_add(waitgroup, -2), 0);
    cr_assert_eq(finish(waiter).code, 0);
    fm_waitgroup_destroy(waitgroup);
}

/* ---- options ---- */

TEST(sync_bounds, options_of_a_later_version_are_e2big)
{
    struct {
        struct fm_pubsub_config config;
        uint64_t tail;
    } pubsub_config = { { .size = sizeof pubsub_config }, 1 };
    struct {
        struct fm_subscribe_options options;
        uint64_t tail;
    } subscribe_options = { { .size = sizeof subscribe_options }, 1 };
    struct {
        struct fm_rate_limiter_config config;
        uint64_t tail;
    } limiter_config = { { .size = sizeof limiter_config, .limit = 1, .interval_ns = 1 }, 1 };
    struct {
        struct fm_trace_options options;
        uint64_t tail;
    } trace_options = { { .size = sizeof trace_options }, 1 };
    struct fm_pubsub *pubsub;
    struct fm_subscriber *subscriber;
    struct fm_rate_limiter *limiter;
    struct fm_runtime *runtime = runtime_with(1);

    cr_assert_eq(fm_pubsub_create(&pubsub_config.config, &pubsub), -E2BIG);
    pubsub_config.tail = 0;
    cr_assert_eq(fm_pubsub_create(&pubsub_config.config, &pubsub), 0);
    cr_assert_eq(fm_pubsub_subscribe(pubsub, &subscribe_options.options, &subscriber), -E2BIG);
    fm_pubsub_destroy(pubsub);
    cr_assert_eq(fm_rate_limiter_create(&limiter_config.config, &limiter), -E2BIG);
    cr_assert_eq(fm_trace_start(runtime, &trace_options.options), -E2BIG);
    fm_runtime_destroy(runtime);
}

/* ---- whose clock ---- */

TEST(sync_bounds, a_limiter_made_by_a_thread_follows_the_runtime_that_it_is_given)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_rate_limiter_config wanted = FM_RATE_LIMITER_CONFIG_INIT;
    struct fm_rate_limiter *limiter;
    struct fm_runtime *runtime;
    int64_t next = -1;
    config.worker_count = 1;
    config.clock = FM_CLOCK_VIRTUAL;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    wanted.limit = 1;
    wanted.interval_ns = 1000000;
    wanted.runtime = runtime;
    cr_assert_eq(fm_rate_limiter_create(&wanted, &limiter), 0);
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), 0);
    cr_assert_lt(fm_rate_limiter_try_acquire(limiter, 1), 0, "the clock stands");
    /* from a thread, whom no worker sees go idle */
    cr_assert_eq(fm_clock_set_ns(runtime, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_clock_next_ns(runtime, &next), 0);
    cr_assert_eq(next, FM_NEVER);
    cr_assert_eq(fm_clock_next_ns(runtime, NULL), 0);
    cr_assert_eq(fm_clock_advance_ns(runtime, 1000000), 0);
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), 0);
    fm_rate_limiter_destroy(limiter);

    struct fm_runtime *real = runtime_with(1);
    wanted.runtime = real;
    wanted.interval_ns = INT64_C(3600000000000);
    cr_assert_eq(fm_rate_limiter_create(&wanted, &limiter), 0);
    fm_runtime_destroy(real); /* its clock is everybody's */
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), 0);
    cr_assert_lt(fm_rate_limiter_try_acquire(limiter, 1), 0);
    fm_rate_limiter_destroy(limiter);
    fm_runtime_destroy(runtime);
}

static struct fm_exit advance_when_interrupted(void *arg)
{
    (void)arg;
    fm_fiber_interrupt(fm_fiber_self());
    return fm_fail(fm_clock_advance_ns(fm_runtime_current(), 5));
}

VIRTUAL_TEST(sync_bounds, who_was_interrupted_moves_no_clock)
{
    int64_t before = fm_now_ns();
    expect_interruption(finish(start(advance_when_interrupted, NULL)), FM_BY_USER);
    cr_assert_eq(fm_now_ns(), before);
}

/* ---- more than a batch ---- */

enum { MANY = 100 };

static struct fm_exit be_ready_when_let(void *event)
{
    fm_deferred_await(event, FM_NEVER, NULL);
    fm_ready();
    return fm_fail(fm_never());
}

static struct fm_exit await_ready(void *fiber)
{
    return fm_fail(fm_fiber_await_ready(fiber, FM_NEVER));
}

FIBER_TEST(sync_bounds, a_hundred_who_await_readiness_are_all_woken)
{
    struct fm_deferred *event;
    struct fm_fiber *waiters[MANY];
    cr_assert_eq(fm_deferred_create(&event), 0);
    struct fm_fiber *fiber = start(be_ready_when_let, event);
    for (int i = 0; i < MANY; i++)
        waiters[i] = start(await_ready, fiber);
    for (int i = 0; i < MANY; i++)
        await_wait(waiters[i]);
    cr_assert_eq(fm_fiber_await_ready(fiber, 0), -ETIMEDOUT);
    cr_assert_eq(fm_deferred_succeed(event, NULL), 0);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(finish(waiters[i]).code, 0);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    fm_fiber_unref(fiber);
    fm_deferred_destroy(event);
}
