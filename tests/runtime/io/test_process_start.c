/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_process_start.c - children: how they start, and with what
 */
#include <sys/resource.h>

#include "runtime/io/blocking.h"
#include "tests/runtime/io/process_test.h"

/* ---- starts that fail ---- */

PROCESS_TEST(what_cannot_be_run_is_the_result_of_spawn)
{
    static const struct {
        const char *program, *directory;
        int result;
    } cases[] = {
        { "/no/such/program", NULL, -ENOENT },
        { "no-such-program-in-path", NULL, -ENOENT },
        { "", NULL, -ENOENT },
        { "/etc/passwd", NULL, -EACCES },
        { "/", NULL, -EACCES },
        { "/etc/passwd/x", NULL, -ENOTDIR },
        { "/bin/true", "/no/such/directory", -ENOENT },
        { "/bin/true", "/etc/passwd", -ENOTDIR },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const argv[] = { cases[i].program, NULL };
        struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
        struct fm_process *process = (void *)&spec;
        spec.argv = argv;
        spec.directory = cases[i].directory;
        spec.in.kind = spec.out.kind = FM_STDIO_PIPE;
        cr_assert_eq(fm_process_spawn(&spec, &process), cases[i].result, "case %zu", i);
        cr_assert_eq(process, (void *)&spec, "nothing is written");
        cr_assert_not(has_children());
    }
}

