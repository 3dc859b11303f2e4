/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_race.c - all and race leave nothing running, whatever comes first
 *
 * T-numbers are those of the list of peers' cases.
 */
#include "tests/runtime/flow/flow_test.h"

/* ---- all ---- */

static struct job jobs[8];
static struct fm_task tasks[8];

/* So many tasks that succeed with their own number after so many ms each. */
static void set_tasks(struct board *board, size_t count, int64_t ms)
{
    for (size_t i = 0; i < count; i++) {
        jobs[i] = (struct job) {
            .board = board, .ms = ms, .exit = fm_ok((void *)(i + 1)), .name = 'a' + (char)i
        };
        tasks[i] = (struct fm_task) { do_job, &jobs[i] };
    }
}

struct call {
    size_t count, concurrency;
    int result;
    size_t winner;
    struct fm_exit exit, exits[8];
    int64_t deadline_ns;
    fm_entry_fn *entry;
    void *arg;
};

static struct fm_exit run_all(void *arg)
{
    struct call *call = arg;
    call->result = fm_all(tasks, call->count, call->concurrency, call->exits);
    return call->result < 0 ? fm_fail(call->result) : fm_ok(NULL);
}

EXACT_TEST(all, hands_back_each_exit_in_the_order_of_the_tasks)
{
    struct board board = { .begun = 0 };
    struct call call = { .count = 5, .concurrency = 2 };
    set_tasks(&board, 5, 0);
    for (size_t i = 0; i < 5; i++)
        jobs[i].ms = 10 - 2 * (int64_t)i;
    struct fm_fiber *caller = start(run_all, &call);
    pass_ms(100);
    finish(caller);
    cr_assert_eq(call.result, 0);
    cr_assert_str_eq(board.trace, "bacde");
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(call.exits[i].kind, FM_SUCCESS);
        cr_assert_eq(call.exits[i].value, (void *)(i + 1));
    }
    cr_assert_eq(board.most, 2);
    all_off(&board);
}

EXACT_TEST(all, failure_stops_the_rest_and_tells_what_became_of_each)
{
    struct board board = { .begun = 0 };
    struct call call = { .count = 5, .concurrency = 3 };
    set_tasks(&board, 5, 10);
    jobs[0].ms = 5;
    jobs[1].exit = fm_fail(-EIO);
    jobs[2].ms = 50;
    jobs[3].ms = -1;
    struct fm_fiber *caller = start(run_all, &call);
    pass_ms(10);
    finish(caller);
    cr_assert_eq(call.result, FM_ALL_FAILED);
    cr_assert_eq(call.exits[0].value, (void *)1);
    cr_assert_eq(call.exits[1].code, -EIO);
    for (int i = 2; i < 5; i++)
        expect_interruption(call.exits[i], FM_BY_PARENT);
    cr_assert_eq(board.begun, 4);
    all_off(&board);
}

EXACT_TEST(all, interrupted_caller_still_gets_the_exits)
{
    struct board board = { .begun = 0 };
    struct call call = { .count = 4, .concurrency = 2 };
    set_tasks(&board, 4, 10);
    struct fm_fiber *caller = start(run_all, &call);
    pass_ms(15);
    fm_fiber_interrupt(caller);
    expect_interruption(finish(caller), FM_BY_USER);
    cr_assert_eq(call.result, -ECANCELED);
    cr_assert_eq(call.exits[0].value, (void *)1);
    cr_assert_eq(call.exits[1].value, (void *)2);
    expect_interruption(call.exits[2], FM_BY_PARENT);
    expect_interruption(call.exits[3], FM_BY_PARENT);
    all_off(&board);
    /* the same where nothing was begun */
    call = (struct call) { .count = 2 };
    fm_fiber_interrupt(fm_fiber_self());
    run_all(&call);
    cr_assert_eq(call.result, -ECANCELED);
    expect_interruption(call.exits[0], FM_BY_PARENT);
    expect_interruption(call.exits[1], FM_BY_PARENT);
}

