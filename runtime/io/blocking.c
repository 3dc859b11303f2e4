/*
 * blocking.c - the elastic pool of threads
 *
 * Owns        the threads, the queue, each job until its two sides have left it.
 * Invariant   A job in the queue has a thread that will look: one that was named for it, one
 *             that is being made for it, or all there may be, none of which sleeps while there
 *             is a job. Should the last thread that was to come not come, every queued job ends
 *             with -EAGAIN.
 *
 *   hand in                               a thread
 *     lock: push the job                    lock: a job? run it (the lock is free meanwhile)
 *       an idle thread: take it off,          none: join the idle, newest on top
 *       name it                               unlock, sleep until named, or five seconds
 *       none, below the bound: one more       lock: not named, hence still listed:
 *     unlock, wake or make                      leave and end
 *
 * The newest idle thread is taken first, so that those that a quiet pool does not need grow old
 * and go.
 *
 * A waiter that leaves early (deadline, interruption) and the thread each hold a reference on
 * the job; the last one frees it. Where the argument is lent the waiter looks, under the lock,
 * how far the job has come:
 *
 *     QUEUED ------ pop ------> RUNNING ------ fn has returned ------> OVER
 *       |  the waiter takes it    |  he waits again, masked and without  |  he has what he
 *       |  out and leaves: fn is  |  a deadline; the job has his new     |  waited for
 *       |  never called           |  wait by then                        |
 *       '-- shutdown, no thread: straight to OVER, with an exit or an error of the pool's
 *
 * Ended threads are joined by the next one that ends, the last by who shuts down: none is in
 * the library's code afterwards.
 */
#include "runtime/io/blocking.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/fiber/runtime.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/futex.h"
#include "runtime/platform/histogram.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/own_thread.h"

enum { THREADS_DEFAULT = 64, DUMP_MAX = 64 };
static const int64_t IDLE_NS = INT64_C(5000000000);

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_OVER };

struct job {
    struct job *next, **link; /* in the queue, then among the running */
    enum job_state state;     /* under the lock */
    fm_entry_fn *fn;
    void *arg;
    fm_drop_fn *drop;
    struct wait wait; /* who NULL: nobody waits; under the lock until the job is over */
    uint64_t fiber_id;
    int64_t since_ns; /* handed in; then: begun */
    struct fm_exit exit;
    int error; /* it never ran */
    _Atomic uint32_t refs;
};

/* An idle thread, on its own stack. */
struct idle_thread {
    struct idle_thread *next, **link;
    _Atomic uint32_t named;
};

struct blocking {
    struct lock lock;
    bool stopping;
    uint32_t thread_max;
    uint32_t threads; /* alive, or being made */
    uint32_t queued;
    struct job *queue, **end; /* where the next one is linked */
    struct job *running;
    struct idle_thread *idle;
    int64_t idle_ns;
    pthread_t ended; /* the last that ended, not yet joined */
    bool has_ended;
    _Atomic uint32_t ends;    /* futex: moves when the last thread ends */
    _Atomic uint32_t waiting; /* fibers that wait for a job */
    _Atomic uint64_t jobs;    /* handed in; under the lock */
    struct histogram wait_ns; /* under the lock */
};

/* ---- jobs ---- */

