/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peer_tasks.c - what the tests of tokio's JoinMap and TaskTracker and of Effect's RcMap
 * promise
 *
 * A tracker is a map whose close drains; a shared resource is the body of a run that ends with
 * its last waiter. The T-numbers are those of the list of peers' cases; JoinMap's cases of
 * completions stand in test_map_completions.c.
 */
#include <sched.h>

#include "tests/fibermap/map_test.h"

/* ---- a resource that is shared while somebody uses it ---- */

struct resource {
    _Atomic int acquired, released;
};

static int release(void *arg, struct fm_exit exit)
{
    (void)exit;
    ((struct resource *)arg)->released++;
    return 0;
}

static struct fm_exit be_there(void *arg)
{
    struct resource *resource = arg;
    resource->acquired++;
    fm_defer(release, resource);
    return fm_fail(fm_never());
}

struct user {
    struct fm_map *map;
    const char *key;
    struct resource *resource;
    int result;
    struct fm_exit exit;
};

static struct fm_exit use(void *arg)
{
    struct user *user = arg;
    struct fm_map_run_options options = flags(FM_MAP_STOP_WITH_LAST_WAITER);
    user->result = fm_map_run_wait(user->map, KEY(user->key), be_there, user->resource,
                                   &options, FM_NEVER, &user->exit);
    return fm_ok(NULL);
}

static struct fm_fiber *use_it(struct user *user)
{
    struct fm_fiber *fiber = start(use, user);
    settle();
    return fiber;
}

static void leave(struct fm_fiber *fiber)
{
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    fm_fiber_unref(fiber);
    settle();
}

/* T091 */
WORKER_TEST(peer_tasks, shared_resource_is_acquired_by_the_first_and_released_by_the_last)
{
    struct fm_map *map = make_map();
    struct resource foo = { 0 }, bar = { 0 };
    struct user one = { .map = map, .key = "foo", .resource = &foo };
    struct user two[2] = { { .map = map, .key = "bar", .resource = &bar },
                           { .map = map, .key = "bar", .resource = &bar } };
    leave(use_it(&one));
    cr_assert(foo.acquired == 1 && foo.released == 1);

    struct fm_fiber *first = use_it(&two[0]), *second = use_it(&two[1]);
    leave(first);
    cr_assert(bar.acquired == 1 && bar.released == 0);
    leave(second);
    cr_assert(bar.acquired == 1 && bar.released == 1);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
}

/* T091 */
WORKER_TEST(peer_tasks, closing_releases_what_is_still_used_and_lends_no_more)
{
    struct fm_map *map = make_map();
    struct resource foo = { 0 };
    struct user user = { .map = map, .key = "foo", .resource = &foo };
    struct fm_fiber *fiber = use_it(&user);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert(foo.acquired == 1 && foo.released == 1);
    finish(fiber);
    cr_assert_eq(user.result, 0);
    expect_interruption(user.exit, FM_BY_CLOSE);
    finish(use_it(&user));
    cr_assert_eq(user.result, -ESHUTDOWN);
    cr_assert_eq(foo.acquired, 1);
    fm_map_destroy(map);
}

/* T099: of a resource that was put aside the leaving users change nothing at its key. */
WORKER_TEST(peer_tasks, last_user_of_what_was_put_aside_leaves_its_successor_alone)
{
    struct fm_map *map = make_map();
    struct resource old = { 0 }, new = { 0 };
    struct user before = { .map = map, .key = "key", .resource = &old };
    struct user after = { .map = map, .key = "key", .resource = &new };
    struct fm_fiber *aside;

    struct fm_fiber *first = use_it(&before);
    cr_assert_eq(fm_map_detach(map, KEY("key"), &aside), 0);
    struct fm_fiber *second = use_it(&after);
    leave(first);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert(new.acquired == 1 && new.released == 0);
    cr_assert_eq(old.released, 0, "it is the one's who took it out");
    leave(aside);
    cr_assert_eq(old.released, 1);
    leave(second);
    cr_assert_eq(new.released, 1);

    /* and so it is where it was replaced, by who then ends it for all its users */
    first = use_it(&before);
    fm_fiber_unref(run(map, "key", until_interrupted, NULL));
    settle();
    expect_interruption(before.exit, FM_BY_REPLACE);
    finish(first);
    cr_assert_eq(old.released, 2);
    cr_assert_eq(fm_map_size(map), 1);
    fm_map_destroy(map);
}

/* ---- keys ---- */

