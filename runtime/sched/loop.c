/*
 * loop.c - a worker's thread: pick, run, search, sleep, and in the end leave
 *
 * Most turns never come here: a task that leaves its stack picks the next one itself
 * (switch.c). The loop is for when there is none.
 *
 * Owns        the thread's own stack, its signal stack and its cache of stacks.
 * Invariant   who leaves has handed over all that it held.
 */
#include "runtime/sched/loop.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/context/overflow.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/own_thread.h"
#include "runtime/sched/monitor.h"
#include "runtime/sched/pick.h"
#include "runtime/sched/search.h"
#include "runtime/sched/switch.h"

/*
 * It leaves: from here on there is no way back for this thread. False: it was told to stay
 * after all.
 */
static bool retires(struct worker *w)
{
    FM_ASSERT(w == fm__worker_self());
    uint32_t go_now = RETIRE_GO;
    return atomic_compare_exchange_strong_explicit(&w->retire, &go_now, RETIRE_GOING,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* What is due comes before work of others. True: there is work now. */
static bool fire_due(struct worker *w)
{
    FM_ASSERT(w == fm__worker_self());
    struct sched *sched = w->sched;
    int64_t now = fm__clock_ns();
    w->looked_ns = now;
    return sched->ops->timer_next(sched) <= now && sched->ops->timer_fire(sched, now);
}

static struct task *next_task(struct worker *w)
{
    FM_ASSERT(w == fm__worker_self());
    struct sched *sched = w->sched;

    for (;;) {
        if (fm__worker_leaving(w)) {
            if (retires(w))
                return NULL;
            continue;
        }
        struct task *task = fm__worker_pick(w, false);
        if (!task)
            task = fm__worker_take_injected(w);
        if (!task && fire_due(w))
            continue;
        if (!task && !w->searching)
            task = fm__worker_await_inbox(w);
        if (!task) {
            /*
             * One that must go but has pinned tasks searches like any other: submitters trust
             * whoever searches.
             */
            if (!w->searching)
                w->searching = fm__idle_search(&sched->idle);
            if (w->searching)
                task = fm__worker_search(w);
            else
                task = fm__worker_linger(w);
        }
        if (task) {
            if (w->searching)
                fm__worker_stop_searching(w);
            return task;
        }
        if (fm__worker_leaving(w))
            continue;
        if (atomic_load_explicit(&sched->quit, memory_order_acquire))
            return NULL;
        if (fire_due(w))
            continue;
        fm__worker_sleep(w);
        fm__monitor_rouse(sched);
    }
}

/* What a worker that leaves still holds goes to the others. */
static void hand_over(struct worker *w)
{
    FM_ASSERT(w == fm__worker_self());
    struct task *task;
    if ((task = fm__worker_take_lifo(w)))
        fm__sched_inject(w->sched, task);
    while ((task = fm__deque_steal(&w->deque)))
        fm__sched_inject(w->sched, task);
}

void *fm__worker_main(void *arg)
{
    FM_ASSERT(!fm__worker_self());
    struct worker *w = arg;
    struct sched *sched = w->sched;
    char name[16];

    fm__worker_set_self(w);
    fm__thread_refuse_cancel();
    fm__thread_serves();
    snprintf(name, sizeof name, "fm-worker-%u", w->index);
    pthread_setname_np(pthread_self(), name);
    atomic_store_explicit(&w->kernel_id, (int)syscall(SYS_gettid), memory_order_relaxed);
    /* without one an overflow is still caught, by the kernel */
    fm__overflow_attach_thread(&w->altstack);
    fm__sample_attach();
    fm__context_init_thread(&w->home);
    fm__context_init_thread(&w->nowhere);
    w->looked_ns = fm__clock_ns();
    fm__trace_look(w);
    fm__tsan_thread_begins();
    fm__tsan_give(w);

    for (;;) {
        struct task *task = next_task(w);
        if (!task)
            break;
        fm__worker_run(w, task);
    }
    fm__tsan_take(&w->home); /* what ran here came before the end */
    if (w->searching) {
        w->searching = false;
        fm__idle_found(&sched->idle);
    }
    hand_over(w);
    fm__trace_leaves(w);
    fm__idle_leave(&sched->idle);
    sched->ops->worker_fini(w);
    fm__stack_cache_flush(&w->stacks);
    fm__tsan_thread_ends();
    fm__overflow_detach_thread(w->altstack);
    w->altstack = NULL;
    fm__worker_set_self(NULL);
    fm__thread_may_end();
    /* It may have been the one that submitters trusted, or the last that was awake. */
    fm__sched_wake_one(sched, true);
    return NULL;
}
