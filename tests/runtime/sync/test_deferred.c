/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_deferred.c - the one-shot cell; T-numbers are the peers' cases that a test re-expresses
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

static struct fm_deferred *make(void)
{
    struct fm_deferred *deferred;
    cr_assert_eq(fm_deferred_create(&deferred), 0);
    return deferred;
}

static struct fm_exit await_it(void *arg)
{
    struct fm_exit exit;
    int r = fm_deferred_await(arg, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

/* T137 */
static struct fm_exit succeed_body(void *arg)
{
    struct fm_deferred *deferred = make();
    cr_assert_eq(fm_deferred_succeed(deferred, number(32)), 0);
    struct fm_exit exit = await_it(deferred);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_eq(exit.value, number(32));
    fm_deferred_destroy(deferred);
    return fm_ok(NULL);
}

TEST(deferred, succeed_is_what_await_returns)
{
    run_in_fibers(succeed_body, 1, FM_CLOCK_REAL);
    succeed_body(NULL); /* the same from a thread */
}

/*
 * T138. T139 has no counterpart: the cell holds an exit, not a computation that could run
 * again.
 */
static struct fm_exit shared_body(void *arg)
{
    struct fm_deferred *deferred = make();
    intptr_t counter = 13;
    struct fm_fiber *first = start(await_it, deferred);
    struct fm_fiber *second = start(await_it, deferred);
    settle();
    cr_assert_eq(fm_deferred_complete(deferred, fm_ok(number(++counter))), 0);
    cr_assert_eq(finish(first).value, number(14));
    cr_assert_eq(finish(second).value, number(14));
    cr_assert_eq(await_it(deferred).value, number(14), "also who comes late");
    fm_deferred_destroy(deferred);
    return fm_ok(NULL);
}

TEST(deferred, all_awaiters_get_one_result)
{
    run_in_fibers(shared_body, 1, FM_CLOCK_REAL);
    run_in_fibers(shared_body, 2, FM_CLOCK_REAL);
}

/* T141 */
WORKER_TEST(deferred, failure_interruption_and_defect_reach_the_awaiter)
{
    struct fm_deferred *failed = make(), *interrupted = make(), *defect = make();
    struct fm_fiber *awaiter = start(await_it, failed);
    settle();
    cr_assert_eq(fm_deferred_fail(failed, -7), 0);
    struct fm_exit exit = finish(awaiter);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -7);
    cr_assert_eq(fm_deferred_poll(failed, NULL), 0);

    cr_assert_eq(fm_deferred_complete(interrupted, fm_interrupted()), 0);
    cr_assert_eq(await_it(interrupted).kind, FM_INTERRUPTED);
    cr_assert_eq(fm_deferred_complete(defect, fm_defect(9)), 0);
    cr_assert_eq(await_it(defect).kind, FM_DEFECT);
    fm_deferred_destroy(failed);
    fm_deferred_destroy(interrupted);
    fm_deferred_destroy(defect);
}

/* T142 */
TEST(deferred, poll_tells_pending_from_done)
{
    static int something;
    const struct fm_exit ends[] = {
        { .kind = FM_SUCCESS, .value = &something },
        { .kind = FM_FAILURE, .code = -5 },
        { .kind = FM_INTERRUPTED, .reason = FM_BY_USER, .by = 77 },
    };
    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct fm_deferred *deferred = make();
        struct fm_exit exit = fm_defect(1234);
        cr_assert_eq(fm_deferred_poll(deferred, &exit), -EAGAIN);
        cr_assert_eq(exit.code, 1234, "written on success only");
        cr_assert_eq(fm_deferred_complete(deferred, ends[i]), 0);
        cr_assert_eq(fm_deferred_poll(deferred, &exit), 0);
        cr_assert_eq(exit.kind, ends[i].kind);
        cr_assert_eq(exit.code, ends[i].code);
        cr_assert_eq(exit.reason, ends[i].reason);
        cr_assert_eq(exit.by, ends[i].by);
        fm_deferred_destroy(deferred);
    }
}

TEST(deferred, first_completion_wins)
{
    struct fm_deferred *deferred = make();
    cr_assert_eq(fm_deferred_succeed(deferred, number(1)), 0);
    cr_assert_eq(fm_deferred_succeed(deferred, number(2)), FM_ALREADY_DONE);
    cr_assert_eq(fm_deferred_fail(deferred, -1), FM_ALREADY_DONE);
    cr_assert_eq(fm_deferred_complete(deferred, fm_interrupted()), FM_ALREADY_DONE);
    cr_assert_eq(await_it(deferred).value, number(1));
    fm_deferred_destroy(deferred);
}

