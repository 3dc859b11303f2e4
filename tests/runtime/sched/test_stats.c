/* SPDX-License-Identifier: Apache-2.0 */
/* test_stats.c - histograms: percentiles, and whether what they say is true */
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
