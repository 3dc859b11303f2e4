/*
 * stack.c - pools of stacks
 *
 *   slot.c --- carve ---> taken <--- take, give ---> a magazine <--- batches ---> the depot
 *      ^                                                                            |
 *      '---------------------------------- trim ------------------------------------'
 *
 * A magazine belongs to one worker and has no lock. When it runs over, the half that has lain
 * there longer goes to the depot of its class as one batch; when it is empty it takes the batch
 * that came last. Trimming takes the one that came first.
 *
 * Owns        the stacks that nobody has.
 * Knows not   fibers, workers, guards.
 * Invariant   carved = in depots + in magazines + taken, for each class.
 * Together    (-: they may run at once, X: the caller keeps the two apart)
 *                         take  give  flush  trim  find  stats
 *             same cache    X     X     X     -     -     -
 *             else          -     -     -     -     -     -
 */
#include "runtime/context/stack.h"

#include "runtime/context/slot.h"
#include "runtime/platform/atomic.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/lock.h"
#include "runtime/platform/sanitizer.h"

enum {
    BATCH = STACK_MAGAZINE / 2,
    TSAN_USES = 256,
};

static struct depot {
    FM_ALONE struct lock lock;
    struct stack *newest, *oldest; /* batches */
    uint64_t pooled;               /* stacks in the batches, and those that are being trimmed */
    uint64_t trimmed;
} depots[STACK_CLASSES] = {
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
};

/* Every cache that ever held a stack and was not flushed since, for the statistics. */
static struct lock caches_lock = LOCK_INIT(LOCK_STACK_POOL);
static struct stack_cache *caches;

static void push_batch_locked(struct depot *depot, struct stack *batch, uint32_t count)
{
    FM_ASSERT(fm__lock_held(&depot->lock) && batch && count);
    batch->batch_count = count;
    batch->batch_prev = NULL;
    batch->batch_next = depot->newest;
    if (depot->newest)
        depot->newest->batch_prev = batch;
    else
        depot->oldest = batch;
    depot->newest = batch;
    depot->pooled += count;
}

static void unlink_batch_locked(struct depot *depot, struct stack *batch)
{
    FM_ASSERT(fm__lock_held(&depot->lock));
    if (batch->batch_prev)
        batch->batch_prev->batch_next = batch->batch_next;
    else
        depot->newest = batch->batch_next;
    if (batch->batch_next)
        batch->batch_next->batch_prev = batch->batch_prev;
    else
        depot->oldest = batch->batch_prev;
}

/* A chain of `count` stacks, the last one's next is NULL. */
static FM_THREADS_OWN void to_depot(struct stack *chain, uint32_t count)
{
    FM_ASSERT(count);
    struct depot *depot = &depots[chain->stack_class];
    chain->pooled_ns = fm__clock_ns();
    fm__lock(&depot->lock);
    push_batch_locked(depot, chain, count);
    fm__unlock(&depot->lock);
}

static struct stack *batch_from_depot(int stack_class, uint32_t *ret_count)
{
    struct depot *depot = &depots[stack_class];
    fm__lock(&depot->lock);
    struct stack *batch = depot->newest;
    if (batch) {
        unlink_batch_locked(depot, batch);
        FM_ASSERT(depot->pooled >= batch->batch_count);
        depot->pooled -= batch->batch_count;
        *ret_count = batch->batch_count;
    }
    fm__unlock(&depot->lock);
    return batch;
}

static uint32_t cached(const struct stack_cache *cache, int stack_class)
{
    /* relaxed: one writer, the cache's owner; the statistics want no order */
    return atomic_load_explicit(&cache->count[stack_class], memory_order_relaxed);
}

static void set_cached(struct stack_cache *cache, int stack_class, uint32_t count)
{
    atomic_store_explicit(&cache->count[stack_class], count, memory_order_relaxed);
}

