/*
 * memory.c - allocation, and the counter that makes the nth one fail
 *
 * Owns   the fault counters, process-wide.
 * Knows  that no lock of a map may be held: debug builds look.
 */
#include "runtime/platform/memory.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/platform/check.h"
#include "runtime/platform/lock.h"

_Atomic uint32_t fm__faults_armed;

static struct {
    _Atomic uint64_t nth;
    _Atomic uint64_t seen;
    _Atomic uint64_t hits;
    _Atomic bool for_ever;
} faults[FAULT_KINDS];

void fm__fault_set(enum fault_kind kind, uint64_t n, bool for_ever)
{
    FM_ASSERT(kind < FAULT_KINDS);
    /* seq_cst: tests only; the simplest order that cannot be wrong */
    atomic_store(&faults[kind].nth, n);
    atomic_store(&faults[kind].seen, 0);
    atomic_store(&faults[kind].hits, 0);
    atomic_store(&faults[kind].for_ever, for_ever);
    uint32_t bit = 1u << kind;
    if (n)
        atomic_fetch_or(&fm__faults_armed, bit);
    else
        atomic_fetch_and(&fm__faults_armed, ~bit);
}

uint64_t fm__fault_hits(enum fault_kind kind)
{
    return atomic_load(&faults[kind].hits);
}

uint64_t fm__fault_seen(enum fault_kind kind)
{
    return atomic_load(&faults[kind].seen);
}

bool fm__fault_slow(enum fault_kind kind)
{
    FM_ASSERT(kind < FAULT_KINDS);
    uint64_t nth = atomic_load(&faults[kind].nth);
    if (!nth)
        return false;
    uint64_t seen = atomic_fetch_add(&faults[kind].seen, 1) + 1;
    if (seen != nth && !(seen > nth && atomic_load(&faults[kind].for_ever)))
        return false;
    atomic_fetch_add(&faults[kind].hits, 1);
    return true;
}

void *fm__malloc(size_t size)
{
    fm__lock_check_map("an allocation");
    return fm__fault(FAULT_MALLOC) ? NULL : malloc(size);
}

void *fm__calloc(size_t count, size_t size)
{
    fm__lock_check_map("an allocation");
    return fm__fault(FAULT_MALLOC) ? NULL : calloc(count, size);
}

void *fm__realloc(void *memory, size_t size)
{
    fm__lock_check_map("an allocation");
    return fm__fault(FAULT_MALLOC) ? NULL : realloc(memory, size);
}

void *fm__zalloc_aligned(size_t alignment, size_t size)
{
    FM_ASSERT(alignment && (alignment & (alignment - 1)) == 0);
    fm__lock_check_map("an allocation");
    if (fm__fault(FAULT_MALLOC))
        return NULL;
    size = (size + alignment - 1) & ~(alignment - 1);
    void *memory = aligned_alloc(alignment, size);
    if (memory)
        memset(memory, 0, size);
    return memory;
}
