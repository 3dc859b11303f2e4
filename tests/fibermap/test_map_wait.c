/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_wait.c - the verdict, emptiness, one key */
#include "tests/fibermap/map_test.h"

struct waiter {
    struct fm_map *map;
    int (*wait)(struct fm_map *map, int64_t deadline_ns);
    int result;
    struct fm_exit exit;
    atomic_bool done;
};

static struct fm_exit wait_for_verdict(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = fm_map_join(waiter->map, FM_NEVER, &waiter->exit);
    atomic_store(&waiter->done, true);
    return fm_ok(NULL);
}

static struct fm_exit wait_for_none(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = waiter->wait(waiter->map, FM_NEVER);
    atomic_store(&waiter->done, true);
    return fm_ok(NULL);
}

static struct fm_fiber *spawn(fm_entry_fn *entry, void *arg)
{
    struct fm_fiber *fiber = start(entry, arg);
    settle();
    return fiber;
}

/* ---- the verdict ---- */

/* T052, T090 */
WORKER_TEST(map_join, first_failure_is_the_verdict_for_all)
{
    struct fm_map *map = make_map();
    struct waiter waiters[3] = { { .map = map }, { .map = map }, { .map = map } };
    struct fm_fiber *fibers[3];
    for (int i = 0; i < 3; i++)
        fibers[i] = spawn(wait_for_verdict, &waiters[i]);
    finish(run(map, "ok", return_arg, NULL));
    settle();
    cr_expect_not(atomic_load(&waiters[0].done),
                  "a success decides nothing, nor does emptiness");
    struct fm_fiber *sibling = run(map, "sibling", until_interrupted, NULL);
    finish(run(map, "first", fail_with, number(-7)));
    finish(run(map, "second", fail_with, number(-8)));
    for (int i = 0; i < 3; i++) {
        finish(fibers[i]);
        cr_expect_eq(waiters[i].result, 0);
        cr_expect_eq(waiters[i].exit.kind, FM_FAILURE);
        cr_expect_eq(waiters[i].exit.code, -7);
    }
    struct fm_exit late;
    cr_expect_eq(fm_map_join(map, 0, &late), 0);
    cr_expect_eq(late.code, -7);
    cr_expect_eq(fm_fiber_poll(sibling, NULL), -EAGAIN, "no sibling is stopped");
    finish(run(map, "still open", return_arg, NULL));
    fm_map_destroy(map);
    fm_fiber_unref(sibling);
}

/* T202 */
TIMED_WORKER_TEST(map_join, close_decides_success)
{
    struct fm_map *map = make_map();
    struct waiter waiter = { .map = map };
    struct fm_fiber *joiner = spawn(wait_for_verdict, &waiter);
    cr_expect_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    cr_expect_eq(fm_map_join(map, fm_after_ms(1), NULL), -ETIMEDOUT);
    cr_expect_eq(fm_map_close(map, NULL, NULL), 0);
    finish(joiner);
    cr_expect_eq(waiter.exit.kind, FM_SUCCESS);
    cr_expect_eq(fm_map_join(map, FM_NEVER, NULL), 0);
    cr_expect_eq(fm_map_join(NULL, 0, NULL), -EINVAL);
    fm_map_destroy(map);
}

WORKER_TEST(map_join, interrupted_joiner_leaves)
{
    struct fm_map *map = make_map();
    struct waiter waiter = { .map = map };
    struct fm_fiber *joiner = spawn(wait_for_verdict, &waiter);
    fm_fiber_interrupt(joiner);
    finish(joiner);
    cr_expect_eq(waiter.result, -ECANCELED);
    fm_map_destroy(map);
}

static struct fm_exit defect(void *arg)
{
    return fm_defect(-3);
}

WORKER_TEST(map_join, isolated_failure_never_counts)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options isolated = flags(FM_MAP_ISOLATE_FAILURE);
    struct fm_exit verdict;
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_run(map, KEY("a"), fail_with, number(-1), &isolated, &fiber), 0);
    finish(fiber);
    cr_expect_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    finish(run(map, "b", defect, NULL));
    cr_expect_eq(fm_map_join(map, 0, &verdict), 0);
    cr_expect_eq(verdict.kind, FM_DEFECT);
    cr_expect_eq(verdict.code, -3);
    fm_map_destroy(map);
}

