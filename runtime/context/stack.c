/*
 * stack.c - guarded, pooled stacks
 *
 * Address space is reserved in windows of 64 MiB, aligned to their size; one window holds the slots of one
 * class. A two-level table by address leads from any address to its window, and the slot is then a shift.
 *
 *   FRESH --- carve: guard, record ---> WARM <---> taken
 *     ^   (no record; the guard stays)   |         (magazine, depot, owner: wherever its pointer is)
 *     '------------- trim ---------------'
 *
 * A fresh slot is a bit in its window. A warm one has a record in its top page and is in exactly one of: a
 * magazine, a batch of the depot, the hands of its taker.
 *
 * Owns        the windows and their tables, process-wide, until the process ends.
 * Knows not   fibers, workers.
 * Invariant   warm = pooled in the depot + in magazines + taken, for each class.
 *             A guard once installed stays: trimming does not remove it.
 * Together    (-: they may run at once, X: the caller keeps the two apart)
 *                         take  give  flush  trim  find  stats
 *             same cache    X     X     X     -     -     -
 *             else          -     -     -     -     -     -
 */
#include "runtime/context/stack.h"

#include <errno.h>
#include <stdlib.h>

#include "fm/runtime.h"
#include "runtime/platform/atomic.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/lock.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/pages.h"
#include "runtime/platform/sanitizer.h"

enum {
    WINDOW_SHIFT = 26,
    ADDRESS_BITS = 48, /* user space; what the kernel maps above only on request is never asked for */
    LEAF_BITS = 11,
    ROOT_BITS = ADDRESS_BITS - WINDOW_SHIFT - LEAF_BITS,
    BATCH = STACK_MAGAZINE / 2,
    COLOURS = 16,
    COLOUR_BYTES = 64,
    CANARY_WORDS = 16,
    TSAN_USES = 256,
};

#define WINDOW_BYTES ((size_t)1 << WINDOW_SHIFT)

/* The state of a slot: enum fm_guard, and whether it has a record. */
#define SLOT_GUARD 0x7fu
#define SLOT_WARM 0x80u

struct window {
    char *base;
    struct window *next; /* in the depot's list of windows with fresh slots, owned by its lock */
    uint64_t *fresh;     /* a bit for each slot without a record, owned by the depot's lock */
    uint32_t fresh_count;
    uint32_t slot_count;
    uint32_t slot_shift;
    uint32_t guard_bytes;
    uint8_t stack_class;
    _Atomic uint8_t state[]; /* written by who carves or trims the slot; read in signal handlers */
};

struct leaf {
    _Atomic(struct window *) windows[1 << LEAF_BITS];
};

static struct depot {
    FM_ALONE struct lock lock;
    struct stack *newest, *oldest; /* batches */
    struct window *windows;        /* those with fresh slots */
    uint64_t pooled;               /* stacks in the batches, and those that are just being trimmed */
    uint64_t warm;
    uint64_t trimmed;
    uint64_t mapped_bytes;
} depots[STACK_CLASSES] = {
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
};

static struct lock caches_lock = LOCK_INIT(LOCK_STACK_POOL);
static struct stack_cache *caches;

static _Atomic(struct leaf *) leaves[1 << ROOT_BITS];
static _Atomic(char *) window_hint; /* where the next window might go */
static _Atomic unsigned rung;       /* enum fm_guard; 0 until someone asks */
static _Atomic int64_t map_budget;  /* stacks that may still be guarded by mprotect */
static _Atomic bool map_budget_read;
_Atomic bool fm__stack_canaries;

/* --- classes ---------------------------------------------------------------------------------------- */

static const struct {
    uint32_t bytes;
    uint32_t guard_pages; /* more than one where there is room: a frame that is not probed may skip one */
} classes[STACK_CLASSES] = {
    { 16u << 10, 1 },
    { 64u << 10, 2 },
    { 256u << 10, 8 },
    { 1u << 20, 16 },
};

int fm__stack_class(size_t bytes)
{
    for (int i = 0; i < STACK_CLASSES; i++) {
        if (bytes <= classes[i].bytes)
            return i;
    }
    return -1;
}

