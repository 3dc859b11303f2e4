/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peer_scope.c - what the tests of other structured scopes promise
 *
 * Go's errgroup, Kotlin's supervisorScope, Java's StructuredTaskScope and tokio's cancellation
 * tokens. The T-numbers are those of the list of peers' cases.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/fibers.h"

/* Fails with the code, but only when it is interrupted. */
static struct fm_exit fail_when_interrupted(void *code)
{
    fm_never();
    return fm_fail((int)(intptr_t)code);
}

/* Does not listen for so many milliseconds. */
static struct fm_exit busy_for(void *ms)
{
    fm_mask();
    fm_sleep_ms((intptr_t)ms);
    fm_unmask();
    return fm_fail(fm_check());
}

static struct fm_exit count_body(void *counter)
{
    ++*(int *)counter;
    return fm_ok(NULL);
}

static void count_drop(void *counter)
{
    ++*(int *)counter;
}

static struct fm_scope *open_with(uint32_t flags)
{
    struct fm_scope *scope;
    cr_assert_eq(fm_scope_open_with(flags, &scope), 0);
    return scope;
}

/* ---- what the end of a child does to the others ---- */

/* T270 */
WORKER_TEST(peer_scope, failures_of_children_stop_neither_their_siblings_nor_the_scope)
{
    struct fm_scope *scope = open_with(0);
    struct fm_fiber *sibling = start(until_interrupted, NULL);
    cr_assert_eq(finish(start(fail_with, number(-EIO))).code, -EIO);
    cr_assert_eq(finish(start(fail_with, number(-EPROTO))).code, -EPROTO);
    settle();
    cr_assert(!has_ended(sibling));
    cr_assert_eq(fm_check(), 0);
    cr_assert_eq(finish(start(return_arg, number(7))).value, number(7), "it takes more");
    cr_assert_eq(fm_scope_close(scope, fm_ok(NULL)).kind, FM_SUCCESS);
    expect_interruption(finish(sibling), FM_BY_PARENT);
}

/* T273: and an interruption has the parent for its author. */
WORKER_TEST(peer_scope, a_childs_interruption_is_its_own_and_its_failure_everybodys)
{
    struct fm_scope *scope = open_with(FM_SCOPE_FAIL_FAST);
    struct fm_fiber *sibling = start(until_interrupted, NULL);
    struct fm_fiber *child = start(until_interrupted, NULL);
    cr_assert_eq(fm_fiber_stop(child, FM_NEVER, NULL), 0);
    fm_fiber_unref(child);
    settle();
    cr_assert(!has_ended(sibling));
    cr_assert_eq(fm_check(), 0, "nor does it reach the parent");
    finish(start(fail_with, number(-EIO)));
    settle();
    struct fm_exit exit = finish(sibling);
    expect_interruption(exit, FM_BY_PARENT);
    exit = fm_scope_close(scope, fm_ok(NULL));
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -EIO);

    scope = open_with(0);
    child = start(until_interrupted, NULL);
    settle();
    cr_assert_eq(fm_scope_close(scope, fm_fail(-EIO)).code, -EIO);
    exit = finish(child);
    expect_interruption(exit, FM_BY_PARENT);
    cr_assert_eq(exit.by, fm_fiber_id(fm_fiber_self()));
}

/* T221 */
WORKER_TEST(peer_scope, first_failure_is_the_scopes_though_others_fail_of_it)
{
    struct fm_scope *scope = open_with(FM_SCOPE_FAIL_FAST);
    struct fm_fiber *later[2];
    for (int i = 0; i < 2; i++)
        later[i] = start(fail_when_interrupted, number(-EPROTO));
    settle();
    finish(start(fail_with, number(-EIO)));
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
    cr_assert_eq(fm_scope_close(scope, fm_ok(NULL)).code, -EIO);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(finish(later[i]).code, -EPROTO);
}

struct group {
    struct fm_exit exit;
    struct fm_fiber *helper;
};

static struct fm_exit group_with_a_helper(void *arg)
{
    struct group *group = arg;
    group->helper = start(until_interrupted, NULL);
    settle();
    return group->exit;
}

