/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fork.c - fork(2) beside a runtime and inside of a fiber
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "runtime/platform/sanitizer.h"
#include "tests/support/child.h"
#include "tests/support/fibers.h"

/* What the child finds of the parent. */
struct world {
    struct fm_runtime *runtime;
    struct fm_fiber *fiber; /* that has not ended */
    struct fm_deferred *deferred;
    struct fm_semaphore *semaphore; /* empty */
    struct fm_map *map;
    struct fm_process *process; /* that runs */
    int fds[2];
};

#define MUST_BE(call, expected) \
    do { \
        int must_r = (int)(call); \
        if (must_r != (expected)) { \
            fprintf(stderr, "%s: %s\n", #call, fm_strerror(must_r)); \
            _exit(1); \
        } \
    } while (0)

static struct fm_exit nothing(void *arg)
{
    return fm_ok(arg);
}

static int visit_nobody(void *ctx, struct fm_fiber *fiber, const struct fm_fiber_look *look)
{
    (void)ctx, (void)fiber, (void)look;
    return -EPROTO;
}

static void call_everything(void *arg)
{
    const struct world *world = arg;
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_runtime_stats stats;
    struct fm_runtime *runtime;
    struct fm_process *process;
    char byte;

    spec.shell = "exit 0";
    if (fm_fiber_self() || fm_runtime_current())
        _exit(2);
    MUST_BE(fm_runtime_create(NULL, &runtime), -EPERM);
    MUST_BE(fm_run(nothing, NULL, NULL), -EPERM);
    MUST_BE(fm_runtime_run(world->runtime, nothing, NULL, NULL), -EPERM);
    MUST_BE(fm_runtime_spawn(world->runtime, nothing, NULL, NULL, NULL), -EPERM);
    MUST_BE(fm_runtime_shutdown(world->runtime, FM_NEVER), -EPERM);
    MUST_BE(fm_runtime_resize(world->runtime, 3), -EPERM);
    MUST_BE(fm_runtime_stats(world->runtime, &stats), -EPERM);
    MUST_BE(fm_runtime_dump(world->runtime, STDERR_FILENO), -EPERM);
    MUST_BE(fm_runtime_visit(world->runtime, visit_nobody, NULL), -EPERM);
    MUST_BE(fm_runtime_workers(world->runtime, NULL, 0), -EPERM);
    MUST_BE(fm_fiber_spawn(nothing, NULL, NULL, NULL), -EPERM);
    MUST_BE(fm_fiber_join(world->fiber, FM_NEVER, NULL), -EPERM);
    MUST_BE(fm_fiber_stop(world->fiber, FM_NEVER, NULL), -EPERM);
    MUST_BE(fm_yield(), -EPERM);
    MUST_BE(fm_sleep_ms(1), -EPERM);
    MUST_BE(fm_never(), -EPERM);
    MUST_BE(fm_deferred_await(world->deferred, FM_NEVER, NULL), -EPERM);
    MUST_BE(fm_semaphore_acquire(world->semaphore, 1, FM_NEVER), -EPERM);
    MUST_BE(fm_map_run(world->map, fm_key_str("key"), nothing, NULL, NULL, NULL), -EPERM);
    MUST_BE(fm_map_await_empty(world->map, FM_NEVER), -EPERM);
    MUST_BE(fm_read(world->fds[0], &byte, 1, FM_NEVER), -EPERM);
    MUST_BE(fm_close(world->fds[0]), -EPERM);
    MUST_BE(fm_process_spawn(&spec, &process), -EPERM);
    MUST_BE(fm_process_wait(world->process, FM_NEVER, NULL), -EPERM);
    MUST_BE(fm_process_kill(world->process, SIGKILL), -EPERM);
    MUST_BE(fm_process_stop(world->process, 0, NULL), -EPERM);
    if (fm_process_destroy(world->process))
        _exit(4);
    MUST_BE(fm_blocking(nothing, NULL, FM_NEVER, NULL), 0); /* as in any thread: in place */
    if (fm_runtime_destroy(world->runtime))
        _exit(3);
}

static void exec_something(void *arg)
{
    (void)arg;
    execl("/bin/sh", "sh", "-c", "echo from the child >&2; exit 7", (char *)NULL);
    _exit(1);
}

static void make_world(struct world *world)
{
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    spec.shell = "exec sleep 1000";
    world->runtime = fm_runtime_current();
    cr_assert_eq(fm_process_spawn(&spec, &world->process), 0);
    world->fiber = start(until_interrupted, NULL);
    cr_assert_eq(fm_deferred_create(&world->deferred), 0);
    cr_assert_eq(fm_semaphore_create(0, &world->semaphore), 0);
    cr_assert_eq(fm_map_create(NULL, &world->map), 0);
    cr_assert_eq(fm_map_run(world->map, fm_key_str("busy"), until_interrupted, NULL, NULL,
                            NULL),
                 0);
    cr_assert_eq(pipe(world->fds), 0);
}

static void end_world(struct world *world)
{
    struct fm_process_status status;
    cr_assert_eq(fm_fiber_poll(world->fiber, NULL), -EAGAIN);
    cr_assert_eq(fm_process_wait(world->process, 0, NULL), -ETIMEDOUT, "it runs");
    cr_assert_eq(fm_process_stop(world->process, 0, &status), 0);
    cr_assert_eq(status.code, SIGKILL);
    fm_process_destroy(world->process);
    cr_assert(fm_map_has(world->map, fm_key_str("busy")));
    cr_assert_eq(fm_fiber_stop(world->fiber, FM_NEVER, NULL), 0);
    fm_fiber_unref(world->fiber);
    fm_deferred_destroy(world->deferred);
    fm_semaphore_destroy(world->semaphore);
    fm_map_destroy(world->map);
    cr_assert_eq(fm_close(world->fds[0]), 0);
    cr_assert_eq(fm_close(world->fds[1]), 0);
}

static void expect_refusals(struct world *world)
{
    struct child child;
    child_run(&child, call_everything, world);
    cr_assert_eq(child.exit_code, 0, "exit code %d, signal %d: %s", child.exit_code,
                 child.signal, child.said);
}

static void expect_exec(void)
{
    struct child child;
    child_run(&child, exec_something, NULL);
    cr_assert_eq(child.exit_code, 7);
    cr_assert_str_eq(child.said, "from the child\n");
}

/* F93 */
FIBER_TEST(fork, child_of_a_fiber_is_refused_and_may_exec)
{
    struct world world;
    make_world(&world);
    expect_refusals(&world);
    expect_exec();
    end_world(&world);
}

static void *fork_in_thread(void *arg)
{
    expect_refusals(arg);
    expect_exec();
    return NULL;
}

/* F93 */
FIBER_TEST(fork, child_of_a_thread_beside_a_runtime_is_refused_and_may_exec)
{
    struct world world;
    pthread_t thread;
    make_world(&world);
    cr_assert_eq(pthread_create(&thread, NULL, fork_in_thread, &world), 0);
    pthread_join(thread, NULL);
    end_world(&world);
}

static struct fm_exit echo(void *arg)
{
    int fd = *(int *)arg;
    char byte;
    ssize_t n;
    while ((n = fm_read(fd, &byte, 1, FM_NEVER)) == 1)
        if (fm_write(fd, &byte, 1, FM_NEVER) != 1)
            return fm_fail(-EIO);
    return fm_ok(NULL);
}

static void nothing_at_all(void *arg)
{
    (void)arg;
}

/* Timers, those of real time, sockets, switches go on while the program forks. F93. */
REAL_TIME_TEST(fork, parent_notices_nothing)
{
    int fds[2];
    struct child child;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct fm_fiber *other = start(echo, &fds[1]);
    for (int i = 0; i < 20; i++) {
        char byte = (char)i, back = -1;
        child_run(&child, nothing_at_all, NULL);
        cr_assert_eq(child.exit_code, 0);
        cr_assert_eq(fm_write(fds[0], &byte, 1, FM_NEVER), 1);
        cr_assert_eq(fm_read(fds[0], &back, 1, FM_NEVER), 1);
        cr_assert_eq(back, byte);
        cr_assert_eq(fm_sleep_ns(1000), 0);
    }
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_eq(finish(other).kind, FM_SUCCESS);
    cr_assert_eq(fm_close(fds[1]), 0);
}

static struct fm_exit fork_and_return(void *arg)
{
    pid_t *pid = arg;
    *pid = fork();
    if (*pid == 0) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO); /* what it is going to say is no news */
    }
    return fm_ok(NULL);
}

FIBER_TEST(fork, fiber_that_ends_in_the_child_stops_it)
{
    pid_t pid = -1;
    int status;
    cr_assert_eq(finish(start(fork_and_return, &pid)).kind, FM_SUCCESS);
    cr_assert_gt(pid, 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x", status);
}

static void run_something(void *arg)
{
    (void)arg;
    _exit(fm_run(nothing, NULL, NULL) == 0 ? 0 : 1);
}

/* ThreadSanitizer lets no child of a fork make threads. */
TEST_WITH(fork, child_of_a_program_whose_runtimes_have_ended_has_its_own, .disabled = FM_TSAN)
{
    struct child child;
    cr_assert_eq(fm_run(nothing, NULL, NULL), 0);
    child_run(&child, run_something, NULL);
    cr_assert_eq(child.exit_code, 0, "%s", child.said);
}
