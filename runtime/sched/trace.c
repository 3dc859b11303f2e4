/*
 * trace.c - what the workers did, event by event, kept in a ring each
 *
 * Owns        the rings. One that is too small for a later trace is kept until the worker's
 *             record goes: a busy worker may still be writing to it.
 * Knows not   fibers: sched_ops tells who a task is. What the events are written out as.
 * Invariant   w->trace is the owner's; a ring has one writer, or the lock.
 */
#include "runtime/sched/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/spin.h"
#include "runtime/sched/worker.h"

static int64_t now(struct sched *sched)
{
    return sched->ops->trace_now(sched);
}

/* ---- rings ---- */

static FM_THREADS_OWN void put(struct trace_ring *ring, const struct trace_event *event)
{
    FM_ASSERT(ring && (ring->mask & (ring->mask + 1)) == 0);
    uint64_t word[TRACE_WORDS];
    /* relaxed: this writer's own */
    uint64_t number = atomic_load_explicit(&ring->head, memory_order_relaxed);
    _Atomic uint64_t *slot = &ring->words[(number & ring->mask) * TRACE_WORDS];

    memcpy(word, event, sizeof word);
    for (int i = 0; i < TRACE_WORDS; i++)
        atomic_store_explicit(&slot[i], word[i], memory_order_release);   /* (A) */
    atomic_store_explicit(&ring->head, number + 1, memory_order_release); /* (C) */
}

/* False if event `number` was overwritten meanwhile. */
static bool get(struct trace_ring *ring, uint64_t number, struct trace_event *ret_event)
{
    FM_ASSERT(ring->slots);
    uint64_t word[TRACE_WORDS];
    _Atomic uint64_t *slot = &ring->words[(number & ring->mask) * TRACE_WORDS];

    for (int i = 0; i < TRACE_WORDS; i++)
        word[i] = atomic_load_explicit(&slot[i], memory_order_acquire); /* (B) */
    memcpy(ret_event, word, sizeof word);
    return atomic_load_explicit(&ring->head, memory_order_acquire) <=
           number + ring->mask; /* D */
}

/* A ring for so many events: the one that is there if it has the room. */
static int provide(_Atomic(struct trace_ring *) *place, uint32_t events)
{
    FM_ASSERT(events && (events & (events - 1)) == 0);
    struct trace_ring *ring = atomic_load_explicit(place, memory_order_relaxed);
    if (!ring || ring->slots < events) {
        struct trace_ring *made = fm__calloc(1, sizeof *made + (size_t)events *
                                                                   sizeof(struct trace_event));
        if (!made)
            return -ENOMEM;
        made->slots = events;
        made->mask = events - 1;
        made->former = ring;
        ring = made;
    }
    /*
     * Who is still busy writing an event of the last trace writes it before the first of this.
     */
    ring->first = atomic_load_explicit(&ring->head, memory_order_relaxed);
    /* release: a worker that finds it finds it whole */
    atomic_store_explicit(place, ring, memory_order_release);
    return 0;
}

static void free_rings(struct trace_ring *ring)
{
    while (ring) {
        struct trace_ring *former = ring->former;
        free(ring);
        ring = former;
    }
}

/* ---- beginning and ending ---- */

static struct worker *worker_at(struct sched *sched, uint32_t index)
{
    FM_ASSERT(index < WORKERS_MAX);
    return atomic_load_explicit(&sched->workers[index], memory_order_acquire);
}

int fm__trace_start(struct sched *sched, uint32_t events)
{
    FM_ASSERT(events && (events & (events - 1)) == 0);
    struct trace *trace = &sched->trace;
    struct worker *self = fm__worker_self();
    int r = 0;

    /* no worker is made meanwhile */
    fm__lock(&sched->resize_lock);
    /* acquire, with forget: what was read there is read */
    if (atomic_load_explicit(&trace->state, memory_order_acquire) != TRACE_OFF)
        r = -EALREADY;
    for (uint32_t i = 0; r == 0 && i < WORKERS_MAX && worker_at(sched, i); i++)
        r = provide(&worker_at(sched, i)->trace_ring, events);
    if (r == 0)
        r = provide(&trace->outside, events);
    if (r == 0) {
        trace->events = events;
        trace->start_ns = now(sched);
        /* release: the rings */
        atomic_store_explicit(&trace->state, TRACE_ON, memory_order_release);
    }
    fm__unlock(&sched->resize_lock);
    if (r == 0 && self && self->sched == sched)
        fm__trace_look(self);
    return r;
}

