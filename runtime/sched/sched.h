/*
 * sched.h - workers and what they run, as the rooms above see it
 *
 * A scheduler moves tasks. What a task does, how it parks, timers and io are handed down by the
 * rooms above: sched_ops.
 */
#ifndef FM_RUNTIME_SCHED_SCHED_H
#define FM_RUNTIME_SCHED_SCHED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/platform/lock.h"
#include "runtime/platform/thread.h"
#include "runtime/queue/inject.h"
#include "runtime/sched/idle.h"
#include "runtime/sched/task.h"
#include "runtime/sched/trace.h"

enum { WORKERS_MAX = 256, INJECT_SHARDS = 8 };

struct worker;
struct sched;
struct fm_runtime_stats;
struct fm_worker_stats;

/*
 * ms is since the task was first seen running; the times are since a tick of the monitor later.
 */
struct sched_stall {
    struct task *task;
    uint32_t worker;
    int kernel_id;
    uint32_t ms;
    int64_t watched_ns; /* for so long the times below were taken */
    struct thread_times times;
    int64_t throttled_ns;
    bool counts; /* it is one from here on; said once */
};

struct sched_ops {
    /* The whole life of a task, on its stack; returns when nobody needs the task any more. */
    void (*run)(struct task *task);
    /* It never got a stack: end it, on the worker's own. */
    void (*no_stack)(struct task *task);
    /*
     * The context of a task that parks is saved: true if it is parked now, false if it was
     * woken and must be queued.
     */
    bool (*parked)(struct task *task);
    /* What the rooms above keep for each worker: made before it runs, given back after. */
    int (*worker_init)(struct worker *worker);
    void (*worker_fini)(struct worker *worker);
    /*
     * The worker's record goes, with what worker_init left in worker->user (NULL if it never
     * came so far).
     */
    void (*worker_free)(struct worker *worker);
    /* Every worker is idle and nothing is queued: true if work was made. */
    bool (*all_idle)(struct sched *sched);
    /* Time and io: see struct runtime_hooks. */
    int64_t (*timer_next)(struct sched *sched);
    unsigned (*timer_fire)(struct sched *sched, int64_t now_ns);
    unsigned (*poll)(struct sched *sched, int64_t deadline_ns);
    void (*poll_wake)(struct sched *sched);
    bool (*poll_needed)(struct sched *sched);
    /*
     * A task has been running for long without a switch: at 10 ms, and each time it has become
     * twice as long; and when it begins to count as a stall. Monitor thread.
     */
    void (*stalled)(struct sched *sched, const struct sched_stall *stall);
    /*
     * A task has had a processor for a time slice without a switch; again at each tick that it
     * goes on. It may run no longer, or have ended. Monitor thread.
     */
    void (*slice_over)(struct sched *sched, struct task *task);
    /* For how long the process was kept from running by a quota, since it began. */
    int64_t (*throttled_ns)(struct sched *sched);
    /*
     * For traces: the id of the fiber; that, and its name or key; what it waits for, static
     * text; a time that does not fall, of the runtime's clock.
     */
    uint64_t (*trace_id)(struct task *task);
    void (*trace_task)(struct task *task, struct trace_event *event);
    const char *(*trace_wait)(struct task *task);
    int64_t (*trace_now)(struct sched *sched);
};

/* The trace that runs, or the last one: trace.c. */
struct trace {
    _Atomic uint32_t state; /* enum trace_state */
    uint32_t events; /* a ring's */
    int64_t start_ns;
    struct lock lock; /* of `outside` */
    _Atomic(struct trace_ring *) outside;
};

