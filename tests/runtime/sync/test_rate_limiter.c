/* SPDX-License-Identifier: Apache-2.0 */
/* test_rate_limiter.c - how often things start, to the nanosecond of the virtual clock */
#include <errno.h>
#include <pthread.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

#define MS INT64_C(1000000)
#define S (1000 * MS)

static struct fm_rate_limiter *make(uint32_t algorithm, int64_t limit, int64_t interval_ns)
{
    struct fm_rate_limiter_config config = FM_RATE_LIMITER_CONFIG_INIT;
    struct fm_rate_limiter *limiter;
    config.algorithm = algorithm;
    config.limit = limit;
    config.interval_ns = interval_ns;
    cr_assert_eq(fm_rate_limiter_create(&config, &limiter), 0);
    return limiter;
}

static void advance(int64_t n)
{
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), n), 0);
}

/* A fiber that asks, and writes down when it was let go. */
struct call {
    struct fm_rate_limiter *limiter, *then; /* then: NULL, or asked next */
    int64_t cost, deadline_ns;
    int64_t started_ns; /* -1: not yet */
    int result;
    struct fm_fiber *fiber;
};

static struct fm_exit call_it(void *arg)
{
    struct call *call = arg;
    call->result = fm_rate_limiter_acquire(call->limiter, call->cost, call->deadline_ns);
    if (call->result == 0 && call->then)
        call->result = fm_rate_limiter_acquire(call->then, call->cost, call->deadline_ns);
    if (call->result < 0)
        return fm_fail(call->result);
    call->started_ns = fm_now_ns();
    return fm_ok(NULL);
}

static struct call call_of(struct fm_rate_limiter *limiter, int64_t cost)
{
    return (struct call) { limiter, NULL, cost, FM_NEVER, -1, 1, NULL };
}

/* All in this order. */
static void begin(struct call *calls, int count)
{
    for (int i = 0; i < count; i++) {
        calls[i].fiber = start(call_it, &calls[i]);
        advance(0); /* until it has begun to wait */
    }
}

static void end(struct call *calls, int count)
{
    for (int i = 0; i < count; i++)
        finish(calls[i].fiber);
}

static const uint32_t both[] = { FM_RATE_TOKEN_BUCKET, FM_RATE_FIXED_WINDOW };

VIRTUAL_TEST(rate_limiter, as_many_as_the_limit_start_at_once) /* T148 */
{
    for (int a = 0; a < 2; a++) {
        struct fm_rate_limiter *limiter = make(both[a], 10, S);
        int64_t t0 = fm_now_ns();
        struct call calls[10];
        for (int i = 0; i < 10; i++)
            calls[i] = call_of(limiter, 1);
        begin(calls, 10);
        end(calls, 10);
        for (int i = 0; i < 10; i++)
            cr_assert_eq(calls[i].started_ns, t0);
        cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), -EAGAIN);
        fm_rate_limiter_destroy(limiter);
    }
}

VIRTUAL_TEST(rate_limiter, the_rest_start_as_permits_come_back) /* T151 */
{
    for (int a = 0; a < 2; a++) {
        struct fm_rate_limiter *limiter = make(both[a], 10, S);
        int64_t t0 = fm_now_ns();
        struct call calls[20];
        for (int i = 0; i < 20; i++)
            calls[i] = call_of(limiter, 1);
        begin(calls, 20);
        advance(S);
        end(calls, 20);
        for (int i = 0; i < 20; i++) {
            int64_t bucket = i < 10 ? 0 : (i - 9) * 100 * MS;
            int64_t window = i < 10 ? 0 : S;
            cr_assert_eq(calls[i].started_ns - t0, a ? window : bucket, "%d: %ld", i,
                         (long)(calls[i].started_ns - t0));
        }
        fm_rate_limiter_destroy(limiter);
    }
}

VIRTUAL_TEST(rate_limiter, empty_bucket_gives_the_next_permit_after_its_share) /* T160 */
{
    struct fm_rate_limiter *limiter = make(FM_RATE_TOKEN_BUCKET, 10, S);
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 10), 0);
    struct call call = call_of(limiter, 1);
    begin(&call, 1);
    advance(100 * MS - 1);
    cr_assert_eq(call.started_ns, -1);
    advance(1);
    end(&call, 1);
    cr_assert_eq(call.started_ns, 100 * MS);
    fm_rate_limiter_destroy(limiter);
}

