/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_move.c - a fiber goes from one key to another
 */
#include <stdio.h>

#include "fibermap/describe.h"
#include "fibermap/map.h"
#include "tests/fibermap/map_test.h"

#define LONG_KEY "a key that is longer than an entry holds: it stands in a block of its own"

static int move(struct fm_map *map, const char *from, const char *to)
{
    return fm_map_move(map, KEY(from), KEY(to));
}

static struct fm_exit end_when(void *go)
{
    while (!atomic_load((atomic_bool *)go))
        fm_yield();
    return fm_ok(NULL);
}

FIBER_TEST(map_move, the_fiber_stands_under_the_other_key)
{
    static const char *const keys[] = { "b", LONG_KEY, "c", "a" };
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = run(map, "a", until_interrupted, NULL);
    uint64_t id = fm_fiber_id(fiber);
    const char *at = "a";
    for (int i = 0; i < 400; i++) {
        const char *to = keys[i % 4];
        cr_assert_eq(move(map, at, to), 0);
        cr_assert_eq(under(map, to), id);
        cr_assert_not(fm_map_has(map, KEY(at)));
        cr_assert_eq(fm_map_size(map), 1);
        cr_assert_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 0);
        at = to;
    }
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN, "it notices nothing");
    cr_assert_eq(fm_map_remove(map, KEY(at), FM_NEVER), 0);
    expect_interruption(finish(fiber), FM_BY_REMOVE);
    cr_assert_not(fm_map_has(map, KEY(at)));
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    fm_map_destroy(map);
}

WORKER_TEST(map_move, what_does_not_fit_changes_nothing)
{
    struct fm_map *map = make_map();
    struct fm_fiber *a = run(map, "a", until_interrupted, NULL),
                    *b = run(map, "b", until_interrupted, NULL);
    settle();
    cr_assert_eq(move(map, "a", "b"), -EEXIST);
    cr_assert_eq(move(map, "nobody", "c"), -ENOENT);
    cr_assert_eq(move(map, "nobody", "b"), -ENOENT);
    cr_assert_eq(move(map, "a", "a"), 0);
    cr_assert_eq(move(map, "nobody", "nobody"), -ENOENT);
    cr_assert_eq(move(map, "a", ""), -EINVAL);
    cr_assert_eq(move(map, "", "a"), -EINVAL);
    cr_assert_eq(fm_map_move(NULL, KEY("a"), KEY("c")), -EINVAL);
    cr_assert_eq(under(map, "a"), fm_fiber_id(a));
    cr_assert_eq(under(map, "b"), fm_fiber_id(b));
    cr_assert_eq(fm_map_size(map), 2);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(move(map, "a", "c"), -ESHUTDOWN);
    fm_fiber_unref(a);
    fm_fiber_unref(b);
    fm_map_destroy(map);
}

WORKER_TEST(map_move, its_end_frees_the_key_that_it_stands_under_and_no_other)
{
    struct fm_map *map = make_map();
    atomic_bool go = false;
    struct fm_fiber *moved = run(map, "a", end_when, &go), *heir;
    cr_assert_eq(move(map, "a", "b"), 0);
    heir = run(map, "a", until_interrupted, NULL);
    settle();
    atomic_store(&go, true);
    cr_assert_eq(finish(moved).kind, FM_SUCCESS);
    cr_assert_not(fm_map_has(map, KEY("b")));
    cr_assert_eq(under(map, "a"), fm_fiber_id(heir));
    cr_assert_eq(fm_map_size(map), 1);
    fm_fiber_unref(heir);
    fm_map_destroy(map);
}

WORKER_TEST(map_move, it_can_be_replaced_and_detached_there)
{
    struct fm_map *map = make_map();
    struct fm_fiber *first = run(map, "a", until_interrupted, NULL), *second, *third, *detached;
    settle();
    cr_assert_eq(move(map, "a", "b"), 0);
    second = run(map, "b", until_interrupted, NULL);
    expect_interruption(finish(first), FM_BY_REPLACE);
    cr_assert_eq(under(map, "b"), fm_fiber_id(second));
    settle();
    cr_assert_eq(move(map, "b", "c"), 0);
    cr_assert_eq(move(map, "c", "d"), 0);
    cr_assert_eq(fm_map_detach(map, KEY("d"), &detached), 0);
    cr_assert_eq(detached, second);
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    third = run(map, "d", until_interrupted, NULL);
    fm_map_destroy(map);
    expect_interruption(finish(third), FM_BY_CLOSE);
    cr_assert_eq(fm_fiber_stop(detached, FM_NEVER, NULL), 0);
    fm_fiber_unref(detached);
    fm_fiber_unref(second);
}

struct waiter {
    struct fm_map *map;
    int result;
    struct fm_exit exit;
};

static struct fm_exit remove_a(void *arg)
{
    struct waiter *w = arg;
    w->result = fm_map_remove(w->map, KEY("a"), FM_NEVER);
    return fm_ok(NULL);
}