/* T008, T009, T054, T055 */
WORKER_TEST(map_join, interruption_counts_only_if_it_may_propagate_and_is_not_the_maps)
{
    for (int propagate = 0; propagate < 2; propagate++) {
        struct fm_map *map = make_map();
        struct fm_map_run_options options = flags(propagate ? FM_MAP_PROPAGATE_INTERRUPT : 0);
        struct fm_exit verdict;
        struct fm_fiber *fiber;

        cr_assert_eq(fm_map_run(map, KEY("removed"), until_interrupted, NULL, &options, NULL),
                     0);
        fm_map_remove(map, KEY("removed"), FM_NEVER);
        cr_assert_eq(fm_map_run(map, KEY("cleared"), until_interrupted, NULL, &options, NULL),
                     0);
        fm_map_clear(map, FM_NEVER);
        cr_assert_eq(fm_map_run(map, KEY("replaced"), until_interrupted, NULL, &options,
                                &fiber),
                     0);
        cr_assert_eq(fm_map_run(map, KEY("replaced"), until_interrupted, NULL, &options, NULL),
                     FM_MAP_REPLACED);
        finish(fiber);
        cr_expect_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT,
                     "the map's own interruptions never count");

        cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, &fiber), 0);
        settle();
        fm_fiber_interrupt(fiber);
        finish(fiber);
        cr_expect_eq(fm_map_join(map, 0, &verdict), propagate ? 0 : -ETIMEDOUT);
        if (propagate) {
            cr_expect_eq(verdict.kind, FM_INTERRUPTED);
            cr_expect_eq(verdict.reason, FM_BY_USER);
            cr_expect_eq(verdict.by, fm_fiber_id(fm_fiber_self()));
        }
        fm_map_destroy(map);
    }
}

static int refuse(void *arg, struct fm_exit exit)
{
    return -11;
}

static struct fm_exit park_then_finalizer_fails(void *arg)
{
    fm_defer(refuse, NULL);
    return until_interrupted(arg);
}

/* T057 */
WORKER_TEST(map_join, interruption_whose_finalizer_fails_is_a_failure)
{
    struct fm_map *map = make_map();
    struct fm_exit verdict;
    cr_assert_eq(fm_map_run(map, KEY("a"), park_then_finalizer_fails, NULL, NULL, NULL), 0);
    settle();
    fm_map_remove(map, KEY("a"), FM_NEVER);
    cr_expect_eq(fm_map_join(map, 0, &verdict), 0);
    cr_expect_eq(verdict.kind, FM_FAILURE);
    cr_expect_eq(verdict.code, -11);
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_join, replaced_fiber_that_fails_counts)
{
    struct fm_map *map = make_map();
    struct fm_exit verdict;
    atomic_bool go = true;
    struct fm_fiber *old = run(map, "a", stubborn, &go);
    cr_assert_eq(fm_map_detach(map, KEY("a"), NULL), 0);
    finish(old);
    cr_expect_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    old = run(map, "a", park_then_finalizer_fails, NULL);
    settle();
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, NULL),
                 FM_MAP_REPLACED);
    finish(old);
    cr_expect_eq(fm_map_join(map, 0, &verdict), 0);
    cr_expect_eq(verdict.code, -11);
    fm_map_destroy(map);
}

/* T221 */
WORKER_TEST(map_on_failure, cancel_siblings_interrupts_the_others)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.on_failure = FM_CANCEL_SIBLINGS;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    struct fm_fiber *one = run(map, "one", until_interrupted, NULL),
                    *two = run(map, "two", until_interrupted, NULL);
    settle();
    finish(run(map, "bad", fail_with, number(-2)));
    cr_expect_eq(finish(one).reason, FM_BY_CLEAR);
    cr_expect_eq(finish(two).reason, FM_BY_CLEAR);
    struct fm_fiber *later = run(map, "later", until_interrupted, NULL);
    finish(run(map, "bad", fail_with, number(-2)));
    settle();
    cr_expect_eq(fm_fiber_poll(later, NULL), -EAGAIN, "only the first failure does");
    fm_map_destroy(map);
    fm_fiber_unref(later);
}

WORKER_TEST(map_on_failure, close_map_refuses_and_ends_all)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    struct fm_exit verdict;
    config.on_failure = FM_CLOSE_MAP;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    struct fm_fiber *one = run(map, "one", until_interrupted, NULL);
    settle();
    finish(run(map, "bad", fail_with, number(-2)));
    cr_expect_eq(fm_map_run(map, KEY("more"), until_interrupted, NULL, NULL, NULL), -ESHUTDOWN);
    cr_expect_eq(finish(one).reason, FM_BY_CLOSE);
    cr_expect_eq(fm_map_join(map, 0, &verdict), 0);
    cr_expect_eq(verdict.code, -2);
    cr_expect_eq(fm_map_close(map, NULL, NULL), 0);
    fm_map_destroy(map);
}

/* ---- emptiness ---- */

