/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_runner.c - a map for callers outside fibers, and promises of exits */
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "runtime/platform/memory.h"
#include "tests/fibermap/map_test.h"
#include "tests/support/waits.h"

static struct fm_runtime *runtime;

static struct fm_runner *start_runner(void)
{
    struct fm_runner *runner;
    cr_assert_eq(fm_runtime_create(NULL, &runtime), 0);
    cr_assert_eq(fm_runner_create(runtime, NULL, &runner), 0);
    return runner;
}

static void stop(struct fm_runner *runner)
{
    cr_expect_null(fm_runner_destroy(runner));
    fm_runtime_destroy(runtime);
}

TEST(map_runner, runs_from_a_thread)
{
    struct fm_runner *runner = start_runner();
    struct fm_fiber *fiber;
    cr_assert_eq(fm_runner_run(runner, KEY("a"), return_arg, number(6), NULL, &fiber), 0);
    cr_expect_eq(finish(fiber).value, number(6));
    cr_assert_eq(fm_runner_run(runner, KEY("a"), until_interrupted, NULL, NULL, NULL), 0);
    cr_expect_eq(fm_map_size(fm_runner_map(runner)), 1);
    stop(runner);
}

/* What a callback runs, and whether it has. */
struct caller {
    struct fm_runner *runner;
    struct fm_promise *promises[2];
    _Atomic int calls;
};

static void drop_runs(void *arg)
{
    struct caller *caller = arg;
    int n = atomic_load(&caller->calls);
    cr_expect_eq(fm_runner_run(caller->runner, KEY("b"), until_interrupted, NULL, NULL, NULL),
                 n ? FM_MAP_REPLACED : 0);
    cr_expect_eq(fm_runner_promise(caller->runner, KEY("c"), return_arg, number(n + 1), NULL,
                                   &caller->promises[n]),
                 0);
    atomic_store(&caller->calls, n + 1);
}

static void observer_runs(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    drop_runs(arg);
}

static void await_calls(struct caller *caller, int calls)
{
    struct fm_exit exit;
    while (atomic_load(&caller->calls) < calls)
        sched_yield();
    cr_assert_eq(fm_promise_await(caller->promises[calls - 1], FM_NEVER, &exit), 0);
    cr_expect_eq(exit.value, number(calls));
    fm_promise_unref(caller->promises[calls - 1]);
}

/* Of the exit of a fiber that somebody else has, and of a value that goes with it. */
TEST(map_runner, runs_from_callbacks)
{
    struct fm_runner *runner = start_runner();
    struct caller caller = { .runner = runner };
    struct fm_observer observer = { .fn = observer_runs, .arg = &caller };
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    cr_assert_eq(fm_runner_run(runner, KEY("a"), until_interrupted, NULL, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_observe(fiber, &observer), 0);
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    await_calls(&caller, 1);
    finish(fiber);
    options.value_drop = drop_runs;
    cr_assert_eq(fm_runner_run(runner, KEY("a"), return_arg, &caller, &options, &fiber), 0);
    finish(fiber);
    await_calls(&caller, 2);
    stop(runner);
}

static void free_value(void *value)
{
    free(value);
}

static struct fm_exit make_text(void *arg)
{
    char *text = malloc(8);
    strcpy(text, "done");
    return fm_ok(text);
}

/* T024, T036 */
TEST(map_runner, promise_is_complete_before_a_join_and_keeps_the_value)
{
    struct fm_runner *runner = start_runner();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_promise *promise;
    struct fm_exit exit;
    options.value_drop = free_value;
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(fm_runner_promise(runner, KEY("a"), make_text, NULL, &options, &promise),
                     0);
        cr_assert_eq(fm_map_await_empty(fm_runner_map(runner), FM_NEVER), 0);
        cr_assert_eq(fm_promise_await(promise, FM_NEVER, &exit), 0);
        cr_expect_str_eq(exit.value, "done");
        fm_promise_unref(promise);
    }
    stop(runner);
}

struct sleeper {
    struct fm_map *map;
    _Atomic int thread;
};

static struct fm_exit interrupt_when_asleep(void *arg)
{
    struct sleeper *sleeper = arg;
    await_asleep(&sleeper->thread);
    cr_expect_eq(fm_map_interrupt(sleeper->map, KEY("a")), 0);
    return fm_ok(NULL);
}

