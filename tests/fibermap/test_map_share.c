/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_share.c - callers that share one run: FM_JOIN and fm_map_run_wait
 *
 * T213, T215, T216, T218, T219, T224, T225: what Go's singleflight tests, and what its users ask for. On one worker and the virtual
 * clock: pass_ms() returns when all that is due has happened.
 */
#include <pthread.h>

#include "tests/support/maps.h"

/* One shared piece of work, and what became of it. */
struct work {
    struct fm_map *map;
    int64_t ms; /* how long a body takes; below 0: for ever */
    struct fm_exit exit;
    _Atomic int bodies, drops, interrupted, ends;
};

static int count_interruption(void *arg, struct fm_exit exit)
{
    struct work *work = arg;
    work->interrupted++;
    return 0;
}

static struct fm_exit work_body(void *arg)
{
    struct work *work = arg;
    work->bodies++;
    fm_defer_on_interrupt(count_interruption, work);
    int r = work->ms < 0 ? fm_never() : fm_sleep_ms(work->ms);
    if (r < 0)
        return fm_fail(r);
    work->ends++;
    return work->exit;
}

static void drop(void *arg)
{
    ((struct work *)arg)->drops++;
}

/* A caller, a fiber of its own. */
struct caller {
    struct work *work;
    int64_t deadline_ns;
    uint32_t flags;
    int result;
    struct fm_exit exit;
    struct fm_fiber *fiber;
};

static int share(struct work *work, uint32_t flags, int64_t deadline_ns,
                 struct fm_exit *ret_exit)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.flags = flags;
    options.arg_drop = drop;
    return fm_map_run_wait(work->map, fm_key_str("key"), work_body, work, &options, deadline_ns,
                           ret_exit);
}

static struct fm_exit call(void *arg)
{
    struct caller *caller = arg;
    caller->result = share(caller->work, caller->flags, caller->deadline_ns, &caller->exit);
    return fm_ok(NULL);
}

static void call_all(struct caller *callers, int count, struct work *work, uint32_t flags)
{
    for (int i = 0; i < count; i++) {
        callers[i] = (struct caller) { .work = work, .flags = flags, .deadline_ns = FM_NEVER };
        callers[i].fiber = start(call, &callers[i]);
    }
    pass_ms(0);
}

static void all_have_returned(struct caller *callers, int count)
{
    for (int i = 0; i < count; i++)
        finish(callers[i].fiber);
}

static struct work new_work(int64_t ms, struct fm_exit exit)
{
    return (struct work) { .map = new_map(), .ms = ms, .exit = exit };
}

static struct fm_exit any(void)
{
    return fm_ok(NULL);
}

enum { MANY = 5 };

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

/* T213, T218, T219: failures, defects and a body that interrupts itself; nobody is left waiting. */
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

/* T215, golang/go#31420: the end of a call that was forgotten does not take away its successor. */
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

/* ---- leaving ---- */

/* T225 */
EXACT_TEST(map_share, a_waiter_that_is_interrupted_or_late_only_leaves)
{
    struct work work = new_work(30, fm_ok(&work));
    struct caller callers[MANY];
    for (int i = 0; i < MANY; i++) {
        callers[i] = (struct caller) { .work = &work,
                                       .flags = FM_MAP_STOP_WITH_LAST_WAITER,
                                       .deadline_ns = i % 2 ? fm_after_ms(10) : FM_NEVER };
        callers[i].fiber = start(call, &callers[i]);
    }
    pass_ms(5);
    fm_fiber_interrupt(callers[0].fiber);
    pass_ms(10);
    cr_assert(fm_map_has(work.map, fm_key_str("key")));
    pass_ms(15);
    all_have_returned(callers, MANY);
    cr_assert_eq(callers[0].result, -ECANCELED);
    for (int i = 1; i < MANY; i += 2)
        cr_assert_eq(callers[i].result, -ETIMEDOUT);
    for (int i = 2; i < MANY; i += 2) {
        cr_assert_geq(callers[i].result, 0);
        cr_assert_eq(callers[i].exit.value, &work);
    }
    cr_assert_eq(work.bodies, 1);
    cr_assert_eq(work.interrupted, 0);
    fm_map_destroy(work.map);
}

EXACT_TEST(map_share, a_run_goes_on_without_waiters_unless_told_otherwise)
{
    struct work work = new_work(30, fm_ok(&work));
    cr_assert_eq(share(&work, 0, 0, NULL), -ETIMEDOUT, "a look, not a wait");
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_get(work.map, fm_key_str("key"), &fiber), 0);
    pass_ms(30);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    cr_assert_eq(work.ends, 1);
    fm_map_destroy(work.map);
}

EXACT_TEST(map_share, the_last_waiter_stops_the_run_if_told_so)
{
    struct work work = new_work(-1, any());
    struct caller callers[3];
    struct fm_fiber *fiber;
    call_all(callers, 3, &work, FM_MAP_STOP_WITH_LAST_WAITER);
    cr_assert_eq(fm_map_get(work.map, fm_key_str("key"), &fiber), 0);
    for (int i = 0; i < 3; i++) {
        pass_ms(1);
        cr_assert(!has_ended(fiber), "stopped with %d waiters", 3 - i);
        fm_fiber_interrupt(callers[i].fiber);
    }
    all_have_returned(callers, 3);
    expect_interruption(finish(fiber), FM_BY_LAST_WAITER);
    cr_assert_eq(work.interrupted, 1);
    cr_assert(!fm_map_has(work.map, fm_key_str("key")));
    fm_map_destroy(work.map);
}

