/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_runtime.c - runtimes as wholes: made, shared, resized, idle, fair, told in words, ended
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/platform/clock.h"
#include "runtime/platform/cpu.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/sanitizer.h"
#include "runtime/sched/worker.h"
#include "tests/support/fibers.h"

static unsigned threads_now(void)
{
    char line[256];
    unsigned count = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        sscanf(line, "Threads: %u", &count);
    fclose(status);
    return count;
}

/*
 * A thread that was joined may be counted for an instant more: until the kernel has put it
 * away.
 */
static void expect_threads(unsigned count)
{
    int64_t until = fm__clock_ns() + INT64_C(5000000000);
    while (threads_now() != count && fm__clock_ns() < until)
        sched_yield();
    cr_assert_eq(threads_now(), count);
}

/* From `least` to `most` workers are awake, now or soon. */
static void expect_awake_within(struct fm_runtime *runtime, uint32_t least, uint32_t most)
{
    int64_t until = fm__clock_ns() + INT64_C(20000000000);
    struct fm_runtime_stats stats;
    bool within;
    do {
        sched_yield();
        cr_assert_eq(fm_runtime_stats(runtime, &stats), 0);
        within = least <= stats.workers_awake && stats.workers_awake <= most;
    } while (!within && fm__clock_ns() < until);
    cr_assert(within, "%u are awake", stats.workers_awake);
}

static void expect_awake(struct fm_runtime *runtime, uint32_t count)
{
    expect_awake_within(runtime, count, count);
}

