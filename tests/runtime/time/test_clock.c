/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual clock: it moves only on request and only while all is quiet, so that each test here
 * knows to the nanosecond what happens when.
 */
#include "fm/fm.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/support/test.h"

static struct fm_runtime *make(uint32_t worker_count)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    config.clock = FM_CLOCK_VIRTUAL;
    config.worker_count = worker_count;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    return runtime;
}

/* What the fibers saw, in order. */
static struct {
    _Atomic unsigned count;
    struct {
        int who;
        int64_t at_ns;
    } seen[4096];
} book;

static void note(int who)
{
    unsigned i = atomic_fetch_add(&book.count, 1);
    book.seen[i].who = who;
    book.seen[i].at_ns = fm_now_ns();
}

static void expect(unsigned i, int who, int64_t at_ns)
{
    cr_assert_lt(i, atomic_load(&book.count));
    cr_assert_eq(book.seen[i].who, who, "%u: %d instead of %d", i, book.seen[i].who, who);
    cr_assert_eq(book.seen[i].at_ns, at_ns, "%u: at %ld instead of %ld", i, book.seen[i].at_ns, at_ns);
}

struct sleeper {
    int who;
    int times;
    int64_t for_ns;
};

static struct fm_exit sleep_and_note(void *arg)
{
    struct sleeper *sleeper = arg;
    for (int i = 0; i < sleeper->times; i++) {
        int r = fm_sleep_ns(sleeper->for_ns);
        if (r < 0)
            return fm_fail(r);
        note(sleeper->who);
    }
    return fm_ok(NULL);
}

static struct fm_fiber *start(struct fm_runtime *runtime, struct sleeper *sleeper)
{
    struct fm_fiber *fiber;
    cr_assert_eq(fm_runtime_spawn(runtime, sleep_and_note, sleeper, NULL, &fiber), 0);
    return fiber;
}

static int64_t next_ns(struct fm_runtime *runtime)
{
    int64_t next;
    cr_assert_eq(fm_clock_next_ns(runtime, &next), 0);
    return next;
}

static void end(struct fm_fiber *fiber)
{
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_fiber_unref(fiber);
}

TEST(clock, sleeps_of_one_instant_end_first_come_first_served) /* T162 */
{
    struct fm_runtime *runtime = make(2);
    struct sleeper sleepers[3] = {{0, 1, 1000}, {1, 1, 1000}, {2, 1, 1000}};
    struct fm_fiber *fibers[3];

    for (int i = 0; i < 3; i++) {
        fibers[i] = start(runtime, &sleepers[i]);
        cr_assert_eq(next_ns(runtime), 1000); /* it sleeps */
    }
    cr_assert_eq(fm_clock_advance_ns(runtime, 999), 0);
    cr_assert_eq(book.count, 0);
    cr_assert_eq(fm_clock_advance_ns(runtime, 1), 0);
    for (int i = 0; i < 3; i++) {
        expect((unsigned)i, i, 1000);
        end(fibers[i]);
    }
    fm_runtime_destroy(runtime);
}

TEST(clock, sleeps_begun_on_the_way_end_at_their_own_times) /* T163 */
{
    struct fm_runtime *runtime = make(2);
    struct sleeper sleeper = {7, 2, 100};
    struct fm_fiber *fiber = start(runtime, &sleeper);

    cr_assert_eq(fm_clock_advance_ns(runtime, 1000), 0);
    expect(0, 7, 100);
    expect(1, 7, 200);
    end(fiber);
    /* and the end is at 1000 */
    sleeper.times = 1;
    fiber = start(runtime, &sleeper);
    cr_assert_eq(next_ns(runtime), 1100);
    cr_assert_eq(fm_clock_advance_ns(runtime, 100), 0);
    expect(2, 7, 1100);
    end(fiber);
    fm_runtime_destroy(runtime);
}

TEST(clock, two_sleepers_interleave_by_time)
{
    struct fm_runtime *runtime = make(4);
    struct sleeper a = {1, 10, 20}, b = {2, 6, 30};
    struct fm_fiber *fa = start(runtime, &a);
    cr_assert_eq(next_ns(runtime), 20);
    struct fm_fiber *fb = start(runtime, &b);

    cr_assert_eq(fm_clock_set_ns(runtime, 200), 0);
    end(fa);
    end(fb);
    cr_assert_eq(book.count, 16);
    int64_t next_a = 20, next_b = 30;
    for (unsigned i = 0; i < 16; i++) {
        /* of a tie, the one that armed earlier: b went to sleep at 60 before a did at 80 ... */
        bool is_a = book.seen[i].who == 1;
        if (next_a != next_b)
            cr_assert_eq(is_a, next_a < next_b);
        else
            cr_assert_not(is_a); /* b's sleep is longer, so it began first */
        expect(i, is_a ? 1 : 2, is_a ? next_a : next_b);
        if (is_a)
            next_a += 20;
        else
            next_b += 30;
    }
    fm_runtime_destroy(runtime);
}

