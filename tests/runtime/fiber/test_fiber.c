/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fiber.c - life, exits, interruption, references (SEMANTICS of fibers; PEER cases T102 to
 * T136 where they speak of fibers alone)
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "runtime/fiber/fiber.h"
#include "runtime/platform/sanitizer.h"
#include "tests/support/child.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

FIBER_TEST(fiber, join_returns_the_exit)
{
    int x;
    struct fm_exit exit = finish(start(return_arg, &x));
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_eq(exit.value, &x);
}

static struct fm_exit fail_with_7(void *arg)
{
    return fm_fail_with(7, arg);
}

FIBER_TEST(fiber, failure_keeps_code_and_value)
{
    struct fm_exit exit = finish(start(fail_with_7, &exit));
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, 7);
    cr_assert_eq(exit.value, &exit);
}

FIBER_TEST(fiber, bad_arguments_are_refused_and_change_nothing)
{
    struct fm_fiber *fiber = (void *)1;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    cr_assert_eq(fm_fiber_spawn(NULL, NULL, NULL, &fiber), -EINVAL);
    options.flags = 1u << 30;
    cr_assert_eq(fm_fiber_spawn(return_arg, NULL, &options, &fiber), -EINVAL);
    options.flags = 0;
    options.stack_bytes = 2 << 20;
    cr_assert_eq(fm_fiber_spawn(return_arg, NULL, &options, &fiber), -EINVAL);
    cr_assert_eq(fiber, (void *)1);
    cr_assert_eq(fm_fiber_join(NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_poll(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_interrupt(NULL), -EINVAL);
    cr_assert_eq(fm_fiber_stop(NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_observe(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_unobserve(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_stop_many(NULL, 1, 0), -EINVAL);
    cr_assert_eq(fm_fiber_unref(NULL), NULL);
    cr_assert_eq(fm_fiber_ref(NULL), NULL);
    cr_assert_eq(fm_fiber_id(NULL), 0);
    cr_assert_eq(fm_unmask(), -EINVAL);
    cr_assert_eq(fm_unpin(), -EINVAL);
    cr_assert_eq(fm_sleep_ns(-1), -EINVAL);
}

FIBER_TEST(fiber, options_of_another_size_are_read_as_promised)
{
    struct {
        struct fm_spawn_options options;
        uint64_t tail;
    } longer = { .options = { .size = sizeof longer } };
    struct fm_fiber *fiber;
    cr_assert_eq(fm_fiber_spawn(return_arg, NULL, &longer.options, &fiber), 0);
    finish(fiber);
    longer.tail = 1;
    cr_assert_eq(fm_fiber_spawn(return_arg, NULL, &longer.options, &fiber), -E2BIG);
    struct fm_spawn_options shorter = { .size = 8, .stack_bytes = 99u << 20 };
    cr_assert_eq(fm_fiber_spawn(return_arg, NULL, &shorter, &fiber), 0);
    finish(fiber);
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

TEST(fiber, calls_for_fibers_alone_refuse_threads) /* T279 */
{
    void *resource;
    cr_assert_eq(fm_yield(), -EPERM);
    cr_assert_eq(fm_sleep_ms(0), -EPERM);
    cr_assert_eq(fm_never(), -EPERM);
    cr_assert_eq(fm_mask(), -EPERM);
    cr_assert_eq(fm_unmask(), -EPERM);
    cr_assert_eq(fm_pin(), -EPERM);
    cr_assert_eq(fm_unpin(), -EPERM);
    cr_assert_eq(fm_ready(), -EPERM);
    cr_assert_eq(fm_interrupt_info(NULL), -EPERM);
    cr_assert_eq(fm_fiber_spawn(return_arg, NULL, NULL, NULL), -EPERM);
    cr_assert_eq(fm_scope_wait(0), -EPERM);
    cr_assert_eq(fm_defer(finalize_nothing, NULL), -EPERM);
    cr_assert_eq(fm_acquire(acquire_nothing, NULL, finalize_nothing, &resource), -EPERM);
    cr_assert_eq(fm_check(), 0);
    cr_assert(!fm_masked());
    cr_assert_null(fm_fiber_self());
    cr_assert_null(fm_runtime_current());
}

static struct fm_exit report_self(void *arg)
{
    *(uint64_t *)arg = fm_fiber_id(fm_fiber_self());
    return fm_ok(NULL);
}

FIBER_TEST(fiber, ids_are_never_used_again)
{
    enum { COUNT = 2000 };
    static uint64_t seen[COUNT];
    for (int i = 0; i < COUNT; i++) {
        uint64_t told = 0;
        struct fm_fiber *fiber = start(report_self, &told);
        seen[i] = fm_fiber_id(fiber);
        finish(fiber);
        cr_assert_eq(told, seen[i]);
        cr_assert_gt(seen[i], 0);
        for (int j = i > 50 ? i - 50 : 0; j < i; j++)
            cr_assert_neq(seen[j], seen[i]);
    }
}

/*
 * F37: near its end a descriptor serves some more fibers, each under an id of its own, and then
 * nobody any more.
 */
WORKER_TEST(fiber, descriptor_whose_generations_are_used_up_serves_nobody)
{
    enum { LEFT = 3, TRIES = 10 };
    const uint64_t one = UINT64_C(1) << FIBER_ID_SLOT_BITS, end = UINT64_C(1) << 60;
    struct fm_fiber *worn = start(return_arg, NULL);
    uint64_t last = 0;
    int served = 0;

    finish(worn);
    /* free now, and the first to go out again */
    cr_assert_eq(atomic_load(&worn->refs) % one, 0);
    atomic_store(&worn->refs, end - LEFT * one);
    for (int i = 0; i < TRIES; i++) {
        struct fm_fiber *fiber = start(return_arg, NULL);
        uint64_t id = fm_fiber_id(fiber);
        if (fiber == worn) {
            served++;
            cr_assert_gt(id, last);
            last = id;
        }
        finish(fiber);
    }
    cr_assert(served > 0 && served <= LEFT, "%d", served);
    cr_assert_lt(last, end);
}

/*
 * F11: the waits of a descriptor are counted in 48 bits, which is 325 days of nothing but
 * waits. No narrower width stands anywhere on the way of the count.
 */
TIMED_WORKER_TEST(fiber, waits_go_on_past_every_width_that_is_not_their_counts)
{
    static const int widths[] = { 8, 15, 16, 24, 31, 32, 40, 47 };
    struct fm_fiber *self = fm_fiber_self();

    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        uint64_t epoch = (UINT64_C(1) << widths[i]) - 4;
        uint64_t state = atomic_load(&self->state) & (STATE_EPOCH_ONE - 1);
        atomic_store(&self->state, state | epoch << STATE_EPOCH_SHIFT);
        for (int n = 0; n < 8; n++) {
            int64_t before_ns = fm_now_ns();
            cr_assert_eq(fm_sleep_ms(1), 0);
            cr_assert_eq(fm_now_ns() - before_ns, 1000000);
            struct fm_fiber *fiber = start(return_arg, NULL);
            cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
        }
    }
}

FIBER_TEST(fiber, handle_of_an_ended_fiber_stays_that_fiber) /* X16, F23 */
{
    int x;
    struct fm_fiber *kept = start(return_arg, &x);
    cr_assert_eq(fm_fiber_join(kept, FM_NEVER, NULL), 0);
    uint64_t id = fm_fiber_id(kept);
    for (int i = 0; i < 5000; i++)
        finish(start(return_arg, NULL));
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_poll(kept, &exit), 0);
    cr_assert_eq(exit.value, &x);
    cr_assert_eq(fm_fiber_id(kept), id);
    cr_assert_eq(fm_fiber_interrupt(kept), FM_ALREADY_DONE);
    fm_fiber_unref(kept);
}

/* ---- arg_drop and value_drop ---- */

static _Atomic int dropped;

static void count_drop(void *pointer)
{
    (void)pointer;
    atomic_fetch_add(&dropped, 1);
}

FIBER_TEST(fiber, value_is_dropped_at_the_last_unref)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    int x;
    options.value_drop = count_drop;
    options.arg_drop = count_drop;
    cr_assert_eq(fm_fiber_spawn(return_arg, &x, &options, &fiber), 0);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    fm_fiber_ref(fiber);
    /* the run's own reference goes an instant after the join */
    fm_fiber_unref(fiber);
    cr_assert_eq(atomic_load(&dropped), 0);
    fm_fiber_unref(fiber);
    while (atomic_load(&dropped) != 1)
        fm_yield();
}

WORKER_TEST(fiber, interrupt_before_the_first_step_runs_arg_drop_and_no_body) /* X7, F28 */
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    uint64_t told = 0;
    options.arg_drop = count_drop;
    cr_assert_eq(fm_fiber_spawn(report_self, &told, &options, &fiber), 0);
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_eq(told, 0);
    cr_assert_eq(atomic_load(&dropped), 1);
}

TEST(fiber, never_started_fibers_end_with_the_runtime) /* F36 */
{
    enum { COUNT = 1000 };
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    config.worker_count = 1;
    options.arg_drop = count_drop;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    static _Atomic int ran;
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(fm_runtime_spawn(runtime, until_interrupted, (void *)&ran, &options, NULL),
                     0);
    fm_runtime_destroy(runtime);
    cr_assert_leq(atomic_load(&dropped), COUNT);
}

/* ---- interruption ---- */

TIMED_WORKER_TEST(fiber, interrupt_ends_a_wait_and_names_who_and_why) /* T102, T108 */
{
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    fm_yield();
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    struct fm_exit exit = finish(fiber);
    expect_interruption(exit, FM_BY_USER);
    cr_assert_eq(exit.by, fm_fiber_id(fm_fiber_self()));
}

static struct fm_exit sticky(void *arg)
{
    (void)arg;
    cr_assert_eq(fm_never(), -ECANCELED);
    cr_assert_eq(fm_never(), -ECANCELED);
    cr_assert_eq(fm_sleep_ms(1000000), -ECANCELED);
    cr_assert_eq(fm_check(), -ECANCELED);
    return fm_fail(3);
}

/* T208, T252 */
TIMED_WORKER_TEST(fiber, interrupt_is_sticky_and_a_failure_of_the_bodys_own_stays)
{
    struct fm_fiber *fiber = start(sticky, NULL);
    fm_yield();
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, 3);
    fm_fiber_unref(fiber);
}

static struct fm_exit masked_then_not(void *arg)
{
    _Atomic int *step = arg;
    fm_mask();
    fm_mask();
    atomic_store(step, 1);
    cr_assert_eq(fm_sleep_ms(5), 0);
    while (fm_interrupt_info(NULL) == -ENOENT)
        cr_assert_eq(fm_yield(), 0);
    cr_assert_eq(fm_check(), 0);
    cr_assert_eq(fm_sleep_ms(1), 0);
    fm_unmask();
    cr_assert_eq(fm_sleep_ms(1), 0);
    fm_unmask();
    atomic_store(step, 2);
    return fm_fail(fm_sleep_ms(1000000));
}

/* F30, T109, T114, T120 */
TIMED_TEST(fiber, masked_waits_complete_and_the_first_wait_after_sees_the_mark)
{
    _Atomic int step = 0;
    struct fm_fiber *fiber = start(masked_then_not, (void *)&step);
    while (atomic_load(&step) == 0)
        fm_yield();
    expect_interruption((fm_fiber_interrupt(fiber), finish(fiber)), FM_BY_USER);
    cr_assert_eq(atomic_load(&step), 2);
}

static struct fm_exit first_reason_stays(void *arg)
{
    (void)arg;
    int r = fm_never();
    return fm_fail(r);
}

FIBER_TEST(fiber, first_interrupter_stays_on_record)
{
    struct fm_fiber *fiber = start(first_reason_stays, NULL);
    fm_fiber_interrupt(fiber);
    fm_fiber_interrupt(fiber);
    struct fm_exit exit = finish(fiber);
    cr_assert_eq(exit.by, fm_fiber_id(fm_fiber_self()));
}

static struct fm_exit interrupt_self(void *arg)
{
    (void)arg;
    cr_assert_eq(fm_fiber_interrupt(fm_fiber_self()), 0);
    cr_assert_eq(fm_never(), -ECANCELED);
    return fm_ok((void *)42); /* T124: caught, and gone on */
}

FIBER_TEST(fiber, self_interruption_may_be_caught)
{
    cr_assert_eq(finish(start(interrupt_self, NULL)).value, (void *)42);
}

static struct fm_exit wait_for_other(void *arg)
{
    fm_mask();
    cr_assert_eq(fm_fiber_join(arg, FM_NEVER, NULL), 0);
    fm_unmask();
    return fm_ok(NULL);
}

WORKER_TEST(fiber, stop_many_signals_all_before_it_waits) /* T105 */
{
    struct fm_fiber *one = start(until_interrupted, NULL);
    struct fm_fiber *two = start(wait_for_other, one);
    fm_yield();
    struct fm_fiber *both[] = { two, one };
    cr_assert_eq(fm_fiber_stop_many(both, 2, FM_NEVER), 0);
    fm_fiber_unref(one);
    fm_fiber_unref(two);
}

static _Atomic uint64_t written;

static struct fm_exit keep_writing(void *arg)
{
    (void)arg;
    for (;;) {
        atomic_fetch_add(&written, 1);
        int r = fm_sleep_ms(1);
        if (r < 0)
            return fm_fail(r);
    }
}

TIMED_TEST(fiber, a_stopped_bundle_writes_no_more) /* T106 */
{
    struct fm_fiber *bundle[100];
    for (int i = 0; i < 100; i++)
        bundle[i] = start(keep_writing, NULL);
    fm_sleep_ms(5);
    cr_assert_eq(fm_fiber_stop_many(bundle, 100, FM_NEVER), 0);
    uint64_t then = atomic_load(&written);
    fm_sleep_ms(5);
    cr_assert_eq(atomic_load(&written), then);
    for (int i = 0; i < 100; i++)
        fm_fiber_unref(bundle[i]);
}

/* ---- joins ---- */

static struct fm_exit join_self(void *arg)
{
    (void)arg;
    return fm_fail(fm_fiber_join(fm_fiber_self(), FM_NEVER, NULL));
}

FIBER_TEST(fiber, join_on_oneself_is_a_deadlock) /* F32 */
{
    cr_assert_eq(finish(start(join_self, NULL)).code, -EDEADLK);
}

static struct fm_fiber *ring[3];
static _Atomic int ring_ready;

static struct fm_exit join_next(void *arg)
{
    intptr_t i = (intptr_t)arg;
    atomic_fetch_add(&ring_ready, 1);
    while (atomic_load(&ring_ready) < 4)
        fm_yield();
    return fm_fail(fm_fiber_join(ring[(i + 1) % 3], FM_NEVER, NULL));
}

FIBER_TEST(fiber, a_ring_of_joins_is_told_and_comes_apart) /* F32 */
{
    for (intptr_t i = 0; i < 3; i++)
        ring[i] = start(join_next, (void *)i);
    atomic_fetch_add(&ring_ready, 1);
    int deadlocks = 0;
    for (int i = 0; i < 3; i++) {
        struct fm_exit exit = finish(ring[i]);
        deadlocks += exit.code == -EDEADLK;
    }
    cr_assert_geq(deadlocks, 1);
}

TIMED_TEST(fiber, join_polls_times_out_and_leaves_no_trace) /* F27 */
{
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_assert_eq(fm_fiber_join(fiber, 0, NULL), -ETIMEDOUT);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(fm_fiber_join(fiber, fm_after_us(50), NULL), -ETIMEDOUT);
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
}

static struct fm_exit join_arg(void *arg)
{
    return fm_fail(fm_fiber_join(arg, FM_NEVER, NULL));
}

WORKER_TEST(fiber, interrupting_a_joiner_stops_only_the_joining)
{
    struct fm_fiber *target = start(until_interrupted, NULL);
    struct fm_fiber *joiner = start(join_arg, target);
    fm_yield();
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_stop(joiner, FM_NEVER, &exit), 0);
    expect_interruption(exit, FM_BY_USER);
    fm_fiber_unref(joiner);
    cr_assert_eq(fm_fiber_poll(target, NULL), -EAGAIN);
    fm_fiber_stop(target, FM_NEVER, NULL);
    fm_fiber_unref(target);
}