TEST(map_runner, a_thread_waits_for_a_promise_with_a_deadline_and_until_it_is_complete)
{
    struct fm_runner *runner = start_runner();
    struct sleeper sleeper = { .map = fm_runner_map(runner) };
    struct fm_promise *promise;
    struct fm_exit exit;
    cr_assert_eq(fm_runner_promise(runner, KEY("a"), until_interrupted, NULL, NULL, &promise),
                 0);
    cr_expect_eq(fm_promise_await(promise, 1, &exit), -ETIMEDOUT);
    cr_assert_eq(fm_runner_run(runner, KEY("b"), interrupt_when_asleep, &sleeper, NULL, NULL),
                 0);
    atomic_store(&sleeper.thread, thread_id());
    cr_expect_eq(fm_promise_await(promise, FM_NEVER, &exit), 0);
    expect_interruption(exit, FM_BY_REMOVE);
    fm_promise_unref(promise);
    stop(runner);
}

TEST(map_runner, promises_wake_an_epoll_loop_each_by_its_own_descriptor)
{
    enum { PROMISES = 8 };
    struct fm_runner *runner = start_runner();
    struct fm_promise *promises[PROMISES];
    int loop = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event, more[PROMISES];
    struct fm_exit exit;
    cr_assert_geq(loop, 0);
    for (uint64_t i = 0; i < PROMISES; i++) {
        cr_assert_eq(fm_runner_promise(runner, FM_KEY_U64(i), until_interrupted, NULL, NULL,
                                       &promises[i]),
                     0);
        event = (struct epoll_event) { .events = EPOLLIN, .data.u64 = i };
        cr_assert_eq(epoll_ctl(loop, EPOLL_CTL_ADD, fm_promise_eventfd(promises[i]), &event),
                     0);
    }
    cr_expect_eq(epoll_wait(loop, more, PROMISES, 0), 0);
    for (uint64_t n = 0; n < PROMISES; n++) {
        uint64_t i = n * 3 % PROMISES;
        cr_assert_eq(fm_map_interrupt(fm_runner_map(runner), FM_KEY_U64(i)), 0);
        cr_assert_eq(epoll_wait(loop, more, PROMISES, 10000), 1);
        cr_expect_eq(more[0].data.u64, i);
        cr_expect_eq(fm_promise_poll(promises[i], &exit), 0);
        expect_interruption(exit, FM_BY_REMOVE);
        cr_assert_eq(epoll_ctl(loop, EPOLL_CTL_DEL, fm_promise_eventfd(promises[i]), NULL), 0);
        fm_promise_unref(promises[i]);
    }
    close(loop);
    stop(runner);
}

TEST(map_runner, promise_wakes_a_foreign_event_loop)
{
    struct fm_runner *runner = start_runner();
    struct fm_promise *promise;
    struct fm_exit exit;
    cr_assert_eq(fm_runner_promise(runner, KEY("a"), until_interrupted, NULL, NULL, &promise),
                 0);
    struct pollfd fd = { .fd = fm_promise_eventfd(promise), .events = POLLIN };
    cr_expect_eq(poll(&fd, 1, 0), 0);
    fm_map_interrupt(fm_runner_map(runner), KEY("a"));
    cr_expect_eq(poll(&fd, 1, 10000), 1);
    cr_expect_eq(fm_promise_poll(promise, &exit), 0);
    cr_expect_eq(exit.kind, FM_INTERRUPTED);
    fm_promise_unref(promise);
    stop(runner);
}

