/*
 * local.c - fiber-locals
 *
 * Keys are process-wide and never taken back. Values hang on the fiber's extra, in an array as
 * long as the highest key it has set.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/fiber/run.h"
#include "runtime/platform/memory.h"

enum { KEYS_MAX = 256 };

static struct {
    _Atomic uint32_t count;
    fm_drop_fn *drop[KEYS_MAX];
    _Atomic bool inherited[KEYS_MAX];
} keys;

int fm_local_key_create(fm_local_key *ret_key, fm_drop_fn *drop)
{
    if (!ret_key)
        return -EINVAL;
    uint32_t key = atomic_load_explicit(&keys.count, memory_order_relaxed);
    do {
        if (key == KEYS_MAX)
            return -ENOSPC;
        /*
         * relaxed: the key reaches others through whatever its maker gives it to them by, after
         * its drop is set
         */
    } while (!atomic_compare_exchange_weak_explicit(&keys.count, &key, key + 1,
                                                    memory_order_relaxed,
                                                    memory_order_relaxed));
    keys.drop[key] = drop;
    *ret_key = key;
    return 0;
}

int fm_local_key_inherit(fm_local_key key)
{
    if (key >= atomic_load_explicit(&keys.count, memory_order_relaxed))
        return -EINVAL;
    atomic_store_explicit(&keys.inherited[key], true, memory_order_relaxed);
    return 0;
}

static int reserve(struct fiber_extra *extra, uint32_t count)
{
    FM_ASSERT(count && count <= KEYS_MAX);
    if (extra->local_count >= count)
        return 0;
    count = (count + 7) & ~7u;
    void **more = fm__realloc(extra->locals, count * sizeof *more);
    if (!more)
        return -ENOMEM;
    memset(more + extra->local_count, 0, (count - extra->local_count) * sizeof *more);
    extra->locals = more;
    extra->local_count = count;
    FM_ASSERT(extra->local_count <= KEYS_MAX);
    return 0;
}

int fm_local_set(fm_local_key key, void *value)
{
    struct fm_fiber *self = fm__fiber_self();
    if (key >= atomic_load_explicit(&keys.count, memory_order_relaxed))
        return -EINVAL;
    if (!self)
        return -EPERM;
    struct fiber_extra *extra = fm__fiber_extra(self);
    if (!extra || reserve(extra, key + 1) < 0)
        return -ENOMEM;
    extra->locals[key] = value;
    return 0;
}

void *fm_local_get(fm_local_key key)
{
    struct fm_fiber *self = fm__fiber_self();
    struct fiber_extra *extra = self ? atomic_load_explicit(&self->extra, memory_order_relaxed)
                                     : NULL;
    return extra && key < extra->local_count ? extra->locals[key] : NULL;
}

int fm__locals_inherit(struct fm_fiber *child, struct fm_fiber *parent)
{
    FM_ASSERT(child != parent);
    struct fiber_extra *from = atomic_load_explicit(&parent->extra, memory_order_relaxed),
                       *to = NULL;
    for (uint32_t key = 0; from && key < from->local_count; key++) {
        if (!from->locals[key] ||
            !atomic_load_explicit(&keys.inherited[key], memory_order_relaxed))
            continue;
        if (!to && !(to = fm__fiber_extra(child)))
            return -ENOMEM;
        if (reserve(to, key + 1) < 0)
            return -ENOMEM;
        to->locals[key] = from->locals[key];
    }
    return 0;
}

void fm__locals_drop(struct fm_fiber *fiber)
{
    FM_ASSERT(fiber == fm__fiber_self());
    struct fiber_extra *extra = atomic_load_explicit(&fiber->extra, memory_order_relaxed);
    for (uint32_t key = 0; extra && key < extra->local_count; key++) {
        void *value = extra->locals[key];
        extra->locals[key] = NULL;
        /* an inherited value is shared: it belongs to nobody's end */
        if (value && keys.drop[key] &&
            !atomic_load_explicit(&keys.inherited[key], memory_order_relaxed))
            keys.drop[key](value);
    }
}
