/*
 * waitgroup.c - how much work is under way, and who waits for none; the count itself is zero.c
 */
#include <errno.h>
#include <stdlib.h>

#include "fm/sync.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/zero.h"

struct fm_waitgroup {
    struct zero zero;
};

int fm_waitgroup_create(struct fm_waitgroup **ret_waitgroup)
{
    if (!ret_waitgroup)
        return -EINVAL;
    struct fm_waitgroup *waitgroup = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *waitgroup);
    if (!waitgroup)
        return -ENOMEM;
    fm__zero_init(&waitgroup->zero, 0);
    *ret_waitgroup = waitgroup;
    return 0;
}

struct fm_waitgroup *fm_waitgroup_destroy(struct fm_waitgroup *waitgroup)
{
    if (waitgroup) {
        fm__zero_fini(&waitgroup->zero, "wait group");
        free(waitgroup);
    }
    return NULL;
}

int fm_waitgroup_add(struct fm_waitgroup *waitgroup, int64_t n)
{
    if (!waitgroup)
        return -EINVAL;
    return n == 0 ? 0 : fm__zero_add(&waitgroup->zero, n);
}

int fm_waitgroup_done(struct fm_waitgroup *waitgroup)
{
    return fm_waitgroup_add(waitgroup, -1);
}

int fm_waitgroup_wait(struct fm_waitgroup *waitgroup, int64_t deadline_ns)
{
    return waitgroup ? fm__zero_wait(&waitgroup->zero, deadline_ns, "wait group") : -EINVAL;
}

int64_t fm_waitgroup_count(struct fm_waitgroup *waitgroup)
{
    return waitgroup ? fm__zero_count(&waitgroup->zero) : -EINVAL;
}