PROCESS_TEST(bad_arguments_start_nothing)
{
    const char *const none[] = { NULL }, *const yes[] = { "true", NULL };
    struct fm_process *process;
    cr_assert_eq(fm_process_spawn(NULL, &process), -EINVAL);
    struct fm_process_limit crossed = { RLIMIT_NOFILE, 0, 2, 1 };
    struct fm_process_spec good = shell("exit 0"), bad[14];
    for (int i = 0; i < 14; i++)
        bad[i] = good;
    bad[0].shell = NULL;
    bad[1].argv = yes;
    bad[2].shell = NULL, bad[2].argv = none;
    bad[3].flags = 64;
    bad[4].in.kind = FM_STDIO_STDOUT;
    bad[5].err.kind = 5;
    bad[6].out = (struct fm_stdio) { FM_STDIO_FD, -1 };
    bad[7].out = (struct fm_stdio) { FM_STDIO_PIPE, 4 };
    bad[8].death_signal = 65;
    bad[9].limit_count = 1;
    bad[10].program = "true";
    bad[11].death_signal = -1;
    bad[12].limits = &crossed;
    bad[13].limits = &crossed, bad[13].limit_count = 1;
    for (int i = 0; i < 14; i++)
        cr_assert_eq(fm_process_spawn(&bad[i], &process), -EINVAL, "case %d", i);
    crossed = (struct fm_process_limit) { RLIMIT_CORE, 1, 0, 0 };
    cr_assert_eq(fm_process_spawn(&bad[13], &process), -EINVAL, "what is reserved is 0");
    cr_assert_eq(fm_process_spawn(&good, NULL), -EINVAL);
    good.out = (struct fm_stdio) { FM_STDIO_FD, 1 << 20 };
    cr_assert_eq(fm_process_spawn(&good, &process), -EBADF);
    cr_assert_not(has_children());

    good.out = (struct fm_stdio) { FM_STDIO_INHERIT, 0 };
    process = spawn(&good);
    cr_assert_eq(fm_process_fd(process, 1), -EBADF);
    cr_assert_eq(fm_process_fd(process, 3), -EINVAL);
    cr_assert_eq(fm_process_close_fd(process, 0), -EBADF);
    cr_assert_eq(fm_process_take_fd(NULL, 0), -EINVAL);
    cr_assert_eq(fm_process_kill(process, -1), -EINVAL);
    cr_assert_eq(fm_process_kill(NULL, 0), -EINVAL);
    cr_assert_eq(fm_process_wait(NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_process_stop(process, -1, NULL), -EINVAL);
    cr_assert_eq(fm_process_id(NULL), 0);
    cr_assert_null(fm_process_destroy(NULL));
    wait_for(process);
    cr_assert_null(fm_process_destroy(process));
}

/* ---- what a child is given ---- */

/* Run it, compare what it said. */
static void expect_output(const struct fm_process_spec *spec, const char *said)
{
    struct fm_process_output output;
    int r = fm_process_run(spec, NULL, FM_NEVER, &output);
    cr_assert_eq(r, 0, "%s", fm_strerror(r));
    cr_assert_str_eq(output.out, said, "it said \"%s\" and \"%s\"", output.out, output.err);
    fm_process_output_free(&output);
}

PROCESS_TEST(environment_and_directory_are_as_asked)
{
    const char *const env[] = { "FIRST=1", "HOME=/elsewhere", NULL };
    const char *const argv[] = { "env", NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;

    spec.argv = argv; /* found by our PATH, not by the child's */
    spec.env = env;
    expect_output(&spec, "FIRST=1\nHOME=/elsewhere\n");

    setenv("HOME", "/home", 1);
    setenv("KEPT", "yes", 1);
    spec = shell("echo $FIRST $HOME $KEPT; pwd");
    spec.env = env;
    spec.flags = FM_PROCESS_ENV_ADD;
    spec.directory = "/usr";
    expect_output(&spec, "1 /elsewhere yes\n/usr\n");
    spec = shell("echo $HOME$FIRST");
    expect_output(&spec, "/home\n");

    const char *const other[] = { "not-its-name", "-c", "echo $0", NULL };
    spec = (struct fm_process_spec)FM_PROCESS_SPEC_INIT;
    spec.argv = other;
    spec.program = "sh";
    expect_output(&spec, "not-its-name\n");
    spec.program = "./sh";
    spec.directory = "/bin";
    expect_output(&spec, "not-its-name\n");
}

PROCESS_TEST(program_is_looked_for_where_path_says)
{
    const char *const argv[] = { "sh", "-c", "echo found", NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process *process;
    spec.argv = argv;
    unsetenv("PATH");
    expect_output(&spec, "found\n"); /* in /bin or /usr/bin */
    setenv("PATH", "/nowhere:/nowhere/else", 1);
    cr_assert_eq(fm_process_spawn(&spec, &process), -ENOENT);
    setenv("PATH", "/nowhere:", 1); /* and the directory that it starts in */
    spec.directory = "/bin";
    expect_output(&spec, "found\n");
}

PROCESS_TEST(environment_may_be_added_to_none)
{
    const char *const env[] = { "ONLY=1", NULL };
    const char *const argv[] = { "env", NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    spec.argv = argv;
    spec.env = env;
    spec.flags = FM_PROCESS_ENV_ADD;
    clearenv();
    expect_output(&spec, "ONLY=1\n");
}

/* No other file of the name would do better. */
PROCESS_TEST(arguments_beyond_what_the_system_takes_are_e2big)
{
    enum { LONG = 1 << 18 };
    char *text = malloc(LONG + 1);
    memset(text, 'a', LONG);
    text[LONG] = '\0';
    const char *const argv[] = { "sh", "-c", ":", text, NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process *process;
    spec.argv = argv;
    cr_assert_eq(fm_process_spawn(&spec, &process), -E2BIG);
    cr_assert_not(has_children());
    free(text);
}

PROCESS_TEST(errors_go_where_an_inherited_output_goes)
{
    struct fm_process_spec spec = shell("echo to both >&2");
    char said[16] = "";
    int ends[2], out = dup(STDOUT_FILENO);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    spec.err.kind = FM_STDIO_STDOUT;
    dup2(ends[1], STDOUT_FILENO);
    struct fm_process *process = spawn(&spec);
    dup2(out, STDOUT_FILENO);
    expect_end(wait_for(process), FM_PROCESS_EXITED, 0);
    fm_process_destroy(process);
    cr_assert_eq(read(ends[0], said, sizeof said - 1), 8);
    cr_assert_str_eq(said, "to both\n");
    close(ends[0]);
    close(ends[1]);
    close(out);
}

PROCESS_TEST(limits_hold_for_the_child_alone)
{
    const struct fm_process_limit limits[] = { { RLIMIT_NOFILE, 0, 20, 30 },
                                               { RLIMIT_CORE, 0, 0, 0 } };
    const struct fm_process_limit unknown = { 1000, 0, 1, 1 };
    struct rlimit before, after;
    struct fm_process *process;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct fm_process_spec spec = shell("ulimit -Sn; ulimit -Hn; ulimit -c");
    spec.limits = limits;
    spec.limit_count = 2;
    expect_output(&spec, "20\n30\n0\n");
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &after), 0);
    cr_assert_eq(before.rlim_cur, after.rlim_cur);
    spec.limits = &unknown;
    spec.limit_count = 1;
    cr_assert_eq(fm_process_spawn(&spec, &process), -EINVAL);
    cr_assert_not(has_children());
}

static void expect_three_descriptors(void)
{
    const char *const argv[] = { "ls", "/proc/self/fd", NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    int fds[100]; /* not close-on-exec; more than one reading of the list holds */
    for (int i = 0; i < 100; i++)
        cr_assert_geq(fds[i] = fcntl(2, F_DUPFD, 10 * i), 0);
    spec.argv = argv;
    expect_output(&spec, "0\n1\n2\n3\n"); /* 3 is the folder that it lists */
    for (int i = 0; i < 100; i++)
        close(fds[i]);
}

PROCESS_TEST(child_has_no_descriptor_but_three)
{
    expect_three_descriptors();
}

PROCESS_TEST(child_has_no_descriptor_but_three_where_the_kernel_does_not_close_a_range)
{
    fm__fault_set(FAULT_CLOSE, 1, false);
    expect_three_descriptors();
    cr_assert_eq(fm__fault_hits(FAULT_CLOSE), 1);
    fm__fault_set(FAULT_CLOSE, 1, true);
    expect_three_descriptors();
    cr_assert_eq(fm__fault_hits(FAULT_CLOSE), 2, "nor lists them");
    fm__fault_set(FAULT_CLOSE, 0, false);
}

PROCESS_TEST(child_starts_with_default_signals)
{
    const char *const argv[] = { "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    spec.argv = argv;
    expect_output(&spec, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

PROCESS_TEST(descriptors_go_where_they_are_sent)
{
    struct fm_process_spec spec = shell("cat; echo error >&2");
    int in[2], out[2];
    char said[64] = "";

    cr_assert_eq(pipe2(in, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
    cr_assert_eq(write(in[1], "hello\n", 6), 6);
    close(in[1]);
    spec.in = (struct fm_stdio) { FM_STDIO_FD, in[0] };
    spec.out = (struct fm_stdio) { FM_STDIO_FD, out[1] };
    spec.err.kind = FM_STDIO_STDOUT;
    struct fm_process *process = spawn(&spec);
    expect_end(wait_for(process), FM_PROCESS_EXITED, 0);
    fm_process_destroy(process);
    close(out[1]);
    cr_assert_eq(fm_read_full(out[0], said, sizeof said, FM_NEVER, NULL), 12);
    cr_assert_str_eq(said, "hello\nerror\n");
    fm_close(out[0]);
    close(in[0]);

    spec = shell("cat; echo nothing; echo more >&2");
    spec.in.kind = FM_STDIO_NULL;
    spec.out.kind = FM_STDIO_NULL;
    expect_output(&spec, "");
}

/* Each of 0, 1 and 2 stands where another one is going to. */
PROCESS_TEST(standard_descriptors_may_be_exchanged)
{
    struct fm_process_spec spec = shell("echo out; echo error >&2; read line; echo $line");
    int saved[3], ends[3][2];
    char said[32];

    for (int i = 0; i < 3; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 100);
        cr_assert_eq(pipe2(ends[i], O_CLOEXEC), 0);
        cr_assert_eq(dup2(ends[i][i == 2 ? 0 : 1], i), i);
    }
    spec.in = (struct fm_stdio) { FM_STDIO_FD, 2 };
    spec.out = (struct fm_stdio) { FM_STDIO_FD, 0 };
    spec.err = (struct fm_stdio) { FM_STDIO_FD, 1 };
    cr_assert_eq(write(ends[2][1], "line\n", 5), 5);
    struct fm_process *process;
    int r = fm_process_spawn(&spec, &process);
    struct fm_process_status status = r == 0 ? wait_for(process)
                                             : (struct fm_process_status) { .kind = 9 };
    for (int i = 0; i < 3; i++)
        dup2(saved[i], i);
    cr_assert_eq(r, 0);
    expect_end(status, FM_PROCESS_EXITED, 0);
    fm_process_destroy(process);
    cr_assert_eq(read(ends[0][0], said, sizeof said), 9);
    cr_assert_eq(memcmp(said, "out\nline\n", 9), 0);
    cr_assert_eq(read(ends[1][0], said, sizeof said), 6);
    cr_assert_eq(memcmp(said, "error\n", 6), 0);
    for (int i = 0; i < 3; i++) {
        close(saved[i]);
        close(ends[i][0]);
        close(ends[i][1]);
    }
}

/* ---- refusals ---- */

/* One use of everything; the first failure, with nothing left behind. */
static int use_all(void)
{
    const char *const env[] = { "A=1", NULL };
    struct fm_process_spec spec = shell("cat; exit $A");
    struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
    struct fm_process_output output;
    spec.env = env;
    spec.flags = FM_PROCESS_ENV_ADD;
    options.input = "hello";
    options.input_bytes = 5;
    int r = fm_process_run(&spec, &options, FM_NEVER, &output);
    if (r < 0)
        return r;
    cr_assert_eq(r, 0);
    expect_end(output.status, FM_PROCESS_EXITED, 1);
    cr_assert_str_eq(output.out, "hello");
    fm_process_output_free(&output);
    spec = shell("exit 2");
    spec.in.kind = spec.out.kind = FM_STDIO_NULL;
    spec.death_signal = SIGKILL;
    struct fm_process *process;
    r = fm_process_spawn(&spec, &process);
    if (r < 0)
        return r;
    struct fm_process_status status;
    r = fm_process_wait(process, FM_NEVER, &status);
    if (r == 0)
        expect_end(status, FM_PROCESS_EXITED, 2);
    fm_process_destroy(process);
    return r;
}

/* F87, and each allocation, descriptor and clone: the one call fails, nothing is left of it. */
PROCESS_TEST(every_refusal_is_a_clean_failure)
{
    static const enum fault_kind kinds[] = { FAULT_MALLOC, FAULT_FD, FAULT_EPOLL, FAULT_PROCESS,
                                             FAULT_THREAD };
    cr_assert_eq(use_all(), 0);
    fm__blocking_set_idle_ns(fm_runtime_current(), 0); /* threads are made again each time */
    unsigned descriptors = count_descriptors();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (uint64_t n = 1;; n++) {
            fm__fault_set(kinds[k], n, false);
            int r = use_all();
            bool hit = fm__fault_hits(kinds[k]) != 0;
            fm__fault_set(kinds[k], 0, false);
            cr_assert(hit || r == 0, "%s without a refusal", fm_strerror(r));
            int64_t deadline_ns = fm_after_s(10); /* killed, and reaped behind the scenes */
            while ((has_children() || count_descriptors() != descriptors) &&
                   fm_now_ns() < deadline_ns)
                fm_yield();
            cr_assert_not(has_children(), "kind %zu, number %d", k, (int)n);
            cr_assert_eq(count_descriptors(), descriptors, "kind %zu, number %d", k, (int)n);
            if (!hit)
                break;
        }
    }
}