FIBER_TEST(fiber, a_chain_of_joins_is_no_recursion) /* F33 */
{
    enum { LENGTH = 2000 };
    static struct fm_fiber *chain[LENGTH];
    chain[0] = start(until_interrupted, NULL);
    for (int i = 1; i < LENGTH; i++)
        chain[i] = start(join_arg, chain[i - 1]);
    fm_yield();
    fm_fiber_interrupt(chain[0]);
    cr_assert_eq(fm_fiber_join(chain[LENGTH - 1], FM_NEVER, NULL), 0);
    for (int i = 0; i < LENGTH; i++)
        fm_fiber_unref(chain[i]);
}

static _Atomic int joining_thread;

static void *join_from_thread(void *fiber)
{
    atomic_store(&joining_thread, thread_id());
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    return NULL;
}

FIBER_TEST(fiber, threads_spawn_join_and_interrupt)
{
    pthread_t thread;
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_assert_eq(pthread_create(&thread, NULL, join_from_thread, fiber), 0);
    await_asleep(&joining_thread);
    fm_fiber_interrupt(fiber);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    expect_interruption(finish(fiber), FM_BY_USER);
}

/* ---- observers ---- */

static int fired;
static struct fm_observer observers[3];

static void observe_end(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    cr_assert_eq(fm_fiber_poll(fiber, NULL), 0);
    (void)exit;
    fired = fired * 10 + (int)(intptr_t)arg;
}

