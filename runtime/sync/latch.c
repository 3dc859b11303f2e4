/*
 * latch.c - a count that only falls, and opens at 0; the count itself is zero.c
 */
#include <errno.h>
#include <stdlib.h>

#include "fm/sync.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/zero.h"

struct fm_latch {
    struct zero zero;
};

int fm_latch_create(int64_t count, struct fm_latch **ret_latch)
{
    if (!ret_latch || count < 0 || count > ZERO_MAX)
        return -EINVAL;
    struct fm_latch *latch = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *latch);
    if (!latch)
        return -ENOMEM;
    fm__zero_init(&latch->zero, count);
    *ret_latch = latch;
    return 0;
}

struct fm_latch *fm_latch_destroy(struct fm_latch *latch)
{
    if (latch) {
        fm__zero_fini(&latch->zero, "latch");
        free(latch);
    }
    return NULL;
}

int fm_latch_count_down(struct fm_latch *latch, int64_t n)
{
    if (!latch || n < 0)
        return -EINVAL;
    return n == 0 ? 0 : fm__zero_add(&latch->zero, -n);
}

int fm_latch_wait(struct fm_latch *latch, int64_t deadline_ns)
{
    return latch ? fm__zero_wait(&latch->zero, deadline_ns, "latch") : -EINVAL;
}

int64_t fm_latch_count(struct fm_latch *latch)
{
    return latch ? fm__zero_count(&latch->zero) : -EINVAL;
}
