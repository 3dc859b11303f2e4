/*
 * model_idle.c - no task waits while every worker sleeps
 *
 * Protocol   runtime/sched/idle.c with the real queues. The workers here follow
 *            runtime/sched/loop.c and sleep.c: pick, search, sleep, look again. Whoever submits
 *            does nothing else, so that the task runs only if a worker finds it or is woken for
 *            it.
 */
#include "runtime/platform/futex.h"
#include "runtime/queue/deque.h"
#include "runtime/queue/inject.h"
#include "runtime/sched/idle.h"
#include "runtime/sched/task.h"
#include "tests/model/model.h"

enum { WORKERS = 3 };

struct job {
    struct task task;
    _Atomic uint32_t *awaits; /* runs on only when this is not 0; NULL: at once */
    _Atomic uint32_t started;
};

struct worker {
    struct world *world;
    struct deque deque;
    struct inject inbox;
    _Atomic uint32_t awake;
    uint32_t index;
    bool searching;
};

struct world {
    struct idle idle;
    struct inject inject;
    struct worker workers[WORKERS];
    struct job jobs[2];
    uint32_t total; /* workers, those that only submit included */
    _Atomic uint32_t quit;
    _Atomic uint32_t undone;
    _Atomic uint32_t done;
};

static struct world *world_of(uint32_t total, uint32_t processors, uint32_t jobs)
{
    struct world *w = model_aligned(_Alignof(struct world), sizeof *w);
    fm__idle_init(&w->idle, processors);
    fm__inject_init(&w->inject);
    w->total = total;
    w->undone = jobs;
    for (uint32_t i = 0; i < total; i++) {
        w->workers[i].world = w;
        w->workers[i].index = i;
        fm__inject_init(&w->workers[i].inbox);
        model_assert(fm__deque_init(&w->workers[i].deque, 4) == 0);
        fm__idle_join(&w->idle);
    }
    return w;
}

static struct world *world_new(uint32_t total, uint32_t jobs)
{
    return world_of(total, total, jobs);
}

/* --- as sleep.c and loop.c ------------------------------------------------------------- */

static void name_worker(struct worker *worker)
{
    atomic_store_explicit(&worker->awake, 1, memory_order_seq_cst); /* named */
    fm__futex_wake(&worker->awake, 1);
}

static void wake_one(struct world *w, bool force)
{
    int named = fm__idle_wake(&w->idle, force, -1);
    if (named >= 0)
        name_worker(&w->workers[named]);
}

static void cover(struct world *w)
{
    if (!fm__idle_no_need(&w->idle)) /* cover */
        wake_one(w, false);
}

static bool work_queued(struct world *w)
{
    if (fm__inject_count(&w->inject))
        return true;
    for (uint32_t i = 0; i < w->total; i++)
        if (fm__deque_count(&w->workers[i].deque) > 0)
            return true;
    return false;
}

static bool work_visible(struct worker *self)
{
    return fm__inject_count(&self->inbox) || work_queued(self->world);
}

static struct task *take(struct worker *self)
{
    struct world *w = self->world;
    struct task *task = fm__deque_steal(&self->deque);
    if (task || fm__inject_take(&self->inbox, 1, &task) ||
        fm__inject_take(&w->inject, 1, &task))
        return task;
    if (!self->searching)
        self->searching = fm__idle_search(&w->idle);
    if (!self->searching)
        return NULL;
    for (uint32_t i = 0; i < w->total; i++)
        if (i != self->index && fm__deque_steal_half(&w->workers[i].deque, &self->deque, &task))
            return task;
    return NULL;
}

static void await_naming(struct worker *self)
{
    while (atomic_load_explicit(&self->awake, memory_order_seq_cst) == 0)
        fm__futex_wait(&self->awake, 0, INT64_MAX);
    atomic_store_explicit(&self->awake, 0, memory_order_relaxed);
    self->searching = true;
}

static void sleep_worker(struct worker *self)
{
    struct world *w = self->world;
    bool was_searching = self->searching;
    self->searching = false;
    fm__idle_sleep(&w->idle, self->index, was_searching);
    if ((work_visible(self) || /* look again */
         atomic_load_explicit(&w->quit, memory_order_relaxed)) &&
        fm__idle_rise(&w->idle, self->index))
        self->searching = true;
    else
        await_naming(self);
}

static void stop_searching(struct worker *self)
{
    if (!self->searching)
        return;
    self->searching = false;
    if (fm__idle_found(&self->world->idle) && work_visible(self)) /* one more */
        wake_one(self->world, false);
}

static void run(struct world *w, struct job *job)
{
    model_assert(model_note((unsigned)(job - w->jobs), 1) == 0);
    atomic_store_explicit(&job->started, 1, memory_order_release);
    if (job->awaits)
        model_await(job->awaits);
    if (atomic_fetch_sub_explicit(&w->undone, 1, memory_order_acq_rel) == 1)
        atomic_store_explicit(&w->done, 1, memory_order_release);
}

