/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peer_edges.c - the edges of the map: who stands under a key, beside those who take it
 * over or away
 *
 * Where Effect's own versions were probed, and ours decides. The T-numbers are those of the
 * list of peers' cases; "target" there is the promise here.
 */
#include "tests/fibermap/edge_test.h"

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
    pass_ms(50);
    cr_assert_eq(fm_fiber_poll(old, NULL), 0);
    cr_assert_str_eq(trace, "new start;old fin;");
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 0);
    fm_fiber_unref(old);
    fm_map_destroy(map);
}

VIRTUAL_TEST(edge, a_remove_under_way_shows_the_old_and_leaves_the_new) /* T045, F43 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *old = run_started(map, "k", old_body, (void *)50, NULL), *found;
    struct fm_fiber *removing = start(remove_k, map);
    fm_fiber_await_ready(removing, FM_NEVER);
    pass_ms(10);
    cr_assert(fm_map_has(map, fm_key_str("k")));
    struct fm_fiber *newer = run_started(map, "k", never_counting, NULL, NULL);
    cr_assert_eq(fm_fiber_poll(removing, NULL), -EAGAIN);
    pass_ms(40);
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
    pass_ms(10);
    cr_assert_eq(run_if_missing(map, "k", never_counting, NULL, &kept), FM_MAP_KEPT);
    cr_assert_eq(kept, old);
    fm_fiber_unref(kept);
    pass_ms(40);
    cr_assert_eq(finish(removing).code, 0);
    cr_assert(!fm_map_has(map, fm_key_str("k")));
    fm_fiber_unref(old);
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

VIRTUAL_TEST(edge, interrupting_a_remove_stops_only_the_waiting) /* T076 */
{
    struct fm_map *map = new_map();
    struct fm_fiber *fiber = run_started(map, "k", old_body, (void *)50, NULL);
    struct fm_fiber *removing = start(remove_k, map);
    fm_fiber_await_ready(removing, FM_NEVER);
    pass_ms(10);
    fm_fiber_interrupt(removing);
    expect_interruption(finish(removing), FM_BY_USER);
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    pass_ms(40);
    expect_interruption(finish(fiber), FM_BY_REMOVE);
    cr_assert_str_eq(trace, "old fin;");
    cr_assert(!fm_map_has(map, fm_key_str("k")));
    fm_map_destroy(map);
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

/* ---- several keys ---- */

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
