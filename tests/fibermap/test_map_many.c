/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_many.c - calls over many keys at once
 */
#include "tests/fibermap/map_test.h"

static struct fm_exit end_after(void *ms)
{
    fm_never();
    fm_mask();
    fm_sleep_ms((intptr_t)ms);
    fm_unmask();
    return fm_fail(fm_check());
}

/* T265, T198: three that take 100 ms each have ended after 100 ms, not after 300. */
TIMED_WORKER_TEST(map_many, removed_ones_end_side_by_side)
{
    struct fm_map *map = make_map();
    struct fm_key keys[] = { KEY("a"), KEY("b"), KEY("nobody"), KEY("c"), KEY("a") };
    fm_fiber_unref(run(map, "a", end_after, number(100)));
    fm_fiber_unref(run(map, "b", end_after, number(100)));
    fm_fiber_unref(run(map, "c", end_after, number(100)));
    fm_fiber_unref(run(map, "stays", until_interrupted, NULL));
    settle();
    int64_t start_ns = fm_now_ns();
    cr_assert_eq(fm_map_remove_many(map, keys, 5, FM_NEVER), 0);
    cr_assert_eq(fm_now_ns() - start_ns, 100 * 1000000);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert_eq(fm_map_remove_many(map, keys, 5, FM_NEVER), -ENOENT);
    cr_assert_eq(fm_map_remove_many(map, NULL, 0, FM_NEVER), -ENOENT);
    fm_map_destroy(map);
}

/* As an array they would not fit into memory: none of them is read. */
WORKER_TEST(map_many, so_many_keys_as_there_cannot_be_are_no_memory)
{
    struct fm_map *map = make_map();
    struct fm_key key = KEY("a");
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    settle();
    cr_assert_eq(fm_map_remove_many(map, &key, SIZE_MAX, FM_NEVER), -ENOMEM);
    cr_assert_eq(fm_map_remove_many(map, &key, SIZE_MAX / 8 + 1, FM_NEVER), -ENOMEM);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ENDING), 0);
    fm_map_destroy(map);
}

WORKER_TEST(map_many, a_key_that_is_none_removes_nobody)
{
    struct fm_map *map = make_map();
    struct fm_key keys[] = { KEY("a"), { NULL, 1 } };
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    settle();
    cr_assert_eq(fm_map_remove_many(map, keys, 2, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ENDING), 0);
    cr_assert_eq(fm_map_remove_many(NULL, keys, 1, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_map_remove_many(map, NULL, 1, FM_NEVER), -EINVAL);
    fm_map_destroy(map);
}

EXACT_TEST(map_many, a_deadline_ends_the_waiting_only)
{
    struct fm_map *map = make_map();
    struct fm_key keys[] = { KEY("a"), KEY("b") };
    atomic_bool go = false;
    struct fm_fiber *a = run(map, "a", stubborn, &go),
                    *b = run(map, "b", until_interrupted, NULL);
    settle();
    cr_assert_eq(fm_map_remove_many(map, keys, 2, 0), -ETIMEDOUT);
    cr_assert(fm_map_has(map, KEY("a")), "present until it has ended");
    cr_assert_eq(finish(b).reason, FM_BY_REMOVE);
    atomic_store(&go, true);
    pass_ms(1);
    cr_assert_eq(finish(a).reason, FM_BY_REMOVE);
    fm_map_destroy(map);
}

static struct fm_exit remove_both(void *arg)
{
    struct fm_map *map = arg;
    struct fm_key keys[] = { KEY("self"), KEY("other") };
    cr_assert_eq(fm_map_remove_many(map, keys, 2, FM_NEVER), FM_MAP_SELF);
    cr_assert_not(fm_map_has(map, KEY("other")), "the other was awaited");
    return fm_fail(fm_check());
}

WORKER_TEST(map_many, who_is_among_them_is_signalled_last)
{
    struct fm_map *map = make_map();
    fm_fiber_unref(run(map, "other", until_interrupted, NULL));
    settle();
    cr_assert_eq(finish(run(map, "self", remove_both, map)).reason, FM_BY_REMOVE);
    fm_map_destroy(map);
}

/* ---- compare and replace ---- */

static int replace(struct fm_map *map, struct fm_fiber *expected, struct fm_fiber **ret_fiber)
{
    return fm_map_compare_and_replace(map, KEY("a"), expected, until_interrupted, NULL, NULL,
                                      ret_fiber);
}

WORKER_TEST(map_compare, the_expected_fiber_is_replaced_and_no_other)
{
    struct fm_map *map = make_map();
    struct fm_fiber *first, *second, *holder = NULL;
    cr_assert_eq(replace(map, NULL, &first), 0);
    settle();
    cr_assert_eq(replace(map, NULL, &holder), FM_MAP_KEPT);
    cr_assert_eq(holder, first);
    fm_fiber_unref(holder);
    cr_assert_eq(replace(map, first, &second), FM_MAP_REPLACED);
    expect_interruption(finish(fm_fiber_ref(first)), FM_BY_REPLACE);
    settle();
    cr_assert_eq(replace(map, first, &holder), FM_MAP_KEPT, "it is there no more");
    cr_assert_eq(holder, second);
    fm_fiber_unref(holder);
    cr_assert_eq(replace(map, first, NULL), FM_MAP_KEPT);
    cr_assert_eq(fm_fiber_poll(second, NULL), -EAGAIN);
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_assert_eq(replace(map, second, &holder), -ENOENT);
    cr_assert_not(fm_map_has(map, KEY("a")));
    cr_assert_eq(replace(map, NULL, NULL), 0);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(replace(map, NULL, NULL), -ESHUTDOWN);
    fm_fiber_unref(first);
    fm_fiber_unref(second);
    fm_map_destroy(map);
}

WORKER_TEST(map_compare, a_conflict_option_makes_no_sense)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options keep = conflict(FM_KEEP);
    cr_assert_eq(fm_map_compare_and_replace(map, KEY("a"), NULL, until_interrupted, NULL, &keep,
                                            NULL),
                 -EINVAL);
    cr_assert_eq(fm_map_compare_and_replace(NULL, KEY("a"), NULL, until_interrupted, NULL, NULL,
                                            NULL),
                 -EINVAL);
    fm_map_destroy(map);
}

/* T222 and limits: who compares takes over a place like any other. */
WORKER_TEST(map_compare, it_obeys_the_limits_of_the_map)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    struct fm_fiber *first;
    config.max_live = 1;
    config.on_excess = FM_EXCESS_FAIL;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    cr_assert_eq(replace(map, NULL, &first), 0);
    cr_assert_eq(replace(map, first, NULL), FM_MAP_REPLACED);
    cr_assert_eq(fm_map_compare_and_replace(map, KEY("b"), NULL, until_interrupted, NULL, NULL,
                                            NULL),
                 -EAGAIN);
    fm_fiber_unref(first);
    fm_map_destroy(map);
}
