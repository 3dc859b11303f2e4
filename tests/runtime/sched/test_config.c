/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config.c - which runtimes are not made, and who may end one
 */
#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>

#include "tests/support/fibers.h"
#include "tests/support/waits.h"

/* ---- what is asked for ---- */

static int create(const struct fm_runtime_config *config)
{
    struct fm_runtime *runtime = NULL;
    int r = fm_runtime_create(config, &runtime);
    fm_runtime_destroy(runtime);
    return r;
}

TEST(config, what_is_beyond_its_bound_is_einval)
{
    const struct fm_runtime_config usual = { .size = sizeof usual, .worker_count = 1 };
    struct fm_runtime_config bad[] = { usual, usual, usual, usual, usual, usual };
    bad[0].guard = FM_GUARD_CANARY + 1;
    bad[1].flags = 1u << 31;
    bad[2].max_fibers = UINT32_MAX;
    bad[3].queue_size = 1 << 17;
    bad[4].queue_size = 1;
    bad[5].queue_size = 48;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(create(&bad[i]), -EINVAL, "case %zu", i);
    cr_assert_eq(create(&usual), 0);
}

TEST(config, one_of_a_later_version_is_e2big_unless_it_asks_for_nothing_new)
{
    struct {
        struct fm_runtime_config config;
        uint64_t tail;
    } longer = { { .size = sizeof longer, .worker_count = 1 }, 1 };
    cr_assert_eq(create(&longer.config), -E2BIG);
    longer.tail = 0;
    cr_assert_eq(create(&longer.config), 0);
    longer.config.size = 3;
    cr_assert_eq(create(&longer.config), -EINVAL, "less than its size");
    longer.config.size = 0;
    cr_assert_eq(create(&longer.config), 0, "whose maker forgot its size");
}

static _Atomic int asked_for_seeds;

/* Stands in for the C library's. */
ssize_t getrandom(void *bytes, size_t size, unsigned flags)
{
    (void)bytes, (void)size, (void)flags;
    atomic_fetch_add(&asked_for_seeds, 1);
    errno = EAGAIN;
    return -1;
}

TEST(config, a_system_without_random_numbers_yet_is_no_obstacle)
{
    struct fm_exit exit;
    struct fm_runtime *runtime = runtime_with(1);
    cr_assert_geq(atomic_load(&asked_for_seeds), 1);
    cr_assert_eq(fm_runtime_run(runtime, return_arg, number(3), &exit), 0);
    cr_assert_eq(exit.value, number(3));
    fm_runtime_destroy(runtime);
}

/* ---- who may call ---- */

FIBER_TEST(config, a_fiber_runs_no_runtime_to_its_end)
{
    struct fm_runtime *mine = fm_runtime_current();
    struct fm_runtime_stats stats;
    cr_assert_eq(fm_run(return_arg, NULL, NULL), -EPERM);
    cr_assert_eq(fm_runtime_run(mine, return_arg, NULL, NULL), -EPERM);
    cr_assert_eq(fm_runtime_run(mine, NULL, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_runtime_shutdown(mine, 0), -EPERM);
    cr_assert_eq(fm_runtime_resize(mine, 257), -EINVAL);
    cr_assert_eq(fm_runtime_stats(mine, NULL), -EINVAL);
    cr_assert_eq(fm_runtime_stats(mine, &stats), 0);
}

/* ---- a fiber that ends another runtime ---- */

static struct fm_runtime *other;
static struct fm_deferred *event;

static struct fm_exit stay_masked(void *arg)
{
    fm_mask();
    return fm_fail(fm_deferred_await(event, FM_NEVER, arg));
}

static struct fm_exit shut_down_other(void *arg)
{
    (void)arg;
    return fm_fail(fm_runtime_shutdown(other, FM_NEVER));
}

static struct fm_exit destroy_other(void *arg)
{
    fm_runtime_destroy(other);
    return fm_masked() ? fm_fail(-EPROTO) : fm_ok(arg);
}

/* In real time: a shutdown looks again every few milliseconds. */
REAL_TIME_TEST(config,
               who_shuts_another_runtime_down_may_be_interrupted_but_not_who_destroys_it)
{
    struct fm_fiber *stays, *ender;
    other = runtime_with(1);
    cr_assert_eq(fm_deferred_create(&event), 0);
    cr_assert_eq(fm_runtime_spawn(other, stay_masked, NULL, NULL, &stays), 0);
    await_wait(stays);

    ender = start(shut_down_other, NULL);
    await_wait(ender);
    fm_fiber_interrupt(ender);
    expect_interruption(finish(ender), FM_BY_USER);
    cr_assert_eq(fm_runtime_spawn(other, return_arg, NULL, NULL, NULL), -ESHUTDOWN);

    ender = start(destroy_other, number(5));
    await_wait(ender);
    fm_fiber_interrupt(ender);
    settle();
    cr_assert_not(has_ended(ender));
    cr_assert_not(has_ended(stays));
    cr_assert_eq(fm_deferred_succeed(event, NULL), 0);
    cr_assert_eq(finish(ender).value, number(5));
    cr_assert_eq(fm_fiber_poll(stays, NULL), 0);
    fm_fiber_unref(stays);
    fm_deferred_destroy(event);
}
