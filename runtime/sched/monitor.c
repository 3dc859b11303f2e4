/*
 * monitor.c - the thread that watches workers which are too busy to watch themselves
 *
 * Every TICK_MS while work flows: a task that has run for long without a switch has had its
 * turn, and then is reported; a task stuck in its worker's slot is moved to where others find
 * it; where nobody has polled or fired timers for a tick, that is done here and a sleeper is
 * woken to take it on. Where there are more workers than processors, sleepers are let wake in
 * place of workers that block in the kernel, and one more where all have been busy with one
 * task each. When no worker has been awake for some ticks the monitor sleeps, and the next
 * worker that wakes up rouses it: an idle process uses no CPU.
 *
 * Knows not   fibers: ops->slice_over ends a turn, ops->stalled makes the report.
 */
#include "runtime/sched/monitor.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/context/stack.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/futex.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/own_thread.h"
#include "runtime/sched/ready.h"

enum {
    TICK_MS = 5,
    SLICE_MS = 5, /* on a processor, from the second tick on that sees the task */
    STALL_FIRST_MS = 10, /* told from there on, and each time it has become twice as long */
    STARVED_FACTOR = 10,
    QUIET_TICKS = 8, /* so many without an awake worker: sleep */
    TRIM_AGE_S = 10, /* a stack that has lain unused for so long is given back */
    TRIM_BATCH = 256,
    ASKED_MOST = 8, /* threads whose state is read in a tick: some microseconds each */
};

struct watched {
    uint32_t runs;    /* at the last tick */
    int64_t since_ns; /* that the same task has been seen running */
    int64_t from_ns;  /* a tick later; then: */
    struct thread_times times;
    int64_t throttled_ns;
    uint32_t next_ms; /* told next when it has lasted so long; 0: seen but once */
    bool counted;
    bool blocked; /* its worker was, when last asked */
};

struct monitor {
    struct sched *sched;
    pthread_t thread;
    _Atomic uint32_t asleep; /* futex: 1 until roused */
    _Atomic bool quit;
    _Atomic uint64_t stalls;
    /* of the tick that runs: workers with a task that ... */
    uint32_t blocked;   /* block in the kernel */
    uint32_t computing; /* do not, and have the same task as at the last tick */
    uint32_t ask_from;  /* the worker that is asked next */
    struct watched watched[WORKERS_MAX];
};

/*
 * Whether it counts as a stall by now. A thread that waits for a processor is the machine's
 * fault and not the fiber's: it counts when it has had half of the time, or when it lasts.
 */
static bool is_stall(struct monitor *m, int64_t lasted_ns, const struct thread_times *since)
{
    FM_ASSERT(since);
    int64_t most = (int64_t)m->sched->stall_ms * 1000000;
    return lasted_ns >= most &&
           (lasted_ns - since->queued_ns >= most / 2 || lasted_ns >= STARVED_FACTOR * most);
}

/* The same task as at the last tick. */
static void watch_longer(struct monitor *m, uint32_t index, struct worker *w,
                         struct watched *seen, struct task *task, int64_t now)
{
    FM_ASSERT(index < WORKERS_MAX && task);
    FM_ASSERT(seen == &m->watched[index]);
    struct sched *sched = m->sched;
    int kernel_id = atomic_load_explicit(&w->kernel_id, memory_order_relaxed);
    int64_t lasted = now - seen->since_ns;
    uint32_t ms = (uint32_t)(lasted / 1000000);

    struct task *stuck = fm__worker_take_lifo(w);
    if (stuck)
        fm__sched_inject(sched, stuck);
    if (!seen->next_ms) {
        seen->next_ms = STALL_FIRST_MS;
        seen->from_ns = now;
        seen->times = fm__thread_times(kernel_id);
        seen->throttled_ns = sched->ops->throttled_ns(sched);
        return;
    }
    if (fm__thread_ran_ns(kernel_id) - seen->times.ran_ns >= SLICE_MS * 1000000)
        sched->ops->slice_over(sched, task);
    if (ms < seen->next_ms && (seen->counted || ms < sched->stall_ms))
        return;
    struct thread_times times = fm__thread_times(kernel_id);
    times.ran_ns -= seen->times.ran_ns;
    times.queued_ns -= seen->times.queued_ns;
    bool counts = !seen->counted && is_stall(m, lasted, &times);
    if (ms < seen->next_ms && !counts)
        return;
    while (ms >= seen->next_ms)
        seen->next_ms *= 2;
    if (counts) {
        seen->counted = true;
        fm__count(&m->stalls, 1);
    }
    struct sched_stall stall = {
        .task = task,
        .worker = index,
        .kernel_id = kernel_id,
        .ms = ms,
        .watched_ns = now - seen->from_ns,
        .times = times,
        .throttled_ns = sched->ops->throttled_ns(sched) - seen->throttled_ns,
        .counts = counts,
    };
    fm__trace_stall(sched, &stall);
    sched->ops->stalled(sched, &stall);
}

/* Returns whether the worker has a task, the same as at the last tick. */
static bool watch(struct monitor *m, uint32_t index, struct worker *w, int64_t now)
{
    FM_ASSERT(index < WORKERS_MAX);
    struct watched *seen = &m->watched[index];
    uint32_t runs = atomic_load_explicit(&w->runs, memory_order_relaxed);
    struct task *current = atomic_load_explicit(&w->current, memory_order_acquire);

    if (!current || runs != seen->runs) {
        *seen = (struct watched) {
            .runs = runs, .since_ns = now, .blocked = current && seen->blocked
        };
        return false;
    }
    watch_longer(m, index, w, seen, current, now);
    return true;
}

/* ---- more workers than processors ---- */