WORKER_TEST(observer, observers_fire_once_in_the_order_of_registration)
{
    struct fm_fiber *fiber = start(return_arg, NULL);
    for (intptr_t i = 0; i < 3; i++) {
        observers[i] = (struct fm_observer) { .fn = observe_end, .arg = (void *)(i + 1) };
        cr_assert_eq(fm_fiber_observe(fiber, &observers[i]), 0);
    }
    cr_assert_eq(fm_fiber_unobserve(fiber, &observers[1]), 0);
    fm_yield();
    cr_assert_eq(fired, 13);
    cr_assert_eq(fm_fiber_unobserve(fiber, &observers[0]), FM_ALREADY_DONE);
    cr_assert_eq(fm_fiber_observe(fiber, &observers[1]), FM_ALREADY_DONE);
    cr_assert_eq(fired, 132);
    finish(fiber);
}

static struct fm_fiber *observed;

static void unobserve_neighbour(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    (void)exit;
    intptr_t next = ((intptr_t)arg + 1) % 3;
    cr_assert_eq(fm_fiber_unobserve(fiber, &observers[(intptr_t)arg]), FM_ALREADY_DONE);
    fired++;
    if (fm_fiber_unobserve(fiber, &observers[next]) == 0)
        fired += 10;
}

TIMED_WORKER_TEST(observer, an_observer_may_take_off_its_neighbour) /* F24 */
{
    observed = start(return_arg, NULL);
    for (intptr_t i = 0; i < 3; i++) {
        observers[i] = (struct fm_observer) { .fn = unobserve_neighbour, .arg = (void *)i };
        cr_assert_eq(fm_fiber_observe(observed, &observers[i]), 0);
    }
    fm_yield();
    finish(observed);
    cr_assert_eq(fired, 12, "two fired and one was taken off: %d", fired);
}

