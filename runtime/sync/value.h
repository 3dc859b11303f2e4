/*
 * value.h - the counted box, as the other rooms of this folder see it
 */
#ifndef FM_RUNTIME_SYNC_VALUE_H
#define FM_RUNTIME_SYNC_VALUE_H

#include "fm/ref.h"
#include "runtime/platform/atomic.h"

/*
 * refs counts references in hand, and CELL for each cell that the value stands in, less those
 * that are still counted in such a cell's word (ref.c). At 0 nobody can reach the value.
 */
struct fm_value {
    _Alignas(FM_CACHE_LINE) _Atomic int64_t refs;
    void *pointer;
    fm_drop_fn *drop;
    struct fm_value *next_dead; /* of those whom only fm__value_bury is to see */
};

/* n more; below 0: fewer. True: that was the last, and the value is the caller's to free. */
static inline bool fm__value_add(struct fm_value *value, int64_t n)
{
    /* acq_rel: what each holder did happens before the last one frees */
    return atomic_fetch_add_explicit(&value->refs, n, memory_order_acq_rel) == -n;
}

/* Calls drop. */
void fm__value_free(struct fm_value *value);

/*
 * Under a lock no drop is called: those that were the last are put on a list there and freed
 * when the lock is free.
 */
static inline void fm__value_unref_locked(struct fm_value *value, struct fm_value **dead)
{
    if (fm__value_add(value, -1)) {
        value->next_dead = *dead;
        *dead = value;
    }
}

static inline void fm__value_bury(struct fm_value *dead)
{
    while (dead) {
        struct fm_value *next = dead->next_dead;
        fm__value_free(dead);
        dead = next;
    }
}

#endif
