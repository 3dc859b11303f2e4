/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_completions.c - ended fibers with their keys; with JoinMap's cases (T183 to T198)
 */
#include "tests/fibermap/map_test.h"

static struct fm_map *make_kept(uint32_t completions)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.completions = completions;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    return map;
}

static struct fm_completion *next(struct fm_map *map)
{
    struct fm_completion *completion = NULL;
    cr_assert_eq(fm_map_next(map, FM_NEVER, &completion), 0);
    return completion;
}

static bool is_key(struct fm_key key, const char *text)
{
    return key.len == strlen(text) && memcmp(key.data, text, key.len) == 0;
}

static void is_none(struct fm_map *map)
{
    struct fm_completion *completion = NULL;
    cr_assert_eq(fm_map_next(map, FM_NEVER, &completion), -ENOENT);
    cr_assert_eq(fm_map_try_next(map, &completion), -ENOENT);
    cr_assert_null(completion);
}

static int runs(struct fm_map *map, uint64_t key, fm_entry_fn *entry, void *arg)
{
    return fm_map_run(map, fm_key_bytes(&key, sizeof key), entry, arg, NULL, NULL);
}

static uint64_t number_of(struct fm_key key)
{
    uint64_t n;
    cr_assert_eq(key.len, sizeof n);
    memcpy(&n, key.data, sizeof n);
    return n;
}

static struct fm_exit sleep_ms(void *ms)
{
    int r = fm_sleep_ms((intptr_t)ms);
    return r < 0 ? fm_fail(r) : fm_ok(ms);
}

WORKER_TEST(map_completions, an_end_comes_with_its_key_and_its_exit)
{
    struct fm_map *map = make_kept(4);
    is_none(map);
    fm_fiber_unref(run(map, "a", return_arg, number(7)));
    settle();
    fm_fiber_unref(run(map, "b", fail_with, number(-EIO)));
    struct fm_completion *a = next(map), *b = next(map);
    cr_assert(is_key(a->key, "a") && a->exit.kind == FM_SUCCESS && a->exit.value == number(7));
    cr_assert(is_key(b->key, "b") && b->exit.kind == FM_FAILURE && b->exit.code == -EIO);
    cr_assert_eq(finish(fm_fiber_ref(a->fiber)).value, number(7));
    is_none(map);
    fm_map_destroy(map);
    cr_assert(is_key(a->key, "a"), "a completion outlives the map");
    cr_assert_null(fm_completion_free(a));
    fm_completion_free(b);
    fm_completion_free(NULL);
}

/* T183 */
TIMED_WORKER_TEST(map_completions, all_come_in_the_order_of_their_ends)
{
    struct fm_map *map = make_kept(16);
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 10; i++) {
            cr_assert_eq(runs(map, i, sleep_ms, number((intptr_t)(10 - i) * 100)), 0);
            cr_assert_eq(fm_map_size(map), i + 1);
        }
        for (uint64_t i = 10; i-- > 0;) {
            struct fm_completion *completion = next(map);
            cr_assert_eq(number_of(completion->key), i);
            cr_assert_eq(completion->exit.value, number((intptr_t)(10 - i) * 100));
            fm_completion_free(completion);
        }
        is_none(map);
        cr_assert_eq(fm_map_size(map), 0);
    }
    fm_map_destroy(map);
}

