/*
 * limit.c - how many may be present, and how many may start in an interval
 *
 * Each present entry of a limited map holds one place. A run that displaces somebody takes over
 * his; any other takes one, under the stripe lock, in the hold in which it is put in. The exit
 * gives the place back if it was present, which is if nobody had taken it over; so does a detach.
 *
 *   run                                       exit
 *     under the stripe lock: a place, a start   was it present: hand the place to the first
 *     lacking one: unlock, wait, with what        who waits; he has left: to the next; nobody:
 *       is there in hand; again                   one place more is free
 *
 * A place is handed to a waiter by the one wake that ends his wait. If that wake loses, to an
 * interruption or a deadline, the place goes on to the next: none is lost. A newcomer takes
 * nothing while somebody waits. The place comes before the start, so who is interrupted while
 * he waits for a start has used none up, and gives the place back.
 *
 * Places and who waits for them are under the wait lock, inside the stripe lock.
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/ledger.h"
#include "fibermap/member.h"
#include "runtime/fiber/slab.h"
#include "runtime/platform/check.h"

int fm__limit_make(struct fm_map *map, const struct fm_map_config *config)
{
    struct ledger *ledger = map->ledger;
    struct fm_rate_limiter_config rate = FM_RATE_LIMITER_CONFIG_INIT;

    ledger->max_live = config->max_live;
    ledger->on_excess = config->on_excess;
    atomic_init(&map->notes_use, fm__limit_evicts(ledger));
    if (!config->max_starts)
        return 0;
    rate.algorithm = FM_RATE_FIXED_WINDOW;
    rate.limit = config->max_starts;
    rate.interval_ns = config->interval_ns;
    rate.runtime = config->runtime;
    return fm_rate_limiter_create(&rate, &ledger->starts);
}

void fm__limit_free(struct ledger *ledger)
{
    fm_rate_limiter_destroy(ledger->starts);
}

/* ---- who has been touched when; the wait lock is held ---- */

static void unlist_locked(struct ledger *ledger, struct stay *stay)
{
    if (!stay->listed)
        return;
    *(stay->before ? &stay->before->after : &ledger->first_idle) = stay->after;
    *(stay->after ? &stay->after->before : &ledger->last_idle) = stay->before;
    stay->listed = false;
}

static void list_locked(struct ledger *ledger, struct stay *stay)
{
    stay->after = NULL;
    stay->before = ledger->last_idle;
    *(stay->before ? &stay->before->after : &ledger->first_idle) = stay;
    ledger->last_idle = stay;
    stay->listed = true;
}

/* Interrupt whoever has been idle the longest, and is present. */
static void evict(struct fm_map *map)
{
    struct ledger *ledger = map->ledger;
    uint64_t id = 0;

    fm__lock(&map->waiting.lock);
    while (!id && ledger->first_idle) {
        struct stay *stay = ledger->first_idle;
        unlist_locked(ledger, stay);
        if (fm__member_is_in(stay->end.fiber, map)) /* else it has been replaced */
            id = fm__fiber_id(stay->end.fiber);
    }
    fm__unlock(&map->waiting.lock);
    if (id)
        fm__member_signal(id, FM_BY_REMOVE);
}

/*
 * Of the fiber that was run by this entry, and is under its key, which it cannot leave without
 * the stripe lock; NULL for one that was set.
 */
static struct stay *stay_of_locked(struct entry *entry)
{
    uint64_t id = fm__entry_present(fm__entry_read(entry));
    struct fm_fiber *fiber = id ? fm__slab_at((uint32_t)(id & FIBER_ID_SLOT)) : NULL;
    return fiber && fm__member_is_at(fiber, entry) ? fm__member_stay(fiber) : NULL;
}

void fm__limit_touch_locked(struct fm_map *map, struct entry *entry)
{
    struct stay *stay = stay_of_locked(entry);
    if (!stay)
        return;
    fm__lock(&map->waiting.lock);
    if (stay->listed) {
        unlist_locked(map->ledger, stay);
        list_locked(map->ledger, stay);
    }
    fm__unlock(&map->waiting.lock);
}

/* ---- places ---- */

static bool take_free_locked(struct fm_map *map)
{
    struct ledger *ledger = map->ledger;
    if (ledger->live >= ledger->max_live || map->waiting.lists[WAIT_PLACE].first)
        return false;
    ledger->live++;
    return true;
}

static void give_place(struct fm_map *map)
{
    struct waitlist *list = &map->waiting.lists[WAIT_PLACE];

    fm__lock(&map->waiting.lock);
    while (list->first) {
        struct wait wait = list->first->wait;
        fm__waitlist_remove_locked(list, list->first);
        fm__unlock(&map->waiting.lock);
        if (fm__wake(wait, WAKE_VALUE))
            return;
        fm__lock(&map->waiting.lock);
    }
    map->ledger->live--;
    fm__unlock(&map->waiting.lock);
}

