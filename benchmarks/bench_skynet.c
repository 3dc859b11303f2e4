/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_skynet.c - how long does a tree of fibers with a million leaves take?
 *
 * Each fiber starts ten, joins them and sums their results; the leaves give their number.
 * --count is the number of leaves, a power of ten.
 */
#include "benchmarks/support/bench.h"

enum { CHILDREN = 10 };

struct node {
    uint64_t first; /* number of its first leaf */
    uint64_t leaves;
    const struct fm_spawn_options *options;
};

static struct fm_exit grow(void *arg)
{
    const struct node *node = arg;
    struct node children[CHILDREN];
    struct fm_fiber *fibers[CHILDREN];
    uint64_t sum = 0;

    if (node->leaves == 1)
        return fm_ok((void *)(uintptr_t)node->first);
    for (unsigned i = 0; i < CHILDREN; i++) {
        uint64_t leaves = node->leaves / CHILDREN;
        children[i] = (struct node) { node->first + i * leaves, leaves, node->options };
        int r = fm_fiber_spawn(grow, &children[i], node->options, &fibers[i]);
        BENCH_CHECK(r == 0, "spawn: %s", fm_strerror(r));
    }
    for (unsigned i = CHILDREN; i-- > 0;)
        sum += (uintptr_t)bench_finish(fibers[i]).value;
    return fm_ok((void *)(uintptr_t)sum);
}

static struct fm_exit measure(const struct bench_run *run, const char *metric,
                              const struct fm_spawn_options *options)
{
    struct node root = { 0, run->count, options };
    int64_t start = fm_now_ns();
    struct fm_exit exit = bench_finish(bench_spawn(grow, &root));
    int64_t end = fm_now_ns();
    BENCH_CHECK((uintptr_t)exit.value == run->count * (run->count - 1) / 2, "sum %lu",
                (unsigned long)(uintptr_t)exit.value);
    bench_record(run, metric, "ms", (double)(end - start) / 1e6);
    return fm_ok(NULL);
}

static struct fm_exit later(void *arg)
{
    return measure(arg, "skynet", NULL);
}

static struct fm_exit first(void *arg)
{
    static const struct fm_spawn_options child_first = {
        .size = sizeof(struct fm_spawn_options),
        .flags = FM_SPAWN_FIRST,
    };
    return measure(arg, "skynet, child first", &child_first);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "later", .body = later, .count = 1000000 },
        { .name = "first", .body = first, .count = 1000000 },
    };
    return bench_main(argc, argv, "how long a tree with a million leaves takes", cases, 2);
}
