/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_repeat.c - repeat and retry run a body as often and as late as its schedule says
 *
 * T-numbers are those of the list of peers' cases. Bodies note when they ran.
 */
#include "runtime/platform/memory.h"
#include "tests/runtime/flow/flow_test.h"

enum { RUNS = 64 };

struct body {
    int runs;
    int64_t at_ms[RUNS];                  /* when each execution began */
    struct fm_schedule_info infos[RUNS];  /* what it read */
    int64_t takes_ms[RUNS];               /* how long it takes */
    struct fm_exit ends[RUNS], otherwise; /* how it ends; kind 99: as otherwise */
    int ending;                           /* ends[0 .. ending) are set */
    struct fm_schedule *schedule;
    int result;
    struct fm_exit exit;
    int (*call)(fm_entry_fn *, void *, struct fm_schedule *, struct fm_exit *);
};

static struct fm_exit note_and_end(void *arg)
{
    struct body *body = arg;
    int run = body->runs++;
    cr_assert_lt(run, RUNS);
    body->at_ms[run] = now_ms();
    if (fm_schedule_current(&body->infos[run]) < 0)
        body->infos[run].recurrence = 999;
    int r = body->takes_ms[run] ? fm_sleep_ms(body->takes_ms[run]) : 0;
    if (r < 0)
        return fm_fail(r);
    return run < body->ending ? body->ends[run] : body->otherwise;
}

static struct fm_exit drive(void *arg)
{
    struct body *body = arg;
    body->exit.kind = 99;
    body->result = body->call(note_and_end, body, body->schedule, &body->exit);
    return body->result < 0 ? fm_fail(body->result) : body->exit;
}

/* Drive it for a virtual minute, to its end. */
static void drive_to_the_end(struct body *body)
{
    struct fm_fiber *fiber = start(drive, body);
    pass_ms(60000);
    cr_assert(has_ended(fiber));
    finish(fiber);
    body->schedule = fm_schedule_unref(body->schedule);
}

static struct body repeating(struct fm_schedule *schedule)
{
    cr_assert_neq(schedule, NULL);
    return (struct body) { .schedule = schedule, .call = fm_repeat };
}

static struct body retrying(struct fm_schedule *schedule)
{
    cr_assert_neq(schedule, NULL);
    return (struct body) { .schedule = schedule, .call = fm_retry, .otherwise = fm_fail(-EIO) };
}

static void ran_at(const struct body *body, const int64_t at_ms[], int count)
{
    cr_assert_eq(body->runs, count, "%d executions instead of %d", body->runs, count);
    for (int i = 0; i < count; i++)
        cr_assert_eq(body->at_ms[i], at_ms[i], "execution %d at %ld ms instead of %ld", i,
                     (long)body->at_ms[i], (long)at_ms[i]);
}

#define RAN_AT(body, ...) \
    do { \
        const int64_t expected[] = { __VA_ARGS__ }; \
        ran_at(body, expected, LENGTH(expected)); \
    } while (0)

/* ---- how often ---- */

EXACT_TEST(repeat, recurs_adds_to_the_first_execution) /* T168, T169 */
{
    static const int64_t times[][2] = { { -5, 1 }, { 0, 1 }, { 1, 2 }, { 3, 4 }, { 42, 43 } };
    for (size_t i = 0; i < LENGTH(times); i++) {
        struct body body = repeating(fm_schedule_recurs(times[i][0]));
        drive_to_the_end(&body);
        cr_assert_eq(body.result, 0);
        cr_assert_eq(body.exit.kind, FM_SUCCESS);
        cr_assert_eq(body.runs, times[i][1]);
    }
    struct body once = repeating(fm_schedule_once());
    drive_to_the_end(&once);
    cr_assert_eq(once.runs, 2);
}