size_t fm__stack_class_bytes(int stack_class)
{
    size_t bytes = (size_t)classes[stack_class].bytes * FM_STACK_SCALE;
    size_t least = 4 * fm__page_bytes();
    return bytes > least ? bytes : least;
}

static size_t guard_bytes(int stack_class)
{
    size_t page = fm__page_bytes();
    size_t bytes = classes[stack_class].guard_pages * page;
    size_t most = fm__stack_class_bytes(stack_class) / 4;
    return bytes < most ? bytes : most;
}

/* --- from an address to its stack -------------------------------------------------------------------- */

static struct window *window_of(uintptr_t address)
{
    uintptr_t number = address >> WINDOW_SHIFT;
    if (number >> (LEAF_BITS + ROOT_BITS))
        return NULL;
    /* acquire, with the releases in window_publish: leaf and window are whole */
    struct leaf *leaf = atomic_load_explicit(&leaves[number >> LEAF_BITS], memory_order_acquire);
    if (!leaf)
        return NULL;
    return atomic_load_explicit(&leaf->windows[number & ((1u << LEAF_BITS) - 1)], memory_order_acquire);
}

static int window_publish(struct window *window)
{
    uintptr_t number = (uintptr_t)window->base >> WINDOW_SHIFT;
    if (number >> (LEAF_BITS + ROOT_BITS))
        return -ENOMEM;
    _Atomic(struct leaf *) *place = &leaves[number >> LEAF_BITS];
    struct leaf *leaf = atomic_load_explicit(place, memory_order_acquire);
    if (!leaf) {
        struct leaf *made = fm__calloc(1, sizeof *made);
        if (!made)
            return -ENOMEM;
        /* release: a leaf of zeroes; acquire: another thread's leaf instead */
        if (atomic_compare_exchange_strong_explicit(place, &leaf, made, memory_order_acq_rel, memory_order_acquire))
            leaf = made;
        else
            free(made);
    }
    /* release, with window_of: the window is whole */
    atomic_store_explicit(&leaf->windows[number & ((1u << LEAF_BITS) - 1)], window, memory_order_release);
    return 0;
}

static uint32_t slot_of(const struct window *window, const void *address)
{
    return (uint32_t)(((uintptr_t)address - (uintptr_t)window->base) >> window->slot_shift);
}

static char *slot_base(const struct window *window, uint32_t slot)
{
    return window->base + ((size_t)slot << window->slot_shift);
}

static struct stack *slot_record(const struct window *window, uint32_t slot)
{
    char *end = slot_base(window, slot) + ((size_t)1 << window->slot_shift);
    return (struct stack *)(end - (slot % COLOURS) * COLOUR_BYTES - sizeof(struct stack));
}

struct stack *fm__stack_find(const void *address, bool *ret_in_guard)
{
    struct window *window = window_of((uintptr_t)address);
    if (!window)
        return NULL;
    uint32_t slot = slot_of(window, address);
    /* acquire, with carve: the record is whole */
    if (!(atomic_load_explicit(&window->state[slot], memory_order_acquire) & SLOT_WARM))
        return NULL;
    if (ret_in_guard)
        *ret_in_guard = (const char *)address < slot_base(window, slot) + window->guard_bytes;
    return slot_record(window, slot);
}

/* --- windows ------------------------------------------------------------------------------------------ */

static int window_create(struct window **ret_window, int stack_class)
{
    size_t slot_bytes = fm__stack_class_bytes(stack_class);
    uint32_t slot_count = (uint32_t)(WINDOW_BYTES / slot_bytes);
    uint32_t words = (slot_count + 63) / 64;
    int r = -ENOMEM;

    struct window *window = fm__calloc(1, sizeof *window + slot_count);
    if (!window)
        return -ENOMEM;
    window->fresh = fm__malloc(words * sizeof *window->fresh);
    if (!window->fresh)
        goto free_window;
    for (uint32_t i = 0; i < words; i++)
        window->fresh[i] = slot_count % 64 && i == words - 1 ? (UINT64_C(1) << slot_count % 64) - 1 : ~UINT64_C(0);
    window->fresh_count = slot_count;
    window->slot_count = slot_count;
    window->slot_shift = (uint32_t)__builtin_ctzll(slot_bytes);
    window->guard_bytes = (uint32_t)guard_bytes(stack_class);
    window->stack_class = (uint8_t)stack_class;

    /* relaxed: a hint */
    char *hint = atomic_load_explicit(&window_hint, memory_order_relaxed);
    window->base = fm__pages_reserve(WINDOW_BYTES, WINDOW_BYTES, hint, "fibermap stacks", &r);
    if (!window->base)
        goto free_fresh;
    r = window_publish(window);
    if (r < 0)
        goto release;
    /* Side by side the kernel makes one mapping of them. */
    atomic_store_explicit(&window_hint, window->base - WINDOW_BYTES, memory_order_relaxed);
    *ret_window = window;
    return 0;

release:
    fm__pages_release(window->base, WINDOW_BYTES);
free_fresh:
    free(window->fresh);
free_window:
    free(window);
    return r;
}

