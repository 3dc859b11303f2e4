/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_flow.c - for_each, all, race and timeout leave nothing running, whatever comes first
 *
 * T-numbers are those of the list of peers' cases.
 */
#include <sched.h>

#include "runtime/platform/memory.h"
#include "tests/runtime/flow/flow_test.h"

/* ---- for_each ---- */

struct each {
    struct board board;
    _Atomic int calls[100];
    _Atomic int order;
    int nth[100]; /* when it was called */
    int64_t ms;   /* how long each takes */
    size_t count, concurrency;
    int fails_at; /* this index fails with -(index); 0: none */
    int result;
    struct fm_exit exit;
};

static struct fm_exit each_index(void *arg, size_t index)
{
    struct each *each = arg;
    on_the_board(&each->board);
    each->nth[index] = atomic_fetch_add(&each->order, 1);
    atomic_fetch_add(&each->calls[index], 1);
    int r = each->ms ? fm_sleep_ms(each->ms) : 0;
    if (r < 0)
        return fm_fail(r);
    return each->fails_at && index == (size_t)each->fails_at ? fm_fail(-(int)index)
                                                             : fm_ok(arg);
}

static struct fm_exit run_each(void *arg)
{
    struct each *each = arg;
    each->exit.kind = 99;
    each->result = fm_for_each(each->count, each->concurrency, each_index, each, &each->exit);
    all_off(&each->board);
    return each->result < 0 ? fm_fail(each->result) : fm_ok(NULL);
}

FIBER_TEST(for_each, calls_each_index_once)
{
    for (size_t concurrency = 0; concurrency < 120; concurrency += 7) {
        struct each each = { .count = 100, .concurrency = concurrency };
        run_each(&each);
        cr_assert_eq(each.result, 0);
        cr_assert_eq(each.exit.kind, FM_SUCCESS);
        cr_assert_eq(each.exit.value, NULL);
        for (int i = 0; i < 100; i++)
            cr_assert_eq(each.calls[i], 1);
    }
}

EXACT_TEST(for_each, begins_in_the_order_of_the_indices_and_keeps_its_bound)
{
    for (size_t concurrency = 1; concurrency <= 10; concurrency += 3) {
        struct each each = { .count = 30, .concurrency = concurrency, .ms = 10 };
        int64_t before = now_ms();
        struct fm_fiber *caller = start(run_each, &each);
        pass_ms(1000);
        finish(caller);
        cr_assert_eq(each.result, 0);
        cr_assert_eq(each.board.most, concurrency);
        for (int i = 0; i < 30; i++)
            cr_assert_eq(each.nth[i], i);
        cr_assert_eq(now_ms() - before, 1000);
    }
}

static struct fm_exit meet_all(void *arg, size_t index)
{
    struct each *each = arg;
    (void)index;
    atomic_fetch_add(&each->order, 1);
    while (atomic_load(&each->order) < (int)each->count) {
        int r = fm_yield();
        if (r < 0)
            return fm_fail(r);
    }
    return fm_ok(NULL);
}

FIBER_TEST(for_each, without_a_bound_all_run_at_once)
{
    struct each each = { .count = 1000 };
    cr_assert_eq(fm_for_each(each.count, 0, meet_all, &each, &each.exit), 0);
    cr_assert_eq(each.exit.kind, FM_SUCCESS);
    each = (struct each) { .count = 50 };
    cr_assert_eq(fm_for_each(each.count, 50, meet_all, &each, NULL), 0);
    each = (struct each) { .count = 50 };
    cr_assert_eq(fm_for_each(each.count, SIZE_MAX, meet_all, &each, NULL), 0);
}