EXACT_TEST(repeat, stops_at_the_first_that_is_no_success) /* T171 */
{
    const struct fm_exit ends[] = { fm_fail(-1), fm_defect(2), fm_interrupted() };
    for (size_t i = 0; i < LENGTH(ends); i++) {
        struct body body = repeating(fm_schedule_forever());
        body.ending = 3;
        body.ends[2] = ends[i];
        drive_to_the_end(&body);
        cr_assert_eq(body.runs, 3);
        cr_assert_eq(body.result, 0);
        cr_assert_eq(body.exit.kind, ends[i].kind);
        cr_assert_eq(body.exit.code, ends[i].code);
    }
    struct body first = repeating(fm_schedule_recurs(5));
    first.otherwise = fm_fail(-1);
    drive_to_the_end(&first);
    cr_assert_eq(first.runs, 1);
    cr_assert_eq(first.exit.code, -1);
}

EXACT_TEST(repeat, hands_on_the_last_value) /* T178 */
{
    struct body body = repeating(fm_schedule_recurs(2));
    for (int i = 0; i < 3; i++)
        body.ends[i] = fm_ok(&body.ends[i]);
    body.ending = 3;
    drive_to_the_end(&body);
    cr_assert_eq(body.exit.value, &body.ends[2]);
}

static struct fm_exit repeat_inside(void *arg)
{
    struct body *body = arg;
    struct fm_schedule *inner = fm_schedule_once();
    struct fm_exit exit;
    int r = fm_repeat(note_and_end, body, inner, &exit);
    fm_schedule_unref(inner);
    return r < 0 ? fm_fail(r) : exit;
}

EXACT_TEST(repeat, of_a_repeat_multiplies) /* T171 */
{
    struct body body = repeating(fm_schedule_recurs(4));
    cr_assert_eq(fm_repeat(repeat_inside, &body, body.schedule, NULL), 0);
    cr_assert_eq(body.runs, (4 + 1) * 2);
    fm_schedule_unref(body.schedule);
}

EXACT_TEST(retry, recurs_bounds_the_tries_and_the_last_failure_is_told) /* T165 */
{
    struct body body = retrying(fm_schedule_recurs(3));
    body.ends[3] = fm_fail_with(-EPIPE, &body);
    body.ends[0] = body.ends[1] = body.ends[2] = fm_fail(-EIO);
    body.ending = 4;
    drive_to_the_end(&body);
    cr_assert_eq(body.runs, 4);
    cr_assert_eq(body.result, 0);
    cr_assert_eq(body.exit.kind, FM_FAILURE);
    cr_assert_eq(body.exit.code, -EPIPE);
    cr_assert_eq(body.exit.value, &body);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(body.infos[i].recurrence, i);
}

static bool third_time(void *ctx, struct fm_exit exit)
{
    (void)exit;
    return ((struct body *)ctx)->runs == 3;
}

EXACT_TEST(retry, until_stops_it_early) /* T166 */
{
    struct body body = { .call = fm_retry, .otherwise = fm_fail(-EIO) };
    body.schedule = fm_schedule_until(fm_schedule_recurs(3), third_time, &body);
    drive_to_the_end(&body);
    cr_assert_eq(body.runs, 3);
}

EXACT_TEST(retry, ends_with_the_first_success)
{
    struct body body = retrying(fm_schedule_forever());
    for (int i = 0; i < 7; i++)
        body.ends[i] = fm_fail(-EIO);
    body.ends[7] = fm_ok(&body);
    body.ending = 8;
    drive_to_the_end(&body);
    cr_assert_eq(body.runs, 8);
    cr_assert_eq(body.exit.value, &body);
}