static unsigned descriptors_now(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

TEST(runtime, bad_configs_are_refused)
{
    struct fm_runtime *runtime = NULL;
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    cr_assert_eq(fm_runtime_create(&config, NULL), -EINVAL);
    config.worker_count = 257;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -EINVAL);
    config.worker_count = 1;
    config.clock = 9;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -EINVAL);
    config.clock = 0;
    config.queue_size = 3;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -EINVAL);
    config.queue_size = 0;
    config.stack_bytes = 64u << 20;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -EINVAL);
    cr_assert_null(runtime);
    cr_assert_eq(fm_runtime_shutdown(NULL, 0), -EINVAL);
    cr_assert_eq(fm_runtime_run(NULL, return_arg, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_runtime_spawn(NULL, return_arg, NULL, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_runtime_resize(NULL, 1), -EINVAL);
    cr_assert_eq(fm_runtime_stats(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_runtime_dump(NULL, 1), -EINVAL);
    cr_assert_eq(fm_clock_advance_ns(NULL, 1), -EINVAL);
    cr_assert_null(fm_runtime_destroy(NULL));
    cr_assert_eq(fm_run(NULL, NULL, NULL), -EINVAL);
}

TEST(runtime, run_with_defaults)
{
    struct fm_exit exit;
    int x;
    cr_assert_eq(fm_run(return_arg, &x, &exit), 0);
    cr_assert_eq(exit.value, &x);
}

static struct fm_exit run_inside(void *arg)
{
    struct fm_exit exit;
    cr_assert_eq(fm_run(return_arg, NULL, &exit), -EPERM);
    cr_assert_eq(fm_runtime_run(fm_runtime_current(), return_arg, NULL, &exit), -EPERM);
    cr_assert_eq(fm_runtime_shutdown(fm_runtime_current(), 0), -EPERM);
    return fm_ok(arg);
}

TEST(runtime, run_and_shutdown_are_for_threads)
{
    cr_assert_eq(fm_run(run_inside, NULL, NULL), 0);
}

TEST_WITH(runtime, a_thousand_lives_leave_nothing_behind, .timeout = 120) /* F97, R20 */
{
    fm_runtime_destroy(runtime_with(2));
    unsigned threads = threads_now(), descriptors = descriptors_now();
    for (int i = 0; i < 1000; i++) {
        struct fm_runtime *runtime = runtime_with(2);
        if (i % 3 == 0)
            cr_assert_eq(fm_runtime_spawn(runtime, until_interrupted, NULL, NULL, NULL), 0);
        if (i % 3 == 1)
            cr_assert_eq(fm_runtime_run(runtime, return_arg, NULL, NULL), 0);
        fm_runtime_destroy(runtime);
    }
    expect_threads(threads);
    cr_assert_eq(descriptors_now(), descriptors);
}

static struct fm_exit which_runtime(void *arg)
{
    (void)arg;
    fm_yield();
    return fm_ok(fm_runtime_current());
}

TEST(runtime, several_live_side_by_side)
{
    struct fm_runtime *runtimes[4];
    struct fm_exit exit;
    for (int i = 0; i < 4; i++)
        runtimes[i] = runtime_with(2);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(fm_runtime_run(runtimes[i], which_runtime, NULL, &exit), 0);
        cr_assert_eq(exit.value, runtimes[i]);
    }
    fm_runtime_destroy(runtimes[1]);
    cr_assert_eq(fm_runtime_run(runtimes[2], which_runtime, NULL, &exit), 0);
    for (int i = 0; i < 4; i++)
        if (i != 1)
            fm_runtime_destroy(runtimes[i]);
}

static struct fm_exit spawn_over_there(void *arg)
{
    struct fm_fiber *fiber;
    struct fm_exit exit;
    for (int i = 0; i < 200; i++) {
        cr_assert_eq(fm_runtime_spawn(arg, which_runtime, NULL, NULL, &fiber), 0);
        cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
        cr_assert_eq(exit.value, arg);
        fm_fiber_unref(fiber);
    }
    return fm_ok(NULL);
}

TEST(runtime, fibers_of_two_runtimes_join_one_another)
{
    struct fm_runtime *one = runtime_with(2), *two = runtime_with(2);
    cr_assert_eq(fm_runtime_run(one, spawn_over_there, two, NULL), 0);
    fm_runtime_destroy(one);
    fm_runtime_destroy(two);
}

TEST(runtime, handles_outlive_their_runtime)
{
    struct fm_runtime *runtime = runtime_with(1);
    struct fm_fiber *fiber;
    struct fm_exit exit;
    int x;
    cr_assert_eq(fm_runtime_spawn(runtime, return_arg, &x, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    fm_runtime_destroy(runtime);
    cr_assert_eq(fm_fiber_poll(fiber, &exit), 0);
    cr_assert_eq(exit.value, &x);
    fm_fiber_unref(fiber);
}

static struct fm_exit ignore_interrupts(void *let_go)
{
    fm_mask();
    fm_ready();
    int r = fm_semaphore_acquire(let_go, 1, FM_NEVER);
    fm_unmask();
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

TEST(runtime, shutdown_says_when_some_remain_and_refuses_more)
{
    struct fm_runtime *runtime = runtime_with(2);
    struct fm_semaphore *let_go;
    struct fm_fiber *fiber;
    cr_assert_eq(fm_semaphore_create(0, &let_go), 0);
    cr_assert_eq(fm_runtime_spawn(runtime, ignore_interrupts, let_go, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), 0);
    fm_fiber_unref(fiber);
    cr_assert_eq(fm_runtime_spawn(runtime, until_interrupted, NULL, NULL, NULL), 0);
    cr_assert_eq(fm_runtime_shutdown(runtime, fm_after_ms(20)), -ETIMEDOUT);
    cr_assert_eq(fm_runtime_spawn(runtime, return_arg, NULL, NULL, NULL), -ESHUTDOWN);
    cr_assert_eq(fm_semaphore_release(let_go, 1), 0);
    cr_assert_eq(fm_runtime_shutdown(runtime, FM_NEVER), 0);
    fm_runtime_destroy(runtime);
    fm_semaphore_destroy(let_go);
}

/* ---- fairness ---- */

static _Atomic bool third_ran;
static struct fm_fiber *left_fiber, *right_fiber;
static struct fm_semaphore *left_turn, *right_turn;

static struct fm_exit hand_over(void *arg)
{
    struct fm_semaphore *mine = arg ? right_turn : left_turn,
                        *other = arg ? left_turn : right_turn;
    for (int i = 0; i < 100000 && !atomic_load(&third_ran); i++) {
        int r = fm_semaphore_acquire(mine, 1, FM_NEVER);
        if (r < 0)
            return fm_fail(r);
        fm_semaphore_release(other, 1);
    }
    fm_semaphore_release(other, 1);
    return fm_ok(NULL);
}

static struct fm_exit third(void *arg)
{
    (void)arg;
    atomic_store(&third_ran, true);
    return fm_ok(NULL);
}

WORKER_TEST(sched, two_that_wake_each_other_for_ever_do_not_starve_a_third) /* F13 */
{
    cr_assert_eq(fm_semaphore_create(1, &left_turn), 0);
    cr_assert_eq(fm_semaphore_create(0, &right_turn), 0);
    left_fiber = start(hand_over, NULL);
    right_fiber = start(hand_over, &third_ran);
    struct fm_fiber *other = start(third, NULL);
    finish(left_fiber);
    finish(right_fiber);
    cr_assert(atomic_load(&third_ran));
    finish(other);
    fm_semaphore_destroy(left_turn);
    fm_semaphore_destroy(right_turn);
}

static struct fm_exit yield_for_ever(void *arg)
{
    while (!atomic_load((_Atomic bool *)arg))
        fm_yield();
    return fm_ok(NULL);
}

static void *spawn_third(void *runtime)
{
    cr_assert_eq(fm_runtime_spawn(runtime, third, NULL, NULL, NULL), 0);
    return NULL;
}

WORKER_TEST(sched, a_foreign_task_runs_though_local_work_never_ends) /* F14 */
{
    struct fm_fiber *noisy[4];
    atomic_store(&third_ran, false);
    for (int i = 0; i < 4; i++)
        noisy[i] = start(yield_for_ever, (void *)&third_ran);
    pthread_t thread;
    struct fm_runtime *runtime = fm_runtime_current();
    cr_assert_eq(pthread_create(&thread, NULL, spawn_third, runtime), 0);
    for (int i = 0; i < 4; i++)
        finish(noisy[i]);
    pthread_join(thread, NULL);
}

/* More than a queue holds: the rest stands in the inject lists, and as many come as go. */
enum { YIELDERS = 2500, YIELDS_MAX = 2000, FOREIGNERS = 8 };

static _Atomic int foreigners_ran;
static _Atomic bool gave_up;

static struct fm_exit run_foreigner(void *arg)
{
    atomic_fetch_add(&foreigners_ran, 1);
    return fm_ok(arg);
}

static void *spawn_foreigner(void *runtime)
{
    cr_assert_eq(fm_runtime_spawn(runtime, run_foreigner, NULL, NULL, NULL), 0);
    return NULL;
}

static struct fm_exit yield_until_they_ran(void *arg)
{
    for (int i = 0; atomic_load(&foreigners_ran) < FOREIGNERS; i++) {
        if (i == YIELDS_MAX)
            atomic_store(&gave_up, true);
        if (i >= YIELDS_MAX)
            break;
        fm_yield();
    }
    return fm_ok(arg);
}

/* Each thread has its list. */
WORKER_TEST(sched, foreign_tasks_run_though_the_workers_own_list_never_empties) /* F14 */
{
    static struct fm_fiber *yielders[YIELDERS];
    pthread_t threads[FOREIGNERS];
    struct fm_runtime *runtime = fm_runtime_current();
    for (int i = 0; i < YIELDERS; i++)
        yielders[i] = start(yield_until_they_ran, NULL);
    for (int i = 0; i < FOREIGNERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, spawn_foreigner, runtime), 0);
    for (int i = 0; i < YIELDERS; i++)
        finish(yielders[i]);
    for (int i = 0; i < FOREIGNERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert(!atomic_load(&gave_up), "%d ran", atomic_load(&foreigners_ran));
}

enum { PINNED_YIELDS_MAX = 200000 };

static struct fm_exit yield_pinned(void *arg)
{
    if (arg)
        cr_assert_eq(fm_pin(), 0);
    int yields = 0;
    for (; !atomic_load(&third_ran) && yields < PINNED_YIELDS_MAX; yields++)
        fm_yield();
    return yields < PINNED_YIELDS_MAX ? fm_ok(arg) : fm_fail(ETIMEDOUT);
}

/* At every tick one of the pinned is in the inbox and the last in the queue. */
WORKER_TEST(sched, a_foreign_task_runs_beside_pinned_ones_that_never_end) /* F14 */
{
    atomic_store(&third_ran, false);
    struct fm_runtime *runtime = fm_runtime_current();
    struct fm_fiber *fibers[3];
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        fibers[i] = start(yield_pinned, i < 2 ? runtime : NULL);
    cr_assert_eq(pthread_create(&thread, NULL, spawn_third, runtime), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    pthread_join(thread, NULL);
}

/* Ticks, seen by whatever runs after them. */
static int64_t last_look_ns;
static int ticks_seen;

static void note_tick(void)
{
    int64_t look_ns = fm__worker_self()->looked_ns;
    ticks_seen += look_ns != last_look_ns;
    last_look_ns = look_ns;
}

static struct fm_exit yield_and_note(void *arg)
{
    while (!atomic_load(&third_ran)) {
        note_tick();
        fm_yield();
    }
    return fm_ok(arg);
}

/* The own queue and the inject lists are never empty, and the inbox has its turn all the same. */
WORKER_TEST(sched, a_pinned_task_waits_for_at_most_three_ticks_where_others_never_end) /* F14 */
{
    enum { TURNS = 20 };
    static struct fm_fiber *yielders[YIELDERS];
    struct fm_runtime_stats stats;
    int longest = 0;
    atomic_store(&third_ran, false);
    cr_assert_eq(fm_pin(), 0);
    for (int i = 0; i < YIELDERS; i++)
        yielders[i] = start(yield_and_note, NULL);
    fm_runtime_stats(fm_runtime_current(), &stats);
    uint64_t injected = stats.injected;
    for (int i = 0; i < TURNS; i++) {
        int before = ticks_seen;
        fm_yield();
        note_tick();
        if (ticks_seen - before > longest)
            longest = ticks_seen - before;
    }
    fm_runtime_stats(fm_runtime_current(), &stats);
    atomic_store(&third_ran, true);
    fm_unpin();
    for (int i = 0; i < YIELDERS; i++)
        finish(yielders[i]);
    cr_assert_gt(stats.injected - injected, TURNS, "the inject lists had their turns too");
    cr_assert_eq(longest, 3);
}

static _Atomic bool hog_ends;

static struct fm_exit hog(void *arg)
{
    (void)arg;
    while (!atomic_load(&hog_ends))
        ;
    return fm_ok(NULL);
}

static struct fm_exit tick_beside_the_hog(void *arg)
{
    _Atomic int *ticks = arg;
    while (atomic_load(ticks) < 20) {
        fm_sleep_ms(1);
        atomic_fetch_add(ticks, 1);
    }
    atomic_store(&hog_ends, true);
    return fm_ok(NULL);
}

/* In real time: it passes while a worker is busy. */
REAL_TIME_TEST(sched, a_fiber_that_never_waits_stops_no_timers_of_others) /* F15 */
{
    _Atomic int ticks = 0;
    struct fm_fiber *ticker = start(tick_beside_the_hog, (void *)&ticks);
    struct fm_fiber *busy = start(hog, NULL);
    finish(ticker);
    finish(busy);
    cr_assert_eq(atomic_load(&ticks), 20);
}

static struct fm_exit echo_beside_the_hog(void *arg)
{
    int fd = *(int *)arg;
    char byte;
    for (int i = 0; i < 20; i++) {
        if (fm_read(fd, &byte, 1, FM_NEVER) != 1 || fm_write(fd, &byte, 1, FM_NEVER) != 1)
            return fm_fail(-EIO);
    }
    return fm_ok(NULL);
}

static void *talk_from_outside(void *arg)
{
    int fd = *(int *)arg;
    char byte = 'x';
    for (int i = 0; i < 20; i++)
        if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
            break;
    atomic_store(&hog_ends, true);
    return NULL;
}

FIBER_TEST(sched, a_fiber_that_never_waits_stops_no_sockets_of_others) /* F15 */
{
    int pair[2];
    pthread_t thread;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct fm_fiber *echo = start(echo_beside_the_hog, &pair[0]);
    struct fm_fiber *busy = start(hog, NULL);
    cr_assert_eq(pthread_create(&thread, NULL, talk_from_outside, &pair[1]), 0);
    cr_assert_eq(finish(echo).kind, FM_SUCCESS);
    finish(busy);
    pthread_join(thread, NULL);
    fm_close(pair[0]);
    close(pair[1]);
}

static struct fm_exit spawn_and_spin(void *arg)
{
    atomic_store(&third_ran, false);
    cr_assert_eq(fm_fiber_spawn(third, NULL, NULL, NULL), 0);
    /* the child stands in this worker's slot, and this worker never comes back to it */
    int64_t until = fm__clock_ns() + INT64_C(5000000000);
    while (!atomic_load(&third_ran) && fm__clock_ns() < until)
        ;
    return fm_ok(arg);
}

FIBER_TEST(sched, a_task_stuck_in_a_busy_workers_slot_is_rescued) /* F13 */
{
    finish(start(spawn_and_spin, NULL));
    cr_assert(atomic_load(&third_ran));
}

static _Atomic int ran;

static struct fm_exit count_run(void *arg)
{
    (void)arg;
    fm_yield();
    atomic_fetch_add(&ran, 1);
    return fm_ok(NULL);
}

static struct fm_exit spawn_hundreds(void *arg)
{
    atomic_store(&ran, 0);
    for (int i = 0; i < 500; i++)
        cr_assert_eq(fm_fiber_spawn(count_run, NULL, NULL, NULL), 0);
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
    cr_assert_eq(atomic_load(&ran), 500);
    return fm_ok(arg);
}

TEST(sched, a_queue_that_overflows_loses_nothing) /* F12 */
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    config.worker_count = 3;
    config.queue_size = 2;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(fm_runtime_run(runtime, spawn_hundreds, NULL, NULL), 0);
    struct fm_runtime_stats stats;
    fm_runtime_stats(runtime, &stats);
    cr_assert_gt(stats.overflows, 0);
    fm_runtime_destroy(runtime);
}

/* ---- resize ---- */

static struct fm_exit nap_often(void *arg)
{
    for (int i = 0; i < 100; i++) {
        if (i % 5 == 0)
            fm_sleep_ns(100000);
        else
            fm_yield();
    }
    atomic_fetch_add(&ran, 1);
    return fm_ok(arg);
}

TEST(runtime, resize_under_load_loses_nothing) /* F16, X20 */
{
    struct fm_runtime *runtime = runtime_with(4);
    struct fm_fiber *fibers[200];
    atomic_store(&ran, 0);
    for (int i = 0; i < 200; i++)
        cr_assert_eq(fm_runtime_spawn(runtime, nap_often, NULL, NULL, &fibers[i]), 0);
    static const uint32_t sizes[] = { 1, 8, 2, 6, 1, 3, 8, 1, 4 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cr_assert_eq(fm_runtime_resize(runtime, sizes[i]), 0);
        struct fm_runtime_stats stats;
        fm_runtime_stats(runtime, &stats);
        cr_assert_eq(stats.worker_count, sizes[i]);
        fm_fiber_join(fibers[i * 20], FM_NEVER, NULL);
    }
    for (int i = 0; i < 200; i++) {
        cr_assert_eq(fm_fiber_join(fibers[i], FM_NEVER, NULL), 0);
        fm_fiber_unref(fibers[i]);
    }
    cr_assert_eq(atomic_load(&ran), 200);
    cr_assert_eq(fm_runtime_resize(runtime, 0), -EINVAL);
    fm_runtime_destroy(runtime);
}

static _Atomic bool blocker_started, blocker_released;

static struct fm_exit hold_the_last_worker(void *arg)
{
    while (fm__worker_index() != 1)
        fm_yield();
    atomic_store(&blocker_started, true);
    while (!atomic_load(&blocker_released))
        ;
    return fm_ok(arg);
}

TEST(runtime, a_worker_that_must_go_does_not_count_for_one_that_sleeps)
{
    struct fm_runtime *runtime = runtime_with(2);
    struct fm_fiber *blocker, *quick;
    cr_assert_eq(fm_runtime_spawn(runtime, hold_the_last_worker, NULL, NULL, &blocker), 0);
    /* others make the second worker steal it */
    while (!atomic_load(&blocker_started))
        cr_assert_eq(fm_runtime_run(runtime, return_arg, NULL, NULL), 0);
    expect_awake(runtime, 1);
    cr_assert_eq(fm_runtime_resize(runtime, 1), 0);
    expect_awake(runtime, 1); /* the first sleeps, the second goes on with its fiber */
    cr_assert_eq(fm_runtime_spawn(runtime, return_arg, NULL, NULL, &quick), 0);
    cr_assert_eq(fm_fiber_join(quick, fm_after_s(20), NULL), 0, "nobody was woken");
    fm_fiber_unref(quick);
    atomic_store(&blocker_released, true);
    cr_assert_eq(fm_fiber_join(blocker, FM_NEVER, NULL), 0);
    fm_fiber_unref(blocker);
    fm_runtime_destroy(runtime);
}

static struct fm_exit yield_until_stopped(void *arg)
{
    while (fm_yield() == 0)
        ;
    (void)arg;
    return fm_interrupted();
}

TEST(runtime, fewer_workers_take_hold_though_work_never_ends)
{
    struct fm_runtime *runtime = runtime_with(4);
    for (int i = 0; i < 64; i++)
        cr_assert_eq(fm_runtime_spawn(runtime, yield_until_stopped, NULL, NULL, NULL), 0);
    /* more than can run at once need not be woken */
    uint32_t processors = fm__cpu_count();
    expect_awake_within(runtime, processors < 4 ? processors : 4, 4);
    cr_assert_eq(fm_runtime_resize(runtime, 1), 0);
    expect_awake(runtime, 1);
    cr_assert_eq(fm_runtime_resize(runtime, 4), 0);
    fm_runtime_destroy(runtime);
}

/* ---- told in words ---- */

static struct fm_exit parked_with_name(void *arg)
{
    fm_ready();
    (void)arg;
    return fm_fail(fm_never());
}

FIBER_TEST(runtime, dump_tells_of_every_live_fiber)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    char text[4096] = "", id[32];
    int ends[2];
    options.name = "sleeper";
    cr_assert_eq(fm_fiber_spawn(parked_with_name, NULL, &options, &fiber), 0);
    cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), 0);
    cr_assert_eq(pipe(ends), 0);
    for (int tries = 0; tries < 1000 && !strstr(text, "parked in never"); tries++) {
        cr_assert_eq(fm_runtime_dump(fm_runtime_current(), ends[1]), 0);
        ssize_t n = read(ends[0], text, sizeof text - 1);
        cr_assert_gt(n, 0);
        text[n] = 0;
        fm_yield();
    }
    snprintf(id, sizeof id, "fiber %llu ", (unsigned long long)fm_fiber_id(fiber));
    char *line = strstr(text, id);
    cr_assert_not_null(line, "%s", text);
    cr_assert_not_null(strstr(line, "\"sleeper\""), "%s", text);
    cr_assert_not_null(strstr(line, "spawned at 0x"), "%s", text);
    cr_assert_not_null(strstr(line, "stack 4/") ? line : strstr(line, "stack "), "%s", text);
    cr_assert_not_null(strstr(text, " running"), "%s", text);
    fm_fiber_stop(fiber, FM_NEVER, NULL);
    fm_fiber_unref(fiber);
    close(ends[0]);
    close(ends[1]);
}

FIBER_TEST(runtime, stats_add_up)
{
    struct fm_runtime_stats before, after;
    fm_runtime_stats(fm_runtime_current(), &before);
    for (int i = 0; i < 1000; i++)
        finish(start(return_arg, NULL));
    do {
        fm_yield();
        fm_runtime_stats(fm_runtime_current(), &after);
    } while (after.fibers_ended < before.fibers_ended + 1000);
    cr_assert_eq(after.fibers_spawned - before.fibers_spawned, 1000);
    cr_assert_eq(after.fibers_live, 1);
    cr_assert_gt(after.stacks_live, 0);
    cr_assert_neq(after.guard, FM_GUARD_AUTO);
}

/* ---- idle ---- */

static int64_t cpu_us(const struct rusage *usage)
{
    return (int64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 +
           usage->ru_utime.tv_usec + usage->ru_stime.tv_usec;
}

/* R15; in real time, for it is about real time */
TEST_WITH(runtime, an_idle_runtime_uses_no_processor, .timeout = 60)
{
    struct fm_runtime *runtime = runtime_with(2);
    struct rusage before, after;
    for (int i = 0; i < 100; i++)
        cr_assert_eq(fm_runtime_spawn(runtime, until_interrupted, NULL, NULL, NULL), 0);
    cr_assert_eq(fm_runtime_run(runtime, which_runtime, NULL, NULL), 0);
    struct timespec settle = { .tv_nsec = 300000000 }, watch = { .tv_sec = 5 };
    nanosleep(&settle, NULL);
    getrusage(RUSAGE_SELF, &before);
    nanosleep(&watch, NULL);
    getrusage(RUSAGE_SELF, &after);
    int64_t us = cpu_us(&after) - cpu_us(&before);
    long switches = after.ru_nvcsw - before.ru_nvcsw + after.ru_nivcsw - before.ru_nivcsw;
    fprintf(stderr, "idle for 5 s: %lld us of processor time, %ld context switches\n",
            (long long)us, switches);
    /* 0.1 % of 5 s; Criterion's own thread and ours, which sleeps, are counted too */
    cr_assert_leq(us, 5000);
    if (!FM_TSAN) /* which has a thread of its own that wakes up ten times a second */
        cr_assert_leq(switches, 100 * 5 / 60 + 10);
    fm_runtime_destroy(runtime);
}

/* ---- faults ---- */

TEST(runtime, every_failed_allocation_at_creation_is_clean)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    config.worker_count = 2;
    fm_runtime_destroy(runtime_with(2));
    unsigned threads = threads_now(), descriptors = descriptors_now();
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            for (uint64_t n = 1;; n++) {
                struct fm_runtime *runtime = NULL;
                fm__fault_set((enum fault_kind)kind, n, for_ever);
                int r = fm_runtime_create(&config, &runtime);
                uint64_t hits = fm__fault_hits((enum fault_kind)kind);
                fm__fault_set((enum fault_kind)kind, 0, false);
                cr_assert(r == 0 || r == -ENOMEM || r == -EAGAIN || r == -EMFILE ||
                              r == -ENFILE || r == -ENOTSUP,
                          "kind %d, call %llu: %d", kind, (unsigned long long)n, r);
                if (r == 0) {
                    cr_assert_eq(fm_runtime_run(runtime, return_arg, NULL, NULL), 0);
                    fm_runtime_destroy(runtime);
                } else {
                    cr_assert_null(runtime);
                }
                expect_threads(threads);
                cr_assert_eq(descriptors_now(), descriptors,
                             "kind %d, call %llu: %u descriptors, not %u", kind,
                             (unsigned long long)n, descriptors_now(), descriptors);
                if (!hits)
                    break;
            }
        }
    }
}