/* Whoever starts decides; what the others say of it is not asked. */
EXACT_TEST(map_share, only_the_starter_says_that_it_stops)
{
    struct work work = new_work(30, fm_ok(&work));
    struct caller first[1], second[1];
    call_all(first, 1, &work, 0);
    call_all(second, 1, &work, FM_MAP_STOP_WITH_LAST_WAITER);
    fm_fiber_interrupt(first[0].fiber);
    fm_fiber_interrupt(second[0].fiber);
    all_have_returned(first, 1);
    all_have_returned(second, 1);
    pass_ms(30);
    cr_assert_eq(work.ends, 1);
    fm_map_destroy(work.map);
}

EXACT_TEST(map_share, runs_of_other_calls_are_never_stopped)
{
    struct work work = new_work(30, fm_ok(&work));
    run(work.map, "key", work_body, &work);
    cr_assert_eq(share(&work, FM_MAP_STOP_WITH_LAST_WAITER, 0, NULL), -ETIMEDOUT);
    pass_ms(30);
    cr_assert_eq(work.ends, 1);
    fm_map_destroy(work.map);
}

static int slow_end(void *arg, struct fm_exit exit)
{
    struct work *work = arg;
    fm_sleep_ms(20);
    work->ends++;
    return 0;
}

static struct fm_exit work_that_ends_slowly(void *arg)
{
    struct work *work = arg;
    work->bodies++;
    fm_defer(slow_end, work);
    return fm_fail(fm_never());
}

/* Run work that nobody waits for any more, and that takes 20 ms to end. */
static struct fm_fiber *given_up(struct work *work)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.flags = FM_MAP_STOP_WITH_LAST_WAITER;
    cr_assert_eq(fm_map_run_wait(work->map, fm_key_str("key"), work_that_ends_slowly, work,
                                 &options, fm_after_ms(1), NULL),
                 -ETIMEDOUT);
    cr_assert_eq(fm_map_get(work->map, fm_key_str("key"), &fiber), 0, "it is still ending");
    return fiber;
}

/* T224, tailscale#18919 */
TIMED_WORKER_TEST(map_share, a_caller_during_the_stop_gets_a_fresh_run)
{
    struct work old = new_work(0, any()), fresh = { .map = old.map, .exit = fm_ok(&fresh) };
    struct fm_fiber *fiber = given_up(&old);
    struct fm_exit exit;
    cr_assert_eq(share(&fresh, 0, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_eq(exit.value, &fresh);
    expect_interruption(finish(fiber), FM_BY_LAST_WAITER);
    cr_assert_eq(old.ends, 1);
    fm_map_destroy(old.map);
}

TIMED_WORKER_TEST(map_share, keep_takes_what_was_given_up_and_join_does_not)
{
    struct work old = new_work(0, any()), fresh = { .map = old.map, .exit = fm_ok(&fresh) };
    struct fm_fiber *fiber = given_up(&old), *kept, *joined;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_KEEP;
    cr_assert_eq(fm_map_run(old.map, fm_key_str("key"), work_body, &fresh, &options, &kept),
                 FM_MAP_KEPT);
    cr_assert_eq(kept, fiber);
    options.conflict = FM_JOIN;
    cr_assert_eq(fm_map_run(old.map, fm_key_str("key"), work_body, &fresh, &options, &joined),
                 FM_MAP_REPLACED);
    cr_assert_neq(joined, fiber);
    cr_assert_eq(finish(joined).value, &fresh);
    fm_fiber_unref(kept);
    expect_interruption(finish(fiber), FM_BY_LAST_WAITER);
    fm_map_destroy(old.map);
}

/* T216 */
EXACT_TEST(map_share, join_gives_a_handle_of_the_one_run)
{
    struct work work = new_work(10, fm_ok(&work));
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *first, *second;
    options.conflict = FM_JOIN;
    cr_assert_eq(fm_map_run(work.map, fm_key_str("key"), work_body, &work, &options, &first),
                 0);
    cr_assert_eq(fm_map_run(work.map, fm_key_str("key"), work_body, &work, &options, &second),
                 FM_MAP_KEPT);
    cr_assert_eq(first, second);
    cr_assert_eq(fm_map_run(work.map, fm_key_str("key"), work_body, &work, &options, NULL),
                 FM_MAP_KEPT);
    pass_ms(10);
    cr_assert_eq(finish(first).value, &work);
    fm_fiber_unref(second);
    cr_assert_eq(work.bodies, 1);
    fm_map_destroy(work.map);
}

/* The map itself gave the order: it is no failure of the map. */
TIMED_WORKER_TEST(map_share, stop_by_the_last_waiter_is_no_verdict)
{
    struct work work = new_work(0, any());
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.flags = FM_MAP_STOP_WITH_LAST_WAITER | FM_MAP_PROPAGATE_INTERRUPT;
    cr_assert_eq(fm_map_run_wait(work.map, fm_key_str("key"), work_that_ends_slowly, &work,
                                 &options, fm_after_ms(1), NULL),
                 -ETIMEDOUT);
    cr_assert_eq(fm_map_await_quiescent(work.map, FM_NEVER), 0);
    cr_assert_eq(fm_map_join(work.map, 0, NULL), -ETIMEDOUT);
    fm_map_destroy(work.map);
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