/* The program's own part: a call's value and failure pass through, and failures cost a start. */
static struct fm_exit limited(struct fm_rate_limiter *limiter, struct fm_exit body)
{
    int r = fm_rate_limiter_acquire(limiter, 1, FM_NEVER);
    return r < 0 ? fm_fail(r) : body;
}

VIRTUAL_TEST(rate_limiter, goes_on_after_a_failure_of_what_it_started) /* T150 */
{
    struct fm_rate_limiter *limiter = make(FM_RATE_TOKEN_BUCKET, 3, S);
    cr_assert_eq(limited(limiter, fm_ok(limiter)).value, limiter);
    cr_assert_eq(limited(limiter, fm_fail(-EPROTO)).code, -EPROTO);
    cr_assert_eq(limited(limiter, fm_ok(limiter)).kind, FM_SUCCESS);
    cr_assert_eq(fm_rate_limiter_free(limiter), 0);
    fm_rate_limiter_destroy(limiter);
}

VIRTUAL_TEST(rate_limiter, waiter_that_is_interrupted_consumes_nothing) /* T153, F80 */
{
    for (int a = 0; a < 2; a++) {
        struct fm_rate_limiter *limiter = make(both[a], 1, S);
        int64_t t0 = fm_now_ns();
        struct call calls[3];
        for (int i = 0; i < 3; i++)
            calls[i] = call_of(limiter, 1);
        begin(calls, 3);
        fm_fiber_interrupt(calls[1].fiber);
        advance(S);
        end(calls, 3);
        cr_assert_eq(calls[1].result, -ECANCELED);
        cr_assert_eq(calls[1].started_ns, -1);
        cr_assert_eq(calls[2].started_ns - t0, S, "the next has its place");
        fm_rate_limiter_destroy(limiter);
    }
}

/* T154: stop waits for the end of what has started, its finalizer included. */
struct guarded {
    struct fm_rate_limiter *limiter;
    bool cleaned;
};

static int clean(void *arg, struct fm_exit exit)
{
    struct guarded *guarded = arg;
    fm_sleep_ms(5);
    guarded->cleaned = true;
    return 0;
}

static struct fm_exit guarded_call(void *arg)
{
    struct guarded *guarded = arg;
    int r = fm_rate_limiter_acquire(guarded->limiter, 1, FM_NEVER);
    if (r == 0)
        r = fm_defer(clean, guarded);
    if (r == 0)
        r = fm_never();
    return fm_fail(r);
}

static struct fm_exit stop_it(void *arg)
{
    struct fm_exit exit = fm_ok(NULL);
    int r = fm_fiber_stop(arg, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

VIRTUAL_TEST(rate_limiter, stopping_what_has_started_waits_for_its_end) /* T154 */
{
    struct guarded guarded = { make(FM_RATE_FIXED_WINDOW, 1, S), false };
    struct fm_fiber *fiber = start(guarded_call, &guarded);
    advance(0);
    struct fm_fiber *stopper = start(stop_it, fiber);
    advance(4 * MS);
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_poll(stopper, &exit), -EAGAIN);
    advance(MS);
    cr_assert_eq(finish(stopper).kind, FM_INTERRUPTED);
    cr_assert(guarded.cleaned);
    fm_fiber_unref(fiber);
    fm_rate_limiter_destroy(guarded.limiter);
}

VIRTUAL_TEST(rate_limiter, thousand_interrupted_waiters_leave_the_permits) /* T156 */
{
    enum { MANY = 1000 };
    static struct call calls[MANY];
    for (int a = 0; a < 2; a++) {
        struct fm_rate_limiter *limiter = make(both[a], 5, S);
        cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 5), 0);
        for (int i = 0; i < MANY; i++)
            calls[i] = call_of(limiter, 1 + i % 5);
        for (int i = 0; i < MANY; i++)
            calls[i].fiber = start(call_it, &calls[i]);
        advance(0);
        for (int i = 0; i < MANY; i++)
            fm_fiber_interrupt(calls[i].fiber);
        end(calls, MANY);
        advance(S);
        cr_assert_eq(fm_rate_limiter_free(limiter), 5);
        cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 5), 0);
        fm_rate_limiter_destroy(limiter);
    }
}