static struct fm_exit await_a(void *arg)
{
    struct waiter *w = arg;
    w->result = fm_map_await_key(w->map, KEY("a"), FM_NEVER, &w->exit);
    return fm_ok(NULL);
}

WORKER_TEST(map_move, who_waits_for_it_goes_on_waiting_for_it)
{
    struct fm_map *map = make_map();
    struct waiter remover = { map, 77, { 0 } }, waiter = { map, 77, { 0 } };
    atomic_bool go = false;
    struct fm_fiber *fiber = run(map, "a", end_when, &go);
    settle();
    struct fm_fiber *one = start(remove_a, &remover), *two = start(await_a, &waiter);
    settle();
    cr_assert_eq(move(map, "a", "b"), 0);
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    settle();
    cr_assert(remover.result == 77 && waiter.result == 77);
    atomic_store(&go, true);
    finish(one);
    finish(two);
    cr_assert(remover.result == 0 && waiter.result == 0 && waiter.exit.kind == FM_SUCCESS);
    cr_assert(fm_map_has(map, KEY("a")), "the one that came later is nobody's business");
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static struct fm_exit share_a(void *arg)
{
    struct waiter *w = arg;
    struct fm_map_run_options options = flags(FM_MAP_STOP_WITH_LAST_WAITER);
    w->result = fm_map_run_wait(w->map, KEY("a"), until_interrupted, NULL, &options, FM_NEVER,
                                &w->exit);
    return fm_ok(NULL);
}

WORKER_TEST(map_move, the_last_who_shares_it_ends_it_there)
{
    struct fm_map *map = make_map();
    struct waiter waiters[] = { { map, 77, { 0 } }, { map, 77, { 0 } } };
    struct fm_fiber *one = start(share_a, &waiters[0]), *two = start(share_a, &waiters[1]);
    struct fm_fiber *shared;
    settle();
    cr_assert_eq(fm_map_get(map, KEY("a"), &shared), 0);
    cr_assert_eq(move(map, "a", "b"), 0);
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    cr_assert_eq(fm_fiber_stop(one, FM_NEVER, NULL), 0);
    settle();
    cr_assert_eq(under(map, "b"), fm_fiber_id(shared), "the other waits for it");
    cr_assert_eq(fm_fiber_poll(shared, NULL), -EAGAIN);
    cr_assert_eq(fm_fiber_stop(two, FM_NEVER, NULL), 0);
    expect_interruption(finish(shared), FM_BY_LAST_WAITER);
    cr_assert(fm_map_has(map, KEY("a")));
    fm_fiber_unref(one);
    fm_fiber_unref(two);
    fm_map_destroy(map);
}

WORKER_TEST(map_move, who_queues_stays_and_comes_under_the_key)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options queue = conflict(FM_QUEUE);
    struct fm_fiber *first = run(map, "a", until_interrupted, NULL), *second = NULL,
                    *third = NULL;
    settle();
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &queue, &second),
                 FM_MAP_QUEUED);
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &queue, &third),
                 FM_MAP_QUEUED);
    settle();
    cr_assert_eq(move(map, "a", "b"), 0);
    settle();
    cr_assert_eq(under(map, "b"), fm_fiber_id(first));
    cr_assert_eq(under(map, "a"), fm_fiber_id(second));
    cr_assert_eq(move(map, "b", "a"), -EEXIST);
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_assert_eq(move(map, "b", "a"), -EEXIST, "the third is the next under it");
    settle();
    cr_assert_eq(under(map, "a"), fm_fiber_id(third));
    fm_fiber_unref(first);
    fm_fiber_unref(second);
    fm_fiber_unref(third);
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_move, one_that_waits_for_its_turn_cannot_go)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options await = conflict(FM_REPLACE_AWAIT);
    atomic_bool go = false;
    struct fm_fiber *old = run(map, "a", stubborn, &go), *fiber = NULL;
    settle();
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &await, &fiber),
                 FM_MAP_REPLACED);
    settle();
    cr_assert_eq(move(map, "a", "b"), -EBUSY);
    cr_assert_eq(under(map, "a"), fm_fiber_id(fiber));
    atomic_store(&go, true);
    finish(old);
    settle();
    cr_assert_eq(move(map, "a", "b"), 0, "its body is under way");
    cr_assert_eq(under(map, "b"), fm_fiber_id(fiber));
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static struct fm_exit move_myself(void *arg)
{
    struct fm_map *map = arg;
    cr_assert_eq(move(map, "a", "b"), 0);
    cr_assert_eq(under(map, "b"), fm_fiber_id(fm_fiber_self()));
    cr_assert_eq(fm_map_await_empty(map, FM_NEVER), -EDEADLK);
    cr_assert_eq(fm_map_remove(map, KEY("b"), FM_NEVER), FM_MAP_SELF);
    return fm_fail(fm_check());
}

WORKER_TEST(map_move, a_member_moves_itself_and_knows_that_it_is_one)
{
    struct fm_map *map = make_map();
    expect_interruption(finish(run(map, "a", move_myself, map)), FM_BY_REMOVE);
    fm_map_destroy(map);
}

