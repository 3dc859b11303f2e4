/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_fib.c - what does a fork cost where nearly every fiber forks?
 *
 * fib(n) forks fib(n - 1), computes fib(n - 2) itself and joins: no cut-off. Per fork. --count
 * is n. `first` runs the child at once and queues the parent (FM_SPAWN_FIRST).
 */
#include "benchmarks/support/bench.h"

static const struct fm_spawn_options child_first = {
    .size = sizeof(struct fm_spawn_options),
    .flags = FM_SPAWN_FIRST,
};

static uint64_t fib(uint64_t n, const struct fm_spawn_options *options);

static struct fm_exit fib_later(void *arg)
{
    return fm_ok((void *)(uintptr_t)fib((uintptr_t)arg, NULL));
}

static struct fm_exit fib_first(void *arg)
{
    return fm_ok((void *)(uintptr_t)fib((uintptr_t)arg, &child_first));
}

static uint64_t fib(uint64_t n, const struct fm_spawn_options *options)
{
    struct fm_fiber *child;
    if (n < 2)
        return n;
    int r = fm_fiber_spawn(options ? fib_first : fib_later, (void *)(uintptr_t)(n - 1), options,
                           &child);
    BENCH_CHECK(r == 0, "spawn: %s", fm_strerror(r));
    uint64_t own = fib(n - 2, options);
    return own + (uintptr_t)bench_finish(child).value;
}

static struct fm_exit measure(const struct bench_run *run, const char *metric,
                              const struct fm_spawn_options *options)
{
    /* forks(n) = 1 + forks(n - 1) + forks(n - 2) = fib(n + 1) - 1 */
    uint64_t a = 0, b = 1;
    for (uint64_t i = 0; i < run->count; i++) {
        uint64_t next = a + b;
        a = b;
        b = next;
    }
    int64_t start = fm_now_ns();
    uint64_t result = fib(run->count, options);
    int64_t end = fm_now_ns();
    BENCH_CHECK(result == a, "fib(%lu) = %lu", (unsigned long)run->count,
                (unsigned long)result);
    bench_record(run, metric, "ns", (double)(end - start) / (double)(b - 1));
    return fm_ok(NULL);
}

static struct fm_exit later(void *arg)
{
    return measure(arg, "fib, per fork", NULL);
}

static struct fm_exit first(void *arg)
{
    return measure(arg, "fib, per fork, child first", &child_first);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "later", .body = later, .count = 25 },
        { .name = "first", .body = first, .count = 25 },
    };
    return bench_main(argc, argv, "what a fork costs, without a cut-off", cases, 2);
}