FIBER_TEST(all, without_exits_and_without_tasks)
{
    struct board board = { .begun = 0 };
    set_tasks(&board, 3, 0);
    cr_assert_eq(fm_all(tasks, 3, 0, NULL), 0);
    cr_assert_eq(board.finalized, 3);
    jobs[2].exit = fm_defect(1);
    cr_assert_eq(fm_all(tasks, 3, 1, NULL), FM_ALL_FAILED);
    cr_assert_eq(fm_all(NULL, 0, 0, NULL), 0);
}

/* ---- race ---- */

static struct fm_exit run_race(void *arg)
{
    struct call *call = arg;
    call->winner = 99;
    call->result = fm_race(tasks, call->count, &call->winner, &call->exit);
    mark(jobs[0].board, '.');
    return call->result < 0 ? fm_fail(call->result) : fm_ok(NULL);
}

static struct fm_exit run_race_first(void *arg)
{
    struct call *call = arg;
    call->winner = 99;
    call->result = fm_race_first(tasks, call->count, &call->winner, &call->exit);
    mark(jobs[0].board, '.');
    return call->result < 0 ? fm_fail(call->result) : fm_ok(NULL);
}

EXACT_TEST(race, first_success_wins_and_the_losers_are_awaited) /* T131 */
{
    struct board board = { .begun = 0 };
    struct call call = { .count = 3 };
    set_tasks(&board, 3, -1);
    jobs[1].ms = 10;
    jobs[0].last_ms = 20;
    jobs[2].last_ms = 5;
    struct fm_fiber *caller = start(run_race, &call);
    pass_ms(29);
    cr_assert_str_eq(board.trace, "bc");
    cr_assert_not(has_ended(caller));
    pass_ms(1);
    finish(caller);
    cr_assert_str_eq(board.trace, "bca.");
    cr_assert_eq(call.result, 0);
    cr_assert_eq(call.winner, 1);
    cr_assert_eq(call.exit.value, (void *)2);
    all_off(&board);
}

EXACT_TEST(race, failures_lose_and_the_last_of_them_is_told_if_none_succeeds)
{
    struct board board = { .begun = 0 };
    struct call call = { .count = 3 };
    set_tasks(&board, 3, 10);
    for (int i = 0; i < 3; i++)
        jobs[i].exit = fm_fail(-10 - i);
    jobs[0].ms = 30;
    jobs[1].exit = fm_defect(4);
    struct fm_fiber *caller = start(run_race, &call);
    pass_ms(30);
    finish(caller);
    cr_assert_eq(call.result, 0);
    cr_assert_eq(call.winner, 0);
    cr_assert_eq(call.exit.kind, FM_FAILURE);
    cr_assert_eq(call.exit.code, -10);
    board = (struct board) { .begun = 0 };
    jobs[0].exit = fm_ok(&call);
    caller = start(run_race, &call);
    pass_ms(30);
    finish(caller);
    cr_assert_eq(call.winner, 0, "a success after failures wins");
    cr_assert_eq(call.exit.value, &call);
    all_off(&board);
}

EXACT_TEST(race, race_first_takes_the_first_end_of_any_kind)
{
    const struct fm_exit ends[] = { fm_fail(-EIO), fm_defect(3), fm_interrupted(),
                                    fm_ok(NULL) };
    for (size_t i = 0; i < LENGTH(ends); i++) {
        struct board board = { .begun = 0 };
        struct call call = { .count = 3 };
        set_tasks(&board, 3, 20);
        jobs[2].ms = 10;
        jobs[2].exit = ends[i];
        struct fm_fiber *caller = start(run_race_first, &call);
        pass_ms(10);
        finish(caller);
        cr_assert_eq(call.result, 0);
        cr_assert_eq(call.winner, 2);
        cr_assert_eq(call.exit.kind, ends[i].kind);
        cr_assert_eq(call.exit.code, ends[i].code);
        all_off(&board);
    }
}

