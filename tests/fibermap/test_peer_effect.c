/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peer_effect.c - what Effect's own tests of FiberMap, FiberSet and FiberHandle promise,
 * on many cores
 *
 * The T-numbers are those of the list of peers' cases. A set is a map under fresh keys, a
 * handle a map with one key: where a case speaks of them it stands here once, for the map.
 */
#include <stdio.h>

#include "tests/support/maps.h"

static _Atomic int counter;

static struct fm_exit ten_under_keys(void *arg)
{
    struct fm_map *map;
    (void)arg;
    cr_assert_eq(fm_map_create_scoped(NULL, &map), 0);
    for (int i = 1; i <= 10; i++) {
        char key[8];
        snprintf(key, sizeof key, "%d", i);
        fm_fiber_unref(run_started(map, key, never_counting, (void *)&counter, NULL));
    }
    return fm_ok(NULL);
}

FIBER_TEST(peer, leaving_the_scope_interrupts_every_member) /* T001, T017 */
{
    cr_assert_eq(fm_scoped(ten_under_keys, NULL).kind, FM_SUCCESS);
    cr_assert_eq(atomic_load(&counter), 10);
}

TEST(peer, a_runners_members_are_interrupted_with_it) /* T002 */
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_runner *runner;
    config.worker_count = 2;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runner_create(runtime, NULL, &runner), 0);
    for (uint64_t i = 1; i <= 10; i++) {
        struct fm_fiber *fiber;
        cr_assert_eq(fm_runner_run(runner, FM_KEY_U64(i), never_counting, (void *)&counter,
                                   NULL, &fiber),
                     0);
        cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), 0);
        fm_fiber_unref(fiber);
    }
    fm_runner_destroy(runner);
    cr_assert_eq(atomic_load(&counter), 10);
    fm_runtime_destroy(runtime);
}

FIBER_TEST(peer, join_fails_with_the_first_failure) /* T004, T019 */
{
    struct fm_map *map = new_map();
    static const char *const keys[] = { "a", "b", "c", "d" };
    fm_entry_fn *const entries[] = { return_arg, return_arg, fail_with, fail_with };
    for (intptr_t i = 0; i < 4; i++) {
        struct fm_fiber *fiber = start(entries[i], (void *)(i + 10));
        cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
        cr_assert_eq(fm_map_set(map, fm_key_str(keys[i]), fiber, NULL), 0);
        fm_fiber_unref(fiber);
    }
    struct fm_exit exit;
    cr_assert_eq(fm_map_join(map, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, 12);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
}

FIBER_TEST(peer, close_brings_the_size_to_zero) /* T005, T020 */
{
    struct fm_map *map = new_map();
    run(map, "a", until_interrupted, NULL);
    run(map, "b", until_interrupted, NULL);
    cr_assert_eq(fm_map_size(map), 2);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
}

FIBER_TEST(peer, only_if_missing_keeps_the_incumbent_and_starts_nothing) /* T006, T030, T063 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *a = run_started(map, "a", never_counting, NULL, NULL), *b = NULL,
                    *c = NULL;
    atomic_store(&counter, 0);
    cr_assert_eq(run_if_missing(map, "a", never_counting, (void *)&counter, &b), FM_MAP_KEPT);
    cr_assert_eq(run_if_missing(map, "a", never_counting, (void *)&counter, &c), FM_MAP_KEPT);
    cr_assert_eq(b, a);
    cr_assert_eq(c, a);
    cr_assert_eq(fm_fiber_poll(a, NULL), -EAGAIN);
    cr_assert_eq(fm_map_size(map), 1);
    fm_fiber_unref(a);
    fm_fiber_unref(b);
    fm_fiber_unref(c);
    fm_map_destroy(map);
}

static int join_now(struct fm_map *map, struct fm_exit *exit)
{
    return fm_map_join(map, 0, exit);
}

FIBER_TEST(peer, an_interruption_from_outside_leaves_the_verdict_open) /* T008, T021, T033 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *fiber = run_started(map, "a", never_counting, NULL, NULL);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(join_now(map, NULL), -ETIMEDOUT);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

FIBER_TEST(peer, propagated_interruption_is_the_verdict) /* T009 */
{
    struct fm_map *map = new_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_exit exit;
    options.flags = FM_MAP_PROPAGATE_INTERRUPT;
    struct fm_fiber *fiber = run_started(map, "a", never_counting, NULL, &options);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_map_join(map, FM_NEVER, &exit), 0);
    expect_interruption(exit, FM_BY_USER);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static struct fm_exit await_empty(void *map)
{
    fm_ready();
    return fm_fail(fm_map_await_empty(map, FM_NEVER));
}

VIRTUAL_TEST(peer, await_empty_waits_for_the_last) /* T010, T023, T035 */
{
    struct fm_map *map = new_map();
    static const char *const keys[] = { "a", "b", "c", "d" };
    for (int i = 0; i < 4; i++)
        run(map, keys[i], sleep_then_succeed, (void *)1000);
    struct fm_fiber *waiter = start(await_empty, map);
    cr_assert_eq(fm_fiber_await_ready(waiter, FM_NEVER), 0);
    pass_ms(500);
    cr_assert_eq(fm_fiber_poll(waiter, NULL), -EAGAIN);
    pass_ms(500);
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_poll(waiter, &exit), 0);
    cr_assert_eq(exit.code, 0);
    fm_fiber_unref(waiter);
    fm_map_destroy(map);
}