VIRTUAL_TEST(rate_limiter, those_behind_a_large_one_go_on_when_it_leaves) /* T157, F76 */
{
    for (int a = 0; a < 2; a++) {
        for (int by_deadline = 0; by_deadline < 2; by_deadline++) {
            struct fm_rate_limiter *limiter = make(both[a], 10, S);
            int64_t t0 = fm_now_ns();
            cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), 0);
            struct call calls[2] = { call_of(limiter, 10), call_of(limiter, 9) };
            if (by_deadline)
                calls[0].deadline_ns = t0 + 50 * MS;
            begin(calls, 2);
            cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), -EAGAIN,
                         "nor does a newcomer overtake");
            if (by_deadline)
                advance(50 * MS);
            else
                fm_fiber_interrupt(calls[0].fiber);
            end(calls, 2);
            cr_assert_eq(calls[0].result, by_deadline ? -ETIMEDOUT : -ECANCELED);
            cr_assert_eq(calls[1].started_ns - t0, by_deadline ? 50 * MS : 0);
            fm_rate_limiter_destroy(limiter);
        }
    }
}

VIRTUAL_TEST(rate_limiter, limiters_nest) /* T159 */
{
    enum { CALLS = 32 };
    struct fm_rate_limiter *minute = make(FM_RATE_FIXED_WINDOW, 30, 60 * S);
    struct fm_rate_limiter *second = make(FM_RATE_FIXED_WINDOW, 2, S);
    struct call calls[CALLS];
    for (int i = 0; i < CALLS; i++) {
        calls[i] = call_of(minute, 1);
        calls[i].then = second;
    }
    begin(calls, CALLS);
    advance(60 * S);
    end(calls, CALLS);
    for (int i = 0; i < CALLS; i++)
        cr_assert_eq(calls[i].started_ns, i < 30 ? i / 2 * S : 60 * S, "call %d at %ld ms", i,
                     (long)(calls[i].started_ns / MS));
    fm_rate_limiter_destroy(second);
    fm_rate_limiter_destroy(minute);
}

VIRTUAL_TEST(rate_limiter, window_begins_with_its_first_use)
{
    struct fm_rate_limiter *limiter = make(FM_RATE_FIXED_WINDOW, 2, S);
    advance(700 * MS);
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), 0); /* [700, 1700) */
    advance(600 * MS);
    cr_assert_eq(fm_rate_limiter_free(limiter), 1);
    advance(400 * MS - 1);
    cr_assert_eq(fm_rate_limiter_free(limiter), 1);
    advance(1);
    cr_assert_eq(fm_rate_limiter_free(limiter), 2);
    advance(300 * MS);
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 2), 0); /* [2000, 3000) */
    advance(S - 1);
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), -EAGAIN);
    advance(1);
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), 0);
    fm_rate_limiter_destroy(limiter);
}

/*
 * F80: 10^9 in an interval of any length, and the other extremes. Counted exactly: no permit is
 * made or lost by rounding, however small the steps.
 */
