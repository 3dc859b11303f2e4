/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_process_pipes.c - children: what goes through their pipes
 */
#include "tests/runtime/io/process_test.h"

enum { MUCH = 1024 * 1024 };

static char pattern(size_t i)
{
    return (char)(i * 31 + i / 4096);
}

static struct fm_exit write_much(void *arg)
{
    struct fm_process *process = arg;
    char *data = malloc(MUCH);
    size_t done;
    for (size_t i = 0; i < MUCH; i++)
        data[i] = pattern(i);
    ssize_t n = fm_write_full(fm_process_fd(process, 0), data, MUCH, FM_NEVER, &done);
    free(data);
    fm_process_close_fd(process, 0);
    return n < 0 ? fm_fail((int)n) : fm_ok(NULL);
}

PROCESS_TEST(more_than_a_pipe_holds_goes_both_ways)
{
    const char *const argv[] = { "cat", NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    spec.argv = argv;
    spec.in.kind = spec.out.kind = FM_STDIO_PIPE;
    struct fm_process *process = spawn(&spec);
    struct fm_fiber *writer = start(write_much, process);
    char *data = malloc(MUCH + 1);
    int fd = fm_process_take_fd(process, 1);
    cr_assert_eq(fm_process_fd(process, 1), -EBADF, "it has been taken");
    cr_assert_eq(fm_read_full(fd, data, MUCH + 1, FM_NEVER, NULL), MUCH);
    for (size_t i = 0; i < MUCH; i++)
        cr_assert_eq(data[i], pattern(i));
    free(data);
    cr_assert_eq(finish(writer).kind, FM_SUCCESS);
    expect_end(wait_for(process), FM_PROCESS_EXITED, 0);
    fm_process_destroy(process);
    cr_assert(is_open(fd), "what was taken is not closed with the handle");
    cr_assert_eq(fm_close(fd), 0);
}

/* F98 */
PROCESS_TEST(early_close_of_a_pipe_by_the_child_is_an_end_or_epipe)
{
    struct fm_process_spec spec = shell("exec <&- >&-; kill -STOP $$");
    spec.in.kind = spec.out.kind = FM_STDIO_PIPE;
    struct fm_process *process = spawn(&spec);
    expect_end_of(fm_process_fd(process, 1));
    struct fm_exit exit = finish(start(write_much, process));
    cr_assert_eq(exit.code, -EPIPE);
    cr_assert_eq(fm_process_wait(process, 0, NULL), -ETIMEDOUT);
    struct fm_process_status status;
    cr_assert_eq(fm_process_stop(process, 0, &status), 0);
    expect_end(status, FM_PROCESS_SIGNALLED, SIGKILL);
    fm_process_destroy(process);
}

/* F92: though we ignore SIGPIPE ourselves. */
PROCESS_TEST(early_close_of_a_pipe_by_us_is_sigpipe_in_the_child)
{
    const char *const argv[] = { "yes", NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    char byte;
    signal(SIGPIPE, SIG_IGN);
    spec.argv = argv;
    spec.out.kind = FM_STDIO_PIPE;
    struct fm_process *process = spawn(&spec);
    cr_assert_eq(fm_read(fm_process_fd(process, 1), &byte, 1, FM_NEVER), 1);
    cr_assert_eq(fm_process_close_fd(process, 1), 0);
    expect_end(wait_for(process), FM_PROCESS_SIGNALLED, SIGPIPE);
    fm_process_destroy(process);
}
