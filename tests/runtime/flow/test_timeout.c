/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_timeout.c - the body's end or the deadline, never both, and nothing left running
 *
 * T-numbers are those of the list of peers' cases.
 */
#include "tests/runtime/flow/flow_test.h"

struct call {
    fm_entry_fn *entry;
    void *arg;
    int64_t deadline_ns;
    int result;
    struct fm_exit exit;
};

static struct fm_exit run_timeout(void *arg)
{
    struct call *call = arg;
    call->exit.kind = 99;
    call->result = fm_timeout(call->entry, call->arg, call->deadline_ns, &call->exit);
    return call->result < 0 ? fm_fail(call->result) : fm_ok(NULL);
}

EXACT_TEST(timeout, body_that_ends_before_hands_on_its_exit)
{
    int value;
    const struct fm_exit ends[] = { fm_ok(&value), fm_fail(-EIO), fm_defect(3) };
    for (size_t i = 0; i < LENGTH(ends); i++) {
        struct board board = { .begun = 0 };
        struct job job = { .board = &board, .ms = 9, .exit = ends[i] };
        struct call call = { .entry = do_job, .arg = &job, .deadline_ns = fm_after_ms(10) };
        struct fm_fiber *caller = start(run_timeout, &call);
        pass_ms(9);
        finish(caller);
        cr_assert_eq(call.result, 0);
        cr_assert_eq(call.exit.kind, ends[i].kind);
        cr_assert_eq(call.exit.code, ends[i].code);
        cr_assert_eq(call.exit.value, ends[i].value);
    }
}

static struct fm_exit tell_the_reason(void *arg)
{
    struct fm_exit info;
    int r = fm_never();
    cr_assert_eq(fm_interrupt_info(&info), 0);
    *(int *)arg = info.reason;
    return fm_fail(r);
}

EXACT_TEST(timeout, deadline_stops_the_body_and_awaits_its_finalizers) /* T133 */
{
    struct board board = { .begun = 0 };
    struct job job = { .board = &board, .ms = -1, .last_ms = 20 };
    struct call call = { .entry = do_job, .arg = &job, .deadline_ns = 1500 * MS };
    struct fm_fiber *caller = start(run_timeout, &call);
    pass_ms(1519);
    cr_assert_not(has_ended(caller));
    cr_assert_eq(board.begun, 1);
    pass_ms(1);
    struct fm_exit exit = finish(caller);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -ETIMEDOUT);
    cr_assert_eq(call.exit.kind, 99, "no exit where it timed out");
    all_off(&board);
    int reason = 0;
    call = (struct call) { .entry = tell_the_reason,
                           .arg = &reason,
                           .deadline_ns = fm_after_ms(5) };
    caller = start(run_timeout, &call);
    pass_ms(5);
    finish(caller);
    cr_assert_eq(reason, FM_BY_DEADLINE);
}

