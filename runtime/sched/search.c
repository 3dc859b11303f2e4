/*
 * search.c - work from others' queues
 *
 * A worker without work looks at its inbox, the inject lists and the others' queues, of which
 * it takes half, for a short while before it goes to sleep. How many may search at once is
 * idle.h's. A slot is its owner's and the last to be touched: only where the owner has run one
 * task all the while.
 */
#include "runtime/sched/search.h"

#include "runtime/platform/clock.h"
#include "runtime/platform/cpu.h"
#include "runtime/platform/turn.h"
#include "runtime/sched/ready.h"

enum { SPIN_NS = 5000, INBOX_NS = 2000 };

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
    uint32_t start = fm__sched_random(made);
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
            if (w->trace)
                fm__trace_steal(w, victim->index, count);
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
            if (w->trace)
                fm__trace_steal(w, victim->index, 1);
            return task;
        }
    }
    return NULL;
}

/* Look for so long at what others may give: at the inbox, and with `injected` at the lists. */
static struct task *await_gift(struct worker *w, int64_t ns, bool injected)
{
    struct sched *sched = w->sched;

    if (!sched->spin || !fm__idle_may_spin(&sched->idle) ||
        !atomic_load_explicit(&sched->workers[1], memory_order_acquire))
        return NULL;
    int64_t until = fm__clock_ns() + ns;
    for (unsigned round = 1;; round++) {
        struct task *task = fm__worker_take_inbox(w);
        if (!task && injected)
            task = fm__worker_take_injected(w);
        if (task || (round % 16 == 0 && fm__clock_ns() >= until))
            return task;
        fm__cpu_relax();
    }
}

struct task *fm__worker_await_inbox(struct worker *w)
{
    /* relaxed: the owner's own fibers count */
    if (atomic_load_explicit(&w->pins, memory_order_relaxed) == 0)
        return NULL;
    return await_gift(w, INBOX_NS, false);
}

struct task *fm__worker_search(struct worker *w)
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
        task = fm__worker_take_inbox(w);
        if (!task)
            task = fm__worker_take_injected(w);
        if (!task)
            task = steal_round(w);
        if (task || count < 2)
            return task;
        /* Where threads take turns, no monitor looks after a slot that is stuck. */
        if (!sched->spin || !fm__idle_may_spin(&sched->idle))
            return fm__turn_taken() ? steal_lifo(w, runs, count) : NULL;
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

struct task *fm__worker_linger(struct worker *w)
{
    return await_gift(w, SPIN_NS, true);
}
