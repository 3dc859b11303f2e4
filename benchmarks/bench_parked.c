/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_parked.c - what does a million waiting fibers cost?
 *
 *   queued    bytes of a fiber that has been spawned and has not run (one worker, so that
 *             nobody starts it)
 *   create    from the first spawn until all wait, cold memory, guarded stacks, per fiber
 *   resident  bytes of a waiting fiber
 *   wake all  from the completion they all await until the last has ended, per fiber
 *
 * Each run is a process of its own and touches some gigabytes.
 */
#include "benchmarks/support/bench.h"

#include <stdatomic.h>

struct crowd {
    struct fm_deferred *gate;
    struct fm_deferred *all_wait;
    uint64_t size;
    _Atomic uint64_t waiting;
    _Atomic uint64_t ended;
};

static struct fm_exit wait_at_gate(void *arg)
{
    struct crowd *crowd = arg;
    if (atomic_fetch_add_explicit(&crowd->waiting, 1, memory_order_relaxed) + 1 == crowd->size)
        fm_deferred_succeed(crowd->all_wait, NULL);
    int r = fm_deferred_await(crowd->gate, FM_NEVER, NULL);
    atomic_fetch_add_explicit(&crowd->ended, 1, memory_order_relaxed);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit parked(void *arg)
{
    const struct bench_run *run = arg;
    struct crowd crowd = { .size = run->count };
    double n = (double)run->count;

    BENCH_CHECK(fm_deferred_create(&crowd.gate) == 0 &&
                    fm_deferred_create(&crowd.all_wait) == 0,
                "no memory");
    uint64_t before = bench_resident_bytes();
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++) {
        int r = fm_fiber_spawn(wait_at_gate, &crowd, NULL, NULL);
        BENCH_CHECK(r == 0, "spawn %lu: %s", (unsigned long)i, fm_strerror(r));
    }
    int64_t spawned = fm_now_ns();
    uint64_t queued = bench_resident_bytes();
    int64_t looked = fm_now_ns() - spawned;
    bool none_ran = atomic_load(&crowd.waiting) == 0;
    fm_deferred_await(crowd.all_wait, FM_NEVER, NULL);
    int64_t end = fm_now_ns();
    uint64_t resident = bench_resident_bytes();

    int64_t woken = fm_now_ns();
    fm_deferred_succeed(crowd.gate, NULL);
    fm_scope_wait(FM_NEVER);
    int64_t gone = fm_now_ns();
    BENCH_CHECK(atomic_load(&crowd.ended) == run->count, "%lu ended",
                (unsigned long)atomic_load(&crowd.ended));

    if (none_ran)
        bench_record(run, "queued, not started", "bytes", (double)(queued - before) / n);
    bench_record(run, "create cold and wait", "ns", (double)(end - start - looked) / n);
    bench_record(run, "waiting, resident", "bytes", (double)(resident - before) / n);
    bench_record(run, "wake all, see them end", "ns", (double)(gone - woken) / n);
    fm_deferred_destroy(crowd.gate);
    fm_deferred_destroy(crowd.all_wait);
    return fm_ok(NULL);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "parked", .body = parked, .count = 1000000, .cold = true }
    };
    return bench_main(argc, argv, "what a million waiting fibers cost", cases, 1);
}
