/*
 * worker.c - the loop of a worker: pick, run, leave, search, sleep
 *
 * Owns        the worker threads and their stacks' caches.
 * Knows not   what a task is for, time, io: sched_ops.
 * Invariant   a runnable task stands in exactly one place: a slot, a queue, an inbox, an inject
 *             list, or a worker's hands.
 *
 * The order of picking, and why:
 *   1. the LIFO slot, at most LIFO_RUNS times in a row: the task made runnable last finds its
 *      data warm. Then another has its turn, so that two tasks that wake each other for ever do
 *      not starve a third.
 *   2. tasks spawned here and not yet run, newest first: a fork-join program then works through
 *      its tree depth first, in memory that grows with the depth and not with the breadth. What
 *      a spawn pushes out of the slot counts with them: it is older than the spawned task and
 *      younger than all others.
 *   3. the queue, oldest first.
 *   4. every tick (about 200 us): timers, io, the inject lists, and the oldest task of the own
 *      queue before anything newer (after ten ticks, if it was spawned and never ran): no
 *      runnable task waits for more than its turn in a queue that is served so.
 * Others steal from the old end, half at a time.
 */
#include "runtime/sched/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/context/overflow.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/cpu.h"
#include "runtime/platform/futex.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/spin.h"

enum {
    LIFO_RUNS = 3,
    TICK_NS = 200000,
    TICK_MAX = 512,
    TICK_START = 61,
    DUE_TICKS = 10,
    INJECT_BATCH = 64,
    SPIN_NS = 5000,
};

/*
 * The thread's worker. Initial-exec: one pointer, so the library can still be loaded by dlopen.
 * Read only by fm__worker_self: the compiler may keep a thread-local's address over a call that
 * changes the thread.
 */
static __thread struct worker *this_worker __attribute__((tls_model("initial-exec")));

__attribute__((noinline)) struct worker *fm__worker_self(void)
{
    __asm__ volatile("" ::: "memory");
    return this_worker;
}

int fm__worker_index(void)
{
    struct worker *w = fm__worker_self();
    return w ? (int)w->index : -1;
}

struct task *fm__sched_current(void)
{
    struct worker *w = fm__worker_self();
    /* relaxed: the owner wrote it */
    return w ? atomic_load_explicit(&w->current, memory_order_relaxed) : NULL;
}

void *fm__sched_user(void)
{
    struct worker *w = fm__worker_self();
    return w ? w->user : NULL;
}

int64_t fm__sched_coarse_ns(void)
{
    struct worker *w = fm__worker_self();
    return w ? w->looked_ns : fm__clock_ns();
}

/* ---- waking ---- */

static void name_worker(struct sched *sched, struct worker *w)
{
    /*
     * seq_cst, with the poller's store of blocked_in_poll and load of awake: either the poller
     * sees that it was named or we see that it must be called back from its poll.
     */
    atomic_store_explicit(&w->awake, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&w->blocked_in_poll, memory_order_seq_cst))
        sched->ops->poll_wake(sched);
    else
        fm__futex_wake(&w->awake, 1);
}

void fm__sched_wake_one(struct sched *sched, bool force)
{
    /* relaxed: a hint which of the sleepers costs more to wake */
    int poller = (int)atomic_load_explicit(&sched->polling, memory_order_relaxed) - 1;
    int named = fm__idle_wake(&sched->idle, force, poller);
    if (named < 0)
        return;
    struct worker *self = fm__worker_self();
    if (self && self->sched == sched)
        fm__count(&self->wakes, 1);
    /* relaxed: set once, before the worker ever slept */
    name_worker(sched, atomic_load_explicit(&sched->workers[named], memory_order_relaxed));
}

/* After a task was put where others can take it. */
static inline void cover(struct sched *sched)
{
    /*
     * How many there are, not how many there should be: one that was told to go counts as awake
     * while it is busy. seq_cst: a worker that has come too late to be counted here has looked
     * at the queues after our push.
     */
    uint32_t total = atomic_load_explicit(&sched->worker_live, memory_order_seq_cst);
    if (!fm__idle_no_need(&sched->idle, total))
        fm__sched_wake_one(sched, false);
}

void fm__sched_kick(struct sched *sched)
{
    fm__sched_wake_one(sched, true);
}

/* ---- queueing ---- */

static void mark_sample(struct worker *w, struct task *task)
{
    w->sample_next = false;
    task->since_tick = (uint32_t)(fm__clock_ns() / 1000) | 1;
}