/* ---- re-entrant replacement ---- */

static struct fm_map *the_map;
static struct fm_fiber *third_fiber;

static int run_third(void *arg, struct fm_exit exit)
{
    (void)exit;
    int r = fm_map_run(the_map, fm_key_str("k"), never_counting, arg, NULL, &third_fiber);
    cr_assert(r == 0 || r == FM_MAP_REPLACED || r == -ESHUTDOWN, "%d", r);
    return 0;
}

static struct fm_exit replaced_one(void *arg)
{
    fm_defer(run_third, arg);
    fm_ready();
    return fm_fail(fm_never());
}

FIBER_TEST(peer, a_finalizer_that_runs_under_its_own_key_orphans_nobody) /* T012, F47 */
{
    the_map = new_map();
    struct fm_fiber *first = run_started(the_map, "k", replaced_one, NULL, NULL), *second;
    cr_assert_eq(fm_map_run(the_map, fm_key_str("k"), never_counting, NULL, NULL, &second),
                 FM_MAP_REPLACED);
    cr_assert_eq(fm_map_close(the_map, NULL, NULL), 0);
    cr_assert_eq(fm_fiber_poll(first, NULL), 0);
    cr_assert_eq(fm_fiber_poll(second, NULL), 0);
    cr_assert(!third_fiber || fm_fiber_poll(third_fiber, NULL) == 0);
    fm_fiber_unref(first);
    fm_fiber_unref(second);
    fm_fiber_unref(third_fiber);
    fm_map_destroy(the_map);
}

FIBER_TEST(peer, a_replacement_that_completes_at_once_leaves_an_empty_map) /* T013 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *first = run_started(map, "k", never_counting, NULL, NULL);
    cr_assert_eq(fm_map_run(map, fm_key_str("k"), return_arg, NULL, NULL, NULL),
                 FM_MAP_REPLACED);
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_size(map), 0);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 0);
    cr_assert_eq(fm_fiber_poll(first, NULL), 0);
    fm_fiber_unref(first);
    fm_map_destroy(map);
}

static void set_twice(uint32_t first_flags, uint32_t second_flags, int expected)
{
    struct fm_map *map = new_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = start(never_counting, NULL);
    fm_fiber_await_ready(fiber, FM_NEVER);
    options.flags = first_flags;
    cr_assert_eq(fm_map_set(map, fm_key_str("k"), fiber, &options), 0);
    options.flags = second_flags;
    cr_assert_eq(fm_map_set(map, fm_key_str("k"), fiber, &options), FM_MAP_SAME);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(join_now(map, NULL), expected);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

FIBER_TEST(peer, the_first_registrations_options_stay) /* T015 */
{
    set_twice(0, FM_MAP_PROPAGATE_INTERRUPT, -ETIMEDOUT);
    set_twice(FM_MAP_PROPAGATE_INTERRUPT, 0, 0);
}

