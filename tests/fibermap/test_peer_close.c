/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peer_close.c - the edges of the map: closing, clearing, waiting until it is empty
 *
 * Where Effect's own versions were probed, and ours decides. The T-numbers are those of the
 * list of peers' cases; "target" there is the promise here.
 */
#include "tests/fibermap/edge_test.h"

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

VIRTUAL_TEST(edge, close_waits_for_the_replaced_too) /* T043 */
{
    struct fm_map *map = new_map();
    fm_fiber_unref(run_started(map, "k", old_body, (void *)50, NULL));
    fm_fiber_unref(run_started(map, "k", never_counting, NULL, NULL));
    struct fm_fiber *closing = start(close_map, map);
    fm_fiber_await_ready(closing, FM_NEVER);
    pass_ms(49);
    cr_assert_eq(fm_fiber_poll(closing, NULL), -EAGAIN);
    pass_ms(1);
    cr_assert_eq(finish(closing).code, 0);
    cr_assert_str_eq(trace, "old fin;");
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
    policy.grace_ns = 50 * INT64_C(1000000);
    struct closing both = { map, &policy };
    struct fm_fiber *closing = start(close_with, &both);
    pass_ms(49);
    cr_assert_eq(fm_fiber_poll(closing, NULL), -EAGAIN);
    cr_assert_eq(fm_fiber_poll(slow, NULL), -EAGAIN);
    pass_ms(2);
    cr_assert_eq(finish(closing).code, 0);
    expect_interruption(finish(slow), FM_BY_CLOSE);
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

/* ---- empty ---- */

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

VIRTUAL_TEST(edge, await_empty_ends_with_a_close) /* T070 */
{
    struct fm_map *map = new_map();
    fm_fiber_unref(run_started(map, "k", never_with_slow_finalizer, (void *)50, NULL));
    struct fm_fiber *waiter = start(await_empty_of, map), *closing = start(close_map, map);
    fm_fiber_await_ready(waiter, FM_NEVER);
    fm_fiber_await_ready(closing, FM_NEVER);
    pass_ms(50);
    cr_assert_eq(finish(closing).code, 0);
    cr_assert_eq(finish(waiter).code, 0);
    fm_map_destroy(map);
}

VIRTUAL_TEST(edge, await_empty_waits_for_the_replacement_too) /* T075 */
{
    struct fm_map *map = new_map();
    fm_fiber_unref(run_started(map, "k", sleep_then_succeed, (void *)100, NULL));
    struct fm_fiber *waiter = start(await_empty_of, map);
    fm_fiber_await_ready(waiter, FM_NEVER);
    fm_fiber_unref(run_started(map, "k", sleep_then_succeed, (void *)300, NULL));
    pass_ms(100);
    cr_assert_eq(fm_fiber_poll(waiter, NULL), -EAGAIN);
    pass_ms(200);
    cr_assert_eq(finish(waiter).code, 0);
    fm_map_destroy(map);
}
