/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - what the benchmarks share: options, runs, and the table at the end
 *
 *     static struct fm_exit body(void *arg)
 *     {
 *         const struct bench_run *run = arg;
 *         int64_t start = fm_now_ns();
 *         ... run->count times ...
 *         bench_record(run, "yield", "ns", (double)(fm_now_ns() - start) / (double)run->count);
 *         return fm_ok(NULL);
 *     }
 *     static const struct bench_case cases[] = {{"yield", body, .count = 1000000}};
 *     int main(int argc, char **argv)
 *     {
 *         return bench_main(argc, argv, "what a yield costs", cases, 1);
 *     }
 *
 * Each run of each case gets a runtime of its own, made before and ended after it; body is the
 * main fiber. Worker counts and cases take turns, run by run, so that a slow moment of the
 * machine hits them alike. The first runs (--warmup) are not counted; a cold case has none.
 */
#ifndef BENCHMARKS_SUPPORT_BENCH_H
#define BENCHMARKS_SUPPORT_BENCH_H

#include <fm/fm.h>
#include <stdio.h>
#include <stdlib.h>

struct bench_case {
    const char *name; /* what --only selects */
    fm_entry_fn *body;
    uint64_t count;       /* operations or fibers, unless --count is given */
    uint32_t min_workers; /* 0: any */
    uint32_t max_workers; /* 0: any */
    bool cold;            /* in a process of its own: the memory has not been touched */
};

/* One run; the argument of a body. */
struct bench_run {
    struct fm_runtime *runtime;
    uint64_t count;
    uint32_t workers;
    bool counted; /* not a warm-up */
};

/*
 * One more number that the program takes, --name N, least to most; *value holds the default.
 * Before bench_main().
 */
void bench_parameter(const char *name, uint64_t *value, uint64_t least, uint64_t most,
                     const char *meaning);

int bench_main(int argc, char **argv, const char *question, const struct bench_case cases[],
               size_t case_count);

/*
 * One figure of one run. Lower is better; metric and unit are static text. Any fiber of the
 * run.
 */
void bench_record(const struct bench_run *run, const char *metric, const char *unit,
                  double value);

/* The median and the p99 of run->count latenesses, which it sorts; none may be negative. */
void bench_record_late(const struct bench_run *run, const char *p50, const char *p99,
                       double *late_us);

/* Memory of the process that is resident, processor time it has used. */
uint64_t bench_resident_bytes(void);
int64_t bench_cpu_ns(void);

/* xorshift; *state is never 0. */
uint64_t bench_random(uint64_t *state);

/* A benchmark whose work went wrong has no figure. */
#define BENCH_CHECK(condition, ...) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr); \
            abort(); \
        } \
    } while (0)

/* Start a fiber of the calling fiber's scope, with a reference. */
static inline struct fm_fiber *bench_spawn(fm_entry_fn *entry, void *arg)
{
    struct fm_fiber *fiber;
    int r = fm_fiber_spawn(entry, arg, NULL, &fiber);
    BENCH_CHECK(r == 0, "spawn: %s", fm_strerror(r));
    return fiber;
}

/* Wait for its end, drop the reference. */
static inline struct fm_exit bench_finish(struct fm_fiber *fiber)
{
    struct fm_exit exit;
    int r = fm_fiber_join(fiber, FM_NEVER, &exit);
    BENCH_CHECK(r == 0, "join: %s", fm_strerror(r));
    fm_fiber_unref(fiber);
    return exit;
}

#endif