static _Atomic int turns_of_others;

static struct fm_exit take_turns(void *arg)
{
    while (fm_yield() == 0)
        atomic_fetch_add(&turns_of_others, 1);
    return fm_ok(arg);
}

static void acquire_often(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    int before = atomic_load(&turns_of_others);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(fm_semaphore_acquire(arg, 1, FM_NEVER), 0);
    fired = atomic_load(&turns_of_others) == before ? 1 : 2;
    (void)fiber, (void)exit;
}

/* Whoever unobserves meanwhile spins until it returns, maybe on the same worker. */
WORKER_TEST(observer, an_observer_that_spends_its_budget_is_not_left)
{
    struct fm_semaphore *semaphore;
    cr_assert_eq(fm_semaphore_create(1000, &semaphore), 0);
    struct fm_fiber *other = start(take_turns, NULL), *fiber = start(return_arg, NULL);
    observers[0] = (struct fm_observer) { .fn = acquire_often, .arg = semaphore };
    cr_assert_eq(fm_fiber_observe(fiber, &observers[0]), 0);
    finish(fiber);
    cr_assert_eq(fm_fiber_stop(other, FM_NEVER, NULL), 0);
    fm_fiber_unref(other);
    cr_assert_eq(fired, 1, "another fiber ran in its midst");
    fm_semaphore_destroy(semaphore);
}

