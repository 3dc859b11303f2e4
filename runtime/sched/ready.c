/*
 * ready.c - where runnable tasks stand
 *
 * A task that is made runnable goes to the slot of the worker that did it; what it pushes out
 * goes to the end of that worker's queue, and from a full queue half goes to the inject lists.
 * Tasks made runnable by other threads go to the inject lists at once, pinned ones to their
 * worker's inbox. Each way ends in a look whether somebody must be woken for it.
 *
 * Knows not   when a worker looks where: pick.h, search.c.
 * Invariant   a runnable task stands in exactly one place: a slot, a queue, an inbox, an inject
 *             list, or a worker's hands.
 */
#include "runtime/sched/ready.h"

#include <errno.h>

#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/spin.h"
#include "runtime/platform/turn.h"

enum { INJECT_BATCH = 64, OUTSIDE_ROOM = 256 };

/* ---- any thread ---- */

static unsigned shard_here(struct sched *sched, struct worker *w)
{
    if (w && w->sched == sched)
        return w->index % INJECT_SHARDS;
    if (fm__turn_taken())
        return fm__turn_seat() % INJECT_SHARDS;
    /* The address of a thread-local tells foreign threads apart well enough. */
    return (unsigned)((uintptr_t)&errno >> 12) % INJECT_SHARDS;
}

static struct inject *shard_of(struct sched *sched, struct worker *w)
{
    return &sched->inject[shard_here(sched, w)];
}

void fm__sched_inject(struct sched *sched, struct task *task)
{
    fm__inject_push(shard_of(sched, fm__worker_self()), task);
    fm__sched_cover(sched);
}

FM_THREADS_OWN void fm__sched_ready_pinned(struct sched *sched, struct task *task)
{
    FM_ASSERT(task->pinned);
    /* relaxed: a worker with pins is there */
    struct worker *w = atomic_load_explicit(&sched->workers[task->pinned - 1],
                                            memory_order_relaxed);
    fm__inject_push(&w->inbox, task);
    if (w != fm__worker_self() && fm__idle_asleep(&sched->idle, w->index))
        fm__sched_rouse(sched, w);
}

/*
 * From a thread that is none of ours. As soon as the task is queued it may run and end, be the
 * last one, and the runtime be destroyed, while we have yet to look for a sleeper: fini waits
 * until the visitors have left.
 */
static FM_THREADS_OWN __attribute__((noinline)) void ready_from_outside(struct sched *sched,
                                                                        struct task *task)
{
    FM_ASSERT(task);
    _Atomic uint32_t *visitors = &sched->visitors[shard_here(sched, NULL)].count;
    /*
     * relaxed: before the push, whose lock shows it to the worker that ends the task and so to
     * fini
     */
    atomic_fetch_add_explicit(visitors, 1, memory_order_relaxed);
    fm__trace_ready_outside(sched, task);
    if (task->pinned)
        fm__sched_ready_pinned(sched, task);
    else
        fm__sched_inject(sched, task);
    /* release: the last access to the scheduler; with await_visitors */
    atomic_fetch_sub_explicit(visitors, 1, memory_order_release);
}

void fm__sched_await_visitors(struct sched *sched)
{
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        /* acquire: all that they did here */
        for (unsigned spins = 0;
             atomic_load_explicit(&sched->visitors[i].count, memory_order_acquire); spins++)
            fm__spin(spins);
}

FM_THREADS_OWN void fm__sched_ready(struct sched *sched, struct task *task)
{
    struct worker *w = fm__worker_self();

    if (__builtin_expect(!w || w->ready_in != sched, 0)) {
        if (!w || w->sched != sched) {
            ready_from_outside(sched, task);
            return;
        }
        fm__trace_ready(w, task);
    }
    if (__builtin_expect(task->pinned != 0, 0)) {
        fm__sched_ready_pinned(sched, task);
        return;
    }
    /*
     * Into the slot. Only the owner fills it, anybody may empty it: release for who takes it,
     * acquire of nothing (a task that comes back from the slot was put there by this thread).
     */
    struct task *older = atomic_load_explicit(&w->lifo, memory_order_relaxed);
    if (!older) {
        atomic_store_explicit(&w->lifo, task, memory_order_release);
        return;
    }
    bool spawned = (task->flags & TASK_SPAWNED) != 0;
    older = atomic_exchange_explicit(&w->lifo, task, memory_order_acq_rel);
    if (older)
        fm__worker_push(w, older, spawned || (older->flags & TASK_SPAWNED));
}

