/*
 * deque.h - one worker's run queue
 *
 * A bounded double-ended queue of tasks. Its owner works at the bottom, newest first; any
 * thread takes the oldest from the top. Nothing here blocks: a full queue says so, and the
 * caller puts the task elsewhere.
 */
#ifndef FM_RUNTIME_QUEUE_DEQUE_H
#define FM_RUNTIME_QUEUE_DEQUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/platform/atomic.h"

struct task;

/*
 * Indices are 64 bits wide and never masked in storage: at 10^9 tasks a second they last 290
 * years, so no index comes round under a thief that sleeps between its load and its compare.
 */
struct deque {
    FM_ALONE _Atomic int64_t top;    /* oldest task; moved by whoever takes it, never down */
    FM_ALONE _Atomic int64_t bottom; /* one past the newest; written by the owner alone */
    int64_t top_seen;                /* owner only: top was here, or has gone further since */
    int64_t capacity;                /* constant, a power of two */
    _Atomic(struct task *) *slots;   /* constant; a task stands at its index modulo capacity */
};

/*
 * fm__deque_init - an empty queue in the caller's storage
 *
 * capacity   a power of two, 2 or more; the number of tasks that fit.
 *
 * Returns    0, -ENOMEM
 */
int fm__deque_init(struct deque *d, uint32_t capacity);

/* Frees the slots. The queue is empty and no thread can reach it any more. */
void fm__deque_fini(struct deque *d);

/*
 * fm__deque_push - put a task at the bottom
 *
 * Callers    the owner.
 * Returns    false if the queue is full: nothing has changed, the task is still the caller's.
 * Order      all before this call happens before what the taker of the task does next. The
 *            publishing store is seq_cst, for the sake of sleepers: see fm__deque_count.
 */
bool fm__deque_push(struct deque *d, struct task *task);

/*
 * fm__deque_pop - take the newest task
 *
 * Callers    the owner.
 * Returns    NULL if the queue is empty.
 */
struct task *fm__deque_pop(struct deque *d);

/*
 * fm__deque_steal - take the oldest task
 *
 * Tries again when another thread is faster, so that NULL has one meaning. Each new try is paid
 * for by a task that somebody else has taken.
 *
 * Callers    any thread; the owner too, when it wants the oldest.
 * Returns    NULL if the queue was empty at one moment of the call.
 */
struct task *fm__deque_steal(struct deque *d);

/*
 * fm__deque_steal_half - take about half of the tasks, oldest first
 *
 * The first goes to the caller, to be run at once; the others, in their order, to the bottom of
 * the caller's own queue as far as there is room. Each task is taken by a compare of its own:
 * an owner that pops from the other end without one allows no larger bite.
 *
 * own        the caller's queue; not victim.
 * ret_first  written only if the result is not 0.
 *
 * Callers    the owner of own.
 * Returns    how many tasks were taken, the first included; 0 if victim was empty at one
 *            moment.
 * Order      towards third threads the tasks put into own are published as by fm__deque_push.
 */
unsigned fm__deque_steal_half(struct deque *victim, struct deque *own, struct task **ret_first);

/*
 * fm__deque_count - about how many tasks there are
 *
 * Exact for the owner while nobody steals. Both loads are seq_cst, which gives the promise that
 * the idle protocol stands on. With W a word in which sleepers are noted, all of it seq_cst:
 *
 *   push(task): store of bottom        note the sleeper in W: a read-modify-write
 *   load W, look for sleepers          if (fm__deque_count(d) == 0) sleep
 *
 * In the single order of these four either the submitter finds the sleeper, or the sleeper
 * finds the task or that another thread, awake, has taken it. Never does each miss the other.
 *
 * Callers    any thread.
 */
int64_t fm__deque_count(const struct deque *d);

#endif