EXACT_TEST(retry, never_retries_a_defect_or_an_interruption)
{
    const struct fm_exit ends[] = { fm_defect(2), fm_interrupted() };
    for (size_t i = 0; i < LENGTH(ends); i++) {
        struct body body = retrying(fm_schedule_forever());
        body.otherwise = ends[i];
        drive_to_the_end(&body);
        cr_assert_eq(body.runs, 1);
        cr_assert_eq(body.exit.kind, ends[i].kind);
    }
    struct body body = retrying(fm_schedule_once());
    body.otherwise = fm_fail(-ECANCELED); /* nobody interrupted: a failure like any other */
    drive_to_the_end(&body);
    cr_assert_eq(body.runs, 2);
}

/* ---- when ---- */

EXACT_TEST(repeat, delays_are_those_of_the_schedule)
{
    struct body body = repeating(fm_schedule_delays((int64_t[]) { 5 * MS, 0, 20 * MS }, 3));
    drive_to_the_end(&body);
    RAN_AT(&body, 0, 5, 5, 25);
}

EXACT_TEST(repeat, fixed_keeps_its_grid_whatever_the_body_takes) /* T168 */
{
    struct body body = repeating(
        fm_schedule_intersect(fm_schedule_fixed_ns(S), fm_schedule_recurs(5)));
    body.takes_ms[1] = 300;
    body.takes_ms[2] = 2500; /* from 2000 to 4500: late once */
    drive_to_the_end(&body);
    RAN_AT(&body, 0, 1000, 2000, 4500, 5000, 6000);
    struct body spaced = repeating(
        fm_schedule_intersect(fm_schedule_spaced_ns(S), fm_schedule_recurs(2)));
    spaced.takes_ms[0] = spaced.takes_ms[1] = 300;
    int64_t base = now_ms();
    drive_to_the_end(&spaced);
    RAN_AT(&spaced, base, base + 1300, base + 2600);
}

EXACT_TEST(repeat, windowed_skips_what_it_missed)
{
    struct body body = repeating(
        fm_schedule_intersect(fm_schedule_windowed_ns(S), fm_schedule_recurs(3)));
    body.takes_ms[1] = 2500;
    drive_to_the_end(&body);
    RAN_AT(&body, 0, 1000, 4000, 5000);
}

EXACT_TEST(retry, healthy_time_resets_the_count) /* T177 */
{
    struct body body = retrying(fm_schedule_reset_after_ns(fm_schedule_recurs(5), 5 * S));
    for (int i = 0; i < 10; i++)
        body.ends[i] = fm_fail(-EIO);
    body.takes_ms[4] = 10000; /* the fifth fails after ten seconds */
    body.ends[9] = fm_ok(NULL);
    body.ending = 10;
    drive_to_the_end(&body);
    cr_assert_eq(body.runs, 10);
    cr_assert_eq(body.exit.kind, FM_SUCCESS);
}

static bool keep_trying(void *ctx, struct fm_exit exit)
{
    (void)ctx;
    return exit.code == -EAGAIN;
}

EXACT_TEST(retry, gives_up_when_its_time_is_over) /* T180 */
{
    struct body body = retrying(
        fm_schedule_while(fm_schedule_up_to_ns(fm_schedule_spaced_ns(200 * MS), 800 * MS),
                          keep_trying, NULL));
    body.otherwise = fm_fail(-EAGAIN);
    drive_to_the_end(&body);
    RAN_AT(&body, 0, 200, 400, 600, 800);
    cr_assert_eq(body.infos[4].recurrence, 4);
    cr_assert_eq(body.exit.code, -EAGAIN);
    struct body other = retrying(
        fm_schedule_while(fm_schedule_spaced_ns(200 * MS), keep_trying, NULL));
    drive_to_the_end(&other);
    cr_assert_eq(other.runs, 1, "another error is final");
}

EXACT_TEST(repeat, without_a_delay_others_run_in_between)
{
    _Atomic int others = 0;
    struct body body = repeating(fm_schedule_recurs(10));
    struct fm_fiber *repeats = start(drive, &body);
    while (!has_ended(repeats)) {
        atomic_fetch_add(&others, 1);
        fm_yield();
    }
    finish(repeats);
    fm_schedule_unref(body.schedule);
    cr_assert_geq(others, 10);
}

