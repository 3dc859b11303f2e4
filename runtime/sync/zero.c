/*
 * zero.c - a count, and those who wait until it is 0
 *
 * Owns        the list of those who wait.
 * Knows not   whether the count may rise again.
 * Invariant   word is count << 2 | QUEUED | LOCKED. QUEUED is set only above 0, and while it or
 *             LOCKED is set nobody meets 0 without the lock.
 * Callers     any fiber, any thread. Only wait suspends.
 *
 *   add                                       wait
 *     CAS: the new count     (A)                if (count == 0)      (B)  return
 *     at 0 with QUEUED, instead:                lock
 *       lock                                    if (count > 0) join the list, QUEUED; suspend
 *       win the wakes of all who are listed
 *       unlock with 0        (A)
 *       let them go
 *
 * A release, B acquire; each add reads what the last one wrote, so B sees what was done before
 * every count-down. Who is woken has it from the lock and the wake (state.h).
 *
 * All who wait have their wakes won in one locked section, one CAS for each: given up in
 * between, the lock would let the count rise again, and some would stay who are to go on. They
 * are queued and woken when it is free.
 *
 * Who comes through may destroy the count at once. The unlock is the last access, or the CAS,
 * and fini takes the lock once to let an unlock pass.
 */
#include "runtime/sync/zero.h"

#include <errno.h>

#include "runtime/platform/check.h"

#define QUEUED UINT64_C(2)
#define COUNT_SHIFT 2

static int64_t count_of(uint64_t word)
{
    return (int64_t)(word >> COUNT_SHIFT);
}

static uint64_t word_of(int64_t count)
{
    FM_ASSERT(count >= 0 && count <= ZERO_MAX);
    return (uint64_t)count << COUNT_SHIFT;
}

void fm__zero_init(struct zero *zero, int64_t count)
{
    fm__word_init(&zero->word, word_of(count));
    zero->waiters = (struct waitlist) { .first = NULL };
}

void fm__zero_fini(struct zero *zero, const char *what)
{
    uint64_t word = fm__word_lock(&zero->word);
    FM_BUG_IF(!fm__waitlist_empty(&zero->waiters), "a %s is destroyed while waited for", what);
    fm__word_unlock(&zero->word, word);
}

int64_t fm__zero_count(struct zero *zero)
{
    /* relaxed: a number for the eye; it may be old when it is read */
    return count_of(atomic_load_explicit(&zero->word.value, memory_order_relaxed));
}

/* The count after n more, or an error. */
static int64_t sum(uint64_t word, int64_t n)
{
    int64_t count;
    if (__builtin_add_overflow(count_of(word), n, &count) || count > ZERO_MAX)
        return -EOVERFLOW; /* n is no negative number: the count is none */
    return count < 0 ? -EINVAL : count;
}

/* The count meets 0, or may have: locked. */
static int add_locked(struct zero *zero, uint64_t word, int64_t n)
{
    FM_ASSERT(n);
    struct waitlist won = { .first = NULL };
    int64_t count = sum(word, n);

    if (count < 0) {
        fm__word_unlock(&zero->word, word);
        return (int)count;
    }
    if (count > 0) {
        fm__word_unlock(&zero->word, word_of(count) | (word & QUEUED));
        return 0;
    }
    while (!fm__waitlist_empty(&zero->waiters)) {
        struct wait_node *node = fm__waitlist_shift_locked(&zero->waiters);
        if (fm__wake_win(node->wait, WAKE_VALUE) == WAKE_QUEUE)
            fm__waitlist_push_locked(&won, node);
    }
    fm__word_unlock(&zero->word, 0); /* (A) */
    fm__waitlist_release(&won);
    return 0;
}

int fm__zero_add(struct zero *zero, int64_t n)
{
    FM_ASSERT(n);
    /* relaxed: the CAS orders */
    uint64_t word = atomic_load_explicit(&zero->word.value, memory_order_relaxed);
    while (!(word & LOCKED)) {
        int64_t count = sum(word, n);
        if (count < 0)
            return (int)count;
        if (count == 0 && (word & QUEUED))
            break;
        /* acq_rel (A): acquire too, since who comes next to 0 hands it all on */
        if (atomic_compare_exchange_weak_explicit(&zero->word.value, &word,
                                                  word_of(count) | (word & QUEUED),
                                                  memory_order_acq_rel, memory_order_relaxed))
            return 0;
    }
    return add_locked(zero, fm__word_lock(&zero->word), n);
}

int fm__zero_wait(struct zero *zero, int64_t deadline_ns, const char *what)
{
    FM_ASSERT(what);
    struct wait_node node = { .item = NULL };

    if (deadline_ns > 0)
        fm__budget_spend();
    /* acquire (B) */
    if (!(atomic_load_explicit(&zero->word.value, memory_order_acquire) & ~LOCKED))
        return 0;
    uint64_t word = fm__word_lock(&zero->word);
    int r = count_of(word) == 0 ? 0 : deadline_ns <= 0 ? -ETIMEDOUT : 0;
    bool waits = count_of(word) > 0 && r == 0;
    if (waits)
        r = fm__wait_begin(&node.wait, 0, what);
    if (waits && r == 0) {
        fm__waitlist_push_locked(&zero->waiters, &node);
        word |= QUEUED;
    }
    fm__word_unlock(&zero->word, word);
    if (!waits || r < 0)
        return r;

    enum wake_reason reason = fm__wait_end(node.wait, deadline_ns);
    if (reason != WAKE_VALUE) {
        word = fm__word_lock(&zero->word);
        if (node.listed)
            fm__waitlist_remove_locked(&zero->waiters, &node);
        if (fm__waitlist_empty(&zero->waiters))
            word &= ~QUEUED;
        fm__word_unlock(&zero->word, word);
    }
    return fm__wake_result(reason);
}
