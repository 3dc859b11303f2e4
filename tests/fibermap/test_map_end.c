/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_end.c - remove, interrupt, detach, clear */
#include "runtime/platform/memory.h"
#include "tests/fibermap/map_test.h"

WORKER_TEST(map_remove, interrupts_waits_and_leaves_nobody)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = run(map, "a", until_interrupted, NULL);
    cr_expect_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_expect_eq(fm_fiber_poll(fiber, NULL), 0);
    cr_expect_eq(finish(fiber).reason, FM_BY_REMOVE);
    cr_expect_not(fm_map_has(map, KEY("a")));
    cr_expect_eq(fm_map_remove(map, KEY("a"), FM_NEVER), -ENOENT);
    cr_expect_eq(fm_map_remove(map, KEY(""), FM_NEVER), -EINVAL);
    cr_expect_eq(fm_map_remove(NULL, KEY("a"), FM_NEVER), -EINVAL);
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_remove, deadline_stops_only_the_waiting)
{
    struct fm_map *map = make_map();
    atomic_bool go = false;
    struct fm_fiber *fiber = run(map, "a", stubborn, &go);
    settle();
    cr_expect_eq(fm_map_remove(map, KEY("a"), 0), -ETIMEDOUT);
    cr_expect_eq(fm_map_remove(map, KEY("a"), fm_after_ms(2)), -ETIMEDOUT);
    cr_expect(fm_map_has(map, KEY("a")), "present until it has ended");
    atomic_store(&go, true);
    cr_expect_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_expect_eq(finish(fiber).reason, FM_BY_REMOVE);
    fm_map_destroy(map);
}

struct ends {
    struct fm_map *map;
    atomic_bool go;
    int result;
    bool pending;
};

static struct fm_exit remove_a(void *arg)
{
    struct ends *ends = arg;
    ends->result = fm_map_remove(ends->map, KEY("a"), FM_NEVER);
    ends->pending = fm_check() == -ECANCELED;
    return fm_ok(NULL);
}

/* T066 */
WORKER_TEST(map_remove, of_oneself_signals_and_returns)
{
    struct ends ends = { .map = make_map() };
    struct fm_fiber *fiber = run(ends.map, "a", remove_a, &ends);
    cr_expect_eq(finish(fiber).kind, FM_SUCCESS);
    cr_expect_eq(ends.result, FM_MAP_SELF);
    cr_expect(ends.pending);
    fm_map_destroy(ends.map);
}

/* T076 */
TIMED_WORKER_TEST(map_remove, interrupted_remover_stops_waiting)
{
    struct ends ends = { .map = make_map() };
    struct fm_fiber *fiber = run(ends.map, "a", stubborn, &ends.go), *remover;
    settle();
    cr_assert_eq(fm_fiber_spawn(remove_a, &ends, NULL, &remover), 0);
    settle();
    fm_fiber_interrupt(remover);
    finish(remover);
    cr_expect_eq(ends.result, -ECANCELED);
    cr_expect(fm_map_has(ends.map, KEY("a")));
    atomic_store(&ends.go, true);
    finish(fiber);
    cr_expect_not(fm_map_has(ends.map, KEY("a")));
    fm_map_destroy(ends.map);
}

/* T045 */
TIMED_WORKER_TEST(map_remove, run_meanwhile_is_left_alone)
{
    struct ends ends = { .map = make_map() };
    struct fm_fiber *old = run(ends.map, "a", stubborn, &ends.go), *remover;
    settle();
    cr_assert_eq(fm_fiber_spawn(remove_a, &ends, NULL, &remover), 0);
    settle();
    struct fm_fiber *new = run(ends.map, "a", until_interrupted, NULL);
    atomic_store(&ends.go, true);
    finish(remover);
    cr_expect_eq(ends.result, 0);
    cr_expect_eq(under(ends.map, "a"), fm_fiber_id(new));
    cr_expect_eq(fm_fiber_poll(new, NULL), -EAGAIN);
    finish(old);
    fm_map_destroy(ends.map);
    fm_fiber_unref(new);
}