FIBER_TEST(race, of_nobody_has_no_outcome)
{
    cr_assert_eq(fm_race(NULL, 0, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_race(tasks, 0, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_race_first(tasks, 0, NULL, NULL), -EINVAL);
}

FIBER_TEST(race, of_one_is_that_one)
{
    struct board board = { .begun = 0 };
    struct call call = { .count = 1 };
    set_tasks(&board, 1, 0);
    run_race(&call);
    cr_assert_eq(call.winner, 0);
    cr_assert_eq(call.exit.value, (void *)1);
    cr_assert_eq(fm_race(tasks, 1, NULL, NULL), 0);
}

static struct fm_exit count_my_interruption(void *arg)
{
    int r = fm_never();
    if (r == -ECANCELED)
        atomic_fetch_add((_Atomic int *)arg, 1);
    return fm_fail(r);
}

EXACT_TEST(race, interrupted_caller_stops_all_sides) /* T115 */
{
    _Atomic int handled = 0;
    struct board board = { .begun = 0 };
    struct call call = { .count = 2 };
    set_tasks(&board, 2, -1);
    tasks[0] = tasks[1] = (struct fm_task) { count_my_interruption, (void *)&handled };
    struct fm_fiber *caller = start(run_race, &call);
    pass_ms(1);
    fm_fiber_interrupt(caller);
    expect_interruption(finish(caller), FM_BY_USER);
    cr_assert_eq(handled, 2);
    cr_assert_eq(call.result, -ECANCELED);
    cr_assert_eq(call.winner, 99);
}

EXACT_TEST(race, loser_that_succeeds_after_all_does_not_win)
{
    struct board board = { .begun = 0 };
    struct call call = { .count = 2 };
    set_tasks(&board, 2, 10);
    jobs[0].ms = 40;
    jobs[0].deaf = true;
    struct fm_fiber *caller = start(run_race, &call);
    pass_ms(39);
    cr_assert_not(has_ended(caller));
    pass_ms(1);
    finish(caller);
    cr_assert_eq(call.winner, 1);
    cr_assert_str_eq(board.trace, "ba.");
}

static struct fm_exit as_deadline_body(void *arg)
{
    struct call *call = arg;
    call->result = fm_timeout(call->entry, call->arg, call->deadline_ns, &call->exit);
    return call->result < 0 ? fm_fail(call->result) : call->exit;
}

EXACT_TEST(race, nests_and_takes_timeouts)
{
    struct board board = { .begun = 0 };
    struct job slow = { .board = &board, .ms = -1, .last_ms = 3 };
    struct call inner = { .entry = do_job, .arg = &slow, .deadline_ns = 10 * MS };
    struct call call = { .count = 2 };
    set_tasks(&board, 2, 20);
    tasks[0] = (struct fm_task) { as_deadline_body, &inner };
    struct fm_fiber *caller = start(run_race, &call);
    pass_ms(20);
    finish(caller);
    cr_assert_eq(inner.result, -ETIMEDOUT);
    cr_assert_eq(call.winner, 1);
    all_off(&board);
}

FIBER_TEST(race, exactly_one_wins_where_all_end_at_once)
{
    struct board board = { .begun = 0 };
    for (int round = 0; round < 300; round++) {
        struct call call = { .count = 8 };
        board = (struct board) { .begun = 0 };
        set_tasks(&board, 8, 0);
        run_race(&call);
        cr_assert_eq(call.result, 0);
        cr_assert_eq(call.exit.value, (void *)(call.winner + 1));
        all_off(&board);
    }
}

/* Interrupt the caller at any step: it wins or is cancelled, and nothing runs on. */
WORKER_TEST(race, caller_interrupted_at_any_step_awaits_all)
{
    bool done = false;
    int won = 0, cancelled = 0;
    for (int step = 0; !done; step++) {
        struct board board = { .begun = 0 };
        struct call call = { .count = 4 };
        set_tasks(&board, 4, 0);
        for (int i = 0; i < 4; i++)
            tasks[i] = (struct fm_task) { i == 3 ? do_job : until_interrupted, &jobs[i] };
        struct fm_fiber *caller = start(run_race, &call);
        for (int i = 0; i < step && !has_ended(caller); i++)
            fm_yield();
        done = has_ended(caller);
        fm_fiber_interrupt(caller);
        struct fm_exit exit = finish(caller);
        won += exit.kind == FM_SUCCESS;
        cancelled += exit.kind == FM_INTERRUPTED;
        if (exit.kind == FM_SUCCESS)
            cr_assert_eq(call.winner, 3);
        all_off(&board);
    }
    cr_assert_gt(won, 0);
    cr_assert_gt(cancelled, 0);
}
