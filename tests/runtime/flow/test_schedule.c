/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_schedule.c - each schedule's delays, alone and composed, step by step
 *
 * Most tests step a run by hand, at times of their own: walk() lets each execution take no time,
 * so that the next step comes one delay after the last. Units are milliseconds where a name ends
 * in ms.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

#define MS INT64_C(1000000)
#define S (1000 * MS)
#define STOP INT64_C(-1)
#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static struct fm_schedule_run begin(struct fm_schedule *schedule)
{
    struct fm_schedule_run run;
    cr_assert_neq(schedule, NULL);
    cr_assert_eq(fm_schedule_run_init(&run, schedule), 0);
    return run;
}

/* The delay at that time, or STOP. */
static int64_t ask_at(struct fm_schedule_run *run, int64_t now)
{
    int64_t delay = -7;
    int r = fm_schedule_next_at(run, now, fm_fail(-EIO), &delay);
    if (r == FM_SCHEDULE_DONE) {
        cr_assert_eq(delay, -7, "a delay was written although it ended");
        return STOP;
    }
    cr_assert_eq(r, 0);
    cr_assert_geq(delay, 0);
    return delay;
}

/* The first delays of a schedule, which is given up. */
static void walk(struct fm_schedule *schedule, const int64_t expected[], size_t count)
{
    struct fm_schedule_run run = begin(schedule);
    int64_t now = 5 * S;
    for (size_t i = 0; i < count; i++) {
        int64_t delay = ask_at(&run, now);
        cr_assert_eq(delay, expected[i], "step %zu: %ld instead of %ld", i, (long)delay,
                     (long)expected[i]);
        now += delay < 0 ? S : delay < INT64_MAX - now ? delay : 0;
    }
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

#define WALK(schedule, ...) \
    do { \
        const int64_t expected[] = { __VA_ARGS__ }; \
        walk(schedule, expected, LENGTH(expected)); \
    } while (0)

/* How often it goes on. */
static int64_t length_of(struct fm_schedule *schedule)
{
    struct fm_schedule_run run = begin(schedule);
    int64_t n = 0, now = 0, delay;
    while ((delay = ask_at(&run, now)) != STOP) {
        now += delay;
        n++;
    }
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
    return n;
}

/* ---- simple ones ---- */

TEST(schedule, recurs_goes_on_so_many_times) /* T169 */
{
    cr_assert_eq(length_of(fm_schedule_recurs(-5)), 0);
    cr_assert_eq(length_of(fm_schedule_recurs(0)), 0);
    cr_assert_eq(length_of(fm_schedule_recurs(1)), 1);
    cr_assert_eq(length_of(fm_schedule_recurs(42)), 42);
    cr_assert_eq(length_of(fm_schedule_once()), 1);
    WALK(fm_schedule_recurs(3), 0, 0, 0, STOP, STOP);
    WALK(fm_schedule_recurs(INT64_MAX), 0, 0, 0);
}

TEST(schedule, forever_never_ends_and_never_waits)
{
    struct fm_schedule *schedule = fm_schedule_forever();
    struct fm_schedule_run run = begin(schedule);
    for (int i = 0; i < 100000; i++)
        cr_assert_eq(ask_at(&run, i), 0);
    cr_assert_eq(run.info.recurrence, 100000);
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

TEST(schedule, end_is_final)
{
    struct fm_schedule *schedule = fm_schedule_once();
    struct fm_schedule_run run = begin(schedule);
    cr_assert_eq(ask_at(&run, 0), 0);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(ask_at(&run, i * S), STOP);
    cr_assert_eq(run.info.recurrence, 1);
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

TEST(schedule, spaced_waits_as_long_after_each_end)
{
    struct fm_schedule *schedule = fm_schedule_spaced_ns(3 * S);
    struct fm_schedule_run run = begin(schedule);
    static const int64_t times[] = { 0, 100, 4000, 100000, 100000 };
    for (size_t i = 0; i < LENGTH(times); i++)
        cr_assert_eq(ask_at(&run, times[i] * MS), 3 * S);
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

/* Step a schedule, which is given up, at these times; the absolute time of what it answers. */
static void at_times(struct fm_schedule *schedule, const int64_t steps_ms[][2], size_t count)
{
    struct fm_schedule_run run = begin(schedule);
    for (size_t i = 0; i < count; i++) {
        int64_t next = steps_ms[i][0] * MS + ask_at(&run, steps_ms[i][0] * MS);
        cr_assert_eq(next, steps_ms[i][1] * MS, "at %ld: next at %ld ms instead of %ld",
                     (long)steps_ms[i][0], (long)(next / MS), (long)steps_ms[i][1]);
    }
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

TEST(schedule, fixed_stays_on_the_grid_of_the_first_end) /* T174 */
{
    static const int64_t steps[][2] = { { 0, 5000 }, { 6500, 10000 } };
    at_times(fm_schedule_fixed_ns(5 * S), steps, LENGTH(steps));
    static const int64_t later[][2] = { { 1700, 6700 }, { 6700, 11700 }, { 11701, 16700 } };
    at_times(fm_schedule_fixed_ns(5 * S), later, LENGTH(later));
}

TEST(schedule, fixed_that_is_late_comes_once_at_once)
{
    static const int64_t steps[][2] = {
        { 0, 5000 },      { 33000, 33000 }, /* five were missed: one takes their place */
        { 33100, 35000 },                   /* and the grid goes on */
        { 40000, 40000 },                   /* it took a whole interval: due right now */
        { 40000, 45000 }, { 50300, 50300 }, { 55400, 55400 }, /* late again */
        { 56000, 60000 },
    };
    at_times(fm_schedule_fixed_ns(5 * S), steps, LENGTH(steps));
}

TEST(schedule, fixed_asked_too_early_answers_the_same_time)
{
    static const int64_t steps[][2] = {
        { 0, 5000 }, { 1000, 5000 }, { 4999, 5000 }, { 5000, 10000 }, { 9000, 10000 }
    };
    at_times(fm_schedule_fixed_ns(5 * S), steps, LENGTH(steps));
    WALK(fm_schedule_fixed_ns(0), 0, 0, 0);
}

TEST(schedule, windowed_waits_for_the_next_boundary_always)
{
    static const int64_t steps[][2] = {
        { 100, 5100 }, { 5100, 10100 }, { 33000, 35100 }, { 35099, 35100 }, { 35100, 40100 }
    };
    at_times(fm_schedule_windowed_ns(5 * S), steps, LENGTH(steps));
    WALK(fm_schedule_windowed_ns(0), 0, 0, 0);
}

TEST(schedule, exponential_multiplies) /* T172 */
{
    const int64_t minute = 60 * S;
    WALK(fm_schedule_exponential(minute, 2), minute, 2 * minute, 4 * minute, 8 * minute,
         16 * minute);
    WALK(fm_schedule_exponential(100 * MS, 3), 100 * MS, 300 * MS, 900 * MS, 2700 * MS);
    WALK(fm_schedule_exponential(100 * MS, 1.5), 100 * MS, 150 * MS, 225 * MS, 337500000);
    WALK(fm_schedule_exponential(1000, 0.5), 1000, 500, 250, 125, 63, 31, 16);
    WALK(fm_schedule_exponential(7, 1), 7, 7, 7);
    WALK(fm_schedule_exponential(0, 2), 0, 0, 0);
}

static void elapsed_are(struct fm_schedule *schedule, const int64_t elapsed_ms[], size_t count)
{
    struct fm_schedule_run run = begin(schedule);
    int64_t now = 3 * S;
    for (size_t i = 0; i < count; i++) {
        now += ask_at(&run, now);
        cr_assert_eq(run.info.elapsed_ns, elapsed_ms[i] * MS);
    }
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

TEST(schedule, elapsed_counts_from_the_first_step) /* T172 */
{
    elapsed_are(fm_schedule_exponential(100 * MS, 2),
                (const int64_t[]) { 0, 100, 300, 700, 1500 }, 5);
    elapsed_are(fm_schedule_exponential(100 * MS, 3),
                (const int64_t[]) { 0, 100, 400, 1300, 4000 }, 5);
    elapsed_are(fm_schedule_linear(100 * MS), (const int64_t[]) { 0, 100, 300, 600, 1000 }, 5);
    elapsed_are(fm_schedule_fibonacci(100 * MS), (const int64_t[]) { 0, 100, 200, 400, 700 },
                5);
}

TEST(schedule, linear_adds_and_fibonacci_adds_the_last_two)
{
    WALK(fm_schedule_linear(10), 10, 20, 30, 40);
    WALK(fm_schedule_linear(0), 0, 0, 0);
    WALK(fm_schedule_fibonacci(10), 10, 10, 20, 30, 50, 80, 130);
    WALK(fm_schedule_fibonacci(0), 0, 0, 0);
}

TEST(schedule, delays_come_in_their_order_then_it_ends)
{
    int64_t delays[] = { 5, 0, 7 };
    struct fm_schedule *schedule = fm_schedule_delays(delays, 3);
    memset(delays, 0, sizeof delays); /* it was copied */
    WALK(schedule, 5, 0, 7, STOP, STOP);
    WALK(fm_schedule_delays(NULL, 0), STOP);
}

TEST(schedule, delays_that_overflow_stay_at_the_largest)
{
    struct fm_schedule *schedules[] = { fm_schedule_exponential(S, 10), fm_schedule_linear(S),
                                        fm_schedule_fibonacci(S),
                                        fm_schedule_exponential(INT64_MAX / 2, 1e300) };
    for (size_t i = 0; i < LENGTH(schedules); i++) {
        struct fm_schedule_run run = begin(schedules[i]);
        int64_t last = 0, delay = 0;
        /* linear gets there after 2^33 steps: from close by */
        if (i == 1)
            run.few_[0].ns = INT64_MAX - 5 * S / 2;
        for (int step = 0; step < 2000; step++, last = delay) {
            delay = ask_at(&run, 0);
            cr_assert_geq(delay, last, "schedule %zu, step %d", i, step);
        }
        cr_assert_eq(last, INT64_MAX, "schedule %zu", i);
        fm_schedule_run_fini(&run);
        fm_schedule_unref(schedules[i]);
    }
    WALK(fm_schedule_jittered(fm_schedule_spaced_ns(INT64_MAX)), INT64_MAX);
}

/* ---- of two ---- */

TEST(schedule, intersect_goes_on_while_both_do_after_the_longer_delay)
{
    WALK(fm_schedule_intersect(fm_schedule_linear(10), fm_schedule_spaced_ns(25)), 25, 25, 30,
         40);
    WALK(fm_schedule_intersect(fm_schedule_recurs(2), fm_schedule_exponential(1, 2)), 1, 2,
         STOP); /* T175: three answers */
    WALK(fm_schedule_intersect(fm_schedule_exponential(1, 2), fm_schedule_recurs(2)), 1, 2,
         STOP);
}

TEST(schedule, union_goes_on_while_either_does_after_the_shorter_delay)
{
    WALK(fm_schedule_union(fm_schedule_linear(10), fm_schedule_spaced_ns(25)), 10, 20, 25, 25);
    WALK(fm_schedule_union(fm_schedule_recurs(2),
                           fm_schedule_delays((int64_t[]) { 9, 9, 9 }, 3)),
         0, 0, 9, STOP);
    static const int64_t steps[][2] = { { 0, 1000 },    { 1000, 2000 }, { 2000, 3000 },
                                        { 3000, 4000 }, { 4000, 4500 }, { 4500, 5500 } };
    at_times(fm_schedule_union(fm_schedule_fixed_ns(4500 * MS), fm_schedule_spaced_ns(S)),
             steps, LENGTH(steps));
}

struct calls {
    _Atomic int count;
    int stop_at;
    struct fm_exit last;
};

static bool before_stop(void *ctx, struct fm_exit exit)
{
    struct calls *calls = ctx;
    calls->last = exit;
    return atomic_fetch_add(&calls->count, 1) + 1 < calls->stop_at;
}

TEST(schedule, compose_asks_the_second_only_where_the_first_goes_on)
{
    struct calls composed = { .stop_at = 100 }, both = { .stop_at = 100 };
    WALK(fm_schedule_compose(fm_schedule_recurs(2), fm_schedule_while(fm_schedule_spaced_ns(4),
                                                                      before_stop, &composed)),
         4, 4, STOP);
    cr_assert_eq(composed.count, 2);
    WALK(fm_schedule_intersect(fm_schedule_recurs(2),
                               fm_schedule_while(fm_schedule_spaced_ns(4), before_stop, &both)),
         4, 4, STOP);
    cr_assert_eq(both.count, 3);
    WALK(fm_schedule_compose(fm_schedule_spaced_ns(9), fm_schedule_linear(4)), 9, 9, 12);
    WALK(fm_schedule_compose(fm_schedule_spaced_ns(9), fm_schedule_recurs(1)), 9, STOP);
}

TEST(schedule, and_then_begins_the_second_where_the_first_ends)
{
    WALK(fm_schedule_and_then(fm_schedule_recurs(2), fm_schedule_linear(10)), 0, 0, 10, 20, 30);
    WALK(fm_schedule_and_then(fm_schedule_recurs(0), fm_schedule_delays((int64_t[]) { 6 }, 1)),
         6, STOP, STOP);
    WALK(fm_schedule_and_then(fm_schedule_and_then(fm_schedule_recurs(1),
                                                   fm_schedule_recurs(1)),
                              fm_schedule_and_then(fm_schedule_fibonacci(7),
                                                   fm_schedule_once())),
         0, 0, 7, 7, 14, 21);
    /* the second's own time begins with its first step */
    static const int64_t steps[][2] = { { 1000, 1000 }, { 3200, 4200 }, { 4300, 5200 } };
    at_times(fm_schedule_and_then(fm_schedule_once(), fm_schedule_fixed_ns(S)), steps,
             LENGTH(steps));
}

TEST(schedule, one_in_two_places_counts_in_each_by_itself)
{
    struct fm_schedule *twice = fm_schedule_recurs(2);
    WALK(fm_schedule_and_then(twice, fm_schedule_ref(twice)), 0, 0, 0, 0, STOP);
    twice = fm_schedule_linear(3);
    WALK(fm_schedule_union(twice, fm_schedule_ref(twice)), 3, 6, 9);
}

/* ---- of one ---- */

TEST(schedule, up_to_goes_on_while_less_time_has_passed) /* T175 */
{
    struct fm_schedule *schedule = fm_schedule_up_to_ns(fm_schedule_spaced_ns(S), 5 * S);
    struct fm_schedule_run run = begin(schedule);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(run.info.recurrence, i);
        cr_assert_eq(ask_at(&run, (10 + i) * S), S);
    }
    for (int i = 5; i < 8; i++) {
        cr_assert_eq(ask_at(&run, (10 + i) * S), STOP);
        cr_assert_eq(run.info.recurrence, 5);
        cr_assert_eq(run.info.elapsed_ns, 5 * S, "what comes after the end is no step");
    }
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
    WALK(fm_schedule_up_to_ns(fm_schedule_forever(), 0), STOP);
    /* its own first step: after three others */
    WALK(fm_schedule_and_then(fm_schedule_delays((int64_t[]) { S, S, S }, 3),
                              fm_schedule_up_to_ns(fm_schedule_spaced_ns(S), 2 * S)),
         S, S, S, S, S, STOP);
}

TEST(schedule, cap_shortens_what_is_longer)
{
    WALK(fm_schedule_cap_ns(fm_schedule_exponential(1, 2), 10), 1, 2, 4, 8, 10, 10);
    WALK(fm_schedule_cap_ns(fm_schedule_recurs(1), 10), 0, STOP);
    WALK(fm_schedule_cap_ns(fm_schedule_spaced_ns(5), 0), 0, 0);
}

TEST(schedule, reset_after_begins_anew_after_a_healthy_execution) /* T177 */
{
    struct fm_schedule *schedule =
        fm_schedule_reset_after_ns(fm_schedule_delays((int64_t[]) { S, 20 * S, 3 * S }, 3),
                                   5 * S);
    struct fm_schedule_run run = begin(schedule);
    cr_assert_eq(ask_at(&run, 0), S);
    cr_assert_eq(ask_at(&run, 1 * S), 20 * S);
    cr_assert_eq(ask_at(&run, 21 * S), 3 * S, "a long delay is no healthy execution");
    cr_assert_eq(ask_at(&run, 24 * S + 5 * S), S, "five seconds of one are");
    cr_assert_eq(ask_at(&run, 30 * S + 5 * S - 1), 20 * S, "a moment less is not");
    cr_assert_eq(ask_at(&run, 60 * S), S);
    cr_assert_eq(ask_at(&run, 61 * S), 20 * S);
    cr_assert_eq(ask_at(&run, 81 * S), 3 * S);
    cr_assert_eq(ask_at(&run, 84 * S), STOP);
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

TEST(schedule, reset_after_forgets_all_that_is_under_it_and_nothing_else)
{
    struct fm_schedule *inner =
        fm_schedule_and_then(fm_schedule_recurs(1),
                             fm_schedule_intersect(fm_schedule_linear(10),
                                                   fm_schedule_up_to_ns(fm_schedule_forever(),
                                                                        S)));
    struct fm_schedule *schedule = fm_schedule_intersect(fm_schedule_recurs(7),
                                                         fm_schedule_reset_after_ns(inner,
                                                                                    5 * S));
    struct fm_schedule_run run = begin(schedule);
    int64_t now = 0;
    for (int round = 0; round < 2; round++) {
        static const int64_t expected[] = { 0, 10, 20 };
        for (size_t i = 0; i < LENGTH(expected); i++) {
            cr_assert_eq(ask_at(&run, now), expected[i], "round %d, step %zu", round, i);
            now += expected[i];
        }
        now += 5 * S;
    }
    cr_assert_eq(ask_at(&run, now), 0, "the seventh");
    cr_assert_eq(ask_at(&run, now + 10 * S), STOP, "what stands outside went on counting");
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

TEST(schedule, while_and_until_look_at_the_exit_where_it_goes_on)
{
    struct calls calls = { .stop_at = 3 };
    WALK(fm_schedule_while(fm_schedule_spaced_ns(6), before_stop, &calls), 6, 6, STOP);
    cr_assert_eq(calls.count, 3);
    cr_assert_eq(calls.last.kind, FM_FAILURE);
    cr_assert_eq(calls.last.code, -EIO);
    calls = (struct calls) { .stop_at = 3 };
    WALK(fm_schedule_until(fm_schedule_spaced_ns(6), before_stop, &calls), STOP);
    calls = (struct calls) { .stop_at = -1 };
    WALK(fm_schedule_until(fm_schedule_recurs(2), before_stop, &calls), 0, 0, STOP);
    cr_assert_eq(calls.count, 2, "not asked where the schedule has ended");
}

struct decisions {
    int64_t seen[8];
    int count;
};

static void decided(void *ctx, struct fm_exit exit, int64_t delay_ns)
{
    struct decisions *decisions = ctx;
    cr_assert_eq(exit.code, -EIO);
    decisions->seen[decisions->count++] = delay_ns;
}

TEST(schedule, on_decision_tells_of_each_including_the_last) /* T178 */
{
    struct decisions decisions = { .count = 0 };
    WALK(fm_schedule_on_decision(fm_schedule_delays((int64_t[]) { 3, 4 }, 2), decided,
                                 &decisions),
         3, 4, STOP, STOP);
    cr_assert_eq(decisions.count, 3);
    cr_assert_eq(decisions.seen[0], 3);
    cr_assert_eq(decisions.seen[1], 4);
    cr_assert_eq(decisions.seen[2], FM_SCHEDULE_STOPS);
}

/* ---- jitter ---- */

TEST(schedule, jittered_stays_within_its_bounds_and_fills_them)
{
    static const int64_t delays[] = {
        0, 1, 2, 5, 10, 1000, 1000003, S, 3600 * S, INT64_MAX / 2
    };
    for (size_t i = 0; i < LENGTH(delays); i++) {
        struct fm_schedule *schedule = fm_schedule_jittered(fm_schedule_spaced_ns(delays[i]));
        struct fm_schedule_run run = begin(schedule);
        double low = 2, high = 0;
        cr_assert_eq(fm_schedule_run_seed(&run, 42), 0);
        for (int step = 0; step < 2000; step++) {
            int64_t delay = ask_at(&run, 0);
            long double ratio = delays[i] ? (long double)delay / delays[i] : 1;
            cr_assert(ratio >= 0.8L && ratio < 1.2L, "%ld of %ld", (long)delay,
                      (long)delays[i]);
            low = ratio < low ? (double)ratio : low;
            high = ratio > high ? (double)ratio : high;
        }
        if (delays[i] >= 1000)
            cr_assert(low < 0.805 && high > 1.195, "%f to %f of %ld", low, high,
                      (long)delays[i]);
        fm_schedule_run_fini(&run);
        fm_schedule_unref(schedule);
    }
    WALK(fm_schedule_jittered(fm_schedule_recurs(1)), 0, STOP);
}

/* Eight delays of each of two runs, one after the other. */
static struct fm_exit jitter_twice(void *arg)
{
    int64_t *delays = arg;
    struct fm_schedule *schedule = fm_schedule_jittered(fm_schedule_spaced_ns(S));
    for (int i = 0; i < 2; i++) {
        struct fm_schedule_run run = begin(schedule);
        for (int step = 0; step < 8; step++)
            delays[8 * i + step] = ask_at(&run, 0);
        fm_schedule_run_fini(&run);
    }
    fm_schedule_unref(schedule);
    return fm_ok(NULL);
}

static void jitter_with_seed(uint64_t seed, int64_t delays[16])
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    config.worker_count = 1;
    config.seed = seed;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, jitter_twice, delays, NULL), 0);
    fm_runtime_destroy(runtime);
}

TEST(schedule, jitter_follows_from_the_seed_of_the_runtime)
{
    int64_t first[16], again[16], other[16];
    jitter_with_seed(7, first);
    jitter_with_seed(7, again);
    jitter_with_seed(8, other);
    cr_assert_eq(memcmp(first, again, sizeof first), 0);
    cr_assert_neq(memcmp(first, other, sizeof first), 0);
    cr_assert_neq(memcmp(first, first + 8, sizeof first / 2), 0, "each run has its own");
}

TEST(schedule, jitter_in_a_thread_differs_and_can_be_seeded)
{
    int64_t first[16], again[16];
    jitter_twice(first);
    jitter_twice(again);
    cr_assert_neq(memcmp(first, again, sizeof first), 0);
    struct fm_schedule *schedule = fm_schedule_jittered(fm_schedule_spaced_ns(S));
    struct fm_schedule_run a = begin(schedule), b = begin(schedule);
    cr_assert_eq(fm_schedule_run_seed(&a, 5), 0);
    cr_assert_eq(fm_schedule_run_seed(&b, 5), 0);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(ask_at(&a, 0), ask_at(&b, 0));
    fm_schedule_run_fini(&a);
    fm_schedule_run_fini(&b);
    fm_schedule_unref(schedule);
}

/* ---- runs ---- */

TEST(schedule, info_tells_what_the_last_step_saw)
{
    struct fm_schedule *schedule = fm_schedule_delays((int64_t[]) { 5, 6 }, 2);
    struct fm_schedule_run run = begin(schedule);
    cr_assert_eq(run.info.recurrence, 0);
    cr_assert_eq(run.info.input.kind, FM_SUCCESS);
    cr_assert_eq(fm_schedule_next_at(&run, 100, fm_fail(-EIO), NULL), 0);
    cr_assert_eq(fm_schedule_next_at(&run, 107, fm_fail(-EPIPE), NULL), 0);
    cr_assert_eq(run.info.recurrence, 2);
    cr_assert_eq(run.info.start_ns, 100);
    cr_assert_eq(run.info.step_ns, 107);
    cr_assert_eq(run.info.elapsed_ns, 7);
    cr_assert_eq(run.info.since_previous_ns, 7);
    cr_assert_eq(run.info.delay_ns, 6);
    cr_assert_eq(run.info.input.code, -EPIPE);
    cr_assert_eq(fm_schedule_next_at(&run, 120, fm_defect(3), NULL), FM_SCHEDULE_DONE);
    cr_assert_eq(run.info.recurrence, 2, "none follows");
    cr_assert_eq(run.info.since_previous_ns, 13);
    cr_assert_eq(run.info.elapsed_ns, 20);
    cr_assert_eq(run.info.delay_ns, 0);
    cr_assert_eq(run.info.input.kind, FM_DEFECT);
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

TEST(schedule, clock_that_steps_back_counts_as_standing_still) /* F74 */
{
    struct fm_schedule *schedule =
        fm_schedule_union(fm_schedule_fixed_ns(S),
                          fm_schedule_up_to_ns(fm_schedule_windowed_ns(S), 9 * S));
    struct fm_schedule_run run = begin(schedule);
    cr_assert_eq(ask_at(&run, 10 * S), S);
    cr_assert_eq(ask_at(&run, 10 * S + 300 * MS), 700 * MS);
    cr_assert_eq(ask_at(&run, 1 * S), 700 * MS);
    cr_assert_eq(run.info.elapsed_ns, 300 * MS);
    cr_assert_eq(ask_at(&run, 0), 700 * MS);
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

/* A part that remembers, and counts up to n. */
static struct fm_schedule *large(unsigned parts, int64_t n)
{
    struct fm_schedule *schedule = fm_schedule_recurs(n);
    for (unsigned i = 1; i < parts; i++)
        schedule = fm_schedule_intersect(fm_schedule_delays((int64_t[]) { 1, 2, 3, 4 }, 4),
                                         schedule);
    return schedule;
}

TEST(schedule, large_one_runs_like_a_small_one)
{
    for (unsigned parts = 2; parts < 40; parts++)
        WALK(large(parts, 3), 1, 2, 3, STOP);
}

TEST(schedule, several_runs_of_one_do_not_see_each_other)
{
    struct fm_schedule *schedule =
        fm_schedule_and_then(fm_schedule_delays((int64_t[]) { 5, 6 }, 2),
                             fm_schedule_intersect(fm_schedule_exponential(10, 2),
                                                   fm_schedule_recurs(3)));
    struct fm_schedule_run a = begin(schedule), b = begin(schedule);
    fm_schedule_unref(schedule); /* each run holds its own reference */
    static const int64_t expected[] = { 5, 6, 10, 20, 40, STOP };
    cr_assert_eq(ask_at(&a, 0), expected[0]);
    cr_assert_eq(ask_at(&a, 0), expected[1]);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(ask_at(&b, 9), expected[i]);
        cr_assert_eq(ask_at(&a, 9), expected[i + 2]);
    }
    fm_schedule_run_fini(&a);
    fm_schedule_run_fini(&b);
}

static void *walk_many_times(void *arg)
{
    struct fm_schedule *schedule = arg;
    for (int i = 0; i < 2000; i++) {
        struct fm_schedule_run run = begin(fm_schedule_ref(schedule));
        cr_assert_eq(ask_at(&run, 0), 3);
        cr_assert_eq(ask_at(&run, 3), 3);
        cr_assert_eq(ask_at(&run, 6), 6);
        cr_assert_eq(ask_at(&run, 12), STOP);
        fm_schedule_run_fini(&run);
        fm_schedule_unref(schedule);
    }
    return NULL;
}

TEST(schedule, threads_drive_one_at_once)
{
    struct fm_schedule *schedule = fm_schedule_up_to_ns(
        fm_schedule_intersect(fm_schedule_fibonacci(3), fm_schedule_recurs(5)), 12);
    pthread_t threads[3];
    for (size_t i = 0; i < LENGTH(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, walk_many_times, schedule), 0);
    for (size_t i = 0; i < LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
    fm_schedule_unref(schedule);
}

VIRTUAL_TEST(schedule, next_reads_the_clock_of_the_callers_runtime)
{
    struct fm_schedule *schedule = fm_schedule_windowed_ns(10 * S);
    struct fm_schedule_run run = begin(schedule);
    int64_t delay;
    cr_assert_eq(fm_schedule_next(&run, fm_ok(NULL), &delay), 0);
    cr_assert_eq(delay, 10 * S);
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), 3 * S), 0);
    cr_assert_eq(fm_schedule_next(&run, fm_ok(NULL), &delay), 0);
    cr_assert_eq(delay, 7 * S);
    cr_assert_eq(run.info.since_previous_ns, 3 * S);
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}

/* ---- arguments, ownership, limits, memory ---- */

TEST(schedule, argument_out_of_range_makes_none)
{
    cr_assert_eq(fm_schedule_fixed_ns(-1), NULL);
    cr_assert_eq(fm_schedule_spaced_ns(-1), NULL);
    cr_assert_eq(fm_schedule_windowed_ns(INT64_MIN), NULL);
    cr_assert_eq(fm_schedule_linear(-1), NULL);
    cr_assert_eq(fm_schedule_fibonacci(-1), NULL);
    cr_assert_eq(fm_schedule_exponential(-1, 2), NULL);
    cr_assert_eq(fm_schedule_exponential(1, 0), NULL);
    cr_assert_eq(fm_schedule_exponential(1, -2), NULL);
    cr_assert_eq(fm_schedule_exponential(1, (double)NAN), NULL);
    cr_assert_eq(fm_schedule_exponential(1, (double)INFINITY), NULL);
    cr_assert_eq(fm_schedule_delays(NULL, 1), NULL);
    cr_assert_eq(fm_schedule_delays((int64_t[]) { 1, -1 }, 2), NULL);
}

/* Each of these gives up what it was handed: the leak checker sees to it. */
TEST(schedule, combinator_that_fails_releases_what_it_was_given)
{
    cr_assert_eq(fm_schedule_intersect(NULL, fm_schedule_once()), NULL);
    cr_assert_eq(fm_schedule_intersect(fm_schedule_once(), NULL), NULL);
    cr_assert_eq(fm_schedule_union(NULL, fm_schedule_once()), NULL);
    cr_assert_eq(fm_schedule_compose(fm_schedule_once(), NULL), NULL);
    cr_assert_eq(fm_schedule_and_then(fm_schedule_once(), NULL), NULL);
    cr_assert_eq(fm_schedule_and_then(NULL, NULL), NULL);
    cr_assert_eq(fm_schedule_up_to_ns(fm_schedule_once(), -1), NULL);
    cr_assert_eq(fm_schedule_cap_ns(fm_schedule_once(), -1), NULL);
    cr_assert_eq(fm_schedule_reset_after_ns(fm_schedule_once(), -1), NULL);
    cr_assert_eq(fm_schedule_while(fm_schedule_once(), NULL, NULL), NULL);
    cr_assert_eq(fm_schedule_until(fm_schedule_once(), NULL, NULL), NULL);
    cr_assert_eq(fm_schedule_on_decision(fm_schedule_once(), NULL, NULL), NULL);
    cr_assert_eq(fm_schedule_jittered(NULL), NULL);
    cr_assert_eq(fm_schedule_ref(NULL), NULL);
    cr_assert_eq(fm_schedule_unref(NULL), NULL);
    struct fm_schedule *kept = fm_schedule_once();
    cr_assert_eq(fm_schedule_union(fm_schedule_ref(kept), NULL), NULL);
    WALK(kept, 0, STOP);
}

TEST(schedule, run_refuses_what_it_cannot_use)
{
    struct fm_schedule_run run = { .schedule_ = NULL };
    struct fm_schedule *schedule = fm_schedule_once();
    cr_assert_eq(fm_schedule_run_init(NULL, schedule), -EINVAL);
    cr_assert_eq(fm_schedule_run_init(&run, NULL), -EINVAL);
    cr_assert_eq(fm_schedule_next(NULL, fm_ok(NULL), NULL), -EINVAL);
    cr_assert_eq(fm_schedule_next(&run, fm_ok(NULL), NULL), -EINVAL);
    cr_assert_eq(fm_schedule_run_seed(&run, 1), -EINVAL);
    cr_assert_eq(fm_schedule_run_seed(NULL, 1), -EINVAL);
    fm_schedule_run_fini(NULL);
    cr_assert_eq(fm_schedule_run_init(&run, schedule), 0);
    cr_assert_eq(fm_schedule_next_at(&run, -1, fm_ok(NULL), NULL), -EINVAL);
    cr_assert_eq(fm_schedule_next_at(&run, 0, fm_ok(NULL), NULL), 0, "nothing had changed");
    fm_schedule_run_fini(&run);
    fm_schedule_run_fini(&run);
    cr_assert_eq(fm_schedule_next(&run, fm_ok(NULL), NULL), -EINVAL);
    fm_schedule_unref(schedule);
}

static struct fm_exit walk_two(void *arg)
{
    WALK(arg, 0, 0, STOP);
    return fm_ok(NULL);
}

FIBER_TEST(schedule, deepest_one_runs_on_the_smallest_stack_and_a_deeper_one_is_none)
{
    struct fm_spawn_options small = { .size = sizeof small, .stack_bytes = 16 * 1024 };
    struct fm_schedule *schedule = fm_schedule_recurs(2);
    struct fm_fiber *fiber;
    for (int depth = 1; depth < 64; depth++)
        schedule = fm_schedule_cap_ns(schedule, 5);
    cr_assert_neq(schedule, NULL);
    fm_schedule_ref(schedule);
    cr_assert_eq(fm_schedule_cap_ns(schedule, 5), NULL);
    cr_assert_eq(fm_fiber_spawn(walk_two, schedule, &small, &fiber), 0);
    finish(fiber);
}

TEST(schedule, one_with_too_many_parts_is_none)
{
    struct fm_schedule *schedule = fm_schedule_once();
    for (int doublings = 1; doublings < 12; doublings++) { /* 3, 7, 15 ... 4095 parts */
        fm_schedule_ref(schedule);
        schedule = fm_schedule_union(schedule, schedule);
        cr_assert_neq(schedule, NULL);
    }
    fm_schedule_ref(schedule);
    cr_assert_eq(fm_schedule_union(schedule, schedule), NULL);
}

static struct fm_schedule *expression(void)
{
    return fm_schedule_up_to_ns(
        fm_schedule_jittered(fm_schedule_intersect(
            fm_schedule_cap_ns(fm_schedule_exponential(S, 2), 30 * S),
            fm_schedule_and_then(fm_schedule_delays((int64_t[]) { 1, 2 }, 2), large(9, 3)))),
        60 * S);
}

/* F50 */
TEST(schedule, expression_without_memory_is_none_and_leaves_nothing)
{
    unsigned failures = 0;
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        for (uint64_t n = 1;; n++) {
            fm__fault_set(FAULT_MALLOC, n, for_ever);
            struct fm_schedule *schedule = expression();
            bool hit = fm__fault_hits(FAULT_MALLOC) != 0;
            fm__fault_set(FAULT_MALLOC, 0, false);
            cr_assert_eq(schedule == NULL, hit);
            fm_schedule_unref(schedule);
            if (!hit)
                break;
            failures++;
        }
    }
    cr_assert_gt(failures, 20);
}

TEST(schedule, run_of_a_large_one_needs_memory_once)
{
    struct fm_schedule *schedule = expression();
    struct fm_schedule_run run;
    fm__fault_set(FAULT_MALLOC, 1, true);
    int r = fm_schedule_run_init(&run, schedule);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(r, -ENOMEM);
    cr_assert_eq(fm_schedule_run_init(&run, schedule), 0);
    fm__fault_set(FAULT_MALLOC, 1, true);
    for (int i = 0; i < 5; i++)
        fm_schedule_next_at(&run, i, fm_ok(NULL), NULL);
    cr_assert_eq(fm__fault_hits(FAULT_MALLOC), 0, "a step allocates nothing");
    fm__fault_set(FAULT_MALLOC, 0, false);
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
}