/* T010, F57 */
TIMED_WORKER_TEST(map_await_empty, returns_when_nobody_is_present)
{
    struct fm_map *map = make_map();
    struct waiter waiter = { .map = map, .wait = fm_map_await_empty };
    cr_expect_eq(fm_map_await_empty(map, 0), 0, "empty now");
    struct fm_fiber *a = run(map, "a", until_interrupted, NULL),
                    *b = run(map, "b", until_interrupted, NULL);
    cr_expect_eq(fm_map_await_empty(map, 0), -ETIMEDOUT);
    cr_expect_eq(fm_map_await_empty(map, fm_after_ms(1)), -ETIMEDOUT);
    struct fm_fiber *fiber = spawn(wait_for_none, &waiter);
    fm_fiber_stop(a, FM_NEVER, NULL);
    settle();
    cr_expect_not(atomic_load(&waiter.done));
    fm_fiber_stop(b, FM_NEVER, NULL);
    finish(fiber);
    cr_expect_eq(waiter.result, 0);
    cr_expect_eq(fm_map_await_empty(NULL, 0), -EINVAL);
    fm_fiber_unref(a);
    fm_fiber_unref(b);
    fm_map_destroy(map);
}

/* Neither a failure nor the verdict it brings is an answer to who waits for an empty map. */
WORKER_TEST(map_await_empty, failures_are_no_matter)
{
    struct fm_map *map = make_map();
    struct waiter waiter = { .map = map, .wait = fm_map_await_empty };
    struct fm_fiber *a = run(map, "a", until_interrupted, NULL);
    struct fm_fiber *fiber = spawn(wait_for_none, &waiter);
    fm_fiber_unref(run(map, "b", fail_with, number(-EIO)));
    cr_expect_eq(fm_map_join(map, FM_NEVER, NULL), 0);
    settle();
    cr_expect_not(atomic_load(&waiter.done), "somebody is present");
    cr_expect_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    finish(fiber);
    cr_expect_eq(waiter.result, 0);
    cr_expect_eq(fm_map_await_empty(map, FM_NEVER), 0);
    fm_fiber_unref(a);
    fm_map_destroy(map);
}

/* T075: an empty instant is enough, whatever runs next */
WORKER_TEST(map_await_empty, empty_instant_counts_though_a_run_follows_at_once)
{
    struct fm_map *map = make_map();
    struct waiter waiters[40];
    struct fm_fiber *fibers[40];
    struct fm_fiber *a = run(map, "a", until_interrupted, NULL);
    for (int i = 0; i < 40; i++) {
        waiters[i] = (struct waiter) { .map = map,
                                       .wait = i % 2 ? fm_map_await_empty
                                                     : fm_map_await_quiescent };
        fibers[i] = spawn(wait_for_none, &waiters[i]);
    }
    fm_fiber_stop(a, FM_NEVER, NULL);
    struct fm_fiber *next = run(map, "b", until_interrupted, NULL);
    for (int i = 0; i < 40; i++)
        finish(fibers[i]);
    cr_expect_eq(fm_map_size(map), 1);
    fm_fiber_unref(a);
    fm_map_destroy(map);
    fm_fiber_unref(next);
}

struct chain {
    struct fm_map *map;
    int left;
};

static struct fm_exit start_next(void *arg)
{
    struct chain *chain = arg;
    if (chain->left-- > 0) {
        char key[8] = { (char)('a' + chain->left), 0 };
        cr_assert_eq(fm_map_run(chain->map, KEY(key), start_next, chain, NULL, NULL), 0);
    }
    return fm_ok(NULL);
}

/* T069 */
WORKER_TEST(map_await_empty, chain_that_hands_on_has_no_empty_instant)
{
    struct chain chain = { make_map(), 5 };
    cr_assert_eq(fm_map_run(chain.map, KEY("first"), start_next, &chain, NULL, NULL), 0);
    cr_expect_eq(fm_map_await_empty(chain.map, FM_NEVER), 0);
    cr_expect_eq(chain.left, -1);
    fm_map_destroy(chain.map);
}

TIMED_WORKER_TEST(map_await_quiescent, waits_for_zombies_too)
{
    struct fm_map *map = make_map();
    struct waiter empty = { .map = map, .wait = fm_map_await_empty },
                  quiet = { .map = map, .wait = fm_map_await_quiescent };
    atomic_bool go = false;
    struct fm_fiber *old = run(map, "a", stubborn, &go);
    settle();
    struct fm_fiber *new = run(map, "a", until_interrupted, NULL);
    struct fm_fiber *one = spawn(wait_for_none, &empty), *two = spawn(wait_for_none, &quiet);
    fm_fiber_stop(new, FM_NEVER, NULL);
    finish(one);
    settle();
    cr_expect_not(atomic_load(&quiet.done));
    atomic_store(&go, true);
    finish(two);
    cr_expect_eq(fm_fiber_poll(old, NULL), 0);
    cr_expect_eq(fm_map_await_quiescent(NULL, 0), -EINVAL);
    fm_fiber_unref(old);
    fm_fiber_unref(new);
    fm_map_destroy(map);
}

