/*
 * worker.c - a worker's record, and which of them the calling thread is
 *
 * Owns        the records and the thread-local pointer to one.
 * Knows not   what a worker does: loop.c.
 */
#include "runtime/sched/worker.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"

/* The first guess of how many tasks run in a tick; pick.c tunes it. */
enum { TICK_START = 61 };

/* Used: named by hand in worker.h, where an optimiser of the whole program does not look. */
__attribute__((used)) __thread struct worker *fm__this_worker;

#if !(defined __x86_64__ && defined __ELF__ && !defined __ILP32__)
__attribute__((noinline)) struct worker *fm__worker_self(void)
{
    __asm__ volatile("" ::: "memory");
    return fm__this_worker;
}
#endif

void fm__worker_set_self(struct worker *worker)
{
    fm__this_worker = worker;
    /* Written by now, whatever this is inlined into: who reads it by hand does not say so. */
    __asm__ volatile("" ::: "memory");
}

int fm__worker_index(void)
{
    struct worker *w = fm__worker_self();
    return w ? (int)w->index : -1;
}

struct task *fm__sched_current(void)
{
    struct worker *w = fm__worker_self();
    /* relaxed: the owner wrote it */
    return w ? atomic_load_explicit(&w->current, memory_order_relaxed) : NULL;
}

void *fm__sched_user(void)
{
    struct worker *w = fm__worker_self();
    return w ? w->user : NULL;
}

FM_THREADS_OWN int64_t fm__sched_coarse_ns(void)
{
    struct worker *w = fm__worker_self();
    return w ? w->looked_ns : fm__clock_ns();
}

int fm__worker_create(struct sched *sched, uint32_t index, struct worker **ret_worker)
{
    FM_ASSERT(index < WORKERS_MAX && ret_worker);
    struct worker *w = fm__zalloc_aligned(2 * FM_CACHE_LINE, sizeof *w);
    if (!w)
        return -ENOMEM;
    int r = fm__deque_init(&w->deque, sched->queue_size);
    if (r < 0)
        goto free_worker;
    w->sched = sched;
    w->index = index;
    fm__inject_init(&w->inbox);
    r = sched->ops->worker_init(w);
    if (r < 0)
        goto fini_deque;
    w->inject_next = index;
    r = fm__trace_worker_init(w);
    if (r < 0)
        goto free_user;
    w->random = (sched->seed + 1 + index) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    w->tick_interval = w->tick = TICK_START;
    *ret_worker = w;
    return 0;

free_user:
    sched->ops->worker_free(w);
fini_deque:
    fm__deque_fini(&w->deque);
free_worker:
    free(w);
    return r;
}

void fm__worker_destroy(struct worker *worker)
{
    FM_ASSERT(!worker->has_thread && !worker->searching);
    fm__trace_worker_fini(worker);
    worker->sched->ops->worker_free(worker);
    fm__deque_fini(&worker->deque);
    free(worker);
}