/* ---- what the body can know ---- */

EXACT_TEST(repeat, body_reads_which_time_this_is) /* T165, T168 */
{
    struct body body = repeating(
        fm_schedule_intersect(fm_schedule_fixed_ns(S), fm_schedule_recurs(2)));
    body.takes_ms[0] = 500;
    body.ends[0] = fm_ok(&body);
    body.ends[1] = fm_ok(&body.runs);
    body.ending = 2;
    drive_to_the_end(&body);
    const struct fm_schedule_info *infos = body.infos;
    cr_assert_eq(infos[0].recurrence, 0);
    cr_assert_eq(infos[0].step_ns, 0);
    cr_assert_eq(infos[1].recurrence, 1);
    cr_assert_eq(infos[1].start_ns, 500 * MS);
    cr_assert_eq(infos[1].step_ns, 500 * MS);
    cr_assert_eq(infos[1].elapsed_ns, 0);
    cr_assert_eq(infos[1].delay_ns, S);
    cr_assert_eq(infos[1].input.value, &body);
    cr_assert_eq(infos[2].recurrence, 2);
    cr_assert_eq(infos[2].step_ns, 1500 * MS);
    cr_assert_eq(infos[2].elapsed_ns, S);
    cr_assert_eq(infos[2].since_previous_ns, S);
    cr_assert_eq(infos[2].input.value, &body.runs);
}

struct levels {
    uint64_t outer, inner, child;
    int child_result;
};

static struct fm_exit read_in_a_child(void *arg)
{
    struct levels *levels = arg;
    struct fm_schedule_info info;
    levels->child_result = fm_schedule_current(&info);
    return fm_ok(NULL);
}

static struct fm_exit read_inside(void *arg)
{
    struct levels *levels = arg;
    struct fm_schedule_info info;
    cr_assert_eq(fm_schedule_current(&info), 0);
    levels->inner = levels->inner * 10 + info.recurrence;
    return fm_ok(NULL);
}

static struct fm_exit read_twice(void *arg)
{
    struct levels *levels = arg;
    struct fm_schedule_info before, after;
    struct fm_schedule *schedule = fm_schedule_recurs(2);
    struct fm_scope *scope;
    cr_assert_eq(fm_schedule_current(&before), 0);
    cr_assert_eq(fm_repeat(read_inside, levels, schedule, NULL), 0);
    fm_schedule_unref(schedule);
    cr_assert_eq(fm_scope_open(&scope), 0);
    cr_assert_eq(fm_schedule_current(&after), 0, "also in a scope inside the body");
    fm_scope_close(scope, fm_ok(NULL));
    cr_assert_eq(before.recurrence, after.recurrence);
    levels->outer = levels->outer * 10 + after.recurrence;
    finish(start(read_in_a_child, levels));
    return fm_ok(NULL);
}

EXACT_TEST(repeat, innermost_run_is_the_current_one)
{
    struct levels levels = { .outer = 0 };
    struct fm_schedule *schedule = fm_schedule_once();
    struct fm_schedule_info info;
    cr_assert_eq(fm_schedule_current(&info), -ENOENT);
    cr_assert_eq(fm_repeat(read_twice, &levels, schedule, NULL), 0);
    cr_assert_eq(levels.outer, 1);
    cr_assert_eq(levels.inner, 12012);
    cr_assert_eq(levels.child_result, -ENOENT, "a fiber that the body starts is no execution");
    cr_assert_eq(fm_schedule_current(&info), -ENOENT);
    cr_assert_eq(fm_schedule_current(NULL), -EINVAL);
    fm_schedule_unref(schedule);
}

static struct fm_exit child_of_an_execution(void *arg)
{
    struct board *board = arg;
    on_the_board(board);
    return fm_fail(fm_never());
}