int fm__limit_take_locked(struct fm_map *map, struct limit_hand *hand, bool displaces)
{
    struct ledger *ledger = map->ledger;

    hand->lacks_start = false;
    if (ledger->max_live && !displaces && !hand->place) {
        fm__lock(&map->waiting.lock);
        hand->place = take_free_locked(map);
        fm__unlock(&map->waiting.lock);
        if (!hand->place)
            return -ERESTART;
    }
    if (ledger->starts && !hand->start) {
        hand->lacks_start = true;
        if (fm_rate_limiter_try_acquire(ledger->starts, 1) < 0)
            return -ERESTART;
        hand->start = true;
    }
    return 0;
}

int fm__limit_take_many_locked(struct fm_map *map, size_t count, size_t *ret_places)
{
    struct ledger *ledger = map->ledger;
    bool taken = true;

    *ret_places = 0;
    if (ledger->max_live) {
        fm__lock(&map->waiting.lock);
        taken = !map->waiting.lists[WAIT_PLACE].first && ledger->live <= ledger->max_live &&
                count <= ledger->max_live - ledger->live;
        if (taken)
            ledger->live += (uint32_t)count;
        fm__unlock(&map->waiting.lock);
    }
    if (!taken)
        return -EAGAIN;
    if (!ledger->starts || fm_rate_limiter_try_acquire(ledger->starts, (int64_t)count) == 0)
        return 0;
    *ret_places = ledger->max_live ? count : 0;
    return -EAGAIN;
}

void fm__limit_give(struct fm_map *map, size_t places)
{
    while (places--)
        give_place(map);
}

void fm__limit_use_locked(struct fm_map *map, struct stay *stay, struct limit_hand *hand,
                          bool displaces)
{
    struct ledger *ledger = map->ledger;

    hand->start = false;
    if (!displaces)
        hand->place = false; /* its own now; else the displaced one's is */
    if (!fm__limit_evicts(ledger))
        return;
    fm__lock(&map->waiting.lock);
    list_locked(ledger, stay);
    fm__unlock(&map->waiting.lock);
}

void fm__limit_count_locked(struct fm_map *map)
{
    if (!map->ledger->max_live)
        return;
    fm__lock(&map->waiting.lock);
    map->ledger->live++;
    fm__unlock(&map->waiting.lock);
}

static int wait_for_place(struct fm_map *map, struct limit_hand *hand, int64_t deadline_ns)
{
    if (map->ledger->on_excess == FM_EXCESS_EVICT_IDLE)
        evict(map);
    fm__lock(&map->waiting.lock);
    if (!fm__map_is_open(map)) {
        fm__unlock(&map->waiting.lock);
        return -ESHUTDOWN;
    }
    if (take_free_locked(map)) {
        fm__unlock(&map->waiting.lock);
    } else {
        int r = fm__waiting_wait(&map->waiting, WAIT_PLACE, deadline_ns, "map_run");
        if (r < 0)
            return r;
        if (!fm__map_is_open(map))
            return -ESHUTDOWN; /* woken for that, or so late that nobody asks for the place */
    }
    hand->place = true;
    return 0;
}

int fm__limit_wait(struct fm_map *map, struct limit_hand *hand, int64_t deadline_ns)
{
    struct ledger *ledger = map->ledger;

    if (ledger->on_excess == FM_EXCESS_FAIL)
        return -EAGAIN;
    if (!hand->lacks_start)
        return wait_for_place(map, hand, deadline_ns);
    int r = fm_rate_limiter_acquire(ledger->starts, 1, deadline_ns);
    hand->start = r == 0;
    return r;
}

void fm__limit_put_back(struct fm_map *map, struct limit_hand *hand)
{
    if (hand->place)
        give_place(map);
}

void fm__limit_left(struct fm_map *map, struct stay *stay, bool held_place)
{
    struct ledger *ledger = map->ledger;

    if (!ledger->max_live)
        return;
    if (stay && ledger->on_excess == FM_EXCESS_EVICT_IDLE) {
        fm__lock(&map->waiting.lock);
        unlist_locked(ledger, stay);
        fm__unlock(&map->waiting.lock);
    }
    if (held_place)
        give_place(map);
}

void fm__limit_shut(struct fm_map *map)
{
    if (!map->ledger || !map->ledger->max_live)
        return;
    fm__lock(&map->waiting.lock);
    fm__waiting_wake_and_unlock(&map->waiting, 1u << WAIT_PLACE);
}