VIRTUAL_TEST(rate_limiter, no_permit_is_lost_or_made_by_rounding)
{
    const struct {
        int64_t limit, interval_ns, step_ns, gain; /* gain: in seven steps */
    } rows[] = {
        { 1000000000, S, 1, 7 },
        { 1000000000, 3 * S, 1, 2 },
        { 1000000000, 3, 1, 1000000000 }, /* full again after three */
        { 3, 10, 1, 2 },
        { 7, S, 142857142, 6 }, /* the last nanosecond of the seventh is missing */
        { 7, S, 142857143, 7 },
        { INT64_MAX, INT64_MAX, 1, 7 },
        { INT64_MAX, 1, 1, INT64_MAX },
        { 1, INT64_MAX, 1000000, 0 },
        { INT64_MAX / 2, 2, 1, INT64_MAX / 2 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fm_rate_limiter *limiter = make(FM_RATE_TOKEN_BUCKET, rows[i].limit,
                                               rows[i].interval_ns);
        cr_assert_eq(fm_rate_limiter_free(limiter), rows[i].limit);
        cr_assert_eq(fm_rate_limiter_try_acquire(limiter, rows[i].limit), 0);
        cr_assert_eq(fm_rate_limiter_free(limiter), 0);
        for (int step = 0; step < 7; step++) {
            advance(rows[i].step_ns);
            fm_rate_limiter_free(limiter);
        }
        cr_assert_eq(fm_rate_limiter_free(limiter), rows[i].gain, "row %zu: %ld", i,
                     (long)fm_rate_limiter_free(limiter));
        fm_rate_limiter_destroy(limiter);
    }
}

/*
 * F80: in no stretch of time do more start than the contract says, whoever comes, waits and
 * leaves.
 */
VIRTUAL_TEST(rate_limiter, starts_stay_below_the_limit_in_any_stretch)
{
    enum { CALLS = 300, LIMIT = 7 };
    static struct call calls[CALLS];
    for (int a = 0; a < 2; a++) {
        struct fm_rate_limiter *limiter = make(both[a], LIMIT, S);
        uint64_t random = 12345;
        for (int i = 0; i < CALLS; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            calls[i] = call_of(limiter, 1 + (int64_t)(random >> 40) % 3);
            if ((random >> 60) < 4)
                calls[i].deadline_ns = fm_now_ns() + (int64_t)(random >> 33) % S;
            begin(&calls[i], 1);
            if ((random >> 58) % 5 == 0)
                fm_fiber_interrupt(calls[(random >> 50) % (uint64_t)(i + 1)].fiber);
            advance((int64_t)(random >> 35) % (500 * MS));
        }
        advance(CALLS * S);
        end(calls, CALLS);
        int64_t last_window = -S, in_window = 0;
        for (int from = 0; from < CALLS; from++) {
            int64_t total = 0;
            if (calls[from].started_ns < 0)
                continue;
            for (int to = from; to < CALLS; to++) {
                if (calls[to].started_ns < 0)
                    continue;
                total += calls[to].cost;
                int64_t elapsed = calls[to].started_ns - calls[from].started_ns;
                cr_assert_geq(elapsed, 0, "in the order they came");
                if (a == 0)
                    cr_assert_leq((total - LIMIT) * S, elapsed * LIMIT);
            }
            if (calls[from].started_ns >= last_window + S) {
                last_window = calls[from].started_ns;
                in_window = 0;
            }
            in_window += calls[from].cost;
            if (a == 1)
                cr_assert_leq(in_window, LIMIT);
        }
        fm_rate_limiter_destroy(limiter);
    }
}

VIRTUAL_TEST(rate_limiter, deadline_on_the_turn_itself_is_in_time)
{
    struct fm_rate_limiter *limiter = make(FM_RATE_TOKEN_BUCKET, 1, S);
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), 0);
    struct call calls[2] = { call_of(limiter, 1), call_of(limiter, 1) };
    calls[0].deadline_ns = S;
    calls[1].deadline_ns = 2 * S - 1;
    begin(calls, 2);
    advance(2 * S);
    end(calls, 2);
    cr_assert_eq(calls[0].result, 0);
    cr_assert_eq(calls[1].result, -ETIMEDOUT);
    cr_assert_eq(fm_rate_limiter_free(limiter), 1);
    fm_rate_limiter_destroy(limiter);
}

/* A thread waits for the virtual clock among fibers. */
static void *thread_call(void *arg)
{
    struct call *call = arg;
    call->result = fm_rate_limiter_acquire(call->limiter, call->cost, call->deadline_ns);
    return NULL;
}

VIRTUAL_TEST(rate_limiter, thread_waits_for_the_virtual_clock)
{
    struct fm_rate_limiter *limiter = make(FM_RATE_TOKEN_BUCKET, 1, S);
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 1), 0);
    struct call call = call_of(limiter, 1), late = call_of(limiter, 1);
    pthread_t thread;
    int64_t next_ns = FM_NEVER;
    cr_assert_eq(pthread_create(&thread, NULL, thread_call, &call), 0);
    while (next_ns == FM_NEVER) { /* until it waits */
        cr_assert_eq(fm_clock_next_ns(fm_runtime_current(), &next_ns), 0);
        fm_yield();
    }
    cr_assert_eq(next_ns, S);
    advance(S);
    pthread_join(thread, NULL);
    cr_assert_eq(call.result, 0);

    late.deadline_ns = 1; /* on the thread's own clock: long ago */
    cr_assert_eq(pthread_create(&thread, NULL, thread_call, &late), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(late.result, -ETIMEDOUT);
    fm_rate_limiter_destroy(limiter);
}

