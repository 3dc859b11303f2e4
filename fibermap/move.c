/*
 * move.c - a fiber goes from one key to another
 *
 * The registration goes on under an entry of the other key. The one with which it began is its
 * home: the fiber's exit has it in hand, perhaps already, so it stays the fiber's until that
 * has come, and names the entry where the fiber stands now. Those in between are given back at
 * once.
 *
 *   move                                        the exit
 *     lock both stripes, by address               its home: LIVE to DEAD: it has left
 *     lock the wait lock                            HELD, MOVED: lock the wait lock
 *       from: LIVE to HELD; fails: it has ended       where home says that it stands:
 *       to: COMING, in its chain; its gate is            LIVE to DEAD, or as it finds it
 *         `from`                                      unlock
 *       home names `to`                           bury home, too
 *       moves += 1
 *       from: MOVED           <- the instant    a lookup
 *       to: LIVE                                  of `from`: MOVED is absent
 *     unlock                                      of `to`: COMING is present if its gate, which
 *     `from` out of its chain, and so on            is `from`, is MOVED: entry.h
 *     unlock both
 *
 * One store is the instant for both keys, so a lookup never finds the fiber under both, and of
 * a fiber that stays never under none. The exit and the move meet on the state of one entry, or
 * under the wait lock; what the exit has read is either LIVE and its own, or tells it to ask.
 * Home is used again after the exit alone: an exit cannot take another stay for its own.
 *
 * Who looks at all stripes one after the other, and must miss nobody, holds moves off (hold,
 * go); who must not make others wait looks again when `moves` has changed. It is raised between
 * COMING and MOVED: who read it before and finds MOVED sees it raised, who read it raised sees
 * COMING.
 *
 * Order       (P) home names the entry      release   with fm__entry_now: its key and its home
 */
#include <errno.h>

#include "fibermap/conflict.h"
#include "fibermap/idle.h"
#include "fibermap/ledger.h"
#include "fibermap/member.h"
#include "fm/map_many.h"
#include "runtime/fiber/slab.h"
#include "runtime/platform/spin.h"

/* ---- for others ---- */

void fm__moves_hold(struct fm_map *map)
{
    fm__lock(&map->waiting.lock);
    map->moves_held++;
    fm__unlock(&map->waiting.lock);
}

void fm__moves_go(struct fm_map *map)
{
    fm__lock(&map->waiting.lock);
    FM_ASSERT(map->moves_held);
    map->moves_held--;
    fm__unlock(&map->waiting.lock);
}

struct entry *fm__home_lock(struct fm_map *map, struct entry *home, struct stripe **ret_stripe)
{
    FM_ASSERT(home && ret_stripe);
    for (;;) {
        struct entry *entry = fm__entry_now(home);
        struct stripe *stripe = fm__entry_stripe(map, entry);
        fm__lock(&stripe->lock);
        if (fm__entry_now(home) == entry) {
            *ret_stripe = stripe;
            return entry;
        }
        fm__unlock(&stripe->lock);
    }
}

/* ---- the move ---- */

struct move {
    struct fm_map *map;
    struct map_key from_key, to_key;
    struct stripe *from_stripe, *to_stripe;
    struct entry *from, *to;
    struct entry *home;
    struct stay *stay; /* for what comes, then the one that is over; in a map with a ledger */
    struct wait next;  /* the first of those who queue for the key that is free now */
    int64_t due_ns;    /* of one with a ttl */
    bool counted;      /* in to_stripe */
};

static void lock_both(struct move *m)
{
    FM_ASSERT(m->from_stripe && m->to_stripe);
    struct stripe *a = m->from_stripe, *b = m->to_stripe;
    fm__lock(a < b ? &a->lock : &b->lock);
    if (a != b)
        fm__lock(a < b ? &b->lock : &a->lock);
}

static void unlock_both(struct move *m)
{
    FM_ASSERT(fm__lock_held(&m->from_stripe->lock) && fm__lock_held(&m->to_stripe->lock));
    struct stripe *a = m->from_stripe, *b = m->to_stripe;
    if (a != b)
        fm__unlock(a < b ? &b->lock : &a->lock);
    fm__unlock(a < b ? &a->lock : &b->lock);
}

/* 0 · -ESHUTDOWN · -ENOENT · -EEXIST · -EBUSY */
static int may_move_locked(struct move *m)
{
    FM_ASSERT(fm__lock_held(&m->from_stripe->lock) && fm__lock_held(&m->to_stripe->lock));
    struct place from = fm__stripe_find_locked(m->from_stripe, &m->from_key);
    struct place to = fm__stripe_find_locked(m->to_stripe, &m->to_key);

    m->from = from.entry;
    if (!fm__map_is_open(m->map))
        return -ESHUTDOWN;
    if (!from.entry || !fm__entry_present(fm__entry_read(from.entry)))
        return -ENOENT;
    if (fm__holder_locked(m->to_stripe, &m->to_key, to))
        return -EEXIST;
    return fm__turn_awaits_locked(m->from_stripe, &m->from_key, m->from) ? -EBUSY : 0;
}

