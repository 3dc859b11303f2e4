/* SPDX-License-Identifier: Apache-2.0 */
/* test_latch.c - latches and wait groups: nobody goes on too early, nobody is left behind */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

static struct fm_latch *make_latch(int64_t count)
{
    struct fm_latch *latch;
    cr_assert_eq(fm_latch_create(count, &latch), 0);
    return latch;
}

static struct fm_waitgroup *make_group(void)
{
    struct fm_waitgroup *group;
    cr_assert_eq(fm_waitgroup_create(&group), 0);
    return group;
}

static struct fm_exit wait_latch(void *arg)
{
    int r = fm_latch_wait(arg, FM_NEVER);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit wait_group(void *arg)
{
    int r = fm_waitgroup_wait(arg, FM_NEVER);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static void *latch_thread(void *arg)
{
    return number(fm_latch_wait(arg, FM_NEVER));
}

/* T208: of a token, which is a latch of one: each waiter goes once, who is late goes at once. */
WORKER_TEST(latch, opens_for_all_when_the_count_is_down_and_stays_open)
{
    struct fm_latch *latch = make_latch(5);
    struct fm_fiber *fibers[3];
    pthread_t thread;
    void *result;
    struct fm_exit exit;
    for (int i = 0; i < 3; i++)
        fibers[i] = start(wait_latch, latch);
    cr_assert_eq(pthread_create(&thread, NULL, latch_thread, latch), 0);
    settle();
    cr_assert_eq(fm_latch_wait(latch, 0), -ETIMEDOUT);
    cr_assert_eq(fm_latch_count_down(latch, 4), 0);
    settle();
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_fiber_poll(fibers[i], &exit), -EAGAIN);
    cr_assert_eq(fm_latch_count_down(latch, 2), -EINVAL, "more than is left");
    cr_assert_eq(fm_latch_count(latch), 1);
    cr_assert_eq(fm_latch_count_down(latch, 1), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    pthread_join(thread, &result);
    cr_assert_eq(result, number(0));
    cr_assert_eq(fm_latch_wait(latch, FM_NEVER), 0, "it stays open");
    cr_assert_eq(fm_latch_wait(latch, 0), 0);
    cr_assert_eq(fm_latch_count_down(latch, 1), -EINVAL);
    cr_assert_eq(fm_latch_count_down(latch, 0), 0);
    fm_latch_destroy(latch);
}

static struct fm_exit leave_body(void *arg)
{
    struct fm_latch *latch = make_latch(1);
    struct fm_fiber *gone = start(wait_latch, latch);
    struct fm_fiber *stays = start(wait_latch, latch);
    settle();
    fm_fiber_interrupt(gone);
    cr_assert_eq(fm_latch_wait(latch, fm_after_ms(1)), -ETIMEDOUT);
    cr_assert_eq(finish(gone).kind, FM_INTERRUPTED);
    cr_assert_eq(fm_latch_count_down(latch, 1), 0);
    cr_assert_eq(finish(stays).kind, FM_SUCCESS);
    fm_latch_destroy(latch);
    return fm_ok(NULL);
}

TEST(latch, who_leaves_early_leaves_no_trace)
{
    run_in_fibers(leave_body, 1, PASSING_CLOCK);
    run_in_fibers(leave_body, 2, PASSING_CLOCK);
}

WORKER_TEST(waitgroup, can_be_used_again_and_keeps_nobody_who_saw_zero)
{
    struct fm_waitgroup *group = make_group();
    struct fm_exit exit;
    cr_assert_eq(fm_waitgroup_wait(group, 0), 0, "nothing is under way");
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(fm_waitgroup_add(group, 2), 0);
        struct fm_fiber *fiber = start(wait_group, group);
        settle();
        cr_assert_eq(fm_waitgroup_done(group), 0);
        settle();
        cr_assert_eq(fm_fiber_poll(fiber, &exit), -EAGAIN);
        cr_assert_eq(fm_waitgroup_done(group), 0);
        cr_assert_eq(fm_waitgroup_add(group, 1), 0, "rises again before the waiter has run");
        cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
        cr_assert_eq(fm_waitgroup_wait(group, 0), -ETIMEDOUT);
        cr_assert_eq(fm_waitgroup_done(group), 0);
    }
    cr_assert_eq(fm_waitgroup_wait(group, FM_NEVER), 0);
    fm_waitgroup_destroy(group);
}

TEST(waitgroup, neither_falls_below_zero_nor_overflows)
{
    const int64_t most = INT64_C(1) << 60;
    struct fm_waitgroup *group = make_group();
    cr_assert_eq(fm_waitgroup_done(group), -EINVAL);
    cr_assert_eq(fm_waitgroup_add(group, 3), 0);
    cr_assert_eq(fm_waitgroup_add(group, -4), -EINVAL);
    cr_assert_eq(fm_waitgroup_add(group, INT64_MIN), -EINVAL);
    cr_assert_eq(fm_waitgroup_add(group, INT64_MAX), -EOVERFLOW);
    cr_assert_eq(fm_waitgroup_add(group, most - 2), -EOVERFLOW);
    cr_assert_eq(fm_waitgroup_count(group), 3, "nothing changed");
    cr_assert_eq(fm_waitgroup_add(group, most - 3), 0);
    cr_assert_eq(fm_waitgroup_add(group, 1), -EOVERFLOW);
    cr_assert_eq(fm_waitgroup_add(group, -most), 0);
    cr_assert_eq(fm_waitgroup_wait(group, 0), 0);
    fm_waitgroup_destroy(group);
}

/* Whoever comes through may destroy it, while the last count-down is still returning. */
static struct fm_exit count_down_it(void *arg)
{
    cr_assert_eq(fm_latch_count_down(arg, 1), 0);
    return fm_ok(NULL);
}

static void *count_down_thread(void *arg)
{
    count_down_it(arg);
    return NULL;
}

static struct fm_exit destroy_body(void *arg)
{
    for (int i = 0; i < 300; i++) {
        struct fm_latch *latch = make_latch(3);
        struct fm_fiber *fibers[2] = { start(count_down_it, latch),
                                       start(count_down_it, latch) };
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, count_down_thread, latch), 0);
        cr_assert_eq(fm_latch_wait(latch, FM_NEVER), 0);
        fm_latch_destroy(latch);
        finish(fibers[0]);
        finish(fibers[1]);
        pthread_join(thread, NULL);
    }
    return fm_ok(NULL);
}

