/*
 * pick.c - the tick: what must not wait for a worker's queue to run dry
 *
 * A worker reads no clock between ticks. It counts the tasks it picks, and the count that makes
 * a tick follows the time that the last one took.
 */
#include "runtime/sched/pick.h"

#include "runtime/platform/clock.h"

enum {
    TICK_NS = 200000,
    TICK_MAX = 512,
    DUE_TICKS = 10,
};

/*
 * Whether the oldest task of the own queue has its turn at this tick. One that was woken or
 * yielded: at every tick. One that was spawned and never ran only when it has been the oldest
 * for DUE_TICKS: to start another branch of a fork-join tree at every tick would keep that many
 * branches, their stacks and queued leaves, half done.
 */
static FM_THREADS_OWN bool oldest_is_due(struct worker *w)
{
    /* relaxed: about right is enough; a thief that moves it is as good as a turn */
    int64_t oldest = atomic_load_explicit(&w->deque.top, memory_order_relaxed);
    if (oldest < w->fair_end)
        return true;
    if (oldest != w->oldest_seen) {
        w->oldest_seen = oldest;
        w->oldest_ticks = 0;
    }
    return ++w->oldest_ticks > DUE_TICKS;
}

/*
 * From the inbox, the inject lists, or the old end of the queue: who gave a task at this tick
 * comes last at the next, so that none that never empties hides another.
 */
static FM_THREADS_OWN struct task *take_in_turn(struct worker *w)
{
    enum { INBOX, INJECTED, OLDEST, PLACES };

    for (uint32_t i = 0; i < PLACES; i++) {
        uint32_t place = (w->tick_place + i) % PLACES;
        struct task *task = place == INBOX      ? fm__worker_take_inbox(w)
                            : place == INJECTED ? fm__worker_take_injected(w)
                            : oldest_is_due(w)  ? fm__deque_steal(&w->deque)
                                                : NULL;
        if (task) {
            w->tick_place = (place + 1) % PLACES;
            return task;
        }
    }
    return NULL;
}

FM_THREADS_OWN struct task *fm__worker_look_around(struct worker *w)
{
    struct sched *sched = w->sched;
    int64_t now = fm__clock_ns();
    int64_t passed = now - w->looked_ns;

    if (passed > 2 * TICK_NS)
        w->tick_interval = w->tick_interval / 2 + 1;
    else if (passed < TICK_NS / 2 && w->tick_interval < TICK_MAX)
        w->tick_interval += w->tick_interval / 4 + 1;
    w->tick = w->tick_interval;
    w->looked_ns = now;
    atomic_store_explicit(&w->coarse_ns, now, memory_order_relaxed);
    w->sample_next = true;
    fm__trace_look(w);
    if (sched->ops->timer_next(sched) <= now)
        sched->ops->timer_fire(sched, now);
    if (sched->ops->poll_needed(sched) &&
        now - atomic_load_explicit(&sched->polled_ns, memory_order_relaxed) > TICK_NS &&
        fm__sched_take_token(sched, w->index + 1)) {
        fm__count(&w->polls, 1);
        sched->ops->poll(sched, 0);
        fm__sched_drop_token(sched, now);
    }
    w->sample_start_ns = fm__clock_ns(); /* without what was fired and polled */
    return take_in_turn(w);
}
