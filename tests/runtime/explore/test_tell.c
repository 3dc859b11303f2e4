/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tell.c - what a failing schedule says on stderr: how it failed, who was where, and how to
 * have it again
 */
#include <errno.h>
#include <fm/fm.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/child.h"
#include "tests/support/test.h"

enum { FOUND = 42 };

/* An exploration in a process of its own, whose stderr is kept. */
struct telling {
    fm_entry_fn *test;
    struct fm_explore_options options;
};

static struct child child;

static struct telling telling_of(fm_entry_fn *test)
{
    struct telling telling = { test, FM_EXPLORE_OPTIONS_INIT };
    telling.options.name = "told";
    telling.options.schedules = 20;
    return telling;
}

static void explore(void *arg)
{
    struct telling *telling = arg;
    int r = fm_explore(telling->test, NULL, &telling->options, NULL);
    _exit(r == FM_EXPLORE_FOUND ? FOUND : r < 0 ? 1 : 0);
}

static void expect_found(struct telling *telling)
{
    child_run(&child, explore, telling);
    cr_assert_eq(child.exit_code, FOUND, "%d, signal %d: %s", child.exit_code, child.signal,
                 child.said);
}

static void expect_said(const char *words)
{
    cr_assert_geq(child_said(&child, words), 1, "not said: %s\n%s", words, child.said);
}

/* ---- how it failed ---- */

static struct fm_exit fail(void *arg)
{
    return fm_fail(-EPROTO);
}

TEST(tell, a_failure_is_told_with_its_code_and_the_line_that_repeats_it)
{
    struct telling telling = telling_of(fail);
    telling.options.seed = 0x5eed;
    expect_found(&telling);
    expect_said("told: schedule 1: failed (failure, Protocol error) after ");
    expect_said("\nagain, with its trace: FM_EXPLORE='told=0x5eed' ");
}

static struct fm_exit stop(void *arg)
{
    return fm_interrupted();
}

TEST(tell, an_exit_without_a_code_is_told_by_its_kind)
{
    struct telling telling = telling_of(stop);
    expect_found(&telling);
    expect_said("told: schedule 1: failed (interrupted) after ");
}

static struct fm_exit succeed(void *arg)
{
    return fm_ok(NULL);
}

static int refuse(void *arg)
{
    return -ERANGE;
}

TEST(tell, a_check_that_refuses_is_told_by_its_result)
{
    struct telling telling = telling_of(succeed);
    telling.options.check = refuse;
    expect_found(&telling);
    expect_said("told: schedule 1: failed (Numerical result out of range) after ");
}

TEST(tell, why_there_is_no_runtime_is_told)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct telling telling = telling_of(succeed);
    config.worker_count = UINT32_MAX;
    telling.options.config = &config;
    expect_found(&telling);
    expect_said("told: schedule 1: failed (Invalid argument) after ");
}

static struct fm_exit kill_self(void *arg)
{
    raise(SIGKILL);
    return fm_ok(NULL);
}

TEST(tell, a_crash_is_told_with_its_signal)
{
    struct telling telling = telling_of(kill_self);
    expect_found(&telling);
    expect_said("told: schedule 1: crashed (9) after ");
}

/* ---- who was where ---- */

static int ends[2];

static struct fm_exit read_for_ever(void *arg)
{
    char byte;
    fm_read(ends[0], &byte, 1, FM_NEVER);
    return fm_ok(NULL);
}

TEST(tell, a_deadlock_names_who_waits_and_has_a_dump)
{
    struct telling telling = telling_of(read_for_ever);
    cr_assert_eq(pipe(ends), 0);
    expect_found(&telling);
    expect_said("told: schedule 1: deadlock after ");
    expect_said("\n    main             waits: ");
    expect_said("\n    fm-worker-0 ");
    expect_said(" waits for io: ");
    expect_said("\nfiber ");
    close(ends[0]);
    close(ends[1]);
}

static struct fm_exit sleep_for_an_hour(void *arg)
{
    fm_sleep_ms(3600000);
    return fm_ok(NULL);
}

static struct fm_exit yield_beside_a_sleeper(void *arg)
{
    fm_fiber_spawn(sleep_for_an_hour, NULL, NULL, NULL);
    while (fm_yield() == 0)
        ;
    return fm_ok(NULL);
}

TEST(tell, a_schedule_without_an_end_names_who_can_go_on)
{
    struct telling telling = telling_of(yield_beside_a_sleeper);
    telling.options.step_limit = 5000;
    expect_found(&telling);
    expect_said("told: schedule 1: step limit after 5000 steps\n");
    expect_said("  can go on: ");
    expect_said(" with a deadline: ");
}

static void explore_by_environment(void *arg)
{
    setenv("FM_EXPLORE", "told=0x77", 1);
    explore(arg);
}

TEST(tell, a_schedule_that_is_had_again_writes_its_trace)
{
    struct telling telling = telling_of(fail);
    child_run(&child, explore_by_environment, &telling);
    cr_assert_eq(child.exit_code, FOUND);
    expect_said("again, with its trace: FM_EXPLORE='told=0x77' ");
    expect_said("\n     0  main             ");
}

TEST(tell, a_quiet_one_says_nothing)
{
    struct telling telling = telling_of(fail);
    telling.options.flags = FM_EXPLORE_QUIET;
    expect_found(&telling);
    cr_assert_str_eq(child.said, "");
}

/* ---- a runtime that takes turns by itself ---- */

static struct fm_exit wait_for_nobody(void *arg)
{
    return fm_fail(fm_never());
}

static void run_seeded(void *arg)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    config.worker_count = 2;
    config.seed = 0x77;
    config.flags = FM_RUNTIME_SEEDED;
    if (fm_runtime_create(&config, &runtime) == 0)
        fm_runtime_run(runtime, wait_for_nobody, NULL, NULL);
}

TEST(tell, a_seeded_runtime_that_cannot_go_on_says_so_and_stops_the_program)
{
    child_run(&child, run_seeded, NULL);
    cr_assert_eq(child.signal, SIGABRT, "%s", child.said);
    expect_said("fibermap: the runtime of seed 0x77 cannot go on: deadlock after ");
    expect_said("\n    main             waits: ");
}
