/*
 * limit.c - how many may be present, and how many may start in an interval
 *
 * A place    is held by each present entry of a limited map. A run that displaces somebody
 *            takes over his; any other takes one, under the stripe lock, in the hold in which
 *            it is put in. The exit gives the place back if it was present, which is if nobody
 *            had taken it over; so does a detach.
 * A start    is one of a window, which begins with the first start after the last one's end. It
 *            is held by a run until that puts somebody in: a held one counts in whatever window
 *            is under way by then, so there are never more in one than there may be, and who
 *            gives up has used none.
 *
 *   run                                       exit
 *     under the stripe lock: all it needs,      was it present: hand the place to the first
 *       or nothing                                who waits; he has left: to the next; nobody:
 *     nothing: unlock, wait, with what            one place more is free
 *       is there in hand; again
 *
 * A place is handed to a waiter by the one wake that ends his wait. If that wake loses, to an
 * interruption or a deadline, the place goes on to the next: none is lost. A newcomer takes
 * nothing while somebody waits. Of those who wait for a start one is first in line, and has a
 * timer for the window's end; the line is handed on like a place.
 *
 * Who needs several places, for runs that start together, gathers them at the head of the line,
 * and is woken with the last: nobody else holds some of what he wants and waits for more. Their
 * starts are had at once, or not yet.
 *
 * Who waits for a place does not hold a start, which others can use meanwhile, and which those
 * may want who hold the place; unless somebody is evicted for it (evict.c): then all have their
 * starts before their places.
 *
 * All this is under the wait lock, inside the stripe lock.
 */
#include <errno.h>

#include "fibermap/ledger.h"
#include "runtime/fiber/runtime.h"
#include "runtime/platform/clock.h"

void fm__limit_make(struct fm_map *map, const struct fm_map_config *config)
{
    FM_ASSERT(map->ledger);
    struct ledger *ledger = map->ledger;

    ledger->max_live = config->max_live;
    ledger->max_starts = config->max_starts;
    ledger->interval_ns = config->interval_ns;
    ledger->on_excess = config->on_excess;
    atomic_init(&map->notes_use, fm__limit_evicts(ledger));
}

/* ---- places; the wait lock is held ---- */

/* Give it to the first who waits, letting go of the lock meanwhile. False: nobody waits. */
static bool hand_over_locked(struct fm_map *map, enum wait_kind kind)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    FM_ASSERT(kind == WAIT_PLACE || kind == WAIT_START);
    struct waitlist *list = &map->waiting.lists[kind];
    bool won = false;

    while (!won && list->first) {
        struct limit_hand *hand = list->first->item; /* of who waits for places; else NULL */
        struct wait wait = list->first->wait;
        map->ledger->wanting -= kind == WAIT_PLACE;
        if (hand && hand->places + 1 < hand->runs) {
            hand->places++;
            return true;
        }
        fm__waitlist_remove_locked(list, list->first);
        fm__unlock(&map->waiting.lock);
        won = fm__wake(wait, WAKE_VALUE);
        fm__lock(&map->waiting.lock);
        map->ledger->wanting += kind == WAIT_PLACE && !won; /* he does not want it himself */
    }
    return won;
}

static void give_place_locked(struct fm_map *map)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    FM_ASSERT(map->ledger->live);
    FM_ASSERT(map->ledger->max_live);
    /* by sets there may be more than max_live */
    if (map->ledger->live > map->ledger->max_live || !hand_over_locked(map, WAIT_PLACE))
        map->ledger->live--;
}

static uint32_t free_places_locked(struct fm_map *map)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    bool waits = map->waiting.lists[WAIT_PLACE].first != NULL;
    return waits ? 0 : (uint32_t)fm__limit_spare(map->ledger);
}

/* How many more it needs. */
static uint32_t missing_places(const struct limit_hand *hand)
{
    FM_ASSERT(hand->places <= hand->runs);
    return hand->runs - hand->places;
}

/* As many of them as are free. */
static void take_places_locked(struct fm_map *map, struct limit_hand *hand)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    uint32_t missing = missing_places(hand), free = free_places_locked(map);
    uint32_t taken = missing < free ? missing : free;
    hand->places += taken;
    map->ledger->live += taken;
    FM_ASSERT(map->ledger->live <= map->ledger->max_live || !taken);
    map->ledger->wanting -= (int32_t)taken;
}

/*
 * It wants them, and whoever has to go for those that are not free is told to, with the lock
 * free meanwhile; so again where others have come first.
 */
static void want_places_locked(struct fm_map *map, const struct limit_hand *hand)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    uint32_t missing = missing_places(hand);

    map->ledger->wanting += (int32_t)missing;
    for (uint32_t told = 0; free_places_locked(map) < missing - told;) {
        told = missing - free_places_locked(map);
        fm__unlock(&map->waiting.lock);
        fm__evict_settle(map);
        fm__lock(&map->waiting.lock);
    }
}

