/*
 * slot.c - where stacks come from: address space, guards, records
 *
 * Address space is reserved in windows of 64 MiB, aligned to their size; one window holds the
 * slots of one class. A two-level table by address leads from any address to its window, and
 * the slot is then a shift.
 *
 *   FRESH --- carve: guard, record ---> CARVED, in a pool or in use: stack.c knows
 *     ^    (no record; the guard stays)   |
 *     '-------------- raze ---------------'
 *
 * A fresh slot is a bit in its window, and a window with fresh slots is on the shelf of its
 * class.
 *
 * Owns        the windows and their table, until the process ends; the fresh slots.
 * Knows not   pools, fibers.
 * Invariant   a guard once installed stays. A slot in the state CARVED has a whole record.
 */
#include "runtime/context/slot.h"

#include <errno.h>
#include <stdlib.h>

#include "fm/runtime.h"
#include "runtime/platform/atomic.h"
#include "runtime/platform/check.h"
#include "runtime/platform/lock.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/pages.h"
#include "runtime/platform/sanitizer.h"

enum {
    WINDOW_SHIFT = 26,
    ADDRESS_BITS = 48, /* what the kernel maps above, only on request, is never asked for */
    LEAF_BITS = 11,
    LEAVES_BITS = ADDRESS_BITS - WINDOW_SHIFT - LEAF_BITS,
    COLOURS = 16,
    COLOUR_BYTES = 64,
    CANARY_WORDS = 16,
};

#define WINDOW_BYTES ((size_t)1 << WINDOW_SHIFT)

/* The state of a slot: enum fm_guard, and whether it has a record. */
#define SLOT_CARVED 0x80u

struct window {
    char *base;
    struct window
        *next;       /* in the depot's list of windows with fresh slots, owned by its lock */
    uint64_t *fresh; /* a bit for each slot without a record, owned by the shelf's lock */
    uint32_t fresh_count;
    uint32_t slot_count;
    uint32_t slot_shift;
    uint32_t guard_bytes;
    uint8_t stack_class;
    _Atomic uint8_t
        state[]; /* written by who carves or trims the slot; read in signal handlers */
};

struct leaf {
    _Atomic(struct window *) windows[1 << LEAF_BITS];
};

static struct shelf {
    FM_ALONE struct lock lock;
    struct window *windows; /* those with fresh slots */
    uint64_t carved;
    uint64_t mapped_bytes;
} shelves[STACK_CLASSES] = {
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
    { .lock = LOCK_INIT(LOCK_STACK_POOL) },
};

static _Atomic(struct leaf *) leaves[1 << LEAVES_BITS];
static _Atomic(char *) window_hint; /* where the next window might go */
static _Atomic unsigned rung;       /* enum fm_guard; 0 until someone asks */
static _Atomic int64_t map_budget;  /* stacks that may still be guarded by mprotect */
static _Atomic bool map_budget_read;
_Atomic bool fm__stack_canaries;

static const struct {
    uint32_t bytes;
    uint32_t guard_pages; /* several where there is room: a frame without probes may skip one */
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
    FM_ASSERT(stack_class >= 0 && stack_class < STACK_CLASSES);
    size_t bytes = (size_t)classes[stack_class].bytes * FM_STACK_SCALE;
    size_t least = 4 * fm__page_bytes();
    return bytes > least ? bytes : least;
}

static size_t guard_bytes(int stack_class)
{
    FM_ASSERT(stack_class >= 0 && stack_class < STACK_CLASSES);
    size_t page = fm__page_bytes();
    size_t bytes = classes[stack_class].guard_pages * page;
    size_t most = fm__stack_class_bytes(stack_class) / 4;
    return bytes < most ? bytes : most;
}

static struct window *window_of(uintptr_t address)
{
    uintptr_t number = address >> WINDOW_SHIFT;
    if (number >> (LEAF_BITS + LEAVES_BITS))
        return NULL;
    /* acquire, with the releases in window_publish: leaf and window are whole */
    struct leaf *leaf = atomic_load_explicit(&leaves[number >> LEAF_BITS],
                                             memory_order_acquire);
    if (!leaf)
        return NULL;
    return atomic_load_explicit(&leaf->windows[number & ((1u << LEAF_BITS) - 1)],
                                memory_order_acquire);
}