/* A fresh slot of the first window that has one; its bit is taken. */
static uint32_t take_fresh_locked(struct depot *depot, struct window *window)
{
    uint32_t word = 0;
    while (!window->fresh[word])
        word++;
    uint32_t bit = (uint32_t)__builtin_ctzll(window->fresh[word]);
    window->fresh[word] &= window->fresh[word] - 1;
    if (--window->fresh_count == 0)
        depot->windows = window->next;
    depot->warm++;
    return word * 64 + bit;
}

static void put_fresh_locked(struct depot *depot, struct window *window, uint32_t slot)
{
    window->fresh[slot / 64] |= UINT64_C(1) << slot % 64;
    if (window->fresh_count++ == 0) {
        window->next = depot->windows;
        depot->windows = window;
    }
    depot->warm--;
}

/* --- the guard ladder --------------------------------------------------------------------------------- */

/* Half of the mappings that the process may have are for us, and a stack costs two. */
static void read_map_budget(void)
{
    bool done = false;
    if (atomic_compare_exchange_strong_explicit(&map_budget_read, &done, true, memory_order_relaxed,
                                                memory_order_relaxed))
        atomic_fetch_add_explicit(&map_budget, (int64_t)fm__pages_max_maps() / 4, memory_order_relaxed);
}

static bool take_map_budget(void)
{
    /* relaxed: a count and nothing else */
    if (atomic_fetch_sub_explicit(&map_budget, 1, memory_order_relaxed) > 0)
        return true;
    atomic_fetch_add_explicit(&map_budget, 1, memory_order_relaxed);
    return false;
}

/* The best guard that can be had from `from` downwards. */
static unsigned guard_slot(char *start, size_t bytes, unsigned from)
{
    if (from == FM_GUARD_INSTALL && fm__pages_guard(start, bytes) == 0)
        return FM_GUARD_INSTALL;
    if (from <= FM_GUARD_MPROTECT && take_map_budget()) {
        if (fm__pages_protect(start, bytes) == 0)
            return FM_GUARD_MPROTECT;
        atomic_fetch_add_explicit(&map_budget, 1, memory_order_relaxed);
    }
    return FM_GUARD_CANARY;
}

/* Whether the kernel does it for this process: not if it is old, not if all memory to come is locked. */
static bool probe(int (*guard)(void *start, size_t bytes))
{
    int error;
    size_t page = fm__page_bytes();
    void *start = fm__pages_reserve(page, page, NULL, "fibermap probe", &error);
    if (!start)
        return false;
    bool works = guard(start, page) == 0;
    fm__pages_release(start, page);
    return works;
}

int fm__stack_init(unsigned forced)
{
    unsigned chosen = FM_GUARD_CANARY;

    if (forced > FM_GUARD_CANARY)
        return -EINVAL;
    read_map_budget();
    if ((forced == FM_GUARD_AUTO || forced == FM_GUARD_INSTALL) && probe(fm__pages_guard))
        chosen = FM_GUARD_INSTALL;
    else if ((forced == FM_GUARD_AUTO || forced == FM_GUARD_MPROTECT) && probe(fm__pages_protect))
        chosen = FM_GUARD_MPROTECT;
    if (forced != FM_GUARD_AUTO && forced != chosen)
        return -ENOTSUP;
    /* relaxed: read where a slot is carved; nothing else depends on it */
    atomic_store_explicit(&rung, chosen, memory_order_relaxed);
    return 0;
}

