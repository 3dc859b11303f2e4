/*
 * model_switch.c - a task goes on on another worker only when its stack has been left
 *
 * Protocol   runtime/sched/switch.c over the real jumps and the real state word. Each worker is
 *            a thread; tasks run on stacks in the model's memory, so that a frame which two
 *            threads touch out of order is a race. A stack that is given back may be had at
 *            once by the other worker. What wakes a task may come while it is still leaving.
 */
#include "runtime/fiber/state.h"
#include "runtime/platform/held.h"
#include "runtime/queue/inject.h"
#include "runtime/sched/switch.h"

#include "runtime/sched/pick.h"

#include "tests/model/model.h"

enum { WORKERS = 2, TASKS = 3, TASK_STACK = 16 << 10 };

struct job {
    struct task task;
    state_word state;
    void (*body)(struct job *job);
    _Atomic uint32_t handed; /* the epoch it waits in */
    uint64_t value;          /* what its waker brings */
};

struct world {
    struct sched sched;
    struct inject queue;
    struct lock stack_lock;
    struct stack *stacks; /* free ones */
    struct worker *worker[WORKERS];
    struct job job[TASKS];
    uint32_t jobs;
    _Atomic uint32_t undone;
};

/* ---- in place of the rooms around it ---- */

static struct world *world_of(struct sched *sched)
{
    return (struct world *)sched; /* it stands first */
}

static struct worker *on_worker(void)
{
    return model_own();
}

static struct job *job_of(struct task *task)
{
    return (struct job *)task;
}

static struct task *pick(struct worker *w)
{
    struct task *task = NULL;
    fm__inject_take(&world_of(w->sched)->queue, 1, &task);
    return task;
}

static void push(struct worker *w, struct task *task)
{
    fm__inject_push(&world_of(w->sched)->queue, task);
}

void fm__sched_ready(struct sched *sched, struct task *task)
{
    fm__inject_push(&world_of(sched)->queue, task);
}

struct stack *fm__stack_take(struct stack_cache *cache, int stack_class, int *ret_error)
{
    struct world *w = world_of(on_worker()->sched);
    (void)cache, (void)stack_class, (void)ret_error;
    fm__lock(&w->stack_lock);
    struct stack *stack = w->stacks;
    if (stack)
        w->stacks = stack->next;
    fm__unlock(&w->stack_lock);
    if (stack)
        memset((char *)stack->top - 512, 0xa5, 512); /* whoever was there has left */
    return stack;
}

void fm__stack_give(struct stack_cache *cache, struct stack *stack)
{
    struct world *w = world_of(on_worker()->sched);
    (void)cache;
    fm__lock(&w->stack_lock);
    stack->next = w->stacks;
    w->stacks = stack;
    fm__unlock(&w->stack_lock);
}

/* The jump saves the registers on the stack that it leaves, unseen by the compiler. */
static inline void switch_seen(struct context *from, struct context *to, bool ends)
{
    char frame[8];
    memset(frame, 1, sizeof frame);
    fm__context_switch(from, to, ends);
    memset(frame, 2, sizeof frame);
}

_Atomic bool fm__stack_canaries;
void fm__stack_check_slow(const struct stack *stack)
{
    (void)stack;
}
void fm__held_check(void) {}
void fm__sched_ready_pinned(struct sched *sched, struct task *task)
{
    fm__sched_ready(sched, task);
}
struct task *fm__worker_take_injected(struct worker *w)
{
    (void)w;
    return NULL;
}
void fm__trace_mark(struct task *task)
{
    (void)task;
}
void fm__trace_ready(struct worker *w, struct task *task)
{
    (void)w, (void)task;
}
void fm__trace_run_begins(struct worker *w, struct task *task)
{
    (void)w, (void)task;
}
void fm__trace_run_ends(struct worker *w, enum trace_end how)
{
    (void)w, (void)how;
}

#define fm__worker_self() on_worker()
#define fm__worker_pick(w, yielding) pick(w)
#define fm__worker_push(w, task, newest) push(w, task)
#define fm__context_switch(from, to, ends) switch_seen(from, to, ends)
#include "runtime/sched/switch.c"
#undef fm__context_switch

/* ---- tasks ---- */

static void run_job(struct task *task)
{
    struct job *job = job_of(task);
    job->body(job);
    fm__state_end(&job->state);
    struct world *w = world_of(on_worker()->sched);
    atomic_fetch_sub_explicit(&w->undone, 1, memory_order_acq_rel);
}

static bool job_parked(struct task *task)
{
    return fm__state_commit(&job_of(task)->state);
}

static void never_without(struct task *task)
{
    (void)task;
    model_fail("there was no stack");
}

static const struct sched_ops ops = { .run = run_job, .parked = job_parked,
                                      .no_stack = never_without };