/* The address of a thread-local tells foreign threads apart well enough. */
static unsigned shard_here(struct sched *sched, struct worker *w)
{
    return (w && w->sched == sched ? w->index : (unsigned)((uintptr_t)&this_worker >> 12)) %
           INJECT_SHARDS;
}

static struct inject *shard_of(struct sched *sched, struct worker *w)
{
    return &sched->inject[shard_here(sched, w)];
}

void fm__sched_inject(struct sched *sched, struct task *task)
{
    fm__inject_push(shard_of(sched, fm__worker_self()), task, task, 1);
    cover(sched);
}

/* The queue is full: half of it, the oldest first, and the task go to the inject list. */
static void spill(struct worker *w, struct task *task)
{
    struct task *first = NULL, *last = NULL, *oldest;
    uint32_t count = 0;
    for (uint32_t n = w->sched->queue_size / 2; n && (oldest = fm__deque_steal(&w->deque));
         n--, count++) {
        if (last)
            last->next = oldest;
        else
            first = oldest;
        last = oldest;
    }
    if (last)
        last->next = task;
    else
        first = task;
    fm__inject_push(shard_of(w->sched, w), first, task, count + 1);
    fm__count(&w->overflows, 1);
}

static inline void push(struct worker *w, struct task *task, bool newest_first)
{
    if (__builtin_expect(w->sample_next, 0))
        mark_sample(w, task);
    if (__builtin_expect(!fm__deque_push(&w->deque, task), 0)) {
        spill(w, task);
        w->newest_first = 0;
    } else if (newest_first) {
        w->newest_first++;
    } else {
        w->newest_first = 0;
        /* relaxed: the owner's own index */
        w->fair_end = atomic_load_explicit(&w->deque.bottom, memory_order_relaxed);
    }
    cover(w->sched);
}

static void push_pinned(struct sched *sched, struct task *task)
{
    /* relaxed: a worker with pins is there */
    struct worker *w = atomic_load_explicit(&sched->workers[task->pinned - 1],
                                            memory_order_relaxed);
    fm__inject_push(&w->inbox, task, task, 1);
    if (w != fm__worker_self() && fm__idle_wake_this(&sched->idle, w->index))
        name_worker(sched, w);
}

/*
 * From a thread that is none of ours. As soon as the task is queued it may run and end, be the
 * last one, and the runtime be destroyed, while we have yet to look for a sleeper: fini waits
 * until the visitors have left.
 */
static __attribute__((noinline)) void ready_from_outside(struct sched *sched, struct task *task)
{
    _Atomic uint32_t *visitors = &sched->visitors[shard_here(sched, NULL)].count;
    /*
     * relaxed: before the push, whose lock shows it to the worker that ends the task and so to
     * fini
     */
    atomic_fetch_add_explicit(visitors, 1, memory_order_relaxed);
    if (task->pinned)
        push_pinned(sched, task);
    else
        fm__sched_inject(sched, task);
    /* release: the last access to the scheduler; with await_visitors */
    atomic_fetch_sub_explicit(visitors, 1, memory_order_release);
}

static void await_visitors(struct sched *sched)
{
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        /* acquire: all that they did here */
        for (unsigned spins = 0;
             atomic_load_explicit(&sched->visitors[i].count, memory_order_acquire); spins++)
            fm__spin(spins);
}

void fm__sched_ready(struct sched *sched, struct task *task)
{
    struct worker *w = fm__worker_self();

    if (__builtin_expect(!w || w->sched != sched, 0)) {
        ready_from_outside(sched, task);
        return;
    }
    if (__builtin_expect(task->pinned != 0, 0)) {
        push_pinned(sched, task);
        return;
    }
    /*
     * Into the slot. Only the owner fills it, anybody may empty it: release for who takes it,
     * acquire of nothing (a task that comes back from the slot was put there by this thread).
     */
    struct task *older = atomic_load_explicit(&w->lifo, memory_order_relaxed);
    if (!older) {
        atomic_store_explicit(&w->lifo, task, memory_order_release);
        return;
    }
    bool spawned = (task->flags & TASK_SPAWNED) != 0;
    older = atomic_exchange_explicit(&w->lifo, task, memory_order_acq_rel);
    if (older)
        push(w, older, spawned || (older->flags & TASK_SPAWNED));
}