EXACT_TEST(timeout, deadline_that_has_passed_runs_nothing)
{
    struct board board = { .begun = 0 };
    struct job job = { .board = &board };
    pass_ms(10);
    cr_assert_eq(fm_timeout(do_job, &job, 0, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_timeout(do_job, &job, fm_now_ns(), NULL), -ETIMEDOUT);
    cr_assert_eq(board.begun, 0);
    cr_assert_eq(fm_timeout(do_job, &job, FM_NEVER, NULL), 0);
    cr_assert_eq(board.begun, 1);
}

/* Units of 3 ms, each masked, with a look at the interruption in between. */
static struct fm_exit masked_units(void *arg)
{
    _Atomic int *units = arg;
    for (;;) {
        fm_mask();
        cr_assert_eq(fm_sleep_ms(3), 0);
        atomic_fetch_add(units, 1);
        fm_unmask();
        if (fm_check() < 0)
            return fm_interrupted();
    }
}

EXACT_TEST(timeout, of_an_endless_loop_of_masked_units_fires_between_two) /* T134 */
{
    _Atomic int units = 0;
    struct call call = { .entry = masked_units, .arg = (void *)&units, .deadline_ns = 10 * MS };
    struct fm_fiber *caller = start(run_timeout, &call);
    pass_ms(11);
    cr_assert_not(has_ended(caller));
    pass_ms(1);
    finish(caller);
    cr_assert_eq(call.result, -ETIMEDOUT);
    cr_assert_eq(units, 4);
}

EXACT_TEST(timeout, under_a_mask_gives_the_value_or_stops_the_body) /* T134 */
{
    struct board board = { .begun = 0 };
    struct job quick = { .board = &board, .exit = fm_ok(&board) };
    struct job slow = { .board = &board, .ms = -1 };
    struct fm_exit exit;
    fm_mask();
    cr_assert_eq(fm_timeout(do_job, &quick, fm_after_ms(20), &exit), 0);
    cr_assert_eq(exit.value, &board);
    struct call call = { .entry = do_job, .arg = &slow, .deadline_ns = fm_after_ms(20) };
    struct fm_fiber *caller = start(run_timeout, &call);
    pass_ms(20);
    finish(caller);
    cr_assert_eq(call.result, -ETIMEDOUT);
    fm_unmask();
    all_off(&board);
}

EXACT_TEST(timeout, nested_ones_end_at_the_earlier_deadline)
{
    for (int outer_ms = 5; outer_ms <= 15; outer_ms += 10) {
        struct board board = { .begun = 0 };
        struct job job = { .board = &board, .ms = -1, .last_ms = 1 };
        int64_t begin = fm_now_ns();
        struct call inner = { .entry = do_job, .arg = &job, .deadline_ns = begin + 10 * MS };
        struct call outer = { .entry = run_timeout,
                              .arg = &inner,
                              .deadline_ns = begin + outer_ms * MS };
        struct fm_fiber *caller = start(run_timeout, &outer);
        pass_ms(30);
        finish(caller);
        if (outer_ms < 10) {
            cr_assert_eq(outer.result, -ETIMEDOUT);
            cr_assert_eq(inner.result, -ECANCELED);
        } else {
            cr_assert_eq(outer.result, 0);
            cr_assert_eq(outer.exit.code, -ETIMEDOUT);
            cr_assert_eq(inner.result, -ETIMEDOUT);
        }
        all_off(&board);
    }
}

EXACT_TEST(timeout, interrupted_caller_stops_the_body)
{
    struct board board = { .begun = 0 };
    struct job job = { .board = &board, .ms = -1, .last_ms = 7 };
    struct call call = { .entry = do_job, .arg = &job, .deadline_ns = 100 * MS };
    struct fm_fiber *caller = start(run_timeout, &call);
    pass_ms(10);
    fm_fiber_interrupt(caller);
    pass_ms(6);
    cr_assert_not(has_ended(caller));
    pass_ms(1);
    expect_interruption(finish(caller), FM_BY_USER);
    cr_assert_eq(call.result, -ECANCELED);
    all_off(&board);
}

struct alarm {
    struct fm_fiber *fiber;
    int64_t time_ns;
};

static struct fm_exit interrupt_then(void *arg)
{
    struct alarm *alarm = arg;
    cr_assert_eq(fm_sleep_until_ns(alarm->time_ns), 0);
    fm_fiber_interrupt(alarm->fiber);
    return fm_ok(NULL);
}

/* X19: value, deadline and interruption at one moment, or a nanosecond apart: one outcome. */
TIMED_TEST(timeout, value_deadline_and_interruption_at_once_give_one_outcome)
{
    for (int round = 0; round < 270; round++) {
        /* before the value, with it, after it */
        int deadline = round % 3 - 1, interruption = round / 3 % 3 - 1;
        int64_t value_ns = fm_after_ms(1);
        struct board board = { .begun = 0 };
        struct job job = { .board = &board, .ms = 1 };
        struct call call = { .entry = do_job, .arg = &job, .deadline_ns = value_ns + deadline };
        struct alarm alarm = { start(run_timeout, &call), value_ns + interruption };
        struct fm_fiber *other = start(interrupt_then, &alarm);
        struct fm_exit exit = finish(fm_fiber_ref(alarm.fiber));
        finish(other);
        fm_fiber_unref(alarm.fiber);
        all_off(&board);
        if (exit.kind == FM_SUCCESS)
            cr_assert(deadline >= 0 && interruption >= 0);
        else if (exit.kind == FM_INTERRUPTED)
            cr_assert(interruption <= deadline && interruption <= 0);
        else
            cr_assert(exit.code == -ETIMEDOUT && deadline <= interruption && deadline <= 0);
    }
}
