/* SPDX-License-Identifier: Apache-2.0 */
/* test_for_each.c - each index once, in order and within the bound; a failure ends it */
#include "tests/runtime/flow/each_test.h"

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
