/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_for_each_interrupted.c - whenever its caller is interrupted, it leaves nothing running
 */
#include "tests/runtime/flow/each_test.h"

FIBER_TEST(for_each, pending_interruption_starts_nothing)
{
    struct each each = { .count = 5 };
    fm_fiber_interrupt(fm_fiber_self());
    run_each(&each);
    cr_assert_eq(each.result, -ECANCELED);
    cr_assert_eq(each.exit.kind, 99);
    cr_assert_eq(each.order, 0);
    fm_mask();
    run_each(&each);
    cr_assert_eq(each.result, 0, "under a mask it runs");
    cr_assert_eq(each.order, 5, "and its pieces are unmasked and not interrupted");
    fm_unmask();
}

/* At each millisecond of a run of 4 x 3 ms: all has ended when it returns. */
EXACT_TEST(for_each, caller_interrupted_at_any_moment_awaits_all)
{
    for (int at = 0; at <= 13; at++) {
        struct each each = { .count = 12, .concurrency = 3, .ms = 3 };
        struct fm_fiber *caller = start(run_each, &each);
        if (at > 0)
            pass_ms(at - 1);
        fm_fiber_interrupt(caller);
        struct fm_exit exit = finish(caller);
        if (at < 1) {
            cr_assert_eq(each.board.begun, 0, "it never ran");
        } else if (at <= 12) {
            cr_assert_eq(each.result, -ECANCELED, "at %d ms", at - 1);
            cr_assert_eq(each.board.begun, 3 * ((at - 1) / 3 + 1));
            expect_interruption(exit, FM_BY_USER);
        } else {
            cr_assert_eq(each.result, 0, "all had been done");
        }
    }
}

/* The same between any two switches, with bodies that yield. */
static struct fm_exit yield_some(void *arg, size_t index)
{
    struct each *each = arg;
    on_the_board(&each->board);
    for (size_t i = 0; i <= index % 3; i++) {
        int r = fm_yield();
        if (r < 0)
            return fm_fail(r);
    }
    return fm_ok(NULL);
}

static struct fm_exit run_yielding(void *arg)
{
    struct each *each = arg;
    each->result = fm_for_each(9, each->concurrency, yield_some, each, &each->exit);
    all_off(&each->board);
    return fm_ok(NULL);
}

WORKER_TEST(for_each, caller_interrupted_at_any_step_awaits_all)
{
    for (size_t concurrency = 0; concurrency < 4; concurrency++) {
        bool done = false;
        int cancelled = 0;
        for (int step = 0; !done; step++) {
            struct each each = { .concurrency = concurrency };
            struct fm_fiber *caller = start(run_yielding, &each);
            for (int i = 0; i < step && !has_ended(caller); i++)
                fm_yield();
            done = has_ended(caller);
            fm_fiber_interrupt(caller);
            finish(caller);
            cancelled += each.result == -ECANCELED;
            if (done)
                cr_assert_eq(each.board.begun, 9);
            cr_assert_lt(step, 1000);
        }
        cr_assert_gt(cancelled, 1);
    }
}

EXACT_TEST(for_each, interruption_after_the_outcome_does_not_take_it_away)
{
    struct board board = { .begun = 0 };
    struct each each = { .count = 6 };
    for (size_t i = 0; i < LENGTH(crowd); i++)
        crowd[i] = (struct job) { .board = &board, .ms = -1, .last_ms = 30 };
    crowd[0] = (struct job) { .board = &board, .ms = 10, .exit = fm_fail(-EIO) };
    struct fm_fiber *caller = start(for_the_crowd, &each);
    pass_ms(20);
    cr_assert_eq(board.finalized, 1, "decided, and waiting for the other two");
    fm_fiber_interrupt(caller);
    pass_ms(19);
    cr_assert_not(has_ended(caller));
    pass_ms(1);
    finish(caller);
    cr_assert_eq(each.result, 0);
    cr_assert_eq(each.exit.code, -EIO);
}

static struct fm_exit run_each_masked(void *arg)
{
    struct each *each = arg;
    fm_mask();
    run_each(arg);
    fm_unmask();
    cr_assert_eq(each->result, 0);
    return fm_fail(fm_check());
}

EXACT_TEST(for_each, masked_caller_waits_to_the_end)
{
    struct each each = { .count = 6, .concurrency = 2, .ms = 10 };
    struct fm_fiber *caller = start(run_each_masked, &each);
    pass_ms(5);
    fm_fiber_interrupt(caller);
    pass_ms(24);
    cr_assert_not(has_ended(caller));
    pass_ms(1);
    expect_interruption(finish(caller), FM_BY_USER);
    cr_assert_eq(each.board.begun, 6);
}

EXACT_TEST(for_each, body_that_ignores_its_interruption_is_waited_for)
{
    struct board board = { .begun = 0 };
    struct each each = { .count = 6 };
    for (size_t i = 0; i < LENGTH(crowd); i++)
        crowd[i] = (struct job) { .board = &board, .ms = 50, .deaf = true };
    struct fm_fiber *caller = start(for_the_crowd, &each);
    pass_ms(10);
    fm_fiber_interrupt(caller);
    pass_ms(39);
    cr_assert_not(has_ended(caller));
    pass_ms(1);
    finish(caller);
    cr_assert_eq(each.result, -ECANCELED);
    cr_assert_eq(board.begun, 3);
}

/* A shutdown reaches members too; one that never ran is not waited for in vain. */
static struct fm_exit masked_for_each(void *arg)
{
    struct each *each = arg;
    fm_mask();
    each->result = fm_for_each(40, 4, each_index, each, &each->exit);
    fm_unmask();
    return fm_ok(NULL);
}

TEST(for_each, shutdown_under_a_mask_ends_it)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct each each = { .ms = 600000 };
    config.worker_count = 2;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_spawn(runtime, masked_for_each, &each, NULL, NULL), 0);
    while (atomic_load(&each.board.begun) < 4)
        sched_yield();
    cr_assert_eq(fm_runtime_shutdown(runtime, FM_NEVER), 0);
    fm_runtime_destroy(runtime);
    cr_assert_eq(each.result, 0);
    expect_interruption(each.exit, FM_BY_SHUTDOWN);
    all_off(&each.board);
}
