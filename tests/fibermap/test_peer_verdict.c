/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peer_verdict.c - the edges of the map: what it tells of its fibers' ends
 *
 * Where Effect's own versions were probed, and ours decides. The T-numbers are those of the
 * list of peers' cases; "target" there is the promise here.
 */
#include "tests/support/maps.h"

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