/*
 * Until the workers have written their last runs. One that does not look up within the bound
 * runs one task all the while, and that run has no end to be told.
 */
static void await_workers(struct sched *sched, const struct worker *self)
{
    int64_t until = fm__clock_ns() + TRACE_STOP_NS;

    for (uint32_t i = 0; i < WORKERS_MAX && worker_at(sched, i); i++) {
        struct worker *w = worker_at(sched, i);
        /* acquire (F): what it wrote before (E), or before it joined the sleepers */
        for (unsigned spins = 0;
             w != self && atomic_load_explicit(&w->tracing, memory_order_acquire) &&
             !fm__idle_asleep(&sched->idle, i);
             spins++) {
            if (fm__clock_ns() >= until)
                return;
            fm__spin(spins);
        }
    }
}

FM_THREADS_OWN int fm__trace_stop(struct sched *sched)
{
    struct worker *self = fm__worker_self();
    uint32_t on = TRACE_ON;
    /* acquire: what the starter wrote */
    if (!atomic_compare_exchange_strong_explicit(&sched->trace.state, &on, TRACE_STOPPED,
                                                 memory_order_acquire, memory_order_relaxed))
        return -ENOENT;
    if (self && self->sched == sched) {
        if (self->trace && self->sample_start_ns)
            fm__trace_run_ends(self, TRACE_CUT);
        fm__trace_look(self);
    }
    await_workers(sched, self);
    return 0;
}

uint32_t fm__trace_read(struct sched *sched, uint32_t index, struct trace_event *events,
                        uint64_t *dropped)
{
    FM_ASSERT(events && dropped);
    struct worker *w = index < WORKERS_MAX ? worker_at(sched, index) : NULL;
    struct trace_ring *ring = NULL;
    uint32_t count = 0;

    if (w)
        ring = atomic_load_explicit(&w->trace_ring, memory_order_acquire);
    else if (index == WORKERS_MAX)
        ring = atomic_load_explicit(&sched->trace.outside, memory_order_acquire);
    if (!ring)
        return 0;
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint64_t kept = head - ring->first;
    if (kept > sched->trace.events)
        kept = sched->trace.events;
    for (uint64_t number = head - kept; number < head; number++)
        if (get(ring, number, &events[count]))
            count++;
    *dropped += head - ring->first - count;
    return count;
}

void fm__trace_forget(struct sched *sched)
{
    atomic_store_explicit(&sched->trace.state, TRACE_OFF, memory_order_release);
}

void fm__trace_fini(struct sched *sched)
{
    free_rings(atomic_load_explicit(&sched->trace.outside, memory_order_relaxed));
}

int fm__trace_worker_init(struct worker *w)
{
    w->ready_in = w->sched;
    /* relaxed: under the lock that starts hold, too */
    return atomic_load_explicit(&w->sched->trace.state, memory_order_relaxed) == TRACE_ON
               ? provide(&w->trace_ring, w->sched->trace.events)
               : 0;
}

void fm__trace_worker_fini(struct worker *w)
{
    free_rings(atomic_load_explicit(&w->trace_ring, memory_order_relaxed));
}

/* ---- on a worker ---- */

static FM_THREADS_OWN void write_to(struct worker *w, struct trace_ring *ring)
{
    FM_ASSERT(w == fm__worker_self());
    w->trace = ring;
    w->run.fiber = 0;
    w->ready_in = ring ? NULL : w->sched;
    /* release (E): the last event of a trace that ends, with (F) */
    atomic_store_explicit(&w->tracing, ring != NULL, memory_order_release);
}

FM_THREADS_OWN void fm__trace_look(struct worker *w)
{
    struct sched *sched = w->sched;
    /* acquire: the ring */
    bool on = atomic_load_explicit(&sched->trace.state, memory_order_acquire) == TRACE_ON;
    struct trace_ring *ring = on ? atomic_load_explicit(&w->trace_ring, memory_order_acquire)
                                 : NULL;
    if (ring == w->trace)
        return;
    write_to(w, ring);
    w->sample_next = w->sample_next || ring;
}

void fm__trace_leaves(struct worker *w)
{
    write_to(w, NULL);
}

FM_THREADS_OWN void fm__trace_run_begins(struct worker *w, struct task *task)
{
    FM_ASSERT(task);
    w->run = (struct trace_event) { .kind = TRACE_RUN, .worker = (uint16_t)w->index };
    fm__tsan_ignore_begin(); /* the ring and the run that is written down are the worker's */
    w->sched->ops->trace_task(task, &w->run);
    fm__tsan_ignore_end();
    w->run.begin_ns = now(w->sched);
    w->sample_start_ns = fm__clock_ns();
}