static struct fm_exit deadline_body(void *arg)
{
    struct fm_deferred *deferred = make();
    struct fm_exit exit = fm_defect(1);
    cr_assert_eq(fm_deferred_await(deferred, 0, &exit), -ETIMEDOUT);
    cr_assert_eq(fm_deferred_await(deferred, -5, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_deferred_await(deferred, fm_now_ns(), NULL), -ETIMEDOUT);
    cr_assert_eq(fm_deferred_await(deferred, fm_after_ms(2), &exit), -ETIMEDOUT);
    cr_assert_eq(exit.kind, FM_DEFECT, "written on success only");
    cr_assert_eq(fm_deferred_succeed(deferred, NULL), 0, "nobody is left on the list");
    cr_assert_eq(fm_deferred_await(deferred, 0, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_deferred_destroy(deferred);
    return fm_ok(NULL);
}

TEST(deferred, deadline_ends_the_wait_and_leaves_no_trace)
{
    run_in_fibers(deadline_body, 1, PASSING_CLOCK);
    deadline_body(NULL);
}

WORKER_TEST(deferred, interrupted_awaiter_leaves_and_the_others_are_woken)
{
    /* one worker: with two an awaiter may be interrupted before it waits, and then find the value */
    struct fm_deferred *deferred = make();
    struct fm_fiber *fibers[5];
    for (int i = 0; i < 5; i++)
        fibers[i] = start(await_it, deferred);
    settle();
    /* the first, one in the middle, the last */
    for (int i = 0; i < 5; i += 2)
        cr_assert_eq(fm_fiber_interrupt(fibers[i]), 0);
    settle();
    cr_assert_eq(fm_deferred_succeed(deferred, number(3)), 0);
    for (int i = 0; i < 5; i++) {
        struct fm_exit exit = finish(fibers[i]);
        cr_assert_eq(exit.kind, i % 2 ? FM_SUCCESS : FM_INTERRUPTED);
        if (i % 2)
            cr_assert_eq(exit.value, number(3));
    }
    fm_deferred_destroy(deferred);
}

/*
 * An interruption and the completion before the awaiter runs again: the first of them decides.
 */
WORKER_TEST(deferred, completion_and_interruption_the_first_decides)
{
    for (int complete_first = 0; complete_first < 2; complete_first++) {
        struct fm_deferred *deferred = make();
        struct fm_fiber *fiber = start(await_it, deferred);
        settle();
        if (complete_first)
            fm_deferred_succeed(deferred, number(8));
        fm_fiber_interrupt(fiber);
        if (!complete_first)
            fm_deferred_succeed(deferred, number(8));
        cr_assert_eq(finish(fiber).kind, complete_first ? FM_SUCCESS : FM_INTERRUPTED);
        fm_deferred_destroy(deferred);
    }
}

enum { MANY = 200 };

static struct fm_exit many_body(void *arg)
{
    struct fm_deferred *deferred = make();
    struct fm_fiber *fibers[MANY];
    for (int i = 0; i < MANY; i++)
        fibers[i] = start(await_it, deferred);
    settle();
    cr_assert_eq(fm_deferred_succeed(deferred, number(5)), 0);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(finish(fibers[i]).value, number(5));
    fm_deferred_destroy(deferred);
    return fm_ok(NULL);
}

TEST(deferred, more_awaiters_than_one_batch_all_wake)
{
    run_in_fibers(many_body, 1, FM_CLOCK_REAL);
    run_in_fibers(many_body, 2, FM_CLOCK_REAL);
}

struct thread_waiter {
    struct fm_deferred *deferred;
    _Atomic int id;
    pthread_t thread;
};

static void *thread_await(void *arg)
{
    struct thread_waiter *waiter = arg;
    atomic_store(&waiter->id, thread_id());
    return await_it(waiter->deferred).value;
}

FIBER_TEST(deferred, fibers_and_threads_wait_side_by_side)
{
    struct fm_deferred *deferred = make();
    struct thread_waiter waiters[3];
    struct fm_fiber *fiber = start(await_it, deferred);
    for (int i = 0; i < 3; i++) {
        waiters[i] = (struct thread_waiter) { .deferred = deferred };
        cr_assert_eq(pthread_create(&waiters[i].thread, NULL, thread_await, &waiters[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        await_asleep(&waiters[i].id);
    cr_assert_eq(fm_deferred_succeed(deferred, number(6)), 0);
    cr_assert_eq(finish(fiber).value, number(6));
    for (int i = 0; i < 3; i++) {
        void *value;
        pthread_join(waiters[i].thread, &value);
        cr_assert_eq(value, number(6));
    }
    fm_deferred_destroy(deferred);
}

/* The awaiter frees the cell as soon as it wakes: the completion must be done with it. */
static struct fm_exit complete_it(void *arg)
{
    cr_assert_eq(fm_deferred_succeed(arg, NULL), 0);
    return fm_ok(NULL);
}

FIBER_TEST(deferred, awaiter_may_destroy_at_once)
{
    for (int i = 0; i < 3000; i++) {
        struct fm_deferred *deferred = make();
        struct fm_fiber *fiber = start(complete_it, deferred);
        cr_assert_eq(await_it(deferred).kind, FM_SUCCESS);
        fm_deferred_destroy(deferred);
        finish(fiber);
    }
}

TEST(deferred, wrong_arguments_and_no_memory_are_refused)
{
    struct fm_deferred *deferred = number(1);
    cr_assert_eq(fm_deferred_create(NULL), -EINVAL);
    cr_assert_eq(fm_deferred_await(NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_deferred_poll(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_deferred_succeed(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_deferred_fail(NULL, -1), -EINVAL);
    cr_assert_null(fm_deferred_destroy(NULL));
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_deferred_create(&deferred), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(deferred, number(1), "written on success only");
}