/* T183: whom the map has forgotten it does not wait for. */
WORKER_TEST(map_completions, a_detached_fiber_leaves_none)
{
    struct fm_map *map = make_kept(4);
    struct fm_fiber *fiber;
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    cr_assert_eq(fm_map_detach(map, KEY("a"), &fiber), 0);
    is_none(map);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    is_none(map);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

/* T187: and its key is free by then. */
TIMED_WORKER_TEST(map_completions, interrupted_ones_come_too)
{
    struct fm_map *map = make_kept(16);
    unsigned even = 0, odd = 0;
    for (uint64_t i = 0; i < 16; i++)
        cr_assert_eq(runs(map, i, sleep_ms, number(50)), 0);
    fm_yield();
    for (uint64_t i = 1; i < 16; i += 2)
        cr_assert_eq(fm_map_interrupt(map, FM_KEY_U64(i)), 0);
    for (int i = 0; i < 16; i++) {
        struct fm_completion *completion = next(map);
        bool interrupted = completion->exit.kind == FM_INTERRUPTED;
        cr_assert_eq(interrupted, number_of(completion->key) % 2 == 1);
        cr_assert_not(fm_map_has(map, completion->key));
        *(interrupted ? &odd : &even) += 1;
        fm_completion_free(completion);
    }
    cr_assert(even == 8 && odd == 8);
    fm_map_destroy(map);
}

/* T192 */
WORKER_TEST(map_completions, a_try_tells_none_pending_and_ended_apart)
{
    struct fm_map *map = make_kept(4);
    struct fm_completion *completion = NULL;
    cr_assert_eq(fm_map_try_next(map, &completion), -ENOENT);
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    cr_assert_eq(fm_map_try_next(map, &completion), -EAGAIN);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert_eq(fm_map_next(map, 0, &completion), -ETIMEDOUT);
    cr_assert_null(completion);
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_assert_eq(fm_map_try_next(map, &completion), 0);
    cr_assert_eq(completion->exit.kind, FM_INTERRUPTED);
    fm_completion_free(completion);
    cr_assert_eq(fm_map_try_next(map, NULL), -ENOENT);
    fm_map_destroy(map);
}

/* T193 */
WORKER_TEST(map_completions, a_try_takes_one_at_a_time)
{
    struct fm_map *map = make_kept(8);
    for (uint64_t i = 0; i < 8; i++)
        cr_assert_eq(runs(map, i, return_arg, NULL), 0);
    settle();
    for (int i = 0; i < 8; i++)
        cr_assert_eq(fm_map_try_next(map, NULL), 0);
    cr_assert_eq(fm_map_try_next(map, NULL), -ENOENT);
    fm_map_destroy(map);
}

/* T195, T196: and while the second runs, the answer is pending, not none. */
WORKER_TEST(map_completions, a_replaced_fiber_leaves_none)
{
    struct fm_map *map = make_kept(4);
    struct fm_completion *completion;
    struct fm_fiber *first = run(map, "a", until_interrupted, NULL);
    settle();
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert_eq(finish(first).reason, FM_BY_REPLACE);
    cr_assert_eq(fm_map_try_next(map, &completion), -EAGAIN);
    fm_fiber_unref(run(map, "a", return_arg, number(2)));
    completion = next(map);
    cr_assert(is_key(completion->key, "a") && completion->exit.value == number(2));
    fm_completion_free(completion);
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    is_none(map);
    fm_map_destroy(map);
}

WORKER_TEST(map_completions, one_more_than_there_is_room_for_drops_the_oldest)
{
    struct fm_map *map = make_kept(3);
    for (uint64_t i = 0; i < 5; i++) {
        cr_assert_eq(runs(map, i, return_arg, NULL), 0);
        settle();
    }
    cr_assert_eq(fm_map_completions_dropped(map), 2);
    for (uint64_t i = 2; i < 5; i++) {
        struct fm_completion *completion = next(map);
        cr_assert_eq(number_of(completion->key), i);
        fm_completion_free(completion);
    }
    is_none(map);
    cr_assert_eq(fm_map_completions_dropped(map), 2);
    fm_map_destroy(map);
}

static _Atomic int values_dropped;

static void drop_value(void *value)
{
    atomic_fetch_add(&values_dropped, 1);
}

/* And what nobody has taken goes with the map. T184, T198 */
WORKER_TEST(map_completions, a_value_lives_as_long_as_its_completion)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map = make_kept(2);
    options.value_drop = drop_value;
    for (intptr_t i = 0; i < 3; i++) {
        cr_assert_eq(fm_map_run(map, FM_KEY_U64((uint64_t)i), return_arg, number(1 + i),
                                &options, NULL),
                     0);
        settle();
    }
    cr_assert_eq(atomic_load(&values_dropped), 1, "the first had no room");
    struct fm_completion *completion = next(map);
    cr_assert_eq(completion->exit.value, number(2));
    fm_map_destroy(map);
    cr_assert_eq(atomic_load(&values_dropped), 2);
    fm_completion_free(completion);
    cr_assert_eq(atomic_load(&values_dropped), 3);
}

static struct fm_exit take_one(void *arg)
{
    struct fm_completion *completion;
    int r = fm_map_next(arg, FM_NEVER, &completion);
    if (r < 0)
        return fm_fail(r);
    intptr_t n = (intptr_t)number_of(completion->key);
    fm_completion_free(completion);
    return fm_ok(number(n));
}

