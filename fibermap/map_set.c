/*
 * map_set.c - set: putting a fiber that exists under a key
 *
 * Invariant   that of map_run.c.
 * Order       make node and stay; make room; lock; decide; publish, tell the fiber's exit,
 *             install; unlock; interrupt the old one. The exit may come at any moment from the
 *             telling on, so the fiber is counted before that.
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/conflict.h"
#include "fibermap/idle.h"
#include "fibermap/ledger.h"
#include "fibermap/member.h"
#include "runtime/platform/check.h"

static int reject(struct fm_fiber *fiber, int result)
{
    fm__fiber_interrupt(fiber, FM_BY_REJECT);
    return result;
}

int fm_map_set(struct fm_map *map, struct fm_key given, struct fm_fiber *fiber,
               const struct fm_map_run_options *given_options)
{
    const struct fm_map_run_options *options;
    struct fm_map_run_options copy;
    struct map_key key;

    if (!map || !fiber || fiber->kind != FIBER_TASK || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    int r = fm__run_options_read(given_options, &copy, &options);
    if (r < 0)
        return r;
    if (options->conflict > FM_FAIL ||
        (options->flags & (FM_MAP_DYING_IS_ABSENT | FM_AWAIT_PROCEED)))
        return -EINVAL;
    struct stripe *stripe = fm__map_stripe(map, &key);
    uint64_t id = fm__fiber_id(fiber);
    struct idler *idler;
    r = fm__idle_make(map, fm__idle_ttl(map, options), &idler);
    if (r < 0)
        return r;
    const uint32_t flags = options->flags | (idler ? MEMBER_IDLES : 0);
    struct set_node *node = fm__set_node_make(stripe, flags);
    struct stay *stay = map->ledger ? fm__stay_make(&key) : NULL;
    r = !node || (map->ledger && !stay) ? -ENOMEM : fm__stripe_lock_with_room(stripe, &key);
    if (r < 0) {
        fm__stay_unref(stay);
        free(node);
        fm__idle_drop(map, idler);
        return r;
    }
    struct place place = fm__stripe_find_locked(stripe, &key);
    uint64_t present = fm__holder_id_locked(stripe, &key, place);
    if (!fm__map_is_open(map))
        r = -ESHUTDOWN;
    else if (present == id)
        r = FM_MAP_SAME;
    else if (present && options->conflict != FM_REPLACE)
        r = options->conflict == FM_KEEP ? FM_MAP_KEPT : -EEXIST;
    if (r != 0) {
        fm__unlock(&stripe->lock);
        fm__stay_unref(stay);
        free(node);
        fm__idle_drop(map, idler);
        return r == FM_MAP_SAME ? r : reject(fiber, r);
    }

    struct entry *mine = fm__stripe_take_locked(stripe, &key);
    node->entry = mine;
    mine->shared = SHARED_SET;
    mine->link = node;
    node->stay = stay;
    fm__count_add(stripe, COUNT_MEMBER_ONE + COUNT_LIVE_ONE);
    fm__entry_publish(mine, id);
    atomic_fetch_add_explicit(&map->sets, 1, memory_order_relaxed);
    /* From here the fiber's exit may take the entry, although no lookup has found it yet. */
    bool told = fm__exit_list_add(&fiber->exits, &node->node);
    if (!told)
        fm__entry_publish(mine, 0); /* it has ended: in and out in one step */
    uint64_t displaced = fm__map_install_locked(map, stripe, place, mine);
    enum fm_reason reason = displaced ? fm__why_displaced_locked(place.entry) : FM_BY_NOBODY;
    int64_t due_ns = idler ? fm__idle_attach_locked(stripe, mine, idler, true) : FM_NEVER;
    if (stay)
        fm__stay_begin_locked(stay, stripe, fiber, displaced, false);
    if (stay && !displaced)
        fm__limit_count_locked(map);
    if (stay && !told) /* sealed: its exit is stored */
        fm__stay_over_locked(stay, stripe, fiber->exit);
    fm__unlock(&stripe->lock);

    fm__idle_told(map, due_ns);
    if (displaced) {
        fm__count_subtract(stripe, COUNT_LIVE_ONE); /* its place under the key is ours now */
        fm__member_signal(displaced, reason);
    }
    /* The stay goes with the fiber, which may have ended by now. */
    if (map->ledger && map->ledger->events)
        fm__hooks_tell(stripe);
    if (!told) {
        struct fm_exit exit;
        atomic_fetch_sub_explicit(&map->sets, 1, memory_order_relaxed);
        free(node);
        r = fm_fiber_poll(fiber, &exit);
        FM_ASSERT(r == 0);
        if (stay)
            fm__stay_over(stay, stripe);
        fm__member_left(stripe, mine, flags, fiber, exit, ENTRY_END_PRESENT);
    }
    return displaced ? FM_MAP_REPLACED : 0;
}
