/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_fairness.c - how late do others run beside fibers that compute?
 *
 *   hog       a fiber computes and never waits, on one of at least two workers; another sleeps
 *             a millisecond, again and again: how late it wakes
 *   yielding  --hogs fibers to a worker that yield after each --slice of computing; the same
 *             sleeper
 *
 * --count is how often it sleeps.
 */
#include "benchmarks/support/bench.h"

#include <stdatomic.h>

enum { HOGS_MAX = 1024 };

static uint64_t hogs_to_a_worker = 4;
static uint64_t slice_us = 100;

struct hogs {
    _Atomic bool over;
};

static void compute_until(int64_t end_ns)
{
    while (fm_now_ns() < end_ns)
        ;
}

static struct fm_exit hog_all(void *arg)
{
    struct hogs *hogs = arg;
    while (!atomic_load_explicit(&hogs->over, memory_order_relaxed))
        compute_until(fm_now_ns() + 1000);
    return fm_ok(NULL);
}

static struct fm_exit hog_slices(void *arg)
{
    struct hogs *hogs = arg;
    while (!atomic_load_explicit(&hogs->over, memory_order_relaxed)) {
        compute_until(fm_now_ns() + (int64_t)slice_us * 1000);
        fm_yield();
    }
    return fm_ok(NULL);
}

struct sleeper {
    double *late_us;
    uint64_t count;
};

static struct fm_exit sleep_many(void *arg)
{
    struct sleeper *sleeper = arg;
    for (uint64_t i = 0; i < sleeper->count; i++) {
        int64_t wake = fm_after_ms(1);
        int r = fm_sleep_until_ns(wake);
        BENCH_CHECK(r == 0, "sleep: %s", fm_strerror(r));
        sleeper->late_us[i] = (double)(fm_now_ns() - wake) / 1e3;
    }
    return fm_ok(NULL);
}

static struct fm_exit measure(const struct bench_run *run, fm_entry_fn *hog, uint64_t count,
                              const char *p50, const char *p99)
{
    struct hogs hogs = { false };
    struct fm_fiber *fibers[HOGS_MAX];
    struct sleeper sleeper = { calloc(run->count, sizeof(double)), run->count };
    BENCH_CHECK(sleeper.late_us && count <= HOGS_MAX, "no memory, or too many hogs");
    struct fm_fiber *asleep = bench_spawn(sleep_many, &sleeper);
    fm_yield();
    for (uint64_t i = 0; i < count; i++)
        fibers[i] = bench_spawn(hog, &hogs);
    bench_finish(asleep);
    atomic_store(&hogs.over, true);
    for (uint64_t i = 0; i < count; i++)
        bench_finish(fibers[i]);
    bench_record_late(run, p50, p99, sleeper.late_us);
    free(sleeper.late_us);
    return fm_ok(NULL);
}

static struct fm_exit hog(void *arg)
{
    return measure(arg, hog_all, 1, "beside a hog, p50", "beside a hog, p99");
}

static struct fm_exit yielding(void *arg)
{
    const struct bench_run *run = arg;
    return measure(run, hog_slices, hogs_to_a_worker * run->workers,
                   "beside hogs that yield, p50", "beside hogs that yield, p99");
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "hog", .body = hog, .count = 1000, .min_workers = 2 },
        { .name = "yielding", .body = yielding, .count = 500, .max_workers = 64 },
    };
    bench_parameter("hogs", &hogs_to_a_worker, 1, 16, "hogs to a worker that yield");
    bench_parameter("slice", &slice_us, 1, 1000000, "microseconds between two yields");
    return bench_main(argc, argv, "how late others run beside fibers that compute", cases,
                      sizeof cases / sizeof *cases);
}
