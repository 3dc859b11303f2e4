/*
 * random.c - chance for the rooms above: which of several that are equally good
 *
 * On a worker it is the worker's own generator, seeded by the runtime's seed: with one worker
 * and the same seed the same choices follow. A thread that is no worker has a generator of its
 * own, in no relation to any seed.
 */
#include <stdatomic.h>

#include "runtime/sched/sched.h"
#include "runtime/sched/worker.h"

static FM_THREADS_OWN uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

FM_THREADS_OWN uint32_t fm__sched_random(uint32_t below)
{
    static _Atomic uint64_t threads;
    /* read in threads only, and these do not migrate */
    static __thread uint64_t own __attribute__((tls_model("initial-exec")));

    struct worker *w = fm__worker_self();
    if (!w && !own) /* relaxed: the numbers differ, nothing else is asked of them */
        own = (atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1) *
              UINT64_C(0x9E3779B97F4A7C15);
    uint32_t drawn = (uint32_t)(next(w ? &w->random : &own) >> 16);
    return (uint32_t)(((uint64_t)drawn * below) >> 32);
}
