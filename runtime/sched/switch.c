/*
 * switch.c - leaving one task for another
 *
 * A task cannot be handed on while its own stack is in use. So who leaves only writes down what
 * is to become of the task it leaves (enum left), and who runs next on that worker settles it
 * as the first thing, with the left context saved: an older task where it returns from its own
 * leave, a new one in host, or the worker's own stack in fm__worker_run.
 *
 * Owns        the stacks from the first dispatch of a task to its end.
 * Knows not   what a task is for, or when it is parked: sched_ops.
 * Invariant   nothing of the worker is kept over a switch: the task may go on on another.
 * Sanitizers  all here is the thread's own, on whichever stack it runs (FM_THREADS_OWN).
 */
#include "runtime/sched/switch.h"

#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/held.h"
#include "runtime/platform/probe.h"
#include "runtime/platform/turn.h"
#include "runtime/sched/pick.h"

static void host(struct context_transfer from);

static __attribute__((noinline)) FM_THREADS_OWN void yield_pinned(struct worker *w,
                                                                  struct task *task)
{
    FM_ASSERT(task->pinned);
    if (w->trace)
        fm__trace_mark(task);
    fm__sched_ready_pinned(w->sched, task);
}

/* The task that was left is whole now: do with it what it asked for. */
static inline FM_THREADS_OWN void settle(struct worker *w)
{
    struct task *task = w->left_task;
    enum left left = w->left;

    w->left = LEFT_NOTHING;
    switch (left) {
    case LEFT_NOTHING: return;
    case LEFT_YIELD:
    case LEFT_BELOW:
        fm__stack_check(task->stack);
        if (task->pinned)
            yield_pinned(w, task);
        else
            fm__worker_push(w, task, left == LEFT_BELOW);
        return;
    case LEFT_PARK:
        fm__stack_check(task->stack);
        if (!w->sched->ops->parked(task)) {
            w->trace_by = TRACE_BY_EARLY;
            fm__sched_ready(w->sched, task);
            w->trace_by = TRACE_BY_TASK;
        }
        return;
    case LEFT_ENDED:
        fm__stack_check(w->left_stack);
        fm__stack_give(&w->stacks, w->left_stack);
        return;
    }
}

/* A run that was timed ends: before the next task is picked, which may begin another one. */
static __attribute__((noinline)) FM_THREADS_OWN void end_sample(struct worker *w,
                                                                enum trace_end how)
{
    FM_ASSERT(w->sample_start_ns);
    fm__histogram_add(&w->run_length, fm__clock_ns() - w->sample_start_ns);
    w->sample_start_ns = 0;
    if (w->trace)
        fm__trace_run_ends(w, how);
}

static inline FM_THREADS_OWN void run_ends(struct worker *w, enum trace_end how)
{
    if (__builtin_expect(w->sample_start_ns != 0, 0))
        end_sample(w, how);
}

/* A run begins whose task was timed while it was runnable. */
static __attribute__((noinline)) FM_THREADS_OWN void end_latency(struct worker *w,
                                                                 struct task *task)
{
    /* signed: the mark has its lowest bit set, so it may lie a microsecond ahead */
    int32_t late = (int32_t)((uint32_t)(fm__clock_ns() / 1000) - task->since_tick);
    fm__histogram_add(&w->latency, (int64_t)late * 1000);
    task->since_tick = 0;
    if (w->trace)
        fm__trace_run_begins(w, task);
}

