/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_bounds.c - what an exploration refuses, where its tables end, and the library under no arbiter
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fm/fm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/explore/search.h"
#include "runtime/explore/seen.h"
#include "runtime/explore/trace.h"
#include "runtime/platform/sanitizer.h"
#include "tests/support/test.h"

static struct fm_explore_options with(uint32_t strategy, uint64_t schedules)
{
    struct fm_explore_options options = FM_EXPLORE_OPTIONS_INIT;
    options.strategy = strategy;
    options.schedules = schedules;
    options.flags = FM_EXPLORE_QUIET;
    return options;
}

static struct fm_exit succeed(void *arg)
{
    return fm_ok(NULL);
}

static struct fm_exit fail(void *arg)
{
    return fm_fail(-EPROTO);
}

static int explore(const struct fm_explore_options *options)
{
    return fm_explore(succeed, NULL, options, NULL);
}

/* ---- options ---- */

TEST(explore_bounds, options_that_mean_nothing_are_einval)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 1);
    options.flags |= 1u << 5;
    cr_assert_eq(explore(&options), -EINVAL);
    options = with(FM_EXPLORE_RANDOM, 1);
    options.trace_fd = -1;
    cr_assert_eq(explore(&options), -EINVAL);
    options = with(FM_EXPLORE_RANDOM, 1);
    options.step_limit = 100000001;
    cr_assert_eq(explore(&options), -EINVAL);
}

TEST(explore_bounds, options_of_a_later_version_are_e2big)
{
    struct {
        struct fm_explore_options options;
        uint64_t tail;
    } longer = { with(FM_EXPLORE_RANDOM, 1), 1 };
    struct {
        struct fm_runtime_config config;
        uint64_t tail;
    } config = { FM_RUNTIME_CONFIG_INIT, 1 };
    longer.options.size = sizeof longer;
    cr_assert_eq(explore(&longer.options), -E2BIG);
    longer.tail = 0;
    cr_assert_eq(explore(&longer.options), 0);
    config.config.size = sizeof config;
    longer.options.config = &config.config;
    cr_assert_eq(explore(&longer.options), -E2BIG);
}

TEST(explore_bounds, what_is_no_schedule_is_not_played)
{
    static const char *const texts[] = { "x",    "1",       "1.x",       "1.64", "1.2x",
                                         "1.2-", "7.1,8.1", "1.2-usual", "" };
    struct fm_explore_options options = with(FM_EXPLORE_EXHAUSTIVE, 1);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        options.replay = texts[i];
        cr_assert_eq(explore(&options), -EINVAL, "\"%s\"", texts[i]);
    }
    options.replay = "usual";
    cr_assert_eq(explore(&options), 0);
    options = with(FM_EXPLORE_RANDOM, 1);
    options.replay = "0x5eedy";
    cr_assert_eq(explore(&options), -EINVAL);
}

TEST(explore_bounds, a_choice_of_somebody_who_is_not_there_has_diverged)
{
    struct fm_explore_options options = with(FM_EXPLORE_EXHAUSTIVE, 1);
    struct fm_explore_report report;
    options.replay = "0.63";
    cr_assert_eq(fm_explore(succeed, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.kind, FM_EXPLORE_DIVERGED);
}

TEST(explore_bounds, zeros_are_the_defaults)
{
    struct fm_explore_report report;
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 0);
    cr_assert_eq(fm_explore(fail, NULL, &options, &report), FM_EXPLORE_FOUND);
    cr_assert_eq(report.schedules, 1);
    cr_assert_eq(report.seed, 1);
}

/* ---- what the system refuses ---- */

static bool no_processes;

pid_t fork(void)
{
    if (no_processes) {
        errno = EAGAIN;
        return -1;
    }
    pid_t (*real)(void);
    *(void **)&real = dlsym(RTLD_NEXT, "fork");
    return real();
}

TEST(explore_bounds, without_processes_there_is_no_exploration)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 1);
    no_processes = true;
    cr_assert_eq(explore(&options), -EAGAIN);
    options.replay = "0x5eed";
    cr_assert_eq(explore(&options), -EAGAIN);
    options = with(FM_EXPLORE_EXHAUSTIVE, 1);
    cr_assert_eq(explore(&options), -EAGAIN);
    no_processes = false;
    cr_assert_eq(explore(&options), 0);
}

TEST(explore_bounds, without_room_for_its_steps_there_is_no_exploration)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 1);
    struct rlimit limit;
    if (FM_ASAN || FM_TSAN)
        cr_skip_test("it takes more address space than that by itself");
    cr_assert_eq(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = 1 << 30;
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
    options.step_limit = 100000000;
    cr_assert_eq(explore(&options), -ENOMEM);
}

TEST(explore_bounds, a_trace_that_cannot_be_written_is_told)
{
    static struct arbiter_log log;
    static const struct turn_point point = { .what = "step" };
    struct step steps[2] = { { &point, 0, 1 }, { &point, 1, 0 } };
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    log.records = steps;
    log.steps = log.record_max = 2;
    log.seat_count = 1;
    log.seats[0].state = SEAT_READY;
    log.seats[0].at = &point;
    cr_assert_eq(fm__trace_write(&log, fd), -ENOSPC);
    cr_assert_eq(fm__trace_seats(&log, fd), -ENOSPC);
    close(fd);
    cr_assert_eq(fm__trace_write(&log, fd), -EBADF);
}

/* ---- where tables end ---- */

static void take_a_step(void *arg)
{
    fm_explore_point("thread");
}

