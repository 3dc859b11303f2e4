/*
 * model_ready.c - a runnable task stands in one place, is taken once, whole, and none is lost
 *
 * Protocol   runtime/sched/ready.c over the deque and the inject lists: the slot, the queue,
 *            what a full queue spills, and who comes from outside. Queues have four places.
 *            What a task was made with is plain data; so is the scheduler, which goes when all
 *            have left.
 */
#include "runtime/sched/ready.h"

#include <errno.h>

#include "runtime/platform/clock.h"
#include "tests/model/model.h"

enum { WORKERS = 3, TASKS = 7, PLACES = 4 };

struct job {
    struct task task;
    int made; /* before it was made runnable */
};

struct world {
    struct sched sched;
    struct worker *worker[WORKERS];
    struct job job[TASKS];
    unsigned jobs;
    _Atomic uint32_t ran;
};

/* ---- in place of the rooms around it ---- */

void fm__sched_wake_one(struct sched *sched, bool force)
{
    (void)sched, (void)force;
}
void fm__sched_rouse(struct sched *sched, struct worker *worker)
{
    (void)sched, (void)worker;
}
void fm__trace_ready(struct worker *w, struct task *task)
{
    (void)w, (void)task;
}
void fm__trace_ready_outside(struct sched *sched, struct task *task)
{
    (void)sched, (void)task;
}

#define fm__clock_ns() INT64_C(0)
#define fm__worker_self() ((struct worker *)model_own())
#include "runtime/sched/ready.c"

/* ---- tasks ---- */

static struct world *world_new(uint32_t workers)
{
    struct world *w = model_aligned(_Alignof(struct world), sizeof *w);
    w->sched.queue_size = PLACES;
    w->sched.worker_count = 1;
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        fm__inject_init(&w->sched.inject[i]);
    for (uint32_t i = 0; i < workers; i++) {
        struct worker *worker = model_aligned(_Alignof(struct worker), sizeof *worker);
        worker->sched = worker->ready_in = &w->sched;
        worker->index = i;
        fm__inject_init(&worker->inbox);
        model_assert(fm__deque_init(&worker->deque, PLACES) == 0);
        w->worker[i] = worker;
    }
    return w;
}

static struct task *make(struct world *w)
{
    struct job *job = &w->job[w->jobs++];
    job->made = 1;
    return &job->task;
}

static bool run(struct world *w, struct task *task)
{
    if (!task)
        return false;
    struct job *job = (struct job *)task;
    model_assert(job->made == 1);
    model_assert(model_note((unsigned)(job - w->job), 1) == 0);
    return true;
}

/* All threads are joined: who has run a task, or finds it now, has run each of them. */
static void settle(struct world *w, uint32_t workers)
{
    for (uint32_t i = 0; i < workers; i++) {
        model_set_own(w->worker[i]);
        run(w, fm__worker_take_lifo(w->worker[i]));
        while (run(w, fm__deque_pop(&w->worker[i]->deque)))
            ;
        while (run(w, fm__worker_take_injected(w->worker[i])))
            while (run(w, fm__deque_pop(&w->worker[i]->deque)))
                ;
    }
    for (unsigned i = 0; i < w->jobs; i++)
        model_assert(model_note(i, 0) == 1);
}

/* ---- threads ---- */

/* Pushes until the queue is full, and further. */
static void push_six(void *arg)
{
    struct world *w = arg;
    model_set_own(w->worker[0]);
    for (int i = 0; i < 6; i++)
        fm__worker_push(w->worker[0], make(w), false);
}

static void steal_half(void *arg)
{
    struct world *w = arg;
    struct task *first;
    model_set_own(w->worker[1]);
    if (fm__deque_steal_half(&w->worker[0]->deque, &w->worker[1]->deque, &first))
        run(w, first);
}

static void take_injected(void *arg)
{
    struct world *w = arg;
    model_set_own(w->worker[2]);
    run(w, fm__worker_take_injected(w->worker[2]));
}

/* The slot, and what it pushes out. */
static void ready_three(void *arg)
{
    struct world *w = arg;
    model_set_own(w->worker[0]);
    for (int i = 0; i < 3; i++)
        fm__sched_ready(&w->sched, make(w));
    run(w, fm__worker_take_lifo(w->worker[0]));
}

static void steal_one(void *arg)
{
    struct world *w = arg;
    run(w, fm__deque_steal(&w->worker[0]->deque));
}

static void empty_the_slot(void *arg)
{
    struct world *w = arg;
    run(w, fm__worker_take_lifo(w->worker[0]));
}

/* A thread that is no worker's; as soon as its task has run, the scheduler may go. */
static void ready_from_outside_0(void *arg)
{
    struct world *w = arg;
    fm__sched_ready(&w->sched, &w->job[0].task);
}

static void ready_from_outside_1(void *arg)
{
    struct world *w = arg;
    fm__sched_ready(&w->sched, &w->job[1].task);
}

static void run_injected(void *arg)
{
    struct world *w = arg;
    unsigned ran = 0;
    while (ran < 2) {
        struct task *task = NULL;
        struct inject *inject = shard_of(&w->sched, NULL);
        model_await(&inject->count);
        if (fm__inject_take(inject, 1, &task))
            ran += run(w, task);
    }
    atomic_store_explicit(&w->ran, 1, memory_order_release);
}

static void together(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = model_spawn(c, w);
    model_join(ta);
    model_join(tb);
    model_join(tc);
}

/* ---- scenarios ---- */

static void spill_meets_thief_and_taker(void)
{
    struct world *w = world_new(3);
    fm__inject_push(&w->sched.inject[0], make(w));
    together(w, push_six, steal_half, take_injected);
    settle(w, 3);
}

static void slot_meets_thieves(void)
{
    struct world *w = world_new(1);
    together(w, ready_three, steal_one, empty_the_slot);
    settle(w, 1);
}

/* fini waits for those who are still inside. */
static void visitors_meet_the_end(void)
{
    struct world *w = world_new(0);
    make(w);
    make(w);
    int a = model_spawn(ready_from_outside_0, w), b = model_spawn(ready_from_outside_1, w);
    int c = model_spawn(run_injected, w);
    model_await(&w->ran);
    fm__sched_await_visitors(&w->sched);
    model_join(c);
    model_free(w);
    model_join(a);
    model_join(b);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(spill_meets_thief_and_taker, .less = 1),
    SCENARIO(slot_meets_thieves),
    SCENARIO(visitors_meet_the_end, .less = 1),
    SCENARIO_END,
};
