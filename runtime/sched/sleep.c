/*
 * sleep.c - how a worker goes to sleep, and how it is woken
 *
 * A worker without work joins the sleepers of idle.h. Whoever wakes takes one of them off and
 * names it; only who is named, or has found something on the way, comes back. A sleeper waits
 * on its own futex, or, if it holds the token, in the poller: then io and deadlines wake it
 * too.
 *
 * Owns        the naming of sleepers, and the token: who holds it alone may poll.
 * Knows not   what runs: it looks whether queues are empty and takes nothing out.
 * Invariant   who is no longer among the sleepers has been named, or will be in a moment.
 */
#include "runtime/sched/sleep.h"

#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/futex.h"

/* ---- waking ---- */

static void name_worker(struct sched *sched, struct worker *w)
{
    FM_ASSERT(w);
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

void fm__sched_rouse(struct sched *sched, struct worker *w)
{
    FM_ASSERT(w);
    if (fm__idle_wake_this(&sched->idle, w->index))
        name_worker(sched, w);
}

void fm__sched_kick(struct sched *sched)
{
    fm__sched_wake_one(sched, true);
}

void fm__sched_away(struct sched *sched, uint32_t away)
{
    fm__idle_away(&sched->idle, away);
    /* afterwards: either we see what was queued, or who queued it has seen us */
    if (fm__sched_work_queued(sched))
        fm__sched_wake_one(sched, false);
}

/* ---- the token ---- */

bool fm__sched_take_token(struct sched *sched, uint32_t holder)
{
    FM_ASSERT(holder);
    uint32_t nobody = 0;
    /*
     * acquire, with the release in fm__sched_drop_token: the poller's buffers go from holder to
     * holder. seq_cst: before sleep_in_poll's look at the deadlines, for
     * fm__sched_deadline_moved.
     */
    return atomic_load_explicit(&sched->polling, memory_order_relaxed) == 0 &&
           atomic_compare_exchange_strong_explicit(&sched->polling, &nobody, holder,
                                                   memory_order_seq_cst, memory_order_relaxed);
}

void fm__sched_drop_token(struct sched *sched, int64_t now_ns)
{
    atomic_store_explicit(&sched->polled_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&sched->polling, 0, memory_order_release);
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

/* ---- looking at every queue ---- */

bool fm__sched_work_queued(struct sched *sched)
{
    for (uint32_t i = 0; i < INJECT_SHARDS; i++)
        if (fm__inject_count(&sched->inject[i]))
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

/* Whether anything that this worker may run is visible. All loads seq_cst: (D) of idle.h. */
static bool work_visible(struct worker *w)
{
    return fm__inject_count(&w->inbox) || fm__sched_work_queued(w->sched);
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
        fm__tsan_take(&w->home); /* what ran there came before its rest */
    }
    /* each waking moves the epoch, so what was looked at one after the other was so at once */
    return fm__idle_read(&sched->idle) == before;
}

/* ---- sleeping ---- */

/*
 * Somebody has named this worker, or will in a moment: wait for that and be awake and
 * searching.
 */
static void await_naming(struct worker *w)
{
    FM_ASSERT(w == fm__worker_self() && !w->searching);
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
    fm__trace_awakes(w);
    /* seq_cst: from here on a waker uses the futex */
    atomic_store_explicit(&w->blocked_in_poll, 0, memory_order_seq_cst);
    rise(w);
}

/* Asleep in the poller, which ends with io, with a deadline, or with poll_wake. */
static void sleep_in_poll(struct worker *w)
{
    FM_ASSERT(w == fm__worker_self() && !w->in_poll && !w->searching);
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
    fm__sched_drop_token(sched, now);
    if (sched->ops->timer_next(sched) <= now)
        sched->ops->timer_fire(sched, now);
}

void fm__worker_sleep(struct worker *w)
{
    struct sched *sched = w->sched;
    bool was_searching = w->searching;

    w->searching = false;
    w->newest_first = 0;
    bool last = fm__idle_sleep(&sched->idle, w->index, was_searching);
    /* relaxed is enough for the flags: who sets them names the worker afterwards */
    if (work_visible(w) || atomic_load_explicit(&sched->quit, memory_order_relaxed) ||
        fm__worker_leaving(w)) {
        rise(w);
        return;
    }
    if (last && sched->ops->all_idle(sched)) {
        rise(w);
        return;
    }
    fm__count(&w->parks, 1);
    fm__trace_sleeps(w);
    if (fm__sched_take_token(sched, w->index + 1))
        sleep_in_poll(w);
    else
        await_naming(w);
    fm__trace_awakes(w);
}

void fm__worker_stop_searching(struct worker *w)
{
    if (!w->searching)
        return;
    w->searching = false;
    if (fm__idle_found(&w->sched->idle) && work_visible(w))
        fm__sched_wake_one(w->sched, false);
}