static struct fm_exit await_own_map(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = waiter->wait(waiter->map, FM_NEVER);
    return fm_ok(NULL);
}

WORKER_TEST(map_await_empty, member_would_wait_for_itself)
{
    struct waiter waiter = { .map = make_map(), .wait = fm_map_await_empty };
    struct fm_fiber *fiber;
    finish(run(waiter.map, "a", await_own_map, &waiter));
    cr_expect_eq(waiter.result, -EDEADLK);
    cr_assert_eq(fm_fiber_spawn(await_own_map, &waiter, NULL, &fiber), 0);
    cr_assert_eq(fm_map_set(waiter.map, KEY("b"), fiber, NULL), 0);
    waiter.wait = fm_map_await_quiescent;
    finish(fiber);
    cr_expect_eq(waiter.result, -EDEADLK);
    fm_map_destroy(waiter.map);
}

WORKER_TEST(map_await_empty, ends_at_close_when_the_last_has_ended)
{
    struct fm_map *map = make_map();
    struct waiter waiter = { .map = map, .wait = fm_map_await_empty };
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, NULL), 0);
    struct fm_fiber *fiber = spawn(wait_for_none, &waiter);
    cr_expect_eq(fm_map_close(map, NULL, NULL), 0);
    finish(fiber);
    cr_expect_eq(waiter.result, 0);
    cr_expect_eq(fm_map_await_empty(map, 0), 0);
    fm_map_destroy(map);
}

WORKER_TEST(map_await_empty, interrupted_waiter_leaves_no_trace)
{
    struct fm_map *map = make_map();
    struct waiter waiter = { .map = map, .wait = fm_map_await_empty };
    struct fm_fiber *a = run(map, "a", until_interrupted, NULL),
                    *fiber = spawn(wait_for_none, &waiter);
    fm_fiber_interrupt(fiber);
    finish(fiber);
    cr_expect_eq(waiter.result, -ECANCELED);
    fm_fiber_stop(a, FM_NEVER, NULL);
    fm_fiber_unref(a);
    cr_expect_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
}

/* A thread sleeps and is woken by the last exit. */
struct thread_wait {
    struct fm_map *map;
    int result;
};

static void *await_in_thread(void *arg)
{
    struct thread_wait *wait = arg;
    wait->result = fm_map_await_empty(wait->map, FM_NEVER);
    return NULL;
}

TEST(map_await_empty, works_from_a_thread)
{
    struct fm_runtime *runtime;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct thread_wait wait = { .result = 9 };
    pthread_t thread;
    cr_assert_eq(fm_runtime_create(NULL, &runtime), 0);
    config.runtime = runtime;
    cr_assert_eq(fm_map_create(&config, &wait.map), 0);
    cr_assert_eq(fm_map_run(wait.map, KEY("a"), until_interrupted, NULL, NULL, NULL), 0);
    pthread_create(&thread, NULL, await_in_thread, &wait);
    fm_map_remove(wait.map, KEY("a"), FM_NEVER);
    pthread_join(thread, NULL);
    cr_expect_eq(wait.result, 0);
    fm_map_destroy(wait.map);
    fm_runtime_destroy(runtime);
}

/* ---- one key ---- */

static struct fm_exit await_own_key(void *arg)
{
    struct waiter *waiter = arg;
    waiter->result = fm_map_await_key(waiter->map, KEY("a"), FM_NEVER, &waiter->exit);
    return fm_ok(NULL);
}

WORKER_TEST(map_await_key, gives_the_exit_of_who_is_there_now)
{
    struct waiter waiter = { .map = make_map() };
    struct fm_exit exit;
    struct fm_fiber *fiber = run(waiter.map, "a", return_arg, number(5));
    cr_expect_eq(fm_map_await_key(waiter.map, KEY("a"), FM_NEVER, &exit), 0);
    cr_expect_eq(exit.value, number(5));
    fm_fiber_unref(fiber);
    cr_expect_eq(fm_map_await_key(waiter.map, KEY("a"), FM_NEVER, &exit), -ENOENT);
    cr_assert_eq(fm_map_run(waiter.map, KEY("b"), until_interrupted, NULL, NULL, NULL), 0);
    cr_expect_eq(fm_map_await_key(waiter.map, KEY("b"), 0, &exit), -ETIMEDOUT);
    finish(run(waiter.map, "a", await_own_key, &waiter));
    cr_expect_eq(waiter.result, FM_MAP_SELF);
    cr_expect_eq(fm_map_await_key(waiter.map, KEY(""), 0, &exit), -EINVAL);
    cr_expect_eq(fm_map_await_key(NULL, KEY("a"), 0, &exit), -EINVAL);
    fm_map_destroy(waiter.map);
}
