/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_share.c - callers that share one run: FM_JOIN and fm_map_run_wait
 *
 * T213, T215, T216, T218, T219: what Go's singleflight tests, and what its users ask for. On
 * one worker and the virtual clock: pass_ms() returns when all that is due has happened. Those
 * who leave: test_map_share_leave.c.
 */
#include <pthread.h>

#include "tests/fibermap/share_test.h"

/* ---- one run for all ---- */

/* T213, T216 */
EXACT_TEST(map_share, concurrent_callers_share_one_run_and_get_the_same_exit)
{
    struct work work = new_work(10, fm_ok(&work));
    struct caller callers[MANY];
    call_all(callers, MANY, &work, 0);
    cr_assert_eq(fm_map_size(work.map), 1);
    pass_ms(10);
    all_have_returned(callers, MANY);
    cr_assert_eq(work.bodies, 1);
    int started = 0;
    for (int i = 0; i < MANY; i++) {
        cr_assert(callers[i].result == 0 || callers[i].result == FM_MAP_KEPT);
        started += callers[i].result == 0;
        cr_assert_eq(callers[i].exit.kind, FM_SUCCESS);
        cr_assert_eq(callers[i].exit.value, &work);
    }
    cr_assert_eq(started, 1);
    cr_assert_eq(work.drops, MANY - 1, "the arguments of those who joined");
    fm_map_destroy(work.map);
}

/* T213, T218, T219: failures, defects, one that interrupts itself; nobody is left waiting. */
EXACT_TEST(map_share, every_kind_of_end_is_shared_and_none_is_kept)
{
    struct fm_exit exits[] = { fm_fail(-EIO), fm_defect(7), fm_interrupted() };
    for (int kind = 0; kind < 3; kind++) {
        struct work work = new_work(10, exits[kind]);
        struct caller callers[MANY];
        for (int round = 1; round <= 2; round++) {
            call_all(callers, MANY, &work, 0);
            pass_ms(10);
            all_have_returned(callers, MANY);
            cr_assert_eq(work.bodies, round, "the exit of the last round was kept");
            for (int i = 0; i < MANY; i++) {
                cr_assert_eq(callers[i].exit.kind, exits[kind].kind);
                if (exits[kind].kind != FM_INTERRUPTED)
                    cr_assert_eq(callers[i].exit.code, exits[kind].code);
            }
        }
        fm_map_destroy(work.map);
    }
}

EXACT_TEST(map_share, keys_are_apart)
{
    struct fm_map *map = new_map();
    struct fm_exit a, b;
    cr_assert_eq(fm_map_run_wait(map, fm_key_str("a"), return_arg, map, NULL, FM_NEVER, &a), 0);
    cr_assert_eq(fm_map_run_wait(map, fm_key_str("b"), fail_with, (void *)-EIO, NULL, FM_NEVER,
                                 &b),
                 0);
    cr_assert_eq(a.value, map);
    cr_assert_eq(b.code, -EIO);
    fm_map_destroy(map);
}

EXACT_TEST(map_share, a_removal_is_an_end_for_all)
{
    struct work work = new_work(-1, any());
    struct caller callers[MANY];
    call_all(callers, MANY, &work, 0);
    cr_assert_eq(fm_map_remove(work.map, fm_key_str("key"), FM_NEVER), 0);
    all_have_returned(callers, MANY);
    for (int i = 0; i < MANY; i++)
        expect_interruption(callers[i].exit, FM_BY_REMOVE);
    cr_assert_eq(work.bodies, 1);
    fm_map_destroy(work.map);
}

/* T215, golang/go#31420: the end of a call that was forgotten takes no successor away. */
EXACT_TEST(map_share, end_of_a_detached_run_leaves_the_one_after_it)
{
    struct work first = new_work(10, fm_ok(&first));
    struct work second = { .map = first.map, .ms = 30, .exit = fm_ok(&second) };
    struct caller one[1], two[1], three[1];
    call_all(one, 1, &first, 0);
    cr_assert_eq(fm_map_detach(first.map, fm_key_str("key"), NULL), 0);
    call_all(two, 1, &second, 0);
    pass_ms(10);
    all_have_returned(one, 1);
    cr_assert_eq(one[0].exit.value, &first);
    call_all(three, 1, &second, 0);
    pass_ms(20);
    all_have_returned(two, 1);
    all_have_returned(three, 1);
    cr_assert_eq(two[0].exit.value, &second);
    cr_assert_eq(three[0].exit.value, &second);
    cr_assert_eq(second.bodies, 1);
    fm_map_destroy(first.map);
}

EXACT_TEST(map_share, runs_of_other_calls_are_joined)
{
    struct work work = new_work(10, fm_ok(&work));
    struct caller callers[2];
    run(work.map, "key", work_body, &work);
    call_all(callers, 2, &work, FM_MAP_STOP_WITH_LAST_WAITER);
    pass_ms(10);
    all_have_returned(callers, 2);
    cr_assert_eq(callers[0].result, FM_MAP_KEPT);
    cr_assert_eq(callers[1].result, FM_MAP_KEPT);
    cr_assert_eq(work.bodies, 1);
    fm_map_destroy(work.map);
}

static struct fm_exit share_myself(void *arg)
{
    struct work *work = arg;
    work->bodies++;
    int r = share(work, 0, FM_NEVER, NULL);
    return r == FM_MAP_SELF ? fm_ok(NULL) : fm_fail(r);
}

