/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timing wheel against the plainest of references: an array of armed deadlines.
 */
#include "runtime/time/wheel.h"

#include <inttypes.h>
#include <stdlib.h>

#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"
#include "tests/support/stress.h"
#include "tests/support/test.h"

#define TICK WHEEL_TICK_NS

static int64_t tick_up(int64_t deadline_ns)
{
    return deadline_ns <= 0 ? 0 : (deadline_ns - 1) / TICK + 1;
}

static struct wheel *make(int64_t now_ns)
{
    struct wheel *wheel = fm__zalloc_aligned(_Alignof(struct wheel), sizeof *wheel);
    cr_assert_not_null(wheel);
    fm__wheel_init(wheel, 3, now_ns);
    return wheel;
}

/* What fire gave, in order. */
struct seen {
    struct wheel_due *due;
    size_t count, room;
};

static void see(void *context, const struct wheel_due *due, unsigned count)
{
    struct seen *seen = context;
    cr_assert(count > 0 && count <= WHEEL_BATCH);
    for (unsigned i = 0; i < count; i++) {
        cr_assert_lt(seen->count, seen->room);
        cr_assert_eq(atomic_load(&due[i].timer->wheel), TIMER_NOT_ARMED);
        seen->due[seen->count++] = due[i];
    }
}

/* Fire until nothing more is due; how many fired. */
static size_t fire_all(struct wheel *wheel, int64_t now_ns, struct seen *seen)
{
    size_t before = seen->count;
    while (fm__wheel_next(wheel) <= now_ns)
        fm__wheel_fire(wheel, now_ns, UINT32_MAX, see, seen);
    return seen->count - before;
}

/* F69 */
TEST(wheel, is_never_early_and_late_by_less_than_a_tick)
{
    static const int64_t starts[] = {0, 1, TICK, 1024 * TICK - 1, 65535 * TICK, 123456789012345};
    struct timer timer = {0};
    struct wheel_due room[1];

    for (size_t s = 0; s < sizeof starts / sizeof *starts; s++) {
        for (unsigned k = 0; k <= 42; k++) {
            for (int64_t around = -2; around <= 2; around++) {
                for (int64_t off = -1; off <= 1; off++) {
                    struct wheel *wheel = make(starts[s]);
                    struct seen seen = {room, 0, 1};
                    int64_t ticks = (INT64_C(1) << k) + around;
                    int64_t deadline_ns = fm__time_add(starts[s], ticks * TICK + off);
                    if (deadline_ns < starts[s])
                        deadline_ns = starts[s];
                    int64_t due_ns = tick_up(deadline_ns) * TICK;

                    cr_assert(fm__wheel_arm(wheel, &timer, deadline_ns, 7));
                    cr_assert_eq(fm__wheel_next(wheel), due_ns);
                    fm__wheel_check(wheel);
                    /* stops at every power of two on the way, so that all levels cascade */
                    for (unsigned step = 0; step <= 42; step++) {
                        int64_t now_ns = fm__time_add(starts[s], (INT64_C(1) << step) * TICK);
                        if (now_ns >= deadline_ns)
                            break;
                        cr_assert_eq(fire_all(wheel, now_ns, &seen), 0);
                        cr_assert_eq(fm__wheel_next(wheel), due_ns);
                        fm__wheel_check(wheel);
                    }
                    cr_assert_eq(fire_all(wheel, due_ns - 1, &seen), 0);
                    cr_assert_eq(fire_all(wheel, due_ns, &seen), 1);
                    cr_assert_eq(seen.due[0].timer, &timer);
                    cr_assert_eq(seen.due[0].epoch, 7);
                    cr_assert_eq(fm__wheel_next(wheel), INT64_MAX);
                    fm__wheel_check(wheel);
                    free(wheel);
                }
            }
        }
    }
}

