/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_share_leave.c - who leaves a run that is shared, and what becomes of it after the
 * last
 *
 * T216, T224, T225: what Go's singleflight tests, and what its users ask for. On one worker and
 * the virtual clock: pass_ms() returns when all that is due has happened.
 */
#include "tests/fibermap/share_test.h"

/* T225 */
EXACT_TEST(map_share, a_waiter_that_is_interrupted_or_late_only_leaves)
{
    struct work work = new_work(30, fm_ok(&work));
    struct caller callers[MANY];
    for (int i = 0; i < MANY; i++) {
        callers[i] = (struct caller) { .work = &work,
                                       .flags = FM_MAP_STOP_WITH_LAST_WAITER,
                                       .deadline_ns = i % 2 ? fm_after_ms(10) : FM_NEVER };
        callers[i].fiber = start(call, &callers[i]);
    }
    pass_ms(5);
    fm_fiber_interrupt(callers[0].fiber);
    pass_ms(10);
    cr_assert(fm_map_has(work.map, fm_key_str("key")));
    pass_ms(15);
    all_have_returned(callers, MANY);
    cr_assert_eq(callers[0].result, -ECANCELED);
    for (int i = 1; i < MANY; i += 2)
        cr_assert_eq(callers[i].result, -ETIMEDOUT);
    for (int i = 2; i < MANY; i += 2) {
        cr_assert_geq(callers[i].result, 0);
        cr_assert_eq(callers[i].exit.value, &work);
    }
    cr_assert_eq(work.bodies, 1);
    cr_assert_eq(work.interrupted, 0);
    fm_map_destroy(work.map);
}

EXACT_TEST(map_share, a_run_goes_on_without_waiters_unless_told_otherwise)
{
    struct work work = new_work(30, fm_ok(&work));
    cr_assert_eq(share(&work, 0, 0, NULL), -ETIMEDOUT, "a look, not a wait");
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_get(work.map, fm_key_str("key"), &fiber), 0);
    pass_ms(30);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    cr_assert_eq(work.ends, 1);
    fm_map_destroy(work.map);
}

EXACT_TEST(map_share, the_last_waiter_stops_the_run_if_told_so)
{
    struct work work = new_work(-1, any());
    struct caller callers[3];
    struct fm_fiber *fiber;
    call_all(callers, 3, &work, FM_MAP_STOP_WITH_LAST_WAITER);
    cr_assert_eq(fm_map_get(work.map, fm_key_str("key"), &fiber), 0);
    for (int i = 0; i < 3; i++) {
        pass_ms(1);
        cr_assert(!has_ended(fiber), "stopped with %d waiters", 3 - i);
        fm_fiber_interrupt(callers[i].fiber);
    }
    all_have_returned(callers, 3);
    expect_interruption(finish(fiber), FM_BY_LAST_WAITER);
    cr_assert_eq(work.interrupted, 1);
    cr_assert(!fm_map_has(work.map, fm_key_str("key")));
    fm_map_destroy(work.map);
}

/* Whoever starts decides; what the others say of it is not asked. */
EXACT_TEST(map_share, only_the_starter_says_that_it_stops)
{
    struct work work = new_work(30, fm_ok(&work));
    struct caller first[1], second[1];
    call_all(first, 1, &work, 0);
    call_all(second, 1, &work, FM_MAP_STOP_WITH_LAST_WAITER);
    fm_fiber_interrupt(first[0].fiber);
    fm_fiber_interrupt(second[0].fiber);
    all_have_returned(first, 1);
    all_have_returned(second, 1);
    pass_ms(30);
    cr_assert_eq(work.ends, 1);
    fm_map_destroy(work.map);
}

EXACT_TEST(map_share, runs_of_other_calls_are_never_stopped)
{
    struct work work = new_work(30, fm_ok(&work));
    run(work.map, "key", work_body, &work);
    cr_assert_eq(share(&work, FM_MAP_STOP_WITH_LAST_WAITER, 0, NULL), -ETIMEDOUT);
    pass_ms(30);
    cr_assert_eq(work.ends, 1);
    fm_map_destroy(work.map);
}