/* For whoever asks whether it is still the same task, and has not let others run. */
static inline void count_run(struct worker *w)
{
    /* relaxed: one writer */
    atomic_store_explicit(&w->runs, atomic_load_explicit(&w->runs, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* The worker's counters and marks at each start or resumption of a task. */
static inline FM_THREADS_OWN void note_run(struct worker *w, struct task *task)
{
    /* release: the monitor and dumps read it, and then the task */
    atomic_store_explicit(&w->current, task, memory_order_release);
    count_run(w);
    FM_PROBE2(run, w->index, task);
    if (__builtin_expect(task->since_tick != 0, 0))
        end_latency(w, task);
}

/*
 * Give a new task a stack. False: there is none; the task is put aside for the worker's own
 * stack.
 */
static FM_THREADS_OWN bool bind_stack(struct worker *w, struct task *task)
{
    FM_ASSERT(!task->stack);
    int error = 0;
    struct stack *stack = fm__stack_take(&w->stacks, task->stack_class, &error);
    if (__builtin_expect(!stack, 0)) {
        w->stackless = task;
        return false;
    }
    task->stack = stack;
    /* relaxed: read by a signal handler of this very thread, and by dumps */
    atomic_store_explicit(&stack->owner, task, memory_order_relaxed);
    fm__context_init_stack(&task->ctx, stack->top,
                           (size_t)((char *)stack->top - (char *)stack->low), stack->tsan,
                           host);
    return true;
}

/*
 * From the stack of `self` (or from an ended one: from == &w->nowhere) to `next`, or home where
 * it is NULL.
 */
static inline FM_THREADS_OWN void go(struct worker *w, struct context *from, struct task *next,
                                     bool ends)
{
    struct context *to = &w->home;

    fm__count(&w->switches, 1);
    if (next && (next->stack || bind_stack(w, next))) {
        note_run(w, next);
        to = &next->ctx;
    } else {
        atomic_store_explicit(&w->current, NULL, memory_order_relaxed);
    }
    fm__lock_check_none();
    fm__tsan_give(&w->home);
    if (ends)
        fm__tsan_give(w->left_stack);
    fm__context_switch(from, to, ends);
}

static inline FM_THREADS_OWN void leave(struct worker *w, struct task *self, enum left how,
                                        struct task *next)
{
    FM_ASSERT(self != next && how != LEFT_NOTHING);
    fm__held_check();
    w->left = how;
    w->left_task = self;
    go(w, &self->ctx, next, false);
    /* Maybe another worker from here on. */
    if (FM_TSAN_STRICT)
        fm__tsan_take(fm__worker_self());
    fm__tsan_take(self);
    settle(fm__worker_self());
}

FM_THREADS_OWN void fm__sched_park(struct task *self)
{
    struct worker *w = fm__worker_self();
    run_ends(w, TRACE_PARKED);
    leave(w, self, LEFT_PARK, fm__worker_pick(w, false));
}

FM_THREADS_OWN void fm__sched_yield(struct task *self)
{
    fm__turn_give();
    struct worker *w = fm__worker_self();
    run_ends(w, TRACE_YIELDED);
    struct task *next = fm__worker_pick(w, true);
    if (!next && !fm__worker_leaving(w)) {
        next = fm__worker_take_injected(w);
        if (!next) {
            count_run(w);
            if (__builtin_expect(w->trace != NULL, 0))
                fm__trace_run_begins(w, self);
            return;
        }
    }
    leave(w, self, LEFT_YIELD, next);
}

FM_THREADS_OWN void fm__sched_run_first(struct task *self, struct task *child)
{
    FM_ASSERT(self != child && !child->stack);
    struct worker *w = fm__worker_self();
    fm__tsan_give(child);
    if (__builtin_expect(w->trace != NULL, 0))
        fm__trace_ready(w, child);
    run_ends(w, TRACE_SPAWNED_FIRST);
    leave(w, self, LEFT_BELOW, child);
}

/* What comes before the first step of a task on its stack; sanitizer.h says of what. */
static inline FM_THREADS_OWN void take_over(struct worker *w)
{
    if (!FM_TSAN_STRICT)
        return;
    fm__tsan_take(w);
    struct task *task = atomic_load_explicit(&w->current, memory_order_relaxed);
    fm__tsan_take(task->stack);
    fm__tsan_take(task);
}

/*
 * The bottom of every stack: runs one task after the other on it while new ones are next, and
 * then leaves it. In a strict build it leaves after each: two on one stack are one thread to
 * ThreadSanitizer.
 */
static FM_THREADS_OWN void host(struct context_transfer from)
{
    FM_CONTEXT_FIRST_FRAME(from);
    struct worker *w = fm__worker_self();
    take_over(w);
    settle(w);
    struct task *task = atomic_load_explicit(&w->current, memory_order_relaxed);
    struct stack *stack = task->stack;
    /* What the sanitizers know of this stack goes with it from task to task. */
    const struct context here = task->ctx;
    for (;;) {
        w->sched->ops->run(task);
        w = fm__worker_self();
        run_ends(w, TRACE_ENDED);
        /*
         * The slot's turns are counted against tasks that wake each other for ever; an end is
         * not that.
         */
        w->lifo_runs = 0;
        atomic_store_explicit(&w->current, NULL, memory_order_relaxed);
        struct task *next = fm__worker_pick(w, false);
        if (!FM_TSAN_STRICT && next && !next->stack &&
            next->stack_class == stack->stack_class) {
            fm__stack_check(stack);
            next->stack = stack;
            next->ctx = here;
            atomic_store_explicit(&stack->owner, next, memory_order_relaxed);
            note_run(w, next);
            task = next;
            continue;
        }
        w->left = LEFT_ENDED;
        w->left_stack = stack;
        atomic_store_explicit(&stack->owner, NULL, memory_order_relaxed);
        go(w, &w->nowhere, next, true);
        FM_BUG("an ended stack was resumed");
    }
}

FM_THREADS_OWN void fm__worker_run(struct worker *w, struct task *task)
{
    FM_ASSERT(w == fm__worker_self() && !w->stackless);
    if (task->stack || bind_stack(w, task)) {
        note_run(w, task);
        fm__count(&w->switches, 1);
        fm__context_switch(&w->home, &task->ctx, false);
        settle(w);
    }
    while (w->stackless) {
        task = w->stackless;
        w->stackless = NULL;
        fm__tsan_take(task);
        atomic_store_explicit(&w->current, task, memory_order_relaxed);
        w->sched->ops->no_stack(task);
        atomic_store_explicit(&w->current, NULL, memory_order_relaxed);
    }
}