TEST(clock, stands_still_unless_asked)
{
    struct fm_runtime *runtime = make(2);
    struct sleeper sleeper = {1, 1, 1};
    struct fm_fiber *fiber = start(runtime, &sleeper);
    struct fm_exit exit;

    cr_assert_eq(fm_fiber_join(fiber, fm_after_ms(30), &exit), -ETIMEDOUT); /* a thread's clock */
    cr_assert_eq(next_ns(runtime), 1);
    cr_assert_eq(fm_clock_advance_ns(runtime, 0), 0);
    cr_assert_eq(book.count, 0);
    cr_assert_eq(fm_clock_advance_ns(runtime, 1), 0);
    end(fiber);
    cr_assert_eq(next_ns(runtime), FM_NEVER);
    fm_runtime_destroy(runtime);
}

static struct fm_exit drive(void *arg)
{
    struct sleeper sleepers[3] = {{0, 1, 5}, {1, 1, 5}, {2, 3, 2}};
    struct fm_runtime *runtime = fm_runtime_current();
    int64_t next;
    (void)arg;

    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_fiber_spawn(sleep_and_note, &sleepers[i], NULL, NULL), 0);
    cr_assert_eq(fm_clock_next_ns(runtime, &next), 0);
    cr_assert_eq(next, 2);
    cr_assert_eq(fm_now_ns(), 0);
    cr_assert_eq(fm_clock_advance_ns(runtime, 4), 0);
    cr_assert_eq(fm_now_ns(), 4);
    cr_assert_eq(book.count, 2);
    cr_assert_eq(fm_clock_set_ns(runtime, 3), -EINVAL);
    cr_assert_eq(fm_clock_set_ns(runtime, 4), 0);
    cr_assert_eq(fm_clock_set_ns(runtime, 10), 0);
    cr_assert_eq(book.count, 5);
    cr_assert_eq(fm_now_ns(), 10);
    return fm_ok(NULL);
}

TEST(clock, a_fiber_may_drive_it)
{
    for (uint32_t workers = 1; workers <= 4; workers++) {
        struct fm_runtime *runtime = make(workers);
        struct fm_exit exit;
        atomic_store(&book.count, 0);
        cr_assert_eq(fm_runtime_run(runtime, drive, NULL, &exit), 0);
        cr_assert_eq(exit.kind, FM_SUCCESS);
        expect(0, 2, 2);
        expect(1, 2, 4);
        cr_assert_eq(book.seen[2].at_ns, 5);
        cr_assert_eq(book.seen[3].at_ns, 5);
        expect(4, 2, 6);
        fm_runtime_destroy(runtime);
    }
}

static struct fm_exit advance(void *arg)
{
    int64_t *n = arg;
    int r = fm_clock_advance_ns(fm_runtime_current(), *n);
    note(r);
    return r == 0 ? fm_ok(NULL) : fm_fail(r);
}

static struct fm_exit never(void *arg)
{
    (void)arg;
    fm_yield();
    for (;;)
        if (fm_yield() < 0)
            return fm_interrupted();
}

