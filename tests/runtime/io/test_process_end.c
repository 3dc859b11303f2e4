/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_process_end.c - children that are given back, and that outlive or do not outlive who made them
 */
#include <sched.h>

#include "runtime/io/blocking.h"
#include "tests/runtime/io/process_test.h"
#include "tests/runtime/io/storm.h"

/* ---- giving back ---- */

PROCESS_TEST(destroyed_process_is_killed_with_its_group)
{
    struct fm_process *process = spawn_ready("sleep 100 & echo ready; wait", FM_PROCESS_GROUP);
    int out = fm_process_take_fd(process, 1);
    fm_process_destroy(process);
    expect_end_of(out);
    fm_close(out);
}

PROCESS_TEST(destroyed_processes_are_reaped_by_the_end_of_the_runtime)
{
    struct fm_process_spec spec = shell("exec sleep 100");
    for (int i = 0; i < 10; i++)
        fm_process_destroy(spawn(&spec));
}

PROCESS_TEST(detached_process_goes_on_and_is_reaped_when_it_ends)
{
    struct fm_process_spec spec = shell("cat; echo last words");
    char said[11];
    spec.flags = FM_PROCESS_DETACHED;
    spec.in.kind = spec.out.kind = FM_STDIO_PIPE;
    struct fm_process *process = spawn(&spec);
    int in = fm_process_take_fd(process, 0), out = fm_process_take_fd(process, 1);
    fm_process_destroy(process);
    cr_assert_eq(fm_close(in), 0);
    cr_assert_eq(fm_read_full(out, said, 11, FM_NEVER, NULL), 11);
    fm_close(out);
    while (has_children())
        fm_yield();
}

static struct fm_exit leave_detached(void *arg)
{
    struct fm_process_spec spec = shell("cat");
    spec.flags = FM_PROCESS_DETACHED;
    spec.in = (struct fm_stdio) { FM_STDIO_FD, *(int *)arg };
    fm_process_destroy(spawn(&spec));
    return fm_ok(NULL);
}

TEST(process, detached_process_outlives_its_runtime_and_is_reaped_later)
{
    unsigned before = count_descriptors();
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    cr_assert_eq(fm_run(leave_detached, &ends[0], NULL), 0);
    cr_assert_eq(fm__process_sweep(), 1, "it runs on");
    close(ends[0]);
    close(ends[1]);
    while (fm__process_sweep())
        sched_yield();
    cr_assert_not(has_children());
    cr_assert_eq(count_descriptors(), before);
}

/* ---- the death of the parent ---- */

static struct fm_process *spawn_tied(int out, uint32_t flags)
{
    struct fm_process_spec spec = shell("echo ready; exec sleep 100");
    spec.flags = FM_PROCESS_DETACHED | flags;
    spec.death_signal = SIGKILL;
    spec.out = (struct fm_stdio) { FM_STDIO_FD, out };
    return spawn(&spec);
}

TEST(process, death_signal_comes_when_the_program_dies)
{
    int ends[2];
    char said[6];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t parent = fork();
    if (parent == 0) {
        spawn_tied(ends[1], 0);
        pause();
        _exit(1);
    }
    close(ends[1]);
    cr_assert_eq(read(ends[0], said, 6), 6);
    kill(parent, SIGKILL);
    cr_assert_eq(read(ends[0], said, 6), 0, "the grandchild has gone");
    waitpid(parent, NULL, 0);
    close(ends[0]);
}

static struct fm_exit leave_tied(void *arg)
{
    fm_process_destroy(spawn_tied(*(int *)arg, 0));
    fm_process_destroy(spawn_tied(*(int *)arg, FM_PROCESS_IN_PLACE));
    return fm_ok(NULL);
}

TEST(process, death_signal_comes_at_the_end_of_the_runtime)
{
    int ends[2];
    char said[7];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    cr_assert_eq(fm_run(leave_tied, &ends[1], NULL), 0);
    close(ends[1]);
    while (read(ends[0], said, sizeof said) > 0)
        ;
    close(ends[0]);
    while (fm__process_sweep())
        sched_yield();
    cr_assert_not(has_children());
}

static struct fm_exit nothing(void *arg)
{
    return fm_ok(arg);
}

/* The kernel ties it to the thread that made the child: that one must stay. */
PROCESS_TEST(death_signal_does_not_come_when_a_thread_of_the_pool_goes)
{
    struct fm_process_spec spec = shell("echo ready; exec sleep 100");
    struct fm_runtime_stats stats;
    struct fm_process_status status;
    char said[6];
    fm__blocking_set_idle_ns(fm_runtime_current(), 0);
    spec.death_signal = SIGKILL;
    spec.out.kind = FM_STDIO_PIPE;
    struct fm_process *process = spawn(&spec);
    fm_blocking(nothing, NULL, FM_NEVER, NULL);
    do
        fm_runtime_stats(fm_runtime_current(), &stats);
    while (stats.blocking_threads);
    cr_assert_eq(fm_runtime_resize(fm_runtime_current(), 1), 0);
    cr_assert_eq(fm_read_full(fm_process_fd(process, 1), said, 6, FM_NEVER, NULL), 6);
    cr_assert_eq(fm_process_wait(process, 0, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_process_stop(process, FM_NEVER, &status), 0);
    expect_end(status, FM_PROCESS_SIGNALLED, SIGTERM);
    fm_process_destroy(process);
}

/* ---- many ---- */

static struct fm_exit one_of_many(void *arg)
{
    int i = (int)(intptr_t)arg;
    char command[64];
    snprintf(command, sizeof command, "read line; echo $line; exit %d", i % 100);
    struct fm_process_spec spec = shell(command);
    struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
    struct fm_process_output output;
    char line[16];
    options.input = line;
    options.input_bytes = (size_t)snprintf(line, sizeof line, "%d\n", i);
    int r = fm_process_run(&spec, &options, FM_NEVER, &output);
    if (r < 0)
        return fm_fail(r);
    bool good = output.status.code == i % 100 && strcmp(output.out, line) == 0;
    fm_process_output_free(&output);
    return good ? fm_ok(NULL) : fm_fail(-EIO);
}

PROCESS_TEST(two_hundred_at_once)
{
    enum { MANY = 200 };
    struct fm_fiber *fibers[MANY];
    for (int i = 0; i < MANY; i++)
        fibers[i] = start(one_of_many, number(i));
    for (int i = 0; i < MANY; i++) {
        struct fm_exit exit = finish(fibers[i]);
        cr_assert_eq(exit.kind, FM_SUCCESS, "process %d: %s", i, fm_strerror(exit.code));
    }
}

/* F84 */
PROCESS_TEST(storm_of_signals_is_invisible)
{
    struct storm storm;
    storm_begin(&storm);
    for (int i = 0; i < 20 || storm_hits() < 100; i++)
        cr_assert_eq(finish(start(one_of_many, number(i))).kind, FM_SUCCESS);
    storm_end(&storm);
}
