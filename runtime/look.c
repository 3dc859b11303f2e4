/*
 * look.c - what fibers and workers are doing, as values
 *
 * Nothing is stopped, no lock is taken: a word is read here, a word there, and what comes out
 * was true of each at some moment.
 *
 * Sanitizers  what is told of a fiber that runs meanwhile is racy by design: the function that
 *             reads its plain fields is not instrumented.
 */
#include "runtime/look.h"

#include <errno.h>

#include "runtime/fiber/runtime.h"
#include "runtime/fiber/slab.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/sanitizer.h"
#include "runtime/sched/fork.h"

/* ---- one fiber ---- */

int fm__fiber_runs_on(struct fm_runtime *runtime, const struct fm_fiber *fiber)
{
    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        if (fm__sched_running(&runtime->sched, i) == &fiber->task)
            return (int)i;
    return -1;
}

uint32_t fm__fiber_waited_ms(const struct fm_fiber *fiber)
{
    uint32_t since = atomic_load_explicit(&fiber->futex, memory_order_relaxed);
    uint32_t ms = (uint32_t)(fm__clock_ns() / 1000000) - since;
    return ms > INT32_MAX ? 0 : ms; /* it began just now, by a clock that has moved on */
}

static FM_NO_TSAN uint32_t state_of(struct fm_fiber *fiber, int worker)
{
    switch (fm__state_life(fm__state_read(&fiber->state))) {
    case LIFE_ACTIVE:
        return worker >= 0                           ? FM_FIBER_RUNNING
               : fiber->task.flags & TASK_SPAWNED ? FM_FIBER_NEW
                                                     : FM_FIBER_RUNNABLE;
    case LIFE_DONE: return FM_FIBER_ENDED;
    default: return FM_FIBER_PARKED;
    }
}

static struct fm_fiber_look look_at(struct fm_fiber *fiber)
{
    struct fm_fiber_look look = { .worker = -1 };
    if (fm__state_life(fm__state_read(&fiber->state)) == LIFE_ACTIVE)
        look.worker = fm__fiber_runs_on(fiber->runtime, fiber);
    look.state = state_of(fiber, look.worker);
    if (look.state == FM_FIBER_PARKED) {
        look.waits_for = atomic_load_explicit(&fiber->waits_for, memory_order_relaxed);
        look.waits_ms = look.waits_for ? fm__fiber_waited_ms(fiber) : 0;
    }
    return look;
}

int fm_fiber_look(struct fm_fiber *fiber, struct fm_fiber_look *ret_look)
{
    if (!fiber || !ret_look)
        return -EINVAL;
    *ret_look = look_at(fiber);
    return 0;
}

const char *fm_fiber_state_name(uint32_t state)
{
    static const char *const names[] = { "new", "runnable", "running", "parked", "ended" };
    return state < sizeof names / sizeof names[0] ? names[state] : "?";
}

/* ---- all of them ---- */

int fm__fiber_each(struct fm_runtime *runtime, fiber_each_fn *fn, void *ctx)
{
    uint32_t slots = fm__slab_slots();
    for (uint32_t slot = 0; slot < slots; slot++) {
        struct fm_fiber *fiber = fm__slab_find(slot);
        uint64_t refs = atomic_load_explicit(&fiber->refs, memory_order_acquire);
        if (!(refs & ((1u << FIBER_ID_SLOT_BITS) - 1)) ||
            !(fiber = fm__fiber_ref_id(fm__fiber_id(fiber))))
            continue;
        int r = 0;
        if (fiber->runtime == runtime && fiber->kind == FIBER_TASK && !fm__fiber_ended(fiber))
            r = fn(ctx, fiber);
        fm_fiber_unref(fiber);
        if (r != 0)
            return r;
    }
    return 0;
}

struct visit {
    fm_visit_fn *fn;
    void *ctx;
};

static int visit_one(void *ctx, struct fm_fiber *fiber)
{
    const struct visit *visit = ctx;
    struct fm_fiber_look look = look_at(fiber);
    return look.state == FM_FIBER_ENDED ? 0 : visit->fn(visit->ctx, fiber, &look);
}

int fm_runtime_visit(struct fm_runtime *runtime, fm_visit_fn *fn, void *ctx)
{
    if (!runtime || !fn)
        return -EINVAL;
    if (fm__forked())
        return -EPERM;
    return fm__fiber_each(runtime, visit_one, &(struct visit) { fn, ctx });
}

/* ---- workers ---- */

int fm_runtime_workers(struct fm_runtime *runtime, struct fm_worker_stats *ret_workers,
                       size_t capacity)
{
    if (!runtime || (capacity && !ret_workers))
        return -EINVAL;
    if (fm__forked())
        return -EPERM;
    uint32_t count = atomic_load_explicit(&runtime->sched.worker_count, memory_order_relaxed);
    for (uint32_t i = 0; i < count && i < capacity; i++) {
        /* a task is the beginning of a fiber, whose memory stays one whatever becomes of it */
        struct fm_fiber *fiber = (struct fm_fiber *)fm__sched_running(&runtime->sched, i);
        ret_workers[i] = (struct fm_worker_stats) { 0 };
        fm__sched_worker_stats(&runtime->sched, i, &ret_workers[i]);
        ret_workers[i].running = fiber ? fm__fiber_id(fiber) : 0;
    }
    return (int)count;
}
