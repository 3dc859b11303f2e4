/* SPDX-License-Identifier: Apache-2.0 */
/* test_stats.c - histograms, and whether what they say is true; looks at fibers and workers */
#include <errno.h>
#include <string.h>

#include "runtime/platform/histogram.h"
#include "tests/support/fibers.h"

TEST(histogram, percentiles_are_never_below_the_truth_nor_above_twice_it)
{
    static struct histogram mine;
    struct fm_histogram h = { 0 };
    for (int value = 1; value <= 1000; value++)
        fm__histogram_add(&mine, value);
    fm__histogram_sum(&h, &mine);
    cr_assert_eq(h.count, 1000);
    cr_assert_eq(h.sum, 500500);
    for (int percent = 1; percent <= 100; percent++) {
        uint64_t value = fm_histogram_percentile(&h, percent);
        cr_assert_geq(value, 10 * percent, "%d %%: %lu", percent, (unsigned long)value);
        cr_assert_leq(value, 20 * percent, "%d %%: %lu", percent, (unsigned long)value);
    }
    cr_assert_eq(fm_histogram_percentile(&h, 100), 1000);
    cr_assert_eq(fm_histogram_percentile(&h, 1000), 1000);
    cr_assert_eq(fm_histogram_percentile(&h, 0), 1);
    cr_assert_eq(fm_histogram_percentile(&h, -1), 1);
}

TEST(histogram, the_ends_of_the_scale_hold)
{
    static struct histogram mine;
    struct fm_histogram h = { 0 };
    cr_assert_eq(fm_histogram_percentile(NULL, 50), 0);
    cr_assert_eq(fm_histogram_percentile(&h, 50), 0);
    fm__histogram_add(&mine, 0);
    fm__histogram_add(&mine, -5);
    fm__histogram_sum(&h, &mine);
    cr_assert_eq(fm_histogram_percentile(&h, 50), 0);
    fm__histogram_add(&mine, INT64_MAX);
    h = (struct fm_histogram) { 0 };
    fm__histogram_sum(&h, &mine);
    cr_assert_eq(fm_histogram_percentile(&h, 100), INT64_MAX);
    cr_assert_leq(fm_histogram_percentile(&h, 50), 1);
}

/* ---- what the runtime samples ---- */

enum { RUN_NS = 1000000, TURNS = 300 };

static void compute(int64_t ns)
{
    int64_t until = fm_now_ns() + ns;
    while (fm_now_ns() < until)
        ;
}

static struct fm_exit run_long(void *arg)
{
    for (int i = 0; i < TURNS; i++) {
        compute(RUN_NS);
        fm_yield();
    }
    return fm_ok(arg);
}

/*
 * Two fibers in turns, a millisecond each: one runs for so long, and the other waits for so long.
 * A machine that is busy makes both longer, never shorter.
 */
WORKER_TEST(stats, run_lengths_and_schedule_latencies_are_true)
{
    struct fm_runtime_stats stats;
    struct fm_fiber *one = start(run_long, NULL), *other = start(run_long, NULL);
    finish(one);
    finish(other);
    fm_runtime_stats(fm_runtime_current(), &stats);
    const struct fm_histogram *run = &stats.run_length, *late = &stats.schedule_latency;
    cr_assert_gt(run->count, TURNS / 4);
    cr_assert_gt(late->count, TURNS / 4);
    cr_assert_geq(fm_histogram_percentile(run, 50), RUN_NS);
    cr_assert_geq(fm_histogram_percentile(late, 50), RUN_NS * 3 / 4);
    /* all that ran, ran within the time that passed: a sample is of one run */
    cr_assert_leq(fm_histogram_percentile(run, 20), 8 * RUN_NS);
}

/* ---- what fibers and workers are doing ---- */

enum { LOOKED_AT = 5 };

struct visited {
    struct fm_fiber *fibers[LOOKED_AT];
    unsigned met[LOOKED_AT];
    unsigned states[FM_FIBER_ENDED + 1];
};

static int visit(void *ctx, struct fm_fiber *fiber, const struct fm_fiber_look *look)
{
    struct visited *visited = ctx;
    for (int i = 0; i < LOOKED_AT; i++)
        visited->met[i] += visited->fibers[i] == fiber;
    visited->states[look->state]++;
    return 0;
}

static int stop_at_once(void *ctx, struct fm_fiber *fiber, const struct fm_fiber_look *look)
{
    ++*(int *)ctx;
    return 7;
}

static struct fm_exit yield_on(void *arg)
{
    while (fm_yield() == 0)
        ;
    return fm_ok(arg);
}

static struct fm_exit end_at_once(void *arg)
{
    return fm_ok(arg);
}

static struct fm_fiber_look look_at(struct fm_fiber *fiber)
{
    struct fm_fiber_look look;
    cr_assert_eq(fm_fiber_look(fiber, &look), 0);
    return look;
}

