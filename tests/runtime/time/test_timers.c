/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlines of fibers on the real clock: through a runtime, from the outside.
 */
#include "fm/fm.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"
#include "runtime/time/timers.h"
#include "tests/support/stress.h"
#include "tests/support/test.h"

static struct fm_runtime *make_with(uint32_t worker_count, uint32_t queue_size)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    config.worker_count = worker_count;
    config.queue_size = queue_size;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    return runtime;
}

static struct fm_runtime *make(uint32_t worker_count)
{
    return make_with(worker_count, 0);
}

static void run(struct fm_runtime *runtime, fm_entry_fn *entry, void *arg)
{
    struct fm_exit exit;
    cr_assert_eq(fm_runtime_run(runtime, entry, arg, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
}

static struct fm_exit sleep_some(void *arg)
{
    (void)arg;
    for (int64_t n = 100000; n <= 20000000; n = n * 3 / 2) {
        int64_t deadline_ns = fm_after_ns(n);
        cr_assert_eq(fm_sleep_until_ns(deadline_ns), 0);
        int64_t late_ns = fm_now_ns() - deadline_ns;
        cr_assert_geq(late_ns, 0);
        cr_assert_lt(late_ns, 200000000); /* another program may have the processor */
    }
    return fm_ok(NULL);
}

TEST(timers, sleep_is_not_early)
{
    for (uint32_t workers = 1; workers <= 3; workers++) {
        struct fm_runtime *runtime = make(workers);
        run(runtime, sleep_some, NULL);
        fm_runtime_destroy(runtime);
    }
}

static struct fm_exit poll_deadlines(void *arg)
{
    int64_t before_ns = fm_now_ns();
    (void)arg;

    cr_assert_eq(fm_sleep_until_ns(0), 0);
    cr_assert_eq(fm_sleep_until_ns(fm_now_ns() - 1), 0);
    cr_assert_eq(fm_sleep_ns(0), 0);
    cr_assert_eq(fm_after_ns(FM_NEVER), FM_NEVER);
    cr_assert_lt(fm_now_ns() - before_ns, 1000000000);
    return fm_ok(NULL);
}

/* F71 */
TEST(timers, deadlines_that_have_passed_end_at_once)
{
    struct fm_runtime *runtime = make(1);
    run(runtime, poll_deadlines, NULL);
    fm_runtime_destroy(runtime);
}

static struct fm_exit sleep_long(void *arg)
{
    (void)arg;
    int r = fm_sleep_ms(100000);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit sleep_for_ever(void *arg)
{
    (void)arg;
    int r = fm_sleep_ns(FM_NEVER);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

TEST(timers, an_interrupted_sleep_leaves_nothing_armed)
{
    enum { N = 200 };
    struct fm_runtime *runtime = make(2);
    struct fm_runtime_stats stats;
    struct fm_fiber *fibers[N];
    struct fm_exit exit;

    for (int i = 0; i < N; i++)
        cr_assert_eq(fm_runtime_spawn(runtime, i ? sleep_long : sleep_for_ever, NULL, NULL,
                                      &fibers[i]),
                     0);
    do { /* until all have come to sleep */
        cr_assert_eq(fm_fiber_join(fibers[0], fm_after_ms(50), &exit), -ETIMEDOUT);
        cr_assert_eq(fm_runtime_stats(runtime, &stats), 0);
    } while (stats.timers_armed < N - 1);
    cr_assert_eq(stats.timers_armed, N - 1);
    cr_assert_eq(fm_fiber_stop_many(fibers, N, FM_NEVER), 0);
    cr_assert_eq(fm_runtime_stats(runtime, &stats), 0);
    cr_assert_eq(stats.timers_armed, 0);
    cr_assert_eq(stats.timers_cancelled, N - 1);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(fm_fiber_poll(fibers[i], &exit), 0);
        cr_assert_eq(exit.kind, FM_INTERRUPTED);
        fm_fiber_unref(fibers[i]);
    }
    fm_runtime_destroy(runtime);
}

/* Sleeps, and says when it woke. */
static struct fm_exit sleep_until(void *arg)
{
    int64_t *time_ns = arg;
    cr_assert_eq(fm_sleep_until_ns(*time_ns), 0);
    int64_t now_ns = fm_now_ns();
    cr_assert_geq(now_ns, *time_ns);
    *time_ns = now_ns - *time_ns;
    return fm_ok(NULL);
}

static struct fm_exit burn(void *arg)
{
    int64_t until_ns = *(int64_t *)arg;
    while (fm__clock_ns() < until_ns)
        ;
    return fm_ok(NULL);
}

/* golang/go#38860 */
TEST(timers, timers_of_a_busy_worker_are_fired_by_others)
{
    struct fm_runtime *runtime = make(2);
    int64_t late_ns = fm__clock_ns() + 20000000, until_ns = fm__clock_ns() + 2000000000;
    struct fm_fiber *sleeper, *burner;
    struct fm_exit exit;

    /* whichever worker the sleeper arms on, one of the two goes on looking */
    cr_assert_eq(fm_runtime_spawn(runtime, sleep_until, &late_ns, NULL, &sleeper), 0);
    cr_assert_eq(fm_runtime_spawn(runtime, burn, &until_ns, NULL, &burner), 0);
    cr_assert_eq(fm_fiber_join(sleeper, FM_NEVER, &exit), 0);
    cr_assert_lt(late_ns, 1000000000);
    cr_assert_eq(fm_fiber_join(burner, FM_NEVER, &exit), 0);
    fm_fiber_unref(sleeper);
    fm_fiber_unref(burner);
    fm_runtime_destroy(runtime);
}

/* An earlier deadline than the one that the poller sleeps for. */
TEST(timers, an_earlier_deadline_wakes_the_one_who_waits_for_a_later)
{
    struct fm_runtime *runtime = make(2);
    struct fm_fiber *later, *fiber;
    struct fm_exit exit;

    cr_assert_eq(fm_runtime_spawn(runtime, sleep_long, NULL, NULL, &later), 0);
    for (int i = 0; i < 20; i++) {
        int64_t late_ns = fm__clock_ns() + 5000000;
        cr_assert_eq(fm_runtime_spawn(runtime, sleep_until, &late_ns, NULL, &fiber), 0);
        cr_assert_eq(fm_fiber_join(fiber, fm_after_s(20), &exit), 0);
        cr_assert_lt(late_ns, 1000000000);
        fm_fiber_unref(fiber);
    }
    cr_assert_eq(fm_fiber_stop(later, FM_NEVER, &exit), 0);
    fm_fiber_unref(later);
    fm_runtime_destroy(runtime);
}

static _Atomic bool over;
static _Atomic uint64_t turns, in_time;

/* Counts those who surely came to sleep before their time. */
static struct fm_exit sleep_and_count(void *arg)
{
    if (fm_now_ns() < *(int64_t *)arg - 10000000)
        atomic_fetch_add(&in_time, 1);
    return sleep_until(arg);
}

static struct fm_exit count_turns(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        atomic_fetch_add(&turns, 1);
        fm_yield();
    }
    return fm_ok(NULL);
}

/* True if all of them came to sleep before their time, lead_ms from now. */
static bool one_tick(size_t count, int lead_ms)
{
    uint64_t in_time_before = atomic_load(&in_time);
    int64_t *times = malloc(count * sizeof *times), deadline_ns;
    struct fm_fiber **fibers = malloc(count * sizeof *fibers), *counter;
    struct fm_exit exit;

    cr_assert(times && fibers);
    atomic_store(&over, false);
    deadline_ns = fm_after_ms(lead_ms);
    for (size_t i = 0; i < count; i++) {
        times[i] = deadline_ns;
        cr_assert_eq(fm_fiber_spawn(sleep_and_count, &times[i], NULL, &fibers[i]), 0);
    }
    cr_assert_eq(fm_fiber_spawn(count_turns, NULL, NULL, &counter), 0);
    /* joined first to last: when the last has ended, so have all */
    uint64_t turns_at_first = 0;
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(fm_fiber_join(fibers[i], FM_NEVER, &exit), 0);
        cr_assert_eq(exit.kind, FM_SUCCESS);
        if (i == 0)
            turns_at_first = atomic_load(&turns);
    }
    bool all_slept = atomic_load(&in_time) - in_time_before == count;
    /* between the first and the last the other fiber had turns */
    if (all_slept)
        cr_assert_gt(atomic_load(&turns), turns_at_first);
    atomic_store(&over, true);
    cr_assert_eq(fm_fiber_join(counter, FM_NEVER, &exit), 0);
    for (size_t i = 0; i < count; i++)
        fm_fiber_unref(fibers[i]);
    fm_fiber_unref(counter);
    free(fibers);
    free(times);
    return all_slept;
}

struct ticks {
    size_t count; /* of those who wake in one */
    int made;
};

static struct fm_exit many_of_one_tick(void *arg)
{
    struct ticks *ticks = arg;
    /* a machine that is too busy to let them all come to sleep gets more time for it */
    for (int lead_ms = 300; !one_tick(ticks->count, lead_ms); lead_ms *= 2)
        ticks->made++;
    ticks->made++;
    return fm_ok(NULL);
}

/* F73 */
TEST_WITH(timers, many_of_one_tick_leave_turns_to_others, .timeout = 120)
{
    struct ticks ticks = { FM_ASAN || FM_TSAN ? 1500 : 20000, 0 };
    struct fm_runtime *runtime = make(1);
    struct fm_runtime_stats stats;

    run(runtime, many_of_one_tick, &ticks);
    cr_assert_eq(fm_runtime_stats(runtime, &stats), 0);
    cr_assert_eq(stats.timers_armed, 0);
    /* the one worker may have been held up just when one of them was about to sleep */
    cr_assert_geq(stats.timers_fired + (uint64_t)ticks.made, atomic_load(&in_time));
    fm_runtime_destroy(runtime);
}

/* ---- beside a queue that is always full ---- */

/*
 * QUEUE is the queue's size: one runs, the others fill it. A tick has at most some 600 turns and
 * brings in half as many of those who are due; each then waits for one round of the queue.
 */
enum { SLEEPERS = 100, QUEUE = 256, TURNS_EACH = 80 };

static uint64_t first_turn = UINT64_MAX, last_turn;

static struct fm_exit note_turn(void *arg)
{
    cr_assert_eq(fm_sleep_until_ns(*(int64_t *)arg), 0);
    uint64_t turn = atomic_load(&turns);
    first_turn = turn < first_turn ? turn : first_turn;
    last_turn = turn > last_turn ? turn : last_turn;
    return fm_ok(NULL);
}

/* One worker, so that nothing is done by another, and each turn is a fiber's. */
static struct fm_exit sleep_beside_a_full_queue(void *arg)
{
    struct fm_fiber *sleepers[SLEEPERS], *counters[QUEUE];
    int64_t deadline_ns = fm_after_ms(200);

    for (int i = 0; i < SLEEPERS; i++)
        cr_assert_eq(fm_fiber_spawn(note_turn, &deadline_ns, NULL, &sleepers[i]), 0);
    for (int i = 0; i < QUEUE; i++)
        cr_assert_eq(fm_fiber_spawn(count_turns, NULL, NULL, &counters[i]), 0);
    for (int i = 0; i < SLEEPERS; i++) {
        cr_assert_eq(fm_fiber_join(sleepers[i], FM_NEVER, NULL), 0);
        fm_fiber_unref(sleepers[i]);
    }
    atomic_store(&over, true);
    for (int i = 0; i < QUEUE; i++) {
        cr_assert_eq(fm_fiber_join(counters[i], FM_NEVER, NULL), 0);
        fm_fiber_unref(counters[i]);
    }
    return fm_ok(arg);
}

TEST(timers, who_is_due_has_a_fair_part_of_the_turns_though_the_queue_is_always_full)
{
    struct fm_runtime *runtime = make_with(1, QUEUE);

    run(runtime, sleep_beside_a_full_queue, NULL);
    cr_assert_leq(last_turn - first_turn, SLEEPERS * TURNS_EACH, "%" PRIu64 " turns",
                  last_turn - first_turn);
    fm_runtime_destroy(runtime);
}

/* ---- a wheel whose worker does not look after it, while another's runs over ---- */

enum { EACH_TICK = 300, TICKS = 100 }; /* more than one call fires */

static void arm(struct timers *timers, uint32_t index, struct fm_fiber *fiber, int64_t deadline_ns)
{
    fm__wheel_arm(timers->wheels[index], &fiber->timer, deadline_ns, 1);
}

TEST(timers, a_wheel_that_always_has_more_due_holds_off_no_other)
{
    struct fm_runtime *runtime = fm__zalloc_aligned(_Alignof(struct fm_runtime), sizeof *runtime);
    struct fm_fiber *fibers = fm__zalloc_aligned(_Alignof(struct fm_fiber),
                                                 sizeof *fibers * (EACH_TICK * TICKS + 1));
    struct wheel *second = fm__zalloc_aligned(_Alignof(struct wheel), sizeof *second);
    cr_assert(runtime && fibers && second);
    cr_assert_eq(fm__timers_init(runtime), 0);
    struct timers *timers = runtime->timers;
    int64_t now_ns = fm__clock_ns() + 1000 * WHEEL_TICK_NS;
    struct fm_fiber *victim = &fibers[EACH_TICK * TICKS];

    fm__wheel_init(second, 1, now_ns);
    timers->wheels[1] = second;
    timers->wheel_end = 2;
    arm(timers, 1, victim, now_ns);
    for (int tick = 0; tick < TICKS; tick++, now_ns += WHEEL_TICK_NS) {
        for (int i = 0; i < EACH_TICK; i++)
            arm(timers, 0, &fibers[tick * EACH_TICK + i], now_ns);
        fm__timer_fire(runtime, now_ns);
    }
    cr_assert_eq(victim->timer.wheel, TIMER_NOT_ARMED, "it waits until the first has nothing to do");
    while (fm__timer_next(runtime) <= now_ns)
        fm__timer_fire(runtime, now_ns);
    fm__timers_fini(runtime);
    free(fibers);
    free(runtime);
}