FIBER_TEST(map_move, one_that_was_set_moves_by_that_key_alone)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = run(map, "run", until_interrupted, NULL);
    cr_assert_eq(fm_map_set(map, KEY("a"), fiber, NULL), 0);
    cr_assert_eq(fm_map_set(map, KEY("b"), fiber, NULL), 0);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(move(map, "a", "c"), 0);
        cr_assert_eq(move(map, "run", "a"), 0);
        cr_assert_eq(move(map, "c", LONG_KEY), 0);
        cr_assert_eq(move(map, "a", "run"), 0);
        cr_assert_eq(move(map, LONG_KEY, "a"), 0);
    }
    cr_assert(under(map, "run") && under(map, "a") && under(map, "b"));
    cr_assert_eq(fm_map_size(map), 3);
    cr_assert_eq(fm_map_set(map, KEY("a"), fiber, NULL), FM_MAP_SAME);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_map_size(map), 0);
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static struct fm_exit back_off(void *arg)
{
    ++*(int *)arg;
    return fm_fail(-EIO);
}

EXACT_TEST(map_move, a_lineage_goes_in_its_back_off_and_is_run_again)
{
    struct fm_map *map = make_map();
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = NULL;
    int bodies = 0;
    restart.type = FM_PERMANENT;
    restart.schedule = fm_schedule_spaced_ns(1000000000);
    options.restart = &restart;
    cr_assert_eq(fm_map_run(map, KEY("a"), back_off, &bodies, &options, &fiber), 0);
    fm_schedule_unref(restart.schedule);
    settle();
    cr_assert_eq(bodies, 1);
    cr_assert_eq(move(map, "a", "b"), 0);
    pass_ms(1000);
    cr_assert_eq(bodies, 2);
    cr_assert_eq(fm_fiber_incarnation(fiber), 1);
    cr_assert_eq(under(map, "b"), fm_fiber_id(fiber));
    cr_assert_eq(fm_map_remove(map, KEY("b"), FM_NEVER), 0);
    pass_ms(5000);
    cr_assert_eq(bodies, 2);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

/* ---- all of them ---- */

WORKER_TEST(map_move, snapshots_and_clear_know_it_by_its_key)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = run(map, "a", until_interrupted, NULL);
    settle();
    cr_assert_eq(move(map, "a", LONG_KEY), 0);
    for (uint32_t how = 0; how < 2; how++) {
        struct fm_snapshot *snapshot;
        cr_assert_eq(fm_map_snapshot(map, how ? FM_SNAPSHOT_CONSISTENT : 0, &snapshot), 0);
        cr_assert_eq(fm_snapshot_count(snapshot), 1);
        const struct fm_member *member = fm_snapshot_at(snapshot, 0);
        cr_assert_eq(member->fiber, fiber);
        cr_assert_eq(member->key.len, strlen(LONG_KEY));
        cr_assert_eq(memcmp(member->key.data, LONG_KEY, member->key.len), 0);
        fm_snapshot_free(snapshot);
    }
    cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
    expect_interruption(finish(fiber), FM_BY_CLEAR);
    fm_map_destroy(map);
}

/* Homes and what lies between are used again: memory for one fiber, whatever it does. */
WORKER_TEST(map_move, many_moves_leave_nothing_behind)
{
    enum { MEMBERS = 200 };
    struct fm_map *map = make_map();
    char from[16], to[16];
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(from, sizeof from, "%d/0", i);
        fm_fiber_unref(run(map, from, until_interrupted, NULL));
    }
    settle();
    for (int step = 0; step < 50; step++)
        for (int i = 0; i < MEMBERS; i++) {
            snprintf(from, sizeof from, "%d/%d", i, step);
            snprintf(to, sizeof to, "%d/%d", i, step + 1);
            cr_assert_eq(move(map, from, to), 0);
        }
    cr_assert_eq(fm_map_size(map), MEMBERS);
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(to, sizeof to, "%d/50", i);
        cr_assert(fm_map_has(map, KEY(to)));
    }
    cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
}

/* Who waited and leaves late has the entry of one that has ended, whatever it is for now. */
WORKER_TEST(map_move, an_entry_that_has_become_a_gate_is_nobodys)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    struct stripe *stripe;
    config.stripe_count = 1;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    struct fm_fiber *fiber = run(map, "a", until_interrupted, NULL);
    struct entry *entry = fm__described_entry(fiber);
    fm_fiber_unref(fiber);
    for (int i = 0; fm__entry_life(fm__entry_read(entry)) != ENTRY_MOVED; i++) {
        struct fm_map_run_item item = { .key = KEY("a"), .entry = until_interrupted };
        cr_assert_lt(i, 1000, "never used again as a gate");
        cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
        cr_assert_eq(fm_map_run_many(map, &item, 1, FM_MAP_ALL_OR_NOTHING), 0);
    }
    cr_assert_eq(fm__home_lock(map, entry, &stripe), entry);
    cr_assert_eq(stripe, map->stripes);
    fm__unlock(&stripe->lock);
    fm_map_destroy(map);
}
