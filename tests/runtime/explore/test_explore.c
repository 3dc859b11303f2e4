/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_explore.c - each kind of failure is found, told and repeated
 */
#include <errno.h>
#include <fcntl.h>
#include <fm/fm.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/platform/cpu.h"
#include "runtime/platform/sanitizer.h"
#include "tests/support/test.h"

/* Schedules that are to pass: a process under a sanitizer is slow to make, and one under qemu. */
static uint64_t some(uint64_t schedules)
{
    return FM_ASAN || FM_TSAN || getenv("FM_FEWER") ? schedules / 10 : schedules;
}

static struct fm_explore_options with(uint32_t strategy, uint64_t schedules)
{
    struct fm_explore_options options = FM_EXPLORE_OPTIONS_INIT;
    options.strategy = strategy;
    options.schedules = schedules;
    options.flags = FM_EXPLORE_QUIET;
    return options;
}

static struct fm_exit run_two(fm_entry_fn *entry, void *arg)
{
    struct fm_fiber *fibers[2];
    for (int i = 0; i < 2; i++) {
        int r = fm_fiber_spawn(entry, arg, NULL, &fibers[i]);
        if (r < 0)
            return fm_fail(r);
    }
    for (int i = 0; i < 2; i++) {
        fm_fiber_join(fibers[i], FM_NEVER, NULL);
        fm_fiber_unref(fibers[i]);
    }
    return fm_ok(NULL);
}

/* ---- a lost update ---- */

static struct fm_exit increment(void *arg)
{
    int *counter = arg;
    fm_explore_point("read the counter");
    int was = *counter;
    fm_explore_point("write the counter");
    *counter = was + 1;
    return fm_ok(NULL);
}

static struct fm_exit lost_update(void *arg)
{
    int counter = 0;
    run_two(increment, &counter);
    return counter == 2 ? fm_ok(NULL) : fm_fail(-EPROTO);
}

static void finds_lost_update(uint32_t strategy, uint64_t schedules, uint32_t together,
                              uint32_t flags)
{
    struct fm_explore_options options = with(strategy, schedules);
    struct fm_explore_report report;
    options.together = together;
    options.flags |= flags;
    cr_assert_eq(fm_explore(lost_update, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_FAILED);
    cr_assert_eq(report.exit.kind, FM_FAILURE);
    cr_assert_eq(report.exit.code, -EPROTO);

    struct fm_explore_report again;
    char replay[sizeof report.replay];
    strcpy(replay, report.replay);
    options.replay = replay;
    cr_assert_eq(fm_explore(lost_update, NULL, &options, &again), FM_EXPLORE_FOUND);
    cr_assert_eq(again.schedules, 1);
    cr_assert_eq(again.trace, report.trace, "replay %s", replay);
    cr_assert_eq(again.exit.code, -EPROTO);
}

TEST(explore, random_walk_finds_a_lost_update_and_repeats_it)
{
    finds_lost_update(FM_EXPLORE_RANDOM, 1000, 0, 0);
}

TEST(explore, pct_finds_a_lost_update_and_repeats_it)
{
    finds_lost_update(FM_EXPLORE_PCT, 3000, 1, 0);
}

TEST(explore, exhaustive_search_finds_a_lost_update_and_repeats_it)
{
    finds_lost_update(FM_EXPLORE_EXHAUSTIVE, 3000, 0, 0);
}

TEST(explore, a_lost_update_among_schedules_of_one_process_is_repeated_after_the_others)
{
    for (uint32_t together = 2; together < 40; together = together * 3 - 1) {
        finds_lost_update(FM_EXPLORE_RANDOM, 1000, together, 0);
        finds_lost_update(FM_EXPLORE_PCT, 3000, together, 0);
    }
}

static struct fm_exit increment_under(void *arg)
{
    void **shared = arg;
    fm_mutex_lock(shared[0], FM_NEVER);
    increment(shared[1]);
    fm_mutex_unlock(shared[0]);
    return fm_ok(NULL);
}

static struct fm_exit guarded_update(void *arg)
{
    int counter = 0;
    struct fm_mutex *mutex;
    if (fm_mutex_create(&mutex) < 0)
        return fm_fail(-ENOMEM);
    run_two(increment_under, (void *[]) { mutex, &counter });
    fm_mutex_destroy(mutex);
    return counter == 2 ? fm_ok(NULL) : fm_fail(-EPROTO);
}

TEST(explore, what_is_right_passes_under_every_strategy)
{
    for (uint32_t strategy = FM_EXPLORE_RANDOM; strategy <= FM_EXPLORE_EXHAUSTIVE; strategy++) {
        struct fm_explore_options options = with(strategy, some(200));
        struct fm_explore_report report;
        cr_assert_eq(fm_explore(guarded_update, NULL, &options, &report), 0);
        cr_assert_eq(report.schedules, some(200));
        cr_assert_eq(report.kind, FM_EXPLORE_PASSED);
        cr_assert_gt(report.distinct, some(150));
    }
}

TEST(explore, an_exhaustive_search_ends_when_all_have_been_tried)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_explore_options options = with(FM_EXPLORE_EXHAUSTIVE, 0);
    struct fm_explore_report report;
    config.worker_count = 1;
    options.config = &config;
    options.preemptions = 1;
    options.deviations = 1;
    cr_assert_eq(fm_explore(guarded_update, NULL, &options, &report), 0);
    cr_assert(report.complete);
    cr_assert_gt(report.schedules, 10);
    options.schedules = report.schedules - 1;
    cr_assert_eq(fm_explore(guarded_update, NULL, &options, &report), 0);
    cr_assert_not(report.complete);
}