static struct fm_exit have_threads(void *arg)
{
    int most = *(int *)arg, count = 0, r;
    while ((r = fm_explore_thread(take_a_step, NULL)) == 0)
        count++;
    return r == -EAGAIN && count <= most && count > most - 8 ? fm_ok(NULL) : fm_fail(-EPROTO);
}

TEST(explore_bounds, threads_are_at_most_sixty_with_the_workers)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 1);
    int most = 60;
    config.worker_count = 1;
    options.config = &config;
    cr_assert_eq(fm_explore(have_threads, &most, &options, NULL), 0);
    config.worker_count = 10; /* the seats end before */
    most = 54;
    cr_assert_eq(fm_explore(have_threads, &most, &options, NULL), 0);
}

static struct fm_exit come_to_many_points(void *arg)
{
    static char names[200][8];
    for (int i = 0; i < 200; i++) {
        snprintf(names[i], sizeof names[i], "p%d", i);
        fm_explore_point(names[i]);
        fm_explore_point(names[i]);
    }
    return fm_ok(NULL);
}

TEST(explore_bounds, more_points_than_have_names_are_points_all_the_same)
{
    struct fm_explore_options options = with(FM_EXPLORE_RANDOM, 3);
    struct fm_explore_report report;
    cr_assert_eq(fm_explore(come_to_many_points, NULL, &options, &report), 0);
    cr_assert_geq(report.steps_max, 400);
}

TEST(explore_bounds, the_set_of_traces_grows_and_counts_each_once)
{
    struct seen seen = { 0 };
    for (int round = 0; round < 2; round++)
        for (uint64_t i = 0; i < 5000; i++)
            fm__seen_add(&seen,
                         i * UINT64_C(0x9E3779B97F4A7C14)); /* even: odd ones are as one */
    cr_assert_eq(seen.count, 5000);
    fm__seen_fini(&seen);
}

TEST(explore_bounds, choices_that_are_too_long_to_tell_are_told_as_none)
{
    static struct search search;
    static char text[16 * DEVIATIONS_MAX + 16], small[16];
    size_t at = 0;
    fm__search_init(&search, 2, 0);
    for (int i = 0; i < DEVIATIONS_MAX; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%d.1", i ? "-" : "", i);
    cr_assert(fm__search_read(&search, text));
    cr_assert_eq(search.deviation_count, DEVIATIONS_MAX);
    fm__search_write(&search, small, sizeof small);
    cr_assert_str_eq(small, "");
    snprintf(text + at, sizeof text - at, "-%d.1", DEVIATIONS_MAX);
    cr_assert_not(fm__search_read(&search, text), "one too many");
    cr_assert(fm__search_read(&search, "3.2"));
    fm__search_write(&search, small, sizeof small);
    cr_assert_str_eq(small, "3.2");
}

/* ---- who waits ---- */

static _Atomic bool flag;

static void raise_flag(void *arg)
{
    atomic_store(&flag, true);
}

static struct fm_exit wait_for_flag(void *wait)
{
    atomic_store(&flag, false);
    if (fm_explore_thread(raise_flag, NULL) < 0)
        return fm_fail(-EAGAIN);
    while (!atomic_load(&flag)) {
        if (*(bool *)wait)
            fm_explore_wait("for the flag");
        else
            fm_explore_point("at the flag");
    }
    return fm_ok(NULL);
}

TEST(explore_bounds, who_only_looks_does_not_keep_others_from_going_on)
{
    for (int wait = 0; wait < 2; wait++) {
        for (uint32_t strategy = FM_EXPLORE_RANDOM; strategy <= FM_EXPLORE_PCT; strategy++) {
            struct fm_explore_options options = with(strategy, 20);
            bool waits = wait;
            cr_assert_eq(fm_explore(wait_for_flag, &waits, &options, NULL), 0, "%u, %d",
                         strategy, wait);
        }
    }
}

/* ---- under no arbiter ---- */

static struct fm_exit sleep_shortly(void *arg)
{
    int r = fm_sleep_ms(1);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

static struct fm_exit live_as_any_other(void *arg)
{
    struct fm_fiber *fiber;
    struct fm_exit exit;
    if (explore(NULL) != -EPERM || fm_explore_random() != 0)
        return fm_fail(-EPROTO);
    fm_explore_point("nothing");
    fm_explore_wait("nothing");
    int r = fm_fiber_spawn(sleep_shortly, arg, NULL, &fiber);
    if (r < 0)
        return fm_fail(r);
    fm_fiber_join(fiber, FM_NEVER, &exit);
    fm_fiber_unref(fiber);
    r = fm_blocking(succeed, NULL, FM_NEVER, NULL);
    return r < 0 ? fm_fail(r) : exit;
}

TEST(explore_bounds, a_runtime_under_no_arbiter_is_as_any_other)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;
    config.worker_count = 2;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, live_as_any_other, &config, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS, "%s", fm_strerror(exit.code));
    cr_assert_eq(exit.value, &config);
    fm_runtime_destroy(runtime);
}

static void *make_another(void *config)
{
    struct fm_runtime *runtime;
    return (void *)(intptr_t)fm_runtime_create(config, &runtime);
}

TEST(explore_bounds, another_threads_runtime_does_not_take_turns_too)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    pthread_t thread;
    void *result;
    config.worker_count = 1;
    config.seed = 3;
    config.flags = FM_RUNTIME_SEEDED;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(pthread_create(&thread, NULL, make_another, &config), 0);
    pthread_join(thread, &result);
    cr_assert_eq((intptr_t)result, -EBUSY);
    fm_runtime_destroy(runtime);
}