/* Waits to be woken; what stands on its stack is its own before and after. */
static void park_once(struct job *job)
{
    char mine[8];
    memset(mine, 3, sizeof mine);
    uint64_t epoch = fm__state_wait_begin(&job->state, false);
    atomic_store_explicit(&job->handed, (uint32_t)epoch, memory_order_release);
    fm__sched_park(&job->task);
    model_assert(fm__state_reason(&job->state) == WAKE_VALUE);
    model_assert(job->value == 7);
    model_assert(mine[0] == 3 && mine[7] == 3);
}

static void yield_once(struct job *job)
{
    char mine[8];
    memset(mine, 4, sizeof mine);
    fm__sched_yield(&job->task);
    model_assert(mine[0] == 4 && mine[7] == 4);
}

static void end_at_once(struct job *job)
{
    char mine[8];
    memset(mine, 5, sizeof mine);
    model_assert(mine[0] == 5 && job->value == 0);
}

/* ---- workers and wakers ---- */

/* One that is given a job, and goes on with what there is until there is nothing. */
static void run_given(struct world *w, unsigned worker, unsigned job)
{
    model_set_own(w->worker[worker]);
    fm__worker_run(w->worker[worker], &w->job[job].task);
}

static void run_job_0(void *arg)
{
    run_given(arg, 0, 0);
}

static void run_job_1(void *arg)
{
    run_given(arg, 1, 1);
}

/* The other one: it runs whoever is woken. */
static void run_woken(void *arg)
{
    struct world *w = arg;
    model_set_own(w->worker[1]);
    model_await(&w->queue.count);
    fm__worker_run(w->worker[1], pick(w->worker[1]));
}

static void run_job_1_and_woken(void *arg)
{
    struct world *w = arg;
    run_job_1(w);
    while (atomic_load_explicit(&w->undone, memory_order_acquire)) {
        struct task *task = pick(w->worker[1]);
        if (task)
            fm__worker_run(w->worker[1], task);
        else
            model_relax();
    }
}

static void wake(struct world *w, struct job *job)
{
    model_await(&job->handed);
    uint64_t epoch = atomic_exchange_explicit(&job->handed, 0, memory_order_acquire);
    job->value = 7;
    if (fm__state_wake(&job->state, epoch, WAKE_VALUE) == WAKE_QUEUE)
        fm__sched_ready(&w->sched, &job->task);
}

static void add_stack(struct world *w)
{
    struct stack *stack = model_aligned(_Alignof(struct stack), sizeof *stack);
    stack->low = model_aligned(64, TASK_STACK);
    stack->top = (char *)stack->low + TASK_STACK;
    stack->next = w->stacks;
    w->stacks = stack;
}

static struct world *world_new(unsigned stacks)
{
    struct world *w = model_aligned(_Alignof(struct world), sizeof *w);
    model_global(&fm__stack_canaries, sizeof fm__stack_canaries);
    w->sched.ops = &ops;
    fm__inject_init(&w->queue);
    fm__lock_init(&w->stack_lock, LOCK_STACK_POOL);
    for (int i = 0; i < WORKERS; i++) {
        w->worker[i] = model_aligned(_Alignof(struct worker), sizeof *w->worker[i]);
        w->worker[i]->sched = &w->sched;
        w->worker[i]->index = (uint32_t)i;
    }
    while (stacks--)
        add_stack(w);
    return w;
}

static void add(struct world *w, void (*body)(struct job *job))
{
    w->job[w->jobs++].body = body;
    w->undone = w->jobs;
}

/* Two workers, and thread 0, which wakes job 0. */
static void together(struct world *w, void (*first)(void *), void (*second)(void *), bool wakes)
{
    int a = model_spawn(first, w), b = model_spawn(second, w);
    if (wakes)
        wake(w, &w->job[0]);
    model_join(a);
    model_join(b);
    for (uint32_t i = 0; i < w->jobs; i++)
        model_assert(fm__state_life(fm__state_read(&w->job[i].state)) == LIFE_DONE);
}

/* ---- scenarios ---- */

/* The wake comes before, while or after the task leaves; the other worker goes on with it. */
static void woken_while_it_leaves(void)
{
    struct world *w = world_new(1);
    add(w, park_once);
    together(w, run_job_0, run_woken, true);
}

/* The other worker takes what yields as soon as it stands in the queue. */
static void yields_to_the_other_worker(void)
{
    struct world *w = world_new(3);
    add(w, yield_once);
    add(w, yield_once);
    add(w, yield_once);
    fm__inject_push(&w->queue, &w->job[2].task);
    together(w, run_job_0, run_job_1, false);
}

/* One ends, and the next has its stack, here or on the other worker. */
static void stack_is_used_again(void)
{
    struct world *w = world_new(3);
    add(w, park_once);
    add(w, end_at_once);
    add(w, end_at_once);
    fm__inject_push(&w->queue, &w->job[2].task);
    together(w, run_job_0, run_job_1_and_woken, true);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(woken_while_it_leaves),
    SCENARIO(yields_to_the_other_worker, .less = 1),
    SCENARIO(stack_is_used_again, .less = 1),
    SCENARIO_END,
};