/* ---- promises ---- */

static struct fm_exit succeed_with_text(void *text)
{
    return fm_ok(text);
}

TEST(peer, a_promise_gets_the_value) /* T024, T036 */
{
    struct fm_runtime *runtime;
    struct fm_runner *runner;
    struct fm_promise *promise;
    struct fm_exit exit;
    static char done[] = "done";
    cr_assert_eq(fm_runtime_create(NULL, &runtime), 0);
    cr_assert_eq(fm_runner_create(runtime, NULL, &runner), 0);
    cr_assert_eq(fm_runner_promise(runner, fm_key_str("k"), succeed_with_text, done, NULL,
                                   &promise),
                 0);
    cr_assert_eq(fm_promise_await(promise, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.value, done);
    fm_promise_unref(promise);
    fm_runner_destroy(runner);
    fm_runtime_destroy(runtime);
}

/* ---- one key, as a handle ---- */

FIBER_TEST(peer, the_one_fiber_of_a_key_is_interrupted_once) /* T026 */
{
    struct fm_map *map = new_map();
    fm_fiber_unref(run_started(map, "slot", never_counting, (void *)&counter, NULL));
    fm_map_destroy(map);
    cr_assert_eq(atomic_load(&counter), 1);
}

FIBER_TEST(peer, replace_then_keep_then_close) /* T027 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *first = run_started(map, "slot", never_counting, (void *)&counter, NULL);
    fm_fiber_unref(run_started(map, "slot", never_counting, (void *)&counter, NULL));
    cr_assert_eq(fm_fiber_join(first, FM_NEVER, NULL), 0);
    cr_assert_eq(run_if_missing(map, "slot", never_counting, (void *)&counter, NULL),
                 FM_MAP_KEPT);
    cr_assert_eq(atomic_load(&counter), 1);
    fm_fiber_unref(first);
    fm_map_destroy(map);
    cr_assert_eq(atomic_load(&counter), 2);
}

FIBER_TEST(peer, a_replacement_is_not_the_verdict_but_a_failure_is) /* T029 */
{
    struct fm_map *map = new_map();
    struct fm_exit exit;
    for (int i = 0; i < 2; i++) {
        struct fm_fiber *fiber = start(i ? fail_with : return_arg, (void *)(intptr_t)77);
        fm_fiber_join(fiber, FM_NEVER, NULL);
        cr_assert_geq(fm_map_set(map, fm_key_str("slot"), fiber, NULL), 0);
        fm_fiber_unref(fiber);
    }
    cr_assert_eq(fm_map_join(map, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, 77);
    fm_map_destroy(map);
}

static struct fm_exit clear_all(void *map)
{
    fm_ready();
    return fm_fail(fm_map_clear(map, FM_NEVER));
}

VIRTUAL_TEST(peer, clear_leaves_what_was_run_meanwhile) /* T032, F44 */
{
    struct fm_map *map = new_map();
    fm_fiber_unref(run_started(map, "slot", slow_to_end, (void *)200, NULL));
    struct fm_fiber *clearing = start(clear_all, map);
    cr_assert_eq(fm_fiber_await_ready(clearing, FM_NEVER), 0);
    pass_ms(50);
    struct fm_fiber *newer = run_started(map, "slot", never_counting, NULL, NULL), *found;
    pass_ms(200);
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_poll(clearing, &exit), 0);
    cr_assert_eq(exit.code, 0);
    cr_assert_eq(fm_map_get(map, fm_key_str("slot"), &found), 0);
    cr_assert_eq(found, newer);
    cr_assert_eq(fm_fiber_poll(newer, NULL), -EAGAIN);
    fm_fiber_unref(found);
    fm_fiber_unref(newer);
    fm_fiber_unref(clearing);
    fm_map_destroy(map);
}