static struct fm_exit leaves_a_child_and_a_finalizer(void *arg)
{
    struct board *board = arg;
    cr_assert_eq(board->running, 0, "what the last execution left has ended");
    fm_fiber_unref(start(child_of_an_execution, board));
    on_the_board(board);
    fm_yield();
    return fm_fail(-EIO);
}

EXACT_TEST(retry, each_execution_ends_its_children_and_finalizers)
{
    struct board board = { .begun = 0 };
    struct fm_schedule *schedule = fm_schedule_recurs(4);
    cr_assert_eq(fm_retry(leaves_a_child_and_a_finalizer, &board, schedule, NULL), 0);
    cr_assert_eq(board.finalized, 10);
    all_off(&board);
    fm_schedule_unref(schedule);
}

static struct fm_exit retry_with_ensuring(void *arg)
{
    struct body *body = arg;
    static struct board board;
    board = (struct board) { .begun = 0 };
    on_the_board(&board);
    cr_assert_eq(fm_retry(note_and_end, body, body->schedule, &body->exit), 0);
    cr_assert_eq(board.finalized, 0, "not before the schedule is exhausted");
    body->result = body->runs;
    return body->exit;
}

EXACT_TEST(retry, finalizer_around_it_runs_once_at_its_end) /* T181 */
{
    struct body body = retrying(fm_schedule_recurs(2));
    struct fm_exit exit = fm_scoped(retry_with_ensuring, &body);
    cr_assert_eq(exit.code, -EIO);
    cr_assert_eq(body.result, 3);
    fm_schedule_unref(body.schedule);
}

/* ---- interruption ---- */

EXACT_TEST(repeat, interrupted_at_any_moment_it_ends_at_once)
{
    /* executions at 0, 3, 6, 9 of 1 ms each; between them it sleeps */
    for (int at = 0; at <= 11; at++) {
        struct body body = repeating(
            fm_schedule_intersect(fm_schedule_spaced_ns(2 * MS), fm_schedule_recurs(3)));
        for (int i = 0; i < 4; i++)
            body.takes_ms[i] = 1;
        int64_t base = now_ms();
        struct fm_fiber *fiber = start(drive, &body);
        pass_ms(at);
        bool over = has_ended(fiber);
        fm_fiber_interrupt(fiber);
        struct fm_exit exit = finish(fiber);
        cr_assert_eq(now_ms() - base, at, "it did not wait");
        cr_assert_eq(over, at >= 10);
        cr_assert_eq(exit.kind, over ? FM_SUCCESS : FM_INTERRUPTED);
        if (!over)
            cr_assert_eq(body.result, at % 3 == 0 ? 0 : -ECANCELED,
                         "at %d ms: in an execution, whose exit it is, or between two", at);
        fm_schedule_unref(body.schedule);
    }
}

FIBER_TEST(repeat, pending_interruption_executes_nothing)
{
    struct body body = repeating(fm_schedule_once());
    fm_fiber_interrupt(fm_fiber_self());
    drive(&body);
    cr_assert_eq(body.result, -ECANCELED);
    cr_assert_eq(body.exit.kind, 99);
    cr_assert_eq(body.runs, 0);
    fm_schedule_unref(body.schedule);
}

static struct fm_exit drive_masked(void *arg)
{
    fm_mask();
    drive(arg);
    fm_unmask();
    return fm_fail(fm_check());
}

EXACT_TEST(repeat, masked_caller_repeats_to_the_end)
{
    struct body body = repeating(
        fm_schedule_intersect(fm_schedule_spaced_ns(10 * MS), fm_schedule_recurs(3)));
    struct fm_fiber *fiber = start(drive_masked, &body);
    pass_ms(5);
    fm_fiber_interrupt(fiber);
    pass_ms(25);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_eq(body.result, 0);
    cr_assert_eq(body.runs, 4);
    fm_schedule_unref(body.schedule);
}

