/*
 * ready.h - where runnable tasks stand
 *
 * What the owner does at each turn is inline.
 */
#ifndef FM_RUNTIME_SCHED_READY_H
#define FM_RUNTIME_SCHED_READY_H

#include "runtime/sched/sleep.h"

/* ---- any thread ---- */

/* Put a task where any worker finds it, and see that one does. */
void fm__sched_inject(struct sched *sched, struct task *task);
/* The same for a pinned task: where its worker finds it. */
void fm__sched_ready_pinned(struct sched *sched, struct task *task);
/* Nothing becomes runnable any more: wait until the threads that did it have left. */
void fm__sched_await_visitors(struct sched *sched);

/* Empty the slot of one's own worker, or of one that is stuck. NULL if empty. */
static inline struct task *fm__worker_take_lifo(struct worker *worker)
{
    /* relaxed look: most slots are empty */
    if (!atomic_load_explicit(&worker->lifo, memory_order_relaxed))
        return NULL;
    /* acquire: what the owner wrote into the task before it filled the slot */
    return atomic_exchange_explicit(&worker->lifo, NULL, memory_order_acq_rel);
}

/* ---- the owner ---- */

/* The first task of the inbox, NULL if there is none. */
struct task *fm__worker_take_inbox(struct worker *w);
/*
 * The first of a fair part of the next inject list in turn that is not empty; the rest goes to
 * the own queue. NULL if all are empty.
 */
struct task *fm__worker_take_injected(struct worker *w);

/*
 * After a spill, every second time: the first of the list that it went to. NULL: it is the
 * queue's turn, or the list is empty.
 */
struct task *fm__worker_take_spilled(struct worker *w);

/* Parts of push that are rarely run. */
void fm__worker_mark_sample(struct worker *w, struct task *task);
void fm__worker_spill(struct worker *w, struct task *task);

/* To the own queue, to be taken newest or oldest first. */
static inline FM_THREADS_OWN void fm__worker_push(struct worker *w, struct task *task,
                                                  bool newest_first)
{
    if (__builtin_expect(w->sample_next, 0))
        fm__worker_mark_sample(w, task);
    if (__builtin_expect(!fm__deque_push(&w->deque, task), 0)) {
        fm__worker_spill(w, task);
        w->newest_first = 0;
    } else if (newest_first) {
        w->newest_first++;
    } else {
        w->newest_first = 0;
        /* relaxed: the owner's own index */
        w->fair_end = atomic_load_explicit(&w->deque.bottom, memory_order_relaxed);
    }
    fm__sched_cover(w->sched);
}

#endif
