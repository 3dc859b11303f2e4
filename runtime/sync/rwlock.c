/*
 * rwlock.c - many who read or one who writes, first come, first served
 *
 * Owns        the list of those who wait. Holders own the right to give it up.
 * Invariant   word is 0 (free)
 *                  or writer << 2          | QUEUED | LOCKED (word.h)
 *                  or READING | readers    | QUEUED | LOCKED, readers above 0.
 *             QUEUED says whether anybody is listed. Where both flags are clear anybody may
 *             move the word by a CAS; with QUEUED a reader may still leave so unless it is the
 *             last; else only the holder of LOCKED writes it. At the end of each locked
 *             section the first who waits cannot go in.
 * Callers     any fiber, any thread. Only lock_read and lock_write suspend.
 *
 *               lock_read: CAS (A)                     lock_write: CAS (A)
 *     READING <-------------------- FREE ------------------------------> WRITING
 *      |   ^                        ^  ^                                 |  ^
 *      |   '-- another, if nobody --'  '------- unlock: CAS (B) ---------'  |
 *      |       waits                                                        |
 *      '------ the last one unlocks, somebody waits: in the queue's order --'   and back
 *
 *   A acquire, B release. A writer reads, through the chain of read-modify-writes, what every
 *   reader's and the last writer's B left. A hand-off is ordered by the wake (state.h).
 *
 * Who comes while anybody waits stands behind him. Whenever the lock is given up, or a waiter
 * leaves, the queue is served from its head: a writer if nobody is inside, readers up to the
 * next writer. A grant is one CAS on the waiter's wait, as in semaphore.c: lost, he has left
 * and the next is looked at. The last access of whoever serves is the unlock of the word.
 *
 * Who reads is noted in one of the slots, with how often: a number that only its owner writes
 * and takes back, so looking for oneself needs no order. Where no slot is free the reader is
 * counted as unknown, in the word; an unlock by somebody without a slot is believed while there
 * are any.
 */
#include <errno.h>
#include <stdlib.h>

#include "fm/sync.h"
#include "runtime/fiber/ring.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/word.h"

enum { SLOTS = 6, TIMES_BITS = 3, TIMES_MAX = (1 << TIMES_BITS) - 1 };

#define QUEUED UINT64_C(2)
#define FLAGS (LOCKED | QUEUED)
#define WRITER_SHIFT HOLDER_SHIFT
#define READING (UINT64_C(1) << 63) /* ids of writers are below 2^61 */
#define READERS_SHIFT 2
#define UNKNOWN_SHIFT 30
#define COUNT_MASK ((UINT64_C(1) << 28) - 1)
#define KNOWN_ONE (UINT64_C(1) << READERS_SHIFT)
#define UNKNOWN_ONE (KNOWN_ONE | UINT64_C(1) << UNKNOWN_SHIFT)

struct fm_rwlock {
    /* one line: what comes and goes without waiting */
    struct word word;
    _Atomic uint64_t slots[SLOTS]; /* who << 3 | how often it reads or is about to; 0: free */
    struct waitlist waiters;       /* under word's lock; of struct rwlock_waiter */
};

struct rwlock_waiter {
    struct wait_node node; /* first; amount: who */
    uint64_t reader;       /* KNOWN_ONE, UNKNOWN_ONE; 0: a writer */
};

int fm_rwlock_create(struct fm_rwlock **ret_rwlock)
{
    if (!ret_rwlock)
        return -EINVAL;
    struct fm_rwlock *rwlock = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *rwlock);
    if (!rwlock)
        return -ENOMEM;
    fm__word_init(&rwlock->word, 0);
    *ret_rwlock = rwlock;
    return 0;
}

struct fm_rwlock *fm_rwlock_destroy(struct fm_rwlock *rwlock)
{
    if (rwlock) {
        fm__word_lock(&rwlock->word); /* lets an unlock out that has handed it to us */
        FM_BUG_IF(!fm__waitlist_empty(&rwlock->waiters),
                  "a read/write lock is destroyed while waited for");
        fm__word_unlock(&rwlock->word, 0);
        fm__ring_forget();
        free(rwlock);
    }
    return NULL;
}

/* ---- the word ---- */

static uint64_t writer_of(uint64_t word)
{
    return word & READING ? 0 : word >> WRITER_SHIFT;
}

static uint64_t readers_of(uint64_t word)
{
    return word & READING ? word >> READERS_SHIFT & COUNT_MASK : 0;
}

static uint64_t unknown_of(uint64_t word)
{
    return word & READING ? word >> UNKNOWN_SHIFT & COUNT_MASK : 0;
}

static bool is_held(uint64_t word)
{
    return (word & ~FLAGS) != 0;
}

/* One reader less; flags as they are. */
static uint64_t without(uint64_t word, uint64_t reader)
{
    FM_ASSERT(reader);
    return readers_of(word) > 1 ? word - reader : word & FLAGS;
}

