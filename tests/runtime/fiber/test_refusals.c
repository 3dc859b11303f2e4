/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_refusals.c - what the calls of fibers refuse, each with the code that their headers promise
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

static void ignore_exit(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    (void)fiber, (void)exit, (void)arg;
}

static int finalize_nothing(void *arg, struct fm_exit exit)
{
    (void)arg, (void)exit;
    return 0;
}

static int acquire_nothing(void *arg, void **ret_resource)
{
    *ret_resource = arg;
    return 0;
}

/* ---- arguments ---- */

FIBER_TEST(refusal, what_is_missing_is_einval)
{
    struct fm_fiber *self = fm_fiber_self(), *holes[] = { self, NULL };
    struct fm_observer no_function = { 0 };
    cr_assert_eq(fm_fiber_spawn_many(NULL, NULL, 1, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_runtime_spawn(NULL, return_arg, NULL, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_runtime_spawn(fm_runtime_current(), NULL, NULL, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_finalizer_exit(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_await_ready(NULL, 0), -EINVAL);
    cr_assert_eq(fm_fiber_stop_many(holes, 2, 0), -EINVAL);
    cr_assert_eq(fm_check(), 0, "nobody was signalled");
    cr_assert_eq(fm_fiber_observe(self, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_observe(self, &no_function), -EINVAL);
    cr_assert_eq(fm_fiber_unobserve(self, NULL), -EINVAL);
    cr_assert_eq(fm_local_key_create(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_acquire(NULL, NULL, finalize_nothing, NULL), -EINVAL);
    cr_assert_eq(fm_acquire(acquire_nothing, NULL, NULL, NULL), -EINVAL);
    struct fm_exit exit = fm_scoped(NULL, NULL);
    cr_assert_eq(exit.kind, FM_DEFECT);
    cr_assert_eq(exit.code, -EINVAL);
}

FIBER_TEST(refusal, options_that_mean_nothing_are_einval)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.reserved = 1;
    cr_assert_eq(fm_fiber_spawn(return_arg, NULL, &options, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_spawn_many(return_arg, NULL, 1, &options, NULL), -EINVAL);
    cr_assert_eq(fm_runtime_spawn(fm_runtime_current(), return_arg, NULL, &options, NULL),
                 -EINVAL);
}

static int close_from_within(void *arg, struct fm_exit exit)
{
    struct fm_exit again = fm_scope_close(*(struct fm_scope **)arg, exit);
    cr_assert_eq(again.kind, FM_DEFECT);
    cr_assert_eq(again.code, -EINVAL);
    return 0;
}

FIBER_TEST(refusal, a_scope_is_closed_once_from_the_inside_out)
{
    struct fm_scope *outer, *inner;
    cr_assert_eq(fm_scope_close(NULL, fm_ok(NULL)).code, -EINVAL);
    cr_assert_eq(fm_scope_open(&outer), 0);
    cr_assert_eq(fm_scope_open(&inner), 0);
    cr_assert_eq(fm_scope_close(outer, fm_ok(NULL)).code, -EINVAL);
    cr_assert_eq(fm_defer(close_from_within, &inner), 0);
    cr_assert_eq(fm_scope_close(inner, fm_ok(NULL)).kind, FM_SUCCESS);
    cr_assert_eq(fm_scope_close(outer, fm_ok(NULL)).kind, FM_SUCCESS);
}

TEST(refusal, threads_have_no_scope_no_locals_and_no_children)
{
    struct fm_scope *scope;
    fm_local_key key;
    cr_assert_eq(fm_scope_open(&scope), -EPERM);
    cr_assert_eq(fm_scope_close(NULL, fm_ok(NULL)).kind, FM_DEFECT);
    cr_assert_eq(fm_scope_close(NULL, fm_ok(NULL)).code, -EPERM);
    cr_assert_eq(fm_scoped(return_arg, NULL).kind, FM_DEFECT);
    cr_assert_eq(fm_scoped(return_arg, NULL).code, -EPERM);
    cr_assert_eq(fm_fiber_spawn_many(return_arg, NULL, 1, NULL, NULL), -EPERM);
    cr_assert_eq(fm_sleep_until_ns(0), -EPERM);
    cr_assert_eq(fm_local_key_create(&key, NULL), 0);
    cr_assert_eq(fm_local_set(key, &key), -EPERM);
    cr_assert_null(fm_local_get(key));
}

/* ---- bounds ---- */

FIBER_TEST(refusal, masks_and_pins_are_counted_to_a_bound)
{
    for (int i = 0; i < UINT16_MAX; i++) {
        cr_assert_eq(fm_mask(), 0);
        cr_assert_eq(fm_pin(), 0);
    }
    cr_assert_eq(fm_mask(), -EOVERFLOW);
    cr_assert_eq(fm_pin(), -EOVERFLOW);
    for (int i = 0; i < UINT16_MAX; i++) {
        cr_assert(fm_masked());
        cr_assert_eq(fm_unmask(), 0);
        cr_assert_eq(fm_unpin(), 0);
    }
    cr_assert_not(fm_masked());
    cr_assert_eq(fm_unmask(), -EINVAL);
    cr_assert_eq(fm_unpin(), -EINVAL);
}

TEST(refusal, keys_of_locals_run_out)
{
    fm_local_key key = 0;
    for (int i = 0; i < 256; i++)
        cr_assert_eq(fm_local_key_create(&key, NULL), 0, "%d", i);
    cr_assert_eq(key, 255);
    cr_assert_eq(fm_local_key_create(&key, NULL), -ENOSPC);
    cr_assert_eq(key, 255);
}

TEST(refusal, who_is_one_too_many_leaves_nothing_behind)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime_stats stats;
    struct fm_runtime *runtime;
    struct fm_fiber *one, *more = NULL;
    config.worker_count = 1;
    config.max_fibers = 1;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_spawn(runtime, until_interrupted, NULL, NULL, &one), 0);
    cr_assert_eq(fm_runtime_spawn(runtime, return_arg, NULL, NULL, &more), -EAGAIN);
    cr_assert_eq(fm_runtime_spawn(runtime, return_arg, NULL, NULL, NULL), -EAGAIN);
    cr_assert_null(more);
    cr_assert_eq(fm_runtime_stats(runtime, &stats), 0);
    cr_assert_eq(stats.fibers_live, 1);
    cr_assert_eq(fm_fiber_stop(one, FM_NEVER, NULL), 0);
    fm_fiber_unref(one);
    fm_runtime_destroy(runtime);
}

/* ---- times ---- */

FIBER_TEST(refusal, a_negative_time_is_einval_however_far)
{
    cr_assert_eq(fm_sleep_until_ns(-1), -EINVAL);
    cr_assert_eq(fm_sleep_ns(INT64_MIN), -EINVAL);
    cr_assert_eq(fm_sleep_ms(-1), -EINVAL);
    cr_assert_eq(fm_sleep_ms(INT64_MIN), -EINVAL);
    cr_assert_eq(fm_sleep_ms(INT64_MIN / 1000000 - 1), -EINVAL);
}

static struct fm_exit sleep_for_ever(void *arg)
{
    (void)arg;
    return fm_fail(fm_sleep_ms(INT64_MAX));
}

FIBER_TEST(refusal, a_sleep_beyond_all_time_is_for_ever)
{
    cr_assert_eq(fm_after_us(INT64_MAX), FM_NEVER);
    cr_assert_eq(fm_after_ms(INT64_MAX), FM_NEVER);
    cr_assert_leq(fm_after_us(INT64_MIN), 0);
    cr_assert_leq(fm_after_ms(INT64_MIN), 0);
    struct fm_fiber *fiber = start(sleep_for_ever, NULL);
    await_wait(fiber);
    cr_assert_not(time_out(fiber), "there is no deadline");
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    expect_interruption(finish(fiber), FM_BY_USER);
}

/* ---- who is interrupted, or waits in vain ---- */

static struct fm_exit masked_until_let_go(void *event)
{
    fm_mask();
    return fm_fail(fm_deferred_await(event, FM_NEVER, NULL));
}

static struct fm_exit stop_in_vain(void *fibers)
{
    return fm_fail(fm_fiber_stop_many(fibers, 2, FM_NEVER));
}

static struct fm_exit await_children(void *arg)
{
    (void)arg;
    struct fm_fiber *child = start(until_interrupted, NULL);
    fm_fiber_unref(child);
    cr_assert_eq(fm_scope_wait(0), -ETIMEDOUT);
    fm_fiber_interrupt(fm_fiber_self());
    return fm_fail(fm_scope_wait(FM_NEVER));
}

FIBER_TEST(refusal, who_was_interrupted_begins_no_wait_for_children)
{
    expect_interruption(finish(start(await_children, NULL)), FM_BY_USER);
}

FIBER_TEST(refusal, stop_many_tells_of_who_remains_and_goes_when_interrupted)
{
    struct fm_deferred *event;
    struct fm_fiber *fibers[2];
    cr_assert_eq(fm_deferred_create(&event), 0);
    for (int i = 0; i < 2; i++) {
        fibers[i] = start(masked_until_let_go, event);
        await_wait(fibers[i]);
    }
    cr_assert_eq(fm_fiber_stop_many(fibers, 2, 0), -ETIMEDOUT);
    struct fm_fiber *stopper = start(stop_in_vain, fibers);
    await_wait(stopper);
    fm_fiber_interrupt(stopper);
    expect_interruption(finish(stopper), FM_BY_USER);
    cr_assert_eq(fm_deferred_succeed(event, NULL), 0);
    cr_assert_eq(fm_fiber_stop_many(fibers, 2, FM_NEVER), 0);
    cr_assert_eq(fm_fiber_stop_many(NULL, 0, FM_NEVER), 0);
    for (int i = 0; i < 2; i++)
        fm_fiber_unref(fibers[i]);
    fm_deferred_destroy(event);
}

static struct observing {
    struct fm_observer observer;
    struct fm_fiber *fiber;
    atomic_bool entered, asked, left;
} observing;

static void observe_for_long(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    ignore_exit(fiber, exit, arg);
    atomic_store(&observing.entered, true);
    while (!atomic_load(&observing.asked))
        sched_yield();
    for (int i = 0; i < 50; i++)
        sched_yield();
    atomic_store(&observing.left, true);
}

FIBER_TEST(refusal, to_unobserve_too_late_waits_for_the_observers_return)
{
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    observing.observer.fn = observe_for_long;
    cr_assert_eq(fm_fiber_observe(fiber, &observing.observer), 0);
    fm_fiber_interrupt(fiber);
    while (!atomic_load(&observing.entered))
        fm_yield();
    atomic_store(&observing.asked, true);
    cr_assert_eq(fm_fiber_unobserve(fiber, &observing.observer), FM_ALREADY_DONE);
    cr_assert(atomic_load(&observing.left));
    fm_fiber_unref(fiber);
}

static int spawned_late = 1;

static void spawn_late(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    struct fm_spawn_options detached = FM_SPAWN_OPTIONS_INIT;
    ignore_exit(fiber, exit, arg);
    detached.flags = FM_SPAWN_DETACHED;
    cr_assert_eq(fm_fiber_spawn(return_arg, NULL, NULL, NULL), -ESHUTDOWN);
    cr_assert_eq(fm_fiber_spawn_many(return_arg, NULL, 2, NULL, NULL), -ESHUTDOWN);
    spawned_late = fm_fiber_spawn_many(return_arg, NULL, 2, &detached, NULL);
}

FIBER_TEST(refusal, after_its_body_a_fiber_has_no_children_but_may_spawn_others)
{
    struct fm_observer observer = { .fn = spawn_late };
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_assert_eq(fm_fiber_observe(fiber, &observer), 0);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_fiber_unobserve(fiber, &observer), FM_ALREADY_DONE);
    cr_assert_eq(spawned_late, 0);
    fm_fiber_unref(fiber);
}

static struct fm_exit spawn_over_there(void *runtime)
{
    struct fm_fiber *fiber;
    int r = fm_runtime_spawn(runtime, return_arg, number(5), NULL, &fiber);
    return r < 0 ? fm_fail(r) : finish(fiber);
}

TEST(refusal, a_runtime_that_was_shut_down_takes_nothing_from_others_fibers)
{
    struct fm_runtime *here = runtime_with(1), *there = runtime_with(1);
    struct fm_exit exit;
    cr_assert_eq(fm_runtime_run(here, spawn_over_there, there, &exit), 0);
    cr_assert_eq(exit.value, number(5));
    cr_assert_eq(fm_runtime_shutdown(there, FM_NEVER), 0);
    cr_assert_eq(fm_runtime_run(here, spawn_over_there, there, &exit), 0);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -ESHUTDOWN);
    fm_runtime_destroy(here);
    fm_runtime_destroy(there);
}

/* ---- exits ---- */

static struct fm_exit end_strangely(void *arg)
{
    (void)arg;
    return (struct fm_exit) { .kind = 200, .code = 3 };
}

static _Atomic int dropped;

static void count_drop(void *value)
{
    cr_assert_eq(value, number(77));
    atomic_fetch_add(&dropped, 1);
}

static struct fm_exit fail_as_interrupted(void *arg)
{
    fm_never();
    return fm_fail_with(-ECANCELED, arg);
}

FIBER_TEST(refusal, an_exit_of_no_known_kind_is_a_defect)
{
    struct fm_exit exit = finish(start(end_strangely, NULL));
    cr_assert_eq(exit.kind, FM_DEFECT);
    cr_assert_eq(exit.code, 3);
}

FIBER_TEST(refusal, a_value_whose_place_an_interruption_takes_is_dropped_once)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.value_drop = count_drop;
    cr_assert_eq(fm_fiber_spawn(fail_as_interrupted, number(77), &options, &fiber), 0);
    await_wait(fiber);
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_eq(atomic_load(&dropped), 1);
}

/* ---- memory ---- */

static _Atomic int begun;

static struct fm_exit count_begun(void *arg)
{
    atomic_fetch_add(&begun, 1);
    return fm_ok(arg);
}

static int spawn_with_locals(void)
{
    struct fm_fiber *fiber;
    int r = fm_fiber_spawn(count_begun, NULL, NULL, &fiber);
    if (r == 0)
        finish(fiber);
    return r;
}

static int spawn_two_with_locals(void)
{
    struct fm_fiber *fibers[2];
    int r = fm_fiber_spawn_many(count_begun, NULL, 2, NULL, fibers);
    for (int i = 0; r == 0 && i < 2; i++)
        finish(fibers[i]);
    return r;
}

/* The caller has a local from now on that its children inherit. */
static void have_a_local(void)
{
    fm_local_key key;
    cr_assert_eq(fm_local_key_create(&key, NULL), 0);
    cr_assert_eq(fm_local_key_inherit(key), 0);
    cr_assert_eq(fm_local_set(key, &begun), 0);
}

WORKER_TEST(refusal, who_cannot_inherit_for_want_of_memory_is_not_spawned)
{
    static int (*const ways[])(void) = { spawn_with_locals, spawn_two_with_locals };
    have_a_local();
    for (int way = 0; way < 2; way++) {
        uint64_t refused = 0;
        cr_assert_eq(ways[way](), 0, "the fibers' own memory is there");
        for (int r = -ENOMEM; r < 0;) {
            atomic_store(&begun, 0);
            fm__fault_set(FAULT_MALLOC, refused + 1, false);
            r = ways[way]();
            uint64_t hits = fm__fault_hits(FAULT_MALLOC);
            fm__fault_set(FAULT_MALLOC, 0, false);
            cr_assert_eq(r, hits ? -ENOMEM : 0, "way %d, %d", way, (int)refused);
            cr_assert_eq(atomic_load(&begun), r < 0 ? 0 : way + 1);
            refused += hits;
        }
        cr_assert_geq(refused, 2,
                      "what a fiber with locals has beyond its own, and its locals");
    }
}

static struct fm_exit count_index(void *arg, size_t index)
{
    (void)index;
    return count_begun(arg);
}

/* What cannot be had before the first piece is the call's failure, and later that piece's. */
WORKER_TEST(refusal, a_piece_that_gets_no_fiber_for_want_of_memory_fails)
{
    unsigned before = 0, later = 0;
    have_a_local();
    cr_assert_eq(fm_for_each(2, 2, count_index, NULL, NULL), 0);
    for (uint64_t n = 1, hits = 1; hits; n++) {
        struct fm_exit exit = fm_ok(NULL);
        atomic_store(&begun, 0);
        fm__fault_set(FAULT_MALLOC, n, false);
        int r = fm_for_each(2, 2, count_index, NULL, &exit);
        hits = fm__fault_hits(FAULT_MALLOC);
        fm__fault_set(FAULT_MALLOC, 0, false);
        if (r < 0) {
            cr_assert_eq(r, -ENOMEM);
            cr_assert_eq(atomic_load(&begun), 0);
            before++;
        } else if (exit.kind != FM_SUCCESS) {
            cr_assert_eq(exit.kind, FM_FAILURE);
            cr_assert_eq(exit.code, -ENOMEM);
            cr_assert_eq(atomic_load(&begun), 1);
            later++;
        } else {
            cr_assert_eq(hits, 0);
            cr_assert_eq(atomic_load(&begun), 2);
        }
    }
    cr_assert_geq(before, 2);
    cr_assert_geq(later, 2);
}

FIBER_TEST(refusal, without_memory_nobody_waits_for_readiness)
{
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    await_wait(fiber);
    fm__fault_set(FAULT_MALLOC, 1, true);
    int r = fm_fiber_await_ready(fiber, FM_NEVER);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(r, -ENOMEM);
    fm_fiber_interrupt(fiber);
    finish(fiber);
}
