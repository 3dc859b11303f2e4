/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_process.c - children: how they start, end, are signalled and given back
 */
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "runtime/io/blocking.h"
#include "runtime/platform/futex.h"
#include "tests/runtime/io/process_test.h"
#include "tests/runtime/io/storm.h"

/* ---- ends ---- */

PROCESS_TEST(end_is_told_as_it_was)
{
    static const struct {
        const char *command;
        unsigned kind;
        int code;
    } cases[] = {
        { "exit 0", FM_PROCESS_EXITED, 0 },
        { "exit 7", FM_PROCESS_EXITED, 7 },
        { "exit 255", FM_PROCESS_EXITED, 255 },
        { "kill -KILL $$", FM_PROCESS_SIGNALLED, SIGKILL },
        { "kill -TERM $$", FM_PROCESS_SIGNALLED, SIGTERM },
        { "kill -USR1 $$", FM_PROCESS_SIGNALLED, SIGUSR1 },
        { "no-such-command-anywhere 2>/dev/null", FM_PROCESS_EXITED, 127 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fm_process_spec spec = shell(cases[i].command);
        struct fm_process *process = spawn(&spec);
        cr_assert_gt(fm_process_id(process), 0);
        expect_end(wait_for(process), cases[i].kind, cases[i].code);
        expect_end(wait_for(process), cases[i].kind, cases[i].code);
        fm_process_destroy(process);
    }
}

PROCESS_TEST(status_says_what_was_used)
{
    struct fm_process_spec spec = shell("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done");
    struct fm_process *process = spawn(&spec);
    struct fm_process_status status = wait_for(process);
    cr_assert_gt(status.user_ns + status.system_ns, 0);
    cr_assert_gt(status.max_rss_bytes, 100 * 1024);
    cr_assert_gt(status.minor_faults, 0);
    fm_process_destroy(process);
}

/* F98: dead before anybody looked. */
PROCESS_TEST(process_that_ended_before_the_wait_is_told)
{
    struct fm_process_spec spec = shell("exit 3");
    siginfo_t info;
    struct fm_process *process = spawn(&spec);
    waitid(P_PID, (id_t)fm_process_id(process), &info, WEXITED | WNOWAIT);
    struct fm_process_status status;
    cr_assert_eq(fm_process_wait(process, 0, &status), 0, "a poll finds it");
    expect_end(status, FM_PROCESS_EXITED, 3);
    fm_process_destroy(process);
}

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
    const struct fm_process_limit crossed = { RLIMIT_NOFILE, 0, 2, 1 };
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

/* ---- pipes ---- */

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

/* ---- waiting ---- */

static struct fm_exit wait_in_fiber(void *arg)
{
    struct fm_process_status status;
    int r = fm_process_wait(arg, FM_NEVER, &status);
    return r < 0 ? fm_fail(r) : fm_ok(number(status.code));
}

static void *wait_in_thread(void *arg)
{
    struct fm_process_status status;
    return fm_process_wait(arg, FM_NEVER, &status) == 0 ? number(status.code) : number(-1);
}

PROCESS_TEST(all_who_wait_are_told_the_same)
{
    enum { FIBERS = 20, THREADS = 3 };
    struct fm_process *process = spawn_ready("echo ready; read line; exit 42", 0);
    struct fm_fiber *fibers[FIBERS];
    pthread_t threads[THREADS];
    void *code;

    cr_assert_eq(fm_process_wait(process, 0, NULL), -ETIMEDOUT);
    for (int i = 0; i < FIBERS; i++)
        fibers[i] = start(wait_in_fiber, process);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, wait_in_thread, process);
    for (int i = 0; i < FIBERS; i++)
        await_wait(fibers[i]);
    cr_assert_eq(fm_process_kill(process, SIGKILL), 0);
    for (int i = 0; i < FIBERS; i++)
        cr_assert_eq((intptr_t)finish(fibers[i]).value, SIGKILL);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &code);
        cr_assert_eq((intptr_t)code, SIGKILL);
    }
    fm_process_destroy(process);
}

static struct fm_exit wait_a_second(void *arg)
{
    return fm_fail(fm_process_wait(arg, fm_after_s(1), NULL));
}

static void expect_no_end_in_a_second(struct fm_process *process)
{
    struct fm_fiber *waiter = start(wait_a_second, process);
    await_wait(waiter);
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), INT64_C(1000000000)), 0);
    cr_assert_eq(finish(waiter).code, -ETIMEDOUT);
}

VIRTUAL_PROCESS_TEST(wait_ends_at_its_deadline_or_by_interruption)
{
    struct fm_process *process = spawn_ready("echo ready; exec sleep 100", 0);
    expect_no_end_in_a_second(process);
    struct fm_fiber *waiter = start(wait_in_fiber, process);
    await_wait(waiter);
    cr_assert_eq(fm_fiber_interrupt(waiter), 0);
    expect_interruption(finish(waiter), FM_BY_USER);
    cr_assert_eq(fm_process_kill(process, 0), 0, "it runs on");
    fm_process_kill(process, SIGKILL);
    expect_end(wait_for(process), FM_PROCESS_SIGNALLED, SIGKILL);
    cr_assert_eq(fm_process_kill(process, SIGKILL), -ESRCH);
    fm_process_destroy(process);
}

