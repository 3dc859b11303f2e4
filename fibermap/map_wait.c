/*
 * map_wait.c - waiting for the map: its verdict, its emptiness, one key
 */
#include <errno.h>

#include "fibermap/map.h"
#include "fibermap/member.h"

int fm_map_join(struct fm_map *map, int64_t deadline_ns, struct fm_exit *ret_exit)
{
    if (!map)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend();
    /* acquire: with fm__map_decide; the verdict never changes afterwards */
    if (!atomic_load_explicit(&map->decided, memory_order_acquire)) {
        fm__wait_prepare();
        fm__lock(&map->waiting.lock);
        if (atomic_load_explicit(&map->decided, memory_order_relaxed)) {
            fm__unlock(&map->waiting.lock);
        } else {
            int r = fm__waiting_wait(&map->waiting, WAIT_VERDICT, deadline_ns, "map_join");
            if (r < 0)
                return r;
        }
    }
    if (ret_exit)
        *ret_exit = map->verdict;
    return 0;
}

int fm_map_await_empty(struct fm_map *map, int64_t deadline_ns)
{
    if (!map)
        return -EINVAL;
    if (fm__map_self(map) == SELF_PRESENT)
        return -EDEADLK;
    if (deadline_ns > 0)
        fm__budget_spend();
    return fm__count_await(map, WAIT_EMPTY, deadline_ns, "map_await_empty");
}

int fm_map_await_quiescent(struct fm_map *map, int64_t deadline_ns)
{
    if (!map)
        return -EINVAL;
    if (fm__map_self(map) != SELF_STRANGER)
        return -EDEADLK;
    if (deadline_ns > 0)
        fm__budget_spend();
    return fm__count_await(map, WAIT_QUIESCENT, deadline_ns, "map_await_quiescent");
}

int fm_map_await_key(struct fm_map *map, struct fm_key given, int64_t deadline_ns,
                     struct fm_exit *ret_exit)
{
    struct map_key key;

    if (!map || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    struct fm_fiber *fiber = fm__map_look(map, &key);
    if (!fiber)
        return -ENOENT;
    int r = fiber == fm__fiber_self() ? FM_MAP_SELF
                                      : fm_fiber_join(fiber, deadline_ns, ret_exit);
    fm_fiber_unref(fiber);
    return r;
}