/* The real clock, from fibers and threads: never faster than allowed, and all get through. */
static void *hammer(void *arg)
{
    for (int i = 0; i < 50; i++)
        cr_assert_eq(fm_rate_limiter_acquire(arg, 1, FM_NEVER), 0);
    return NULL;
}

static struct fm_exit hammer_fiber(void *arg)
{
    hammer(arg);
    return fm_ok(NULL);
}

REAL_TIME_TEST(rate_limiter, fibers_and_threads_share_one_on_the_real_clock)
{
    struct fm_rate_limiter *limiter = make(FM_RATE_TOKEN_BUCKET, 20, 2 * MS);
    struct fm_fiber *fibers[3];
    pthread_t threads[2];
    int64_t t0 = fm_now_ns();
    for (int i = 0; i < 3; i++)
        fibers[i] = start(hammer_fiber, limiter);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, hammer, limiter), 0);
    for (int i = 0; i < 3; i++)
        finish(fibers[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert_geq(fm_now_ns() - t0, (250 - 20) * (2 * MS / 20));
    fm_rate_limiter_destroy(limiter);
}

TEST(rate_limiter, wrong_arguments_and_no_memory_are_refused)
{
    struct fm_rate_limiter_config config = FM_RATE_LIMITER_CONFIG_INIT;
    struct fm_rate_limiter *limiter = NULL;
    cr_assert_eq(fm_rate_limiter_create(NULL, &limiter), -EINVAL);
    cr_assert_eq(fm_rate_limiter_create(&config, &limiter), -EINVAL, "no limit");
    config.limit = 2;
    cr_assert_eq(fm_rate_limiter_create(&config, &limiter), -EINVAL, "no interval");
    config.interval_ns = S;
    cr_assert_eq(fm_rate_limiter_create(&config, NULL), -EINVAL);
    config.algorithm = 2;
    cr_assert_eq(fm_rate_limiter_create(&config, &limiter), -EINVAL);
    config.algorithm = FM_RATE_FIXED_WINDOW;
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_rate_limiter_create(&config, &limiter), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_null(limiter);
    cr_assert_eq(fm_rate_limiter_acquire(NULL, 1, 0), -EINVAL);
    cr_assert_eq(fm_rate_limiter_try_acquire(NULL, 1), -EINVAL);
    cr_assert_eq(fm_rate_limiter_free(NULL), -EINVAL);
    cr_assert_null(fm_rate_limiter_destroy(NULL));

    cr_assert_eq(fm_rate_limiter_create(&config, &limiter), 0);
    cr_assert_eq(fm_rate_limiter_acquire(limiter, -1, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_rate_limiter_acquire(limiter, 3, FM_NEVER), -EINVAL,
                 "it would never be there");
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 3), -EINVAL);
    cr_assert_eq(fm_rate_limiter_acquire(limiter, 0, 0), 0);
    cr_assert_eq(fm_rate_limiter_free(limiter), 2, "nothing changed");
    cr_assert_eq(fm_rate_limiter_try_acquire(limiter, 2), 0);
    cr_assert_eq(fm_rate_limiter_acquire(limiter, 0, FM_NEVER), 0, "nothing is always there");
    fm_rate_limiter_destroy(limiter);
}

/* A limiter of the real clock is no use to who lives by a virtual one, and says so. */
static struct fm_exit other_clock(void *arg)
{
    cr_assert_eq(fm_rate_limiter_acquire(arg, 1, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_rate_limiter_try_acquire(arg, 1), 0, "without a wait it is");
    return fm_ok(NULL);
}

TEST(rate_limiter, fiber_does_not_wait_for_another_clock)
{
    struct fm_rate_limiter *limiter = make(FM_RATE_TOKEN_BUCKET, 1, S);
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;
    config.worker_count = 1;
    config.clock = FM_CLOCK_VIRTUAL;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, other_clock, limiter, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_runtime_destroy(runtime);
    fm_rate_limiter_destroy(limiter);
}