static struct fm_exit spawn_something(void *arg)
{
    struct fm_process_spec spec = shell("exit 0");
    return fm_fail(fm_process_spawn(&spec, arg));
}

static struct fm_exit spawn_interrupted(void *arg)
{
    fm_fiber_interrupt(fm_fiber_self());
    return spawn_something(arg);
}

PROCESS_TEST(interrupted_fiber_starts_nothing)
{
    struct fm_process *process = NULL;
    expect_interruption(finish(start(spawn_interrupted, &process)), FM_BY_USER);
    cr_assert_null(process);
    cr_assert_not(has_children());
}

static _Atomic uint32_t door;

static struct fm_exit wait_at_door(void *arg)
{
    while (!atomic_load(&door))
        fm__futex_wait(&door, 0, INT64_MAX);
    return fm_ok(arg);
}

static struct fm_exit hold_pool(void *arg)
{
    return fm_fail(fm_blocking(wait_at_door, arg, FM_NEVER, NULL));
}

static struct fm_exit spawn_true(void *process)
{
    struct fm_process_spec spec = shell("true");
    spec.in.kind = spec.out.kind = FM_STDIO_PIPE;
    int r = fm_process_spawn(&spec, process);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static void start_in_place(void)
{
    struct fm_process_spec spec = shell("true");
    struct fm_process_output output;
    struct fm_process *process = NULL;
    spec.flags = FM_PROCESS_IN_PLACE;
    cr_assert_eq(fm_process_run(&spec, NULL, fm_now_ns(), &output), -ETIMEDOUT);
    fm__fault_set(FAULT_PROCESS, 1, false);
    cr_assert_eq(fm_process_spawn(&spec, &process), -EAGAIN);
    fm__fault_set(FAULT_PROCESS, 0, false);
    spec.directory = "/no/such/directory";
    cr_assert_eq(fm_process_spawn(&spec, &process), -ENOENT);
    cr_assert_null(process);
    cr_assert_not(has_children());
    spec = shell("exit 4");
    spec.flags = FM_PROCESS_IN_PLACE;
    spec.death_signal = SIGKILL;
    process = spawn(&spec);
    expect_end(wait_for(process), FM_PROCESS_EXITED, 4);
    fm_process_destroy(process);
}

static struct fm_exit leave_spawns(void *arg)
{
    struct fm_process_spec spec = shell("true");
    struct fm_process_output output;
    struct fm_process *process = NULL;
    struct fm_fiber *holder = start(hold_pool, arg);
    await_wait(holder); /* the only thread of the pool hangs */
    unsigned before = count_descriptors();
    cr_assert_eq(fm_process_run(&spec, NULL, fm_after_ms(1), &output), -ETIMEDOUT);
    struct fm_fiber *fiber = start(spawn_true, &process);
    await_wait(fiber);
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_null(process);
    cr_assert_not(has_children());
    start_in_place(); /* which needs no thread */
    cr_assert_eq(count_descriptors(), before);
    atomic_store(&door, 1);
    fm__futex_wake(&door, 1);
    finish(holder);
    cr_assert_eq(finish(start(spawn_true, &process)).kind, FM_SUCCESS);
    expect_end(wait_for(process), FM_PROCESS_EXITED, 0);
    fm_process_destroy(process);
    return fm_ok(NULL);
}

/* F95 */
TEST(process, spawn_that_no_thread_has_begun_is_left_without_a_trace)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;
    config.worker_count = 1;
    config.blocking_threads = 1;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, leave_spawns, NULL, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_runtime_destroy(runtime);
}

/* ---- stopping ---- */

PROCESS_TEST(stop_lets_the_process_end_by_itself)
{
    struct fm_process_status status;
    struct fm_process *process =
        spawn_ready("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done", 0);
    cr_assert_eq(fm_process_stop(process, FM_NEVER, &status), 0);
    expect_end(status, FM_PROCESS_EXITED, 5);
    cr_assert_eq(fm_process_stop(process, 0, &status), 0);
    expect_end(status, FM_PROCESS_EXITED, 5);
    fm_process_destroy(process);
}

struct stopper {
    struct fm_process *process;
    struct fm_process_status status;
};

static struct fm_exit stop_with_grace(void *arg)
{
    struct stopper *stopper = arg;
    int r = fm_process_stop(stopper->process, INT64_C(10000000000), &stopper->status);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* F98: ignores SIGTERM. Not killed before the grace is over. */
VIRTUAL_PROCESS_TEST(stop_kills_at_the_end_of_the_grace)
{
    struct stopper stopper = {
        .process = spawn_ready("trap '' TERM; echo ready; exec sleep 100", 0)
    };
    struct fm_fiber *fiber = start(stop_with_grace, &stopper);
    await_wait(fiber);
    fm_fiber_interrupt(fiber);
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), INT64_C(9999000000)), 0);
    cr_assert_eq(fm_process_wait(stopper.process, 0, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), INT64_C(1000000)), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS, "though it was interrupted");
    expect_end(stopper.status, FM_PROCESS_SIGNALLED, SIGKILL);
    fm_process_destroy(stopper.process);
}