/* ---- what a callback of an end must not do: each in a process of its own ---- */

struct misdeed {
    fm_observer_fn *fn;
    enum exit_node_kind kind;
    const char *said;
};

static void poll_own(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    fm_fiber_poll(fiber, NULL);
}

static void yield_own(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    fm_yield();
}

static void sleep_own(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    fm_sleep_ms(1);
}

static const struct misdeed *misdeed;

static struct fm_exit misbehave(void *arg)
{
    static struct exit_node node;
    struct fm_fiber *fiber = start(return_arg, NULL);
    node = (struct exit_node) { .fn = misdeed->fn, .kind = misdeed->kind };
    cr_assert(fm__exit_list_add(&fiber->exits, &node));
    finish(fiber);
    return fm_ok(arg);
}

static void misbehave_alone(void *arg)
{
    misdeed = arg;
    alarm(20); /* ends one that would hang */
    run_in_fibers(misbehave, 1, FM_CLOCK_VIRTUAL);
}

TEST(observer, a_callback_that_waits_for_its_own_end_or_gives_its_turn_away_stops_the_program)
{
    if (FM_TSAN)
        cr_skip_test("it lets no child of a process with threads start threads");
    struct misdeed misdeeds[] = {
        { poll_own, EXIT_OWNER, "an owner asks" },
        { yield_own, EXIT_OWNER, "a callback of an end" },
        { yield_own, EXIT_OBSERVER, "a callback of an end" },
        { sleep_own, EXIT_OWNER, "a callback of an end" },
        { sleep_own, EXIT_OBSERVER, "a callback of an end" },
    };
    for (size_t i = 0; i < sizeof misdeeds / sizeof *misdeeds; i++) {
        struct child child;
        child_run(&child, misbehave_alone, &misdeeds[i]);
        cr_assert_eq(child.signal, SIGABRT, "%zu: signal %d, exit code %d", i, child.signal,
                     child.exit_code);
        cr_assert_eq(child_said(&child, misdeeds[i].said), 1, "%zu: %s", i, child.said);
    }
}