static void work(void *arg)
{
    struct worker *self = arg;
    struct world *w = self->world;
    while (!atomic_load_explicit(&w->quit, memory_order_acquire)) {
        struct task *task = take(self);
        if (task) {
            stop_searching(self);
            run(w, (struct job *)task);
        } else {
            sleep_worker(self);
        }
    }
}

/* When all is done: everybody up, as at shutdown. */
static void settle(struct world *w, const int *threads, unsigned count)
{
    model_await(&w->done);
    atomic_store_explicit(&w->quit, 1, memory_order_release);
    for (uint32_t i = 0; i < w->total; i++)
        wake_one(w, true);
    for (unsigned i = 0; i < count; i++)
        model_join(threads[i]);
}

/* --- scenarios -------------------------------------------------------------------------- */

static void inject_one(void *arg)
{
    struct world *w = arg;
    fm__inject_push(&w->inject, &w->jobs[0].task);
    cover(w);
}

static void inject_another(struct world *w)
{
    fm__inject_push(&w->inject, &w->jobs[1].task);
    cover(w);
}

/* From outside, while the only worker goes to sleep. F1. */
static void inject_meets_sleep(void)
{
    struct world *w = world_new(1, 1);
    int threads[] = { model_spawn(work, &w->workers[0]) };
    inject_one(w);
    settle(w, threads, 1);
}

/* For one worker alone, which goes to sleep; nobody else may run it or is woken for it. */
static void push_pinned(struct worker *to, struct job *job)
{
    fm__inject_push(&to->inbox, &job->task);
    if (fm__idle_asleep(&to->world->idle, to->index) && /* pinned */
        fm__idle_wake_this(&to->world->idle, to->index))
        name_worker(to);
}

/* F1 */
static void pinned_meets_sleep(void)
{
    struct world *w = world_new(2, 1);
    int threads[] = { model_spawn(work, &w->workers[0]) };
    push_pinned(&w->workers[0], &w->jobs[0]);
    settle(w, threads, 1);
}

/* By a worker that is busy from then on, while the other goes to sleep. */
static void push_one(struct worker *self)
{
    model_assert(fm__deque_push(&self->deque, &self->world->jobs[0].task));
    cover(self->world);
}

/* F1 */
static void push_meets_sleep(void)
{
    struct world *w = world_new(2, 1);
    int threads[] = { model_spawn(work, &w->workers[0]) };
    push_one(&w->workers[1]);
    settle(w, threads, 1);
}

/* Two that depend on each other, so that each needs a worker of its own. */
static void need_each_other(struct world *w)
{
    w->jobs[0].awaits = &w->jobs[1].started;
    w->jobs[1].awaits = &w->jobs[0].started;
}

static void push_two(struct worker *self)
{
    for (int i = 0; i < 2; i++) {
        model_assert(fm__deque_push(&self->deque, &self->world->jobs[i].task));
        cover(self->world);
    }
}

/* The second push trusts the one who searches; that one finds the first and wakes one more. F2. */
static void last_searcher_wakes_one_more(void)
{
    struct world *w = world_new(3, 2);
    need_each_other(w);
    int threads[] = { model_spawn(work, &w->workers[0]), model_spawn(work, &w->workers[1]) };
    push_two(&w->workers[2]);
    settle(w, threads, 2);
}

/* Two from outside, each of whom may trust the worker that the other has woken. F2. */
static void two_submitters(void)
{
    struct world *w = world_new(2, 2);
    need_each_other(w);
    int threads[] = { model_spawn(work, &w->workers[0]), model_spawn(work, &w->workers[1]),
                      model_spawn(inject_one, w) };
    inject_another(w);
    settle(w, threads, 3);
}

/* One processor, two workers: whoever is awake is enough, and looks before it sleeps. */
static void enough_are_awake(void)
{
    struct world *w = world_of(2, 1, 2);
    int threads[] = { model_spawn(work, &w->workers[0]), model_spawn(work, &w->workers[1]) };
    inject_one(w);
    inject_another(w);
    settle(w, threads, 2);
}

/*
 * As monitor.c: the only one that is awake is at a task that lasts. Who pushes before the
 * monitor has said so trusts it.
 */
static void one_is_away(void)
{
    struct world *w = world_of(2, 1, 1);
    int threads[] = { model_spawn(work, &w->workers[0]), model_spawn(inject_one, w) };
    fm__idle_away(&w->idle, 1);
    if (work_queued(w)) /* away */
        wake_one(w, false);
    settle(w, threads, 2);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(inject_meets_sleep),
    SCENARIO(push_meets_sleep),
    SCENARIO(pinned_meets_sleep),
    SCENARIO(last_searcher_wakes_one_more, .less = 1),
    SCENARIO(two_submitters, .less = 1),
    SCENARIO(enough_are_awake, .less = 1),
    SCENARIO(one_is_away, .less = 1),
    SCENARIO_END,
};
