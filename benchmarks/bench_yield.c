/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_yield.c - what does a switch between two runnable fibers cost?
 *
 * Two fibers to a worker yield in turns. Per switch: wall time x workers / yields.
 */
#include "benchmarks/support/bench.h"

struct yielder {
    uint64_t yields;
    uint64_t done;
};

static struct fm_exit yield_many(void *arg)
{
    struct yielder *yielder = arg;
    for (uint64_t i = 0; i < yielder->yields; i++) {
        fm_yield();
        yielder->done++;
    }
    return fm_ok(NULL);
}

static struct fm_exit yield(void *arg)
{
    enum { MAX = 128 };
    const struct bench_run *run = arg;
    uint32_t fibers = 2 * run->workers;
    struct yielder yielders[MAX];
    struct fm_fiber *handles[MAX];
    BENCH_CHECK(fibers <= MAX, "at most %d workers", MAX / 2);

    int64_t start = fm_now_ns();
    for (uint32_t i = 0; i < fibers; i++) {
        yielders[i] = (struct yielder) { run->count / fibers, 0 };
        handles[i] = bench_spawn(yield_many, &yielders[i]);
    }
    uint64_t done = 0;
    for (uint32_t i = 0; i < fibers; i++) {
        bench_finish(handles[i]);
        done += yielders[i].done;
    }
    int64_t end = fm_now_ns();
    BENCH_CHECK(done == run->count / fibers * fibers, "%lu yields", (unsigned long)done);
    bench_record(run, "yield", "ns", (double)(end - start) * run->workers / (double)done);
    return fm_ok(NULL);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "yield", .body = yield, .count = 4000000, .max_workers = 64 }
    };
    return bench_main(argc, argv, "what a switch between two runnable fibers costs", cases, 1);
}