/* ---- the other kinds ---- */

static struct fm_semaphore *left, *right;

static void take_both(struct fm_semaphore *first, struct fm_semaphore *second)
{
    fm_semaphore_acquire(first, 1, FM_NEVER);
    fm_semaphore_acquire(second, 1, FM_NEVER);
    fm_semaphore_release(second, 1);
    fm_semaphore_release(first, 1);
}

static void take_right_first(void *arg)
{
    take_both(right, left);
}

static struct fm_exit take_against_each_other(void *arg)
{
    fm_semaphore_create(1, &left);
    fm_semaphore_create(1, &right);
    fm_explore_thread(take_right_first, NULL);
    take_both(left, right);
    return fm_ok(NULL);
}

TEST(explore, permits_taken_in_two_orders_are_a_deadlock)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 1000);
    struct fm_explore_report report;
    cr_assert_eq(fm_explore(take_against_each_other, NULL, &options, &report),
                 FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_DEADLOCK);
}

static struct fm_exit yield_for_ever(void *arg)
{
    while (fm_yield() == 0)
        ;
    return fm_interrupted();
}

TEST(explore, who_never_comes_to_an_end_meets_the_step_limit)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 10);
    struct fm_explore_report report;
    options.step_limit = 5000;
    cr_assert_eq(fm_explore(yield_for_ever, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_STEP_LIMIT);
    cr_assert_eq(report.steps, 5000);
}

static struct fm_exit kill_self(void *arg)
{
    raise(SIGKILL);
    return fm_ok(NULL);
}

static struct fm_exit leave_process(void *arg)
{
    _exit(7);
}

TEST(explore, a_crash_is_a_result_with_its_signal_or_status)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 10);
    struct fm_explore_report report;
    cr_assert_eq(fm_explore(kill_self, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_CRASHED);
    cr_assert_eq(report.code, SIGKILL);
    cr_assert_eq(fm_explore(leave_process, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_CRASHED);
    cr_assert_eq(report.code, 7);
}

static struct fm_exit wait_outside(void *arg)
{
    pause();
    return fm_ok(NULL);
}

TEST(explore, who_waits_for_the_outside_is_given_up)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 10);
    struct fm_explore_report report;
    options.patience_s = 1;
    cr_assert_eq(fm_explore(wait_outside, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_STUCK);
}