static int wait_for_places(struct fm_map *map, struct limit_hand *hand, int64_t deadline_ns)
{
    FM_ASSERT(hand->runs);
    struct wait_node node = { .item = hand };
    int r = 0;

    fm__wait_prepare();
    fm__lock(&map->waiting.lock);
    want_places_locked(map, hand);
    /* Who has some of them from here on is in the line in the same hold, and first. */
    take_places_locked(map, hand);
    if (missing_places(hand) && fm__map_is_open(map)) {
        r = fm__waiting_wait_as(&map->waiting, WAIT_PLACE, &node, deadline_ns, "map_run");
        fm__lock(&map->waiting.lock);
        if (r == 0)
            hand->places = hand->runs; /* the last one came with the wake */
    }
    map->ledger->wanting -= (int32_t)missing_places(hand);
    fm__unlock(&map->waiting.lock);
    if (r == 0 && !fm__map_is_open(map)) {
        hand->places = 0; /* woken for that, or so late that nobody asks for places any more */
        r = -ESHUTDOWN;
    }
    return r;
}

/* ---- starts; the wait lock is held ---- */

static void settle_window_locked(struct ledger *ledger, int64_t now_ns)
{
    FM_ASSERT(ledger->interval_ns > 0);
    if (ledger->taken && now_ns >= fm__time_add(ledger->begin_ns, ledger->interval_ns))
        ledger->taken = 0;
}

static bool starts_are_free_locked(struct fm_map *map, uint32_t count)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    struct ledger *ledger = map->ledger;
    settle_window_locked(ledger, fm__runtime_now_ns(map->runtime));
    FM_ASSERT(ledger->taken + ledger->held <= ledger->max_starts);
    return count <= ledger->max_starts - ledger->taken - ledger->held;
}

/* The caller holds one, and puts somebody in. Whether a window begins. */
static bool use_start_locked(struct fm_map *map)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    FM_ASSERT(map->ledger->held);
    FM_ASSERT(map->ledger->max_starts);
    struct ledger *ledger = map->ledger;
    int64_t now_ns = fm__runtime_now_ns(map->runtime);

    settle_window_locked(ledger, now_ns);
    if (!ledger->taken)
        ledger->begin_ns = now_ns;
    ledger->held--;
    return ledger->taken++ == 0;
}

/* The first in line, until something may be free: 0 · -ECANCELED · -ETIMEDOUT · -ENOMEM */
static int await_window_locked(struct fm_map *map, int64_t deadline_ns)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    FM_ASSERT(map->ledger->line);
    struct ledger *ledger = map->ledger;
    struct waitlist *list = &map->waiting.lists[WAIT_WINDOW];
    struct wait_node node = { .amount = map->waiting.epoch };
    int64_t ready_ns = ledger->taken ? fm__time_add(ledger->begin_ns, ledger->interval_ns)
                                     : FM_NEVER;

    int r = fm__wait_prepared() ? fm__wait_begin(&node.wait, 0, "map_run") : -ENOMEM;
    if (r < 0)
        return r;
    fm__waitlist_push_locked(list, &node);
    fm__unlock(&map->waiting.lock);
    r = fm__wake_result(fm__wait_end_at(node.wait, deadline_ns, map->runtime, ready_ns));
    fm__lock(&map->waiting.lock);
    if (node.listed)
        fm__waitlist_remove_locked(list, &node);
    return r == -ETIMEDOUT && fm_now_ns() < deadline_ns ? 0 : r;
}

static int wait_for_starts(struct fm_map *map, struct limit_hand *hand, int64_t deadline_ns)
{
    FM_ASSERT(map->ledger->max_starts);
    struct ledger *ledger = map->ledger;
    struct fm_fiber *self = fm__fiber_self();
    bool first = false;
    int r = 0;

    if (self && self->runtime != map->runtime &&
        (self->runtime->virtual_clock || map->runtime->virtual_clock))
        return -EINVAL; /* two clocks */
    fm__wait_prepare();
    fm__lock(&map->waiting.lock);
    while (r == 0 && !hand->starts) {
        if (!fm__map_is_open(map)) {
            r = -ESHUTDOWN;
        } else if (ledger->line && !first) {
            r = fm__waiting_wait(&map->waiting, WAIT_START, deadline_ns, "map_run");
            first = r == 0;
            fm__lock(&map->waiting.lock);
        } else if (starts_are_free_locked(map, hand->runs)) {
            ledger->held += hand->runs;
            hand->starts = hand->runs;
        } else {
            first = ledger->line = true;
            r = await_window_locked(map, deadline_ns);
        }
    }
    if (first && !hand_over_locked(map, WAIT_START))
        ledger->line = false;
    fm__unlock(&map->waiting.lock);
    return r;
}

