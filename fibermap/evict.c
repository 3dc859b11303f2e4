/*
 * evict.c - who of a limited map has not been used for the longest time, and makes room
 *
 * The stays of all who were run are in a list, by when they were last used; who queues comes
 * into it in his turn, who was set never. Nobody is evicted for one who has no start. Who is
 * evicted counts as leaving until his place is given back, and there are no more of them than
 * places that are waited for and not free; where there was nobody to evict the next one is who
 * is put in. A map that closes evicts nobody.
 *
 * Lock        the wait lock, inside the stripe's: the list, and all numbers.
 */
#include "fibermap/ledger.h"
#include "fibermap/member.h"
#include "runtime/fiber/slab.h"

static void unlist_locked(struct ledger *ledger, struct stay *stay)
{
    FM_ASSERT(stay->listed || !stay->leaving || ledger->leaving > 0);
    if (!stay->listed)
        return;
    FM_ASSERT(ledger->first_idle && ledger->last_idle);
    *(stay->before ? &stay->before->after : &ledger->first_idle) = stay->after;
    *(stay->after ? &stay->after->before : &ledger->last_idle) = stay->before;
    stay->listed = false;
}

void fm__evict_list_locked(struct ledger *ledger, struct stay *stay)
{
    FM_ASSERT(!stay->listed && !stay->leaving);
    stay->after = NULL;
    stay->before = ledger->last_idle;
    *(stay->before ? &stay->before->after : &ledger->first_idle) = stay;
    ledger->last_idle = stay;
    stay->listed = true;
    FM_ASSERT(ledger->first_idle && !ledger->first_idle->before);
}

void fm__evict_move_locked(struct fm_map *map, struct stay *from, struct stay *to)
{
    FM_ASSERT(!to->listed && !to->leaving);
    FM_ASSERT(from != to);
    struct ledger *ledger = map->ledger;

    fm__lock(&map->waiting.lock);
    if (from->listed) {
        to->before = from->before;
        to->after = from->after;
        *(to->before ? &to->before->after : &ledger->first_idle) = to;
        *(to->after ? &to->after->before : &ledger->last_idle) = to;
    }
    to->listed = from->listed;
    to->leaving = from->leaving;
    from->listed = from->leaving = false;
    fm__unlock(&map->waiting.lock);
}

/*
 * Of the fiber that was run by this entry, and is under its key, which it cannot leave without
 * the stripe lock; NULL for one that was set.
 */
static struct stay *stay_of_locked(struct entry *entry)
{
    FM_ASSERT(entry);
    uint64_t id = fm__entry_present(fm__entry_read(entry));
    struct fm_fiber *fiber = id ? fm__slab_at((uint32_t)(id & FIBER_ID_SLOT)) : NULL;
    return fiber && fm__member_is_at(fiber, entry) ? fm__member_stay(fiber) : NULL;
}

void fm__evict_touch_locked(struct fm_map *map, struct entry *entry)
{
    struct stay *stay = stay_of_locked(entry);
    if (!stay)
        return;
    fm__lock(&map->waiting.lock);
    if (!stay->leaving) {
        unlist_locked(map->ledger, stay);
        fm__evict_list_locked(map->ledger, stay);
    }
    fm__unlock(&map->waiting.lock);
}

void fm__evict_forget_locked(struct ledger *ledger, struct stay *stay)
{
    FM_ASSERT(ledger->leaving >= stay->leaving);
    unlist_locked(ledger, stay);
    ledger->leaving -= stay->leaving;
    stay->leaving = false;
    FM_ASSERT(ledger->leaving >= 0);
}

void fm__evict_displace_locked(struct fm_map *map, struct entry *entry)
{
    FM_ASSERT(entry);
    struct stay *stay = fm__limit_evicts(map->ledger) ? stay_of_locked(entry) : NULL;
    if (!stay)
        return;
    fm__lock(&map->waiting.lock);
    fm__evict_forget_locked(map->ledger, stay);
    fm__unlock(&map->waiting.lock);
}

void fm__evict_settle(struct fm_map *map)
{
    struct ledger *ledger = map->ledger;
    uint64_t id = 1;

    while (id && fm__limit_evicts(ledger) && fm__map_is_open(map)) {
        id = 0;
        fm__lock(&map->waiting.lock);
        while (!id && ledger->first_idle &&
               ledger->wanting > ledger->leaving + fm__limit_spare(ledger)) {
            struct stay *stay = ledger->first_idle;
            unlist_locked(ledger, stay);
            stay->leaving = true;
            ledger->leaving++;
            FM_ASSERT(stay->end.fiber);
            if (fm__member_is_in(stay->end.fiber, map)) /* else it has ended just now */
                id = fm__fiber_id(stay->end.fiber);
        }
        fm__unlock(&map->waiting.lock);
        if (id)
            fm__member_signal(id, FM_BY_REMOVE);
    }
}