static int window_publish(struct window *window)
{
    FM_ASSERT(window->base);
    uintptr_t number = (uintptr_t)window->base >> WINDOW_SHIFT;
    if (number >> (LEAF_BITS + LEAVES_BITS))
        return -ENOMEM;
    _Atomic(struct leaf *) *place = &leaves[number >> LEAF_BITS];
    struct leaf *leaf = atomic_load_explicit(place, memory_order_acquire);
    if (!leaf) {
        struct leaf *made = fm__calloc(1, sizeof *made);
        if (!made)
            return -ENOMEM;
        /* release: a leaf of zeroes; acquire: another thread's leaf instead */
        if (atomic_compare_exchange_strong_explicit(place, &leaf, made, memory_order_acq_rel,
                                                    memory_order_acquire))
            leaf = made;
        else
            free(made);
    }
    /* release, with window_of: the window is whole */
    atomic_store_explicit(&leaf->windows[number & ((1u << LEAF_BITS) - 1)], window,
                          memory_order_release);
    return 0;
}

static uint32_t slot_of(const struct window *window, const void *address)
{
    FM_ASSERT((uintptr_t)address - (uintptr_t)window->base < WINDOW_BYTES);
    return (uint32_t)(((uintptr_t)address - (uintptr_t)window->base) >> window->slot_shift);
}

static char *slot_base(const struct window *window, uint32_t slot)
{
    FM_ASSERT(slot <= window->slot_count); /* the last one: where the window ends */
    return window->base + ((size_t)slot << window->slot_shift);
}

static struct stack *slot_record(const struct window *window, uint32_t slot)
{
    FM_ASSERT(slot < window->slot_count);
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
    if (!(atomic_load_explicit(&window->state[slot], memory_order_acquire) & SLOT_CARVED))
        return NULL;
    if (ret_in_guard)
        *ret_in_guard = (const char *)address < slot_base(window, slot) + window->guard_bytes;
    return slot_record(window, slot);
}