/* F71 */
TEST(wheel, takes_deadlines_from_the_past_to_never)
{
    int64_t now_ns = 1000 * TICK;
    struct wheel *wheel = make(now_ns);
    struct wheel_due room[8];
    struct seen seen = {room, 0, 8};
    struct timer timers[7] = {0};
    static const int64_t past[] = {0, -1, INT64_MIN, 1, 999 * TICK, 1000 * TICK};

    for (int i = 0; i < 6; i++)
        fm__wheel_arm(wheel, &timers[i], past[i], (uint64_t)i);
    cr_assert_leq(fm__wheel_next(wheel), now_ns);
    cr_assert_eq(fire_all(wheel, now_ns, &seen), 6);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(seen.due[i].epoch, (uint64_t)i);

    cr_assert_not(fm__wheel_arm(wheel, &timers[6], INT64_MAX, 1));
    cr_assert_not(fm__wheel_disarm(wheel, &timers[6]));
    fm__wheel_arm(wheel, &timers[6], INT64_MAX - 1, 1);
    fm__wheel_check(wheel);
    cr_assert_eq(fire_all(wheel, INT64_MAX - TICK, &seen), 0);
    cr_assert(fm__wheel_disarm(wheel, &timers[6]));
    fm__wheel_check(wheel);
    free(wheel);
}

/* F74 */
TEST(wheel, stands_a_clock_that_repeats_or_steps_back)
{
    struct wheel *wheel = make(5 * TICK);
    struct wheel_due room[4];
    struct seen seen = {room, 0, 4};
    struct timer timers[3] = {0};

    fm__wheel_arm(wheel, &timers[0], 10 * TICK, 0);
    cr_assert_eq(fire_all(wheel, 10 * TICK, &seen), 1);
    /* to another core it is still 10 ms less a microsecond */
    fm__wheel_arm(wheel, &timers[1], 10 * TICK, 1);
    cr_assert_eq(fire_all(wheel, 10 * TICK - 1000, &seen), 0);
    cr_assert_eq(fire_all(wheel, -1, &seen), 0);
    fm__wheel_arm(wheel, &timers[2], 10 * TICK - 1000, 2);
    cr_assert_eq(fire_all(wheel, 10 * TICK, &seen), 2);
    cr_assert_eq(fire_all(wheel, 10 * TICK, &seen), 0);
    fm__wheel_check(wheel);
    free(wheel);
}

TEST(wheel, keeps_the_order_of_arming_within_a_tick)
{
    enum { N = 500 };
    static const int64_t far[] = {3, 1024, 5000, 300000, INT64_C(1) << 40};
    static struct timer timers[N];
    static struct wheel_due room[N];

    for (size_t f = 0; f < sizeof far / sizeof *far; f++) {
        struct wheel *wheel = make(0);
        struct seen seen = {room, 0, N};
        for (uint64_t i = 0; i < N; i++)
            fm__wheel_arm(wheel, &timers[i], far[f] * TICK, i);
        cr_assert_eq(fire_all(wheel, far[f] * TICK, &seen), N);
        for (uint64_t i = 0; i < N; i++)
            cr_assert_eq(seen.due[i].epoch, i);
        free(wheel);
    }
}

TEST(wheel, stops_after_max_and_says_that_more_are_due)
{
    enum { N = 100000 };
    struct wheel *wheel = make(0);
    struct timer *timers = calloc(N, sizeof *timers);
    struct seen seen = {calloc(N, sizeof *seen.due), 0, N};
    int64_t now_ns = 500 * TICK;
    int calls = 0;

    for (int i = 0; i < N; i++)
        fm__wheel_arm(wheel, &timers[i], now_ns, 0);
    while (seen.count < N) {
        size_t before = seen.count;
        cr_assert_leq(fm__wheel_next(wheel), now_ns);
        fm__wheel_fire(wheel, now_ns, 100, see, &seen);
        cr_assert_leq(seen.count - before, 100);
        cr_assert_lt(++calls, 2 * N / 100);
    }
    cr_assert_eq(fm__wheel_next(wheel), INT64_MAX);
    cr_assert_eq(fm__wheel_count(wheel), 0);
    fm__wheel_check(wheel);
    free(seen.due);
    free(timers);
    free(wheel);
}

TEST(wheel, steady_stream_is_prepared_in_good_time)
{
    enum { PER_TICK = 100, TICKS = 5000, N = PER_TICK * TICKS };
    struct wheel *wheel = make(0);
    struct timer *timers = calloc(N, sizeof *timers);
    struct seen seen = {calloc(N, sizeof *seen.due), 0, N};

    for (int i = 0; i < N; i++)
        fm__wheel_arm(wheel, &timers[i], (i / PER_TICK + 1) * TICK, 0);
    for (int64_t tick = 1; tick <= TICKS; tick++) {
        size_t before = seen.count;
        if (tick % 200 == 0)
            fm__wheel_check(wheel); /* also of slots that are moved in part */
        /* one call is enough, also where a window begins */
        cr_assert_eq(fm__wheel_fire(wheel, tick * TICK, PER_TICK, see, &seen), PER_TICK,
                     "tick %" PRId64 ": %zu", tick, seen.count - before);
    }
    free(seen.due);
    free(timers);
    free(wheel);
}