/* ---- readiness, locals, pins ---- */

static struct fm_exit get_ready(void *arg)
{
    fm_sleep_ms(2);
    *(int *)arg = 1;
    fm_ready();
    return fm_fail(fm_never());
}

TIMED_TEST(fiber, await_ready_returns_when_the_body_says_so)
{
    int started = 0;
    struct fm_fiber *fiber = start(get_ready, &started);
    cr_assert_eq(fm_fiber_await_ready(fiber, 0), -ETIMEDOUT);
    cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), 0);
    cr_assert_eq(started, 1);
    cr_assert_eq(fm_fiber_await_ready(fiber, 0), 0);
    fm_fiber_stop(fiber, FM_NEVER, NULL);
    fm_fiber_unref(fiber);
}

FIBER_TEST(fiber, await_ready_fails_when_the_fiber_ends_first)
{
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    fm_yield();
    fm_fiber_interrupt(fiber);
    cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), -ESRCH);
    finish(fiber);
    cr_assert_eq(fm_fiber_await_ready(fm_fiber_self(), FM_NEVER), -EDEADLK);
}

static fm_local_key plain_key, shared_key;

static struct fm_exit look_at_locals(void *arg)
{
    cr_assert_null(fm_local_get(plain_key));
    cr_assert_eq(fm_local_get(shared_key), arg);
    cr_assert_eq(fm_local_set(plain_key, arg), 0);
    fm_yield();
    cr_assert_eq(fm_local_get(plain_key), arg);
    return fm_ok(NULL);
}