static _Atomic int *shared_count;

static struct fm_exit differ(void *arg)
{
    /* what another process does is no part of the schedule */
    if (atomic_fetch_add(shared_count, 1) % 2)
        fm_yield();
    return fm_ok(NULL);
}

TEST(explore, a_test_that_depends_on_more_than_the_schedule_is_told_so)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 10);
    struct fm_explore_report report;
    shared_count = mmap(NULL, sizeof *shared_count, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)shared_count, MAP_FAILED);
    cr_assert_eq(fm_explore(differ, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_DIVERGED);
}

/* ---- schedules that share a process ---- */

static struct fm_exit count_in_process(void *arg)
{
    static int before;
    if (before++ == 0)
        atomic_fetch_add(shared_count, 1);
    if (arg && before == *(int *)arg)
        raise(SIGKILL);
    return fm_ok(NULL);
}

TEST(explore, so_many_schedules_share_a_process_and_its_memory)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 25);
    struct fm_explore_report report;
    shared_count = mmap(NULL, sizeof *shared_count, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)shared_count, MAP_FAILED);
    options.together = 10;
    cr_assert_eq(fm_explore(count_in_process, NULL, &options, &report), 0);
    cr_assert_eq(report.schedules, 25);
    cr_assert_eq(report.distinct, 25);
    /* one to measure the test, three, and the first of them again */
    cr_assert_eq(atomic_load(shared_count), 5);
}

TEST(explore, the_schedule_that_crashes_a_process_is_the_one_that_is_told_and_repeated)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 25);
    struct fm_explore_report report, again;
    int third = 3;
    shared_count = mmap(NULL, sizeof *shared_count, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)shared_count, MAP_FAILED);
    options.together = 10;
    cr_assert_eq(fm_explore(count_in_process, &third, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_CRASHED);
    cr_assert_eq(report.code, SIGKILL);
    cr_assert_eq(report.schedules, 3);
    cr_assert_str_eq(report.replay, "0x1+2");
    options.replay = "0x1+2";
    cr_assert_eq(fm_explore(count_in_process, &third, &options, &again), FM_EXPLORE_FOUND);
    cr_assert_eq(again.kind, FM_EXPLORE_CRASHED);
    cr_assert_eq(again.trace, report.trace);
    options.replay = "0x1+1";
    cr_assert_eq(fm_explore(count_in_process, &third, &options, &again), 0);
}

static struct fm_exit differ_later(void *arg)
{
    static int before;
    return before++ == 4 ? differ(arg) : fm_ok(NULL);
}

