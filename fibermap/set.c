/*
 * set.c - fibers without keys: a map in which each has a key that nobody else has
 *
 * A fiber that is run stands under a number of its own, eight bytes. One that is added stands
 * under its id, behind a byte that makes it nine, so that adding it again finds it there.
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/map.h"
#include "fibermap/member.h"
#include "fm/scope.h"
#include "fm/set.h"
#include "runtime/platform/memory.h"

struct fm_set {
    struct fm_map *map;
    _Atomic uint64_t next;
};

struct added_key {
    unsigned char bytes[9];
};

int fm_set_create(const struct fm_map_config *config, struct fm_set **ret_set)
{
    if (!ret_set)
        return -EINVAL;
    struct fm_set *set = fm__malloc(sizeof *set);
    if (!set)
        return -ENOMEM;
    int r = fm_map_create(config, &set->map);
    if (r < 0) {
        free(set);
        return r;
    }
    atomic_init(&set->next, 0);
    *ret_set = set;
    return 0;
}

static int scope_closes(void *arg, struct fm_exit exit)
{
    FM_ASSERT(arg);
    fm_set_destroy(arg);
    return 0;
}

int fm_set_create_scoped(const struct fm_map_config *config, struct fm_set **ret_set)
{
    struct fm_set *set;

    if (!fm__fiber_self())
        return -EPERM;
    if (!ret_set)
        return -EINVAL;
    int r = fm_set_create(config, &set);
    if (r < 0)
        return r;
    r = fm_defer(scope_closes, set);
    if (r < 0) {
        fm_set_destroy(set);
        return r;
    }
    *ret_set = set;
    return 0;
}

struct fm_set *fm_set_destroy(struct fm_set *set)
{
    if (!set)
        return NULL;
    fm_map_destroy(set->map);
    free(set);
    return NULL;
}

struct fm_map *fm_set_map(struct fm_set *set)
{
    return set ? set->map : NULL;
}

int fm_set_run(struct fm_set *set, fm_entry_fn *entry, void *arg,
               const struct fm_map_run_options *options, struct fm_fiber **ret_fiber)
{
    if (!set || (options && options->conflict))
        return -EINVAL;
    /* relaxed: a number that nobody else gets */
    uint64_t number = atomic_fetch_add_explicit(&set->next, 1, memory_order_relaxed);
    return fm__map_run(set->map, fm_key_bytes(&number, sizeof number), entry, arg, options,
                       __builtin_return_address(0), NULL, ret_fiber);
}

int fm_set_add(struct fm_set *set, struct fm_fiber *fiber,
               const struct fm_map_run_options *options)
{
    struct added_key key = { { 'f' } };

    if (!set || !fiber || (options && options->conflict))
        return -EINVAL;
    if (fm__member_is_in(fiber, set->map))
        return FM_MAP_SAME;
    uint64_t id = fm__fiber_id(fiber);
    memcpy(key.bytes + 1, &id, sizeof id);
    return fm_map_set(set->map, fm_key_bytes(key.bytes, sizeof key.bytes), fiber, options);
}

/* ---- as of the map ---- */

int fm_set_close(struct fm_set *set, const struct fm_close_policy *policy,
                 struct fm_close_report *ret_report)
{
    return set ? fm_map_close(set->map, policy, ret_report) : -EINVAL;
}

size_t fm_set_size(struct fm_set *set)
{
    return set ? fm_map_size(set->map) : 0;
}

int fm_set_clear(struct fm_set *set, int64_t deadline_ns)
{
    return set ? fm_map_clear(set->map, deadline_ns) : -EINVAL;
}

int fm_set_join(struct fm_set *set, int64_t deadline_ns, struct fm_exit *ret_exit)
{
    return set ? fm_map_join(set->map, deadline_ns, ret_exit) : -EINVAL;
}

int fm_set_await_empty(struct fm_set *set, int64_t deadline_ns)
{
    return set ? fm_map_await_empty(set->map, deadline_ns) : -EINVAL;
}
