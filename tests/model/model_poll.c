/*
 * model_poll.c - whoever sleeps in the poller is called back, and one polls at a time
 *
 * Protocol   runtime/sched/sleep.c and runtime/io/epoll.c over sched/idle.c and the inject
 *            lists. The kernel here is a word: an eventfd that is readable, and orders nothing.
 *            What a holder of the token does to the poller's buffers is plain data. Time stands
 *            at 10: a deadline before that has passed, one after it may pass at any time.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/io/epoll.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/futex.h"
#include "runtime/platform/memory.h"
#include "runtime/sched/sleep.h"
#include "tests/model/model.h"

enum { WORKERS = 2, JOBS = 2, SOON = 5, LATE = 100 };

struct job {
    struct task task;
    int made; /* before it was pushed */
};

struct world {
    struct sched sched;
    struct poller poller;
    _Atomic uint32_t readable; /* the eventfd */
    _Atomic int64_t next_ns;   /* the earliest deadline */
    struct worker *worker[WORKERS];
    struct job job[JOBS];
    _Atomic uint32_t undone; /* tasks, and deadlines */
    _Atomic uint32_t done;
    _Atomic uint32_t reason[2]; /* why the poller is woken */
};

/* ---- the kernel ---- */

static struct world *the_world(struct poller *poller)
{
    return (struct world *)((char *)poller - offsetof(struct world, poller));
}

static long kernel_wait(struct poller *poller, const struct timespec *timeout)
{
    struct world *w = the_world(poller);
    int64_t deadline_ns = !timeout ? INT64_MAX : timeout->tv_nsec ? 100 : 0;
    int r = 0;
    while (atomic_load_explicit(&w->readable, memory_order_relaxed) == 0) {
        if (!deadline_ns || r == -ETIMEDOUT)
            return 0;
        r = fm__futex_wait(&w->readable, 0, deadline_ns);
    }
    poller->batch[0].data.u64 = EPOLL_TAG_WAKE;
    return 1;
}

static long kernel_read(struct poller *poller, uint64_t *to)
{
    *to = 1;
    atomic_exchange_explicit(&the_world(poller)->readable, 0, memory_order_relaxed);
    return 8;
}

static long kernel_write(struct poller *poller, const uint64_t *from)
{
    struct world *w = the_world(poller);
    model_assert(*from == 1);
    atomic_store_explicit(&w->readable, 1, memory_order_relaxed);
    fm__futex_wake(&w->readable, 1);
    return 8;
}

#define fm__clock_ns() INT64_C(10)
#define fm__fault(kind) false
#define syscall(number, fd, batch, size, timeout, mask, bytes) kernel_wait(poller, timeout)
#define read(fd, to, size) kernel_read(poller, to)
#define write(fd, from, size) kernel_write(poller, from)
#include "runtime/io/epoll.c"
#undef read
#undef write

/* ---- in place of the rooms around it ---- */

static struct world *world_of(struct sched *sched)
{
    return (struct world *)sched; /* it stands first */
}

void fm__trace_sleeps(struct worker *w)
{
    (void)w;
}
void fm__trace_awakes(struct worker *w)
{
    (void)w;
}

#define fm__worker_self() ((struct worker *)model_own())
#include "runtime/sched/sleep.c"

static bool nothing_made(struct sched *sched)
{
    (void)sched;
    return false;
}

static int64_t next_deadline(struct sched *sched)
{
    /* seq_cst: as fm__wheel_next */
    return atomic_load_explicit(&world_of(sched)->next_ns, memory_order_seq_cst);
}

static void one_done(struct world *w)
{
    if (atomic_fetch_sub_explicit(&w->undone, 1, memory_order_acq_rel) == 1)
        atomic_store_explicit(&w->done, 1, memory_order_release);
}

static unsigned fire(struct sched *sched, int64_t now_ns)
{
    struct world *w = world_of(sched);
    int64_t next = atomic_load_explicit(&w->next_ns, memory_order_relaxed);
    if (next > now_ns || !atomic_compare_exchange_strong_explicit(
                             &w->next_ns, &next, INT64_MAX, memory_order_seq_cst,
                             memory_order_relaxed))
        return 0;
    one_done(w);
    return 1;
}

static unsigned no_event(uint64_t tag, uint32_t events)
{
    (void)tag, (void)events;
    return 0;
}

/* As poller.c. */
static unsigned poll_once(struct sched *sched, int64_t deadline_ns)
{
    struct poller *poller = &world_of(sched)->poller;
    int count = fm__epoll_wait(poller, deadline_ns);
    fm__sched_poll_returned(sched);
    return fm__epoll_deliver(poller, count, no_event);
}

static void poll_wake(struct sched *sched)
{
    fm__epoll_wake(&world_of(sched)->poller);
}

static const struct sched_ops ops = { .all_idle = nothing_made, .timer_next = next_deadline,
                                      .timer_fire = fire, .poll = poll_once,
                                      .poll_wake = poll_wake };

static struct world *world_new(uint32_t workers, uint32_t things)
{
    struct world *w = model_aligned(_Alignof(struct world), sizeof *w);
    model_global(&fm__epoll_coarse, sizeof fm__epoll_coarse);
    fm__idle_init(&w->sched.idle, workers);
    w->sched.ops = &ops;
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        fm__inject_init(&w->sched.inject[i]);
    for (uint32_t i = 0; i < workers; i++) {
        w->worker[i] = model_aligned(_Alignof(struct worker), sizeof *w->worker[i]);
        w->worker[i]->sched = &w->sched;
        w->worker[i]->index = i;
        fm__inject_init(&w->worker[i]->inbox);
        w->sched.workers[i] = w->worker[i];
        fm__idle_join(&w->sched.idle);
    }
    w->sched.poll_until_ns = INT64_MIN;
    w->next_ns = INT64_MAX;
    w->undone = things;
    return w;
}

