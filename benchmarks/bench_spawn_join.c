/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_spawn_join.c - what does it cost to start a fiber that does nothing and to see it end?
 *
 *   one       spawn one, join it
 *   batch     spawn 1000, join all, per fiber
 *   many      the same through fm_fiber_spawn_many
 */
#include "benchmarks/support/bench.h"

static uint64_t batch_fibers = 1000;

static struct fm_exit nothing(void *arg)
{
    return fm_ok(arg);
}

static void report(const struct bench_run *run, const char *metric, int64_t start,
                   uint64_t joined)
{
    int64_t end = fm_now_ns();
    bench_record(run, metric, "ns", (double)(end - start) / (double)joined);
}

static struct fm_exit one(void *arg)
{
    const struct bench_run *run = arg;
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++) {
        struct fm_exit exit = bench_finish(bench_spawn(nothing, arg));
        BENCH_CHECK(exit.value == arg, "another fiber's exit");
    }
    report(run, "spawn+join, one at a time", start, run->count);
    return fm_ok(NULL);
}

static struct fm_exit batches(const struct bench_run *run, const char *metric, bool many)
{
    struct fm_fiber **fibers = calloc(batch_fibers, sizeof(struct fm_fiber *));
    uint64_t joined = 0;
    BENCH_CHECK(fibers, "no memory");
    int64_t start = fm_now_ns();
    for (uint64_t b = 0; b < run->count / batch_fibers; b++) {
        if (many) {
            int r = fm_fiber_spawn_many(nothing, NULL, batch_fibers, NULL, fibers);
            BENCH_CHECK(r == 0, "spawn_many: %s", fm_strerror(r));
        }
        for (uint64_t i = 0; i < batch_fibers && !many; i++)
            fibers[i] = bench_spawn(nothing, NULL);
        for (uint64_t i = 0; i < batch_fibers; i++)
            joined += bench_finish(fibers[i]).kind == FM_SUCCESS;
    }
    BENCH_CHECK(joined == run->count / batch_fibers * batch_fibers, "%lu joined",
                (unsigned long)joined);
    report(run, metric, start, joined);
    free(fibers);
    return fm_ok(NULL);
}

static struct fm_exit batch(void *arg)
{
    return batches(arg, "spawn 1000, join all", false);
}

static struct fm_exit many(void *arg)
{
    return batches(arg, "spawn_many 1000, join all", true);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "one", .body = one, .count = 300000 },
        { .name = "batch", .body = batch, .count = 500000 },
        { .name = "many", .body = many, .count = 500000 },
    };
    bench_parameter("batch", &batch_fibers, 1, 1000000, "fibers started before a join");
    return bench_main(argc, argv, "what spawn and join cost", cases, 3);
}