FM_THREADS_OWN void fm__trace_run_ends(struct worker *w, enum trace_end how)
{
    if (!w->run.fiber)
        return;
    FM_ASSERT(w->trace);
    w->run.end_ns = now(w->sched);
    w->run.how = (uint8_t)how;
    if (how == TRACE_PARKED)
        w->run.what = w->sched->ops->trace_wait(
            atomic_load_explicit(&w->current, memory_order_relaxed));
    put(w->trace, &w->run);
    w->run.fiber = 0;
}

FM_THREADS_OWN void fm__trace_mark(struct task *task)
{
    task->since_tick = (uint32_t)(fm__clock_ns() / 1000) | 1;
}

static FM_THREADS_OWN struct trace_event readiness(struct sched *sched, struct task *task)
{
    return (struct trace_event) {
        .kind = task->flags & TASK_SPAWNED ? TRACE_SPAWN : TRACE_WAKE,
        .fiber = sched->ops->trace_id(task),
        .begin_ns = now(sched),
    };
}

FM_THREADS_OWN void fm__trace_ready(struct worker *w, struct task *task)
{
    FM_ASSERT(w->trace);
    struct trace_event event = readiness(w->sched, task);
    struct task *by = atomic_load_explicit(&w->current, memory_order_relaxed);

    event.end_ns = event.begin_ns;
    event.worker = (uint16_t)w->index;
    event.how = w->trace_by;
    if (by && w->trace_by == TRACE_BY_TASK)
        event.by = w->run.fiber;
    put(w->trace, &event);
    fm__trace_mark(task);
}

FM_THREADS_OWN void fm__trace_steal(struct worker *w, uint32_t victim, uint32_t count)
{
    FM_ASSERT(victim != w->index && count);
    FM_ASSERT(w->trace);
    struct trace_event event = { .kind = TRACE_STEAL,
                                 .worker = (uint16_t)w->index,
                                 .other = (uint16_t)victim,
                                 .number = count,
                                 .begin_ns = now(w->sched) };
    event.end_ns = event.begin_ns;
    put(w->trace, &event);
}

FM_THREADS_OWN void fm__trace_sleeps(struct worker *w)
{
    w->asleep_since_ns = w->trace ? now(w->sched) : 0;
}

FM_THREADS_OWN void fm__trace_awakes(struct worker *w)
{
    int64_t since = w->asleep_since_ns;

    w->asleep_since_ns = 0;
    fm__trace_look(w);
    if (!since || !w->trace)
        return;
    struct trace_event event = { .kind = TRACE_ASLEEP,
                                 .worker = (uint16_t)w->index,
                                 .begin_ns = since,
                                 .end_ns = now(w->sched) };
    put(w->trace, &event);
}

FM_THREADS_OWN enum trace_by fm__trace_by(enum trace_by by)
{
    struct worker *w = fm__worker_self();
    enum trace_by before = TRACE_BY_OUTSIDE;
    if (w) {
        before = (enum trace_by)w->trace_by;
        w->trace_by = (uint8_t)by;
    }
    return before;
}

/* ---- other threads ---- */

static void put_outside(struct sched *sched, struct trace_event *event)
{
    FM_ASSERT(event->worker == TRACE_OUTSIDE);
    struct trace *trace = &sched->trace;
    event->end_ns = event->begin_ns;
    fm__lock(&trace->lock);
    put(atomic_load_explicit(&trace->outside, memory_order_acquire), event);
    fm__unlock(&trace->lock);
}

void fm__trace_ready_outside(struct sched *sched, struct task *task)
{
    /* acquire: the ring */
    if (atomic_load_explicit(&sched->trace.state, memory_order_acquire) != TRACE_ON)
        return;
    struct trace_event event = readiness(sched, task);
    event.worker = TRACE_OUTSIDE;
    event.how = TRACE_BY_OUTSIDE;
    put_outside(sched, &event);
    fm__trace_mark(task);
}

void fm__trace_stall(struct sched *sched, const struct sched_stall *stall)
{
    FM_ASSERT(stall->task);
    if (atomic_load_explicit(&sched->trace.state, memory_order_acquire) != TRACE_ON)
        return;
    struct trace_event event = { .kind = TRACE_STALL,
                                 .worker = TRACE_OUTSIDE,
                                 .other = (uint16_t)stall->worker,
                                 .number = stall->ms,
                                 .fiber = sched->ops->trace_id(stall->task),
                                 .begin_ns = now(sched) };
    put_outside(sched, &event);
}