static __attribute__((noinline)) FM_THREADS_OWN void list_cache(struct stack_cache *cache)
{
    FM_ASSERT(!cache->listed);
    fm__lock(&caches_lock);
    cache->next = caches;
    caches = cache;
    cache->listed = true;
    fm__unlock(&caches_lock);
}

static void unlist_cache(struct stack_cache *cache)
{
    if (!cache->listed)
        return;
    fm__lock(&caches_lock);
    struct stack_cache **link = &caches;
    while (*link != cache)
        link = &(*link)->next;
    *link = cache->next;
    cache->listed = false;
    fm__unlock(&caches_lock);
}

/*
 * What the tools must learn. The leak checker searches the stacks that are taken, parked or
 * not, and no others: what a pooled one still holds keeps nothing alive. Poison reports who
 * uses a stack after its fiber. ThreadSanitizer keeps the calls of its fibers that were left
 * without a return, in a table of fixed size: a stack's gets replaced now and then.
 */
static inline FM_THREADS_OWN void note_used(struct stack *stack)
{
    size_t bytes = (size_t)((char *)stack->top - (char *)stack->low);
    fm__asan_unpoison(stack->low, bytes);
    fm__lsan_root(stack->low, bytes);
}

static inline FM_THREADS_OWN void note_unused(struct stack *stack)
{
    size_t bytes = (size_t)((char *)stack->top - (char *)stack->low);
    fm__lsan_unroot(stack->low, bytes);
    fm__asan_poison(stack->low, bytes);
    if (FM_TSAN && ++stack->uses == TSAN_USES) {
        fm__tsan_destroy(stack->tsan);
        stack->tsan = fm__tsan_create();
        stack->uses = 0;
    }
}

/* The magazine is empty, or there is none. */
static __attribute__((noinline)) FM_THREADS_OWN struct stack *take_slow(
    struct stack_cache *cache, int stack_class, int *ret_error)
{
    uint32_t count = 0;
    struct stack *batch = batch_from_depot(stack_class, &count);
    if (!batch)
        return fm__slot_carve(stack_class, ret_error);

    struct stack *rest = batch->next;
    if (rest && cache) {
        if (!cache->listed)
            list_cache(cache);
        cache->list[stack_class] = rest;
        set_cached(cache, stack_class, count - 1);
    } else if (rest) {
        to_depot(rest, count - 1);
    }
    return batch;
}

FM_THREADS_OWN struct stack *fm__stack_take(struct stack_cache *cache, int stack_class,
                                            int *ret_error)
{
    FM_ASSERT(stack_class >= 0 && stack_class < STACK_CLASSES);
    int error = 0;
    struct stack *stack = cache ? cache->list[stack_class] : NULL;
    if (__builtin_expect(stack != NULL, 1)) {
        cache->list[stack_class] = stack->next;
        set_cached(cache, stack_class, cached(cache, stack_class) - 1);
    } else {
        stack = take_slow(cache, stack_class, ret_error ? ret_error : &error);
        if (!stack)
            return NULL;
    }
    stack->next = NULL;
    note_used(stack);
    return stack;
}

/* The magazine has run over: the half that has lain there longer goes to the depot. */
static __attribute__((noinline)) FM_THREADS_OWN void spill(struct stack_cache *cache,
                                                           int stack_class)
{
    FM_ASSERT(cached(cache, stack_class) > BATCH);
    struct stack *last = cache->list[stack_class];
    for (int i = 1; i < BATCH; i++)
        last = last->next;
    struct stack *chain = last->next;
    last->next = NULL;
    uint32_t count = cached(cache, stack_class) - BATCH;
    set_cached(cache, stack_class, BATCH);
    to_depot(chain, count);
}

