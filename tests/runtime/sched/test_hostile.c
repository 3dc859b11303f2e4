/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile.c - what a runtime does not expect: one processor, threads and processes that
 * stand still, fibers that end their thread or the program
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "runtime/fiber/runtime.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/sanitizer.h"
#include "runtime/sched/worker.h"
#include "tests/support/child.h"
#include "tests/support/maps.h"

/* ---- who is awake ---- */

static struct fm_exit yield_some(void *arg)
{
    for (int i = 0; i < 20; i++)
        fm_yield();
    return fm_ok(arg);
}

/*
 * All workers sleep, now or soon: then none is counted as awake or searching, and each stands
 * among the sleepers once.
 */
static void expect_true_counts(struct fm_runtime *runtime, uint32_t workers)
{
    struct idle *idle = &runtime->sched.idle;
    int64_t until = fm__clock_ns() + INT64_C(20000000000);
    bool at_rest = false;

    while (!at_rest && fm__clock_ns() < until) {
        uint32_t asleep = 0;
        sched_yield();
        fm__lock(&idle->lock);
        uint64_t word = fm__idle_read(idle);
        for (uint32_t i = 0; i < WORKERS_MAX; i++)
            asleep += atomic_load(&idle->asleep[i]);
        at_rest = IDLE_AWAKE(word) == 0 && IDLE_SEARCHING(word) == 0 &&
                  idle->sleeper_count == workers && asleep == workers;
        fm__unlock(&idle->lock);
    }
    cr_assert(at_rest, "%u workers: awake %u, searching %u, asleep %u", workers,
              IDLE_AWAKE(fm__idle_read(idle)), IDLE_SEARCHING(fm__idle_read(idle)),
              idle->sleeper_count);
}

/* F3 */
TEST(hostile, dumps_and_resizes_leave_the_counts_of_the_awake_true)
{
    struct fm_runtime *runtime = runtime_with(3);
    struct fm_fiber *fibers[8];
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

    for (uint32_t round = 0; round < 24; round++) {
        uint32_t workers = 1 + round * 5 % 4;
        for (int i = 0; i < 8; i++)
            cr_assert_eq(fm_runtime_spawn(runtime, yield_some, NULL, NULL, &fibers[i]), 0);
        cr_assert_eq(fm_runtime_dump_with(runtime, nowhere, FM_DUMP_BACKTRACE), 0);
        cr_assert_eq(fm_runtime_resize(runtime, workers), 0);
        cr_assert_eq(fm_runtime_dump(runtime, nowhere), 0);
        for (int i = 0; i < 8; i++)
            finish(fibers[i]);
        expect_true_counts(runtime, workers);
    }
    close(nowhere);
    fm_runtime_destroy(runtime);
}

/* ---- one processor ---- */

static struct fm_mutex *mutex;
static int guarded;

static struct fm_exit take_turns(void *arg)
{
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(fm_mutex_lock(mutex, FM_NEVER), 0);
        guarded++;
        fm_yield();
        fm_mutex_unlock(mutex);
    }
    return fm_ok(arg);
}

/* F20 */
TEST(hostile, sixteen_workers_on_one_processor_get_everything_done)
{
    cpu_set_t all, one;
    int cpu = 0;
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);

    struct fm_runtime *runtime = runtime_with(16);
    struct fm_fiber *fibers[64];
    cr_assert_eq(fm_mutex_create(&mutex), 0);
    for (int i = 0; i < 64; i++)
        cr_assert_eq(fm_runtime_spawn(runtime, take_turns, NULL, NULL, &fibers[i]), 0);
    for (int i = 0; i < 64; i++)
        finish(fibers[i]);
    cr_assert_eq(guarded, 64 * 20);
    expect_true_counts(runtime, 16);
    fm_mutex_destroy(mutex);
    fm_runtime_destroy(runtime);
}

/* ---- a thread that stands still ---- */

static int gate[2]; /* whoever is hit waits until there is a byte in it */
static _Atomic int hits;
static atomic_bool over;
static struct fm_map *map;

static void stand_still(int signal_number)
{
    int before = errno;
    char byte;
    (void)signal_number;
    atomic_fetch_add(&hits, 1);
    while (read(gate[0], &byte, 1) < 0 && errno == EINTR)
        ;
    errno = before;
}

static struct fm_exit replace_others(void *arg)
{
    while (!atomic_load(&over)) {
        uint64_t key = (uint64_t)(uintptr_t)arg % 3;
        int r = fm_map_run(map, FM_KEY_U64(key), until_interrupted, NULL, NULL, NULL);
        cr_assert(r == 0 || r == FM_MAP_REPLACED);
        fm_yield();
    }
    return fm_ok(NULL);
}

