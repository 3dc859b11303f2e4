/*
 * trace.h - what the workers did, event by event, kept in a ring each
 *
 * A worker writes its own ring; whoever reads it, while it may be written, keeps what was not
 * overwritten meanwhile. Threads that are no workers share one ring under a lock.
 *
 *     writer                                       reader
 *       the event's words       (A, release)         the event's words     (B, acquire)
 *       head = number + 1       (C, release)         head                  (D, acquire)
 *   D after B shows whether the slot was given to a later event: each word of that is written
 *   after the head was moved past the former one (A after C), so who read a new word at B sees
 *   that head at D.
 *
 * Off, all of it costs nothing but tests that the switch makes anyway: while a trace runs every
 * task that becomes runnable is marked like one whose latency is sampled, every run is timed
 * like one whose length is, and making a task ready takes the way of foreign threads.
 */
#ifndef FM_RUNTIME_SCHED_TRACE_H
#define FM_RUNTIME_SCHED_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sched;
struct sched_stall;
struct task;
struct worker;

enum trace_kind {
    TRACE_RUN,    /* a task ran from begin_ns to end_ns */
    TRACE_SPAWN,  /* fiber was made runnable for the first time, by `by` */
    TRACE_WAKE,   /* ... again */
    TRACE_STEAL,  /* `number` tasks from worker `other` */
    TRACE_ASLEEP, /* a worker, from begin_ns to end_ns */
    TRACE_STALL,  /* worker `other` runs fiber for `number` ms */
};

/*
 * Who made a task runnable. EARLY: it was woken before it had left its stack, by whom is lost.
 */
enum trace_by { TRACE_BY_TASK, TRACE_BY_TIMER, TRACE_BY_IO, TRACE_BY_OUTSIDE, TRACE_BY_EARLY };

/* How a run ended. */
enum trace_end { TRACE_PARKED, TRACE_YIELDED, TRACE_SPAWNED_FIRST, TRACE_ENDED, TRACE_CUT };

enum {
    TRACE_TEXT = 48,
    TRACE_OUTSIDE = 0xffff,
    TRACE_STOP_NS = 5000000, /* some ticks */
};

struct trace_event {
    int64_t begin_ns;
    int64_t end_ns;   /* begin_ns where it is a moment */
    uint64_t fiber;   /* id, 0: none */
    uint64_t by;      /* id of the fiber that did it, 0: none */
    const char *what; /* static text: what a parked run waits for; or NULL */
    uint32_t number;
    uint16_t worker; /* TRACE_OUTSIDE: no worker's */
    uint16_t other;
    uint8_t kind; /* enum trace_kind */
    uint8_t how;  /* enum trace_by or trace_end */
    bool keyed;   /* text is the key, in quotes; else the name */
    char text[TRACE_TEXT - 3];
};

enum { TRACE_WORDS = sizeof(struct trace_event) / sizeof(uint64_t) };
_Static_assert(sizeof(struct trace_event) == 96, "whole words");

struct trace_ring {
    uint64_t mask;         /* slots in use - 1 */
    uint64_t slots;        /* that there is room for */
    uint64_t first;        /* number of the trace's first event */
    _Atomic uint64_t head; /* number of the next event */
    struct trace_ring *former;
    _Atomic uint64_t words[];
};

/* ---- the trace of a runtime: runtime/trace.c ---- */

/*
 * OFF --- start ---> ON --- stop ---> STOPPED --- forget, when it has been read ---> OFF
 */
enum trace_state { TRACE_OFF, TRACE_ON, TRACE_STOPPED };

/*
 * Begin, with so many events (a power of two) a ring. 0 · -EALREADY one runs, or is being read
 * · -ENOMEM
 */
int fm__trace_start(struct sched *sched, uint32_t events);
/*
 * No more runs. Returns when each worker has seen it, or sleeps, and so has written the last
 * run it had; or after TRACE_STOP_NS: a run that lasts longer than that is not in the trace.
 * 0 · -ENOENT none runs
 */
int fm__trace_stop(struct sched *sched);
/*
 * Stopped: copy the events of ring `index` (worker; WORKERS_MAX: the others') into `events`,
 * which has room for as many as the trace was started with. Returns how many; adds to *dropped
 * those that were overwritten.
 */
uint32_t fm__trace_read(struct sched *sched, uint32_t index, struct trace_event *events,
                        uint64_t *dropped);
/* Stopped, and read: another may start. */
void fm__trace_forget(struct sched *sched);
/* The runtime goes. */
void fm__trace_fini(struct sched *sched);
/* A worker's record is made or goes. 0 · -ENOMEM */
int fm__trace_worker_init(struct worker *w);
void fm__trace_worker_fini(struct worker *w);

/* ---- on a worker ---- */

/* See whether a trace begins or ends: at each tick. */
void fm__trace_look(struct worker *w);
/* Its thread ends. */
void fm__trace_leaves(struct worker *w);
/* It goes to sleep; it has been woken. */
void fm__trace_sleeps(struct worker *w);
void fm__trace_awakes(struct worker *w);
/*
 * From here on the calling thread, if it is a worker, wakes tasks for another reason than that
 * the task that runs there does. Returns the former one.
 */
enum trace_by fm__trace_by(enum trace_by by);

/* While it runs (w->trace is set). A run ends before the next task is picked. */
void fm__trace_run_begins(struct worker *w, struct task *task);
void fm__trace_run_ends(struct worker *w, enum trace_end how);
/* `task` has become runnable by what happens on this worker. */
void fm__trace_ready(struct worker *w, struct task *task);
void fm__trace_steal(struct worker *w, uint32_t victim, uint32_t count);
/* In w->current's time the mark of a runnable task that becomes so without fm__trace_ready. */
void fm__trace_mark(struct task *task);

/* ---- other threads; nothing where none runs ---- */

void fm__trace_ready_outside(struct sched *sched, struct task *task);
void fm__trace_stall(struct sched *sched, const struct sched_stall *stall);

#endif
