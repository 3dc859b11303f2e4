/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_set.c - fibers that exist, under one key, several keys, in several maps */
#include "runtime/platform/memory.h"
#include "tests/fibermap/map_test.h"

WORKER_TEST(map_set, fiber_is_present_until_it_ends)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = start(return_arg, number(4));
    cr_expect_eq(fm_map_set(map, KEY("a"), fiber, NULL), 0);
    cr_expect_eq(under(map, "a"), fm_fiber_id(fiber));
    cr_expect_eq(finish(fiber).value, number(4));
    cr_expect_eq(fm_map_size(map), 0);
    cr_expect_not(fm_map_has(map, KEY("a")));
    fm_map_destroy(map);
}

/* F48, T037 */
WORKER_TEST(map_set, same_fiber_again_is_no_change_whatever_the_option)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_expect_eq(fm_map_set(map, KEY("a"), fiber, NULL), 0);
    for (uint32_t kind = FM_REPLACE; kind <= FM_FAIL; kind++) {
        struct fm_map_run_options options = conflict(kind);
        cr_expect_eq(fm_map_set(map, KEY("a"), fiber, &options), FM_MAP_SAME);
    }
    settle();
    cr_expect_eq(fm_fiber_poll(fiber, NULL), -EAGAIN, "it was not interrupted");
    cr_expect_eq(fm_map_size(map), 1);
    fm_map_destroy(map);
    fm_fiber_unref(fiber);
}

WORKER_TEST(map_set, other_fiber_is_replaced_kept_or_refused)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options keep = conflict(FM_KEEP), fail = conflict(FM_FAIL);
    struct fm_fiber *first = start(until_interrupted, NULL),
                    *second = start(until_interrupted, NULL),
                    *third = start(until_interrupted, NULL),
                    *fourth = start(until_interrupted, NULL);
    cr_expect_eq(fm_map_set(map, KEY("a"), first, NULL), 0);
    cr_expect_eq(fm_map_set(map, KEY("a"), second, NULL), FM_MAP_REPLACED);
    cr_expect_eq(fm_map_set(map, KEY("a"), third, &keep), FM_MAP_KEPT);
    cr_expect_eq(fm_map_set(map, KEY("a"), fourth, &fail), -EEXIST);
    cr_expect_eq(under(map, "a"), fm_fiber_id(second));
    cr_expect_eq(fm_map_size(map), 1);
    cr_expect_eq(finish(first).reason, FM_BY_REPLACE);
    cr_expect_eq(finish(third).reason, FM_BY_REJECT);
    cr_expect_eq(finish(fourth).reason, FM_BY_REJECT);
    cr_expect_eq(fm_map_size(map), 1);
    fm_map_destroy(map);
    cr_expect_eq(finish(second).reason, FM_BY_CLOSE);
}

/* X6 */
WORKER_TEST(map_set, ended_fiber_goes_in_and_out_at_once)
{
    struct fm_map *map = make_map();
    struct fm_fiber *old = run(map, "a", until_interrupted, NULL),
                    *failed = start(fail_with, number(-5)), *fine = start(return_arg, NULL);
    struct fm_exit verdict;
    settle();
    cr_expect_eq(fm_map_set(map, KEY("b"), fine, NULL), 0);
    cr_expect_eq(fm_map_size(map), 1);
    cr_expect_not(fm_map_has(map, KEY("b")));
    cr_expect_eq(fm_map_join(map, 0, &verdict), -ETIMEDOUT);
    cr_expect_eq(fm_map_set(map, KEY("a"), failed, NULL), FM_MAP_REPLACED);
    cr_expect_not(fm_map_has(map, KEY("a")));
    cr_expect_eq(fm_map_size(map), 0);
    cr_expect_eq(finish(old).reason, FM_BY_REPLACE,
                 "a predecessor is interrupted all the same");
    cr_expect_eq(fm_map_join(map, 0, &verdict), 0, "a failure is recorded all the same");
    cr_expect_eq(verdict.code, -5);
    fm_fiber_unref(failed);
    fm_fiber_unref(fine);
    fm_map_destroy(map);
}

/* T058 */
WORKER_TEST(map_set, fiber_under_two_keys_leaves_both)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_expect_eq(fm_map_set(map, KEY("a"), fiber, NULL), 0);
    cr_expect_eq(fm_map_set(map, KEY("b"), fiber, NULL), 0);
    cr_expect_eq(fm_map_size(map), 2);
    struct fm_fiber *new = run(map, "a", until_interrupted, NULL);
    cr_expect_eq(finish(fiber).reason, FM_BY_REPLACE);
    cr_expect_not(fm_map_has(map, KEY("b")));
    cr_expect_eq(under(map, "a"), fm_fiber_id(new));
    cr_expect_eq(fm_map_size(map), 1);
    fm_map_destroy(map);
    fm_fiber_unref(new);
}