TEST(explore, each_schedule_of_a_process_that_is_run_twice_is_compared)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 10);
    struct fm_explore_report report;
    shared_count = mmap(NULL, sizeof *shared_count, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq((void *)shared_count, MAP_FAILED);
    options.together = 10;
    cr_assert_eq(fm_explore(differ_later, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_DIVERGED);
}

/* ---- light threads ---- */

static __thread int of_thread = 7;
static _Atomic int strays;

/* What is a thread's own stays so, whoever runs in between. */
static void keep_own(void *arg)
{
    struct fm_channel *channel = arg;
    int own = (int)(fm_explore_random() % 1000);
    if (of_thread != 7)
        atomic_fetch_add(&strays, 1);
    of_thread = errno = own;
    for (int i = 0; i < 20; i++) {
        fm_explore_point("another thread");
        if (of_thread != own || errno != own)
            atomic_fetch_add(&strays, 1);
    }
    fm_channel_send(channel, NULL, FM_NEVER);
    if (of_thread != own)
        atomic_fetch_add(&strays, 1);
}

static struct fm_exit block(void *arg)
{
    (void)arg;
    fm_explore_point("in a blocking job");
    return fm_ok(NULL);
}

/* Fibers, threads that wait, a blocking job, a deadline. */
static struct fm_exit threads_of_all_kinds(void *arg)
{
    struct fm_channel *channel;
    void *value;

    (void)arg;
    atomic_store(&strays, 0);
    if (fm_channel_create(0, NULL, &channel) < 0)
        return fm_fail(-ENOMEM);
    for (int i = 0; i < 3; i++)
        if (fm_explore_thread(keep_own, channel) < 0)
            return fm_fail(-EAGAIN);
    fm_blocking(block, NULL, FM_NEVER, NULL);
    fm_sleep_ms(1);
    for (int i = 0; i < 3; i++)
        fm_channel_recv(channel, FM_NEVER, &value);
    fm_channel_destroy(channel);
    return fm_ok(NULL);
}

static int check_no_strays(void *arg)
{
    (void)arg;
    return atomic_load(&strays) == 0 ? 0 : -EPROTO;
}

TEST(explore, light_threads_have_thread_locals_of_their_own_and_make_the_same_steps)
{
    for (uint32_t strategy = FM_EXPLORE_RANDOM; strategy <= FM_EXPLORE_PCT; strategy++) {
        struct fm_explore_options options = with(strategy, some(100));
        struct fm_explore_report heavy, light;
        options.check = check_no_strays;
        options.together = 10;
        options.time_jumps = 200;
        cr_assert_eq(fm_explore(threads_of_all_kinds, NULL, &options, &heavy), 0);
        options.flags |= FM_EXPLORE_LIGHT;
        cr_assert_eq(fm_explore(threads_of_all_kinds, NULL, &options, &light), 0);
        cr_assert_eq(light.steps, heavy.steps);
        cr_assert_eq(light.trace, heavy.trace);
        cr_assert_eq(light.distinct, heavy.distinct);
    }
}

static void abort_in_thread(void *arg)
{
    (void)arg;
    fm_explore_point("before the end");
    raise(SIGKILL);
}

static struct fm_exit crash_in_thread(void *arg)
{
    return fm_explore_thread(abort_in_thread, arg) == 0 ? fm_ok(NULL) : fm_fail(-EAGAIN);
}

TEST(explore, light_threads_crash_deadlock_and_come_to_the_limit_as_others_do)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 1000);
    struct fm_explore_report report;
    options.flags |= FM_EXPLORE_LIGHT;
    cr_assert_eq(fm_explore(crash_in_thread, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_CRASHED);
    cr_assert_eq(report.code, SIGKILL);
    cr_assert_eq(fm_explore(take_against_each_other, NULL, &options, &report),
                 FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_DEADLOCK);
    options.step_limit = 5000;
    cr_assert_eq(fm_explore(yield_for_ever, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_STEP_LIMIT);
}

TEST(explore, light_threads_find_a_lost_update_that_is_repeated)
{
    finds_lost_update(FM_EXPLORE_RANDOM, 1000, 10, FM_EXPLORE_LIGHT);
    finds_lost_update(FM_EXPLORE_EXHAUSTIVE, 3000, 1, FM_EXPLORE_LIGHT);
}

static int check_five(void *arg)
{
    return *(int *)arg == 5 ? 0 : -ERANGE;
}

static struct fm_exit set_five(void *arg)
{
    *(int *)arg = 5;
    return fm_ok(NULL);
}

static struct fm_exit set_four(void *arg)
{
    *(int *)arg = 4;
    return fm_ok(NULL);
}

TEST(explore, check_sees_what_the_test_left_and_decides)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 20);
    struct fm_explore_report report;
    int value = 0;
    options.check = check_five;
    cr_assert_eq(fm_explore(set_five, &value, &options, &report), 0);
    cr_assert_eq(value, 0, "a schedule has memory of its own");
    cr_assert_eq(fm_explore(set_four, &value, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_FAILED);
    cr_assert_eq(report.code, -ERANGE);
}

/* ---- repeating ---- */