WORKER_TEST(map_interrupt, signals_and_does_not_wait)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = run(map, "a", until_interrupted, NULL);
    cr_expect_eq(fm_map_interrupt(map, KEY("a")), 0);
    cr_expect(fm_map_has(map, KEY("a")));
    cr_expect_eq(finish(fiber).reason, FM_BY_REMOVE);
    cr_expect_eq(fm_map_interrupt(map, KEY("a")), -ENOENT);
    cr_expect_eq(fm_map_interrupt(map, KEY("")), -EINVAL);
    cr_expect_eq(fm_map_interrupt(NULL, KEY("a")), -EINVAL);
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_detach, forgets_the_key_and_lets_the_fiber_go_on)
{
    struct fm_map *map = make_map();
    atomic_bool go = false;
    struct fm_fiber *fiber = run(map, "a", stubborn, &go), *found;
    cr_expect_eq(fm_map_detach(map, KEY("a"), &found), 0);
    cr_expect_eq(found, fiber);
    cr_expect_not(fm_map_has(map, KEY("a")));
    cr_expect_eq(fm_map_size(map), 0);
    cr_expect_eq(fm_map_detach(map, KEY("a"), NULL), -ENOENT);
    cr_expect_eq(fm_map_detach(map, KEY(""), NULL), -EINVAL);
    cr_expect_eq(fm_map_detach(NULL, KEY("a"), NULL), -EINVAL);
    cr_expect_eq(fm_map_await_quiescent(map, 0), 0, "it is no member");
    struct fm_fiber *new = run(map, "a", until_interrupted, NULL);
    fm_map_destroy(map);
    cr_expect_eq(fm_fiber_poll(fiber, NULL), -EAGAIN, "the map's end is not its own");
    atomic_store(&go, true);
    cr_expect_eq(finish(fiber).kind, FM_FAILURE);
    fm_fiber_unref(found);
    fm_fiber_unref(new);
}

WORKER_TEST(map_detach, detached_failure_is_no_verdict)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = run(map, "a", fail_with, number(-9));
    cr_expect_eq(fm_map_detach(map, KEY("a"), NULL), 0);
    finish(fiber);
    cr_expect_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    fm_map_destroy(map);
}

WORKER_TEST(map_detach, fiber_of_a_set_goes_on_too)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = run(map, "a", until_interrupted, NULL);
    cr_expect_eq(fm_map_set(map, KEY("b"), fiber, NULL), 0);
    cr_expect_eq(fm_map_detach(map, KEY("b"), NULL), 0);
    cr_expect(fm_map_has(map, KEY("a")));
    fm_map_destroy(map);
    cr_expect_eq(finish(fiber).reason, FM_BY_CLOSE);
}

FIBER_TEST(map_clear, ends_all_who_are_there)
{
    struct fm_map *map = make_map();
    for (uint64_t i = 0; i < 2000; i++)
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), until_interrupted, NULL, NULL, NULL), 0);
    struct fm_fiber *one = run(map, "one", until_interrupted, NULL);
    cr_expect_eq(fm_map_size(map), 2001);
    cr_expect_eq(fm_map_clear(map, FM_NEVER), 0);
    cr_expect_eq(fm_map_size(map), 0);
    cr_expect_eq(finish(one).reason, FM_BY_CLEAR);
    cr_expect_eq(fm_map_clear(map, FM_NEVER), 0, "of an empty map");
    cr_expect_eq(fm_map_clear(NULL, FM_NEVER), -EINVAL);
    cr_expect_eq(fm_map_run(map, KEY("again"), until_interrupted, NULL, NULL, NULL), 0,
                 "the map is open");
    fm_map_destroy(map);
}

static int take_100_ms(void *arg, struct fm_exit exit)
{
    return fm_sleep_ms(100);
}

static struct fm_exit until_interrupted_and_100_ms(void *arg)
{
    fm_defer(take_100_ms, NULL);
    return fm_fail(fm_never());
}

/* All are signalled before the first is awaited: three of them take no longer than one. */
TIMED_WORKER_TEST(map_clear, they_end_side_by_side)
{
    struct fm_map *map = make_map();
    for (uint64_t i = 0; i < 3; i++)
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), until_interrupted_and_100_ms, NULL, NULL,
                                NULL),
                     0);
    settle();
    int64_t begin_ms = now_ms();
    cr_expect_eq(fm_map_clear(map, FM_NEVER), 0);
    cr_expect_eq(now_ms() - begin_ms, 100);
    fm_map_destroy(map);
}

static struct fm_exit clear_all(void *arg)
{
    struct ends *ends = arg;
    ends->result = fm_map_clear(ends->map, FM_NEVER);
    ends->pending = fm_check() == -ECANCELED;
    return fm_ok(NULL);
}

