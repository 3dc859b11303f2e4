/*
 * inject.c - a list of tasks that come from outside a worker
 *
 * Owns        the order of the tasks. A task belongs to whoever takes it out.
 * Knows not   workers, fibers, sleeping.
 * Together    any two calls may run at once.
 */
#include "runtime/queue/inject.h"

#include <stddef.h>

/*
 * A task begins with its link (sched/task.h says so to the compiler); this layer knows no more
 * of it.
 */
static struct task **link_of(struct task *task)
{
    return (struct task **)(void *)task;
}

void fm__inject_init(struct inject *inject)
{
    *inject = (struct inject) { 0 };
    fm__lock_init(&inject->lock, LOCK_INJECT);
}

void fm__inject_push(struct inject *inject, struct task *first, struct task *last,
                     uint32_t count)
{
    *link_of(last) = NULL;
    fm__lock(&inject->lock);
    if (inject->last)
        *link_of(inject->last) = first;
    else
        inject->first = first;
    inject->last = last;
    /* relaxed: written under the lock alone */
    uint32_t now = atomic_load_explicit(&inject->count, memory_order_relaxed);
    /* seq_cst: see fm__inject_count */
    atomic_store_explicit(&inject->count, now + count, memory_order_seq_cst);
    fm__unlock(&inject->lock);
}

uint32_t fm__inject_take(struct inject *inject, uint32_t limit, struct task **ret_first)
{
    /* relaxed: a task that comes right now is found by the next look, or by the sleeper's */
    if (!limit || atomic_load_explicit(&inject->count, memory_order_relaxed) == 0)
        return 0;
    fm__lock(&inject->lock);
    uint32_t count = atomic_load_explicit(&inject->count, memory_order_relaxed);
    uint32_t taken = count < limit ? count : limit;
    if (taken) {
        *ret_first = inject->first;
        struct task *last = inject->first;
        for (uint32_t i = 1; i < taken; i++)
            last = *link_of(last);
        inject->first = *link_of(last);
        if (!inject->first)
            inject->last = NULL;
        *link_of(last) = NULL;
        atomic_store_explicit(&inject->count, count - taken, memory_order_seq_cst);
    }
    fm__unlock(&inject->lock);
    return taken;
}
