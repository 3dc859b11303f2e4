/* SPDX-License-Identifier: Apache-2.0 */
/* test_thread.c - what the kernel says of threads that run, sleep, wait */
#include "runtime/platform/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/platform/clock.h"
#include "tests/support/test.h"

struct other {
    pthread_t thread;
    _Atomic int kernel_id;
    int pipe[2];
    _Atomic bool stop;
};

static void *read_pipe(void *arg)
{
    struct other *other = arg;
    char byte;
    atomic_store(&other->kernel_id, (int)syscall(SYS_gettid));
    cr_assert_eq(read(other->pipe[0], &byte, 1), 1);
    return NULL;
}

static void *spin(void *arg)
{
    struct other *other = arg;
    atomic_store(&other->kernel_id, (int)syscall(SYS_gettid));
    while (!atomic_load(&other->stop))
        ;
    return NULL;
}

static int begin(struct other *other, void *(*body)(void *))
{
    cr_assert_eq(pipe(other->pipe), 0);
    cr_assert_eq(pthread_create(&other->thread, NULL, body, other), 0);
    int id;
    while (!(id = atomic_load(&other->kernel_id)))
        sched_yield();
    return id;
}

static void end(struct other *other)
{
    atomic_store(&other->stop, true);
    cr_assert_eq(write(other->pipe[1], "x", 1), 1);
    pthread_join(other->thread, NULL);
    close(other->pipe[0]);
    close(other->pipe[1]);
}

TEST(thread, one_that_reads_a_pipe_sleeps_in_that_call_on_its_stack)
{
    struct other other = { 0 };
    struct thread_call call = { 0 };
    int id = begin(&other, read_pipe);
    while (fm__thread_state(id) != 'S')
        sched_yield();
    if (!fm__thread_call(id, &call)) {
        end(&other);
        cr_skip_test("the kernel does not tell");
    }
    cr_assert_eq(call.number, SYS_read);
    cr_assert_neq(call.sp, 0);
    cr_assert_neq(call.pc, 0);
    char channel[64];
    fm__thread_wait_channel(id, channel, sizeof channel);
    cr_assert_null(strchr(channel, '\n'));
    end(&other);
}

TEST(thread, one_that_computes_runs_or_waits_for_a_processor)
{
    struct other other = { 0 };
    struct thread_call call;
    int id = begin(&other, spin);
    struct thread_times before = fm__thread_times(id), after;
    int64_t start = fm__clock_ns();
    do
        after = fm__thread_times(id);
    while (after.ran_ns - before.ran_ns < 5000000);
    int64_t passed = fm__clock_ns() - start;
    cr_assert_eq(fm__thread_state(id), 'R');
    cr_assert_not(fm__thread_call(id, &call));
    cr_assert_leq(after.ran_ns - before.ran_ns, passed + 1000000);
    cr_assert_geq(after.queued_ns, before.queued_ns);
    end(&other);
}

TEST(thread, one_that_is_gone_is_unknown)
{
    struct other other = { 0 };
    struct thread_call call;
    char channel[8];
    int id = begin(&other, read_pipe);
    end(&other);
    while (fm__thread_state(id) != '?')
        sched_yield();
    cr_assert_not(fm__thread_call(id, &call));
    cr_assert_eq(fm__thread_times(id).ran_ns, 0);
    fm__thread_wait_channel(id, channel, sizeof channel);
    cr_assert_str_eq(channel, "");
}
