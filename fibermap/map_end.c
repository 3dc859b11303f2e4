/*
 * map_end.c - ending by key: remove, clear
 *
 * Each has two moments: it finds fibers, and they have left. What is run meanwhile is not its
 * business. A caller who is among the found is signalled last and not awaited, since his own
 * interruption would end his waiting for the others.
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/map.h"
#include "fibermap/member.h"
#include "runtime/fiber/slab.h"
#include "runtime/platform/memory.h"

int fm_map_remove(struct fm_map *map, struct fm_key given, int64_t deadline_ns)
{
    struct map_key key;

    if (!map || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    struct fm_fiber *fiber = fm__map_look(map, &key);
    if (!fiber)
        return -ENOENT;
    fm__fiber_interrupt(fiber, FM_BY_REMOVE);
    int r = fiber == fm__fiber_self() ? FM_MAP_SELF : fm_fiber_join(fiber, deadline_ns, NULL);
    fm_fiber_unref(fiber);
    return r;
}

/* ---- clear ---- */

/*
 * Fibers of a large map are far apart in memory: so many are on their way while one is dealt
 * with.
 */
enum { AHEAD = 8 };

struct found {
    uint64_t *ids;
    size_t count, room;
};

/*
 * The ids of all present fibers of a stripe, and of those that queue. Memory is taken with the
 * lock free.
 */
static int find_present(struct stripe *stripe, struct found *found)
{
    FM_ASSERT(stripe && found->count <= found->room);
    for (;;) {
        fm__lock(&stripe->lock);
        /*
         * acquire, with (I) of count.c: who is not counted any more has left his entry, so no
         * more than `live` are present.
         */
        size_t live = fm__count_live(
            atomic_load_explicit(&stripe->count, memory_order_acquire));
        if (found->room - found->count >= live)
            break;
        fm__unlock(&stripe->lock);
        size_t room = found->count + live + live / 8 + 8;
        uint64_t *ids = fm__realloc(found->ids, room * sizeof *ids);
        if (!ids)
            return -ENOMEM;
        found->ids = ids;
        found->room = room;
    }
    uint32_t made = fm__stripe_made(stripe);
    for (uint32_t i = 0; i < made; i++) {
        uint64_t id = fm__entry_counted(fm__entry_read(fm__stripe_at(stripe, i)));
        FM_ASSERT(!id || found->count < found->room);
        if (id)
            found->ids[found->count++] = id;
    }
    fm__unlock(&stripe->lock);
    return 0;
}

/*
 * The last signalled is awaited first: when it has ended most others have, and the caller is
 * woken once, not for each.
 */
int fm__members_end(const uint64_t *ids, size_t count, enum fm_reason reason,
                    int64_t deadline_ns)
{
    FM_ASSERT(ids || !count);
    uint64_t self = fm__self_id();
    bool among = false;
    int result = 0;

    for (size_t i = 0; i < count; i++) {
        if (count - i > AHEAD)
            fm__slab_fetch_to_wake((uint32_t)ids[i + AHEAD]);
        if (ids[i] == self)
            among = true;
        else
            fm__member_signal(ids[i], reason);
    }
    for (size_t i = count; i-- > 0 && result != -ECANCELED && result != -ETIMEDOUT;) {
        if (i >= AHEAD)
            fm__slab_fetch((uint32_t)ids[i - AHEAD]);
        struct fm_fiber *fiber = ids[i] == self ? NULL : fm__fiber_ref_id(ids[i]);
        if (!fiber)
            continue; /* the caller, or ended and gone */
        int r = fm_fiber_join(fiber, deadline_ns, NULL);
        fm_fiber_unref(fiber);
        result = r < 0 ? r : result;
    }
    if (among)
        fm__member_signal(self, reason);
    return result < 0 ? result : among ? FM_MAP_SELF : 0;
}

int fm_map_clear(struct fm_map *map, int64_t deadline_ns)
{
    struct found found = { 0 };
    int r = 0;

    if (!map)
        return -EINVAL;
    fm__moves_hold(map);
    fm__map_each_stripe(map, s) {
        r = find_present(s, &found);
        if (r < 0)
            break;
    }
    fm__moves_go(map);
    if (r == 0)
        r = fm__members_end(found.ids, found.count, FM_BY_CLEAR, deadline_ns);
    free(found.ids);
    return r;
}

int fm_map_clear_matching(struct fm_map *map, fm_match_fn *match, void *ctx,
                          int64_t deadline_ns)
{
    struct fm_snapshot *snapshot;
    size_t count = 0;

    if (!map || !match)
        return -EINVAL;
    int r = fm_map_snapshot(map, FM_SNAPSHOT_QUEUED, &snapshot);
    if (r < 0)
        return r;
    uint64_t *ids = fm__malloc((fm_snapshot_count(snapshot) + 1) * sizeof *ids);
    if (!ids) {
        fm_snapshot_free(snapshot);
        return -ENOMEM;
    }
    for (size_t i = 0; i < fm_snapshot_count(snapshot); i++) {
        const struct fm_member *member = fm_snapshot_at(snapshot, i);
        if (match(ctx, member->key, member->fiber))
            ids[count++] = fm__fiber_id(member->fiber);
    }
    fm_snapshot_free(snapshot);
    r = fm__members_end(ids, count, FM_BY_CLEAR, deadline_ns);
    free(ids);
    return r;
}