EXACT_TEST(map_share, a_body_that_joins_itself_is_told_so)
{
    struct work work = new_work(0, any());
    struct fm_exit exit;
    cr_assert_eq(fm_map_run_wait(work.map, fm_key_str("key"), share_myself, &work, NULL,
                                 FM_NEVER, &exit),
                 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_eq(work.bodies, 1);
    cr_assert_eq(work.drops, 1, "nothing was started with it");
    fm_map_destroy(work.map);
}

static struct fm_exit join_caller(void *arg)
{
    struct caller *caller = arg;
    pass_ms(0);
    return fm_fail(fm_fiber_join(caller->fiber, FM_NEVER, NULL));
}

static struct fm_exit call_in_a_ring(void *arg)
{
    struct caller *caller = arg;
    caller->result = fm_map_run_wait(caller->work->map, fm_key_str("key"), join_caller, caller,
                                     NULL, FM_NEVER, &caller->exit);
    return fm_ok(NULL);
}

EXACT_TEST(map_share, a_ring_of_joins_is_told_not_waited_out)
{
    struct work work = new_work(0, any());
    struct caller caller = { .work = &work };
    caller.fiber = start(call_in_a_ring, &caller);
    finish(caller.fiber);
    cr_assert(caller.result == -EDEADLK || (caller.result == 0 && caller.exit.code == -EDEADLK),
              "result %d", caller.result);
    fm_map_destroy(work.map);
}

static struct fm_exit give_memory(void *bytes)
{
    return fm_ok(malloc((size_t)(intptr_t)bytes));
}

/* Else the value would be gone, or not, by who drops his reference last. */
EXACT_TEST(map_share, value_that_goes_with_the_fiber_is_not_handed_out)
{
    struct fm_map *map = new_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_exit exit = fm_fail(-1);
    options.value_drop = free;
    cr_assert_eq(fm_map_run_wait(map, fm_key_str("key"), give_memory, (void *)16, &options,
                                 FM_NEVER, &exit),
                 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_null(exit.value);
    fm_map_destroy(map);
}

/* ---- refusals ---- */

EXACT_TEST(map_share, a_closed_map_refuses_and_the_argument_stays_the_callers)
{
    struct work work = new_work(0, any());
    cr_assert_eq(fm_map_close(work.map, NULL, NULL), 0);
    cr_assert_eq(share(&work, 0, FM_NEVER, NULL), -ESHUTDOWN);
    cr_assert_eq(work.drops + work.bodies, 0);
    fm_map_destroy(work.map);
}

EXACT_TEST(map_share, a_close_is_an_end_for_all)
{
    struct work work = new_work(-1, any());
    struct caller callers[MANY];
    call_all(callers, MANY, &work, 0);
    cr_assert_eq(fm_map_close(work.map, NULL, NULL), 0);
    all_have_returned(callers, MANY);
    for (int i = 0; i < MANY; i++)
        expect_interruption(callers[i].exit, FM_BY_CLOSE);
    fm_map_destroy(work.map);
}

EXACT_TEST(map_share, bad_arguments_change_nothing)
{
    struct work work = new_work(0, any());
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_key key = fm_key_str("key");
    cr_assert_eq(fm_map_run_wait(NULL, key, work_body, &work, NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_map_run_wait(work.map, key, NULL, &work, NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_map_run_wait(work.map, fm_key_bytes("", 0), work_body, &work, NULL, 0,
                                 NULL),
                 -EINVAL);
    for (uint32_t conflict = FM_KEEP; conflict <= 9; conflict++) {
        if (conflict == FM_JOIN)
            continue;
        options.conflict = conflict;
        cr_assert_eq(fm_map_run_wait(work.map, key, work_body, &work, &options, 0, NULL),
                     -EINVAL);
    }
    options.conflict = FM_JOIN;
    options.flags = FM_MAP_STOP_WITH_LAST_WAITER;
    cr_assert_eq(fm_map_run(work.map, key, work_body, &work, &options, NULL), -EINVAL,
                 "only for who waits");
    options.flags = 0;
    cr_assert_eq(fm_map_set(work.map, key, fm_fiber_self(), &options), -EINVAL);
    cr_assert_eq(fm_map_size(work.map), 0);
    cr_assert_eq(work.bodies, 0);
    fm_map_destroy(work.map);
}

/* ---- threads ---- */

struct thread_call {
    struct work *work;
    _Atomic bool done;
    int result;
    struct fm_exit exit;
};

static void *call_from_thread(void *arg)
{
    struct thread_call *call = arg;
    call->result = share(call->work, 0, FM_NEVER, &call->exit);
    atomic_store(&call->done, true);
    return NULL;
}

FIBER_TEST(map_share, threads_share_like_fibers)
{
    struct work work = new_work(-1, any());
    struct thread_call calls[3] = { 0 };
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        calls[i].work = &work;
        cr_assert_eq(pthread_create(&threads[i], NULL, call_from_thread, &calls[i]), 0);
    }
    while (work.bodies + work.drops < 3)
        fm_yield();
    cr_assert_eq(work.bodies, 1);
    cr_assert_eq(fm_map_remove(work.map, fm_key_str("key"), FM_NEVER), 0);
    for (int i = 0; i < 3; i++) {
        while (!atomic_load(&calls[i].done))
            fm_yield();
        pthread_join(threads[i], NULL);
        expect_interruption(calls[i].exit, FM_BY_REMOVE);
    }
    fm_map_destroy(work.map);
}