struct sched {
    const struct sched_ops *ops;
    struct idle idle;
    FM_ALONE struct inject inject[INJECT_SHARDS];
    /*
     * threads that are making a task runnable from outside: the scheduler stays until they have
     * left
     */
    struct {
        FM_ALONE _Atomic uint32_t count;
    } visitors[INJECT_SHARDS];
    /* the token: worker index + 1, WORKERS_MAX + 1 the monitor, 0 free */
    FM_ALONE _Atomic uint32_t polling;
    _Atomic int64_t poll_until_ns;          /* how long the token's holder means to wait */
    _Atomic int64_t polled_ns;              /* when a poll last ended */
    /* that should run; one that was told to go counts in `idle` until it has gone */
    FM_ALONE _Atomic uint32_t worker_count;
    uint32_t worker_made;                   /* ever: workers[0 .. made) are not NULL */
    _Atomic(struct worker *) workers[WORKERS_MAX];
    struct lock resize_lock;
    _Atomic bool quit;
    bool spin; /* idle workers may spin a little */
    uint32_t queue_size;
    uint32_t stall_ms;
    uint64_t seed;
    struct monitor *monitor;
    struct trace trace;
};

/*
 * Start `count` workers. On failure nothing is left: -ENOMEM · -EAGAIN.
 * ops, queue_size, stall_ms, seed are set; the rest is zero.
 */
int fm__sched_init(struct sched *sched, uint32_t count);
/* Nothing is left to run: end the workers. */
void fm__sched_fini(struct sched *sched);
/* Live. 0 · -EAGAIN · -ENOMEM */
int fm__sched_resize(struct sched *sched, uint32_t count);

/* How many of its workers can have a processor at once. */
uint32_t fm__sched_at_once(const struct sched *sched);

/* Make a task runnable: any thread. It may run and be gone before this returns. */
void fm__sched_ready(struct sched *sched, struct task *task);

/*
 * How many tasks the caller may make runnable at once: as many as a worker's queue still takes,
 * or half as many as ran since its last look around if that is more. At least 1.
 */
uint32_t fm__sched_room(struct sched *sched);

/* ---- on a worker, from the stack of its current task ---- */

/*
 * The index of the worker that the caller runs on, -1 for a thread that is none. Read anew
 * after every wait.
 */
int fm__worker_index(void);
/* The task that runs here, NULL in a thread and outside tasks. */
struct task *fm__sched_current(void);
/*
 * A number below `below`, each as likely as the others. On a worker it follows from the
 * runtime's seed.
 */
uint32_t fm__sched_random(uint32_t below);
/* What worker_init left in worker->user; NULL in a thread. */
void *fm__sched_user(void);

/*
 * Leave the stack; ops->parked decides. Returns when the task has been made runnable and runs
 * again, on any worker.
 */
void fm__sched_park(struct task *self);
/* Let others run first. */
void fm__sched_yield(struct task *self);
/* Run `child`, which nobody else knows of, at once; self goes to the queue, newest. */
void fm__sched_run_first(struct task *self, struct task *child);
/* Pin the current task to this worker, or let it go. */
void fm__sched_pin(struct task *self);
void fm__sched_unpin(struct task *self);

/* ---- for time and io ---- */

/*
 * A timer is due earlier than any before: a poll that means to wait longer is cut short. Any
 * thread.
 */
void fm__sched_deadline_moved(struct sched *sched, int64_t deadline_ns);
/* The poll has come back and is about to wake fibers: the worker counts as awake again. */
void fm__sched_poll_returned(struct sched *sched);
/*
 * Wake one sleeper so that, finding nothing, it goes to sleep again (and so the last one calls
 * all_idle).
 */
void fm__sched_kick(struct sched *sched);
/*
 * A time that is at most some hundred microseconds old where work flows, for ages in dumps. No
 * system call.
 */
int64_t fm__sched_coarse_ns(void);

/*
 * Whether no worker was awake and nothing was queued at one moment of the call. False: somebody
 * is awake, or about to be woken, and the last to sleep again calls all_idle.
 */
bool fm__sched_at_rest(struct sched *sched);
/* Add the scheduler's part. */
void fm__sched_stats(struct sched *sched, struct fm_runtime_stats *stats);
/* One worker's, `running` left out; false if there is no such worker. Any thread. */
bool fm__sched_worker_stats(struct sched *sched, uint32_t index, struct fm_worker_stats *ret);
/* The task that worker `index` is running, for dumps: racy, may be NULL. */
struct task *fm__sched_running(struct sched *sched, uint32_t index);

#endif