/* One worker, and whoever looks keeps it: nothing moves meanwhile. */
WORKER_TEST(look, a_fiber_is_seen_from_its_beginning_to_its_end)
{
    struct fm_fiber *waits = start(until_interrupted, NULL), *passes = start(yield_on, NULL);
    cr_assert_eq(look_at(waits).state, FM_FIBER_NEW);
    cr_assert_eq(look_at(waits).worker, -1);
    while (look_at(waits).state != FM_FIBER_PARKED || look_at(passes).state == FM_FIBER_NEW)
        fm_yield();
    struct fm_fiber_look look = look_at(waits);
    cr_assert_eq(look.state, FM_FIBER_PARKED);
    cr_assert_str_eq(look.waits_for, "never");
    cr_assert_eq(look_at(passes).state, FM_FIBER_RUNNABLE);
    cr_assert_null(look_at(passes).waits_for);
    look = look_at(fm_fiber_self());
    cr_assert_eq(look.state, FM_FIBER_RUNNING);
    cr_assert_eq(look.worker, 0);
    fm_fiber_interrupt(waits);
    cr_assert_eq(fm_fiber_join(waits, FM_NEVER, NULL), 0);
    cr_assert_eq(look_at(waits).state, FM_FIBER_ENDED);
    cr_assert_str_eq(fm_fiber_state_name(look_at(waits).state), "ended");
    cr_assert_str_eq(fm_fiber_state_name(99), "?");
    cr_assert_eq(fm_fiber_look(waits, NULL), -EINVAL);
    cr_assert_eq(fm_fiber_look(NULL, &look), -EINVAL);
    fm_fiber_unref(waits);
    fm_fiber_interrupt(passes);
    finish(passes);
}

WORKER_TEST(look, each_live_fiber_is_visited_once)
{
    struct fm_runtime *runtime = fm_runtime_current();
    struct visited visited = { 0 };
    int calls = 0;
    for (int i = 0; i < LOOKED_AT; i++)
        visited.fibers[i] = start(until_interrupted, NULL);
    for (int i = 0; i < LOOKED_AT; i++)
        while (look_at(visited.fibers[i]).state != FM_FIBER_PARKED)
            fm_yield();
    fm_fiber_stop(visited.fibers[0], FM_NEVER, NULL);
    cr_assert_eq(fm_runtime_visit(runtime, visit, &visited), 0);
    for (int i = 0; i < LOOKED_AT; i++)
        cr_assert_eq(visited.met[i], i > 0, "fiber %d was met %u times", i, visited.met[i]);
    cr_assert_eq(visited.states[FM_FIBER_PARKED], LOOKED_AT - 1);
    cr_assert_eq(visited.states[FM_FIBER_RUNNING], 1);
    cr_assert_eq(fm_runtime_visit(runtime, stop_at_once, &calls), 7);
    cr_assert_eq(calls, 1);
    cr_assert_eq(fm_runtime_visit(NULL, visit, &visited), -EINVAL);
    cr_assert_eq(fm_runtime_visit(runtime, NULL, NULL), -EINVAL);
    fm_fiber_unref(visited.fibers[0]);
    for (int i = 1; i < LOOKED_AT; i++) {
        fm_fiber_interrupt(visited.fibers[i]);
        finish(visited.fibers[i]);
    }
}

WORKER_TEST(look, a_worker_tells_whom_it_runs_and_how_many_wait)
{
    struct fm_runtime *runtime = fm_runtime_current();
    struct fm_worker_stats workers[2] = { { .queued = 99 }, { .queued = 99 } };
    struct fm_fiber *fibers[LOOKED_AT];
    cr_assert_eq(fm_runtime_workers(runtime, workers, 2), 1);
    cr_assert_eq(workers[0].running, fm_fiber_id(fm_fiber_self()));
    cr_assert_eq(workers[0].queued, 0);
    cr_assert_eq(workers[1].queued, 99, "there is no second one");
    for (int i = 0; i < LOOKED_AT; i++)
        fibers[i] = start(end_at_once, NULL);
    cr_assert_eq(fm_runtime_workers(runtime, workers, 1), 1);
    cr_assert_eq(workers[0].queued, LOOKED_AT);
    uint64_t switches = workers[0].switches;
    for (int i = 0; i < LOOKED_AT; i++)
        finish(fibers[i]);
    cr_assert_eq(fm_runtime_workers(runtime, workers, 1), 1);
    cr_assert_eq(workers[0].queued, 0);
    cr_assert_gt(workers[0].switches, switches);
    cr_assert_eq(fm_runtime_workers(runtime, NULL, 0), 1);
    cr_assert_eq(fm_runtime_workers(runtime, NULL, 1), -EINVAL);
    cr_assert_eq(fm_runtime_workers(NULL, workers, 1), -EINVAL);
}
