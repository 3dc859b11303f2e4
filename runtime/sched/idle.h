/*
 * idle.h - who is awake, who searches, who sleeps
 *
 * One packed word:   63..32 epoch   31..16 searching   15..0 awake
 * A worker is awake or asleep; an awake one may be searching (it has no work and looks at the
 * others' queues). The sleepers stand on a stack under a lock, so that one woken again soon is
 * the one whose caches are warm.
 *
 * Rules
 *   - At most half of the awake workers search: more would only take tasks from one another.
 *   - A submitter wakes a sleeper only if nobody searches: the searcher will find the task.
 *   - Nor if as many are awake as there are processors: one more would only take a processor
 *     from them, and each of them looks at every queue before it sleeps. A worker whose task
 *     keeps it for long, or blocks in the kernel, is not one of them: the monitor says how many
 *     are away so, and wakes for what was queued before it said it (fm__idle_away).
 *   - The last searcher that finds work wakes one more: a submitter may have trusted it for a
 *     second task.
 *
 * The race that must not be lost:
 *
 *   submit                                     sleep
 *     push the task          (A)                 searching -= 1, awake -= 1,
 *     read the word          (B)                   join the sleepers            (C)
 *     nobody searches, too few are awake:        look at every queue            (D)
 *       wake one                                 found one: leave the sleepers, else sleep
 *
 * For a task that one worker alone may run B reads that worker's `asleep`, which C has set.
 *
 * A, B, C and D are seq_cst. A lost wake-up needs B to read the word from before C and D to
 * read a queue from before A: then A, B, C, D would each come before the next in a circle. The
 * same holds for the last searcher: it stops searching with C's read-modify-write before it
 * looks at the queues for the last time. And for those who are enough: `enough` is never 0
 * while there are workers, so B has seen one awake whose C is still to come.
 */
#ifndef FM_RUNTIME_SCHED_IDLE_H
#define FM_RUNTIME_SCHED_IDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/platform/lock.h"

struct idle {
    FM_ALONE _Atomic uint64_t word;
    /* written under the lock: the fewer of the workers and processors + away */
    FM_ALONE _Atomic uint32_t enough;
    uint32_t processors; /* constant */
    _Atomic uint32_t workers; /* awake or asleep */
    uint32_t away;
    FM_ALONE struct lock lock;
    uint32_t sleeper_count;
    uint16_t sleepers[256]; /* worker indices; the last went to sleep last */
    /* by worker index: 1 while among them; written under the lock */
    _Atomic uint8_t asleep[256];
};

#define IDLE_AWAKE(word) ((uint32_t)((word)&0xffff))
#define IDLE_SEARCHING(word) ((uint32_t)((word) >> 16 & 0xffff))

/* `processors`: at least 1, on so many workers can run at once. */
void fm__idle_init(struct idle *idle, uint32_t processors);
/* A worker joins (awake, not searching) or leaves for good (the same). */
void fm__idle_join(struct idle *idle);
void fm__idle_leave(struct idle *idle);
/*
 * So many of the awake count as if they slept. Who says more than before must look at the
 * queues afterwards, and wake for what it sees there.
 */
void fm__idle_away(struct idle *idle, uint32_t away);

/* An awake worker wants to search: false if enough do. */
bool fm__idle_search(struct idle *idle);
/*
 * It has found work: true if it was the last searcher, which must then wake one more
 * (fm__idle_wake).
 */
bool fm__idle_found(struct idle *idle);
/*
 * It has found none and goes to sleep: joins the sleepers. It must then look at every queue
 * once more, and either sleep until fm__idle_wake names it, or fm__idle_rise. Returns true if
 * nobody is awake any more.
 */
bool fm__idle_sleep(struct idle *idle, uint32_t worker, bool searching);
/*
 * Up again by its own will, as a searcher: true if it left the sleepers; false if somebody has
 * named it in the meantime, and counted it so.
 */
bool fm__idle_rise(struct idle *idle, uint32_t worker);

/* Whether a submitter may go without waking anybody. */
static inline bool fm__idle_no_need(const struct idle *idle)
{
    /*
     * seq_cst: a worker that has come too late to be counted here, or the monitor that has said
     * too late that one is away, has looked at the queues after our push
     */
    uint32_t enough = atomic_load_explicit(&idle->enough, memory_order_seq_cst);
    /* seq_cst (B) */
    uint64_t word = atomic_load_explicit(&idle->word, memory_order_seq_cst);
    return IDLE_SEARCHING(word) != 0 || IDLE_AWAKE(word) >= enough;
}

/* Whether each of the awake can have a processor: else who spins takes another's. */
static inline bool fm__idle_may_spin(const struct idle *idle)
{
    /* relaxed: about right is enough */
    uint64_t word = atomic_load_explicit(&idle->word, memory_order_relaxed);
    return IDLE_AWAKE(word) <= idle->processors;
}

/* Whether there are more workers than processors, and some of them sleep. */
static inline bool fm__idle_has_spare(const struct idle *idle)
{
    /* relaxed: asked again and again */
    uint64_t word = atomic_load_explicit(&idle->word, memory_order_relaxed);
    uint32_t workers = atomic_load_explicit(&idle->workers, memory_order_relaxed);
    return workers > idle->processors && IDLE_AWAKE(word) < workers;
}

/*
 * Name a sleeper to be woken, counted as awake and searching from here on; -1 if nobody sleeps
 * or there is no need (unless `force`). `avoid`: not this one if there is another (the poller
 * costs more to wake); -1 none. The caller makes it run.
 */
int fm__idle_wake(struct idle *idle, bool force, int avoid);
/*
 * Whether this very worker may sleep, asked after a push that it alone can see. seq_cst (B);
 * its joining the sleepers is (C). False: it looks at its queues after the push.
 */
static inline bool fm__idle_asleep(const struct idle *idle, uint32_t worker)
{
    return atomic_load_explicit(&idle->asleep[worker], memory_order_seq_cst) != 0;
}
/* Name this very sleeper: true if it slept. */
bool fm__idle_wake_this(struct idle *idle, uint32_t worker);

static inline uint64_t fm__idle_read(const struct idle *idle)
{
    return atomic_load_explicit(&idle->word, memory_order_seq_cst);
}

#endif
