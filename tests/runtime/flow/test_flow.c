/* SPDX-License-Identifier: Apache-2.0 */
/* test_flow.c - what all calls of fm/flow.h refuse, and how they fail without memory */
#include <sched.h>

#include "runtime/platform/memory.h"
#include "tests/runtime/flow/each_test.h"

FIBER_TEST(flow, bad_arguments_change_nothing)
{
    struct fm_task hole[] = { { return_arg, NULL }, { NULL, NULL } };
    struct fm_exit exit = { .kind = 99 };
    size_t winner = 99;
    cr_assert_eq(fm_for_each(1, 1, NULL, NULL, &exit), -EINVAL);
    cr_assert_eq(fm_for_each(0, 1, NULL, NULL, &exit), -EINVAL);
    cr_assert_eq(fm_all(NULL, 1, 1, &exit), -EINVAL);
    cr_assert_eq(fm_all(hole, 2, 1, &exit), -EINVAL);
    cr_assert_eq(fm_race(NULL, 1, &winner, &exit), -EINVAL);
    cr_assert_eq(fm_race(hole, 2, &winner, &exit), -EINVAL);
    cr_assert_eq(fm_race_first(hole, 2, &winner, &exit), -EINVAL);
    cr_assert_eq(fm_timeout(NULL, NULL, FM_NEVER, &exit), -EINVAL);
    cr_assert_eq(exit.kind, 99);
    cr_assert_eq(winner, 99);
}

TEST(flow, threads_are_refused)
{
    struct fm_task one = { return_arg, NULL };
    struct fm_exit exit = { .kind = 99 };
    cr_assert_eq(fm_for_each(1, 1, count_call, NULL, &exit), -EPERM);
    cr_assert_eq(fm_all(&one, 1, 1, &exit), -EPERM);
    cr_assert_eq(fm_race(&one, 1, NULL, &exit), -EPERM);
    cr_assert_eq(fm_race_first(&one, 1, NULL, &exit), -EPERM);
    cr_assert_eq(fm_timeout(return_arg, NULL, FM_NEVER, &exit), -EPERM);
    cr_assert_eq(exit.kind, 99);
}

static void too_late(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    (void)fiber, (void)exit;
    *(int *)arg = fm_for_each(1, 1, count_call, NULL, NULL);
}

FIBER_TEST(flow, fiber_whose_body_is_over_is_refused)
{
    int result = 0;
    struct fm_observer observer = { .fn = too_late, .arg = &result };
    struct fm_fiber *fiber = start(return_arg, NULL);
    if (fm_fiber_observe(fiber, &observer) == 0) {
        finish(fiber);
        cr_assert_eq(result, -EPERM);
    } else {
        finish(fiber);
    }
}

static _Atomic int pieces_run;

static struct fm_exit count_piece(void *arg, size_t index)
{
    (void)arg, (void)index;
    atomic_fetch_add(&pieces_run, 1);
    return fm_fail(fm_yield());
}

static struct fm_exit piece_ok(void *arg, size_t index)
{
    count_piece(arg, index);
    return fm_ok(NULL);
}

/* A call without memory says so, and what was started is awaited. */
static void without_memory(enum fault_kind kind, bool for_ever)
{
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        struct fm_exit exit = fm_ok(NULL);
        fm__fault_set(kind, n, for_ever);
        atomic_store(&pieces_run, 0);
        int r = fm_for_each(300, 0, piece_ok, NULL, &exit);
        hit = fm__fault_hits(kind) != 0;
        fm__fault_set(kind, 0, false);
        if (r < 0)
            cr_assert(r == -ENOMEM && pieces_run == 0);
        else if (exit.kind != FM_SUCCESS)
            cr_assert(hit && exit.kind == FM_FAILURE && exit.code == -ENOMEM);
        else
            cr_assert_eq(pieces_run, 300);
        cr_assert_lt(n, 1000);
    }
}

/* F50 */
FIBER_TEST(flow, without_memory_it_fails_clean)
{
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        without_memory(FAULT_MALLOC, for_ever);
        without_memory(FAULT_MAP, for_ever);
    }
}

/*
 * Pieces that wait for one another, on stacks of which one reservation holds fewer. The first
 * call, whose pieces end at once, sees to it that the descriptors are there.
 */
static struct fm_exit without_stacks(void *arg)
{
    struct each each = { .count = 300 };
    _Atomic uint64_t calls = 0;
    struct fm_exit exit;
    (void)arg;
    int r = fm_for_each(each.count, 0, count_call, (void *)&calls, NULL);
    fm__fault_set(FAULT_MAP, 1, true);
    r = r < 0 ? r : fm_for_each(each.count, 0, meet_all, &each, &exit);
    bool hit = fm__fault_hits(FAULT_MAP) != 0;
    fm__fault_set(FAULT_MAP, 0, false);
    cr_assert_eq(r, 0, "%s", fm_strerror(r));
    cr_assert(hit);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -ENOMEM);
    return fm_ok(NULL);
}

/* F51 */
FIBER_TEST(flow, piece_that_gets_no_stack_fails_and_nobody_waits_for_it)
{
    struct fm_spawn_options options = { .size = sizeof options, .stack_bytes = 1 << 20 };
    struct fm_fiber *fiber;
    cr_assert_eq(fm_fiber_spawn(without_stacks, NULL, &options, &fiber), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
}

static struct fm_exit at_the_limit(void *arg)
{
    struct fm_exit exit;
    (void)arg;
    atomic_store(&pieces_run, 0);
    cr_assert_eq(fm_for_each(20, 10, piece_ok, NULL, &exit), -EAGAIN);
    cr_assert_eq(pieces_run, 0, "all or none");
    cr_assert_eq(fm_for_each(20, 4, piece_ok, NULL, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_eq(pieces_run, 20);
    return fm_ok(NULL);
}

TEST(flow, limit_of_live_fibers_is_told_before_anything_runs)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;
    config.worker_count = 2;
    config.max_fibers = 5;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, at_the_limit, NULL, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_runtime_destroy(runtime);
}

/* Two workers, everything at once: failures, interruptions, races, for many rounds. */
static struct fm_exit shaky(void *arg, size_t index)
{
    struct each *each = arg;
    on_the_board(&each->board);
    for (size_t i = 0; i < (index * 7 + each->count) % 4; i++)
        if (fm_yield() < 0)
            return fm_interrupted();
    return each->fails_at && index == (size_t)each->fails_at ? fm_fail(-EIO) : fm_ok(NULL);
}

static struct fm_exit run_shaky(void *arg)
{
    struct each *each = arg;
    each->result = fm_for_each(each->count, each->concurrency, shaky, each, &each->exit);
    all_off(&each->board);
    return fm_ok(NULL);
}

FIBER_TEST(flow, rounds_of_failure_and_interruption_leave_nothing)
{
    int cancelled = 0, failed = 0, done = 0;
    for (size_t round = 0; round < 1500; round++) {
        struct each each = { .count = 1 + round % 20,
                             .concurrency = round % 5,
                             .fails_at = (int)(round % 23) };
        struct fm_fiber *caller = start(run_shaky, &each);
        for (size_t i = 0; i < round % 7; i++)
            fm_yield();
        if (round % 2)
            fm_fiber_interrupt(caller);
        finish(caller);
        all_off(&each.board);
        cancelled += each.result == -ECANCELED;
        failed += each.result == 0 && each.exit.kind == FM_FAILURE;
        done += each.result == 0 && each.exit.kind == FM_SUCCESS;
    }
    cr_assert_gt(failed, 0);
    cr_assert_gt(done, 0);
    cr_assert_gt(cancelled, 0);
}