static int slow_end(void *arg, struct fm_exit exit)
{
    struct work *work = arg;
    fm_sleep_ms(20);
    work->ends++;
    return 0;
}

static struct fm_exit work_that_ends_slowly(void *arg)
{
    struct work *work = arg;
    work->bodies++;
    fm_defer(slow_end, work);
    return fm_fail(fm_never());
}

/* Run work that nobody waits for any more, and that takes 20 ms to end. */
static struct fm_fiber *given_up(struct work *work)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.flags = FM_MAP_STOP_WITH_LAST_WAITER;
    cr_assert_eq(fm_map_run_wait(work->map, fm_key_str("key"), work_that_ends_slowly, work,
                                 &options, fm_after_ms(1), NULL),
                 -ETIMEDOUT);
    cr_assert_eq(fm_map_get(work->map, fm_key_str("key"), &fiber), 0, "it is still ending");
    return fiber;
}

/* T224, tailscale#18919. F61 */
TIMED_WORKER_TEST(map_share, a_caller_during_the_stop_gets_a_fresh_run)
{
    struct work old = new_work(0, any()), fresh = { .map = old.map, .exit = fm_ok(&fresh) };
    struct fm_fiber *fiber = given_up(&old);
    struct fm_exit exit;
    cr_assert_eq(share(&fresh, 0, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_eq(exit.value, &fresh);
    expect_interruption(finish(fiber), FM_BY_LAST_WAITER);
    cr_assert_eq(old.ends, 1);
    fm_map_destroy(old.map);
}

TIMED_WORKER_TEST(map_share, keep_takes_what_was_given_up_and_join_does_not)
{
    struct work old = new_work(0, any()), fresh = { .map = old.map, .exit = fm_ok(&fresh) };
    struct fm_fiber *fiber = given_up(&old), *kept, *joined;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_KEEP;
    cr_assert_eq(fm_map_run(old.map, fm_key_str("key"), work_body, &fresh, &options, &kept),
                 FM_MAP_KEPT);
    cr_assert_eq(kept, fiber);
    options.conflict = FM_JOIN;
    cr_assert_eq(fm_map_run(old.map, fm_key_str("key"), work_body, &fresh, &options, &joined),
                 FM_MAP_REPLACED);
    cr_assert_neq(joined, fiber);
    cr_assert_eq(finish(joined).value, &fresh);
    fm_fiber_unref(kept);
    expect_interruption(finish(fiber), FM_BY_LAST_WAITER);
    fm_map_destroy(old.map);
}

/* T216 */
EXACT_TEST(map_share, join_gives_a_handle_of_the_one_run)
{
    struct work work = new_work(10, fm_ok(&work));
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *first, *second;
    options.conflict = FM_JOIN;
    cr_assert_eq(fm_map_run(work.map, fm_key_str("key"), work_body, &work, &options, &first),
                 0);
    cr_assert_eq(fm_map_run(work.map, fm_key_str("key"), work_body, &work, &options, &second),
                 FM_MAP_KEPT);
    cr_assert_eq(first, second);
    cr_assert_eq(fm_map_run(work.map, fm_key_str("key"), work_body, &work, &options, NULL),
                 FM_MAP_KEPT);
    pass_ms(10);
    cr_assert_eq(finish(first).value, &work);
    fm_fiber_unref(second);
    cr_assert_eq(work.bodies, 1);
    fm_map_destroy(work.map);
}

/* The map itself gave the order: it is no failure of the map. */
TIMED_WORKER_TEST(map_share, stop_by_the_last_waiter_is_no_verdict)
{
    struct work work = new_work(0, any());
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.flags = FM_MAP_STOP_WITH_LAST_WAITER | FM_MAP_PROPAGATE_INTERRUPT;
    cr_assert_eq(fm_map_run_wait(work.map, fm_key_str("key"), work_that_ends_slowly, &work,
                                 &options, fm_after_ms(1), NULL),
                 -ETIMEDOUT);
    cr_assert_eq(fm_map_await_quiescent(work.map, FM_NEVER), 0);
    cr_assert_eq(fm_map_join(work.map, 0, NULL), -ETIMEDOUT);
    fm_map_destroy(work.map);
}