/* The instant. 0 · -ENOENT it has ended · -EAGAIN nothing moves just now */
static int step_over_locked(struct move *m)
{
    FM_ASSERT(m->from && m->to && m->from != m->to);
    struct fm_map *map = m->map;
    struct entry *from = m->from, *to = m->to;

    fm__lock(&map->waiting.lock);
    int r = map->moves_held ? -EAGAIN : fm__entry_hold(from) ? 0 : -ENOENT;
    if (r < 0) {
        fm__unlock(&map->waiting.lock);
        return r;
    }
    uint64_t id = fm__entry_present(fm__entry_read(from));
    m->home = fm__entry_home_locked(from);
    FM_ASSERT(m->home && m->home != to);
    to->shared = from->shared | SHARED_MOVED;
    to->link = m->home;
    fm__entry_come(to, id, from);
    fm__stripe_install_locked(m->to_stripe, fm__stripe_find_locked(m->to_stripe, &m->to_key),
                              to);
    /* release (P) */
    atomic_store_explicit(&m->home->successor, to, memory_order_release);
    /* relaxed: read under this lock; release: COMING, to who looks at all */
    atomic_store_explicit(&map->moves,
                          atomic_load_explicit(&map->moves, memory_order_relaxed) + 1,
                          memory_order_release);
    fm__entry_open(from, id);
    fm__entry_arrive(to, id);
    fm__unlock(&map->waiting.lock);
    return 0;
}

/* Its exit needs a lock that we hold: the fiber is there. */
static void move_stay_locked(struct move *m)
{
    FM_ASSERT(m->stay && !m->stay->end.fiber);
    uint64_t id = fm__entry_present(fm__entry_read(m->to));
    struct fm_fiber *fiber = fm__slab_at((uint32_t)(id & FIBER_ID_SLOT));
    struct stay **place = m->to->shared & SHARED_SET ? &((struct set_node *)m->home->link)->stay
                                                     : (struct stay **)&fiber->owner.words[2];
    struct stay *old = *place;
    FM_ASSERT(old && old->end.fiber == fiber);

    m->stay->end.fiber = fm_fiber_ref(fiber);
    fm__evict_move_locked(m->map, old, m->stay);
    *place = m->stay;
    m->stay = old;
}

static int move_locked(struct move *m)
{
    FM_ASSERT(!m->counted && m->to);
    int r = may_move_locked(m);
    if (r < 0)
        return r;
    fm__count_add(m->to_stripe, COUNT_MEMBER_ONE + COUNT_LIVE_ONE);
    m->counted = true;
    r = step_over_locked(m);
    if (r < 0)
        return r;
    fm__stripe_unlink_locked(m->from_stripe,
                             fm__stripe_find_locked(m->from_stripe, &m->from_key));
    fm__stripe_leave_locked(m->from_stripe);
    m->due_ns = fm__idle_move_locked(m->from_stripe, m->from, m->to_stripe, m->to);
    if (m->stay)
        move_stay_locked(m);
    m->next = fm__turn_next_locked(m->from_stripe, &m->from_key);
    return 0;
}

static void moved(struct move *m)
{
    FM_ASSERT(m->home && m->to);
    FM_ASSERT(!m->stay || m->stay->end.fiber);
    if (m->from != m->home)
        fm__stripe_bury(m->from_stripe, m->from);
    if (m->next.who)
        fm__wake(m->next, WAKE_CLOSED);
    fm__stay_unref(m->stay);
    fm__idle_told(m->map, m->due_ns);
    fm__count_subtract(m->from_stripe, COUNT_MEMBER_ONE + COUNT_LIVE_ONE);
}

static int move(struct move *m)
{
    FM_ASSERT(m->to && m->from_stripe && m->to_stripe);
    int r;
    for (unsigned spins = 0;; spins++) {
        lock_both(m);
        r = move_locked(m);
        unlock_both(m);
        if (r == 0)
            break;
        if (m->counted)
            fm__count_subtract(m->to_stripe, COUNT_MEMBER_ONE + COUNT_LIVE_ONE);
        m->counted = false;
        if (r != -EAGAIN)
            break;
        fm__spin(spins);
    }
    if (r == 0) {
        moved(m);
        return 0;
    }
    fm__stripe_bury(m->to_stripe, m->to);
    fm__stay_unref(m->stay);
    return r;
}

int fm_map_move(struct fm_map *map, struct fm_key from, struct fm_key to)
{
    struct move m = { .map = map };

    if (!map || !fm__key_read(&m.from_key, &map->seed, from) ||
        !fm__key_read(&m.to_key, &map->seed, to))
        return -EINVAL;
    if (!fm__map_is_open(map))
        return -ESHUTDOWN;
    m.from_stripe = fm__map_stripe(map, &m.from_key);
    m.to_stripe = fm__map_stripe(map, &m.to_key);
    if (!fm__stripe_find(m.from_stripe, &m.from_key))
        return -ENOENT;
    if (m.from_key.head == m.to_key.head &&
        memcmp(m.from_key.data, m.to_key.data, m.to_key.len) == 0)
        return 0;
    if (fm__map_find(m.to_stripe, &m.to_key))
        return -EEXIST;
    if (map->ledger && !(m.stay = fm__stay_make(&m.to_key)))
        return -ENOMEM;
    int r = fm__stripe_reserve(m.to_stripe, &m.to_key, 0, &m.to);
    if (r < 0) {
        fm__stay_unref(m.stay);
        return r;
    }
    return move(&m);
}