TEST_WITH(latch, may_be_destroyed_by_who_comes_through, .timeout = 60)
{
    run_in_fibers(destroy_body, 2, FM_CLOCK_REAL);
}

/* Work that spawns work, counted from fibers and threads; the waiters see what it did. */
struct work {
    struct fm_waitgroup *group;
    long done[64];
    _Atomic int next;
};

static struct fm_exit work_it(void *arg)
{
    struct work *work = arg;
    /* detached: it outlives who started it */
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.flags = FM_SPAWN_DETACHED;
    int me = atomic_fetch_add(&work->next, 1);
    if (me < 32) {
        cr_assert_eq(fm_waitgroup_add(work->group, 1), 0);
        cr_assert_eq(fm_fiber_spawn(work_it, work, &options, NULL), 0);
    }
    if (fm_fiber_self())
        fm_yield();
    work->done[me] = me + 1;
    cr_assert_eq(fm_waitgroup_done(work->group), 0);
    return fm_ok(NULL);
}

static struct fm_exit work_body(void *arg)
{
    for (int round = 0; round < 200; round++) {
        struct work work = { .group = make_group() };
        struct fm_fiber *waiter;
        cr_assert_eq(fm_waitgroup_add(work.group, 2), 0);
        waiter = start(wait_group, work.group);
        cr_assert_eq(fm_fiber_spawn(work_it, &work, NULL, NULL), 0);
        cr_assert_eq(fm_fiber_spawn(work_it, &work, NULL, NULL), 0);
        cr_assert_eq(fm_waitgroup_wait(work.group, FM_NEVER), 0);
        for (int i = 0; i < work.next; i++)
            cr_assert_eq(work.done[i], i + 1);
        cr_assert_eq(finish(waiter).kind, FM_SUCCESS);
        fm_waitgroup_destroy(work.group);
    }
    return fm_ok(NULL);
}

TEST_WITH(waitgroup, waiters_see_all_that_was_done, .timeout = 60)
{
    run_in_fibers(work_body, 2, FM_CLOCK_REAL);
}

TEST(latch, wrong_arguments_and_no_memory_are_refused)
{
    struct fm_latch *latch = NULL;
    struct fm_waitgroup *group = NULL;
    cr_assert_eq(fm_latch_create(1, NULL), -EINVAL);
    cr_assert_eq(fm_latch_create(-1, &latch), -EINVAL);
    cr_assert_eq(fm_latch_create(INT64_MAX, &latch), -EINVAL);
    cr_assert_eq(fm_latch_count_down(NULL, 1), -EINVAL);
    cr_assert_eq(fm_latch_wait(NULL, 0), -EINVAL);
    cr_assert_eq(fm_latch_count(NULL), -EINVAL);
    cr_assert_null(fm_latch_destroy(NULL));
    cr_assert_eq(fm_waitgroup_create(NULL), -EINVAL);
    cr_assert_eq(fm_waitgroup_add(NULL, 1), -EINVAL);
    cr_assert_eq(fm_waitgroup_done(NULL), -EINVAL);
    cr_assert_eq(fm_waitgroup_wait(NULL, 0), -EINVAL);
    cr_assert_eq(fm_waitgroup_count(NULL), -EINVAL);
    cr_assert_null(fm_waitgroup_destroy(NULL));
    fm__fault_set(FAULT_MALLOC, 1, true);
    cr_assert_eq(fm_latch_create(1, &latch), -ENOMEM);
    cr_assert_eq(fm_waitgroup_create(&group), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    latch = make_latch(0);
    cr_assert_eq(fm_latch_count_down(latch, -1), -EINVAL);
    cr_assert_eq(fm_latch_wait(latch, 0), 0, "open from the start");
    fm_latch_destroy(latch);
}