static void put_starts_back(struct fm_map *map, struct limit_hand *hand)
{
    if (!hand->starts)
        return;
    fm__lock(&map->waiting.lock);
    FM_ASSERT(map->ledger->held >= hand->starts);
    map->ledger->held -= hand->starts;
    hand->starts = 0;
    fm__waiting_wake_and_unlock(&map->waiting, 1u << WAIT_WINDOW);
}

/* ---- what a run does ---- */

int fm__limit_take_locked(struct fm_map *map, struct limit_hand *hand, bool displaces)
{
    FM_ASSERT(hand->runs && hand->starts <= hand->runs);
    FM_ASSERT(hand->places <= hand->runs);
    struct ledger *ledger = map->ledger;
    uint32_t places = ledger->max_live && !displaces ? missing_places(hand) : 0;
    uint32_t starts = ledger->max_starts ? hand->runs - hand->starts : 0;

    if (!places && !starts)
        return 0;
    fm__lock(&map->waiting.lock);
    hand->lacks_place = places && free_places_locked(map) < places;
    bool lacks_start = starts && (ledger->line || !starts_are_free_locked(map, starts));
    bool lacks = hand->lacks_place || lacks_start;
    if (!lacks) {
        ledger->live += places;
        ledger->held += starts;
        hand->places += places;
        hand->starts += starts;
    }
    fm__unlock(&map->waiting.lock);
    return lacks ? -ERESTART : 0;
}

int fm__limit_wait(struct fm_map *map, struct limit_hand *hand, int64_t deadline_ns)
{
    FM_ASSERT(hand->runs);
    struct ledger *ledger = map->ledger;
    bool evicts = fm__limit_evicts(ledger);
    int r = 0;

    if (ledger->on_excess == FM_EXCESS_FAIL ||
        (ledger->max_live && hand->runs > ledger->max_live) ||
        (ledger->max_starts && hand->runs > ledger->max_starts))
        return -EAGAIN;
    if (hand->lacks_place && !evicts) {
        put_starts_back(map, hand);
        return wait_for_places(map, hand, deadline_ns);
    }
    if (ledger->max_starts && !hand->starts)
        r = wait_for_starts(map, hand, deadline_ns);
    return r == 0 && hand->lacks_place ? wait_for_places(map, hand, deadline_ns) : r;
}

void fm__limit_use_locked(struct fm_map *map, struct stay *stay, struct limit_hand *hand,
                          bool displaces, bool queues)
{
    FM_ASSERT(stay);
    FM_ASSERT(hand->runs);
    struct ledger *ledger = map->ledger;
    bool lists = fm__limit_evicts(ledger) && !queues; /* who queues is listed in his turn */

    if (!displaces && hand->places)
        hand->places--; /* its own now; else the displaced one's is */
    if (!hand->starts && !lists)
        return;
    fm__lock(&map->waiting.lock);
    if (hand->starts) {
        hand->begins_window |= use_start_locked(map);
        hand->starts--;
    }
    if (lists)
        fm__evict_list_locked(ledger, stay);
    fm__unlock(&map->waiting.lock);
}

void fm__limit_put_back(struct fm_map *map, struct limit_hand *hand)
{
    if (hand->places || hand->starts || hand->begins_window) {
        fm__lock(&map->waiting.lock);
        FM_ASSERT(map->ledger->held >= hand->starts);
        for (; hand->places; hand->places--)
            give_place_locked(map);
        map->ledger->held -= hand->starts;
        /* The first in line looks again: one start more, or a time to wait for. */
        fm__waiting_wake_and_unlock(&map->waiting, 1u << WAIT_WINDOW);
    }
    fm__evict_settle(map);
}

/* ---- what others do ---- */

void fm__limit_count_locked(struct fm_map *map)
{
    FM_ASSERT(map->ledger);
    if (!map->ledger->max_live)
        return;
    fm__lock(&map->waiting.lock);
    map->ledger->live++;
    fm__unlock(&map->waiting.lock);
}

void fm__limit_left(struct fm_map *map, struct stay *stay, bool held_place)
{
    FM_ASSERT(map->ledger);
    if (!map->ledger->max_live)
        return;
    fm__lock(&map->waiting.lock);
    if (stay)
        fm__evict_forget_locked(map->ledger, stay);
    if (held_place)
        give_place_locked(map);
    fm__unlock(&map->waiting.lock);
    fm__evict_settle(map);
}

void fm__limit_shut(struct fm_map *map)
{
    const unsigned kinds = 1u << WAIT_PLACE | 1u << WAIT_START | 1u << WAIT_WINDOW;
    if (!map->ledger || !(map->ledger->max_live || map->ledger->max_starts))
        return;
    fm__lock(&map->waiting.lock);
    fm__waiting_wake_and_unlock(&map->waiting, kinds);
}