/* Nothing fires before, so nothing but the wheel's own asking moves them down in time. */
TEST(wheel, many_after_a_long_rest_are_on_time)
{
    enum { N = 300000, BEGIN = 5000, SPREAD = 1000 };
    struct wheel *wheel = make(0);
    struct timer *timers = calloc(N, sizeof *timers);
    struct seen seen = {calloc(N, sizeof *seen.due), 0, N};
    size_t due[SPREAD + 1] = {0};
    uint64_t random = stress_seed();
    unsigned calls = 0;

    for (int i = 0; i < N; i++) {
        int64_t tick = (int64_t)(stress_random(&random) % SPREAD) + 1;
        due[tick]++;
        fm__wheel_arm(wheel, &timers[i], (BEGIN + tick) * TICK, 0);
    }
    /* a thread that calls once a tick, and not before it is asked to */
    for (int64_t tick = 0, expected = 0; tick <= BEGIN + SPREAD; tick++) {
        if (tick > BEGIN)
            expected += (int64_t)due[tick - BEGIN];
        if (fm__wheel_next(wheel) <= tick * TICK) {
            fm__wheel_fire(wheel, tick * TICK, UINT32_MAX, see, &seen);
            calls += tick <= BEGIN;
        }
        if (tick % 500 == 0)
            fm__wheel_check(wheel);
        cr_assert_eq((int64_t)seen.count, expected, "tick %" PRId64, tick);
    }
    cr_assert_lt(calls, 1000, "the rest was one");
    free(seen.due);
    free(timers);
    free(wheel);
}

TEST(wheel, next_is_not_late_where_many_share_a_slot)
{
    enum { N = 20 };
    struct wheel *wheel = make(0);
    struct timer timers[N] = {0}, first = {0};
    struct wheel_due room[N + 1];
    struct seen seen = {room, 0, N + 1};

    fm__wheel_arm(wheel, &first, TICK, 0);
    for (int i = 0; i < N; i++)
        fm__wheel_arm(wheel, &timers[i], (INT64_C(100) * 65536 + (i + 7) % N) * TICK, 0);
    cr_assert_eq(fire_all(wheel, TICK, &seen), 1);
    cr_assert_leq(fm__wheel_next(wheel), INT64_C(100) * 65536 * TICK);
    cr_assert_eq(fire_all(wheel, INT64_C(100) * 65536 * TICK, &seen), 1);
    fm__wheel_check(wheel);
    cr_assert_eq(fire_all(wheel, (INT64_C(100) * 65536 + N) * TICK, &seen), N - 1);
    free(wheel);
}

TEST(wheel, next_is_not_late_while_a_unit_is_moved_in_part)
{
    enum { N = 1000, LATER = 200 };
    struct wheel *wheel = make(0);
    static struct timer timers[N], first;
    static struct wheel_due room[N + 1];
    struct seen seen = {room, 0, N + 1};

    /* those that are moved first are due last */
    for (int i = 0; i < N; i++)
        fm__wheel_arm(wheel, &timers[i], (2048 + (i < LATER ? 700 : 5)) * TICK, 0);
    fm__wheel_arm(wheel, &first, 1025 * TICK, 0);
    cr_assert_eq(fire_all(wheel, 1025 * TICK, &seen), 1);
    cr_assert_leq(fm__wheel_next(wheel), 2053 * TICK);
    fm__wheel_check(wheel);
    cr_assert_eq(fire_all(wheel, 2053 * TICK, &seen), N - LATER);
    cr_assert_eq(fire_all(wheel, 2748 * TICK, &seen), LATER);
    free(wheel);
}

/* What the operations of the next test share. */
enum { RANDOM_TIMERS = 512 };

static int64_t random_distance(uint64_t *random)
{
    unsigned bits = (unsigned)(stress_random(random) % 58);
    int64_t distance = (int64_t)(stress_random(random) & ((UINT64_C(1) << bits) - 1));
    switch (stress_random(random) % 4) {
    case 0: return ((INT64_C(1) << bits % 24) + (int64_t)(stress_random(random) % 3) - 1) * TICK;
    case 1: return -distance;
    default: return distance;
    }
}