static void job_unref(struct job *job)
{
    /* acq_rel: the last one frees what the other has written */
    if (atomic_fetch_sub_explicit(&job->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (job->drop)
        job->drop(job->arg);
    free(job);
}

/* It is over: tell who waits. */
static void complete(struct job *job)
{
    FM_ASSERT(job->state == JOB_OVER);
    if (job->wait.who)
        fm__wake(job->wait, WAKE_VALUE);
    job_unref(job);
}

static void complete_all(struct job *first)
{
    while (first) {
        struct job *job = first;
        first = job->next;
        complete(job);
    }
}

static void push_locked(struct blocking *b, struct job *job)
{
    FM_ASSERT(fm__lock_held(&b->lock));
    FM_ASSERT(job->state == JOB_QUEUED);
    job->link = b->end;
    *b->end = job;
    b->end = &job->next;
    b->queued++;
}

/* Off the queue, or off the list of the running. */
static void unlink_locked(struct blocking *b, struct job *job)
{
    FM_ASSERT(fm__lock_held(&b->lock));
    FM_ASSERT(job->state != JOB_OVER && (job->state != JOB_QUEUED || b->queued));
    *job->link = job->next;
    if (job->next)
        job->next->link = job->link;
    else if (b->end == &job->next)
        b->end = job->link;
    if (job->state == JOB_QUEUED)
        b->queued--;
}

/* None of them will run: what is to be completed once the lock is free. */
static struct job *end_queue_locked(struct blocking *b, int error, struct fm_exit exit)
{
    FM_ASSERT(fm__lock_held(&b->lock));
    struct job *first = b->queue;
    for (struct job *job = first; job; job = job->next) {
        job->state = JOB_OVER;
        job->error = error;
        job->exit = exit;
    }
    b->queue = NULL;
    b->end = &b->queue;
    b->queued = 0;
    return first;
}

static struct job *pop_locked(struct blocking *b)
{
    FM_ASSERT(fm__lock_held(&b->lock));
    struct job *job = b->queue;
    if (!job)
        return NULL;
    unlink_locked(b, job);
    int64_t now = fm__clock_ns();
    fm__histogram_add(&b->wait_ns, now - job->since_ns);
    job->since_ns = now;
    job->state = JOB_RUNNING;
    job->next = b->running;
    job->link = &b->running;
    if (b->running)
        b->running->link = &job->next;
    b->running = job;
    FM_ASSERT(job->state == JOB_RUNNING);
    return job;
}

/* ---- threads ---- */

static void name_locked(struct blocking *b, struct idle_thread *thread)
{
    FM_ASSERT(fm__lock_held(&b->lock) && b->idle == thread);
    b->idle = thread->next;
    FM_ASSERT(thread->link);
    if (thread->next)
        thread->next->link = &b->idle;
    thread->link = NULL;
    /* relaxed: read again under the lock */
    atomic_store_explicit(&thread->named, 1, memory_order_relaxed);
}

/*
 * Sleep until named or idle for too long: false, still unnamed. Called and left with the lock.
 */
static bool sleep_locked(struct blocking *b)
{
    FM_ASSERT(fm__lock_held(&b->lock));
    struct idle_thread me = { .next = b->idle, .link = &b->idle };
    int64_t deadline_ns = fm__time_add(fm__clock_ns(), b->idle_ns);
    int r = 0;

    if (me.next)
        me.next->link = &me.next;
    b->idle = &me;
    fm__unlock(&b->lock);
    /* relaxed: only a reason to look under the lock */
    while (atomic_load_explicit(&me.named, memory_order_relaxed) == 0 && r != -ETIMEDOUT)
        r = fm__futex_wait(&me.named, 0, deadline_ns);
    fm__lock(&b->lock);
    if (!me.link)
        return true;
    *me.link = me.next;
    if (me.next)
        me.next->link = me.link;
    return false;
}

static void *serve(void *arg)
{
    FM_ASSERT(arg);
    struct blocking *b = arg;

    pthread_setname_np(pthread_self(), "fm-blocking");
    fm__thread_serves();
    fm__lock(&b->lock);
    for (;;) {
        struct job *job = pop_locked(b);
        if (job) {
            fm__unlock(&b->lock);
            job->exit = job->fn(job->arg);
            fm__lock(&b->lock);
            unlink_locked(b, job);
            job->state = JOB_OVER;
            fm__unlock(&b->lock);
            complete(job);
            fm__lock(&b->lock);
        } else if (b->stopping || !sleep_locked(b)) {
            break;
        }
    }
    pthread_t before = b->ended;
    bool had_ended = b->has_ended;
    b->ended = pthread_self();
    b->has_ended = true;
    FM_ASSERT(b->threads);
    b->threads--;
    /* relaxed: under the lock; the futex only says that there is something to look at */
    atomic_fetch_add_explicit(&b->ends, 1, memory_order_relaxed);
    fm__unlock(&b->lock);
    fm__futex_wake(&b->ends, 1);
    fm__thread_may_end();
    if (had_ended)
        pthread_join(before, NULL);
    return NULL;
}

/*
 * One more thread, which has been counted. If it cannot be made and was the last hope, the
 * queue ends.
 */
static void make_thread(struct blocking *b)
{
    pthread_t thread;
    struct job *hopeless = NULL;

    if (fm__thread_create(&thread, serve, b) == 0)
        return;
    fm__lock(&b->lock);
    if (--b->threads == 0)
        hopeless = end_queue_locked(b, -EAGAIN, fm_fail(-EAGAIN));
    atomic_fetch_add_explicit(&b->ends, 1, memory_order_relaxed);
    fm__unlock(&b->lock);
    fm__futex_wake(&b->ends, 1);
    complete_all(hopeless);
}

/* 0: the job is the pool's, and may be over already · -ESHUTDOWN */
static int hand_in(struct blocking *b, struct job *job)
{
    FM_ASSERT(job->fn);
    struct idle_thread *thread;
    bool make = false;

    job->since_ns = fm__clock_ns();
    fm__lock(&b->lock);
    if (b->stopping) {
        fm__unlock(&b->lock);
        return -ESHUTDOWN;
    }
    push_locked(b, job);
    fm__count(&b->jobs, 1);
    thread = b->idle;
    if (thread) {
        name_locked(b, thread);
    } else if (b->threads < b->thread_max) {
        b->threads++;
        make = true;
    }
    fm__unlock(&b->lock);
    if (thread)
        fm__futex_wake(&thread->named, 1); /* the address alone: the thread may have gone on */
    if (make)
        make_thread(b);
    return 0;
}

/* ---- what fibers call ---- */

/*
 * The waiter of a job whose argument is lent wants to leave: `reason`, fn will not be called;
 * or WAKE_VALUE, it is over.
 */
static enum wake_reason withdraw_or_await(struct blocking *b, struct job *job,
                                          enum wake_reason reason)
{
    FM_ASSERT(reason != WAKE_VALUE);
    fm__lock(&b->lock);
    switch (job->state) {
    case JOB_QUEUED:
        unlink_locked(b, job);
        fm__unlock(&b->lock);
        job_unref(job); /* the pool's */
        return reason;
    case JOB_RUNNING: {
        struct wait wait;
        int r = fm__wait_begin(&wait, WAIT_MASKED, "blocking job");
        FM_ASSERT(r == 0);
        job->wait = wait;
        fm__unlock(&b->lock);
        return fm__wait_end(wait, FM_NEVER);
    }
    case JOB_OVER: break;
    }
    fm__unlock(&b->lock);
    return WAKE_VALUE;
}

/* b NULL: the caller is a thread. */
static int run_on(struct blocking *b, fm_entry_fn *fn, void *arg, fm_drop_fn *drop, bool lent,
                  int64_t deadline_ns, struct fm_exit *ret_exit)
{
    FM_ASSERT(fn);
    if (!b) { /* a thread blocks as it likes */
        struct fm_exit exit = fn(arg);
        if (drop)
            drop(arg);
        if (ret_exit)
            *ret_exit = exit;
        return 0;
    }
    if (lent && deadline_ns <= fm__runtime_now_ns(fm__fiber_self()->runtime))
        return -ETIMEDOUT;
    struct job *job = fm__calloc(1, sizeof *job);
    if (!job) {
        if (drop)
            drop(arg);
        return -ENOMEM;
    }
    job->fn = fn;
    job->arg = arg;
    job->drop = drop;
    job->fiber_id = fm__self_id();
    struct wait wait;
    int r = fm__wait_begin(&wait, 0, "blocking job");
    bool waits = r == 0;
    if (!waits && lent) {
        free(job);
        return r;
    }
    if (waits)
        job->wait = wait;
    atomic_init(&job->refs, waits ? 2 : 1);
    /*
     * relaxed: read when every worker is idle, which orders it. The fiber itself counts up
     * before it waits and down after it has been woken, so the runtime is never idle with a
     * job's end on its way.
     */
    atomic_fetch_add_explicit(&b->waiting, waits, memory_order_relaxed);

    int refused = hand_in(b, job);
    if (refused < 0) {
        if (waits) {
            fm__wait_abort(wait);
            atomic_fetch_sub_explicit(&b->waiting, 1, memory_order_relaxed);
        }
        atomic_store_explicit(&job->refs, 1, memory_order_relaxed);
        job_unref(job);
        return refused;
    }
    if (!waits)
        return r;

    enum wake_reason reason = fm__wait_end(wait, deadline_ns);
    if (lent && reason != WAKE_VALUE)
        reason = withdraw_or_await(b, job, reason);
    atomic_fetch_sub_explicit(&b->waiting, 1, memory_order_relaxed);
    r = reason == WAKE_VALUE ? job->error : fm__wake_result(reason);
    if (r == 0 && ret_exit)
        *ret_exit = job->exit;
    job_unref(job);
    return r;
}

int fm__blocking_run(fm_entry_fn *fn, void *arg, fm_drop_fn *drop, int64_t deadline_ns,
                     struct fm_exit *ret_exit)
{
    struct fm_fiber *self = fm__fiber_self();
    return run_on(self ? self->runtime->blocking : NULL, fn, arg, drop, false, deadline_ns,
                  ret_exit);
}

int fm__blocking_run_lent(fm_entry_fn *fn, void *arg, int64_t deadline_ns,
                          struct fm_exit *ret_exit)
{
    struct fm_fiber *self = fm__fiber_self();
    return run_on(self ? self->runtime->blocking : NULL, fn, arg, NULL, true, deadline_ns,
                  ret_exit);
}

int fm__blocking_run_kept(fm_entry_fn *fn, void *arg, int64_t deadline_ns,
                          struct fm_exit *ret_exit)
{
    struct fm_fiber *self = fm__fiber_self();
    return run_on(self ? self->runtime->keeper : NULL, fn, arg, NULL, true, deadline_ns,
                  ret_exit);
}

int fm_blocking(fm_entry_fn *fn, void *arg, int64_t deadline_ns, struct fm_exit *ret_exit)
{
    return fn ? fm__blocking_run(fn, arg, NULL, deadline_ns, ret_exit) : -EINVAL;
}

/* ---- what the runtime calls ---- */

static struct blocking *make_pool(uint32_t thread_max, int64_t idle_ns)
{
    FM_ASSERT(thread_max);
    struct blocking *b = fm__calloc(1, sizeof *b);
    if (!b)
        return NULL;
    fm__lock_init(&b->lock, LOCK_RUNTIME);
    b->end = &b->queue;
    b->thread_max = thread_max;
    b->idle_ns = idle_ns;
    return b;
}

int fm__blocking_init(struct fm_runtime *runtime)
{
    FM_ASSERT(!runtime->blocking && !runtime->keeper);
    uint32_t bound = runtime->config.blocking_threads;

    runtime->blocking = make_pool(bound ? bound : THREADS_DEFAULT, IDLE_NS);
    if (!runtime->blocking)
        return -ENOMEM;
    runtime->keeper = make_pool(1, FM_NEVER);
    if (!runtime->keeper) {
        free(runtime->blocking);
        runtime->blocking = NULL;
        return -ENOMEM;
    }
    return 0;
}

static int shut_pool(struct blocking *b, int64_t deadline_ns)
{
    struct job *queued;

    fm__lock(&b->lock);
    b->stopping = true;
    queued = end_queue_locked(b, 0,
                              (struct fm_exit) { .kind = FM_INTERRUPTED,
                                                 .reason = FM_BY_SHUTDOWN });
    while (b->idle) {
        struct idle_thread *thread = b->idle;
        name_locked(b, thread);
        fm__futex_wake(&thread->named, 1); /* it needs the lock to go on, so it is there */
    }
    fm__unlock(&b->lock);
    complete_all(queued);

    for (int r = 0;;) {
        fm__lock(&b->lock);
        uint32_t ends = atomic_load_explicit(&b->ends, memory_order_relaxed);
        if (b->threads == 0) {
            pthread_t last = b->ended;
            bool has_ended = b->has_ended;
            b->has_ended = false;
            fm__unlock(&b->lock);
            if (has_ended)
                pthread_join(last, NULL);
            return 0;
        }
        fm__unlock(&b->lock);
        if (r == -ETIMEDOUT)
            return r;
        r = fm__futex_wait(&b->ends, ends, deadline_ns);
    }
}

int fm__blocking_shutdown(struct fm_runtime *runtime, int64_t deadline_ns)
{
    int kept = shut_pool(runtime->keeper, deadline_ns);
    int r = shut_pool(runtime->blocking, deadline_ns);
    return r < 0 ? r : kept;
}

void fm__blocking_fini(struct fm_runtime *runtime)
{
    fm__blocking_shutdown(runtime, FM_NEVER);
    free(runtime->blocking);
    free(runtime->keeper);
    runtime->blocking = runtime->keeper = NULL;
}

uint32_t fm__blocking_busy(struct fm_runtime *runtime)
{
    /* relaxed: see run_on */
    return atomic_load_explicit(&runtime->blocking->waiting, memory_order_relaxed) +
           atomic_load_explicit(&runtime->keeper->waiting, memory_order_relaxed);
}

void fm__blocking_stats(struct fm_runtime *runtime, struct fm_runtime_stats *stats)
{
    struct blocking *b = runtime->blocking;

    fm__lock(&b->lock);
    stats->blocking_threads = b->threads;
    stats->blocking_jobs = fm__counted(&b->jobs);
    stats->blocking_queued = b->queued;
    stats->blocking_wait = (struct fm_histogram) { 0 };
    fm__histogram_sum(&stats->blocking_wait, &b->wait_ns);
    fm__unlock(&b->lock);
}

int fm__blocking_dump(struct fm_runtime *runtime, int fd)
{
    struct blocking *b = runtime->blocking;
    struct {
        fm_entry_fn *fn;
        uint64_t fiber_id;
        int64_t since_ns;
    } lines[DUMP_MAX];
    unsigned count = 0;

    fm__lock(&b->lock);
    for (struct job *job = b->running; job && count < DUMP_MAX; job = job->next, count++) {
        lines[count].fn = job->fn;
        lines[count].fiber_id = job->fiber_id;
        lines[count].since_ns = job->since_ns;
    }
    fm__unlock(&b->lock);
    int64_t now = fm__clock_ns();
    for (unsigned i = 0; i < count; i++)
        if (dprintf(fd, "blocking job %p of fiber %#llx runs for %lld ms\n",
                    (void *)(uintptr_t)lines[i].fn, (unsigned long long)lines[i].fiber_id,
                    (long long)((now - lines[i].since_ns) / 1000000)) < 0)
            return -errno;
    return 0;
}

void fm__blocking_set_idle_ns(struct fm_runtime *runtime, int64_t idle_ns)
{
    struct blocking *b = runtime->blocking;
    fm__lock(&b->lock);
    b->idle_ns = idle_ns;
    fm__unlock(&b->lock);
}