static bool blocks(struct worker *w)
{
    char state = fm__thread_state(atomic_load_explicit(&w->kernel_id, memory_order_relaxed));
    return state == 'S' || state == 'D';
}

/*
 * Watch them all, and count those whose place others may take. Returns whether any has a task.
 */
static bool watch_all(struct monitor *m, int64_t now)
{
    struct sched *sched = m->sched;
    /* Asked only where somebody could be woken for something. */
    uint32_t asks = fm__idle_has_spare(&sched->idle) && fm__sched_work_queued(sched)
                        ? ASKED_MOST
                        : 0;
    uint32_t ask_from = m->ask_from;
    bool busy = false;

    m->blocked = m->computing = m->ask_from = 0;
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct worker *w = atomic_load_explicit(&sched->workers[i], memory_order_acquire);
        if (!w)
            break;
        bool same = watch(m, i, w, now);
        if (!atomic_load_explicit(&w->current, memory_order_relaxed))
            continue;
        busy = true;
        if (asks && i >= ask_from) {
            m->watched[i].blocked = blocks(w);
            if (--asks == 0)
                m->ask_from = i + 1;
        }
        if (m->watched[i].blocked)
            m->blocked++;
        else if (same)
            m->computing++;
    }
    return busy;
}

/*
 * Who computes has its processor and is counted on: but where none of those that may be awake
 * comes to the queues any more, one more may.
 */
static void let_others(struct monitor *m)
{
    struct sched *sched = m->sched;
    uint32_t processors = sched->idle.processors, away = m->blocked;

    if (m->computing >= processors)
        away += m->computing + 1 - processors;
    if (fm__idle_has_spare(&sched->idle))
        fm__sched_away(sched, away);
}

/* Timers and io that nobody looks after. */
static void look_after(struct monitor *m, int64_t now)
{
    struct sched *sched = m->sched;
    bool due = sched->ops->timer_next(sched) <= now - TICK_MS * 1000000;

    if (due)
        sched->ops->timer_fire(sched, now);
    if (!sched->ops->poll_needed(sched) && sched->ops->timer_next(sched) == INT64_MAX)
        return;
    /* relaxed: a look at a time */
    if (now - atomic_load_explicit(&sched->polled_ns, memory_order_relaxed) <
            2 * TICK_MS * 1000000 ||
        !fm__sched_take_token(sched, WORKERS_MAX + 1))
        return;
    if (sched->ops->poll_needed(sched))
        sched->ops->poll(sched, 0);
    fm__sched_drop_token(sched, now);
    /* A sleeper that finds nothing to run takes the poller on. */
    fm__sched_wake_one(sched, true);
}

static void *monitor_main(void *arg)
{
    struct monitor *m = arg;
    struct sched *sched = m->sched;
    unsigned quiet = 0, ticks = 0;

    pthread_setname_np(pthread_self(), "fm-monitor");
    while (!atomic_load_explicit(&m->quit, memory_order_acquire)) {
        int64_t now = fm__clock_ns();
        bool awake = watch_all(m, now) || IDLE_AWAKE(fm__idle_read(&sched->idle));
        if (awake)
            look_after(m, now);
        let_others(m);
        quiet = awake ? 0 : quiet + 1;
        /* Stacks are given back once a second at most, and once more on the way to sleep. */
        if (++ticks % (1000 / TICK_MS) == 0)
            fm__stack_trim(now - (int64_t)TRIM_AGE_S * 1000000000, TRIM_BATCH);
        if (quiet > QUIET_TICKS) {
            fm__stack_trim(now, TRIM_BATCH);
            quiet = 0;
            /*
             * seq_cst, with fm__monitor_rouse: a worker that wakes up after this look sees that
             * we sleep
             */
            atomic_store_explicit(&m->asleep, 1, memory_order_seq_cst);
            if (IDLE_AWAKE(fm__idle_read(&sched->idle)) == 0 &&
                !atomic_load_explicit(&m->quit, memory_order_seq_cst))
                fm__futex_wait(&m->asleep, 1, INT64_MAX);
            atomic_store_explicit(&m->asleep, 0, memory_order_relaxed);
        } else {
            /* a sleep that quit cuts short: nobody changes `asleep` from 0 but to wake us */
            fm__futex_wait(&m->asleep, 0, now + TICK_MS * 1000000);
        }
    }
    return NULL;
}

void fm__monitor_rouse(struct sched *sched)
{
    struct monitor *m = sched->monitor;
    if (!m)
        return;
    /* seq_cst: see monitor_main */
    if (atomic_load_explicit(&m->asleep, memory_order_seq_cst) == 1 &&
        atomic_exchange_explicit(&m->asleep, 0, memory_order_seq_cst) == 1)
        fm__futex_wake(&m->asleep, 1);
}

int fm__monitor_start(struct sched *sched)
{
    FM_ASSERT(!sched->monitor);
    struct monitor *m = fm__calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    m->sched = sched;
    sched->monitor = m;
    int r = fm__thread_create(&m->thread, monitor_main, m);
    if (r < 0) {
        sched->monitor = NULL;
        free(m);
    }
    return r;
}

void fm__monitor_stop(struct sched *sched)
{
    struct monitor *m = sched->monitor;
    if (!m)
        return;
    atomic_store_explicit(&m->quit, true, memory_order_seq_cst);
    atomic_store_explicit(&m->asleep, 2, memory_order_seq_cst);
    fm__futex_wake(&m->asleep, 1);
    pthread_join(m->thread, NULL);
}

uint64_t fm__monitor_stalls(struct sched *sched)
{
    return sched->monitor ? fm__counted(&sched->monitor->stalls) : 0;
}