/* T221 */
WORKER_TEST(peer_scope, whatever_its_outcome_nobody_of_it_outlives_a_scope)
{
    struct fm_exit exits[] = { fm_ok(NULL), fm_fail(-EIO), fm_defect(3), fm_interrupted() };
    for (int i = 0; i < 4; i++) {
        struct group group = { .exit = exits[i] };
        struct fm_exit exit = fm_scoped(group_with_a_helper, &group);
        cr_assert_eq(exit.kind, exits[i].kind);
        cr_assert(has_ended(group.helper));
        expect_interruption(finish(group.helper), FM_BY_PARENT);
    }
}

static int fail_slowly(void *arg, struct fm_exit exit)
{
    (void)arg, (void)exit;
    fm_sleep_ms(10);
    return -EPROTO;
}

static struct fm_exit with_a_failing_finalizer(void *arg)
{
    fm_defer(fail_slowly, arg);
    return fm_fail(fm_never());
}

/* T272 */
TIMED_WORKER_TEST(peer_scope, body_that_fails_awaits_its_children_and_its_failure_stays)
{
    static const uint32_t flags[] = { 0, FM_SCOPE_FAIL_FAST };
    for (int i = 0; i < 2; i++) {
        struct fm_scope *scope = open_with(flags[i]);
        struct fm_fiber *child[2];
        for (int n = 0; n < 2; n++)
            child[n] = start(with_a_failing_finalizer, NULL);
        settle();
        int64_t began_ms = now_ms();
        struct fm_exit exit = fm_scope_close(scope, fm_fail(-EIO));
        cr_assert_eq(exit.kind, FM_FAILURE);
        cr_assert_eq(exit.code, -EIO);
        cr_assert_eq(now_ms() - began_ms, 10, "side by side");
        for (int n = 0; n < 2; n++) {
            cr_assert(has_ended(child[n]));
            cr_assert(finish(child[n]).flags & FM_EXIT_FINALIZER_FAILED);
        }
    }
}

/* ---- who comes too late ---- */

/* T210, T276: the count of those who were spawned has it, all the same. */
WORKER_TEST(peer_scope, child_of_a_scope_that_has_failed_never_runs)
{
    static const uint32_t flags[] = { 0, FM_SPAWN_FIRST };
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_scope *scope = open_with(FM_SCOPE_FAIL_FAST);
    struct fm_fiber *running = start(until_interrupted, NULL), *late[4];
    int dropped = 0;
    void *args[] = { &dropped, &dropped };

    finish(start(fail_with, number(-EIO)));
    options.arg_drop = count_drop;
    for (int i = 0; i < 2; i++) {
        options.flags = flags[i];
        cr_assert_eq(fm_fiber_spawn(count_body, &dropped, &options, &late[i]), 0);
    }
    options.flags = 0;
    cr_assert_eq(fm_fiber_spawn_many(until_interrupted, args, 2, &options, &late[2]), 0);
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0, "nobody is left who would have to be told");
    for (int i = 0; i < 4; i++)
        expect_interruption(finish(late[i]), FM_BY_PARENT);
    cr_assert_eq(dropped, 4, "and no body ran");
    expect_interruption(finish(running), FM_BY_PARENT);
    cr_assert_eq(fm_scope_close(scope, fm_ok(NULL)).code, -EIO);
}

/* ---- waiting and closing ---- */

struct waiter {
    int first, second;
};

static struct fm_exit wait_twice(void *arg)
{
    struct waiter *waiter = arg;
    fm_fiber_unref(start(busy_for, number(20)));
    waiter->first = fm_scope_wait(FM_NEVER);
    fm_mask();
    waiter->second = fm_scope_wait(FM_NEVER);
    fm_unmask();
    return fm_ok(NULL);
}

