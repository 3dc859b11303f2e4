/*
 * ref.c - counted values, and the cell that holds the present one
 *
 * The difficulty is the get: between reading which value stands in the cell and counting a
 * reference to it, the value may be replaced and freed. So the cell's word counts the gets
 * itself: value and count are one word, and a get is one addition to it.
 *
 *     63                                        14 13                    0
 *     address of the value / 64                    gets not yet settled
 *
 *   get                                       set
 *     word += 1              (A)                new value: refs += CELL
 *     the value of that word is held            old word = exchange      (B)
 *                                               old value: refs += its gets - CELL   (C)
 *   unref                                         0: free it
 *     refs -= 1              (C)
 *       0: free it
 *
 * While the value stands in the cell, CELL in refs outweighs all gets that only the word knows,
 * so references may come back before they were ever counted there. The exchange takes value
 * and gets out in one step: each get falls before it and is counted, or after it and holds the
 * next value. From then on refs is the true count, and whoever brings it to 0 frees.
 *
 * Order      (B) release, (A) acquire: who gets a value sees what was written into it. The
 *            additions between are read-modify-writes, which hand the release on.
 *            (C) acq_rel: what each holder did with the value happens before it is freed.
 *
 * The count in the word has room for 16383. The get that finds it at SETTLE settles: it moves
 * what the word counts into refs, first there, then off the word, so that refs is at no time
 * too small; if the word has been exchanged meanwhile it takes back what it added. To run over,
 * 12,000 threads would have to stand between the two.
 *   (D) release, with (B) acquire: refs has the settled ones before a set counts the rest.
 *
 * update is get, make, compare-and-swap. It holds the value that it compares with, so the
 * address cannot have become another value's.
 */
#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/sanitizer.h"
#include "runtime/sync/value.h"

#define CELL (INT64_C(1) << 40) /* references in hand stay below */

/* Where sanitizers or the model checker look, the rare case is made common. */
#ifndef REF_SETTLE
#define REF_SETTLE (FM_ASAN || FM_TSAN ? 4 : 4096)
#endif

enum { GETS_BITS = 14, SETTLE = REF_SETTLE };

#define GETS_MASK ((UINT64_C(1) << GETS_BITS) - 1)
#define ADDRESS_SHIFT 8 /* the address ends in six zeros, so it leaves 14 bits free */

struct fm_ref {
    _Alignas(FM_CACHE_LINE) _Atomic uint64_t word;
};

/* ---- values ---- */

int fm_value_create(void *pointer, fm_drop_fn *drop, struct fm_value **ret_value)
{
    if (!ret_value)
        return -EINVAL;
    struct fm_value *value = fm__zalloc_aligned(_Alignof(struct fm_value), sizeof *value);
    if (!value)
        return -ENOMEM;
    FM_BUG_IF((uintptr_t)value >> 56, "an address of more than 56 bits");
    atomic_init(&value->refs, 1);
    value->pointer = pointer;
    value->drop = drop;
    *ret_value = value;
    return 0;
}

void fm__value_free(struct fm_value *value)
{
    FM_ASSERT(value);
    if (value->drop)
        value->drop(value->pointer);
    free(value);
}

struct fm_value *fm_value_ref(struct fm_value *value)
{
    if (value) {
        /* relaxed: the caller's own reference keeps the value there */
        int64_t old = atomic_fetch_add_explicit(&value->refs, 1, memory_order_relaxed);
        FM_BUG_IF(old <= 0, "reference to a value that has gone");
    }
    return value;
}

struct fm_value *fm_value_unref(struct fm_value *value)
{
    if (value && fm__value_add(value, -1)) /* (C) */
        fm__value_free(value);
    return NULL;
}

void *fm_value_pointer(const struct fm_value *value)
{
    return value ? value->pointer : NULL;
}

/* ---- the cell ---- */

static uint64_t word_of(const struct fm_value *value)
{
    return (uint64_t)(uintptr_t)value << ADDRESS_SHIFT;
}

static struct fm_value *value_of(uint64_t word)
{
    return (struct fm_value *)(uintptr_t)((word & ~GETS_MASK) >> ADDRESS_SHIFT);
}

static int64_t gets_of(uint64_t word)
{
    return (int64_t)(word & GETS_MASK);
}