TIMED_TEST(fiber, locals_are_each_fibers_own_unless_inherited)
{
    int x;
    cr_assert_eq(fm_local_key_create(&plain_key, count_drop), 0);
    cr_assert_eq(fm_local_key_create(&shared_key, count_drop), 0);
    cr_assert_eq(fm_local_key_inherit(shared_key), 0);
    cr_assert_eq(fm_local_key_inherit(9999), -EINVAL);
    cr_assert_eq(fm_local_set(9999, &x), -EINVAL);
    cr_assert_eq(fm_local_set(plain_key, NULL), 0);
    cr_assert_eq(fm_local_set(shared_key, &x), 0);
    finish(start(look_at_locals, &x));
    cr_assert_eq(atomic_load(&dropped), 1);
}

static struct fm_exit stay_pinned(void *arg)
{
    (void)arg;
    fm_pin();
    pthread_t here = pthread_self();
    for (int i = 0; i < 200; i++) {
        if (i % 3)
            fm_yield();
        else
            fm_sleep_ns(10000);
        cr_assert(pthread_equal(here, pthread_self()));
    }
    fm_unpin();
    return fm_ok(NULL);
}

TIMED_TEST(fiber, a_pinned_fiber_stays_on_its_worker)
{
    struct fm_fiber *fibers[16];
    for (int i = 0; i < 16; i++)
        fibers[i] = start(stay_pinned, NULL);
    for (int i = 0; i < 16; i++)
        finish(fibers[i]);
}

/* ---- spawning ---- */

WORKER_TEST(fiber, spawn_many_starts_all)
{
    struct fm_fiber *fibers[50];
    void *args[50];
    for (int i = 0; i < 50; i++)
        args[i] = &args[i];
    cr_assert_eq(fm_fiber_spawn_many(return_arg, args, 50, NULL, fibers), 0);
    for (int i = 0; i < 50; i++)
        cr_assert_eq(finish(fibers[i]).value, &args[i]);
}

static int order;

static struct fm_exit note_order(void *arg)
{
    *(int *)arg = ++order;
    return fm_ok(NULL);
}

WORKER_TEST(fiber, spawn_first_runs_the_child_at_once)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    int child = 0;
    options.flags = FM_SPAWN_FIRST;
    cr_assert_eq(fm_fiber_spawn(note_order, &child, &options, NULL), 0);
    cr_assert_eq(child, 1);
    cr_assert_eq(fm_fiber_spawn(note_order, &child, NULL, NULL), 0);
    cr_assert_eq(child, 1);
    fm_yield();
    cr_assert_eq(child, 2);
}

static struct fm_exit check_name(void *arg)
{
    (void)arg;
    cr_assert_str_eq(fm_fiber_name(fm_fiber_self()), "a name");
    return fm_ok(NULL);
}

FIBER_TEST(fiber, name_is_copied)
{
    char name[] = "a name";
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.name = name;
    cr_assert_eq(fm_fiber_spawn(check_name, NULL, &options, &fiber), 0);
    name[0] = 'X';
    finish(fiber);
    cr_assert_str_eq(fm_fiber_name(fm_fiber_self()), "");
}

static struct fm_exit check_unmasked(void *arg)
{
    (void)arg;
    cr_assert(!fm_masked());
    return fm_ok(NULL);
}

FIBER_TEST(fiber, a_spawned_fiber_starts_unmasked)
{
    fm_mask();
    cr_assert(fm_masked());
    struct fm_fiber *fiber = start(check_unmasked, NULL);
    finish(fiber);
    fm_unmask();
}

static struct fm_exit fib(void *arg)
{
    intptr_t n = (intptr_t)arg;
    if (n < 2)
        return fm_ok((void *)n);
    struct fm_fiber *one = start(fib, (void *)(n - 1));
    struct fm_fiber *two = start(fib, (void *)(n - 2));
    return fm_ok((void *)((intptr_t)finish(one).value + (intptr_t)finish(two).value));
}

FIBER_TEST(fiber, recursive_fork_join) /* T130 */
{
    cr_assert_eq(finish(start(fib, (void *)15)).value, (void *)610);
}