/* T275 */
EXACT_TEST(peer_scope, wait_may_be_repeated_after_an_interruption_and_after_the_end)
{
    struct waiter waiter = { 1, 1 };
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0, "for nobody");
    struct fm_fiber *fiber = start(wait_twice, &waiter);
    pass_ms(5);
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    pass_ms(14);
    cr_assert_eq(waiter.first, -ECANCELED);
    cr_assert(!has_ended(fiber));
    pass_ms(1);
    cr_assert_eq(waiter.second, 0);
    finish(fiber);
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
    cr_assert_eq(finish(start(return_arg, number(1))).value, number(1), "it takes more");
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
}

struct closer {
    int64_t closed_ms;
    int check;
    struct fm_fiber *child;
};

static struct fm_exit close_without_waiting(void *arg)
{
    struct closer *closer = arg;
    struct fm_scope *scope = open_with(0);
    closer->child = start(busy_for, number(20));
    fm_yield();
    struct fm_exit exit = fm_scope_close(scope, fm_ok(closer));
    closer->closed_ms = now_ms();
    closer->check = fm_check();
    return exit;
}

/* T278 */
EXACT_TEST(peer_scope, interrupted_closer_waits_for_stragglers_and_stays_interrupted)
{
    struct closer closer = { 0 };
    struct fm_fiber *fiber = start(close_without_waiting, &closer);
    pass_ms(5);
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    pass_ms(15);
    cr_assert_eq(closer.closed_ms, 20);
    cr_assert_eq(closer.check, -ECANCELED);
    cr_assert_eq(finish(fiber).value, &closer, "what it returns after all is its exit");
    expect_interruption(finish(closer.child), FM_BY_PARENT);
}

static struct fm_exit close_it(void *scope)
{
    return fm_scope_close(scope, fm_ok(NULL));
}

static void *close_in_thread(void *scope)
{
    struct fm_exit exit = fm_scope_close(scope, fm_ok(NULL));
    cr_assert_eq(exit.kind, FM_DEFECT);
    return number(exit.code);
}

/* T279 */
WORKER_TEST(peer_scope, only_the_fiber_that_opened_a_scope_can_close_it)
{
    struct fm_scope *scope = open_with(0);
    struct fm_fiber *sibling = start(until_interrupted, NULL);
    pthread_t thread;
    void *code;
    struct fm_exit exit = finish(start(close_it, scope));
    cr_assert_eq(exit.kind, FM_DEFECT);
    cr_assert_eq(exit.code, -EINVAL);
    cr_assert_eq(pthread_create(&thread, NULL, close_in_thread, scope), 0);
    pthread_join(thread, &code);
    cr_assert_eq(code, number(-EPERM));
    settle();
    cr_assert(!has_ended(sibling));
    cr_assert_eq(fm_scope_close(scope, fm_ok(NULL)).kind, FM_SUCCESS);
    expect_interruption(finish(sibling), FM_BY_PARENT);
}

/* ---- handles ---- */

struct crew {
    struct fm_latch *go, *done;
};

static struct fm_exit wait_and_tell(void *arg)
{
    struct crew *crew = arg;
    cr_assert_eq(fm_latch_wait(crew->go, FM_NEVER), 0);
    cr_assert_eq(fm_latch_count_down(crew->done, 1), 0);
    return fm_ok(NULL);
}

/* T211 */
WORKER_TEST(peer_scope, dropping_handles_in_any_order_interrupts_nobody)
{
    static const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                      { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    for (int i = 0; i < 6; i++) {
        struct fm_fiber *fiber[3];
        struct crew crew;
        cr_assert_eq(fm_latch_create(1, &crew.go), 0);
        cr_assert_eq(fm_latch_create(3, &crew.done), 0);
        for (int n = 0; n < 3; n++)
            fiber[n] = start(wait_and_tell, &crew);
        settle();
        for (int n = 0; n < 3; n++)
            fm_fiber_unref(fiber[orders[i][n]]);
        settle();
        cr_assert_eq(fm_latch_count(crew.done), 3);
        cr_assert_eq(fm_latch_count_down(crew.go, 1), 0);
        cr_assert_eq(fm_latch_wait(crew.done, FM_NEVER), 0);
        cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
        fm_latch_destroy(crew.go);
        fm_latch_destroy(crew.done);
    }
}
