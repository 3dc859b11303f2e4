/*
 * pick.h - which of its own tasks a worker runs next
 *
 * Inline: it is part of every switch.
 *
 * The order of picking, and why:
 *   1. the LIFO slot, at most LIFO_RUNS times in a row: the task made runnable last finds its
 *      data warm. Then another has its turn, so that two tasks that wake each other for ever do
 *      not starve a third.
 *   2. tasks spawned here and not yet run, newest first: a fork-join program then works through
 *      its tree depth first, in memory that grows with the depth and not with the breadth. What
 *      a spawn pushes out of the slot counts with them: it is older than the spawned task and
 *      younger than all others.
 *   3. the queue, oldest first. Where a task yields that has overflowed the queue, or another
 *      did before: in turn with the list in which the older ones stand since then, so that
 *      those that yield all the time do not pass them.
 *   4. every tick (about 200 us): timers and io, and then in turn one of the inbox, of the
 *      inject lists, and the oldest task of the own queue before anything newer (after ten
 *      ticks, if it was spawned and never ran): no runnable task waits for more than its turn
 *      in a queue that is served so. Each of the three has every third tick, so what stands
 *      n-th in its inbox runs after 3 n ticks at the latest, however busy its worker is.
 * Others steal from the old end, half at a time.
 */
#ifndef FM_RUNTIME_SCHED_PICK_H
#define FM_RUNTIME_SCHED_PICK_H

#include "runtime/sched/ready.h"

enum { LIFO_RUNS = 3 };

/* The tick (pick.c). Returns a task that has waited long, or NULL. */
struct task *fm__worker_look_around(struct worker *w);

/*
 * The next task from what is this worker's own; NULL if there is none, or if the worker leaves.
 * `yielding`: nobody may pass the oldest, and the queue not those that it had no room for.
 */
static inline FM_THREADS_OWN struct task *fm__worker_pick(struct worker *w, bool yielding)
{
    struct task *task;

    if (__builtin_expect(w->tick-- == 0, 0)) {
        if (fm__worker_leaving(w)) {
            w->tick = 0;
            return NULL;
        }
        task = fm__worker_look_around(w);
        if (task)
            return task;
    }
    if (yielding && __builtin_expect(w->spilled, 0)) {
        task = fm__worker_take_spilled(w);
        if (task)
            return task;
    }
    /* relaxed: the owner fills it; a thief that empties it leaves NULL */
    bool slot = atomic_load_explicit(&w->lifo, memory_order_relaxed) != NULL;
    if (slot && w->lifo_runs < LIFO_RUNS && (task = fm__worker_take_lifo(w))) {
        w->lifo_runs++;
        return task;
    }
    w->lifo_runs = 0;
    if (w->newest_first && !yielding) {
        w->newest_first--;
        task = fm__deque_pop(&w->deque);
        if (task)
            return task;
        w->newest_first = 0;
    }
    task = fm__deque_steal(&w->deque);
    if (!task && slot)
        task = fm__worker_take_lifo(w);
    if (task)
        return task;
    return fm__worker_take_inbox(w);
}

#endif