/* F98: stopped. */
VIRTUAL_PROCESS_TEST(stopped_process_has_not_ended_and_can_be_ended)
{
    struct fm_process *process = spawn_ready("echo ready; exec sleep 100", 0);
    struct fm_process_status status;
    siginfo_t info;
    cr_assert_eq(fm_process_kill(process, SIGSTOP), 0);
    cr_assert_eq(waitid(P_PID, (id_t)fm_process_id(process), &info, WSTOPPED | WNOWAIT), 0);
    expect_no_end_in_a_second(process);
    cr_assert_eq(fm_process_stop(process, FM_NEVER, &status), 0);
    expect_end(status, FM_PROCESS_SIGNALLED, SIGTERM);
    fm_process_destroy(process);
}

PROCESS_TEST(kill_reaches_the_whole_group)
{
    struct fm_process *process =
        spawn_ready("sleep 100 & (sleep 100 & wait) & echo ready; wait", FM_PROCESS_GROUP);
    cr_assert_eq(getpgid(fm_process_id(process)), fm_process_id(process));
    cr_assert_eq(fm_process_kill(process, SIGKILL), 0);
    expect_end_of(fm_process_fd(process, 1));
    expect_end(wait_for(process), FM_PROCESS_SIGNALLED, SIGKILL);
    fm_process_destroy(process);
}

PROCESS_TEST(stop_leaves_nobody_of_the_group)
{
    struct fm_process_status status;
    struct fm_process *process = spawn_ready(
        "trap 'exit 3' TERM; (trap '' TERM; echo ready; exec sleep 100) & wait; wait",
        FM_PROCESS_GROUP);
    cr_assert_eq(fm_process_stop(process, FM_NEVER, &status), 0);
    expect_end(status, FM_PROCESS_EXITED, 3);
    expect_end_of(fm_process_fd(process, 1));
    fm_process_destroy(process);
}

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

/* ---- threads, and the rest of the program ---- */

TEST(process, thread_needs_no_runtime)
{
    unsigned before = count_descriptors();
    struct fm_process_spec spec = shell("read line; echo $line; exit 4");
    struct fm_process_status status;
    struct fm_process_output output;
    char said[6] = "";
    spec.in.kind = spec.out.kind = FM_STDIO_PIPE;
    struct fm_process *process = spawn(&spec);
    cr_assert_eq(fm_process_wait(process, 0, &status), -ETIMEDOUT);
    cr_assert_eq(fm_process_wait(process, fm_after_ms(1), &status), -ETIMEDOUT);
    cr_assert_eq(write(fm_process_fd(process, 0), "line\n", 5), 5);
    cr_assert_eq(read(fm_process_fd(process, 1), said, 5), 5);
    cr_assert_str_eq(said, "line\n");
    cr_assert_eq(fm_process_wait(process, FM_NEVER, &status), 0);
    expect_end(status, FM_PROCESS_EXITED, 4);
    fm_process_destroy(process);

    spec = shell("exec sleep 100");
    process = spawn(&spec);
    cr_assert_eq(fm_process_stop(process, FM_NEVER, &status), 0);
    expect_end(status, FM_PROCESS_SIGNALLED, SIGTERM);
    fm_process_destroy(process);
    fm_process_destroy(spawn(&spec));
    cr_assert_not(has_children(), "a thread waits for what it killed");
    cr_assert_eq(fm_process_run(&spec, NULL, FM_NEVER, &output), -EPERM);
    cr_assert_eq(count_descriptors(), before);
}

/* F92 */
PROCESS_TEST(foreign_children_are_not_reaped)
{
    pid_t foreign = fork();
    if (foreign == 0)
        _exit(5);
    for (int i = 0; i < 5; i++) {
        struct fm_process_spec spec = shell("exit 0");
        struct fm_process *process = spawn(&spec);
        wait_for(process);
        fm_process_destroy(process);
    }
    int status;
    cr_assert_eq(waitpid(foreign, &status, 0), foreign);
    cr_assert_eq(WEXITSTATUS(status), 5);
}

PROCESS_TEST(status_that_somebody_else_took_is_echild)
{
    struct fm_process_spec spec = shell("exit 0");
    struct fm_process *process = spawn(&spec);
    cr_assert_eq(waitpid(fm_process_id(process), NULL, 0), fm_process_id(process));
    cr_assert_eq(fm_process_wait(process, FM_NEVER, NULL), -ECHILD);
    cr_assert_eq(fm_process_kill(process, SIGKILL), -ESRCH);
    fm_process_destroy(process);
    signal(SIGCHLD, SIG_IGN);
    process = spawn(&spec);
    cr_assert_eq(fm_process_wait(process, FM_NEVER, NULL), -ECHILD);
    fm_process_destroy(process);
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