static int window_create(struct window **ret_window, int stack_class)
{
    FM_ASSERT(stack_class >= 0 && stack_class < STACK_CLASSES);
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
        window->fresh[i] = slot_count % 64 && i == words - 1
                               ? (UINT64_C(1) << slot_count % 64) - 1
                               : ~UINT64_C(0);
    window->fresh_count = slot_count;
    window->slot_count = slot_count;
    window->slot_shift = (uint32_t)__builtin_ctzll(slot_bytes);
    FM_ASSERT((size_t)1 << window->slot_shift == slot_bytes);
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
static uint32_t take_fresh_locked(struct shelf *shelf, struct window *window)
{
    FM_ASSERT(fm__lock_held(&shelf->lock) && window->fresh_count);
    uint32_t word = 0;
    while (!window->fresh[word])
        word++;
    uint32_t bit = (uint32_t)__builtin_ctzll(window->fresh[word]);
    window->fresh[word] &= window->fresh[word] - 1;
    if (--window->fresh_count == 0)
        shelf->windows = window->next;
    shelf->carved++;
    FM_ASSERT(word * 64 + bit < window->slot_count);
    return word * 64 + bit;
}

static void put_fresh_locked(struct shelf *shelf, struct window *window, uint32_t slot)
{
    FM_ASSERT(fm__lock_held(&shelf->lock) && window->fresh_count < window->slot_count);
    window->fresh[slot / 64] |= UINT64_C(1) << slot % 64;
    if (window->fresh_count++ == 0) {
        window->next = shelf->windows;
        shelf->windows = window;
    }
    shelf->carved--;
}

/* Half of the mappings that the process may have are for us, and a stack costs two. */
static void read_map_budget(void)
{
    bool done = false;
    if (atomic_compare_exchange_strong_explicit(&map_budget_read, &done, true,
                                                memory_order_relaxed, memory_order_relaxed))
        atomic_fetch_add_explicit(&map_budget, (int64_t)fm__pages_max_maps() / 4,
                                  memory_order_relaxed);
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
    FM_ASSERT(start && bytes);
    if (from == FM_GUARD_INSTALL && fm__pages_guard(start, bytes) == 0)
        return FM_GUARD_INSTALL;
    if (from <= FM_GUARD_MPROTECT && take_map_budget()) {
        if (fm__pages_protect(start, bytes) == 0)
            return FM_GUARD_MPROTECT;
        atomic_fetch_add_explicit(&map_budget, 1, memory_order_relaxed);
    }
    return FM_GUARD_CANARY;
}

/*
 * Whether the kernel does it for this process: not if it is old, not if all memory to come is
 * locked. Without a page to try it on nobody knows; each stack tries again anyway.
 */
static bool probe(int (*guard)(void *start, size_t bytes))
{
    FM_ASSERT(guard);
    int error;
    size_t page = fm__page_bytes();
    void *start = fm__pages_reserve(page, page, NULL, "fibermap probe", &error);
    if (!start)
        return true;
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
    else if ((forced == FM_GUARD_AUTO || forced == FM_GUARD_MPROTECT) &&
             probe(fm__pages_protect))
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
    if (now == FM_GUARD_MPROTECT &&
        atomic_load_explicit(&map_budget, memory_order_relaxed) <= 0)
        return FM_GUARD_CANARY;
    return now;
}

/*
 * The canary is zeroes, which is what memory that nobody wrote to reads as: looking at it costs
 * no page of memory. Any frame that runs over it leaves a return address or a saved register
 * there.
 */
FM_NO_ASAN void fm__stack_check_slow(const struct stack *stack)
{
    FM_ASSERT(stack->low);
    if (stack->guard != FM_GUARD_CANARY)
        return;
    const uint64_t *canary = (const uint64_t *)stack->low - CANARY_WORDS;
    uint64_t all = 0;
    for (int i = 0; i < CANARY_WORDS; i++)
        all |= canary[i];
    FM_BUG_IF(all, "stack overflow: the canary below %p is gone (stack of %zu KiB)", stack->low,
              fm__stack_class_bytes(stack->stack_class) >> 10);
}

/* Guard and record of a fresh slot that is ours. */
static FM_THREADS_OWN struct stack *carve(struct window *window, uint32_t slot)
{
    FM_ASSERT(slot < window->slot_count);
    char *base = slot_base(window, slot);
    struct stack *stack = slot_record(window, slot);
    /* relaxed: who razed it before gave it back under the shelf's lock */
    unsigned guard = atomic_load_explicit(&window->state[slot], memory_order_relaxed);

    /* A slot that had only a canary may have better luck now. */
    if (guard == 0 || guard == FM_GUARD_CANARY)
        guard = guard_slot(base, window->guard_bytes,
                           atomic_load_explicit(&rung, memory_order_relaxed));

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
    atomic_store_explicit(&window->state[slot], (uint8_t)(guard | SLOT_CARVED),
                          memory_order_release);
    return stack;
}

/* The reverse: the slot's memory goes, record and all. The guard stays. */
static void raze(struct window *window, uint32_t slot)
{
    FM_ASSERT(slot < window->slot_count);
    struct stack *stack = slot_record(window, slot);
    char *low = slot_base(window, slot) + window->guard_bytes;

    fm__tsan_destroy(stack->tsan);
    FM_VALGRIND_STACK_DEREGISTER(stack->valgrind_id);
    /*
     * release: nobody finds the record any more when it goes. Who finds the record of an unused
     * stack is the handler of a wild access, and looks at nothing but the owner and the class.
     */
    atomic_store_explicit(&window->state[slot], stack->guard, memory_order_release);
    fm__pages_discard(low, (size_t)(slot_base(window, slot + 1) - low));
}

struct stack *fm__slot_carve(int stack_class, int *ret_error)
{
    FM_ASSERT(stack_class >= 0 && stack_class < STACK_CLASSES);
    struct shelf *shelf = &shelves[stack_class];

    if (atomic_load_explicit(&rung, memory_order_relaxed) == 0)
        fm__stack_init(FM_GUARD_AUTO);
    fm__lock(&shelf->lock);
    while (!shelf->windows) {
        struct window *made = NULL;
        fm__unlock(&shelf->lock);
        int r = window_create(&made, stack_class);
        if (r < 0) {
            *ret_error = r;
            return NULL;
        }
        fm__lock(&shelf->lock);
        made->next = shelf->windows;
        shelf->windows = made;
        shelf->mapped_bytes += WINDOW_BYTES;
    }
    struct window *window = shelf->windows;
    uint32_t slot = take_fresh_locked(shelf, window);
    fm__unlock(&shelf->lock);
    return carve(window, slot);
}

uint32_t fm__slot_raze(struct stack *chain)
{
    FM_ASSERT(chain);
    enum { TOGETHER = STACK_MAGAZINE };
    struct shelf *shelf = &shelves[chain->stack_class];
    uint32_t total = 0;

    while (chain) {
        struct window *windows[TOGETHER];
        uint32_t slots[TOGETHER];
        int count = 0;
        for (; chain && count < TOGETHER; count++) {
            struct stack *next = chain->next;
            windows[count] = window_of((uintptr_t)chain);
            slots[count] = slot_of(windows[count], chain);
            raze(windows[count], slots[count]);
            chain = next;
        }
        fm__lock(&shelf->lock);
        for (int i = 0; i < count; i++)
            put_fresh_locked(shelf, windows[i], slots[i]);
        fm__unlock(&shelf->lock);
        total += (uint32_t)count;
    }
    return total;
}

void fm__slot_count(int stack_class, uint64_t *ret_mapped_bytes, uint64_t *ret_carved)
{
    FM_ASSERT(stack_class >= 0 && stack_class < STACK_CLASSES);
    struct shelf *shelf = &shelves[stack_class];
    fm__lock(&shelf->lock);
    *ret_mapped_bytes = shelf->mapped_bytes;
    *ret_carved = shelf->carved;
    fm__unlock(&shelf->lock);
}

FM_NO_TSAN size_t fm__stack_high_water(const struct stack *stack)
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
