/* SPDX-License-Identifier: Apache-2.0 */
/* test_semaphore.c - permits are counted exactly, whoever leaves early */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

static struct fm_semaphore *make(int64_t permits)
{
    struct fm_semaphore *semaphore;
    cr_assert_eq(fm_semaphore_create(permits, &semaphore), 0);
    return semaphore;
}

struct request {
    struct fm_semaphore *semaphore;
    int64_t n;
    int64_t deadline_ns;
    bool done;
};

static struct fm_exit acquire_it(void *arg)
{
    struct request *request = arg;
    int r = fm_semaphore_acquire(request->semaphore, request->n, request->deadline_ns);
    request->done = r == 0;
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct request want(struct fm_semaphore *semaphore, int64_t n)
{
    return (struct request) { semaphore, n, FM_NEVER, false };
}

/* T144 */
static struct fm_exit release_all_body(void *arg)
{
    struct fm_semaphore *semaphore = make(4);
    cr_assert_eq(fm_semaphore_acquire(semaphore, 4, FM_NEVER), 0);
    cr_assert_eq(fm_semaphore_free(semaphore), 0);
    cr_assert_eq(fm_semaphore_try_acquire(semaphore, 1), -EAGAIN);
    cr_assert_eq(fm_semaphore_release(semaphore, 4), 0);
    cr_assert_eq(fm_semaphore_acquire(semaphore, 1, FM_NEVER), 0);
    cr_assert_eq(fm_semaphore_free(semaphore), 3);
    cr_assert_eq(fm_semaphore_release(semaphore, 1), 0);
    fm_semaphore_destroy(semaphore);
    return fm_ok(NULL);
}

TEST(semaphore, permits_given_back_can_be_taken)
{
    run_in_fibers(release_all_body, 1, FM_CLOCK_REAL);
    release_all_body(NULL);
}

/* T222: of a limit; those of a map stand with its limits. */
WORKER_TEST(semaphore, as_many_tries_succeed_as_there_are_permits)
{
    static const int64_t limits[] = { 42, 1, 0 };
    for (int i = 0; i < 3; i++) {
        struct fm_semaphore *semaphore = make(limits[i]);
        for (int round = 0; round < 2; round++) {
            for (int64_t n = 0; n < limits[i]; n++)
                cr_assert_eq(fm_semaphore_try_acquire(semaphore, 1), 0);
            cr_assert_eq(fm_semaphore_try_acquire(semaphore, 1), -EAGAIN);
            cr_assert_eq(fm_semaphore_acquire(semaphore, 1, 0), -ETIMEDOUT);
            cr_assert_eq(fm_semaphore_release(semaphore, limits[i]), 0);
        }
        fm_semaphore_destroy(semaphore);
    }
}

/* T145 */
WORKER_TEST(semaphore, smaller_total_keeps_waiters_until_enough_came_back)
{
    struct fm_semaphore *semaphore = make(4);
    cr_assert_eq(fm_semaphore_acquire(semaphore, 4, FM_NEVER), 0);
    cr_assert_eq(fm_semaphore_resize(semaphore, 2), 0);
    cr_assert_eq(fm_semaphore_free(semaphore), -2, "four are out of two");
    struct request request = want(semaphore, 1);
    struct fm_fiber *fiber = start(acquire_it, &request);
    settle();
    cr_assert_eq(fm_semaphore_release(semaphore, 2), 0);
    settle();
    cr_assert_not(request.done, "none is free yet");
    cr_assert_eq(fm_semaphore_release(semaphore, 1), 0);
    finish(fiber);
    cr_assert(request.done);
    fm_semaphore_destroy(semaphore);
}

WORKER_TEST(semaphore, larger_total_serves_waiters)
{
    struct fm_semaphore *semaphore = make(0);
    struct request requests[3] = { want(semaphore, 2), want(semaphore, 1), want(semaphore, 4) };
    struct fm_fiber *fibers[3];
    for (int i = 0; i < 3; i++) {
        fibers[i] = start(acquire_it, &requests[i]);
        settle();
    }
    cr_assert_eq(fm_semaphore_resize(semaphore, 3), 0);
    settle();
    cr_assert(requests[0].done && requests[1].done && !requests[2].done);
    cr_assert_eq(fm_semaphore_resize(semaphore, 7), 0);
    for (int i = 0; i < 3; i++)
        finish(fibers[i]);
    cr_assert_eq(fm_semaphore_free(semaphore), 0);
    fm_semaphore_destroy(semaphore);
}

WORKER_TEST(semaphore, small_request_does_not_overtake_a_large_one)
{
    struct fm_semaphore *semaphore = make(2);
    struct request large = want(semaphore, 3), small = want(semaphore, 1);
    struct fm_fiber *first = start(acquire_it, &large);
    settle();
    struct fm_fiber *second = start(acquire_it, &small);
    settle();
    cr_assert_not(large.done);
    cr_assert_not(small.done, "two are free, and it waits behind the large one");
    cr_assert_eq(fm_semaphore_try_acquire(semaphore, 1), -EAGAIN,
                 "nor does a newcomer overtake");
    cr_assert_eq(fm_semaphore_acquire(semaphore, 1, 0), -ETIMEDOUT);
    cr_assert_eq(fm_semaphore_acquire(semaphore, 0, 0), 0, "nothing is always there");
    cr_assert_eq(fm_semaphore_release(semaphore, 1), 0);
    settle();
    cr_assert(large.done && !small.done);
    cr_assert_eq(fm_semaphore_release(semaphore, 3), 0);
    finish(first);
    finish(second);
    cr_assert_eq(fm_semaphore_free(semaphore), 2);
    fm_semaphore_destroy(semaphore);
}

static struct fm_exit head_body(void *arg)
{
    for (int by_deadline = 0; by_deadline < 2; by_deadline++) {
        struct fm_semaphore *semaphore = make(3);
        struct request large = want(semaphore, 5);
        struct request small[3] = { want(semaphore, 1), want(semaphore, 1),
                                    want(semaphore, 1) };
        struct fm_fiber *fibers[3];
        if (by_deadline)
            large.deadline_ns = fm_after_ms(20);
        struct fm_fiber *head = start(acquire_it, &large);
        settle();
        for (int i = 0; i < 3; i++) {
            fibers[i] = start(acquire_it, &small[i]);
            settle();
            cr_assert_not(small[i].done);
        }
        if (!by_deadline)
            fm_fiber_interrupt(head);
        struct fm_exit exit = finish(head);
        cr_assert_eq(exit.kind, by_deadline ? FM_FAILURE : FM_INTERRUPTED);
        for (int i = 0; i < 3; i++)
            cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
        cr_assert_eq(fm_semaphore_free(semaphore), 0);
        fm_semaphore_destroy(semaphore);
    }
    return fm_ok(NULL);
}

/* F76 */
TEST_WITH(semaphore, those_behind_go_on_when_the_head_of_the_queue_leaves, .timeout = 10)
{
    /* one worker: with two the head may come to the queue after those behind it */
    run_in_fibers(head_body, 1, PASSING_CLOCK);
}

/*
 * An interruption between the grant and the waiter's next step: the permits are the waiter's.
 */
WORKER_TEST(semaphore, grant_and_interruption_the_first_decides)
{
    struct fm_semaphore *semaphore = make(0);
    struct request request = want(semaphore, 1);
    struct fm_fiber *fiber = start(acquire_it, &request);
    settle();
    cr_assert_eq(fm_semaphore_release(semaphore, 1), 0);
    fm_fiber_interrupt(fiber);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    cr_assert_eq(fm_semaphore_free(semaphore), 0);

    request = want(semaphore, 1);
    fiber = start(acquire_it, &request);
    settle();
    fm_fiber_interrupt(fiber);
    cr_assert_eq(fm_semaphore_release(semaphore, 1), 0,
                 "on the list still, but its wait has ended");
    cr_assert_eq(finish(fiber).kind, FM_INTERRUPTED);
    cr_assert_eq(fm_semaphore_free(semaphore), 1);
    fm_semaphore_destroy(semaphore);
}

/*
 * Interrupt a fiber at each step of with. Three compete for two permits and the
 * bodies wait too, so that the steps are: not started, queued for permits, granted, in the
 * body, between the body and the release, ended.
 */
struct sweep {
    struct fm_semaphore *semaphore;
    _Atomic int inside;
};

static struct fm_exit inside(void *arg)
{
    struct sweep *sweep = arg;
    sweep->inside++;
    int r = fm_yield();
    if (r == 0)
        r = fm_yield();
    sweep->inside--;
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit with_it(void *arg)
{
    struct sweep *sweep = arg;
    struct fm_exit exit;
    for (int64_t n = 1; n <= 2; n++) {
        int r = fm_semaphore_with(sweep->semaphore, n, inside, sweep, FM_NEVER, &exit);
        if (r < 0)
            return fm_fail(r);
        if (exit.kind != FM_SUCCESS)
            return exit;
    }
    return fm_ok(NULL);
}

static struct fm_exit sweep_body(void *arg)
{
    enum { FIBERS = 3, STEPS = 60 };
    int interrupted = 0, unharmed = 0;
    for (int victim = 0; victim < FIBERS; victim++) {
        for (int step = 0; step < STEPS; step++) {
            struct sweep sweep = { make(2), 0 };
            struct fm_fiber *fibers[FIBERS];
            for (int i = 0; i < FIBERS; i++)
                fibers[i] = start(with_it, &sweep);
            for (int i = 0; i < step; i++)
                fm_yield();
            fm_fiber_interrupt(fibers[victim]);
            for (int i = 0; i < FIBERS; i++) {
                struct fm_exit exit = finish(fibers[i]);
                if (exit.kind == FM_INTERRUPTED)
                    interrupted++;
                else
                    unharmed++;
                cr_assert(exit.kind == FM_SUCCESS || i == victim);
            }
            cr_assert_eq(sweep.inside, 0);
            cr_assert_eq(fm_semaphore_free(sweep.semaphore), 2, "victim %d, step %d", victim,
                         step);
            fm_semaphore_destroy(sweep.semaphore);
        }
    }
    cr_assert_gt(interrupted, FIBERS, "the sweep met something");
    cr_assert_gt(unharmed, FIBERS * STEPS);
    return fm_ok(NULL);
}

/* F75, T147 */
TEST_WITH(semaphore, with_restores_permits_wherever_it_is_interrupted, .timeout = 30)
{
    run_in_fibers(sweep_body, 1, FM_CLOCK_REAL);
    run_in_fibers(sweep_body, 2, FM_CLOCK_REAL);
}

static struct fm_exit fail_it(void *arg)
{
    return fm_fail_with(-9, arg);
}

static struct fm_exit with_body(void *arg)
{
    struct fm_semaphore *semaphore = make(1);
    struct fm_exit exit = fm_ok(NULL);
    cr_assert_eq(fm_semaphore_with(semaphore, 1, fail_it, &exit, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.code, -9);
    cr_assert_eq(exit.value, &exit);
    cr_assert_eq(fm_semaphore_free(semaphore), 1);
    cr_assert_eq(fm_semaphore_with(semaphore, 2, fail_it, NULL, 0, &exit), -ETIMEDOUT);
    cr_assert_eq(fm_semaphore_with(semaphore, 2, fail_it, NULL, fm_after_ms(1), &exit),
                 -ETIMEDOUT);
    cr_assert_eq(fm_semaphore_with(semaphore, 1, NULL, NULL, FM_NEVER, &exit), -EINVAL);
    cr_assert_eq(fm_semaphore_free(semaphore), 1);
    fm_semaphore_destroy(semaphore);
    return fm_ok(NULL);
}

TEST(semaphore, with_hands_on_the_exit_of_its_body)
{
    run_in_fibers(with_body, 1, PASSING_CLOCK);
    with_body(NULL);
}

/* Permits are tokens, not tied to holders: a producer may release what it never took. */
static struct fm_exit consume(void *arg)
{
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(fm_semaphore_acquire(arg, 1, FM_NEVER), 0);
    return fm_ok(NULL);
}

static void *consume_thread(void *arg)
{
    consume(arg);
    return NULL;
}

static struct fm_exit produce_body(void *arg)
{
    struct fm_semaphore *semaphore = make(0);
    struct fm_fiber *fibers[3];
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        fibers[i] = start(consume, semaphore);
    cr_assert_eq(pthread_create(&thread, NULL, consume_thread, semaphore), 0);
    for (int i = 0; i < 2000; i++)
        cr_assert_eq(fm_semaphore_release(semaphore, 2), 0);
    for (int i = 0; i < 3; i++)
        finish(fibers[i]);
    pthread_join(thread, NULL);
    cr_assert_eq(fm_semaphore_free(semaphore), 0);
    fm_semaphore_destroy(semaphore);
    return fm_ok(NULL);
}

TEST(semaphore, producers_release_what_consumers_take)
{
    run_in_fibers(produce_body, 1, FM_CLOCK_REAL);
    run_in_fibers(produce_body, 2, FM_CLOCK_REAL);
}

TEST(semaphore, wrong_arguments_and_overflow_are_refused)
{
    struct fm_semaphore *semaphore = NULL;
    cr_assert_eq(fm_semaphore_create(1, NULL), -EINVAL);
    cr_assert_eq(fm_semaphore_create(-1, &semaphore), -EINVAL);
    cr_assert_eq(fm_semaphore_create(INT64_MAX, &semaphore), -EINVAL);
    cr_assert_eq(fm_semaphore_acquire(NULL, 1, 0), -EINVAL);
    cr_assert_eq(fm_semaphore_try_acquire(NULL, 1), -EINVAL);
    cr_assert_eq(fm_semaphore_release(NULL, 1), -EINVAL);
    cr_assert_eq(fm_semaphore_resize(NULL, 1), -EINVAL);
    cr_assert_eq(fm_semaphore_free(NULL), 0);
    cr_assert_null(fm_semaphore_destroy(NULL));
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_semaphore_create(1, &semaphore), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_null(semaphore);

    semaphore = make(1);
    cr_assert_eq(fm_semaphore_acquire(semaphore, -1, 0), -EINVAL);
    cr_assert_eq(fm_semaphore_try_acquire(semaphore, -1), -EINVAL);
    cr_assert_eq(fm_semaphore_release(semaphore, -1), -EINVAL);
    cr_assert_eq(fm_semaphore_resize(semaphore, -1), -EINVAL);
    cr_assert_eq(fm_semaphore_release(semaphore, INT64_MAX), -EOVERFLOW);
    cr_assert_eq(fm_semaphore_release(semaphore, INT64_MAX >> 3), -EOVERFLOW);
    cr_assert_eq(fm_semaphore_acquire(semaphore, INT64_MAX, 0), -ETIMEDOUT);
    cr_assert_eq(fm_semaphore_free(semaphore), 1, "nothing changed");
    cr_assert_eq(fm_semaphore_resize(semaphore, 0), 0);
    cr_assert_eq(fm_semaphore_release(semaphore, INT64_MAX >> 3), 0);
    cr_assert_eq(fm_semaphore_resize(semaphore, 1), -EINVAL, "as many as can be are free");
    fm_semaphore_destroy(semaphore);
}