static struct fm_exit use_much(void *arg)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.name = "named";
    options.stack_bytes = 256 * 1024;
    int *failures = arg;
    for (int i = 0; i < 20; i++) {
        struct fm_fiber *fiber;
        struct fm_exit exit;
        int r = fm_fiber_spawn(return_arg, NULL, &options, &fiber);
        if (r < 0) {
            cr_assert_eq(r, -ENOMEM);
            ++*failures;
            continue;
        }
        cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
        if (exit.kind == FM_FAILURE) {
            cr_assert_eq(exit.code, -ENOMEM);
            ++*failures;
        }
        fm_fiber_unref(fiber);
    }
    return fm_ok(NULL);
}

TEST(runtime, every_failed_allocation_of_a_spawn_is_clean) /* F51 */
{
    static const enum fault_kind kinds[] = { FAULT_MALLOC, FAULT_MAP };
    for (size_t k = 0; k < 2; k++) {
        for (uint64_t n = 1; n < 30; n++) {
            int failures = 0;
            struct fm_runtime *runtime = runtime_with(1);
            struct fm_fiber *fiber;
            cr_assert_eq(fm_runtime_spawn(runtime, return_arg, NULL, NULL, &fiber), 0);
            cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
            fm_fiber_unref(fiber);
            fm__fault_set(kinds[k], n, true);
            struct fm_exit exit;
            int r = fm_runtime_run(runtime, use_much, &failures, &exit);
            fm__fault_set(kinds[k], 0, false);
            cr_assert(r == 0 || r == -ENOMEM);
            cr_assert_eq(fm_runtime_run(runtime, use_much, &failures, &exit), 0);
            cr_assert_eq(exit.kind, FM_SUCCESS);
            fm_runtime_destroy(runtime);
        }
    }
}

