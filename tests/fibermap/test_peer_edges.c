/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peer_edges.c - the edges of the map, where Effect's own versions were probed and ours
 * decides
 *
 * The T-numbers are those of the list of peers' cases; "target" there is the promise here.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/maps.h"

static _Atomic int counter;
static struct fm_map *the_map;

#define MS INT64_C(1000000)

static void advance_ms(int64_t ms)
{
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), ms * MS), 0);
}

FIBER_TEST(edge, set_of_the_same_fiber_is_no_change_even_if_missing_only) /* T037 */
{
    struct fm_map *map = new_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_ONLY_IF_MISSING;
    struct fm_fiber *fiber = run_started(map, "k", never_counting, NULL, NULL);
    cr_assert_eq(fm_map_set(map, fm_key_str("k"), fiber, &options), FM_MAP_SAME);
    options.conflict = FM_FAIL;
    cr_assert_eq(fm_map_set(map, fm_key_str("k"), fiber, &options), FM_MAP_SAME);
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    cr_assert_eq(fm_map_size(map), 1);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

FIBER_TEST(edge, a_closed_map_runs_nothing) /* T039 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *fiber = NULL;
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(fm_map_run(map, fm_key_str("k"), never_counting, (void *)&counter, NULL,
                            &fiber),
                 -ESHUTDOWN);
    cr_assert_null(fiber);
    cr_assert_eq(fm_map_size(map), 0);
    cr_assert_eq(fm_check(), 0);
    fm_map_destroy(map);
}

TIMED_TEST(edge, set_on_a_closed_map_interrupts_the_fiber) /* T040 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *fiber = start(never_counting, NULL);
    fm_fiber_await_ready(fiber, FM_NEVER);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(fm_map_set(map, fm_key_str("k"), fiber, NULL), -ESHUTDOWN);
    expect_interruption(finish(fiber), FM_BY_REJECT);
    cr_assert(!fm_map_has(map, fm_key_str("k")));
    fm_map_destroy(map);
}

static char trace[256];

static int note_old_fin(void *ms, struct fm_exit exit)
{
    (void)exit;
    fm_sleep_ms((intptr_t)ms);
    strcat(trace, "old fin;");
    return 0;
}

static struct fm_exit old_body(void *ms)
{
    fm_defer(note_old_fin, ms);
    fm_ready();
    return fm_fail(fm_never());
}

static struct fm_exit new_body(void *arg)
{
    (void)arg;
    strcat(trace, "new start;");
    fm_ready();
    return fm_fail(fm_never());
}

VIRTUAL_TEST(edge, replace_does_not_wait_for_the_old_finalizer) /* T042 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *old = run_started(map, "k", old_body, (void *)50, NULL);
    fm_fiber_unref(run_started(map, "k", new_body, NULL, NULL));
    cr_assert_eq(fm_now_ns(), 0);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 1);
    advance_ms(50);
    cr_assert_eq(fm_fiber_poll(old, NULL), 0);
    cr_assert_str_eq(trace, "new start;old fin;");
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 0);
    fm_fiber_unref(old);
    fm_map_destroy(map);
}

static struct fm_exit close_map(void *map)
{
    fm_ready();
    return fm_fail(fm_map_close(map, NULL, NULL));
}

VIRTUAL_TEST(edge, close_waits_for_the_replaced_too) /* T043 */
{
    struct fm_map *map = new_map();
    fm_fiber_unref(run_started(map, "k", old_body, (void *)50, NULL));
    fm_fiber_unref(run_started(map, "k", never_counting, NULL, NULL));
    struct fm_fiber *closing = start(close_map, map);
    fm_fiber_await_ready(closing, FM_NEVER);
    advance_ms(49);
    cr_assert_eq(fm_fiber_poll(closing, NULL), -EAGAIN);
    advance_ms(1);
    cr_assert_eq(finish(closing).code, 0);
    cr_assert_str_eq(trace, "old fin;");
    fm_map_destroy(map);
}

static struct fm_exit remove_k(void *map)
{
    fm_ready();
    return fm_fail(fm_map_remove(map, fm_key_str("k"), FM_NEVER));
}

VIRTUAL_TEST(edge, a_remove_under_way_shows_the_old_and_leaves_the_new) /* T045, F43 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *old = run_started(map, "k", old_body, (void *)50, NULL), *found;
    struct fm_fiber *removing = start(remove_k, map);
    fm_fiber_await_ready(removing, FM_NEVER);
    advance_ms(10);
    cr_assert(fm_map_has(map, fm_key_str("k")));
    struct fm_fiber *newer = run_started(map, "k", never_counting, NULL, NULL);
    cr_assert_eq(fm_fiber_poll(removing, NULL), -EAGAIN);
    advance_ms(40);
    cr_assert_eq(finish(removing).code, 0);
    cr_assert_eq(fm_fiber_poll(old, NULL), 0);
    cr_assert_eq(fm_map_get(map, fm_key_str("k"), &found), 0);
    cr_assert_eq(found, newer);
    cr_assert_eq(fm_fiber_poll(newer, NULL), -EAGAIN);
    fm_fiber_unref(old);
    fm_fiber_unref(newer);
    fm_fiber_unref(found);
    fm_map_destroy(map);
}

VIRTUAL_TEST(edge, an_incumbent_that_is_ending_counts_as_present) /* T046, T081 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *old = run_started(map, "k", old_body, (void *)50, NULL), *kept;
    struct fm_fiber *removing = start(remove_k, map);
    fm_fiber_await_ready(removing, FM_NEVER);
    advance_ms(10);
    cr_assert_eq(run_if_missing(map, "k", never_counting, NULL, &kept), FM_MAP_KEPT);
    cr_assert_eq(kept, old);
    fm_fiber_unref(kept);
    advance_ms(40);
    cr_assert_eq(finish(removing).code, 0);
    cr_assert(!fm_map_has(map, fm_key_str("k")));
    fm_fiber_unref(old);
    fm_map_destroy(map);
}

/* ---- finalizers that come back ---- */

static int rerun_own_key(void *arg, struct fm_exit exit)
{
    (void)exit;
    int r = fm_map_run(the_map, fm_key_str("k"), never_counting, NULL, NULL, NULL);
    if (arg)
        *(int *)arg = r;
    return 0;
}

static struct fm_exit never_and_rerun(void *arg)
{
    fm_defer(rerun_own_key, arg);
    fm_ready();
    return fm_fail(fm_never());
}

FIBER_TEST(edge, clear_ends_though_a_finalizer_runs_its_key_again) /* T048, X11 */
{
    the_map = new_map();
    fm_fiber_unref(run_started(the_map, "k", never_and_rerun, NULL, NULL));
    cr_assert_eq(fm_map_clear(the_map, FM_NEVER), 0);
    cr_assert_eq(fm_map_size(the_map), 1);
    fm_map_destroy(the_map);
}

FIBER_TEST(edge, a_finalizers_run_is_refused_once_the_map_is_closing) /* T049 */
{
    static int result;
    the_map = new_map();
    fm_fiber_unref(run_started(the_map, "k", never_and_rerun, &result, NULL));
    cr_assert_eq(fm_map_close(the_map, NULL, NULL), 0);
    cr_assert_eq(result, -ESHUTDOWN);
    cr_assert_eq(fm_map_size(the_map), 0);
    fm_map_destroy(the_map);
}

/* ---- the verdict ---- */

TIMED_TEST(edge, all_succeeding_leaves_the_verdict_open_until_close) /* T051 */
{
    struct fm_map *map = new_map();
    struct fm_exit exit;
    run(map, "a", return_arg, NULL);
    run(map, "b", return_arg, NULL);
    cr_assert_eq(fm_map_await_empty(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_join(map, fm_after_ms(1), &exit), -ETIMEDOUT);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(fm_map_join(map, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_map_destroy(map);
}

FIBER_TEST(edge, the_first_failure_stays_and_stops_nobody) /* T052, T270 */
{
    struct fm_map *map = new_map();
    struct fm_exit exit;
    struct fm_fiber *sibling = run_started(map, "s", never_counting, NULL, NULL);
    run(map, "a", fail_with, (void *)1);
    cr_assert_eq(fm_map_join(map, FM_NEVER, &exit), 0);
    run(map, "b", fail_with, (void *)2);
    await_absent(map, "b");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(fm_map_join(map, FM_NEVER, &exit), 0);
        cr_assert_eq(exit.code, 1);
    }
    cr_assert_eq(fm_fiber_poll(sibling, NULL), -EAGAIN);
    run(map, "c", return_arg, NULL);
    fm_fiber_unref(sibling);
    fm_map_destroy(map);
}

static struct fm_exit interrupt_myself(void *arg)
{
    (void)arg;
    fm_fiber_interrupt(fm_fiber_self());
    return fm_fail(fm_never());
}

static void interruptions_of_all_kinds(uint32_t flags, int by_self, int by_outside)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.flags = flags;
    struct fm_map *map = new_map();
    /* by the map: never */
    fm_fiber_unref(run_started(map, "a", never_counting, NULL, &options));
    fm_fiber_unref(run_started(map, "a", never_counting, NULL, &options));
    cr_assert_eq(fm_map_await_quiescent(map, 0), -ETIMEDOUT);
    cr_assert_eq(fm_map_remove(map, fm_key_str("a"), FM_NEVER), 0);
    fm_fiber_unref(run_started(map, "a", never_counting, NULL, &options));
    cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    /* by itself */
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_run(map, fm_key_str("b"), interrupt_myself, NULL, &options, &fiber), 0);
    finish(fiber); /* the exit has brought its verdict: it leaves the key before that */
    cr_assert_eq(fm_map_join(map, 0, NULL), by_self);
    fm_map_destroy(map);
    /* from outside */
    map = new_map();
    fiber = run_started(map, "a", never_counting, NULL, &options);
    fm_fiber_stop(fiber, FM_NEVER, NULL);
    cr_assert_eq(fm_map_join(map, 0, NULL), by_outside);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

FIBER_TEST(edge, interruptions_do_not_decide_by_default) /* T054 */
{
    interruptions_of_all_kinds(0, -ETIMEDOUT, -ETIMEDOUT);
}

FIBER_TEST(edge, propagated_interruptions_decide_unless_the_map_issued_them) /* T055 */
{
    interruptions_of_all_kinds(FM_MAP_PROPAGATE_INTERRUPT, 0, 0);
}

static int fail_finalizer(void *arg, struct fm_exit exit)
{
    (void)arg, (void)exit;
    return -EIO;
}

static struct fm_exit never_with_failing_finalizer(void *arg)
{
    (void)arg;
    fm_defer(fail_finalizer, NULL);
    fm_ready();
    /* the interruption is caught, so the body succeeds and its finalizer fails */
    fm_never();
    return fm_ok(NULL);
}

FIBER_TEST(edge, a_failing_finalizer_decides_in_both_settings) /* T057 */
{
    for (uint32_t flags = 0; flags < 2; flags++) {
        struct fm_map *map = new_map();
        struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
        struct fm_exit exit;
        options.flags = flags ? FM_MAP_PROPAGATE_INTERRUPT : 0;
        struct fm_fiber *fiber = run_started(map, "a", never_with_failing_finalizer, NULL,
                                             &options);
        fm_fiber_stop(fiber, FM_NEVER, NULL);
        cr_assert_eq(fm_map_join(map, FM_NEVER, &exit), 0);
        cr_assert_eq(exit.kind, FM_FAILURE);
        cr_assert_eq(exit.code, -EIO);
        fm_fiber_unref(fiber);
        fm_map_destroy(map);
    }
}

FIBER_TEST(edge, isolated_failures_do_not_decide)
{
    struct fm_map *map = new_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.flags = FM_MAP_ISOLATE_FAILURE;
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_run(map, fm_key_str("a"), fail_with, (void *)1, &options, &fiber), 0);
    finish(fiber);
    cr_assert_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    fm_map_destroy(map);
}

static struct fm_exit join_the_map(void *map)
{
    struct fm_exit exit;
    fm_ready();
    int r = fm_map_join(map, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : fm_ok((void *)(intptr_t)exit.kind);
}

FIBER_TEST(edge, every_joiner_wakes_with_the_same_verdict) /* T090 */
{
    struct fm_map *map = new_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *joiners[3];
    options.flags = FM_MAP_PROPAGATE_INTERRUPT;
    struct fm_fiber *fiber = run_started(map, "a", never_counting, NULL, &options);
    for (int i = 0; i < 3; i++) {
        joiners[i] = start(join_the_map, map);
        fm_fiber_await_ready(joiners[i], FM_NEVER);
    }
    fm_fiber_interrupt(fiber);
    for (int i = 0; i < 3; i++)
        cr_assert_eq((intptr_t)finish(joiners[i]).value, FM_INTERRUPTED);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

/* ---- several keys, several maps ---- */

FIBER_TEST(edge, one_fiber_under_two_keys_leaves_both) /* T058, F48 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *fiber = start(never_counting, NULL), *found;
    fm_fiber_await_ready(fiber, FM_NEVER);
    cr_assert_eq(fm_map_set(map, fm_key_str("a"), fiber, NULL), 0);
    cr_assert_eq(fm_map_set(map, fm_key_str("b"), fiber, NULL), 0);
    cr_assert_eq(fm_map_size(map), 2);
    struct fm_fiber *newer = run_started(map, "a", never_counting, NULL, NULL);
    expect_interruption(finish(fiber), FM_BY_REPLACE);
    cr_assert(!fm_map_has(map, fm_key_str("b")));
    cr_assert_eq(fm_map_get(map, fm_key_str("a"), &found), 0);
    cr_assert_eq(found, newer);
    fm_fiber_unref(found);
    fm_fiber_unref(newer);
    fm_map_destroy(map);
}

static int count_keys(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    (void)fiber;
    cr_assert_eq(key.len, 1);
    ((int *)ctx)[*(const char *)key.data - 'a']++;
    return 0;
}

FIBER_TEST(edge, iteration_shows_each_live_key_once) /* T060 */
{
    struct fm_map *map = new_map();
    int seen[3] = { 0 };
    run(map, "a", until_interrupted, NULL);
    run(map, "b", until_interrupted, NULL);
    run(map, "c", until_interrupted, NULL);
    run(map, "a", until_interrupted, NULL);
    cr_assert_eq(fm_map_remove(map, fm_key_str("b"), FM_NEVER), 0);
    run(map, "b", until_interrupted, NULL);
    cr_assert_eq(fm_map_each(map, count_keys, seen), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(seen[i], 1);
    fm_map_destroy(map);
}

WORKER_TEST(edge, two_runs_in_a_row_leave_the_second) /* T061 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *one, *two, *found;
    cr_assert_eq(fm_map_run(map, fm_key_str("k"), never_counting, (void *)&counter, NULL, &one),
                 0);
    cr_assert_eq(fm_map_run(map, fm_key_str("k"), never_counting, (void *)&counter, NULL, &two),
                 FM_MAP_REPLACED);
    expect_interruption(finish(one), FM_BY_REPLACE);
    cr_assert_eq(fm_fiber_await_ready(two, FM_NEVER), 0);
    cr_assert_eq(fm_map_get(map, fm_key_str("k"), &found), 0);
    cr_assert_eq(found, two);
    fm_fiber_unref(found);
    fm_fiber_unref(two);
    fm_map_destroy(map);
}

TEST(edge, promises_tell_keeping_failing_and_closing) /* T064 */
{
    struct fm_runtime *runtime;
    struct fm_runner *runner;
    struct fm_promise *first, *kept, *failed, *none = NULL;
    struct fm_map_run_options keep = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_exit exit;
    keep.conflict = FM_ONLY_IF_MISSING;
    cr_assert_eq(fm_runtime_create(NULL, &runtime), 0);
    cr_assert_eq(fm_runner_create(runtime, NULL, &runner), 0);
    cr_assert_eq(fm_runner_promise(runner, fm_key_str("k"), never_counting, NULL, NULL, &first),
                 0);
    cr_assert_eq(fm_runner_promise(runner, fm_key_str("k"), never_counting, NULL, &keep, &kept),
                 FM_MAP_KEPT);
    cr_assert_eq(fm_runner_promise(runner, fm_key_str("f"), fail_with, (void *)9, NULL,
                                   &failed),
                 0);
    cr_assert_eq(fm_promise_await(failed, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.code, 9);
    cr_assert_eq(fm_map_close(fm_runner_map(runner), NULL, NULL), 0);
    cr_assert_eq(fm_promise_await(first, FM_NEVER, &exit), 0);
    expect_interruption(exit, FM_BY_CLOSE);
    cr_assert_eq(fm_promise_await(kept, FM_NEVER, &exit), 0);
    expect_interruption(exit, FM_BY_CLOSE);
    cr_assert_eq(fm_runner_promise(runner, fm_key_str("k"), never_counting, NULL, NULL, &none),
                 -ESHUTDOWN);
    cr_assert_null(none);
    fm_promise_unref(first);
    fm_promise_unref(kept);
    fm_promise_unref(failed);
    fm_runner_destroy(runner);
    fm_runtime_destroy(runtime);
}

/* ---- the fiber itself ---- */

static struct fm_exit remove_myself(void *arg)
{
    (void)arg;
    fm_mask();
    int r = fm_map_remove(the_map, fm_key_str("k"), FM_NEVER);
    fm_unmask();
    return r == FM_MAP_SELF ? fm_fail(fm_check()) : fm_fail(-EPROTO);
}

FIBER_TEST(edge, a_fiber_that_removes_itself_is_signalled_and_never_hangs) /* T066 */
{
    struct fm_fiber *fiber;
    the_map = new_map();
    cr_assert_eq(fm_map_run(the_map, fm_key_str("k"), remove_myself, NULL, NULL, &fiber), 0);
    expect_interruption(finish(fiber), FM_BY_REMOVE);
    cr_assert(!fm_map_has(the_map, fm_key_str("k")));
    fm_map_destroy(the_map);
}

static struct fm_exit replace_myself(void *arg)
{
    struct fm_fiber **newer = arg;
    cr_assert_eq(fm_map_run(the_map, fm_key_str("k"), never_counting, NULL, NULL, newer),
                 FM_MAP_REPLACED);
    int r = fm_yield();
    if (r == 0)
        atomic_fetch_add(&counter, 1);
    return fm_fail(r);
}

FIBER_TEST(edge, a_fiber_that_replaces_itself_is_interrupted) /* T067 */
{
    struct fm_fiber *fiber, *newer, *found;
    the_map = new_map();
    cr_assert_eq(fm_map_run(the_map, fm_key_str("k"), replace_myself, &newer, NULL, &fiber), 0);
    expect_interruption(finish(fiber), FM_BY_REPLACE);
    cr_assert_eq(atomic_load(&counter), 0);
    cr_assert_eq(fm_map_get(the_map, fm_key_str("k"), &found), 0);
    cr_assert_eq(found, newer);
    fm_fiber_unref(found);
    fm_fiber_unref(newer);
    fm_map_destroy(the_map);
}

static struct fm_exit chain(void *arg)
{
    intptr_t left = (intptr_t)arg;
    char key[8];
    atomic_fetch_add(&counter, 1);
    snprintf(key, sizeof key, "%d", (int)left);
    if (left > 1)
        run(the_map, key, chain, (void *)(left - 1));
    return fm_ok(NULL);
}

FIBER_TEST(edge, await_empty_sees_through_a_chain_of_successors) /* T069 */
{
    for (int round = 0; round < 100; round++) {
        the_map = new_map();
        atomic_store(&counter, 0);
        run(the_map, "first", chain, (void *)5);
        cr_assert_eq(fm_map_await_empty(the_map, FM_NEVER), 0);
        cr_assert_eq(atomic_load(&counter), 5);
        fm_map_destroy(the_map);
    }
}

static struct fm_exit await_empty_of(void *map)
{
    fm_ready();
    return fm_fail(fm_map_await_empty(map, FM_NEVER));
}

VIRTUAL_TEST(edge, await_empty_ends_with_a_close) /* T070 */
{
    struct fm_map *map = new_map();
    fm_fiber_unref(run_started(map, "k", never_with_slow_finalizer, (void *)50, NULL));
    struct fm_fiber *waiter = start(await_empty_of, map), *closing = start(close_map, map);
    fm_fiber_await_ready(waiter, FM_NEVER);
    fm_fiber_await_ready(closing, FM_NEVER);
    advance_ms(50);
    cr_assert_eq(finish(closing).code, 0);
    cr_assert_eq(finish(waiter).code, 0);
    fm_map_destroy(map);
}

FIBER_TEST(edge, keys_are_equal_by_their_bytes) /* T072, T243 */
{
    struct fm_map *map = new_map();
    char one[] = "same\0key", two[] = "same\0key";
    struct fm_key a = fm_key_bytes(one, sizeof one), b = fm_key_bytes(two, sizeof two);
    struct fm_fiber *first;
    cr_assert_eq(fm_map_run(map, a, never_counting, NULL, NULL, &first), 0);
    memset(one, 'x', sizeof one);
    cr_assert_eq(fm_map_run(map, b, never_counting, NULL, NULL, NULL), FM_MAP_REPLACED);
    expect_interruption(finish(first), FM_BY_REPLACE);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert(!fm_map_has(map, fm_key_bytes(two, 4)));
    fm_map_destroy(map);
}

FIBER_TEST(edge, the_replaced_fiber_learns_by_whom_and_why) /* T073 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *old = run_started(map, "k", never_counting, NULL, NULL);
    run(map, "k", never_counting, NULL);
    struct fm_exit exit = finish(old);
    expect_interruption(exit, FM_BY_REPLACE);
    cr_assert_eq(exit.by, fm_fiber_id(fm_fiber_self()));
    fm_map_destroy(map);
}

VIRTUAL_TEST(edge, await_empty_waits_for_the_replacement_too) /* T075 */
{
    struct fm_map *map = new_map();
    fm_fiber_unref(run_started(map, "k", sleep_then_succeed, (void *)100, NULL));
    struct fm_fiber *waiter = start(await_empty_of, map);
    fm_fiber_await_ready(waiter, FM_NEVER);
    fm_fiber_unref(run_started(map, "k", sleep_then_succeed, (void *)300, NULL));
    advance_ms(100);
    cr_assert_eq(fm_fiber_poll(waiter, NULL), -EAGAIN);
    advance_ms(200);
    cr_assert_eq(finish(waiter).code, 0);
    fm_map_destroy(map);
}

VIRTUAL_TEST(edge, interrupting_a_remove_stops_only_the_waiting) /* T076 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *fiber = run_started(map, "k", old_body, (void *)50, NULL);
    struct fm_fiber *removing = start(remove_k, map);
    fm_fiber_await_ready(removing, FM_NEVER);
    advance_ms(10);
    fm_fiber_interrupt(removing);
    expect_interruption(finish(removing), FM_BY_USER);
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    advance_ms(40);
    expect_interruption(finish(fiber), FM_BY_REMOVE);
    cr_assert_str_eq(trace, "old fin;");
    cr_assert(!fm_map_has(map, fm_key_str("k")));
    fm_map_destroy(map);
}

FIBER_TEST(edge, close_signals_every_key) /* T078: in any order */
{
    struct fm_map *map = new_map();
    static const char *const keys[] = { "a", "b", "c" };
    for (int i = 0; i < 3; i++)
        fm_fiber_unref(run_started(map, keys[i], never_counting, (void *)&counter, NULL));
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(atomic_load(&counter), 3);
    fm_map_destroy(map);
}

static struct fm_exit find_myself(void *arg)
{
    struct fm_fiber *found = NULL;
    int r = fm_map_get(arg, fm_key_str("k"), &found);
    bool same = found == fm_fiber_self();
    fm_fiber_unref(found);
    return r == 0 && same ? fm_ok(NULL) : fm_fail(-ENOENT);
}

FIBER_TEST(edge, a_body_finds_its_own_key_from_its_first_step) /* T079 */
{
    struct fm_map *map = new_map();
    for (int i = 0; i < 1000; i++) {
        struct fm_fiber *fiber;
        cr_assert_eq(fm_map_run(map, fm_key_str("k"), find_myself, map, NULL, &fiber), 0);
        cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    }
    fm_map_destroy(map);
}

static struct fm_exit nested_if_missing(void *arg)
{
    atomic_fetch_add(&counter, 1);
    cr_assert_eq(run_if_missing(arg, "k", nested_if_missing, arg, NULL), FM_MAP_KEPT);
    return fm_ok(NULL);
}

FIBER_TEST(edge, a_nested_run_if_missing_starts_nothing) /* T082 */
{
    struct fm_map *map = new_map();
    cr_assert_eq(run_if_missing(map, "k", nested_if_missing, map, NULL), 0);
    await_absent(map, "k");
    cr_assert_eq(atomic_load(&counter), 1);
    fm_map_destroy(map);
}

static struct fm_exit run_and_end(void *arg)
{
    run(arg, "k", never_counting, NULL);
    return fm_ok(NULL);
}

FIBER_TEST(edge, a_keyed_fiber_outlives_the_one_that_ran_it) /* T084 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *found;
    finish(start(run_and_end, map));
    cr_assert_eq(fm_map_get(map, fm_key_str("k"), &found), 0);
    cr_assert_eq(fm_fiber_poll(found, NULL), -EAGAIN);
    fm_fiber_unref(found);
    fm_map_destroy(map);
}

static int note_end(void *name, struct fm_exit exit)
{
    (void)exit;
    strcat(trace, name);
    return 0;
}

static struct fm_exit never_noting(void *name)
{
    fm_defer(note_end, name);
    fm_ready();
    return fm_fail(fm_never());
}

static struct fm_exit two_maps_in_a_scope(void *arg)
{
    struct fm_map *first, *second;
    static char one[] = "1", two[] = "2";
    cr_assert_eq(fm_map_create_scoped(NULL, &first), 0);
    cr_assert_eq(fm_map_create_scoped(NULL, &second), 0);
    fm_fiber_unref(run_started(first, "k", never_noting, one, NULL));
    fm_fiber_unref(run_started(second, "k", never_noting, two, NULL));
    return fm_ok(arg);
}

FIBER_TEST(edge, scoped_maps_close_in_reverse_order) /* T085 */
{
    fm_scoped(two_maps_in_a_scope, NULL);
    cr_assert_str_eq(trace, "21");
}

FIBER_TEST(edge, a_hundred_replaces_leave_one) /* T087 */
{
    struct fm_map *map = new_map();
    for (int i = 0; i < 100; i++)
        fm_fiber_unref(run_started(map, "k", never_counting, (void *)&counter, NULL));
    cr_assert_eq(fm_map_size(map), 1);
    while (fm_map_count(map, FM_MEMBER_ZOMBIE))
        fm_yield();
    cr_assert_eq(atomic_load(&counter), 99);
    fm_map_destroy(map);
    cr_assert_eq(atomic_load(&counter), 100);
}

static struct fm_exit never_starting_another(void *arg);

static int start_another(void *arg, struct fm_exit exit)
{
    char key[16];
    (void)exit;
    intptr_t n = (intptr_t)arg + 1;
    if (n > 30)
        return 0;
    snprintf(key, sizeof key, "fresh%d", (int)n);
    int r = fm_map_run(the_map, fm_key_str(key), never_starting_another, (void *)n, NULL, NULL);
    cr_assert(r == 0 || r == -ESHUTDOWN);
    return 0;
}

static struct fm_exit never_starting_another(void *arg)
{
    fm_defer(start_another, arg);
    fm_ready();
    return fm_fail(fm_never());
}

FIBER_TEST(edge, clear_is_a_snapshot_and_bounded) /* T088 */
{
    the_map = new_map();
    fm_fiber_unref(run_started(the_map, "fresh0", never_starting_another, (void *)0, NULL));
    cr_assert_eq(fm_map_clear(the_map, FM_NEVER), 0);
    cr_assert_eq(fm_map_size(the_map), 1);
    cr_assert(fm_map_has(the_map, fm_key_str("fresh1")));
    fm_map_destroy(the_map);
}

TIMED_TEST(edge, close_reports_who_is_stuck) /* F31, F64 */
{
    struct fm_map *map = new_map();
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    struct fm_close_report report;
    fm_fiber_unref(run_started(map, "stuck", slow_to_end, (void *)60, NULL));
    fm_fiber_unref(run_started(map, "good", never_counting, NULL, NULL));
    policy.deadline_ns = fm_after_ms(10);
    cr_assert_eq(fm_map_close(map, &policy, &report), -ETIMEDOUT);
    cr_assert_eq(report.stuck, 1);
    cr_assert_eq(report.stuck_count, 1);
    cr_assert_eq(report.stuck_members[0].key.len, 5);
    cr_assert_eq(memcmp(report.stuck_members[0].key.data, "stuck", 5), 0);
    fm_close_report_fini(&report);
    cr_assert_eq(fm_map_close(map, NULL, &report), 0);
    cr_assert_eq(report.stuck, 0);
    fm_close_report_fini(&report);
    fm_map_destroy(map);
}

struct closing {
    struct fm_map *map;
    struct fm_close_policy *policy;
};

static struct fm_exit close_with(void *arg)
{
    struct closing *closing = arg;
    return fm_fail(fm_map_close(closing->map, closing->policy, NULL));
}

VIRTUAL_TEST(edge, drain_awaits_and_cancel_after_gives_grace)
{
    struct fm_map *map = new_map();
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    fm_fiber_unref(run_started(map, "quick", sleep_then_succeed, (void *)20, NULL));
    struct fm_fiber *slow = run_started(map, "slow", sleep_then_succeed, (void *)1000, NULL);
    policy.kind = FM_CLOSE_CANCEL_AFTER;
    policy.grace_ns = 50 * MS;
    struct closing both = { map, &policy };
    struct fm_fiber *closing = start(close_with, &both);
    advance_ms(49);
    cr_assert_eq(fm_fiber_poll(closing, NULL), -EAGAIN);
    cr_assert_eq(fm_fiber_poll(slow, NULL), -EAGAIN);
    advance_ms(2);
    cr_assert_eq(finish(closing).code, 0);
    expect_interruption(finish(slow), FM_BY_CLOSE);
    fm_map_destroy(map);
}