static struct fm_exit sleep_a_little(void *arg)
{
    fm_sleep_ms(*(int *)arg);
    return fm_ok(NULL);
}

static void complete_promise(void *promise)
{
    fm_promise_complete(promise, fm_ok(NULL));
}

static struct fm_exit a_bit_of_everything(void *arg)
{
    struct fm_promise *promise;
    struct fm_map *map;
    int ms = 3;
    if (fm_promise_create(&promise) < 0 || fm_map_create(NULL, &map) < 0)
        return fm_fail(-ENOMEM);
    fm_explore_thread(complete_promise, promise);
    run_two(sleep_a_little, &ms);
    for (int i = 0; i < 3; i++)
        fm_map_run(map, fm_key_str(i % 2 ? "one" : "two"), sleep_a_little, &ms, NULL, NULL);
    fm_promise_await(promise, FM_NEVER, NULL);
    fm_map_await_quiescent(map, FM_NEVER);
    fm_map_destroy(map);
    fm_promise_unref(promise);
    return fm_ok(NULL);
}

TEST(explore, the_same_seed_makes_the_same_trace)
{
    for (uint32_t workers = 1; workers <= 4; workers++) {
        struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
        config.worker_count = workers;
        for (uint64_t seed = 1; seed <= 10; seed++) {
            struct fm_explore_options options = with(seed % 2 ? FM_EXPLORE_RANDOM
                                                              : FM_EXPLORE_PCT,
                                                     1);
            struct fm_explore_report once, twice;
            options.config = &config;
            options.seed = seed;
            options.time_jumps = seed % 3 ? 0 : 100;
            cr_assert_eq(fm_explore(a_bit_of_everything, NULL, &options, &once), 0);
            cr_assert_eq(fm_explore(a_bit_of_everything, NULL, &options, &twice), 0);
            cr_assert_eq(once.trace, twice.trace, "%u workers, seed %d", workers, (int)seed);
            cr_assert_eq(once.steps, twice.steps);
        }
    }
}

static uint64_t traces_of(uint32_t flags, const char *variable, const char *value)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 3);
    options.flags = 0;
    struct fm_explore_report report;
    options.name = "everything";
    options.flags |= flags;
    if (variable)
        setenv(variable, value, 1);
    /* a replay by FM_EXPLORE tells its trace on stderr */
    int err = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDERR_FILENO);
    int r = fm_explore(a_bit_of_everything, NULL, &options, &report);
    dup2(err, STDERR_FILENO);
    close(err);
    close(null);
    if (variable)
        unsetenv(variable);
    cr_assert_eq(r, 0);
    return report.trace;
}

TEST(explore, the_environment_chooses_the_seed_or_the_schedule)
{
    uint64_t usual = traces_of(0, NULL, NULL);
    uint64_t seeded = traces_of(0, "FM_SEED", "0x77");
    cr_assert_neq(usual, seeded);
    cr_assert_eq(seeded, traces_of(0, "FM_SEED", "119"));
    uint64_t again = traces_of(0, "FM_EXPLORE", "everything=0x77");
    cr_assert_neq(again, seeded, "the schedule of the seed itself, not the third after it");
    cr_assert_eq(usual, traces_of(0, "FM_EXPLORE", "something else=0x77"));
}

TEST(explore, a_fine_exploration_has_more_points)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 50);
    struct fm_explore_report coarse, fine;
    cr_assert_eq(fm_explore(a_bit_of_everything, NULL, &options, &coarse), 0);
    options.flags |= FM_EXPLORE_FINE;
    cr_assert_eq(fm_explore(a_bit_of_everything, NULL, &options, &fine), 0);
    cr_assert_gt(fine.steps, coarse.steps + coarse.steps / 2);
}

static size_t read_all(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    cr_assert_gt(n, 0);
    text[n] = 0;
    return (size_t)n;
}