unsigned fm__stack_guard(void)
{
    unsigned now = atomic_load_explicit(&rung, memory_order_relaxed);
    if (now == FM_GUARD_MPROTECT && atomic_load_explicit(&map_budget, memory_order_relaxed) <= 0)
        return FM_GUARD_CANARY;
    return now;
}

/*
 * The canary is zeroes, which is what memory that nobody wrote to reads as: looking at it costs no page of
 * memory. Any frame that runs over it leaves a return address or a saved register there.
 */
FM_NO_ASAN void fm__stack_check_slow(const struct stack *stack)
{
    if (stack->guard != FM_GUARD_CANARY)
        return;
    const uint64_t *canary = (const uint64_t *)stack->low - CANARY_WORDS;
    uint64_t all = 0;
    for (int i = 0; i < CANARY_WORDS; i++)
        all |= canary[i];
    FM_BUG_IF(all, "stack overflow: the canary below %p is gone (stack of %zu KiB)", stack->low,
              fm__stack_class_bytes(stack->stack_class) >> 10);
}

/* --- carving and trimming ------------------------------------------------------------------------------ */

/* Guard and record of a fresh slot that is ours. */
static struct stack *carve(struct window *window, uint32_t slot)
{
    char *base = slot_base(window, slot);
    struct stack *stack = slot_record(window, slot);
    /* relaxed: who carved or trimmed it before gave it back under the depot's lock */
    unsigned guard = atomic_load_explicit(&window->state[slot], memory_order_relaxed);

    /* A slot that had only a canary may have better luck now. */
    if (guard == 0 || guard == FM_GUARD_CANARY)
        guard = guard_slot(base, window->guard_bytes, atomic_load_explicit(&rung, memory_order_relaxed));

    char *low = base + window->guard_bytes;
    fm__asan_unpoison(low, (size_t)(slot_base(window, slot + 1) - low));
    if (guard == FM_GUARD_CANARY) {
        low += CANARY_WORDS * sizeof(uint64_t);
        /* relaxed: whoever runs on this stack has it from us */
        atomic_store_explicit(&fm__stack_canaries, true, memory_order_relaxed);
    }
    *stack = (struct stack){
        .top = stack,
        .low = low,
        .tsan = fm__tsan_create(),
        .valgrind_id = FM_VALGRIND_STACK_REGISTER(low, stack),
        .stack_class = window->stack_class,
        .guard = (uint8_t)guard,
    };
    /* release, with fm__stack_find: the record is whole */
    atomic_store_explicit(&window->state[slot], (uint8_t)(guard | SLOT_WARM), memory_order_release);
    return stack;
}

/* The reverse: the slot's memory goes, record and all. The guard stays. */
static void raze(struct window *window, uint32_t slot)
{
    struct stack *stack = slot_record(window, slot);
    char *low = slot_base(window, slot) + window->guard_bytes;

    fm__tsan_destroy(stack->tsan);
    FM_VALGRIND_STACK_DEREGISTER(stack->valgrind_id);
    /* release: nobody finds the record before it goes. Readers of a pooled stack's record are signal handlers
       of wild accesses and look at nothing but the owner. */
    atomic_store_explicit(&window->state[slot], stack->guard, memory_order_release);
    fm__pages_discard(low, (size_t)(slot_base(window, slot + 1) - low));
}

static struct stack *take_new(int stack_class, int *ret_error)
{
    struct depot *depot = &depots[stack_class];

    if (atomic_load_explicit(&rung, memory_order_relaxed) == 0)
        fm__stack_init(FM_GUARD_AUTO);
    fm__lock(&depot->lock);
    while (!depot->windows) {
        struct window *made = NULL;
        fm__unlock(&depot->lock);
        int r = window_create(&made, stack_class);
        if (r < 0) {
            *ret_error = r;
            return NULL;
        }
        fm__lock(&depot->lock);
        made->next = depot->windows;
        depot->windows = made;
        depot->mapped_bytes += WINDOW_BYTES;
    }
    struct window *window = depot->windows;
    uint32_t slot = take_fresh_locked(depot, window);
    fm__unlock(&depot->lock);
    return carve(window, slot);
}

/* --- depots -------------------------------------------------------------------------------------------- */