TEST(clock, an_interrupted_request_is_withdrawn)
{
    struct fm_runtime *runtime = make(2);
    struct fm_fiber *busy, *asking;
    struct fm_exit exit;
    int64_t n = 100;

    /* while this one runs, nothing is quiet */
    cr_assert_eq(fm_runtime_spawn(runtime, never, NULL, NULL, &busy), 0);
    cr_assert_eq(fm_runtime_spawn(runtime, advance, &n, NULL, &asking), 0);
    cr_assert_eq(fm_fiber_join(asking, fm_after_ms(20), &exit), -ETIMEDOUT);
    cr_assert_eq(fm_fiber_stop(asking, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_INTERRUPTED);
    expect(0, -ECANCELED, 0);
    cr_assert_eq(fm_fiber_stop(busy, FM_NEVER, &exit), 0);
    fm_fiber_unref(busy);
    fm_fiber_unref(asking);
    cr_assert_eq(fm_clock_advance_ns(runtime, 0), 0);
    struct sleeper sleeper = {1, 1, 1};
    asking = start(runtime, &sleeper);
    cr_assert_eq(fm_clock_next_ns(runtime, NULL), 0);
    cr_assert_eq(fm_clock_advance_ns(runtime, 1), 0);
    end(asking);
    expect(1, 1, 1);
    fm_runtime_destroy(runtime);
}

TEST(clock, requests_of_several_callers_add_up)
{
    struct fm_runtime *runtime = make(2);
    struct fm_fiber *fibers[10];
    struct sleeper sleeper = {1, 1, 0};
    int64_t n = 100;

    for (int i = 0; i < 10; i++)
        cr_assert_eq(fm_runtime_spawn(runtime, advance, &n, NULL, &fibers[i]), 0);
    for (int i = 0; i < 10; i++)
        end(fibers[i]);
    for (unsigned i = 0; i < 10; i++)
        expect(i, 0, 100 * (i + 1));
    end(start(runtime, &sleeper)); /* a sleep of nothing needs no clock */
    expect(10, 1, 1000);
    fm_runtime_destroy(runtime);
}

TEST(clock, refuses_what_it_cannot_do)
{
    struct fm_runtime *runtime = make(1), *real;

    cr_assert_eq(fm_clock_advance_ns(NULL, 1), -EINVAL);
    cr_assert_eq(fm_clock_set_ns(NULL, 1), -EINVAL);
    cr_assert_eq(fm_clock_next_ns(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_clock_advance_ns(runtime, -1), -EINVAL);
    cr_assert_eq(fm_clock_set_ns(runtime, -1), -EINVAL);
    cr_assert_eq(fm_runtime_create(NULL, &real), 0);
    cr_assert_eq(fm_clock_advance_ns(real, 1), -ENOTSUP);
    cr_assert_eq(fm_clock_set_ns(real, 1), -ENOTSUP);
    cr_assert_eq(fm_clock_next_ns(real, NULL), -ENOTSUP);
    fm_runtime_destroy(real);
    /* to the end of time, and nothing after it */
    cr_assert_eq(fm_clock_advance_ns(runtime, FM_NEVER), 0);
    cr_assert_eq(fm_clock_advance_ns(runtime, FM_NEVER), 0);
    cr_assert_eq(fm_clock_set_ns(runtime, 1), -EINVAL);
    fm_runtime_destroy(runtime);
}

TEST(clock, a_sleep_that_is_interrupted_leaves_the_heap)
{
    struct fm_runtime *runtime = make(2);
    struct sleeper sleepers[2] = {{1, 1, 10}, {2, 1, 20}};
    struct fm_fiber *fibers[2] = {start(runtime, &sleepers[0]), start(runtime, &sleepers[1])};
    struct fm_runtime_stats stats;
    struct fm_exit exit;

    cr_assert_eq(next_ns(runtime), 10);
    cr_assert_eq(fm_fiber_stop(fibers[0], FM_NEVER, &exit), 0);
    cr_assert_eq(next_ns(runtime), 20);
    cr_assert_eq(fm_runtime_stats(runtime, &stats), 0);
    cr_assert_eq(stats.timers_armed, 1);
    cr_assert_eq(stats.timers_cancelled, 1);
    cr_assert_eq(stats.timers_fired, 0);
    cr_assert_eq(fm_clock_advance_ns(runtime, 20), 0);
    expect(0, 2, 20);
    fm_fiber_unref(fibers[0]);
    end(fibers[1]);
    fm_runtime_destroy(runtime);
}

/* F72: sleeps that end on either side of a power of two, of nanoseconds and of milliseconds. */
TEST(clock, no_time_is_too_wide_for_a_sleep)
{
    const int64_t second_ns = 1000000000;
    for (int bits = 33; bits < 63 + 43; bits++) {
        int64_t edge_ns = bits < 63 ? INT64_C(1) << bits : (INT64_C(1) << (bits - 63)) * 1000000;
        struct sleeper sleeper = {1, 10, second_ns};
        if (edge_ns < 6 * second_ns)
            continue;
        struct fm_runtime *runtime = make(1);
        atomic_store(&book.count, 0);
        cr_assert_eq(fm_clock_set_ns(runtime, edge_ns - 5 * second_ns), 0);
        struct fm_fiber *fiber = start(runtime, &sleeper);
        cr_assert_eq(fm_clock_advance_ns(runtime, 10 * second_ns), 0);
        for (int i = 0; i < 10; i++)
            expect((unsigned)i, 1, edge_ns + (i - 4) * second_ns);
        end(fiber);
        fm_runtime_destroy(runtime);
    }
}
