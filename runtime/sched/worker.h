/*
 * worker.h - one worker's own state
 */
#ifndef FM_RUNTIME_SCHED_WORKER_H
#define FM_RUNTIME_SCHED_WORKER_H

#include <pthread.h>

#include "runtime/context/stack.h"
#include "runtime/platform/histogram.h"
#include "runtime/queue/deque.h"
#include "runtime/sched/sample.h"
#include "runtime/sched/sched.h"

/* What to do with the task that has just been left, once its context is saved. */
enum left {
    LEFT_NOTHING,
    LEFT_YIELD, /* queue it, oldest runs first */
    LEFT_BELOW, /* queue it as the newest: its child runs */
    LEFT_PARK,  /* ops->parked */
    LEFT_ENDED, /* its stack is free */
};

/* STAY <--> GO is resize's; GO -> GOING is the worker's own, when it holds no pinned task. */
enum retire { RETIRE_STAY, RETIRE_GO, RETIRE_GOING };

struct worker {
    /* the owner's */
    struct sched *sched;
    uint32_t index;
    void *user;
    struct task *left_task;
    struct stack *left_stack;
    enum left left;
    uint32_t tick;          /* counts down to the next look around */
    uint32_t tick_interval; /* tuned to about 200 us */
    uint32_t lifo_runs;     /* from the slot, in a row */
    uint32_t tick_place;    /* where the next tick looks for a task first */
    uint32_t inject_next;   /* the inject list whose turn it is */
    /* so many tasks at the bottom of the queue are new: taken newest first */
    uint32_t newest_first;
    /* woken and yielded tasks stand below this index of the queue, spawned ones above */
    int64_t fair_end;
    int64_t oldest_seen;   /* index of the oldest task at the last tick ... */
    uint32_t oldest_ticks; /* ... and for how many ticks it has been that */
    uint64_t random;
    int64_t looked_ns;       /* the last look around */
    int64_t sample_start_ns; /* of the running task, 0: not sampled */
    bool sample_next;        /* the next task that is queued is timed */
    bool spilled;            /* some that the queue had no room for may stand in the list */
    bool spilled_next;       /* it is their turn when a task yields */
    bool searching;
    bool in_poll;
    struct sched *ready_in;   /* sched; NULL while a trace runs: see trace.h */
    struct trace_ring *trace; /* NULL: none runs */
    struct trace_event run;   /* begun; its fiber is 0 if there is none */
    int64_t asleep_since_ns;  /* 0: awake, or not traced */
    uint8_t trace_by;         /* enum trace_by: who wakes tasks just now */
    struct task *stackless;   /* to be ended on the worker's own stack */
    struct context home;      /* the worker's own stack */
    struct context nowhere;   /* where ended stacks are left to */
    struct stack_cache stacks;
    void *altstack;
    pthread_t thread;
    bool has_thread;

    /* the owner writes, others read */
    FM_ALONE _Atomic(struct task *) current;
    _Atomic uint32_t runs; /* dispatches, yields to nobody: the same means still the same run */
    _Atomic int64_t coarse_ns;
    _Atomic uint64_t switches, steals, injected, overflows, parks, wakes, polls;
    _Atomic int kernel_id;
    _Atomic bool tracing; /* trace is not NULL */
    struct histogram latency, run_length;

    /* shared */
    struct deque deque;
    /* the task made runnable last; the owner fills, anybody empties */
    FM_ALONE _Atomic(struct task *) lifo;
    struct inject inbox; /* tasks pinned to this worker */
    _Atomic uint32_t pins;
    FM_ALONE _Atomic uint32_t awake; /* futex: 1 somebody has named this worker */
    _Atomic uint32_t blocked_in_poll;
    _Atomic uint32_t retire; /* enum retire */
    struct sample sample;    /* sample.c */
    _Atomic(struct trace_ring *) trace_ring;
};

/*
 * The thread's worker. Initial-exec: one pointer, so the library can still be loaded by dlopen.
 * Read only by fm__worker_self.
 */
extern __thread struct worker *fm__this_worker
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/*
 * The calling thread's worker, NULL elsewhere. To be asked for anew after each switch, which a
 * compiler does not know of: it may keep a thread-local's address over any call. So it is not
 * left to it: by hand where that is known, else behind a call.
 */
#if defined __x86_64__ && defined __ELF__ && !defined __ILP32__
static inline struct worker *fm__worker_self(void)
{
    struct worker *worker;
    __asm__ volatile("movq fm__this_worker@gottpoff(%%rip), %0\n\t"
                     "movq %%fs:(%0), %0"
                     : "=r"(worker));
    return worker;
}
#else
struct worker *fm__worker_self(void);
#endif

/* For the thread that becomes a worker, and NULL when it leaves. */
void fm__worker_set_self(struct worker *worker);

/* A record without a thread, known to nobody yet. 0 · -ENOMEM · what worker_init returned */
int fm__worker_create(struct sched *sched, uint32_t index, struct worker **ret_worker);
/* Its thread has been joined. */
void fm__worker_destroy(struct worker *worker);

/*
 * Told to go, and free to: it takes nothing more and hands over what it has. relaxed: who told
 * it has woken it afterwards.
 */
static inline bool fm__worker_leaving(struct worker *w)
{
    return __builtin_expect(atomic_load_explicit(&w->retire, memory_order_relaxed) == RETIRE_GO,
                            0) &&
           atomic_load_explicit(&w->pins, memory_order_relaxed) == 0;
}

#endif