struct task *fm__worker_take_lifo(struct worker *worker)
{
    /* relaxed look: most slots are empty */
    if (!atomic_load_explicit(&worker->lifo, memory_order_relaxed))
        return NULL;
    /* acquire: what the owner wrote into the task before it filled the slot */
    return atomic_exchange_explicit(&worker->lifo, NULL, memory_order_acq_rel);
}

/* ---- picking ---- */

/*
 * Told to go, and free to: it takes nothing more and hands over what it has. relaxed: who told
 * it has woken it afterwards.
 */
static inline bool leaving(struct worker *w)
{
    return __builtin_expect(atomic_load_explicit(&w->retire, memory_order_relaxed) == RETIRE_GO,
                            0) &&
           atomic_load_explicit(&w->pins, memory_order_relaxed) == 0;
}

static struct task *take_injected_from(struct worker *w, struct inject *inject, uint32_t limit)
{
    struct task *first;
    uint32_t count = fm__inject_take(inject, limit, &first);
    if (!count)
        return NULL;
    fm__count(&w->injected, count);
    struct task *rest = first->next;
    while (rest) {
        struct task *next = rest->next;
        push(w, rest, false);
        rest = next;
    }
    return first;
}

static struct task *take_injected(struct worker *w)
{
    struct sched *sched = w->sched;
    for (uint32_t i = 0; i < INJECT_SHARDS; i++) {
        struct inject *inject = &sched->inject[(w->index + i) % INJECT_SHARDS];
        uint32_t count = fm__inject_count(inject);
        if (!count)
            continue;
        /* a fair part, and no more than the own queue takes with ease */
        uint32_t limit = count /
                             atomic_load_explicit(&sched->worker_count, memory_order_relaxed) +
                         1;
        if (limit > INJECT_BATCH)
            limit = INJECT_BATCH;
        if (limit > sched->queue_size / 2)
            limit = sched->queue_size / 2;
        struct task *task = take_injected_from(w, inject, limit ? limit : 1);
        if (task)
            return task;
    }
    return NULL;
}

static bool take_token(struct sched *sched, uint32_t holder)
{
    uint32_t nobody = 0;
    /*
     * acquire, with the release in drop_token: the poller's buffers go from holder to holder.
     * seq_cst: before sleep_in_poll's look at the deadlines, for fm__sched_deadline_moved.
     */
    return atomic_load_explicit(&sched->polling, memory_order_relaxed) == 0 &&
           atomic_compare_exchange_strong_explicit(&sched->polling, &nobody, holder,
                                                   memory_order_seq_cst, memory_order_relaxed);
}

static void drop_token(struct sched *sched, int64_t now_ns)
{
    atomic_store_explicit(&sched->polled_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&sched->polling, 0, memory_order_release);
}

/*
 * Whether the oldest task of the own queue has its turn at this tick. One that was woken or
 * yielded: at every tick. One that was spawned and never ran only when it has been the oldest for
 * DUE_TICKS: to start another branch of a fork-join tree at every tick would keep that many
 * branches, their stacks and queued leaves, half done.
 */
static bool oldest_is_due(struct worker *w)
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
 * The tick: what must not wait for the queue to run dry. Returns a task that has waited long,
 * or NULL.
 */
static __attribute__((noinline)) struct task *look_around(struct worker *w)
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
    w->sample_start_ns = now;

    if (sched->ops->timer_next(sched) <= now)
        sched->ops->timer_fire(sched, now);
    if (sched->ops->poll_needed(sched) &&
        now - atomic_load_explicit(&sched->polled_ns, memory_order_relaxed) > TICK_NS &&
        take_token(sched, w->index + 1)) {
        fm__count(&w->polls, 1);
        sched->ops->poll(sched, 0);
        drop_token(sched, now);
    }
    struct task *task = take_injected_from(w, &w->inbox, 1);
    if (!task)
        task = take_injected(w);
    if (!task && oldest_is_due(w))
        task = fm__deque_steal(&w->deque);
    return task;
}

/*
 * The next task from what is this worker's own; NULL if there is none, or if the worker leaves.
 * `yielding`: nobody may pass the oldest.
 */
