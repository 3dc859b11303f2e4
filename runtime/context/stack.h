/*
 * stack.h - guarded, pooled stacks
 *
 * Stacks come from few large reservations (no reserve, no huge pages) at fixed strides, in classes. A worker keeps a small magazine
 * of each class; magazines exchange batches with one depot a class; what has lain unused in a depot is trimmed later,
 * never on the free path.
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
 * One stack's record: stands at the very top of its slot, in the first page that the fiber touches anyway, so a
 * parked fiber costs one page and no more. The usable part is [low, top).
 */
struct stack {
    struct stack *next;           /* owned by the list that holds the stack */
    void *top;                    /* first usable frame: below this record and the colour */
    void *low;                    /* lowest usable address: above the guard */
    _Atomic(void *) owner;        /* who runs on it, for the overflow report: written by the worker that binds it */
    void *tsan;
    uint32_t valgrind_id;
    uint8_t stack_class;
    uint8_t guard;                /* enum fm_guard of this stack */
    int64_t pooled_ns;            /* when it came to the depot: for trimming */
};

/* A worker's own stacks; no lock. */
struct stack_cache {
    struct stack *list[STACK_CLASSES];
    uint32_t count[STACK_CLASSES];
};

/* The class that holds `bytes` (before FM_STACK_SCALE); -1 if none does. */
int fm__stack_class(size_t bytes);
size_t fm__stack_class_bytes(int stack_class);

/*
 * Choose the rung of the guard ladder, once per process (later calls only check): `forced` is an enum fm_guard.
 * Returns 0 · -ENOTSUP the forced rung is not to be had. A process whose rung was forced differently before keeps both.
 */
int fm__stack_init(unsigned forced);
unsigned fm__stack_guard(void); /* enum fm_guard in force for new stacks */

/* A stack, or NULL: *ret_error (may be NULL) then holds -ENOMEM or what the kernel said. */
struct stack *fm__stack_take(struct stack_cache *cache, int stack_class, int *ret_error);
/* Give it back. Nobody runs on it. Cheap: the magazine, or a batch to the depot. */
void fm__stack_give(struct stack_cache *cache, struct stack *stack);
/* A worker goes: all its stacks to the depots. */
void fm__stack_cache_flush(struct stack_cache *cache);
/* Give back memory (not address space) of depot stacks that were pooled before `older_than_ns`; at most `limit` stacks. Returns how many. */
size_t fm__stack_trim(int64_t older_than_ns, size_t limit);

/* Stops the program if the canary above the guard is gone; called at each switch away where the rung is the canary. */
void fm__stack_check(struct stack *stack);
/* Bytes below top that were ever touched since the last trim, by page. */
size_t fm__stack_high_water(const struct stack *stack);
/* The stack whose slot (guard included) holds `address`, or NULL. Async-signal-safe, O(1). ret_in_guard: the address is in its guard. */
struct stack *fm__stack_find(const void *address, bool *ret_in_guard);

struct stack_stats {
    uint64_t mapped_bytes;
    uint64_t live;   /* taken */
    uint64_t pooled; /* in depots and magazines */
    uint64_t trimmed;
};
void fm__stack_stats(struct stack_stats *ret_stats);

#endif
