/*
 * stack.h - guarded, pooled stacks
 *
 * Stacks come from few large reservations (no reserve, no huge pages) at fixed strides, in
 * classes. A worker keeps a small magazine of each class; magazines exchange batches with one
 * depot a class; what has lain unused in a depot is trimmed later, never on the free path.
 *
 * A slot, addresses rising; its size is the class, guard included:
 *
 *     guard | canary, if that is all | usable: [low, top) | record | colour, 0 to 960 bytes
 *
 * The colour is a multiple of 64 bytes that depends on the slot, so that the first frames and
 * the records of many stacks do not meet in the same sets of the cache.
 *
 * Owns        the reservations, process-wide, until the process ends.
 * Knows not   fibers; a stack remembers an opaque owner for the overflow report.
 */
#ifndef FM_RUNTIME_CONTEXT_STACK_H
#define FM_RUNTIME_CONTEXT_STACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STACK_CLASSES = 4, STACK_MAGAZINE = 32 };

/*
 * One stack's record: stands near the top of its slot, in the first page that the fiber touches
 * anyway, so a parked fiber costs one page and no more. The usable part is [low, top).
 */
struct stack {
    _Alignas(64) struct stack *next; /* owned by the list that holds the stack */
    void *top;                       /* first usable frame: below this record and the colour */
    void *low;                       /* lowest usable address: above the guard */
    _Atomic(void *) owner; /* for the overflow report: set by the worker that binds it */
    void *tsan;
    uint32_t valgrind_id;
    uint8_t stack_class;
    uint8_t guard;            /* enum fm_guard of this stack */
    uint16_t uses;            /* of its ThreadSanitizer fiber */
    struct stack *batch_next; /* the rest: of the first stack of a batch, owned by the depot */
    struct stack *batch_prev;
    int64_t pooled_ns; /* when the batch came to the depot: for trimming */
    uint32_t batch_count;
};

/*
 * A worker's own stacks; no lock. All zero at first. Only its owner changes it; counts are read
 * by the statistics.
 */
struct stack_cache {
    struct stack *list[STACK_CLASSES];
    _Atomic uint32_t count[STACK_CLASSES];
    struct stack_cache *next; /* in the list of caches that were ever filled */
    bool listed;
};

/* The class that holds `bytes` (before FM_STACK_SCALE); -1 if none does. */
int fm__stack_class(size_t bytes);
/* The size of its slots: scaled, guard included. */
size_t fm__stack_class_bytes(int stack_class);

/*
 * Choose the rung of the guard ladder for the stacks to come: `forced` is an enum fm_guard.
 * Those that exist keep theirs, so a process whose runtimes force different rungs has stacks of
 * both. Returns 0 · -ENOTSUP the forced rung is not to be had · -EINVAL no such rung.
 */
int fm__stack_init(unsigned forced);
/*
 * enum fm_guard in force for new stacks; below a used-up budget of mappings that is the canary.
 */
unsigned fm__stack_guard(void);

/*
 * A stack, or NULL: *ret_error (may be NULL) then holds -ENOMEM or what the kernel said.
 * Without a cache (NULL) it comes from the depot: for threads that are no workers. Cost: a
 * list's head; every STACK_MAGAZINE/2 at worst a short lock; a stack never used before also a
 * system call for the guard and a page fault.
 */
struct stack *fm__stack_take(struct stack_cache *cache, int stack_class, int *ret_error);
/* Give it back. Nobody runs on it. Cheap: the magazine, or a batch to the depot. */
void fm__stack_give(struct stack_cache *cache, struct stack *stack);
/* A worker goes: all its stacks to the depots. The cache's storage may go afterwards. */
void fm__stack_cache_flush(struct stack_cache *cache);
/*
 * Give back memory (not address space) of depot stacks that were pooled before `older_than_ns`,
 * oldest first; at most `limit` stacks. Returns how many. Several system calls for each: never
 * on a hot path.
 */
size_t fm__stack_trim(int64_t older_than_ns, size_t limit);

/* Some stack has no guard but the canary. */
extern _Atomic bool fm__stack_canaries;
void fm__stack_check_slow(const struct stack *stack);
/*
 * Stops the program if the stack's guard is the canary and that is gone. Called at each switch
 * away.
 */
static inline void fm__stack_check(const struct stack *stack)
{
    /* relaxed: set before the first such stack is handed out */
    if (__builtin_expect(atomic_load_explicit(&fm__stack_canaries, memory_order_relaxed), 0))
        fm__stack_check_slow(stack);
}

/*
 * Bytes below top that were ever touched since the last trim, by page. A system call. A dump asks
 * while others run: of a stack that changes hands meanwhile it says anything, and harms nothing.
 */
size_t fm__stack_high_water(const struct stack *stack);
/*
 * The stack whose slot (guard included) holds `address`, or NULL. Async-signal-safe, O(1).
 * ret_in_guard (may be NULL): the address is in its guard.
 */
struct stack *fm__stack_find(const void *address, bool *ret_in_guard);

struct stack_stats {
    uint64_t mapped_bytes; /* address space */
    uint64_t live;         /* taken; exact while nobody takes or gives */
    uint64_t pooled;       /* in depots and magazines, not trimmed */
    uint64_t trimmed;      /* times that a stack's memory was given back */
};
void fm__stack_stats(struct stack_stats *ret_stats);

#endif