TEST(explore, a_trace_has_one_line_a_step_with_thread_point_and_choice)
{
    static char text[1 << 20];
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 1000);
    struct fm_explore_report report;
    options.trace_fd = memfd_create("trace", MFD_CLOEXEC);
    cr_assert_gt(options.trace_fd, 0);
    cr_assert_eq(fm_explore(lost_update, NULL, &options, &report), FM_EXPLORE_FOUND);
    read_all(options.trace_fd, text, sizeof text);
    close(options.trace_fd);
    cr_assert_not_null(strstr(text, "     0  main "));
    cr_assert_not_null(strstr(text, "fm-worker-0"));
    cr_assert_not_null(strstr(text, "write the counter"));
    cr_assert_not_null(strstr(text, "compare-and-swap word  fm__state_wait_begin state.h:"));
    cr_assert_not_null(strstr(text, "  -> fm-worker-1"));
    char last[32];
    int lines = 0;
    for (char *c = text; *c; c++)
        lines += *c == '\n';
    snprintf(last, sizeof last, "\n%6d  ", lines - 1);
    cr_assert_not_null(strstr(text, last), "numbered to the end");
}

static struct fm_exit draw(void *arg)
{
    return fm_explore_random() == fm_explore_random() ? fm_fail(-EPROTO) : fm_ok(NULL);
}

static struct fm_exit draw_odd(void *arg)
{
    return fm_explore_random() % 2 ? fm_fail(-EPROTO) : fm_ok(NULL);
}

TEST(explore, a_schedule_has_random_numbers_of_its_own)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 50);
    struct fm_explore_report report;
    cr_assert_eq(fm_explore(draw, NULL, &options, NULL), 0);
    cr_assert_eq(fm_explore(draw_odd, NULL, &options, &report), FM_EXPLORE_FOUND);
    options.seed = report.seed;
    options.schedules = 1;
    cr_assert_eq(fm_explore(draw_odd, NULL, &options, NULL), FM_EXPLORE_FOUND);
    cr_assert_eq(fm_explore_random(), 0);
}

/* ---- time ---- */

struct times {
    int64_t woke_ns[3];
};

static struct times *times_of_test;

static struct fm_exit sleep_by_index(void *arg)
{
    uintptr_t i = (uintptr_t)arg;
    fm_sleep_ms(10 * ((int64_t)i + 1));
    times_of_test->woke_ns[i] = fm_now_ns();
    return fm_ok(NULL);
}

static struct fm_exit sleep_in_turn(void *arg)
{
    struct fm_fiber *fibers[3];
    struct times times = { 0 };
    times_of_test = &times;
    int64_t start = fm_now_ns();
    for (uintptr_t i = 3; i-- > 0;)
        fm_fiber_spawn(sleep_by_index, (void *)i, NULL, &fibers[i]);
    for (int i = 0; i < 3; i++) {
        fm_fiber_join(fibers[i], FM_NEVER, NULL);
        fm_fiber_unref(fibers[i]);
    }
    for (int i = 0; i < 3; i++) {
        int64_t ms = (times.woke_ns[i] - start) / 1000000;
        if (ms < 10 * (i + 1) || ms > 10 * (i + 1) + 3)
            return fm_fail(-ERANGE);
    }
    return fm_ok(NULL);
}

TEST(explore, sleeps_take_no_real_time_and_end_in_their_order)
{
    for (uint32_t workers = 1; workers <= 3; workers++) {
        struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
        struct fm_explore_options options = with(FM_EXPLORE_RANDOM, some(100));
        config.worker_count = workers;
        options.config = &config;
        cr_assert_eq(fm_explore(sleep_in_turn, NULL, &options, NULL), 0, "%u workers", workers);
    }
}