WORKER_TEST(map_set, fiber_may_stand_in_several_maps_and_beside_its_own_key)
{
    struct fm_map *one = make_map(), *two = make_map();
    struct fm_fiber *fiber = run(one, "a", until_interrupted, NULL);
    cr_expect_eq(fm_map_set(one, KEY("b"), fiber, NULL), 0);
    cr_expect_eq(fm_map_set(two, KEY("c"), fiber, NULL), 0);
    cr_expect_eq(fm_map_set(one, KEY("a"), fiber, NULL), FM_MAP_SAME);
    cr_expect_eq(fm_map_remove(two, KEY("c"), FM_NEVER), 0);
    cr_expect_eq(fm_map_size(one), 0);
    cr_expect_eq(fm_map_size(two), 0);
    fm_fiber_unref(fiber);
    fm_map_destroy(one);
    fm_map_destroy(two);
}

/* Two workers: it ends beside the call, which must not look at what goes with it. */
FIBER_TEST(map_set, one_that_ends_while_it_is_put_in_gives_its_place_back)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.max_live = 1;
    config.retain_count = 1;
    config.on_excess = FM_EXCESS_FAIL;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    for (int i = 0; i < 2000; i++) {
        struct fm_fiber *fiber = start(return_arg, number(i));
        cr_assert_eq(fm_map_set(map, KEY("a"), fiber, NULL), 0);
        cr_assert_eq(finish(fiber).value, number(i));
    }
    cr_expect_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    cr_expect_eq(fm_map_run(map, KEY("b"), until_interrupted, NULL, NULL, NULL), 0);
    cr_expect_eq(fm_map_run(map, KEY("c"), until_interrupted, NULL, NULL, NULL), -EAGAIN);
    fm_map_destroy(map);
}

/* T040 */
WORKER_TEST(map_set, closed_map_refuses_and_interrupts)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_expect_eq(fm_map_close(map, NULL, NULL), 0);
    cr_expect_eq(fm_map_set(map, KEY("a"), fiber, NULL), -ESHUTDOWN);
    cr_expect_eq(finish(fiber).reason, FM_BY_REJECT);
    cr_expect_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
}

static struct fm_exit close_when_replaced(void *map)
{
    fm_mask();
    while (fm_map_has(map, KEY("a")))
        fm_yield();
    int r = fm_map_close(map, NULL, NULL);
    fm_unmask();
    return fm_fail(r == FM_MAP_SELF ? fm_check() : -EIO);
}

/* It is present no more, and the map still waits for it: so it does not wait for itself. */
WORKER_TEST(map_set, who_was_replaced_is_left_out_of_the_close_that_it_calls)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = start(close_when_replaced, map);
    cr_assert_eq(fm_map_set(map, KEY("a"), fiber, NULL), 0);
    settle();
    finish(run(map, "a", return_arg, NULL));
    expect_interruption(finish(fiber), FM_BY_REPLACE);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    fm_map_destroy(map);
}

WORKER_TEST(map_set, what_is_wrong_is_refused)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = start(return_arg, NULL);
    struct fm_map_run_options wrong = conflict(9);
    cr_expect_eq(fm_map_set(NULL, KEY("a"), fiber, NULL), -EINVAL);
    cr_expect_eq(fm_map_set(map, KEY(""), fiber, NULL), -EINVAL);
    cr_expect_eq(fm_map_set(map, KEY("a"), NULL, NULL), -EINVAL);
    cr_expect_eq(fm_map_set(map, KEY("a"), fiber, &wrong), -EINVAL);
    finish(fiber);
    fm_map_destroy(map);
}

WORKER_TEST(map_set, no_memory_changes_nothing)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    for (uint64_t nth = 1;; nth++) {
        fm__fault_set(FAULT_MALLOC, nth, false);
        int r = fm_map_set(map, KEY("a"), fiber, NULL);
        fm__fault_set(FAULT_MALLOC, 0, false);
        if (r == 0)
            break;
        cr_expect_eq(r, -ENOMEM);
        cr_expect_eq(fm_map_size(map), 0);
        cr_assert_lt(nth, 10);
    }
    settle();
    cr_expect_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    fm_map_destroy(map);
    fm_fiber_unref(fiber);
}