static inline struct task *pick(struct worker *w, bool yielding)
{
    struct task *task;

    if (__builtin_expect(w->tick-- == 0, 0)) {
        if (leaving(w)) {
            w->tick = 0;
            return NULL;
        }
        task = look_around(w);
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
    return take_injected_from(w, &w->inbox, 1);
}

/* ---- switching ---- */

static void host(struct context_transfer from);

/* The task that was left is whole now: do with it what it asked for. */
static inline void settle(struct worker *w)
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
            push_pinned(w->sched, task);
        else
            push(w, task, left == LEFT_BELOW);
        return;
    case LEFT_PARK:
        fm__stack_check(task->stack);
        if (!w->sched->ops->parked(task))
            fm__sched_ready(w->sched, task);
        return;
    case LEFT_ENDED:
        fm__stack_check(w->left_stack);
        fm__stack_give(&w->stacks, w->left_stack);
        return;
    }
}

static void end_sample(struct worker *w)
{
    fm__histogram_add(&w->run_length, fm__clock_ns() - w->sample_start_ns);
    w->sample_start_ns = 0;
}

/* The worker's counters and marks at each start or resumption of a task. */
static inline void note_run(struct worker *w, struct task *task)
{
    /* relaxed: one writer; the monitor and dumps read */
    atomic_store_explicit(&w->current, task, memory_order_relaxed);
    atomic_store_explicit(&w->runs, atomic_load_explicit(&w->runs, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (__builtin_expect(task->since_tick != 0, 0)) {
        /* signed: the mark has its lowest bit set, so it may lie a microsecond ahead */
        int32_t late = (int32_t)((uint32_t)(fm__clock_ns() / 1000) - task->since_tick);
        fm__histogram_add(&w->latency, (int64_t)late * 1000);
        task->since_tick = 0;
    }
}

/*
 * Give a new task a stack. False: there is none; the task is put aside for the worker's own
 * stack.
 */
static bool bind_stack(struct worker *w, struct task *task)
{
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
static inline void go(struct worker *w, struct context *from, struct task *next, bool ends)
{
    struct context *to = &w->home;

    if (__builtin_expect(w->sample_start_ns != 0, 0))
        end_sample(w);
    fm__count(&w->switches, 1);
    if (next && (next->stack || bind_stack(w, next))) {
        note_run(w, next);
        to = &next->ctx;
    } else {
        atomic_store_explicit(&w->current, NULL, memory_order_relaxed);
    }
    fm__lock_check_none();
    fm__context_switch(from, to, ends);
}

static void leave(struct task *self, enum left how, struct task *next)
{
    struct worker *w = fm__worker_self();

    w->left = how;
    w->left_task = self;
    go(w, &self->ctx, next, false);
    /* Maybe another worker from here on. */
    settle(fm__worker_self());
}

void fm__sched_park(struct task *self)
{
    leave(self, LEFT_PARK, pick(fm__worker_self(), false));
}

void fm__sched_yield(struct task *self)
{
    struct worker *w = fm__worker_self();
    struct task *next = pick(w, true);
    if (!next && !leaving(w)) {
        next = take_injected(w);
        if (!next)
            return;
    }
    leave(self, LEFT_YIELD, next);
}

void fm__sched_run_first(struct task *self, struct task *child)
{
    leave(self, LEFT_BELOW, child);
}

/*
 * The bottom of every stack: runs one task after the other on it while new ones are next, and
 * then leaves it.
 */
static void host(struct context_transfer from)
{
    FM_CONTEXT_FIRST_FRAME(from);
    struct worker *w = fm__worker_self();
    settle(w);
    struct task *task = atomic_load_explicit(&w->current, memory_order_relaxed);
    struct stack *stack = task->stack;
    /* What the sanitizers know of this stack goes with it from task to task. */
    const struct context here = task->ctx;
    for (;;) {
        w->sched->ops->run(task);
        w = fm__worker_self();
        /* The slot's turns are counted against tasks that wake each other for ever; an end is not that. */
        w->lifo_runs = 0;
        atomic_store_explicit(&w->current, NULL, memory_order_relaxed);
        struct task *next = pick(w, false);
        if (next && !next->stack && next->stack_class == stack->stack_class) {
            fm__stack_check(stack);
            if (__builtin_expect(w->sample_start_ns != 0, 0))
                end_sample(w);
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

void fm__sched_pin(struct task *self)
{
    struct worker *w = fm__worker_self();
    self->pinned = (uint16_t)(w->index + 1);
    atomic_fetch_add_explicit(&w->pins, 1, memory_order_relaxed);
}

void fm__sched_unpin(struct task *self)
{
    struct worker *w = fm__worker_self();
    self->pinned = 0;
    atomic_fetch_sub_explicit(&w->pins, 1, memory_order_relaxed);
}

/* ---- searching ---- */

static uint32_t next_random(struct worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (uint32_t)(w->random >> 16);
}

/* Whether anything that this worker may run is visible. All loads seq_cst: (D) of idle.h. */
static bool work_visible(struct worker *w)
{
    struct sched *sched = w->sched;
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        if (fm__inject_count(&sched->inject[i]))
            return true;
    if (fm__inject_count(&w->inbox))
        return true;
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        /* acquire: the worker is complete when it is seen */
        struct worker *other = atomic_load_explicit(&sched->workers[i], memory_order_acquire);
        if (!other)
            break;
        if (fm__deque_count(&other->deque) > 0)
            return true;
    }
    return false;
}

bool fm__sched_at_rest(struct sched *sched)
{
    uint64_t before = fm__idle_read(&sched->idle);
    if (IDLE_AWAKE(before))
        return false;
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        if (fm__inject_count(&sched->inject[i]))
            return false;
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_acquire);
        if (!w)
            break;
        if (fm__inject_count(&w->inbox) || fm__deque_count(&w->deque) > 0)
            return false;
    }
    /* each waking moves the epoch, so what was looked at one after the other was so at once */
    return fm__idle_read(&sched->idle) == before;
}

static struct task *steal_round(struct worker *w)
{
    struct sched *sched = w->sched;
    uint32_t made = 0;
    while (made < WORKERS_MAX &&
           atomic_load_explicit(&sched->workers[made], memory_order_acquire))
        made++;
    if (made < 2)
        return NULL;
    /* A random start, then everybody once: no victim is asked twice and none is left out. */
    uint32_t start = next_random(w) % made;
    for (uint32_t i = 0; i < made; i++) {
        struct worker *victim = atomic_load_explicit(&sched->workers[(start + i) % made],
                                                     memory_order_acquire);
        if (victim == w)
            continue;
        struct task *task;
        unsigned count = fm__deque_steal_half(&victim->deque, &w->deque, &task);
        if (count) {
            fm__count(&w->steals, count);
            w->newest_first = 0;
            return task;
        }
    }
    return NULL;
}

/*
 * Last and late: another worker's slot, if that worker has been busy with one task since `runs`
 * was read.
 */
static struct task *steal_lifo(struct worker *w, const uint32_t *runs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct worker *victim = atomic_load_explicit(&w->sched->workers[i],
                                                     memory_order_acquire);
        if (victim == w || atomic_load_explicit(&victim->runs, memory_order_relaxed) != runs[i])
            continue;
        struct task *task = fm__worker_take_lifo(victim);
        if (task) {
            fm__count(&w->steals, 1);
            return task;
        }
    }
    return NULL;
}

static struct task *search(struct worker *w)
{
    struct sched *sched = w->sched;
    struct task *task;
    enum { WATCHED = 16 };
    uint32_t runs[WATCHED], count = 0;

    for (; count < WATCHED; count++) {
        struct worker *other = atomic_load_explicit(&sched->workers[count],
                                                    memory_order_acquire);
        if (!other)
            break;
        runs[count] = atomic_load_explicit(&other->runs, memory_order_relaxed);
    }
    int64_t until = 0;
    for (unsigned round = 0;; round++) {
        task = take_injected_from(w, &w->inbox, 1);
        if (!task)
            task = take_injected(w);
        if (!task)
            task = steal_round(w);
        if (task || !sched->spin || count < 2)
            return task;
        if (round % 16 == 0) {
            int64_t now = fm__clock_ns();
            if (!until)
                until = now + SPIN_NS;
            else if (now >= until)
                break;
        }
        fm__cpu_relax();
    }
    return steal_lifo(w, runs, count);
}

/*
 * Enough others search: wait a moment, awake, for what is put into our hands or comes from outside,
 * before the way to sleep and back is taken. It is awake and not searching, so submitters neither
 * wake it nor trust it; it looks at every queue again on its way to sleep.
 */
static struct task *linger(struct worker *w)
{
    struct sched *sched = w->sched;

    if (!sched->spin || !atomic_load_explicit(&sched->workers[1], memory_order_acquire))
        return NULL;
    int64_t until = fm__clock_ns() + SPIN_NS;
    for (unsigned round = 1;; round++) {
        struct task *task = take_injected_from(w, &w->inbox, 1);
        if (!task)
            task = take_injected(w);
        if (task || (round % 16 == 0 && fm__clock_ns() >= until))
            return task;
        fm__cpu_relax();
    }
}

/* ---- sleeping ---- */

/*
 * Somebody has named this worker, or will in a moment: wait for that and be awake and
 * searching.
 */
static void await_naming(struct worker *w)
{
    /* acquire, with name_worker: what the waker did before */
    while (atomic_load_explicit(&w->awake, memory_order_seq_cst) == 0)
        fm__futex_wait(&w->awake, 0, INT64_MAX);
    atomic_store_explicit(&w->awake, 0, memory_order_relaxed);
    w->searching = true;
}

static void rise(struct worker *w)
{
    if (fm__idle_rise(&w->sched->idle, w->index))
        w->searching = true;
    else
        await_naming(w);
}

void fm__sched_poll_returned(struct sched *sched)
{
    struct worker *w = fm__worker_self();
    if (!w || w->sched != sched || !w->in_poll)
        return;
    w->in_poll = false;
    /* seq_cst: from here on a waker uses the futex */
    atomic_store_explicit(&w->blocked_in_poll, 0, memory_order_seq_cst);
    rise(w);
}

void fm__sched_deadline_moved(struct sched *sched, int64_t deadline_ns)
{
    /*
     * seq_cst, with sleep_in_poll: the armer has published the deadline and reads how long the
     * poller waits; the poller has published how long and reads the deadlines again. One of the
     * two sees the other.
     */
    if (atomic_load_explicit(&sched->polling, memory_order_seq_cst) &&
        atomic_load_explicit(&sched->poll_until_ns, memory_order_seq_cst) > deadline_ns)
        sched->ops->poll_wake(sched);
}

/* Asleep in the poller, which ends with io, with a deadline, or with poll_wake. */
static void sleep_in_poll(struct worker *w)
{
    struct sched *sched = w->sched;
    int64_t deadline = sched->ops->timer_next(sched);

    for (;;) {
        /* seq_cst: see fm__sched_deadline_moved */
        atomic_store_explicit(&sched->poll_until_ns, deadline, memory_order_seq_cst);
        int64_t again = sched->ops->timer_next(sched);
        if (again >= deadline)
            break;
        deadline = again;
    }
    w->in_poll = true;
    /* seq_cst: see name_worker */
    atomic_store_explicit(&w->blocked_in_poll, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&w->awake, memory_order_seq_cst))
        deadline = 0;
    fm__count(&w->polls, 1);
    sched->ops->poll(sched, deadline);
    fm__sched_poll_returned(sched);
    atomic_store_explicit(&sched->poll_until_ns, INT64_MIN, memory_order_relaxed);
    int64_t now = fm__clock_ns();
    w->looked_ns = now;
    drop_token(sched, now);
    if (sched->ops->timer_next(sched) <= now)
        sched->ops->timer_fire(sched, now);
}

static void sleep_worker(struct worker *w)
{
    struct sched *sched = w->sched;
    bool was_searching = w->searching;

    w->searching = false;
    w->newest_first = 0;
    bool last = fm__idle_sleep(&sched->idle, w->index, was_searching);
    /* relaxed is enough for the flags: who sets them names the worker afterwards */
    if (work_visible(w) || atomic_load_explicit(&sched->quit, memory_order_relaxed) ||
        leaving(w)) {
        rise(w);
        return;
    }
    if (last && sched->ops->all_idle(sched)) {
        rise(w);
        return;
    }
    fm__count(&w->parks, 1);
    if (take_token(sched, w->index + 1))
        sleep_in_poll(w);
    else
        await_naming(w);
}

/* A searcher has found work: others may have trusted it with more. */
static void stop_searching(struct worker *w)
{
    if (!w->searching)
        return;
    w->searching = false;
    if (fm__idle_found(&w->sched->idle) && work_visible(w))
        fm__sched_wake_one(w->sched, false);
}

/*
 * It leaves: from here on there is no way back for this thread. False: it was told to stay
 * after all.
 */
static bool retires(struct worker *w)
{
    uint32_t go_now = RETIRE_GO;
    return atomic_compare_exchange_strong_explicit(&w->retire, &go_now, RETIRE_GOING,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

static struct task *next_task(struct worker *w)
{
    struct sched *sched = w->sched;

    for (;;) {
        if (leaving(w)) {
            if (retires(w))
                return NULL;
            continue;
        }
        struct task *task = pick(w, false);
        if (!task)
            task = take_injected(w);
        if (!task) {
            /*
             * One that must go but has pinned tasks searches like any other: submitters trust
             * whoever searches.
             */
            if (!w->searching)
                w->searching = fm__idle_search(&sched->idle);
            if (w->searching)
                task = search(w);
            else
                task = linger(w);
        }
        if (task) {
            stop_searching(w);
            return task;
        }
        if (leaving(w))
            continue;
        if (atomic_load_explicit(&sched->quit, memory_order_acquire))
            return NULL;
        int64_t now = fm__clock_ns();
        w->looked_ns = now;
        if (sched->ops->timer_next(sched) <= now && sched->ops->timer_fire(sched, now))
            continue;
        sleep_worker(w);
        fm__monitor_rouse(sched);
    }
}

/* What a worker that leaves still holds goes to the others. */
static void hand_over(struct worker *w)
{
    struct task *task;
    if ((task = fm__worker_take_lifo(w)))
        fm__sched_inject(w->sched, task);
    while ((task = fm__deque_steal(&w->deque)))
        fm__sched_inject(w->sched, task);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct sched *sched = w->sched;
    char name[16];

    this_worker = w;
    snprintf(name, sizeof name, "fm-worker-%u", w->index);
    pthread_setname_np(pthread_self(), name);
    atomic_store_explicit(&w->kernel_id, (int)syscall(SYS_gettid), memory_order_relaxed);
    /* without one an overflow is still caught, by the kernel */
    fm__overflow_attach_thread(&w->altstack);
    fm__context_init_thread(&w->home);
    fm__context_init_thread(&w->nowhere);
    w->looked_ns = fm__clock_ns();

    for (;;) {
        struct task *task = next_task(w);
        if (!task)
            break;
        if (task->stack || bind_stack(w, task)) {
            note_run(w, task);
            fm__count(&w->switches, 1);
            fm__context_switch(&w->home, &task->ctx, false);
            settle(w);
        }
        while (w->stackless) {
            task = w->stackless;
            w->stackless = NULL;
            atomic_store_explicit(&w->current, task, memory_order_relaxed);
            sched->ops->no_stack(task);
            atomic_store_explicit(&w->current, NULL, memory_order_relaxed);
        }
    }
    if (w->searching) {
        w->searching = false;
        fm__idle_found(&sched->idle);
    }
    hand_over(w);
    fm__idle_leave(&sched->idle);
    atomic_fetch_sub_explicit(&sched->worker_live, 1, memory_order_seq_cst);
    sched->ops->worker_fini(w);
    fm__stack_cache_flush(&w->stacks);
    fm__overflow_detach_thread(w->altstack);
    w->altstack = NULL;
    this_worker = NULL;
    /* It may have been the one that submitters trusted, or the last that was awake. */
    fm__sched_wake_one(sched, true);
    return NULL;
}

/* ---- making and ending ---- */

static int start_worker(struct sched *sched, uint32_t index)
{
    struct worker *w = atomic_load_explicit(&sched->workers[index], memory_order_relaxed);
    int r;

    if (!w) {
        w = fm__zalloc_aligned(2 * FM_CACHE_LINE, sizeof *w);
        if (!w)
            return -ENOMEM;
        r = fm__deque_init(&w->deque, sched->queue_size);
        if (r < 0) {
            free(w);
            return r;
        }
        w->sched = sched;
        w->index = index;
        fm__inject_init(&w->inbox);
        r = sched->ops->worker_init(w);
        if (r < 0) {
            fm__deque_fini(&w->deque);
            free(w);
            return r;
        }
        w->random = (sched->seed + 1 + index) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        w->tick_interval = w->tick = TICK_START;
        /* release: complete before thieves, and those who count fibers, see it */
        atomic_store_explicit(&sched->workers[index], w, memory_order_release);
        sched->worker_made = index + 1;
    }
    atomic_store_explicit(&w->retire, RETIRE_STAY, memory_order_relaxed);
    /* before it counts as awake: see cover */
    atomic_fetch_add_explicit(&sched->worker_live, 1, memory_order_seq_cst);
    fm__idle_join(&sched->idle);
    int e = fm__fault(FAULT_THREAD) ? EAGAIN : pthread_create(&w->thread, NULL, worker_main, w);
    if (e) {
        fm__idle_leave(&sched->idle);
        atomic_fetch_sub_explicit(&sched->worker_live, 1, memory_order_seq_cst);
        sched->ops->worker_fini(w);
        return -EAGAIN;
    }
    w->has_thread = true;
    return 0;
}

static void join_worker(struct worker *w)
{
    if (w->has_thread) {
        pthread_join(w->thread, NULL);
        w->has_thread = false;
    }
}

static void rouse(struct sched *sched, struct worker *w)
{
    if (fm__idle_wake_this(&sched->idle, w->index))
        name_worker(sched, w);
}

int fm__sched_resize(struct sched *sched, uint32_t count)
{
    int r = 0;

    fm__lock(&sched->resize_lock);
    uint32_t now = atomic_load_explicit(&sched->worker_count, memory_order_relaxed);
    for (; now < count && r == 0; now++) {
        struct worker *w = atomic_load_explicit(&sched->workers[now], memory_order_relaxed);
        uint32_t go_now = RETIRE_GO;
        /*
         * One that was told to go and has not gone may stay; one past that point is waited for
         * and made anew.
         */
        if (!w || !w->has_thread ||
            !atomic_compare_exchange_strong_explicit(&w->retire, &go_now, RETIRE_STAY,
                                                     memory_order_acq_rel,
                                                     memory_order_relaxed)) {
            if (w)
                join_worker(w);
            r = start_worker(sched, now);
            if (r < 0)
                break;
        }
        atomic_store_explicit(&sched->worker_count, now + 1, memory_order_relaxed);
    }
    for (; now > count; now--) {
        struct worker *w = atomic_load_explicit(&sched->workers[now - 1], memory_order_relaxed);
        atomic_store_explicit(&sched->worker_count, now - 1, memory_order_relaxed);
        atomic_store_explicit(&w->retire, RETIRE_GO, memory_order_seq_cst);
        rouse(sched, w);
    }
    fm__unlock(&sched->resize_lock);
    return r;
}

int fm__sched_init(struct sched *sched, uint32_t count)
{
    fm__idle_init(&sched->idle);
    fm__lock_init(&sched->resize_lock, LOCK_RUNTIME);
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        fm__inject_init(&sched->inject[i]);
    atomic_store_explicit(&sched->poll_until_ns, INT64_MIN, memory_order_relaxed);
    sched->spin = count <= fm__cpu_count() && !fm__cpu_quota();
    int r = fm__monitor_start(sched);
    if (r < 0)
        return r;
    r = fm__sched_resize(sched, count);
    if (r < 0)
        fm__sched_fini(sched);
    return r;
}

void fm__sched_fini(struct sched *sched)
{
    /* release: what the shutter-down did, to the workers that leave */
    atomic_store_explicit(&sched->quit, true, memory_order_release);
    fm__monitor_stop(sched);
    for (uint32_t i = 0; i < sched->worker_made; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_relaxed);
        /*
         * One that is not among the sleepers yet looks at quit once more when it has joined
         * them.
         */
        rouse(sched, w);
    }
    for (uint32_t i = 0; i < sched->worker_made; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_relaxed);
        join_worker(w);
    }
    await_visitors(sched);
    for (uint32_t i = 0; i < sched->worker_made; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_relaxed);
        sched->ops->worker_free(w);
        fm__deque_fini(&w->deque);
        free(w);
    }
    sched->worker_made = 0;
    free(sched->monitor);
    sched->monitor = NULL;
}

struct task *fm__sched_running(struct sched *sched, uint32_t index)
{
    struct worker *w = index < WORKERS_MAX
                           ? atomic_load_explicit(&sched->workers[index], memory_order_acquire)
                           : NULL;
    return w ? atomic_load_explicit(&w->current, memory_order_relaxed) : NULL;
}

void fm__sched_stats(struct sched *sched, struct fm_runtime_stats *stats)
{
    stats->worker_count = atomic_load_explicit(&sched->worker_count, memory_order_relaxed);
    stats->workers_awake = IDLE_AWAKE(fm__idle_read(&sched->idle));
    stats->stalls = fm__monitor_stalls(sched);
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_acquire);
        if (!w)
            break;
        stats->switches += fm__counted(&w->switches);
        stats->steals += fm__counted(&w->steals);
        stats->injected += fm__counted(&w->injected);
        stats->overflows += fm__counted(&w->overflows);
        stats->parks += fm__counted(&w->parks);
        stats->wakes += fm__counted(&w->wakes);
        stats->polls += fm__counted(&w->polls);
        fm__histogram_sum(&stats->schedule_latency, &w->latency);
        fm__histogram_sum(&stats->run_length, &w->run_length);
    }
}