/* ---- the owner's queue ---- */

FM_THREADS_OWN void fm__worker_mark_sample(struct worker *w, struct task *task)
{
    w->sample_next = w->trace != NULL;
    task->since_tick = (uint32_t)(fm__clock_ns() / 1000) | 1;
}

/* The queue is full: half of it, the oldest first, and the task go to the inject list. */
FM_THREADS_OWN void fm__worker_spill(struct worker *w, struct task *task)
{
    FM_ASSERT(task);
    struct inject_batch batch;
    struct task *oldest;
    fm__inject_batch_init(&batch);
    for (uint32_t n = w->sched->queue_size / 2; n && (oldest = fm__deque_steal(&w->deque)); n--)
        fm__inject_batch_add(&batch, oldest);
    fm__inject_batch_add(&batch, task);
    fm__inject_push_batch(shard_of(w->sched, w), &batch);
    w->spilled = true;
    fm__count(&w->overflows, 1);
}

/* ---- from the lists ---- */

struct task *fm__worker_take_inbox(struct worker *w)
{
    struct task *task;
    if (!fm__inject_take(&w->inbox, 1, &task))
        return NULL;
    fm__count(&w->injected, 1);
    return task;
}

/* The first; the others go to the own queue. */
static struct task *take_injected_from(struct worker *w, struct inject *inject, uint32_t limit)
{
    FM_ASSERT(limit && limit <= INJECT_BATCH);
    FM_ASSERT(inject);
    struct task *tasks[INJECT_BATCH];
    uint32_t count = fm__inject_take(inject, limit, tasks);
    if (!count)
        return NULL;
    fm__count(&w->injected, count);
    for (uint32_t i = 1; i < count; i++)
        fm__task_fetch(tasks[i]);
    for (uint32_t i = 1; i < count; i++)
        fm__worker_push(w, tasks[i], false);
    return tasks[0];
}

FM_THREADS_OWN struct task *fm__worker_take_injected(struct worker *w)
{
    struct sched *sched = w->sched;
    for (uint32_t i = 0; i < INJECT_SHARDS; i++) {
        uint32_t shard = (w->inject_next + i) % INJECT_SHARDS;
        struct inject *inject = &sched->inject[shard];
        uint32_t count = fm__inject_count(inject);
        if (!count)
            continue;
        /* a fair part, and no more than the own queue takes with ease */
        uint32_t limit = count /
                             atomic_load_explicit(&sched->worker_count, memory_order_relaxed) +
                         1;
        if (limit > INJECT_BATCH)
            limit = INJECT_BATCH;
        if (limit > sched->queue_size / 2)
            limit = sched->queue_size / 2;
        struct task *task = take_injected_from(w, inject, limit ? limit : 1);
        if (task) {
            /*
             * the next in turn: one that is filled as fast as it empties must not hide others
             */
            w->inject_next = shard + 1;
            return task;
        }
    }
    return NULL;
}

FM_THREADS_OWN struct task *fm__worker_take_spilled(struct worker *w)
{
    w->spilled_next = !w->spilled_next;
    if (!w->spilled_next)
        return NULL;
    struct task *task = take_injected_from(w, shard_of(w->sched, w), 1);
    if (!task)
        w->spilled = false;
    return task;
}

/* ---- pins ---- */

void fm__sched_pin(struct task *self)
{
    FM_ASSERT(fm__worker_self() && !self->pinned);
    struct worker *w = fm__worker_self();
    self->pinned = (uint16_t)(w->index + 1);
    atomic_fetch_add_explicit(&w->pins, 1, memory_order_relaxed);
}

void fm__sched_unpin(struct task *self)
{
    FM_ASSERT(self->pinned == fm__worker_self()->index + 1);
    struct worker *w = fm__worker_self();
    self->pinned = 0;
    atomic_fetch_sub_explicit(&w->pins, 1, memory_order_relaxed);
}

FM_THREADS_OWN uint32_t fm__sched_room(struct sched *sched)
{
    struct worker *w = fm__worker_self();
    if (!w || w->sched != sched)
        return OUTSIDE_ROOM;
    int64_t queued = fm__deque_count(&w->deque);
    uint32_t room = queued < sched->queue_size ? sched->queue_size - (uint32_t)queued : 0;
    /* A queue whose tasks come back all the time is always full: one for two that ran. */
    uint32_t turns = w->tick_interval / 2 + 1;
    return room > turns ? room : turns;
}
