/*
 * idle.c - who is awake, who searches, who sleeps
 *
 * Knows not   queues, threads, how a worker is made to run.
 * Invariant   under the lock: awake + sleepers = workers; searching <= awake.
 *             1 <= enough while there are workers.
 */
#include "runtime/sched/idle.h"

#include "runtime/platform/check.h"

#define AWAKE UINT64_C(1)
#define SEARCHING (UINT64_C(1) << 16)
#define EPOCH (UINT64_C(1) << 32)

void fm__idle_init(struct idle *idle, uint32_t processors)
{
    atomic_init(&idle->word, 0);
    atomic_init(&idle->enough, 0);
    fm__lock_init(&idle->lock, LOCK_IDLE);
    idle->sleeper_count = 0;
    idle->processors = processors;
    idle->away = 0;
    atomic_init(&idle->workers, 0);
}

static void count_locked(struct idle *idle)
{
    FM_ASSERT(fm__lock_held(&idle->lock));
    /* relaxed: written under the lock alone */
    uint32_t workers = atomic_load_explicit(&idle->workers, memory_order_relaxed);
    uint32_t places = idle->processors + idle->away;
    /* seq_cst: see fm__idle_no_need */
    atomic_store_explicit(&idle->enough, places < workers ? places : workers,
                          memory_order_seq_cst);
}

void fm__idle_join(struct idle *idle)
{
    fm__lock(&idle->lock);
    atomic_fetch_add_explicit(&idle->workers, 1, memory_order_relaxed);
    count_locked(idle);
    /* last: a submitter must not take one too many for enough */
    atomic_fetch_add_explicit(&idle->word, AWAKE, memory_order_seq_cst);
    fm__unlock(&idle->lock);
}

void fm__idle_leave(struct idle *idle)
{
    fm__lock(&idle->lock);
    atomic_fetch_sub_explicit(&idle->word, AWAKE, memory_order_seq_cst);
    atomic_fetch_sub_explicit(&idle->workers, 1, memory_order_relaxed);
    count_locked(idle);
    fm__unlock(&idle->lock);
}

void fm__idle_away(struct idle *idle, uint32_t away)
{
    fm__lock(&idle->lock);
    idle->away = away;
    count_locked(idle);
    fm__unlock(&idle->lock);
}

bool fm__idle_search(struct idle *idle)
{
    /* relaxed: a bound on how many search, nothing hangs on its being exact */
    uint64_t word = atomic_load_explicit(&idle->word, memory_order_relaxed);
    if (2 * IDLE_SEARCHING(word) >= IDLE_AWAKE(word))
        return false;
    atomic_fetch_add_explicit(&idle->word, SEARCHING, memory_order_seq_cst);
    return true;
}

bool fm__idle_found(struct idle *idle)
{
    uint64_t before = atomic_fetch_sub_explicit(&idle->word, SEARCHING, memory_order_seq_cst);
    return IDLE_SEARCHING(before) == 1;
}

bool fm__idle_sleep(struct idle *idle, uint32_t worker, bool searching)
{
    FM_ASSERT(worker < sizeof idle->asleep);
    fm__lock(&idle->lock);
    idle->sleepers[idle->sleeper_count++] = (uint16_t)worker;
    FM_ASSERT(idle->sleeper_count <= sizeof idle->asleep);
    /* seq_cst (C), to fm__idle_asleep */
    atomic_store_explicit(&idle->asleep[worker], 1, memory_order_seq_cst);
    /* seq_cst (C) */
    uint64_t before = atomic_fetch_sub_explicit(&idle->word,
                                                AWAKE + (searching ? SEARCHING : 0),
                                                memory_order_seq_cst);
    fm__unlock(&idle->lock);
    return IDLE_AWAKE(before) == 1;
}

static bool remove_locked(struct idle *idle, uint32_t worker)
{
    FM_ASSERT(fm__lock_held(&idle->lock) && worker <= UINT16_MAX);
    FM_ASSERT(idle->sleeper_count <= sizeof idle->asleep);
    for (uint32_t i = idle->sleeper_count; i-- > 0;) {
        if (idle->sleepers[i] != worker)
            continue;
        for (uint32_t j = i + 1; j < idle->sleeper_count; j++)
            idle->sleepers[j - 1] = idle->sleepers[j];
        idle->sleeper_count--;
        /* relaxed: who still reads 1 takes the lock */
        atomic_store_explicit(&idle->asleep[worker], 0, memory_order_relaxed);
        /* seq_cst: from here on submitters trust it */
        atomic_fetch_add_explicit(&idle->word, AWAKE + SEARCHING + EPOCH, memory_order_seq_cst);
        return true;
    }
    return false;
}

bool fm__idle_rise(struct idle *idle, uint32_t worker)
{
    fm__lock(&idle->lock);
    bool slept = remove_locked(idle, worker);
    fm__unlock(&idle->lock);
    return slept;
}

bool fm__idle_wake_this(struct idle *idle, uint32_t worker)
{
    return fm__idle_rise(idle, worker);
}

int fm__idle_wake(struct idle *idle, bool force, int avoid)
{
    int named = -1;

    fm__lock(&idle->lock);
    if (idle->sleeper_count && (force || !fm__idle_no_need(idle))) {
        named = idle->sleepers[idle->sleeper_count - 1];
        if (named == avoid && idle->sleeper_count > 1)
            named = idle->sleepers[idle->sleeper_count - 2];
        remove_locked(idle, (uint32_t)named);
    }
    fm__unlock(&idle->lock);
    return named;
}