FIBER_TEST(for_each, of_nothing_succeeds_at_once)
{
    struct fm_exit exit = { .kind = 99 };
    cr_assert_eq(fm_for_each(0, 3, each_index, NULL, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
}

/* Index 0 works on, 1 fails at 10 ms, 2 fails at 10 ms too, but with a finalizer of 20 ms. */
static struct job crowd[6];

static struct fm_exit do_one_of_the_crowd(void *arg, size_t index)
{
    (void)arg;
    return do_job(&crowd[index]);
}

static struct fm_exit for_the_crowd(void *arg)
{
    struct each *each = arg;
    each->result = fm_for_each(LENGTH(crowd), 3, do_one_of_the_crowd, NULL, &each->exit);
    all_off(crowd[0].board);
    return fm_ok(NULL);
}

EXACT_TEST(for_each, first_failure_starts_nothing_more_and_awaits_all_finalizers)
{
    struct board board = { .begun = 0 };
    struct each each = { .count = 6 };
    for (size_t i = 0; i < LENGTH(crowd); i++)
        crowd[i] = (struct job) {
            .board = &board, .ms = -1, .last_ms = 30, .name = 'a' + (char)i
        };
    crowd[1] = (struct job) { .board = &board, .ms = 10, .exit = fm_fail(-EIO), .name = 'b' };
    crowd[2] = (struct job) {
        .board = &board, .ms = 9, .exit = fm_fail(-EPIPE), .last_ms = 20, .name = 'c'
    };
    struct fm_fiber *caller = start(for_the_crowd, &each);
    pass_ms(9);
    cr_assert_eq(board.begun, 3);
    pass_ms(30); /* at 39: a, stopped at 10, is in its finalizer until 40 */
    cr_assert_str_eq(board.trace, "bc");
    cr_assert_not(has_ended(caller));
    pass_ms(1);
    finish(caller);
    cr_assert_str_eq(board.trace, "bca");
    cr_assert_eq(board.begun, 3, "nothing was started after the failure");
    cr_assert_eq(each.result, 0);
    cr_assert_eq(each.exit.kind, FM_FAILURE);
    cr_assert_eq(each.exit.code, -EIO, "the first whose end was there");
}

static struct fm_exit end_as(void *arg, size_t index)
{
    const struct fm_exit *exits = arg;
    return exits[index];
}

FIBER_TEST(for_each, whatever_is_no_success_is_its_outcome)
{
    struct fm_exit ends[] = { fm_ok(ends), fm_defect(7), fm_ok(NULL) }, exit;
    cr_assert_eq(fm_for_each(3, 1, end_as, ends, &exit), 0);
    cr_assert_eq(exit.kind, FM_DEFECT);
    cr_assert_eq(exit.code, 7);
    ends[1] = fm_fail_with(-EIO, ends);
    cr_assert_eq(fm_for_each(3, 1, end_as, ends, &exit), 0);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.value, ends);
    ends[1] = fm_interrupted();
    cr_assert_eq(fm_for_each(3, 1, end_as, ends, &exit), 0);
    expect_interruption(exit, FM_BY_NOBODY);
}

static int bad_finalizer(void *arg, struct fm_exit exit)
{
    (void)arg, (void)exit;
    return -ENOSPC;
}

static struct fm_exit ends_badly(void *arg, size_t index)
{
    (void)arg, (void)index;
    fm_defer(bad_finalizer, NULL);
    return fm_ok(NULL);
}

FIBER_TEST(for_each, failing_finalizer_is_a_failure)
{
    struct fm_exit exit;
    cr_assert_eq(fm_for_each(3, 2, ends_badly, NULL, &exit), 0);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -ENOSPC);
}

static uint64_t spawned_so_far(void)
{
    struct fm_runtime_stats stats;
    cr_assert_eq(fm_runtime_stats(fm_runtime_current(), &stats), 0);
    return stats.fibers_spawned;
}

static struct fm_exit count_call(void *arg, size_t index)
{
    (void)index;
    atomic_fetch_add((_Atomic uint64_t *)arg, 1);
    return fm_ok(NULL);
}

FIBER_TEST(for_each, million_pieces_need_no_more_fibers_than_the_bound)
{
    _Atomic uint64_t calls = 0;
    uint64_t before = spawned_so_far();
    cr_assert_eq(fm_for_each(1000000, 8, count_call, (void *)&calls, NULL), 0);
    cr_assert_eq(calls, 1000000);
    cr_assert_leq(spawned_so_far() - before, 8);
}

static fm_local_key a_local;
static _Atomic uint64_t live_most;

static struct fm_exit leave_things_behind(void *arg, size_t index)
{
    _Atomic(struct fm_fiber *) *shown = arg;
    cr_assert_eq(fm_local_get(a_local), NULL, "a local of another piece");
    cr_assert_eq(fm_check(), 0, "an interruption of another piece");
    cr_assert_not(fm_masked());
    cr_assert_eq(fm_unpin(), -EINVAL);
    struct fm_runtime_stats stats;
    switch (index % 5) {
    case 0: fm_local_set(a_local, arg); break;
    case 1: fm_fiber_interrupt(fm_fiber_self()); break;
    case 2: fm_mask(); break;
    case 3: fm_pin(); break;
    case 4:
        fm_fiber_unref(atomic_exchange(shown, fm_fiber_ref(fm_fiber_self())));
        fm_runtime_stats(fm_runtime_current(), &stats);
        /* exact with one worker: nobody ends now */
        if (stats.worker_count == 1 && stats.fibers_live > live_most)
            live_most = stats.fibers_live;
        break;
    }
    return fm_ok(NULL);
}

