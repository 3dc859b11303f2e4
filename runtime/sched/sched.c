/*
 * sched.c - the scheduler as a whole: as many workers as asked for, their end, their sums
 *
 * Owns        the array of workers. A record stays until fini; its thread may leave and be
 *             started anew.
 * Knows not   what a worker does: loop.c.
 */
#include "runtime/sched/sched.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/cpu.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/own_thread.h"
#include "runtime/platform/turn.h"
#include "runtime/sched/loop.h"
#include "runtime/sched/monitor.h"
#include "runtime/sched/ready.h"

static int start_worker(struct sched *sched, uint32_t index)
{
    FM_ASSERT(fm__lock_held(&sched->resize_lock) && index < WORKERS_MAX);
    struct worker *w = atomic_load_explicit(&sched->workers[index], memory_order_relaxed);
    int r;

    if (!w) {
        r = fm__worker_create(sched, index, &w);
        if (r < 0)
            return r;
        /* release: complete before thieves, and those who count fibers, see it */
        atomic_store_explicit(&sched->workers[index], w, memory_order_release);
        sched->worker_made = index + 1;
    }
    atomic_store_explicit(&w->retire, RETIRE_STAY, memory_order_relaxed);
    fm__idle_join(&sched->idle);
    r = fm__thread_create(&w->thread, fm__worker_main, w);
    if (r < 0) {
        fm__idle_leave(&sched->idle);
        sched->ops->worker_fini(w);
        return r;
    }
    w->has_thread = true;
    return 0;
}

static void join_worker(struct worker *w)
{
    if (w->has_thread) {
        pthread_join(w->thread, NULL);
        w->has_thread = false;
    }
}

int fm__sched_resize(struct sched *sched, uint32_t count)
{
    FM_ASSERT(count <= WORKERS_MAX);
    int r = 0;

    fm__lock(&sched->resize_lock);
    uint32_t now = atomic_load_explicit(&sched->worker_count, memory_order_relaxed);
    for (; now < count && r == 0; now++) {
        struct worker *w = atomic_load_explicit(&sched->workers[now], memory_order_relaxed);
        uint32_t go_now = RETIRE_GO;
        /*
         * One that was told to go and has not gone may stay; one past that point is waited for
         * and made anew.
         */
        if (!w || !w->has_thread ||
            !atomic_compare_exchange_strong_explicit(&w->retire, &go_now, RETIRE_STAY,
                                                     memory_order_acq_rel,
                                                     memory_order_relaxed)) {
            if (w)
                join_worker(w);
            r = start_worker(sched, now);
            if (r < 0)
                break;
        }
        atomic_store_explicit(&sched->worker_count, now + 1, memory_order_relaxed);
    }
    for (; now > count; now--) {
        struct worker *w = atomic_load_explicit(&sched->workers[now - 1], memory_order_relaxed);
        atomic_store_explicit(&sched->worker_count, now - 1, memory_order_relaxed);
        atomic_store_explicit(&w->retire, RETIRE_GO, memory_order_seq_cst);
        fm__sched_rouse(sched, w);
    }
    fm__unlock(&sched->resize_lock);
    return r;
}

int fm__sched_init(struct sched *sched, uint32_t count)
{
    /* Where threads take turns, what happens must not hang on the machine. */
    bool turns = fm__turn_taken();
    fm__idle_init(&sched->idle, turns ? WORKERS_MAX : fm__cpu_count());
    fm__lock_init(&sched->resize_lock, LOCK_RUNTIME);
    fm__lock_init(&sched->trace.lock, LOCK_SLAB);
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        fm__inject_init(&sched->inject[i]);
    atomic_store_explicit(&sched->poll_until_ns, INT64_MIN, memory_order_relaxed);
    /* There, there is nothing to spin for either, and the monitor's watch is real time. */
    sched->spin = !turns && !fm__cpu_quota();
    int r = turns ? 0 : fm__monitor_start(sched);
    if (r < 0)
        return r;
    r = fm__sched_resize(sched, count);
    if (r < 0)
        fm__sched_fini(sched);
    return r;
}

void fm__sched_fini(struct sched *sched)
{
    /* release: what the shutter-down did, to the workers that leave */
    atomic_store_explicit(&sched->quit, true, memory_order_release);
    fm__monitor_stop(sched);
    for (uint32_t i = 0; i < sched->worker_made; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_relaxed);
        /*
         * One that is not among the sleepers yet looks at quit once more when it has joined
         * them.
         */
        fm__sched_rouse(sched, w);
    }
    for (uint32_t i = 0; i < sched->worker_made; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_relaxed);
        join_worker(w);
    }
    fm__sched_await_visitors(sched);
    for (uint32_t i = 0; i < sched->worker_made; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_relaxed);
        fm__worker_destroy(w);
    }
    sched->worker_made = 0;
    free(sched->monitor);
    sched->monitor = NULL;
    fm__trace_fini(sched);
}

uint32_t fm__sched_at_once(const struct sched *sched)
{
    uint32_t workers = atomic_load_explicit(&sched->worker_count, memory_order_relaxed);
    return workers < sched->idle.processors ? workers : sched->idle.processors;
}

struct task *fm__sched_running(struct sched *sched, uint32_t index)
{
    struct worker *w = index < WORKERS_MAX
                           ? atomic_load_explicit(&sched->workers[index], memory_order_acquire)
                           : NULL;
    return w ? atomic_load_explicit(&w->current, memory_order_acquire) : NULL;
}

void fm__sched_stats(struct sched *sched, struct fm_runtime_stats *stats)
{
    stats->worker_count = atomic_load_explicit(&sched->worker_count, memory_order_relaxed);
    stats->workers_awake = IDLE_AWAKE(fm__idle_read(&sched->idle));
    stats->stalls = fm__monitor_stalls(sched);
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        stats->shared_queued += fm__inject_count(&sched->inject[i]);
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_acquire);
        if (!w)
            break;
        stats->switches += fm__counted(&w->switches);
        stats->steals += fm__counted(&w->steals);
        stats->injected += fm__counted(&w->injected);
        stats->overflows += fm__counted(&w->overflows);
        stats->parks += fm__counted(&w->parks);
        stats->wakes += fm__counted(&w->wakes);
        stats->polls += fm__counted(&w->polls);
        fm__histogram_sum(&stats->schedule_latency, &w->latency);
        fm__histogram_sum(&stats->run_length, &w->run_length);
    }
}

bool fm__sched_worker_stats(struct sched *sched, uint32_t index, struct fm_worker_stats *ret)
{
    struct worker *w = index < WORKERS_MAX
                           ? atomic_load_explicit(&sched->workers[index], memory_order_acquire)
                           : NULL;
    if (!w)
        return false;
    *ret = (struct fm_worker_stats) {
        .queued = (uint64_t)fm__deque_count(&w->deque) +
                  (atomic_load_explicit(&w->lifo, memory_order_relaxed) != NULL),
        .pinned = fm__inject_count(&w->inbox),
        .switches = fm__counted(&w->switches),
        .steals = fm__counted(&w->steals),
        .parks = fm__counted(&w->parks),
    };
    return true;
}