/* F19: wherever it stands, in whatever lock. Looks ask nobody; the rest is done afterwards. */
TEST(hostile, worker_that_stands_still_holds_up_no_look_and_loses_nothing)
{
    if (FM_TSAN)
        cr_skip_test("it puts signals off");
    enum { WORKERS = 3, ROUNDS = 60 };
    struct sigaction action = { .sa_handler = stand_still };
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_runtime *runtime = runtime_with(WORKERS);
    struct fm_fiber *fibers[6], *found;

    cr_assert_eq(pipe(gate), 0);
    cr_assert_eq(sigaction(SIGPROF, &action, NULL), 0);
    config.runtime = runtime;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    cr_assert_eq(fm_map_run(map, fm_key_str("stays"), until_interrupted, NULL, NULL, NULL), 0);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(fm_runtime_spawn(runtime, replace_others, number(i), NULL, &fibers[i]), 0);
    for (int round = 1; round <= ROUNDS; round++) {
        struct worker *worker = runtime->sched.workers[round % WORKERS];
        int thread;
        while (!(thread = atomic_load(&worker->kernel_id)))
            sched_yield();
        cr_assert_eq(syscall(SYS_tgkill, getpid(), thread, SIGPROF), 0);
        while (atomic_load(&hits) < round)
            sched_yield();
        for (int i = 0; i < 100; i++) {
            cr_assert_eq(fm_map_get(map, fm_key_str("stays"), &found), 0);
            fm_fiber_unref(found);
            cr_assert_not(fm_map_has(map, fm_key_str("nobody")));
        }
        cr_assert_eq(write(gate[1], "x", 1), 1);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 6; i++)
        finish(fibers[i]);
    cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
    fm_runtime_destroy(runtime);
    close(gate[0]);
    close(gate[1]);
}

/* ---- a process that stands still ---- */

enum { NAPPERS = 20, NAP_NS = 1500000, FIRST_NAP_NS = 20000000 };

static struct {
    int64_t begin_ns;
    int to_parent, ended[NAPPERS];
} naps;

static struct fm_exit nap(void *arg)
{
    int64_t deadline_ns = naps.begin_ns + FIRST_NAP_NS + (intptr_t)arg * NAP_NS;
    int r = fm_sleep_until_ns(deadline_ns);
    naps.ended[(intptr_t)arg]++;
    return r == 0 && fm_now_ns() >= deadline_ns ? fm_ok(NULL) : fm_fail(-EPROTO);
}

static struct fm_exit all_nap(void *arg)
{
    struct fm_fiber *fibers[NAPPERS];
    struct fm_exit exit = fm_ok(NULL);
    naps.begin_ns = fm_now_ns();
    for (intptr_t i = 0; i < NAPPERS; i++)
        if (fm_fiber_spawn(nap, (void *)i, NULL, &fibers[i]) < 0)
            return fm_fail(-ENOMEM);
    fm_yield();
    if (write(naps.to_parent, "x", 1) != 1)
        return fm_fail(-EIO);
    for (int i = 0; i < NAPPERS; i++) {
        struct fm_exit one;
        fm_fiber_join(fibers[i], FM_NEVER, &one);
        fm_fiber_unref(fibers[i]);
        if (one.kind != FM_SUCCESS || naps.ended[i] != 1)
            exit = fm_fail(-EPROTO);
    }
    return exit;
}

static void nap_in_child(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit = { .code = -ENOMEM };
    config.worker_count = 1;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    if (fm_runtime_create(&config, &runtime) == 0)
        fm_runtime_run(runtime, all_nap, NULL, &exit);
    _exit(exit.code ? 1 : 0);
}

/*
 * F70: the process is stopped, and goes on when all are due. The time of day is nowhere asked
 * for, so nothing can come of its being set.
 */
TEST(hostile, timers_that_fell_due_while_the_process_was_stopped_fire_once)
{
    if (FM_TSAN)
        cr_skip_test("it lets no child of a process with threads start threads");
    int ends[2], status;
    char byte;
    cr_assert_eq(pipe(ends), 0);
    naps.to_parent = ends[1];
    pid_t pid = fork();
    if (pid == 0)
        nap_in_child();
    close(ends[1]);
    cr_assert_eq(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    kill(pid, SIGSTOP);
    cr_assert_eq(waitpid(pid, &status, WUNTRACED), pid);
    if (WIFSTOPPED(status)) { /* else it has been faster */
        int64_t due_ns = fm__clock_ns() + FIRST_NAP_NS + NAPPERS * NAP_NS;
        while (fm__clock_ns() < due_ns)
            sched_yield();
        kill(pid, SIGCONT);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}

/* ---- fibers that end more than themselves ---- */

static struct fm_exit exit_with_7(void *arg)
{
    (void)arg;
    exit(7);
}

static struct fm_exit end_thread(void *arg)
{
    (void)arg;
    pthread_exit(NULL);
}

static struct fm_exit end_pool_thread(void *arg)
{
    struct fm_exit exit;
    fm_blocking(end_thread, arg, FM_NEVER, &exit);
    return exit;
}

static void run_alone(void *entry)
{
    fm_run(*(fm_entry_fn **)entry, NULL, NULL);
}

/* F38: the program ends as it would have from a thread; a worker that is gone is told of. */
TEST(hostile, exit_ends_the_program_and_pthread_exit_stops_it)
{
    if (FM_TSAN)
        cr_skip_test("it lets no child of a process with threads start threads");
    fm_entry_fn *entries[] = { exit_with_7, end_thread, end_pool_thread };
    struct child child;

    child_run(&child, run_alone, &entries[0]);
    cr_assert_eq(child.exit_code, 7, "signal %d: %s", child.signal, child.said);
    for (int i = 1; i < 3; i++) {
        child_run(&child, run_alone, &entries[i]);
        cr_assert_eq(child.signal, SIGABRT, "exit code %d: %s", child.exit_code, child.said);
        cr_assert_eq(child_said(&child, "pthread_exit"), 1, "%s", child.said);
    }
}