/* And a waiter who leaves takes nothing along. */
EXACT_TEST(map_completions, waiters_are_served_in_turn)
{
    struct fm_map *map = make_kept(4);
    struct fm_fiber *waiter[3];
    cr_assert_eq(runs(map, 1, until_interrupted, NULL), 0);
    cr_assert_eq(runs(map, 2, until_interrupted, NULL), 0);
    for (int i = 0; i < 3; i++) {
        waiter[i] = start(take_one, map);
        settle();
    }
    cr_assert_eq(fm_fiber_stop(waiter[0], FM_NEVER, NULL), 0);
    cr_assert_eq(fm_map_remove(map, FM_KEY_U64(2), FM_NEVER), 0);
    settle();
    cr_assert_eq(fm_fiber_poll(waiter[2], NULL), -EAGAIN);
    cr_assert_eq(finish(waiter[1]).value, number(2));
    cr_assert_eq(fm_map_remove(map, FM_KEY_U64(1), FM_NEVER), 0);
    cr_assert_eq(finish(waiter[2]).value, number(1));
    cr_assert_eq(finish(waiter[0]).kind, FM_INTERRUPTED);
    fm_map_destroy(map);
}

WORKER_TEST(map_completions, all_waiters_leave_when_nobody_is_left)
{
    struct fm_map *map = make_kept(4);
    struct fm_fiber *waiter[3];
    cr_assert_eq(runs(map, 1, until_interrupted, NULL), 0);
    for (int i = 0; i < 3; i++) {
        waiter[i] = start(take_one, map);
        settle();
    }
    cr_assert_eq(fm_map_remove(map, FM_KEY_U64(1), FM_NEVER), 0);
    cr_assert_eq(finish(waiter[0]).value, number(1));
    cr_assert_eq(finish(waiter[1]).code, -ENOENT);
    cr_assert_eq(finish(waiter[2]).code, -ENOENT);
    fm_map_destroy(map);
}

WORKER_TEST(map_completions, a_closing_map_hands_out_what_ends)
{
    struct fm_map *map = make_kept(4);
    cr_assert_eq(runs(map, 1, until_interrupted, NULL), 0);
    settle();
    struct fm_fiber *waiter = start(take_one, map);
    settle();
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(finish(waiter).value, number(1));
    is_none(map);
    fm_map_destroy(map);
}

/* One for each of its keys, also where it had ended before. */
WORKER_TEST(map_completions, a_set_fiber_leaves_one_for_each_key)
{
    struct fm_map *map = make_kept(4);
    struct fm_fiber *fiber = start(return_arg, number(5));
    cr_assert_eq(fm_map_set(map, KEY("a"), fiber, NULL), 0);
    cr_assert_eq(fm_map_set(map, KEY("b"), fiber, NULL), 0);
    cr_assert_eq(fm_map_set(map, KEY("b"), fiber, NULL), FM_MAP_SAME);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_map_set(map, KEY("c"), fiber, NULL), 0);
    for (int i = 0; i < 3; i++) {
        struct fm_completion *completion = next(map);
        cr_assert(completion->fiber == fiber && completion->exit.value == number(5));
        fm_completion_free(completion);
    }
    is_none(map);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static struct fm_exit fail_twice(void *arg)
{
    int *times = arg;
    return (*times)++ < 2 ? fm_fail(-EIO) : fm_ok(arg);
}

WORKER_TEST(map_completions, a_restarted_fiber_leaves_one)
{
    struct fm_map *map = make_kept(4);
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    int times = 0;
    restart.type = FM_TRANSIENT;
    options.restart = &restart;
    cr_assert_eq(fm_map_run(map, KEY("a"), fail_twice, &times, &options, NULL), 0);
    struct fm_completion *completion = next(map);
    cr_assert(completion->exit.value == &times && times == 3);
    cr_assert_eq(fm_fiber_incarnation(completion->fiber), 2);
    fm_completion_free(completion);
    is_none(map);
    fm_map_destroy(map);
}

WORKER_TEST(map_completions, a_map_that_keeps_none_says_so)
{
    struct fm_map *map = make_map();
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    cr_assert_eq(fm_map_next(map, 0, NULL), -EINVAL);
    cr_assert_eq(fm_map_try_next(map, NULL), -EINVAL);
    cr_assert_eq(fm_map_next(NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_map_completions_dropped(map), 0);
    fm_map_destroy(map);
    config.completions = FM_COMPLETIONS_MAX + 1;
    cr_assert_eq(fm_map_create(&config, &map), -EINVAL);
}