/* The value is about to stand in a cell, or has not come to; the caller holds a reference. */
static void place(struct fm_value *value, int64_t n)
{
    FM_ASSERT(value && n);
    /* relaxed: the exchange publishes it, and the caller's reference keeps it there */
    atomic_fetch_add_explicit(&value->refs, n, memory_order_relaxed);
}

/* This word has been taken out of a cell: its gets are counted, the cell's own goes. */
static void retire(uint64_t word)
{
    FM_ASSERT(value_of(word));
    if (fm__value_add(value_of(word), gets_of(word) - CELL)) /* (C) */
        fm__value_free(value_of(word));
}

int fm_ref_create(struct fm_value *value, struct fm_ref **ret_ref)
{
    if (!value || !ret_ref)
        return -EINVAL;
    struct fm_ref *ref = fm__zalloc_aligned(_Alignof(struct fm_ref), sizeof *ref);
    if (!ref)
        return -ENOMEM;
    place(value, CELL);
    atomic_init(&ref->word, word_of(value));
    *ret_ref = ref;
    return 0;
}

struct fm_ref *fm_ref_destroy(struct fm_ref *ref)
{
    if (ref) {
        /* acquire: of settled gets (D), as in a set */
        retire(atomic_load_explicit(&ref->word, memory_order_acquire));
        free(ref);
    }
    return NULL;
}

/* Many gets are in the word: move them to the value. The caller holds a reference to it. */
static __attribute__((noinline)) void settle(struct fm_ref *ref, struct fm_value *value)
{
    FM_ASSERT(value);
    /* relaxed: looked at again by the CAS */
    uint64_t word = atomic_load_explicit(&ref->word, memory_order_relaxed);
    int64_t n = gets_of(word);

    if (value_of(word) != value || n < SETTLE)
        return;
    place(value, n);
    while (value_of(word) == value && gets_of(word) >= n) {
        /* release (D) */
        if (atomic_compare_exchange_weak_explicit(&ref->word, &word, word - (uint64_t)n,
                                                  memory_order_release, memory_order_relaxed))
            return;
    }
    bool last = fm__value_add(value, -n); /* another has settled, or set */
    FM_ASSERT(!last);
    (void)last;
}

struct fm_value *fm_ref_get(struct fm_ref *ref)
{
    if (!ref)
        return NULL;
    /* acquire (A) */
    uint64_t word = atomic_fetch_add_explicit(&ref->word, 1, memory_order_acquire);
    if (__builtin_expect(gets_of(word) >= SETTLE, 0))
        settle(ref, value_of(word));
    return value_of(word);
}

int fm_ref_set(struct fm_ref *ref, struct fm_value *value)
{
    if (!ref || !value)
        return -EINVAL;
    place(value, CELL);
    /* acq_rel (B) */
    retire(atomic_exchange_explicit(&ref->word, word_of(value), memory_order_acq_rel));
    return 0;
}

/* Put `next` where `present` stands; false if another does. The caller holds both. */
static bool replace(struct fm_ref *ref, struct fm_value *present, struct fm_value *next)
{
    FM_ASSERT(present && next);
    /* relaxed: looked at again by the CAS */
    uint64_t word = atomic_load_explicit(&ref->word, memory_order_relaxed);

    place(next, CELL);
    while (value_of(word) == present) {
        /* acq_rel (B) */
        if (atomic_compare_exchange_weak_explicit(&ref->word, &word, word_of(next),
                                                  memory_order_acq_rel, memory_order_relaxed)) {
            retire(word);
            return true;
        }
    }
    place(next, -CELL);
    return false;
}

int fm_ref_modify(struct fm_ref *ref, fm_ref_fn *fn, void *ctx, struct fm_value **ret_before,
                  struct fm_value **ret_after)
{
    if (!ref || !fn)
        return -EINVAL;
    for (;;) {
        struct fm_value *present = fm_ref_get(ref), *next = NULL;
        int r = fn(ctx, present, &next);
        if (r < 0) {
            fm_value_unref(present);
            return r;
        }
        if (!next)
            next = fm_value_ref(present);
        else if (!replace(ref, present, next)) {
            fm_value_unref(next);
            fm_value_unref(present);
            continue;
        }
        if (ret_before)
            *ret_before = present;
        else
            fm_value_unref(present);
        if (ret_after)
            *ret_after = next;
        else
            fm_value_unref(next);
        return 0;
    }
}

int fm_ref_update(struct fm_ref *ref, fm_ref_fn *fn, void *ctx)
{
    return fm_ref_modify(ref, fn, ctx, NULL, NULL);
}
