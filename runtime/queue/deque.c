/*
 * deque.c - one worker's run queue
 *
 * The owner pushes and pops tasks at the bottom; any thread steals at the top.
 *
 * Owns        the slots. A task belongs to whoever takes it out.
 * Knows not   fibers, workers, sleeping.
 * Invariant   top never falls; top <= bottom + 1; bottom - top <= capacity; slots in [top,
 *             bottom) hold tasks.
 * Source      Le, Pop, Cohen, Zappa Nardelli, "Correct and Efficient Work-Stealing for Weak
 *             Memory Models", PPoPP 2013. Changed: the order sits on the operations, not on
 *             fences, so that ThreadSanitizer can follow it; the ring has a fixed size; the
 *             owner remembers how far it has seen top go.
 * Together    (X: the caller keeps the two apart; -: they may run at once)
 *                          push  pop  steal  count  fini
 *                 push     X     X    -      -      X
 *                 pop      X     X    -      -      X
 *                 steal    -     -    -      -      X
 *                 count    -     -    -      -      X
 *             steal_half steals from its victim and pushes to its own.
 * Proof       tests/model/model_deque.c, with each ordered access weakened in turn.
 */
#include "runtime/queue/deque.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/sanitizer.h"

static struct task *slot_get(const struct deque *d, int64_t i)
{
    /* relaxed: bottom publishes the slot (P to D); a late thief's CAS discards what it read */
    return atomic_load_explicit(&d->slots[i & (d->capacity - 1)], memory_order_relaxed);
}

static void slot_set(struct deque *d, int64_t i, struct task *task)
{
    FM_ASSERT(task);
    /* relaxed: see slot_get */
    atomic_store_explicit(&d->slots[i & (d->capacity - 1)], task, memory_order_relaxed);
}

int fm__deque_init(struct deque *d, uint32_t capacity)
{
    FM_ASSERT(capacity >= 2 && (capacity & (capacity - 1)) == 0);
    d->slots = fm__calloc(capacity, sizeof *d->slots);
    if (!d->slots)
        return -ENOMEM;
    d->capacity = capacity;
    d->top_seen = 0;
    atomic_init(&d->top, 0);
    atomic_init(&d->bottom, 0);
    return 0;
}

void fm__deque_fini(struct deque *d)
{
    FM_ASSERT(fm__deque_count(d) == 0);
    free((void *)d->slots);
    d->slots = NULL;
}

/*
 * How many tasks fit below index b. Owner only.
 *
 * Only when the room seems to be gone is the thieves' line fetched. A slot is written again
 * only after top was seen beyond its old index (E). The thief that moved top there had read the
 * slot before its CAS (F); acquire here and release there keep its read before our write.
 */
static FM_THREADS_OWN int64_t room_below(struct deque *d, int64_t b)
{
    FM_ASSERT(b >= d->top_seen);
    if (b - d->top_seen == d->capacity)
        d->top_seen = atomic_load_explicit(&d->top, memory_order_acquire); /* (E) */
    FM_ASSERT(b - d->top_seen <= d->capacity);
    return d->capacity - (b - d->top_seen);
}

/*
 * Shows the slots below b to the thieves. Owner only.
 *
 * Release pairs with a thief's load of bottom (D): without it the thief could see the index
 * before the slot, and take an old pointer. Why seq_cst and not release: fm__deque_count in the
 * header.
 */
static void publish(struct deque *d, int64_t b)
{
    atomic_store_explicit(&d->bottom, b, memory_order_seq_cst); /* (P) */
}

bool fm__deque_push(struct deque *d, struct task *task)
{
    FM_ASSERT(task);
    /* relaxed: only the owner writes bottom */
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    if (room_below(d, b) == 0)
        return false;
    slot_set(d, b, task);
    publish(d, b + 1);
    return true;
}

/*
 * The owner lowers bottom (A), then reads top (B); a thief reads top (C), then bottom (D). All
 * four are seq_cst, so they have one order. An owner that keeps slot b without a CAS read top <
 * b at B; a thief after slot b read top == b at C. Top never falls, so B came before C, hence A
 * before D, and D shows the thief no slot b. With acquire and release alone, B could pass A and
 * both would run the task.
 */
struct task *fm__deque_pop(struct deque *d)
{
    /* relaxed: only the owner writes bottom */
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed) - 1;

    atomic_store_explicit(&d->bottom, b, memory_order_seq_cst);      /* (A) */
    int64_t t = atomic_load_explicit(&d->top, memory_order_seq_cst); /* (B) */
    FM_ASSERT(t <= b + 1);

    struct task *task = t <= b ? slot_get(d, b) : NULL;
    if (t < b)
        return task;

    /* The last task, or none: whoever moves top past slot b has it. */
    if (task &&
        !atomic_compare_exchange_strong_explicit(&d->top, &t, t + 1, memory_order_seq_cst,
                                                 memory_order_relaxed))
        task = NULL;
    /*
     * relaxed, though it raises bottom over slot b: top has passed b, so a thief that reads b +
     * 1 here and an old top there fails at its CAS. The next push publishes.
     */
    atomic_store_explicit(&d->bottom, b + 1, memory_order_relaxed);
    return task;
}

struct task *fm__deque_steal(struct deque *d)
{
    int64_t t = atomic_load_explicit(&d->top, memory_order_seq_cst); /* (C) */
    for (;;) {
        int64_t b = atomic_load_explicit(&d->bottom, memory_order_seq_cst); /* (D) */
        if (t >= b)
            return NULL;
        /* Read before the CAS: once top has moved, the owner may write the slot again. */
        struct task *task = slot_get(d, t);
        /* (F); when it fails it has read top anew, as (C) */
        if (atomic_compare_exchange_weak_explicit(&d->top, &t, t + 1, memory_order_seq_cst,
                                                  memory_order_seq_cst)) {
            FM_ASSERT(task);
            return task;
        }
    }
}

unsigned fm__deque_steal_half(struct deque *victim, struct deque *own, struct task **ret_first)
{
    FM_ASSERT(victim != own);
    FM_ASSERT(ret_first);
    struct task *first = fm__deque_steal(victim);
    if (!first)
        return 0;

    /*
     * Half of what is left now, one less than half of what was there: a guess, as the count may
     * move.
     */
    int64_t wanted = fm__deque_count(victim) / 2;
    /* relaxed: only the owner, here the caller, writes bottom */
    int64_t start = atomic_load_explicit(&own->bottom, memory_order_relaxed);
    int64_t b = start;
    while (b - start < wanted && room_below(own, b) > 0) {
        struct task *task = fm__deque_steal(victim);
        if (!task)
            break;
        slot_set(own, b++, task);
    }
    if (b > start)
        publish(own, b);
    *ret_first = first;
    FM_ASSERT(b >= start);
    return (unsigned)(b - start) + 1;
}

int64_t fm__deque_count(const struct deque *d)
{
    /* seq_cst, both: the promise to sleepers in the header */
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_seq_cst);
    int64_t t = atomic_load_explicit(&d->top, memory_order_seq_cst);
    /*
     * bottom may be old beside a new top, and dips by one while the owner pops from an empty
     * queue
     */
    return b > t ? b - t : 0;
}
