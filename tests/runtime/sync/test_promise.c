/* SPDX-License-Identifier: Apache-2.0 */
/* test_promise.c - a deferred with an eventfd and counted references */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

static struct fm_promise *make(void)
{
    struct fm_promise *promise;
    cr_assert_eq(fm_promise_create(&promise), 0);
    return promise;
}

static int readable(int fd, int timeout_ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, timeout_ms);
}

TEST(promise, eventfd_asked_for_before_becomes_readable_and_stays)
{
    struct fm_promise *promise = make();
    int fd = fm_promise_eventfd(promise);
    cr_assert_geq(fd, 0);
    cr_assert_eq(readable(fd, 0), 0);
    cr_assert_eq(fm_promise_poll(promise, NULL), -EAGAIN);
    cr_assert_eq(fm_promise_complete(promise, fm_ok(NULL)), 0);
    cr_assert_eq(readable(fd, 0), 1);
    cr_assert_eq(readable(fd, 0), 1);
    cr_assert_eq(fm_promise_eventfd(promise), fd, "one descriptor for all");
    cr_assert_eq(fm_promise_complete(promise, fm_ok(NULL)), FM_ALREADY_DONE);
    fm_promise_unref(promise);
    cr_assert_eq(fcntl(fd, F_GETFD), -1, "it goes with the promise");
}

TEST(promise, eventfd_asked_for_afterwards_is_readable)
{
    struct fm_promise *promise = make();
    cr_assert_eq(fm_promise_complete(promise, fm_fail(-3)), 0);
    cr_assert_eq(readable(fm_promise_eventfd(promise), 0), 1);
    struct fm_exit exit;
    cr_assert_eq(fm_promise_await(promise, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.code, -3);
    fm_promise_unref(promise);
}

TEST(promise, no_descriptor_left_is_told_and_a_later_request_succeeds)
{
    struct fm_promise *promise = make();
    fm__fault_set(FAULT_FD, 1, false);
    cr_assert_eq(fm_promise_eventfd(promise), -EMFILE);
    fm__fault_set(FAULT_FD, 0, false);
    cr_assert_geq(fm_promise_eventfd(promise), 0);
    fm_promise_unref(promise);
}

static _Atomic int looking_thread;

static struct fm_exit complete_and_leave(void *arg)
{
    await_asleep(&looking_thread);
    cr_assert_eq(fm_promise_complete(arg, fm_ok(number(4))), 0);
    fm_promise_unref(arg);
    return fm_ok(NULL);
}

/*
 * A foreign event loop waits on the descriptor of one; the other's maker goes before it is
 * complete.
 */
TEST(promise, a_thread_waits_by_descriptor_and_a_maker_may_go_first)
{
    struct fm_runtime *runtime;
    struct fm_promise *promises[2] = { make(), make() };
    struct fm_fiber *fiber;
    cr_assert_eq(fm_runtime_create(NULL, &runtime), 0);
    atomic_store(&looking_thread, thread_id());
    int fd = fm_promise_eventfd(promises[0]);
    cr_assert_eq(fm_runtime_spawn(runtime, complete_and_leave, fm_promise_ref(promises[0]),
                                  NULL, &fiber),
                 0);
    cr_assert_eq(readable(fd, 5000), 1);
    struct fm_exit exit;
    cr_assert_eq(fm_promise_poll(promises[0], &exit), 0);
    cr_assert_eq(exit.value, number(4));
    finish(fiber);

    cr_assert_eq(fm_runtime_spawn(runtime, complete_and_leave, promises[1], NULL, &fiber), 0);
    finish(fiber); /* our only reference to the second went with the fiber */
    fm_promise_unref(promises[0]);
    fm_runtime_destroy(runtime);
}

static struct fm_exit await_it(void *arg)
{
    struct fm_exit exit;
    int r = fm_promise_await(arg, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

TIMED_WORKER_TEST(promise, fibers_await_it_like_a_deferred)
{
    struct fm_promise *promise = make();
    struct fm_fiber *kept = start(await_it, promise), *interrupted = start(await_it, promise);
    settle();
    fm_fiber_interrupt(interrupted);
    cr_assert_eq(finish(interrupted).kind, FM_INTERRUPTED);
    cr_assert_eq(fm_promise_await(promise, fm_after_ms(1), NULL), -ETIMEDOUT);
    fm_promise_complete(promise, fm_ok(number(2)));
    cr_assert_eq(finish(kept).value, number(2));
    fm_promise_unref(promise);
}

/* Request and completion at once, from two sides: readable in every round. */
static void *complete_thread(void *arg)
{
    fm_promise_complete(arg, fm_ok(NULL));
    fm_promise_unref(arg);
    return NULL;
}

TEST(promise, eventfd_request_meets_completion)
{
    for (int i = 0; i < 300; i++) {
        struct fm_promise *promise = make();
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, complete_thread, fm_promise_ref(promise)),
                     0);
        for (volatile int spin = i * 20; spin; spin--)
            ;
        cr_assert_eq(readable(fm_promise_eventfd(promise), 5000), 1, "round %d", i);
        fm_promise_unref(promise);
        pthread_join(thread, NULL);
    }
}

TEST(promise, wrong_arguments_and_no_memory_are_refused)
{
    struct fm_promise *promise = NULL;
    cr_assert_eq(fm_promise_create(NULL), -EINVAL);
    cr_assert_eq(fm_promise_complete(NULL, fm_ok(NULL)), -EINVAL);
    cr_assert_eq(fm_promise_await(NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_promise_poll(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_promise_eventfd(NULL), -EINVAL);
    cr_assert_null(fm_promise_ref(NULL));
    cr_assert_null(fm_promise_unref(NULL));
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_promise_create(&promise), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_null(promise);
}

static void count_drop(void *count)
{
    ++*(int *)count;
}

TEST(promise, what_it_keeps_is_dropped_when_it_is_freed)
{
    struct fm_promise *promise = make();
    int drops = 0;
    cr_assert_eq(fm_promise_keep(promise, NULL, &drops), -EINVAL);
    cr_assert_eq(fm_promise_keep(NULL, count_drop, &drops), -EINVAL);
    cr_assert_eq(fm_promise_keep(promise, count_drop, &drops), 0);
    cr_assert_eq(fm_promise_keep(promise, count_drop, &drops), -EINVAL, "once");
    cr_assert_eq(fm_promise_complete(promise, fm_ok(NULL)), 0);
    fm_promise_ref(promise);
    fm_promise_unref(promise);
    cr_assert_eq(drops, 0);
    fm_promise_unref(promise);
    cr_assert_eq(drops, 1);
}