static struct fm_exit sleep_on_virtual_clock(void *arg)
{
    struct fm_fiber *fiber;
    int ms = 7;
    fm_fiber_spawn(sleep_a_little, &ms, NULL, &fiber);
    int64_t next = 0;
    int r = fm_clock_next_ns(fm_runtime_current(), &next);
    if (r < 0 || next != 7000000)
        return fm_fail(-ERANGE);
    r = fm_clock_advance_ns(fm_runtime_current(), 7000000);
    if (r < 0 || fm_now_ns() != 7000000 || fm_fiber_poll(fiber, NULL) < 0)
        return fm_fail(-ERANGE);
    fm_fiber_unref(fiber);
    return fm_ok(NULL);
}

TEST(explore, the_virtual_clock_is_exact_in_every_schedule)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, some(200));
    config.clock = FM_CLOCK_VIRTUAL;
    options.config = &config;
    cr_assert_eq(fm_explore(sleep_on_virtual_clock, NULL, &options, NULL), 0);
}

static struct fm_exit beat_the_deadline(void *arg)
{
    struct fm_promise *promise;
    if (fm_promise_create(&promise) < 0)
        return fm_fail(-ENOMEM);
    fm_explore_thread(complete_promise, fm_promise_ref(promise));
    int r = fm_promise_await(promise, fm_after_ms(100), NULL);
    fm_promise_unref(promise);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

TEST(explore, a_deadline_passes_early_only_where_time_may_jump)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, some(200));
    struct fm_explore_report report;
    cr_assert_eq(fm_explore(beat_the_deadline, NULL, &options, NULL), 0);
    options.schedules = 200;
    options.time_jumps = 50;
    cr_assert_eq(fm_explore(beat_the_deadline, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.exit.code, -ETIMEDOUT);
}

/* ---- processors ---- */

static struct fm_exit counts_processors(void *arg)
{
    unsigned *before = arg;
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) < 0 || CPU_COUNT(&set) != 1)
        return fm_fail(-ERANGE);
    return fm__cpu_count() == *before ? fm_ok(NULL) : fm_fail(-EPROTO);
}

TEST(explore, a_schedule_stays_on_one_processor_and_counts_all_of_them)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 3);
    struct fm_explore_report report;
    unsigned before = fm__cpu_count();
    int r = fm_explore(counts_processors, &before, &options, &report);
    cr_assert_eq(r, 0, "%d", r == 1 ? report.exit.code : r);
}

/* ---- io, the blocking pool ---- */

static struct fm_exit read_one(void *arg)
{
    char byte;
    ssize_t n = fm_read(*(int *)arg, &byte, 1, FM_NEVER);
    return n == 1 && byte == 'x' ? fm_ok(NULL) : fm_fail(-EPROTO);
}

static struct fm_exit through_a_pipe(void *arg)
{
    struct fm_fiber *reader;
    struct fm_exit exit;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return fm_fail(-errno);
    fm_fiber_spawn(read_one, &ends[0], NULL, &reader);
    fm_yield();
    if (fm_write(ends[1], "x", 1, FM_NEVER) != 1)
        return fm_fail(-EIO);
    fm_fiber_join(reader, FM_NEVER, &exit);
    fm_fiber_unref(reader);
    fm_close(ends[0]);
    fm_close(ends[1]);
    return exit;
}

TEST(explore, a_pipe_inside_the_test_is_repeated_too)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, some(100));
    struct fm_explore_report once, twice;
    cr_assert_eq(fm_explore(through_a_pipe, NULL, &options, &once), 0);
    cr_assert_eq(fm_explore(through_a_pipe, NULL, &options, &twice), 0);
    cr_assert_eq(once.trace, twice.trace);
    cr_assert_eq(once.distinct, twice.distinct);
}

static struct fm_exit add_one(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    return fm_ok(NULL);
}