EXACT_TEST(repeat, delay_beyond_all_time_waits_until_interrupted)
{
    struct body body = repeating(fm_schedule_spaced_ns(INT64_MAX));
    struct fm_fiber *fiber = start(drive, &body);
    pass_ms(1000000000);
    cr_assert_not(has_ended(fiber));
    fm_fiber_interrupt(fiber);
    finish(fiber);
    cr_assert_eq(body.runs, 1);
    fm_schedule_unref(body.schedule);
}

/* ---- threads, arguments, memory ---- */

TEST(repeat, works_in_a_thread)
{
    struct body body = repeating(
        fm_schedule_intersect(fm_schedule_spaced_ns(2 * MS), fm_schedule_recurs(3)));
    drive(&body);
    cr_assert_eq(body.result, 0);
    cr_assert_eq(body.exit.kind, FM_SUCCESS);
    cr_assert_eq(body.runs, 4);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(body.infos[i].recurrence, i);
    cr_assert_geq(body.infos[3].elapsed_ns, 4 * MS);
    struct fm_schedule_info info;
    cr_assert_eq(fm_schedule_current(&info), -ENOENT);
    fm_schedule_unref(body.schedule);

    struct body tries = retrying(fm_schedule_recurs(2));
    drive(&tries);
    cr_assert_eq(tries.runs, 3);
    cr_assert_eq(tries.exit.code, -EIO);
    fm_schedule_unref(tries.schedule);
}

struct shared {
    struct fm_schedule *schedule;
    _Atomic int runs;
};

static struct fm_exit count_run(void *arg)
{
    struct shared *shared = arg;
    atomic_fetch_add(&shared->runs, 1);
    return fm_yield() < 0 ? fm_interrupted() : fm_ok(NULL);
}

static struct fm_exit repeat_shared(void *arg)
{
    struct shared *shared = arg;
    struct fm_exit exit;
    int r = fm_repeat(count_run, shared, shared->schedule, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

TIMED_TEST(repeat, one_schedule_drives_many_at_once)
{
    struct shared shared = { .schedule = fm_schedule_jittered(
                                 fm_schedule_intersect(fm_schedule_linear(100),
                                                       fm_schedule_recurs(9))) };
    struct fm_fiber *fibers[50];
    for (size_t i = 0; i < LENGTH(fibers); i++)
        fibers[i] = start(repeat_shared, &shared);
    for (size_t i = 0; i < LENGTH(fibers); i++)
        cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    cr_assert_eq(shared.runs, 500);
    fm_schedule_unref(shared.schedule);
}

TEST(repeat, bad_arguments_execute_nothing)
{
    struct body body = repeating(fm_schedule_once());
    struct fm_exit exit = { .kind = 99 };
    cr_assert_eq(fm_repeat(NULL, NULL, body.schedule, &exit), -EINVAL);
    cr_assert_eq(fm_retry(NULL, NULL, body.schedule, &exit), -EINVAL);
    cr_assert_eq(fm_repeat(note_and_end, &body, NULL, &exit), -EINVAL);
    cr_assert_eq(fm_retry(note_and_end, &body, NULL, &exit), -EINVAL);
    cr_assert_eq(body.runs, 0);
    cr_assert_eq(exit.kind, 99);
    fm_schedule_unref(body.schedule);
}

TEST(repeat, without_memory_for_a_large_schedule_executes_nothing)
{
    struct fm_schedule *large = fm_schedule_recurs(1);
    for (int i = 0; i < 20; i++)
        large = fm_schedule_intersect(large, fm_schedule_recurs(1));
    struct body body = repeating(large);
    fm__fault_set(FAULT_MALLOC, 1, true);
    drive(&body);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(body.result, -ENOMEM);
    cr_assert_eq(body.runs, 0);
    drive(&body);
    cr_assert_eq(body.result, 0);
    cr_assert_eq(body.runs, 2);
    fm_schedule_unref(body.schedule);
}