/* Whether it may go in, as far as the holders are concerned: a writer is reader 0. */
static bool fits(uint64_t word, uint64_t reader)
{
    return !is_held(word) || (reader && (word & READING));
}

static uint64_t with(uint64_t word, uint64_t reader, uint64_t who)
{
    return reader ? (word | READING) + reader : word | who << WRITER_SHIFT;
}

/* ---- who reads ---- */

static _Atomic uint64_t *slot_of(struct fm_rwlock *rwlock, uint64_t who)
{
    FM_ASSERT(who);
    /* relaxed: only the one who looks writes this number */
    for (int i = 0; i < SLOTS; i++)
        if (atomic_load_explicit(&rwlock->slots[i], memory_order_relaxed) >> TIMES_BITS == who)
            return &rwlock->slots[i];
    return NULL;
}

/* Note once more that `who` reads. False: no slot is free, or its count is full. */
static bool note(struct fm_rwlock *rwlock, uint64_t who, _Atomic uint64_t *slot)
{
    FM_ASSERT(who);
    /* relaxed, all: see above */
    uint64_t times = slot ? atomic_load_explicit(slot, memory_order_relaxed) & TIMES_MAX : 0;
    if (slot && times < TIMES_MAX)
        atomic_store_explicit(slot, who << TIMES_BITS | (times + 1), memory_order_relaxed);
    for (unsigned i = 0; !slot && i < SLOTS; i++) {
        _Atomic uint64_t *free_slot = &rwlock->slots[(who + i) % SLOTS];
        uint64_t nobody = 0;
        if (atomic_load_explicit(free_slot, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(free_slot, &nobody, who << TIMES_BITS | 1,
                                                    memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return slot && times < TIMES_MAX;
}

/* Once less. */
static void forget(_Atomic uint64_t *slot)
{
    FM_ASSERT(slot);
    uint64_t noted = atomic_load_explicit(slot, memory_order_relaxed);
    bool last = (noted & TIMES_MAX) == 1;
    atomic_store_explicit(slot, last ? 0 : noted - 1, memory_order_relaxed);
}

/* ---- locked sections ---- */

/* Let in who may go, in order, and unlock; then let those go on who got in. */
static void serve_and_unlock(struct fm_rwlock *rwlock, uint64_t word)
{
    FM_ASSERT(fm__lock_held(&rwlock->word.rank));
    struct waitlist won = { .first = NULL };
    struct wait_node *node;

    word &= ~FLAGS;
    while ((node = rwlock->waiters.first)) {
        struct rwlock_waiter *waiter = (struct rwlock_waiter *)node;
        if (!fits(word, waiter->reader))
            break;
        uint64_t next = with(word, waiter->reader, (uint64_t)node->amount);
        fm__waitlist_remove_locked(&rwlock->waiters, node);
        enum wake wake = fm__wake_win(node->wait, WAKE_VALUE);
        if (wake == WAKE_QUEUE)
            fm__waitlist_push_locked(&won, node);
        if (wake != WAKE_LOST)
            word = next;
    }
    fm__word_unlock(&rwlock->word, word | (node ? QUEUED : 0)); /* (B) */
    fm__waitlist_release(&won);
}

/* Nobody waits and it fits: in, without a lock. */
static bool take(struct fm_rwlock *rwlock, uint64_t reader, uint64_t who)
{
    FM_ASSERT(who);
    /* relaxed: the CAS orders */
    uint64_t word = atomic_load_explicit(&rwlock->word.value, memory_order_relaxed);
    while (!(word & FLAGS) && fits(word, reader) && readers_of(word) < COUNT_MASK) {
        /* acquire (A) */
        if (atomic_compare_exchange_weak_explicit(&rwlock->word.value, &word,
                                                  with(word, reader, who), memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    }
    return false;
}

/*
 * The caller's wait has begun, and it is not to be: off the list. False: too late, it has got
 * in, or would have had it not been interrupted.
 */
static bool withdraw(struct fm_rwlock *rwlock, struct wait_node *node)
{
    uint64_t word = fm__word_lock(&rwlock->word);
    bool listed = node->listed;
    if (listed)
        fm__waitlist_remove_locked(&rwlock->waiters, node);
    serve_and_unlock(rwlock, word); /* readers behind a writer may go in */
    if (listed)
        fm__wait_abort(node->wait);
    return listed;
}

/* `reads`: the caller is known to hold it already, to read. */
static int lock_slow(struct fm_rwlock *rwlock, uint64_t reader, uint64_t who, bool reads,
                     int64_t deadline_ns)
{
    FM_ASSERT(who);
    struct rwlock_waiter self = { { .amount = (int64_t)who }, reader };
    uint64_t word = fm__word_lock(&rwlock->word); /* (A) */
    bool taken = !(word & QUEUED) && fits(word, reader) && readers_of(word) < COUNT_MASK;
    int r = 0;

    if (taken)
        word = with(word, reader, who);
    else if (writer_of(word) == who || reads)
        r = -EDEADLK;
    else if (deadline_ns <= 0)
        r = -ETIMEDOUT;
    else
        r = fm__wait_begin(&self.node.wait, 0, reader ? "lock to read" : "lock to write");
    if (!taken && r == 0) {
        fm__waitlist_push_locked(&rwlock->waiters, &self.node);
        word |= QUEUED;
    }
    fm__word_unlock(&rwlock->word, word);
    if (taken || r < 0)
        return r;

    struct wait wait = self.node.wait;
    if (fm__ring_enter_lock(wait.who, &rwlock->word.value, deadline_ns) &&
        withdraw(rwlock, &self.node)) {
        fm__ring_leave(wait.who);
        return -EDEADLK;
    }
    enum wake_reason reason = fm__wait_end(wait, deadline_ns);
    if (reason != WAKE_VALUE) {
        word = fm__word_lock(&rwlock->word);
        if (self.node.listed)
            fm__waitlist_remove_locked(&rwlock->waiters, &self.node);
        serve_and_unlock(rwlock, word);
    }
    fm__ring_leave(wait.who);
    return fm__wake_result(reason);
}

static int lock_read(struct fm_rwlock *rwlock, int64_t deadline_ns)
{
    uint64_t who = fm__holder_self();
    _Atomic uint64_t *slot = slot_of(rwlock, who);
    bool reads = slot != NULL;
    uint64_t reader = note(rwlock, who, slot) ? KNOWN_ONE : UNKNOWN_ONE;

    if (take(rwlock, reader, who))
        return 0;
    int r = lock_slow(rwlock, reader, who, reads, deadline_ns);
    if (r < 0 && reader == KNOWN_ONE)
        forget(slot_of(rwlock, who));
    return r;
}

static int lock_write(struct fm_rwlock *rwlock, int64_t deadline_ns)
{
    uint64_t who = fm__holder_self();
    if (take(rwlock, 0, who))
        return 0;
    return lock_slow(rwlock, 0, who, slot_of(rwlock, who) != NULL, deadline_ns);
}

/* ---- the calls ---- */

int fm_rwlock_lock_read(struct fm_rwlock *rwlock, int64_t deadline_ns)
{
    if (!rwlock)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend(); /* before: a fiber that yields here holds nothing yet */
    return lock_read(rwlock, deadline_ns);
}

int fm_rwlock_lock_write(struct fm_rwlock *rwlock, int64_t deadline_ns)
{
    if (!rwlock)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend();
    return lock_write(rwlock, deadline_ns);
}

int fm_rwlock_trylock_read(struct fm_rwlock *rwlock)
{
    int r = rwlock ? lock_read(rwlock, 0) : -EINVAL;
    return r == -ETIMEDOUT ? -EBUSY : r;
}

int fm_rwlock_trylock_write(struct fm_rwlock *rwlock)
{
    int r = rwlock ? lock_write(rwlock, 0) : -EINVAL;
    return r == -ETIMEDOUT ? -EBUSY : r;
}

/* What the word is when `who` has given it up: a reader, `reader`. False: it is no holder. */
static bool give_up(uint64_t word, uint64_t reader, uint64_t who, uint64_t *ret_word)
{
    FM_ASSERT(who && ret_word);
    if (writer_of(word) == who) {
        *ret_word = word & FLAGS;
        return true;
    }
    if (!(word & READING) || (reader == UNKNOWN_ONE && unknown_of(word) == 0))
        return false;
    *ret_word = without(word, reader);
    return true;
}

int fm_rwlock_unlock(struct fm_rwlock *rwlock)
{
    if (!rwlock)
        return -EINVAL;
    uint64_t who = fm__holder_self(), next;
    _Atomic uint64_t *slot = slot_of(rwlock, who);
    uint64_t reader = slot ? KNOWN_ONE : UNKNOWN_ONE;
    if (slot)
        forget(slot); /* before the word: after it the lock may be gone */

    /* relaxed: a holder sees itself, by its own CAS or by the wake that made it one */
    uint64_t word = atomic_load_explicit(&rwlock->word.value, memory_order_relaxed);
    while (!(word & LOCKED)) {
        if (!give_up(word, reader, who, &next))
            return -EPERM;
        if ((word & QUEUED) && !is_held(next))
            break;
        /* release (B) */
        if (atomic_compare_exchange_weak_explicit(&rwlock->word.value, &word, next,
                                                  memory_order_release, memory_order_relaxed))
            return 0;
    }
    word = fm__word_lock(&rwlock->word);
    if (!give_up(word, reader, who, &next)) {
        fm__word_unlock(&rwlock->word, word);
        return -EPERM;
    }
    serve_and_unlock(rwlock, next);
    return 0;
}