static struct fm_exit blocking_job(void *arg)
{
    struct fm_exit exit;
    int r = fm_blocking(add_one, arg, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

static struct fm_exit two_blocking_jobs(void *arg)
{
    _Atomic int count = 0;
    run_two(blocking_job, (void *)&count);
    return atomic_load(&count) == 2 ? fm_ok(NULL) : fm_fail(-EPROTO);
}

TEST(explore, threads_of_the_blocking_pool_take_turns)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, some(100));
    struct fm_explore_report once, twice;
    cr_assert_eq(fm_explore(two_blocking_jobs, NULL, &options, &once), 0);
    cr_assert_eq(fm_explore(two_blocking_jobs, NULL, &options, &twice), 0);
    cr_assert_eq(once.trace, twice.trace);
    cr_assert_eq(once.steps, twice.steps);
}

/* ---- a runtime by itself ---- */

static struct fm_exit note_worker(void *arg)
{
    _Atomic uint64_t *trail = arg;
    for (int i = 0; i < 5; i++) {
        atomic_store(trail, atomic_load(trail) * 31 + fm_fiber_id(fm_fiber_self()));
        fm_yield();
    }
    return fm_ok(NULL);
}

static struct fm_exit trail_of_two(void *arg)
{
    return run_two(note_worker, arg);
}

static uint64_t seeded_trail(uint64_t seed)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    _Atomic uint64_t trail = 0;
    config.worker_count = 3;
    config.seed = seed;
    config.flags = FM_RUNTIME_SEEDED;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, trail_of_two, &trail, NULL), 0);
    fm_runtime_destroy(runtime);
    return trail;
}

TEST(explore, a_seeded_runtime_takes_turns_in_its_own_process)
{
    uint64_t first = seeded_trail(1);
    bool other = false;
    cr_assert_neq(first, 0);
    for (uint64_t seed = 2; seed < 20; seed++)
        other |= seeded_trail(seed) != first;
    cr_assert(other);
}

TEST(explore, outside_a_test_there_are_no_threads_and_points_are_nothing)
{
    cr_assert_eq(fm_explore_thread(take_right_first, NULL), -EPERM);
    cr_assert_eq(fm_explore_thread(NULL, NULL), -EINVAL);
    fm_explore_point("nothing");
    fm_explore_wait("nothing");
}

static struct fm_exit explore_inside(void *arg)
{
    return fm_explore(set_five, arg, NULL, NULL) == -EPERM ? fm_ok(NULL) : fm_fail(-EPROTO);
}

TEST(explore, bad_arguments_are_refused)
{
    struct fm_explore_options options = with(3, 1);
    int value;
    cr_assert_eq(fm_explore(NULL, NULL, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_explore(set_five, &value, &options, NULL), -EINVAL);
    options = with(FM_EXPLORE_PCT, 1);
    options.depth = 17;
    cr_assert_eq(fm_explore(set_five, &value, &options, NULL), -EINVAL);
    options = with(FM_EXPLORE_RANDOM, 1);
    options.replay = "no number";
    cr_assert_eq(fm_explore(set_five, &value, &options, NULL), -EINVAL);
    for (int i = 0; i < 3; i++) {
        options.replay = (const char *[]) { "0x1+", "0x1+1000", "0x1+2x" }[i];
        cr_assert_eq(fm_explore(set_five, &value, &options, NULL), -EINVAL);
    }
    options = with(FM_EXPLORE_RANDOM, 1);
    options.together = 1001;
    cr_assert_eq(fm_explore(set_five, &value, &options, NULL), -EINVAL);
    options = with(FM_EXPLORE_EXHAUSTIVE, 1);
    options.together = 2;
    cr_assert_eq(fm_explore(set_five, &value, &options, NULL), -EINVAL);
    options = with(FM_EXPLORE_EXHAUSTIVE, 1);
    options.replay = "12.";
    cr_assert_eq(fm_explore(set_five, &value, &options, NULL), -EINVAL);
    options = with(FM_EXPLORE_RANDOM, 1);
    cr_assert_eq(fm_explore(explore_inside, &value, &options, NULL), 0);
    cr_assert_str_eq(fm_explore_kind_name(FM_EXPLORE_STEP_LIMIT), "step limit");
    cr_assert_str_eq(fm_explore_kind_name(99), "unknown");
}