/* ---- thread-locals across a migration ---- */

static __thread int thread_number;
static _Atomic int thread_numbers;

static __attribute__((noinline)) int number_here(void)
{
    __asm__ volatile("" ::: "memory");
    if (!thread_number)
        thread_number = atomic_fetch_add(&thread_numbers, 1) + 1;
    return thread_number;
}

static struct fm_exit migrate(void *arg)
{
    _Atomic int *moves = arg;
    int at = number_here();
    for (int i = 0; i < 2000; i++) {
        uint64_t before = fm_fiber_id(fm_fiber_self());
        fm_yield();
        cr_assert_eq(fm_fiber_id(fm_fiber_self()), before);
        int now = number_here();
        if (now != at)
            atomic_fetch_add(moves, 1);
        at = now;
    }
    return fm_ok(NULL);
}

/*
 * F17. A worker whose fibers have ended takes some of another's; once more where the kernel has
 * let one worker run them all.
 */
FIBER_TEST_ON(sched, a_fiber_that_migrates_finds_itself_on_the_new_worker, 4, FM_CLOCK_REAL)
{
    _Atomic int moves = 0;
    while (atomic_load(&moves) == 0) {
        struct fm_fiber *fibers[32];
        for (int i = 0; i < 32; i++)
            fibers[i] = start(migrate, (void *)&moves);
        for (int i = 0; i < 32; i++)
            finish(fibers[i]);
    }
}

TEST(runtime, turns_are_refused_by_the_library_that_has_none)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime = NULL;
    config.flags = FM_RUNTIME_SEEDED;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -ENOTSUP);
    cr_assert_null(runtime);
}