/* F69 */
TEST_WITH(wheel, agrees_with_a_list_over_a_million_operations, .timeout = 300)
{
    uint64_t random = stress_seed();
    int64_t now_ns = (int64_t)(stress_random(&random) >> 4);
    struct wheel *wheel = make(now_ns);
    static struct timer timers[RANDOM_TIMERS];
    static int64_t deadlines[RANDOM_TIMERS]; /* INT64_MAX: not armed */
    static struct wheel_due room[RANDOM_TIMERS];
    uint64_t rounds = stress_rounds(1000000);

    for (int i = 0; i < RANDOM_TIMERS; i++)
        deadlines[i] = INT64_MAX;
    for (uint64_t round = 1; round <= rounds; round++) {
        int i = (int)(stress_random(&random) % RANDOM_TIMERS);
        unsigned what = stress_random(&random) % 16;
        if (what < 12) {
            cr_assert_eq(fm__wheel_disarm(wheel, &timers[i]), deadlines[i] != INT64_MAX);
            deadlines[i] = INT64_MAX;
        }
        if (what < 10) {
            deadlines[i] = fm__time_add(now_ns, random_distance(&random));
            fm__wheel_arm(wheel, &timers[i], deadlines[i], (uint64_t)i);
        }
        if (what < 15)
            continue;

        /* never later than the truth */
        int64_t next_ns = fm__wheel_next(wheel), earliest = INT64_MAX;
        for (int t = 0; t < RANDOM_TIMERS; t++)
            if (deadlines[t] < earliest)
                earliest = deadlines[t];
        if (earliest != INT64_MAX) {
            int64_t due_ns = tick_up(earliest) * TICK;
            cr_assert_leq(next_ns, due_ns > now_ns ? due_ns : now_ns);
        }

        int64_t wheel_was = wheel->cursor;
        int64_t step = random_distance(&random) >> stress_random(&random) % 16;
        if (stress_random(&random) % 4 == 0 && earliest < INT64_MAX)
            now_ns = earliest > now_ns ? earliest : now_ns;
        else if (step > 0 && now_ns < INT64_MAX / 2)
            now_ns += step;

        struct seen seen = {room, 0, RANDOM_TIMERS};
        fire_all(wheel, now_ns, &seen);
        int64_t last = wheel_was;
        for (size_t s = 0; s < seen.count; s++) {
            int64_t deadline_ns = deadlines[seen.due[s].epoch];
            cr_assert_eq(seen.due[s].timer, &timers[seen.due[s].epoch]);
            cr_assert(deadline_ns <= now_ns, "early, seed %" PRIx64, stress_seed());
            /* in order of ticks; those before the cursor stand at the cursor */
            int64_t tick = tick_up(deadline_ns) > wheel_was ? tick_up(deadline_ns) : wheel_was;
            cr_assert_geq(tick, last);
            last = tick;
            deadlines[seen.due[s].epoch] = INT64_MAX;
        }
        for (int t = 0; t < RANDOM_TIMERS; t++)
            cr_assert(deadlines[t] == INT64_MAX || tick_up(deadlines[t]) * TICK > now_ns,
                      "late, seed %" PRIx64, stress_seed());
        if (round % 64 == 15)
            fm__wheel_check(wheel);
    }
    fm__wheel_check(wheel);
    free(wheel);
}

TEST(wheel, next_is_exact_after_a_fire)
{
    uint64_t random = stress_seed();
    static struct timer timers[6];
    struct wheel_due room[6];

    for (int round = 0; round < 20000; round++) {
        int64_t now_ns = (int64_t)(stress_random(&random) >> 8), deadlines[6];
        struct wheel *wheel = make(now_ns);
        struct seen seen = {room, 0, 6};
        for (int i = 0; i < 6; i++) {
            deadlines[i] = now_ns + 1 + (int64_t)(stress_random(&random) >> (20 + i * 6));
            fm__wheel_arm(wheel, &timers[i], deadlines[i], (uint64_t)i);
        }
        while (seen.count < 6) {
            int64_t earliest = INT64_MAX;
            for (int i = 0; i < 6; i++)
                if (deadlines[i] < earliest)
                    earliest = deadlines[i];
            cr_assert_eq(fm__wheel_next(wheel), tick_up(earliest) * TICK);
            size_t before = seen.count;
            cr_assert_geq(fire_all(wheel, fm__wheel_next(wheel), &seen), 1);
            for (size_t s = before; s < seen.count; s++)
                deadlines[seen.due[s].epoch] = INT64_MAX;
        }
        free(wheel);
    }
}