FM_THREADS_OWN void fm__stack_give(struct stack_cache *cache, struct stack *stack)
{
    FM_ASSERT(stack->stack_class < STACK_CLASSES);
    int stack_class = stack->stack_class;

    /* relaxed: nobody runs on it */
    atomic_store_explicit(&stack->owner, NULL, memory_order_relaxed);
    note_unused(stack);
    if (__builtin_expect(!cache, 0)) {
        stack->next = NULL;
        to_depot(stack, 1);
        return;
    }
    if (__builtin_expect(!cache->listed, 0))
        list_cache(cache);
    stack->next = cache->list[stack_class];
    cache->list[stack_class] = stack;
    uint32_t count = cached(cache, stack_class) + 1;
    set_cached(cache, stack_class, count);
    if (__builtin_expect(count > STACK_MAGAZINE, 0))
        spill(cache, stack_class);
}

void fm__stack_cache_flush(struct stack_cache *cache)
{
    for (int i = 0; i < STACK_CLASSES; i++) {
        while (cached(cache, i) > BATCH)
            spill(cache, i);
        uint32_t count = cached(cache, i);
        if (!count)
            continue;
        struct stack *chain = cache->list[i];
        cache->list[i] = NULL;
        set_cached(cache, i, 0);
        to_depot(chain, count);
    }
    unlist_cache(cache);
}

/* The oldest batch, at most `limit` of it, if it is old enough. It stays counted as pooled. */
static struct stack *take_old(struct depot *depot, int64_t older_than_ns, size_t limit)
{
    fm__lock(&depot->lock);
    struct stack *batch = depot->oldest;
    if (!batch || batch->pooled_ns >= older_than_ns) {
        fm__unlock(&depot->lock);
        return NULL;
    }
    unlink_batch_locked(depot, batch);
    if (batch->batch_count > limit) {
        struct stack *last = batch;
        for (size_t i = 1; i < limit; i++)
            last = last->next;
        struct stack *rest = last->next;
        last->next = NULL;
        rest->pooled_ns = batch->pooled_ns;
        rest->batch_count = batch->batch_count - (uint32_t)limit;
        rest->batch_next = NULL;
        rest->batch_prev = depot->oldest;
        if (depot->oldest)
            depot->oldest->batch_next = rest;
        else
            depot->newest = rest;
        depot->oldest = rest;
        batch->batch_count = (uint32_t)limit;
    }
    fm__unlock(&depot->lock);
    return batch;
}

static uint32_t trim_batch(struct depot *depot, struct stack *batch)
{
    uint32_t count = fm__slot_raze(batch);
    fm__lock(&depot->lock);
    FM_ASSERT(depot->pooled >= count);
    depot->pooled -= count;
    depot->trimmed += count;
    fm__unlock(&depot->lock);
    return count;
}

size_t fm__stack_trim(int64_t older_than_ns, size_t limit)
{
    size_t count = 0;
    for (int i = 0; i < STACK_CLASSES; i++) {
        struct stack *batch;
        while (count < limit && (batch = take_old(&depots[i], older_than_ns, limit - count)))
            count += trim_batch(&depots[i], batch);
    }
    return count;
}

void fm__stack_stats(struct stack_stats *ret_stats)
{
    struct stack_stats stats = { 0 };
    uint64_t carved = 0;

    fm__lock(&caches_lock);
    for (struct stack_cache *cache = caches; cache; cache = cache->next) {
        for (int i = 0; i < STACK_CLASSES; i++)
            stats.pooled += cached(cache, i);
    }
    fm__unlock(&caches_lock);
    for (int i = 0; i < STACK_CLASSES; i++) {
        struct depot *depot = &depots[i];
        fm__lock(&depot->lock);
        stats.pooled += depot->pooled;
        stats.trimmed += depot->trimmed;
        fm__unlock(&depot->lock);
        uint64_t class_mapped_bytes, class_carved;
        fm__slot_count(i, &class_mapped_bytes, &class_carved);
        stats.mapped_bytes += class_mapped_bytes;
        carved += class_carved;
    }
    stats.live = carved > stats.pooled ? carved - stats.pooled : 0;
    *ret_stats = stats;
}
