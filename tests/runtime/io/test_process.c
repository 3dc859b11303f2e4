/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_process.c - children: how they end, are waited for and stopped
 */
#include <pthread.h>

#include "runtime/platform/futex.h"
#include "tests/runtime/io/process_test.h"

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
