/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_process_run.c - a program from start to end: what it says, bounds, deadlines
 */
#include "tests/runtime/io/process_test.h"

PROCESS_TEST(run_collects_output_and_error_apart)
{
    struct fm_process_spec spec = shell("echo out; echo error >&2; exit 3");
    struct fm_process_output output;
    cr_assert_eq(fm_process_run(&spec, NULL, FM_NEVER, &output), 0);
    expect_end(output.status, FM_PROCESS_EXITED, 3);
    cr_assert_str_eq(output.out, "out\n");
    cr_assert_eq(output.out_bytes, 4);
    cr_assert_str_eq(output.err, "error\n");
    cr_assert_eq(output.err_bytes, 6);
    cr_assert_eq(output.flags, 0);
    fm_process_output_free(&output);
    fm_process_output_free(&output);
    fm_process_output_free(NULL);

    spec = shell("echo out; echo error >&2");
    spec.err.kind = FM_STDIO_STDOUT;
    cr_assert_eq(fm_process_run(&spec, NULL, FM_NEVER, &output), 0);
    cr_assert_str_eq(output.out, "out\nerror\n");
    cr_assert_str_eq(output.err, "");
    fm_process_output_free(&output);
}

PROCESS_TEST(run_gives_more_input_than_a_pipe_holds)
{
    enum { MUCH = 300000 };
    const char *const argv[] = { "cat", NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
    struct fm_process_output output;
    char *input = malloc(MUCH);
    for (int i = 0; i < MUCH; i++)
        input[i] = (char)(i * 31 + i / 1000);
    spec.argv = argv;
    options.input = input;
    options.input_bytes = MUCH;
    options.output_max = MUCH;
    cr_assert_eq(fm_process_run(&spec, &options, FM_NEVER, &output), 0);
    cr_assert_eq(output.out_bytes, MUCH, "exactly as much as is allowed");
    cr_assert_eq(memcmp(output.out, input, MUCH), 0);
    cr_assert_eq(output.flags, 0);
    fm_process_output_free(&output);
    free(input);
}

PROCESS_TEST(run_reads_and_throws_away_what_is_too_much)
{
    static const struct {
        size_t max, said, kept;
        uint32_t flags;
    } cases[] = {
        { 1, 1, 1, 0 },
        { 1, 2, 1, FM_OUTPUT_OUT_CUT },
        { 1000, 200000, 1000, FM_OUTPUT_OUT_CUT },
        { 5000, 5000, 5000, 0 },
        { 5000, 5001, 5000, FM_OUTPUT_OUT_CUT },
        { 0, 2000000, 1024 * 1024, FM_OUTPUT_OUT_CUT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char command[64];
        snprintf(command, sizeof command, "head -c %zu /dev/zero; exit 9", cases[i].said);
        struct fm_process_spec spec = shell(command);
        struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
        struct fm_process_output output;
        options.output_max = cases[i].max;
        cr_assert_eq(fm_process_run(&spec, &options, FM_NEVER, &output), 0);
        expect_end(output.status, FM_PROCESS_EXITED, 9);
        cr_assert_eq(output.out_bytes, cases[i].kept, "case %zu", i);
        cr_assert_eq(output.flags, cases[i].flags, "case %zu", i);
        fm_process_output_free(&output);
    }
}

PROCESS_TEST(run_does_not_mind_a_program_that_does_not_listen)
{
    static const char much[200000];
    struct fm_process_spec spec = shell("exec <&-; echo done");
    struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
    struct fm_process_output output;
    options.input = much;
    options.input_bytes = sizeof much;
    cr_assert_eq(fm_process_run(&spec, &options, FM_NEVER, &output), 0);
    cr_assert_str_eq(output.out, "done\n");
    fm_process_output_free(&output);
}

struct run {
    const char *command;
    int64_t deadline_ns, grace_ns;
    int err_fd; /* 0: collected */
    int result;
    struct fm_process_output output;
};

static struct fm_exit run(void *arg)
{
    struct run *run = arg;
    struct fm_process_spec spec = shell(run->command);
    struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
    options.grace_ns = run->grace_ns;
    if (run->err_fd)
        spec.err = (struct fm_stdio) { FM_STDIO_FD, run->err_fd };
    run->result = fm_process_run(&spec, &options, run->deadline_ns, &run->output);
    return run->result < 0 ? fm_fail(run->result) : fm_ok(NULL);
}

/* Until the clock has something to step to: the spawn is over, and it waits. */
static void await_timers(int64_t time_ns)
{
    int64_t next;
    do
        cr_assert_eq(fm_clock_next_ns(fm_runtime_current(), &next), 0);
    while (next != time_ns);
}

VIRTUAL_PROCESS_TEST(run_stops_at_its_deadline_and_keeps_what_was_said)
{
    int ends[2];
    char byte;
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    struct run a = { .command = "trap '' TERM; echo first words; echo >&2; exec sleep 100",
                     .deadline_ns = 5000,
                     .grace_ns = 1000,
                     .err_fd = ends[1] };
    struct fm_fiber *fiber = start(run, &a);
    cr_assert_eq(fm_read(ends[0], &byte, 1, FM_NEVER), 1);
    await_timers(5000);
    cr_assert_eq(fm_clock_set_ns(fm_runtime_current(), 5000), 0);
    await_timers(6000);
    cr_assert_eq(fm_clock_set_ns(fm_runtime_current(), 6000), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    cr_assert_eq(a.result, FM_PROCESS_STOPPED);
    expect_end(a.output.status, FM_PROCESS_SIGNALLED, SIGKILL);
    cr_assert_str_eq(a.output.out, "first words\n");
    fm_process_output_free(&a.output);
    fm_close(ends[0]);
    close(ends[1]);
}

PROCESS_TEST(run_that_is_interrupted_stops_the_process)
{
    struct run a = { .command = "exec sleep 100", .deadline_ns = FM_NEVER };
    struct fm_fiber *fiber = start(run, &a);
    while (!has_children())
        fm_yield();
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
}

/* In real time: the virtual clock would not let the pipe be read before the grace is over. */
CLEAN_TEST_ON(process, run_is_not_held_up_by_who_keeps_the_pipe, 2, REAL_TIME)
{
    struct run a = { .command = "sleep 100 & echo $!",
                     .deadline_ns = FM_NEVER,
                     .grace_ns = 20000000 };
    cr_assert_eq(finish(start(run, &a)).kind, FM_SUCCESS);
    cr_assert_eq(a.result, 0);
    expect_end(a.output.status, FM_PROCESS_EXITED, 0);
    cr_assert_eq(a.output.flags, FM_OUTPUT_OUT_CUT | FM_OUTPUT_ERR_CUT);
    pid_t sleeper = atoi(a.output.out);
    cr_assert_gt(sleeper, 1, "it said \"%s\"", a.output.out);
    cr_assert_eq(kill(sleeper, SIGKILL), 0);
    fm_process_output_free(&a.output);
}

/* Its program is read to its end all the same, and nothing of what it said is left. */
PROCESS_TEST(run_without_memory_for_what_is_said_is_enomem)
{
    struct fm_process_spec spec = shell(
        "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2");
    struct fm_process_output output;
    unsigned refused = 0;
    for (uint64_t n = 1, hits = 1; hits; n++) {
        fm__fault_set(FAULT_MALLOC, n, false);
        int r = fm_process_run(&spec, NULL, FM_NEVER, &output);
        hits = fm__fault_hits(FAULT_MALLOC);
        fm__fault_set(FAULT_MALLOC, 0, false);
        cr_assert(r == 0 || (hits && r == -ENOMEM), "number %d: %s", (int)n, fm_strerror(r));
        refused += r < 0;
        if (r == 0) {
            expect_end(output.status, FM_PROCESS_EXITED, 0);
            cr_assert_eq(output.out_bytes, 300000);
            cr_assert_eq(output.err_bytes, 300000);
            fm_process_output_free(&output);
        }
        while (has_children()) /* who was killed is reaped behind the scenes */
            fm_yield();
    }
    cr_assert_geq(refused, 10, "it grows step by step, and both do");
}

PROCESS_TEST(run_refuses_what_makes_no_sense)
{
    struct fm_process_spec spec = shell("exit 0");
    struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
    struct fm_process_output output;
    cr_assert_eq(fm_process_run(NULL, NULL, FM_NEVER, &output), -EINVAL);
    cr_assert_eq(fm_process_run(&spec, NULL, FM_NEVER, NULL), -EINVAL);
    options.flags = 1;
    cr_assert_eq(fm_process_run(&spec, &options, FM_NEVER, &output), -EINVAL);
    options.flags = 0, options.grace_ns = -1;
    cr_assert_eq(fm_process_run(&spec, &options, FM_NEVER, &output), -EINVAL);
    options.grace_ns = 0, options.input_bytes = 1;
    cr_assert_eq(fm_process_run(&spec, &options, FM_NEVER, &output), -EINVAL);
    spec.flags = FM_PROCESS_DETACHED;
    cr_assert_eq(fm_process_run(&spec, NULL, FM_NEVER, &output), -EINVAL);
    spec = shell(NULL);
    cr_assert_eq(fm_process_run(&spec, NULL, FM_NEVER, &output), -EINVAL);
    struct {
        struct fm_process_run_options options;
        uint64_t tail;
    } longer = { { .size = sizeof longer }, 1 };
    spec = shell("exit 0");
    cr_assert_eq(fm_process_run(&spec, &longer.options, FM_NEVER, &output), -E2BIG);
    cr_assert_not(has_children());
}
