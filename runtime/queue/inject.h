/*
 * inject.h - a list of tasks that come from outside a worker
 *
 * First in, first out, unbounded (the links are in the tasks), behind a short lock. The count
 * stands beside it, so that a worker that finds nothing pays one load.
 */
#ifndef FM_RUNTIME_QUEUE_INJECT_H
#define FM_RUNTIME_QUEUE_INJECT_H

#include <stdatomic.h>
#include <stdint.h>

#include "runtime/platform/lock.h"

struct task;

struct inject {
    struct lock lock;
    struct task *first, *last;
    _Atomic uint32_t count; /* written under the lock */
};

void fm__inject_init(struct inject *inject);
/* Append one, or a chain of `count` linked through task->next. Any thread. */
void fm__inject_push(struct inject *inject, struct task *first, struct task *last,
                     uint32_t count);
/* Take the oldest up to `limit` as a chain; returns how many. Any thread. */
uint32_t fm__inject_take(struct inject *inject, uint32_t limit, struct task **ret_first);

/*
 * About how many. seq_cst, as is the store in push: with the idle word in between
 * (sched/idle.h) either the submitter sees the sleeper or the sleeper sees the task.
 */
static inline uint32_t fm__inject_count(const struct inject *inject)
{
    return atomic_load_explicit(&inject->count, memory_order_seq_cst);
}

#endif
