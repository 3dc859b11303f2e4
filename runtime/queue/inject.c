/*
 * inject.c - a list of tasks that come from outside a worker
 *
 * Owns        the order of the tasks. A task belongs to whoever takes it out.
 * Knows not   workers, fibers, sleeping.
 * Together    any two calls may run at once.
 */
#include "runtime/queue/inject.h"

#include <stddef.h>

#include "runtime/platform/check.h"
#include "runtime/platform/sanitizer.h"

/*
 * A task begins with its link (sched/task.h says so to the compiler); this layer knows no more
 * of it.
 */
static struct task **link_of(struct task *task)
{
    FM_ASSERT(task);
    return (struct task **)(void *)task;
}

void fm__inject_init(struct inject *inject)
{
    *inject = (struct inject) { 0 };
    fm__lock_init(&inject->lock, LOCK_INJECT);
}

void fm__inject_batch_init(struct inject_batch *batch)
{
    *batch = (struct inject_batch) { 0 };
}

FM_THREADS_OWN void fm__inject_batch_add(struct inject_batch *batch, struct task *task)
{
    FM_ASSERT(task);
    uint32_t lane = batch->count++ % INJECT_LANES;
    if (batch->first[lane])
        *link_of(batch->last[lane]) = task;
    else
        batch->first[lane] = task;
    batch->last[lane] = task;
    FM_ASSERT(batch->first[lane] && batch->count);
}

/* The lane of who stands `place` behind the oldest. */
static uint32_t lane_of(const struct inject *inject, uint32_t place)
{
    FM_ASSERT(inject->out < INJECT_LANES);
    return (inject->out + place) % INJECT_LANES;
}

static FM_THREADS_OWN void append_locked(struct inject *inject, uint32_t lane,
                                         struct task *first, struct task *last)
{
    FM_ASSERT(fm__lock_held(&inject->lock) && lane < INJECT_LANES);
    FM_ASSERT(first && last);
    *link_of(last) = NULL;
    if (inject->first[lane])
        *link_of(inject->last[lane]) = first;
    else
        inject->first[lane] = first;
    inject->last[lane] = last;
}

static uint32_t count_locked(const struct inject *inject)
{
    FM_ASSERT(fm__lock_held(&inject->lock));
    /* relaxed: written under the lock alone */
    return atomic_load_explicit(&inject->count, memory_order_relaxed);
}

static void count_set_locked(struct inject *inject, uint32_t count)
{
    FM_ASSERT(fm__lock_held(&inject->lock));
    /* seq_cst: see fm__inject_count */
    atomic_store_explicit(&inject->count, count, memory_order_seq_cst);
}

void fm__inject_push(struct inject *inject, struct task *task)
{
    FM_ASSERT(task);
    fm__lock(&inject->lock);
    uint32_t count = count_locked(inject);
    append_locked(inject, lane_of(inject, count), task, task);
    count_set_locked(inject, count + 1);
    fm__unlock(&inject->lock);
}

void fm__inject_push_batch(struct inject *inject, const struct inject_batch *batch)
{
    FM_ASSERT(batch->count);
    fm__lock(&inject->lock);
    uint32_t count = count_locked(inject);
    for (uint32_t i = 0; i < INJECT_LANES && i < batch->count; i++)
        append_locked(inject, lane_of(inject, count + i), batch->first[i], batch->last[i]);
    count_set_locked(inject, count + batch->count);
    fm__unlock(&inject->lock);
}

FM_THREADS_OWN uint32_t fm__inject_take(struct inject *inject, uint32_t limit,
                                        struct task *ret_tasks[])
{
    /* relaxed: a task that comes right now is found by the next look, or by the sleeper's */
    if (!limit || atomic_load_explicit(&inject->count, memory_order_relaxed) == 0)
        return 0;
    fm__lock(&inject->lock);
    uint32_t count = count_locked(inject);
    uint32_t taken = count < limit ? count : limit;
    for (uint32_t i = 0; i < taken; i++) {
        uint32_t lane = lane_of(inject, i);
        ret_tasks[i] = inject->first[lane];
        FM_ASSERT(ret_tasks[i]);
        inject->first[lane] = *link_of(ret_tasks[i]);
    }
    inject->out = lane_of(inject, taken);
    FM_ASSERT(taken <= count && taken <= limit);
    if (taken)
        count_set_locked(inject, count - taken);
    fm__unlock(&inject->lock);
    return taken;
}