static bool shows(struct fm_map *map, const char *expected)
{
    struct fm_snapshot *snapshot;
    bool seen[128] = { false };
    cr_assert_eq(fm_map_snapshot(map, 0, &snapshot), 0);
    bool same = fm_snapshot_count(snapshot) == strlen(expected);
    for (size_t i = 0; same && i < fm_snapshot_count(snapshot); i++) {
        struct fm_key key = fm_snapshot_at(snapshot, i)->key;
        unsigned char c = *(const unsigned char *)key.data;
        same = key.len == 1 && !seen[c & 127] && strchr(expected, c);
        seen[c & 127] = true;
    }
    fm_snapshot_free(snapshot);
    return same;
}

/* T096, T186 */
WORKER_TEST(peer_tasks, a_snapshot_shows_who_is_there_and_nobody_who_has_been_joined)
{
    struct fm_map *map = make_map();
    struct fm_fiber *one = run(map, "1", until_interrupted, NULL);
    struct fm_fiber *two = run(map, "2", until_interrupted, NULL);
    cr_assert(shows(map, "12"));
    cr_assert_eq(fm_fiber_stop(one, FM_NEVER, NULL), 0);
    cr_assert(shows(map, "2"));
    cr_assert_eq(fm_fiber_stop(two, FM_NEVER, NULL), 0);
    cr_assert(shows(map, ""));
    fm_fiber_unref(one);
    fm_fiber_unref(two);
    fm_map_destroy(map);
}

/* ---- nothing is left behind ---- */

static _Atomic int dropped;

static void count_drop(void *arg)
{
    (void)arg;
    dropped++;
}

/*
 * T184, T198: half of them have begun, and clean up after themselves, the others have not, and
 * only their arguments go.
 */
WORKER_TEST(peer_tasks, whether_they_had_begun_or_not_the_end_of_the_map_cleans_up_after_all)
{
    for (int destroy = 0; destroy < 2; destroy++) {
        struct fm_map *map = make_map();
        struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
        struct resource held = { 0 };
        options.arg_drop = count_drop;
        dropped = 0;
        for (uint64_t i = 0; i < 16; i++) {
            cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), be_there, &held, &options, NULL), 0);
            if (i == 7)
                settle();
        }
        if (!destroy) {
            cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
            cr_assert_eq(fm_map_size(map), 0);
            cr_assert(held.released == 8 && dropped == 8);
        }
        fm_map_destroy(map);
        cr_assert_eq(held.acquired, 8);
        cr_assert_eq(held.released, 8);
        cr_assert_eq(dropped, 8);
    }
}

/* Keeps its worker until it is told. */
static struct fm_exit keep_the_worker(void *arg)
{
    _Atomic int *stage = arg;
    *stage = 1;
    while (*stage != 2)
        sched_yield();
    return fm_ok(NULL);
}

static void *shut_down(void *runtime)
{
    return number(fm_runtime_shutdown(runtime, FM_NEVER));
}

/* T189 */
TEST(peer_tasks, of_a_runtime_that_goes_first_an_unbegun_fiber_comes_as_interrupted)
{
    struct fm_runtime_config runtime_config = FM_RUNTIME_CONFIG_INIT;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_completion *completion;
    struct resource held = { 0 };
    struct fm_map *map;
    _Atomic int stage = 0;
    pthread_t thread;
    void *result;

    runtime_config.worker_count = 1;
    runtime_config.flags = FM_RUNTIME_NO_STALL_REPORT;
    cr_assert_eq(fm_runtime_create(&runtime_config, &config.runtime), 0);
    config.completions = 4;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    cr_assert_eq(fm_runtime_spawn(config.runtime, keep_the_worker, &stage, NULL, NULL), 0);
    while (stage != 1)
        sched_yield();
    cr_assert_eq(fm_map_run(map, KEY("a"), be_there, &held, NULL, NULL), 0);
    cr_assert_eq(pthread_create(&thread, NULL, shut_down, config.runtime), 0);
    while (fm_map_count(map, FM_MEMBER_ENDING) == 0)
        sched_yield();
    stage = 2;
    pthread_join(thread, &result);
    cr_assert_eq(result, number(0));
    cr_assert_eq(fm_map_try_next(map, &completion), 0);
    cr_assert(completion->key.len == 1 && *(const char *)completion->key.data == 'a');
    expect_interruption(completion->exit, FM_BY_SHUTDOWN);
    fm_completion_free(completion);
    cr_assert_eq(held.acquired, 0);
    fm_map_destroy(map);
    fm_runtime_destroy(config.runtime);
}

/* ---- a tracker: a map that is drained ---- */

static struct fm_exit drain(void *map)
{
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    policy.kind = FM_CLOSE_DRAIN;
    cr_assert_eq(fm_map_close(map, &policy, NULL), 0);
    return fm_ok(NULL);
}