/* ---- threads ---- */

static bool take_one(struct worker *self)
{
    struct task *task;
    if (!fm__inject_take(&self->inbox, 1, &task) &&
        !fm__inject_take(&self->sched->inject[0], 1, &task))
        return false;
    fm__worker_stop_searching(self);
    struct job *job = (struct job *)task;
    model_assert(job->made == 1);
    one_done(world_of(self->sched));
    return true;
}

/* As loop.c. */
static void work(void *arg)
{
    struct worker *self = arg;
    struct sched *sched = self->sched;
    model_set_own(self);
    while (!atomic_load_explicit(&sched->quit, memory_order_acquire)) {
        if (take_one(self))
            continue;
        if (next_deadline(sched) <= 10 && fire(sched, 10))
            continue;
        fm__worker_sleep(self);
    }
}

static void make(struct world *w, unsigned which)
{
    w->job[which].made = 1;
}

static void inject_0(void *arg)
{
    struct world *w = arg;
    make(w, 0);
    fm__inject_push(&w->sched.inject[0], &w->job[0].task);
    fm__sched_cover(&w->sched);
}

static void inject_1(void *arg)
{
    struct world *w = arg;
    make(w, 1);
    fm__inject_push(&w->sched.inject[0], &w->job[1].task);
    fm__sched_cover(&w->sched);
}

/* For worker 0 alone: as ready.c. */
static void push_pinned(void *arg)
{
    struct world *w = arg;
    make(w, 1);
    fm__inject_push(&w->worker[0]->inbox, &w->job[1].task);
    if (fm__idle_asleep(&w->sched.idle, 0))
        fm__sched_rouse(&w->sched, w->worker[0]);
}

/* As timers.c and runtime.c. */
static void arm_soon(void *arg)
{
    struct world *w = arg;
    atomic_store_explicit(&w->next_ns, SOON, memory_order_seq_cst);
    fm__sched_deadline_moved(&w->sched, SOON);
}

/* As monitor.c. */
static void monitor_polls(void *arg)
{
    struct world *w = arg;
    if (!fm__sched_take_token(&w->sched, WORKERS_MAX + 1))
        return;
    poll_once(&w->sched, 0);
    fm__sched_drop_token(&w->sched, 10);
    fm__sched_wake_one(&w->sched, true);
}

static void settle(struct world *w, const int *threads, unsigned count, uint32_t workers)
{
    model_await(&w->done);
    atomic_store_explicit(&w->sched.quit, true, memory_order_release);
    for (uint32_t i = 0; i < workers; i++)
        fm__sched_kick(&w->sched);
    for (unsigned i = 0; i < count; i++)
        model_join(threads[i]);
}

/* ---- the wake of a poll by itself ---- */

static void wake_for(struct world *w, unsigned which)
{
    /* relaxed: it is the wake that brings it */
    atomic_store_explicit(&w->reason[which], 1, memory_order_relaxed);
    fm__epoll_wake(&w->poller);
}

static void wake_for_0(void *arg)
{
    wake_for(arg, 0);
}

static void wake_for_1(void *arg)
{
    wake_for(arg, 1);
}

static bool has_reason(struct world *w, unsigned which)
{
    return atomic_load_explicit(&w->reason[which], memory_order_relaxed);
}

/* Each wake ends the wait that goes on or the next one, and its reason is seen then. */
static void wakes_bring_their_reasons(void)
{
    struct world *w = world_new(0, 0);
    int a = model_spawn(wake_for_0, w), b = model_spawn(wake_for_1, w);
    bool first = false, second = false;
    while (!first || !second) {
        int count = fm__epoll_wait(&w->poller, INT64_MAX);
        fm__epoll_deliver(&w->poller, count, no_event);
        first = has_reason(w, 0);
        second = has_reason(w, 1);
    }
    model_join(a);
    model_join(b);
}

/* ---- scenarios ---- */

/* Two come while the only worker goes to sleep in its poll. */
static void two_submitters_meet_poll(void)
{
    struct world *w = world_new(1, 2);
    int threads[] = { model_spawn(work, w->worker[0]), model_spawn(inject_0, w) };
    inject_1(w);
    settle(w, threads, 2, 1);
}

/* One sleeps in the poll, one beside it; the task is for one of them alone. */
static void pinned_meets_poll(void)
{
    struct world *w = world_new(2, 1);
    int threads[] = { model_spawn(work, w->worker[0]), model_spawn(work, w->worker[1]) };
    push_pinned(w);
    settle(w, threads, 2, 2);
}

/* A deadline comes that is earlier than the poller means to sleep, and a task. */
static void deadline_meets_poll(void)
{
    struct world *w = world_new(1, 2);
    int threads[] = { model_spawn(work, w->worker[0]), model_spawn(arm_soon, w) };
    inject_0(w);
    settle(w, threads, 2, 1);
}

/* The monitor has the token when the workers want it, and they when it does. */
static void monitor_meets_pollers(void)
{
    struct world *w = world_new(2, 1);
    int threads[] = { model_spawn(work, w->worker[0]), model_spawn(work, w->worker[1]),
                      model_spawn(monitor_polls, w), model_spawn(arm_soon, w) };
    settle(w, threads, 4, 2);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(wakes_bring_their_reasons),
    SCENARIO(two_submitters_meet_poll),
    SCENARIO(deadline_meets_poll),
    SCENARIO(pinned_meets_poll, .less = 1),
    SCENARIO(monitor_meets_pollers, .less = 1),
    SCENARIO_END,
};
