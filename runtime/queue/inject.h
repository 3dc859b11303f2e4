/*
 * inject.h - a list of tasks that come from outside a worker
 *
 * First in, first out, unbounded (the links are in the tasks), behind a short lock. The count
 * stands beside it, so that a worker that finds nothing pays one load.
 *
 * Tasks that were parked for long, or that a full queue spilled, have left the caches. To walk
 * one list of them is to wait for the memory of each in turn; so there are several, which take
 * turns, and walking them waits for that many at once.
 */
#ifndef FM_RUNTIME_QUEUE_INJECT_H
#define FM_RUNTIME_QUEUE_INJECT_H

#include <stdatomic.h>
#include <stdint.h>

#include "runtime/platform/lock.h"

struct task;

enum { INJECT_LANES = 8 };

struct inject {
    struct lock lock;
    uint32_t out;           /* the lane that the oldest stands in */
    _Atomic uint32_t count; /* written under the lock */
    struct task *first[INJECT_LANES], *last[INJECT_LANES]; /* last: where first is not NULL */
};

/* Tasks on their way into a list, in the order in which they were added. */
struct inject_batch {
    struct task *first[INJECT_LANES], *last[INJECT_LANES];
    uint32_t count;
};

void fm__inject_init(struct inject *inject);
void fm__inject_batch_init(struct inject_batch *batch);
void fm__inject_batch_add(struct inject_batch *batch, struct task *task);
/* Append one. Any thread. */
void fm__inject_push(struct inject *inject, struct task *task);
/* Append a batch, which is not empty. Any thread. */
void fm__inject_push_batch(struct inject *inject, const struct inject_batch *batch);
/* Take the oldest, up to `limit`, in order; returns how many. Any thread. */
uint32_t fm__inject_take(struct inject *inject, uint32_t limit, struct task *ret_tasks[]);

/*
 * About how many. seq_cst, as is the store in push: with the idle word in between
 * (sched/idle.h) either the submitter sees the sleeper or the sleeper sees the task.
 */
static inline uint32_t fm__inject_count(const struct inject *inject)
{
    return atomic_load_explicit(&inject->count, memory_order_seq_cst);
}

#endif