/* T064 */
/* T216 */
TEST(map_runner, promise_of_a_kept_run_follows_the_incumbent)
{
    struct fm_runner *runner = start_runner();
    struct fm_map_run_options keep = conflict(FM_KEEP), fail = conflict(FM_FAIL);
    struct fm_promise *first, *second, *none = NULL;
    struct fm_exit exit;
    cr_assert_eq(fm_runner_promise(runner, KEY("a"), until_interrupted, NULL, &keep, &first),
                 0);
    cr_assert_eq(fm_runner_promise(runner, KEY("a"), return_arg, NULL, &keep, &second),
                 FM_MAP_KEPT);
    cr_expect_eq(fm_runner_promise(runner, KEY("a"), return_arg, NULL, &fail, &none), -EEXIST);
    cr_expect_eq(fm_promise_poll(second, NULL), -EAGAIN);
    fm_map_remove(fm_runner_map(runner), KEY("a"), FM_NEVER);
    cr_expect_eq(fm_promise_poll(first, &exit), 0);
    cr_expect_eq(exit.reason, FM_BY_REMOVE);
    cr_expect_eq(fm_promise_poll(second, &exit), 0);
    cr_expect_eq(exit.reason, FM_BY_REMOVE);
    fm_promise_unref(first);
    fm_promise_unref(second);
    cr_expect_eq(fm_map_close(fm_runner_map(runner), NULL, NULL), 0);
    cr_expect_eq(fm_runner_promise(runner, KEY("a"), return_arg, NULL, NULL, &none),
                 -ESHUTDOWN);
    cr_expect_null(none);
    stop(runner);
}

/* Its exit was there before: it is the promise's at once, or as soon as its owners have been told. */
TEST(map_runner, promise_of_a_retained_result_is_complete)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_run_options reuse = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_promise *first, *again;
    struct fm_runner *runner;
    struct fm_exit exit;
    config.retain_count = 1;
    reuse.reuse = FM_REUSE_SUCCESS;
    cr_assert_eq(fm_runtime_create(NULL, &runtime), 0);
    cr_assert_eq(fm_runner_create(runtime, &config, &runner), 0);
    cr_assert_eq(fm_runner_promise(runner, KEY("a"), return_arg, number(1), &reuse, &first), 0);
    cr_assert_eq(fm_promise_await(first, FM_NEVER, &exit), 0);
    cr_assert_eq(fm_runner_promise(runner, KEY("a"), return_arg, number(2), &reuse, &again),
                 FM_MAP_REUSED);
    cr_assert_eq(fm_promise_await(again, fm_after_ns(10 * INT64_C(1000000000)), &exit), 0);
    cr_expect_eq(exit.value, number(1));
    fm_promise_unref(first);
    fm_promise_unref(again);
    stop(runner);
}

TEST(map_runner, promise_may_be_dropped_before_the_end)
{
    struct fm_runner *runner = start_runner();
    struct fm_promise *promise;
    cr_assert_eq(fm_runner_promise(runner, KEY("a"), until_interrupted, NULL, NULL, &promise),
                 0);
    fm_promise_unref(promise);
    stop(runner);
}

TEST(map_runner, what_is_wrong_is_refused_and_no_memory_leaves_nothing)
{
    struct fm_runner *runner = start_runner(), *other;
    struct fm_promise *promise;
    cr_expect_eq(fm_runner_create(runtime, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_runner_create(NULL, NULL, &other), -EINVAL,
                 "a thread has no runtime of its own");
    cr_expect_eq(fm_runner_run(NULL, KEY("a"), until_interrupted, NULL, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_runner_promise(NULL, KEY("a"), until_interrupted, NULL, NULL, &promise),
                 -EINVAL);
    cr_expect_eq(fm_runner_promise(runner, KEY("a"), until_interrupted, NULL, NULL, NULL),
                 -EINVAL);
    cr_expect_eq(fm_runner_promise(runner, KEY(""), until_interrupted, NULL, NULL, &promise),
                 -EINVAL);
    cr_expect_null(fm_runner_map(NULL));
    cr_expect_null(fm_runner_destroy(NULL));
    for (uint64_t nth = 1;; nth++) {
        fm__fault_set(FAULT_MALLOC, nth, false);
        int r = fm_runner_promise(runner, KEY("a"), until_interrupted, NULL, NULL, &promise);
        fm__fault_set(FAULT_MALLOC, 0, false);
        if (r == 0)
            break;
        cr_expect_eq(r, -ENOMEM);
    }
    fm_promise_unref(promise);
    for (uint64_t nth = 1;; nth++) {
        fm__fault_set(FAULT_MALLOC, nth, false);
        int r = fm_runner_create(runtime, NULL, &other);
        fm__fault_set(FAULT_MALLOC, 0, false);
        if (r == 0)
            break;
        cr_expect_eq(r, -ENOMEM);
    }
    fm_runner_destroy(other);
    stop(runner);
}