static void push_batch_locked(struct depot *depot, struct stack *batch, uint32_t count)
{
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
static void to_depot(struct stack *chain, uint32_t count)
{
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

static __attribute__((noinline)) void list_cache(struct stack_cache *cache)
{
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
 * What the tools must learn. The leak checker searches the stacks that are taken, parked or not, and no
 * others: what a pooled one still holds keeps nothing alive. Poison reports who uses a stack after its fiber.
 * ThreadSanitizer keeps the calls of its fibers that were left without a return, in a table of fixed size: a
 * stack's gets replaced now and then.
 */
static inline void note_used(struct stack *stack)
{
    size_t bytes = (size_t)((char *)stack->top - (char *)stack->low);
    fm__asan_unpoison(stack->low, bytes);
    fm__lsan_root(stack->low, bytes);
}

static inline void note_unused(struct stack *stack)
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
static __attribute__((noinline)) struct stack *take_slow(struct stack_cache *cache, int stack_class, int *ret_error)
{
    uint32_t count = 0;
    struct stack *batch = batch_from_depot(stack_class, &count);
    if (!batch)
        return take_new(stack_class, ret_error);

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

struct stack *fm__stack_take(struct stack_cache *cache, int stack_class, int *ret_error)
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
static __attribute__((noinline)) void spill(struct stack_cache *cache, int stack_class)
{
    struct stack *last = cache->list[stack_class];
    for (int i = 1; i < BATCH; i++)
        last = last->next;
    struct stack *chain = last->next;
    last->next = NULL;
    uint32_t count = cached(cache, stack_class) - BATCH;
    set_cached(cache, stack_class, BATCH);
    to_depot(chain, count);
}

void fm__stack_give(struct stack_cache *cache, struct stack *stack)
{
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

/* --- trimming, off the hot path ------------------------------------------------------------------------- */

/* The oldest batch, cut down to `limit` stacks, if it is old enough. It stays counted as pooled. */
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

static size_t trim_batch(struct depot *depot, struct stack *batch)
{
    struct {
        struct window *window;
        uint32_t slot;
    } razed[STACK_MAGAZINE];
    size_t count = 0;

    for (struct stack *stack = batch, *next; stack; stack = next) {
        next = stack->next;
        struct window *window = window_of((uintptr_t)stack);
        uint32_t slot = slot_of(window, stack);
        raze(window, slot);
        razed[count].window = window;
        razed[count++].slot = slot;
    }
    fm__lock(&depot->lock);
    for (size_t i = 0; i < count; i++)
        put_fresh_locked(depot, razed[i].window, razed[i].slot);
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

/* --- looking ---------------------------------------------------------------------------------------------- */

size_t fm__stack_high_water(const struct stack *stack)
{
    size_t page = fm__page_bytes();
    char *top = stack->top;
    char *low = (char *)((uintptr_t)stack->low & ~(page - 1));
    size_t bytes = (((uintptr_t)top + page - 1) & ~(page - 1)) - (uintptr_t)low;

    /* The canary's page counts as touched as soon as it was looked at: leave it out. */
    if (stack->guard == FM_GUARD_CANARY) {
        low += page;
        bytes -= page;
    }
    char *lowest = fm__pages_lowest_resident(low, bytes);
    return lowest < top ? (size_t)(top - lowest) : 0;
}

void fm__stack_stats(struct stack_stats *ret_stats)
{
    struct stack_stats stats = { 0 };
    uint64_t warm = 0;

    fm__lock(&caches_lock);
    for (struct stack_cache *cache = caches; cache; cache = cache->next) {
        for (int i = 0; i < STACK_CLASSES; i++)
            stats.pooled += cached(cache, i);
    }
    fm__unlock(&caches_lock);
    for (int i = 0; i < STACK_CLASSES; i++) {
        struct depot *depot = &depots[i];
        fm__lock(&depot->lock);
        stats.mapped_bytes += depot->mapped_bytes;
        stats.pooled += depot->pooled;
        stats.trimmed += depot->trimmed;
        warm += depot->warm;
        fm__unlock(&depot->lock);
    }
    stats.live = warm > stats.pooled ? warm - stats.pooled : 0;
    *ret_stats = stats;
}
