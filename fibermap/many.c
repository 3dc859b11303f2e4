/*
 * many.c - calls over many keys at once
 */
#include "fm/map_many.h"

#include <errno.h>
#include <stdlib.h>

#include "fibermap/map.h"
#include "fibermap/member.h"
#include "runtime/platform/memory.h"

/* The ids of those who are under the keys. Their number, or -EINVAL. */
static int64_t find_all(struct fm_map *map, const struct fm_key keys[], size_t count,
                        uint64_t ids[])
{
    FM_ASSERT(keys && ids);
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        struct map_key key;
        if (!fm__key_read(&key, &map->seed, keys[i]))
            return -EINVAL;
        struct fm_fiber *fiber = fm__map_look(map, &key);
        if (!fiber)
            continue;
        ids[found++] = fm__fiber_id(fiber);
        FM_ASSERT(found <= count);
        fm_fiber_unref(fiber);
    }
    return (int64_t)found;
}

int fm_map_remove_many(struct fm_map *map, const struct fm_key keys[], size_t count,
                       int64_t deadline_ns)
{
    if (!map || (count && !keys))
        return -EINVAL;
    if (!count)
        return -ENOENT;
    if (count > SIZE_MAX / sizeof(uint64_t))
        return -ENOMEM;
    uint64_t *ids = fm__malloc(count * sizeof *ids);
    if (!ids)
        return -ENOMEM;
    int64_t found = find_all(map, keys, count, ids);
    int r = found < 0 ? (int)found : -ENOENT;
    if (found > 0)
        r = fm__members_end(ids, (size_t)found, FM_BY_REMOVE, deadline_ns);
    free(ids);
    return r;
}