static struct fm_exit leave_things(void *arg)
{
    _Atomic(struct fm_fiber *) shown = NULL;
    struct fm_exit exit;
    (void)arg;
    cr_assert_eq(fm_local_key_create(&a_local, NULL), 0);
    cr_assert_eq(fm_for_each(5000, 4, leave_things_behind, (void *)&shown, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_leq(live_most, 1 + 2 * 4 + 2, "%d fibers live", (int)live_most);
    cr_assert_eq(fm_fiber_join(shown, FM_NEVER, NULL), 0, "the fiber of a piece ends with it");
    fm_fiber_unref(shown);
    return fm_ok(NULL);
}

TEST(for_each, pieces_leave_nothing_to_each_other)
{
    run_in_fibers(leave_things, 1, FM_CLOCK_REAL);
    cr_assert_gt(live_most, 1);
    run_in_fibers(leave_things, 2, FM_CLOCK_REAL);
}

static struct fm_exit interrupt_the_other(void *arg, size_t index)
{
    _Atomic(struct fm_fiber *) *shown = arg;
    if (index == 0) { /* shows itself, and succeeds */
        atomic_store(shown, fm_fiber_ref(fm_fiber_self()));
        return fm_ok(NULL);
    }
    cr_assert_neq(fm_fiber_self(), atomic_load(shown));
    fm_fiber_interrupt(atomic_load(shown));
    return fm_fail(fm_check());
}

WORKER_TEST(for_each, handle_of_a_piece_names_no_other_piece)
{
    _Atomic(struct fm_fiber *) shown = NULL;
    struct fm_exit exit;
    cr_assert_eq(fm_for_each(2, 1, interrupt_the_other, (void *)&shown, &exit), 0);
    cr_assert_eq(exit.code, 0, "the interruption met the wrong piece");
    fm_fiber_unref(shown);
}

static struct fm_exit see_inherited(void *arg, size_t index)
{
    (void)index;
    cr_assert_eq(fm_local_get(a_local), arg);
    cr_assert_eq(fm_local_set(a_local, NULL), 0);
    return fm_ok(NULL);
}

FIBER_TEST(for_each, pieces_inherit_the_callers_locals)
{
    int local;
    cr_assert_eq(fm_local_key_create(&a_local, NULL), 0);
    cr_assert_eq(fm_local_key_inherit(a_local), 0);
    cr_assert_eq(fm_local_set(a_local, &local), 0);
    cr_assert_eq(fm_for_each(50, 2, see_inherited, &local, NULL), 0);
    cr_assert_eq(fm_local_get(a_local), &local);
}

static __attribute__((noinline)) unsigned char use_150_kib(void)
{
    unsigned char room[150 * 1024];
    memset(room, 1, sizeof room);
    __asm__ volatile("" : : "r"(room) : "memory");
    return room[sizeof room / 2];
}

static struct fm_exit need_stack(void *arg, size_t index)
{
    (void)arg, (void)index;
    return use_150_kib() == 1 ? fm_ok(NULL) : fm_fail(-EIO);
}

static struct fm_exit on_a_large_stack(void *arg)
{
    struct fm_exit exit;
    int r = fm_for_each(3, 2, need_stack, arg, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

FIBER_TEST(for_each, pieces_get_a_stack_as_large_as_the_callers)
{
    struct fm_spawn_options options = { .size = sizeof options, .stack_bytes = 256 * 1024 };
    struct fm_fiber *fiber;
    cr_assert_eq(fm_fiber_spawn(on_a_large_stack, NULL, &options, &fiber), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
}

static _Atomic int leaves;

static struct fm_exit nested_sum(void *arg, size_t index)
{
    uintptr_t depth = (uintptr_t)arg;
    struct fm_exit exit;
    (void)index;
    if (depth == 0) {
        atomic_fetch_add(&leaves, 1);
        return fm_ok(NULL);
    }
    int r = fm_for_each(5, 2, nested_sum, (void *)(depth - 1), &exit);
    return r < 0 ? fm_fail(r) : exit;
}

FIBER_TEST(for_each, nests)
{
    cr_assert_eq(nested_sum((void *)4, 0).kind, FM_SUCCESS);
    cr_assert_eq(leaves, 625);
}

/* ---- interruption of the caller ---- */

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

/* ---- timeout ---- */

static struct fm_exit run_timeout(void *arg)
{
    struct call *call = arg;
    call->exit.kind = 99;
    call->result = fm_timeout(call->entry, call->arg, call->deadline_ns, &call->exit);
    return call->result < 0 ? fm_fail(call->result) : fm_ok(NULL);
}

EXACT_TEST(timeout, body_that_ends_before_hands_on_its_exit)
{
    const struct fm_exit ends[] = { fm_ok(&tasks), fm_fail(-EIO), fm_defect(3) };
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

/* ---- arguments, threads, memory ---- */

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

/* F50, F51: a call without memory says so, and what was started is awaited. */
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
