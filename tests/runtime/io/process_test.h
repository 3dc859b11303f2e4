/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process_test.h - what the tests of child processes share
 *
 * A test leaves neither a child nor a descriptor behind: a CLEAN_TEST looks when its runtime is
 * gone.
 */
#ifndef TESTS_RUNTIME_IO_PROCESS_TEST_H
#define TESTS_RUNTIME_IO_PROCESS_TEST_H

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "runtime/io/process.h"
#include "tests/runtime/io/io_test.h"

static inline unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *all = opendir("/proc/self/fd");
    cr_assert(all);
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}

/* Whether this program has children, running or not. */
static inline bool has_children(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static inline void run_processes(fm_entry_fn *body, uint32_t workers, uint32_t clock)
{
    unsigned before = count_descriptors();
    run_in_fibers(body, workers, clock);
    cr_assert_not(has_children(), "a child is left");
    cr_assert_eq(count_descriptors(), before, "a descriptor is left");
}

#define CLEAN_TEST_ON(suite, promise, workers, clock)                                          \
    static void body_##promise(void);                                                          \
    static struct fm_exit entry_##promise(void *arg)                                           \
    {                                                                                          \
        (void)arg;                                                                             \
        body_##promise();                                                                      \
        return fm_ok(NULL);                                                                    \
    }                                                                                          \
    TEST(suite, promise)                                                                       \
    {                                                                                          \
        run_processes(entry_##promise, workers, clock);                                        \
    }                                                                                          \
    static void body_##promise(void)

#define PROCESS_TEST(promise) CLEAN_TEST_ON(process, promise, 2, FM_CLOCK_REAL)
#define VIRTUAL_PROCESS_TEST(promise) CLEAN_TEST_ON(process, promise, 2, FM_CLOCK_VIRTUAL)

static inline struct fm_process_spec shell(const char *command)
{
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    spec.shell = command;
    return spec;
}

static inline struct fm_process *spawn(const struct fm_process_spec *spec)
{
    struct fm_process *process = NULL;
    int r = fm_process_spawn(spec, &process);
    cr_assert_eq(r, 0, "spawn: %s", fm_strerror(r));
    return process;
}

/* A shell command whose output is a pipe, and which has said "ready". */
static inline struct fm_process *spawn_ready(const char *command, uint32_t flags)
{
    struct fm_process_spec spec = shell(command);
    char said[6];
    spec.flags = flags;
    spec.out.kind = FM_STDIO_PIPE;
    struct fm_process *process = spawn(&spec);
    cr_assert_eq(fm_read_full(fm_process_fd(process, 1), said, 6, FM_NEVER, NULL), 6);
    cr_assert_eq(memcmp(said, "ready\n", 6), 0);
    return process;
}

static inline void expect_end(struct fm_process_status status, unsigned kind, int code)
{
    cr_assert_eq(status.kind, kind, "kind %u, code %d", status.kind, status.code);
    cr_assert_eq(status.code, code, "kind %u, code %d", status.kind, status.code);
}

static inline struct fm_process_status wait_for(struct fm_process *process)
{
    struct fm_process_status status = { .kind = 99 };
    int r = fm_process_wait(process, FM_NEVER, &status);
    cr_assert_eq(r, 0, "wait: %s", fm_strerror(r));
    return status;
}

/* Until nobody has the other end of the pipe any more. */
static inline void expect_end_of(int fd)
{
    char byte;
    cr_assert_eq(fm_read(fd, &byte, 1, FM_NEVER), 0);
}

#endif