static struct fm_exit wait_for_latch(void *latch)
{
    int r = fm_latch_wait(latch, FM_NEVER);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* T199, T201: open and empty, closed and empty, closed again. */
WORKER_TEST(peer_tasks, closing_an_empty_map_again_and_again_waits_for_nothing)
{
    struct fm_map *map = make_map();
    cr_assert_eq(fm_map_await_empty(map, 0), 0);
    for (int i = 0; i < 3; i++) {
        drain(map);
        cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
        cr_assert_eq(fm_map_size(map), 0);
        cr_assert_eq(fm_map_await_empty(map, 0), 0);
        cr_assert_eq(fm_map_await_quiescent(map, 0), 0);
        cr_assert_eq(fm_map_join(map, 0, NULL), 0);
    }
    fm_map_destroy(map);
}

/* T204 */
WORKER_TEST(peer_tasks, wherever_it_is_closed_a_draining_map_ends_with_its_last_member)
{
    enum { MEMBERS = 5 };
    for (int closed_at = 0; closed_at <= MEMBERS; closed_at++) {
        struct fm_map *map = make_map();
        struct fm_latch *go[MEMBERS];
        struct fm_fiber *closer = NULL;
        for (int i = 0; i < MEMBERS; i++) {
            cr_assert_eq(fm_latch_create(1, &go[i]), 0);
            cr_assert_eq(fm_map_run(map, FM_KEY_U64((uint64_t)i), wait_for_latch, go[i], NULL,
                                    NULL),
                         0);
        }
        for (int i = 0; i < MEMBERS; i++) {
            if (i == closed_at)
                closer = start(drain, map);
            settle();
            cr_assert(!closer || !has_ended(closer), "with %d members left", MEMBERS - i);
            cr_assert_eq(fm_latch_count_down(go[i], 1), 0);
            settle();
        }
        if (!closer)
            closer = start(drain, map);
        finish(closer);
        for (int i = 0; i < MEMBERS; i++)
            fm_latch_destroy(go[i]);
        fm_map_destroy(map);
    }
}

struct crowd {
    struct fm_map *map;
    _Atomic int joined, emptied;
};

static struct fm_exit join_it(void *arg)
{
    struct crowd *crowd = arg;
    struct fm_exit exit;
    cr_assert_eq(fm_map_join(crowd->map, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    crowd->joined++;
    return fm_ok(NULL);
}

static struct fm_exit await_it(void *arg)
{
    struct crowd *crowd = arg;
    cr_assert_eq(fm_map_await_empty(crowd->map, FM_NEVER), 0);
    crowd->emptied++;
    return fm_ok(NULL);
}

/* T202, T205: who joins waits though the map is empty, until it is closed. */
WORKER_TEST(peer_tasks, a_close_lets_all_go_who_wait_for_the_map)
{
    enum { WAITERS = 10 };
    struct crowd crowd = { .map = make_map() };
    struct fm_fiber *waiter[2 * WAITERS];
    for (int i = 0; i < WAITERS; i++)
        waiter[i] = start(join_it, &crowd);
    settle();
    cr_assert_eq(fm_map_size(crowd.map), 0);
    cr_assert_eq(crowd.joined, 0);
    fm_fiber_unref(run(crowd.map, "a", until_interrupted, NULL));
    for (int i = WAITERS; i < 2 * WAITERS; i++)
        waiter[i] = start(await_it, &crowd);
    settle();
    cr_assert(crowd.joined == 0 && crowd.emptied == 0);
    cr_assert_eq(fm_map_close(crowd.map, NULL, NULL), 0);
    for (int i = 0; i < 2 * WAITERS; i++)
        finish(waiter[i]);
    cr_assert(crowd.joined == WAITERS && crowd.emptied == WAITERS);
    fm_map_destroy(crowd.map);
}

/* T207: a map owns its fibers; who wants them to outlive it takes them out. */
WORKER_TEST(peer_tasks, fibers_that_were_detached_outlive_their_map)
{
    enum { FIBERS = 8 };
    struct fm_map *map = make_map();
    struct fm_fiber *fiber[FIBERS];
    struct fm_latch *go;
    cr_assert_eq(fm_latch_create(1, &go), 0);
    for (uint64_t i = 0; i < FIBERS; i++) {
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), wait_for_latch, go, NULL, NULL), 0);
        cr_assert_eq(fm_map_detach(map, FM_KEY_U64(i), &fiber[i]), 0);
    }
    fm_map_destroy(map);
    settle();
    for (int i = 0; i < FIBERS; i++)
        cr_assert(!has_ended(fiber[i]));
    cr_assert_eq(fm_latch_count_down(go, 1), 0);
    for (int i = 0; i < FIBERS; i++)
        cr_assert_eq(finish(fiber[i]).kind, FM_SUCCESS);
    fm_latch_destroy(go);
}
