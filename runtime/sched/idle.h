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
 *   - The last searcher that finds work wakes one more: a submitter may have trusted it for a
 *     second task.
 *
 * The race that must not be lost:
 *
 *   submit                                     sleep
 *     push the task          (A)                 searching -= 1, awake -= 1,
 *     read the word          (B)                   join the sleepers            (C)
 *     nobody searches, some sleep: wake one      look at every queue            (D)
 *                                                found one: leave the sleepers, else sleep
 *
 * For a task that one worker alone may run B reads that worker's `asleep`, which C has set.
 *
 * A, B, C and D are seq_cst. A lost wake-up needs B to read the word from before C and D to
 * read a queue from before A: then A, B, C, D would each come before the next in a circle. The
 * same holds for the last searcher: it stops searching with C's read-modify-write before it
 * looks at the queues for the last time.
 */
#ifndef FM_RUNTIME_SCHED_IDLE_H
#define FM_RUNTIME_SCHED_IDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/platform/lock.h"

struct idle {
    FM_ALONE _Atomic uint64_t word;
    FM_ALONE struct lock lock;
    uint32_t sleeper_count;
    uint16_t sleepers[256]; /* worker indices; the last went to sleep last */
    /* by worker index: 1 while among them; written under the lock */
    _Atomic uint8_t asleep[256];
};

#define IDLE_AWAKE(word) ((uint32_t)((word)&0xffff))
#define IDLE_SEARCHING(word) ((uint32_t)((word) >> 16 & 0xffff))

void fm__idle_init(struct idle *idle);
/* A worker joins (awake, not searching) or leaves for good (the same). */
void fm__idle_join(struct idle *idle);
void fm__idle_leave(struct idle *idle);

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

/* Whether a submitter may go without waking anybody. seq_cst (B). */
static inline bool fm__idle_covered(const struct idle *idle)
{
    uint64_t word = atomic_load_explicit(&idle->word, memory_order_seq_cst);
    return IDLE_SEARCHING(word) != 0;
}
/* As fm__idle_covered, or everybody is awake. `total`: how many workers there are. */
static inline bool fm__idle_no_need(const struct idle *idle, uint32_t total)
{
    uint64_t word = atomic_load_explicit(&idle->word, memory_order_seq_cst);
    return IDLE_SEARCHING(word) != 0 || IDLE_AWAKE(word) >= total;
}

/*
 * Name a sleeper to be woken, counted as awake and searching from here on; -1 if nobody sleeps
 * or somebody searches (unless `force`). `avoid`: not this one if there is another (the poller
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