WORKER_TEST(map_clear, member_is_signalled_last_and_left_out_of_the_wait)
{
    struct ends ends = { .map = make_map() };
    struct fm_fiber *other = run(ends.map, "b", until_interrupted, NULL),
                    *self = run(ends.map, "a", clear_all, &ends);
    cr_expect_eq(finish(self).kind, FM_SUCCESS);
    cr_expect_eq(ends.result, FM_MAP_SELF);
    cr_expect(ends.pending);
    cr_expect_eq(fm_fiber_poll(other, NULL), 0);
    fm_fiber_unref(other);
    fm_map_destroy(ends.map);
}

/* T032 */
TIMED_WORKER_TEST(map_clear, entries_added_meanwhile_stay)
{
    struct ends ends = { .map = make_map() };
    struct fm_fiber *old = run(ends.map, "a", stubborn, &ends.go), *clearer;
    settle();
    cr_assert_eq(fm_fiber_spawn(clear_all, &ends, NULL, &clearer), 0);
    settle();
    struct fm_fiber *new = run(ends.map, "b", until_interrupted, NULL);
    atomic_store(&ends.go, true);
    finish(clearer);
    cr_expect_eq(ends.result, 0);
    cr_expect_eq(fm_map_size(ends.map), 1);
    cr_expect_eq(under(ends.map, "b"), fm_fiber_id(new));
    finish(old);
    fm_map_destroy(ends.map);
    fm_fiber_unref(new);
}

TIMED_WORKER_TEST(map_clear, deadline_stops_only_the_waiting)
{
    struct fm_map *map = make_map();
    atomic_bool go = false;
    struct fm_fiber *fiber = run(map, "a", stubborn, &go);
    settle();
    cr_expect_eq(fm_map_clear(map, 0), -ETIMEDOUT);
    cr_expect_eq(fm_map_clear(map, fm_after_ms(1)), -ETIMEDOUT);
    cr_expect_eq(fm_map_size(map), 1);
    atomic_store(&go, true);
    cr_expect_eq(finish(fiber).reason, FM_BY_CLEAR);
    fm_map_destroy(map);
}

WORKER_TEST(map_clear, no_memory_signals_nobody)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = run(map, "a", until_interrupted, NULL);
    fm__fault_set(FAULT_MALLOC, 1, true);
    int r = fm_map_clear(map, FM_NEVER);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_expect_eq(r, -ENOMEM);
    settle();
    cr_expect_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    fm_map_destroy(map);
    fm_fiber_unref(fiber);
}

static bool starts_with(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    cr_assert_not_null(fiber);
    return key.len && *(const char *)key.data == *(char *)ctx;
}

WORKER_TEST(map_clear_matching, ends_those_that_match)
{
    struct fm_map *map = make_map();
    struct fm_fiber *a1 = run(map, "a1", until_interrupted, NULL),
                    *a2 = run(map, "a2", until_interrupted, NULL),
                    *b = run(map, "b", until_interrupted, NULL);
    char a = 'a';
    cr_expect_eq(fm_map_clear_matching(map, starts_with, &a, FM_NEVER), 0);
    cr_expect_eq(fm_map_size(map), 1);
    cr_expect(fm_map_has(map, KEY("b")));
    cr_expect_eq(finish(a1).reason, FM_BY_CLEAR);
    cr_expect_eq(finish(a2).reason, FM_BY_CLEAR);
    cr_expect_eq(fm_map_clear_matching(map, NULL, NULL, FM_NEVER), -EINVAL);
    cr_expect_eq(fm_map_clear_matching(NULL, starts_with, &a, FM_NEVER), -EINVAL);
    fm_map_destroy(map);
    finish(b);
}

/* Two fibers that remove each other */
struct mutual {
    struct fm_map *map;
    const char *other;
    int result;
};

static struct fm_exit remove_other(void *arg)
{
    struct mutual *mutual = arg;
    fm_mask();
    fm_yield();
    mutual->result = fm_map_remove(mutual->map, KEY(mutual->other), FM_NEVER);
    fm_unmask();
    return fm_ok(NULL);
}

/* X17, F32 */
WORKER_TEST(map_remove, two_that_remove_each_other_do_not_hang)
{
    struct fm_map *one = make_map(), *two = make_map();
    struct mutual a = { two, "b", 9 }, b = { one, "a", 9 };
    struct fm_fiber *first = run(one, "a", remove_other, &a),
                    *second = run(two, "b", remove_other, &b);
    finish(first);
    finish(second);
    cr_expect(a.result == -EDEADLK || b.result == -EDEADLK, "%d and %d", a.result, b.result);
    cr_expect(a.result == 0 || b.result == 0);
    fm_map_destroy(one);
    fm_map_destroy(two);
}
