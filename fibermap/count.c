/*
 * count.c - counting members without a shared line, and waiting for none
 *
 * Each stripe counts its own. Who waits for emptiness sets WATCHED on all of them; from then on
 * a stripe that becomes empty or stops being so does it under the wait lock, where the stripes
 * that are not empty are counted. So while anybody waits that number is exact, and the wake is
 * decided at the very instant it falls to 0, whatever runs next.
 *
 *   exit, run                                       the first who waits
 *     read the count                                  take the wait lock
 *     WATCHED and to or from 0: wait lock, swap,      set WATCHED on each stripe (J),
 *       count the stripe in or out                      counting those not empty
 *     else: swap (I), which fails if the word is      none: done; else wait
 *       another by now, WATCHED for instance
 *
 * I and J meet on one word, so either J reads the count that I left or I fails and sees
 * WATCHED. A stripe that has been marked cannot change sides before the lock is free: when the
 * last is marked, the number is that of one instant.
 *
 * The count is where the map's memory is given up: an exit's last access is I (release, for the
 * destroyer that reads the count with acquire), or the unlock of the wait lock, which the
 * destroyer takes after it. Who reads it with acquire finds that whoever it does not count has
 * left his entry (map_end.c).
 */
#include <errno.h>

#include "fibermap/count.h"
#include "fibermap/map.h"
#include "runtime/platform/check.h"

void fm__waiting_init(struct waiting *w)
{
    memset(w, 0, sizeof *w);
    fm__lock_init(&w->lock, LOCK_MAP_WAIT);
}

/* ---- lists ---- */

void fm__waiting_wake_and_unlock(struct waiting *w, unsigned kinds)
{
    FM_ASSERT(fm__lock_held(&w->lock));
    FM_ASSERT(kinds);
    enum { BATCH = 16 };
    struct wait batch[BATCH];
    int64_t until = w->epoch++;

    /*
     * While there is one more to wake after a batch, its call is under way and so the map is
     * still there.
     */
    for (;;) {
        unsigned n = 0;
        bool more = false;
        for (int kind = 0; kind < WAIT_KINDS; kind++) {
            struct waitlist *list = &w->lists[kind];
            if (!(kinds & 1u << kind))
                continue;
            while (list->first && list->first->amount <= until && n < BATCH) {
                batch[n++] = list->first->wait;
                fm__waitlist_remove_locked(list, list->first);
            }
            more |= list->first && list->first->amount <= until;
        }
        fm__unlock(&w->lock);
        for (unsigned i = 0; i < n; i++)
            fm__wake(batch[i], WAKE_VALUE);
        if (!more)
            return;
        fm__lock(&w->lock);
    }
}

int fm__waiting_wait_as(struct waiting *w, enum wait_kind kind, struct wait_node *node,
                        int64_t deadline_ns, const char *what)
{
    FM_ASSERT(kind < WAIT_KINDS && fm__lock_held(&w->lock));
    node->amount = w->epoch;
    if (deadline_ns > 0 && !fm__wait_prepared()) {
        fm__unlock(&w->lock);
        return -ENOMEM;
    }
    return fm__waitlist_wait(&w->lists[kind], &w->lock, node, deadline_ns, 0, what);
}

int fm__waiting_wait(struct waiting *w, enum wait_kind kind, int64_t deadline_ns,
                     const char *what)
{
    struct wait_node node = { 0 };
    return fm__waiting_wait_as(w, kind, &node, deadline_ns, what);
}

/* ---- counting ---- */

static inline bool crosses(uint64_t a, uint64_t b)
{
    return !(a & COUNT_LIVE_MASK) != !(b & COUNT_LIVE_MASK) ||
           !(a & COUNT_MEMBER_MASK) != !(b & COUNT_MEMBER_MASK);
}

static __attribute__((noinline, cold)) void add_watched(struct stripe *s, uint64_t delta)
{
    struct waiting *w = &s->map->waiting;
    unsigned kinds = 0;

    fm__lock(&w->lock);
    uint64_t old = atomic_load_explicit(&s->count, memory_order_relaxed);
    /*
     * acq_rel: as (I), and acquire of what the exits before us left; the destroyer gets it from
     * us by the lock
     */
    while (!atomic_compare_exchange_weak_explicit(&s->count, &old, old + delta,
                                                  memory_order_acq_rel, memory_order_relaxed))
        ;
    uint64_t new = old + delta;
    if (new &COUNT_WATCHED) { /* else the last who waited has gone meanwhile */
        int live = !!fm__count_live(new) - !!fm__count_live(old);
        int members = !!fm__count_members(new) - !!fm__count_members(old);
        w->stripes_live += (uint32_t)live;
        w->stripes_with_members += (uint32_t)members;
        FM_ASSERT(w->stripes_live <= s->map->stripe_mask + 1);
        FM_ASSERT(w->stripes_with_members <= s->map->stripe_mask + 1);
        if (live < 0 && w->stripes_live == 0)
            kinds |= 1u << WAIT_EMPTY | 1u << WAIT_NEXT;
        if (members < 0 && w->stripes_with_members == 0)
            kinds |= 1u << WAIT_QUIESCENT;
    }
    if (kinds)
        fm__waiting_wake_and_unlock(w, kinds);
    else
        fm__unlock(&w->lock);
}

void fm__count_add(struct stripe *s, uint64_t delta)
{
    FM_ASSERT(delta);
    uint64_t old = atomic_load_explicit(&s->count, memory_order_relaxed);
    for (;;) {
        if (__builtin_expect((old & COUNT_WATCHED) && crosses(old, old + delta), 0)) {
            add_watched(s, delta);
            return;
        }
        /* acq_rel (I): release is the leave from the map's memory */
        if (atomic_compare_exchange_weak_explicit(&s->count, &old, old + delta,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return;
    }
}

/* ---- waiting ---- */

static void watch_locked(struct fm_map *map)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    struct waiting *w = &map->waiting;
    if (w->watchers++)
        return;
    w->stripes_live = w->stripes_with_members = 0;
    fm__map_each_stripe(map, s) {
        /* acq_rel (J): acquire of the exits that have left */
        uint64_t count = atomic_fetch_or_explicit(&s->count, COUNT_WATCHED,
                                                  memory_order_acq_rel);
        w->stripes_live += fm__count_live(count) != 0;
        w->stripes_with_members += fm__count_members(count) != 0;
    }
}

static void unwatch_locked(struct fm_map *map)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock) && map->waiting.watchers);
    if (--map->waiting.watchers)
        return;
    fm__map_each_stripe(map, s)
        /* relaxed: an add that still sees the bit takes the lock for nothing */
        atomic_fetch_and_explicit(&s->count, ~COUNT_WATCHED, memory_order_relaxed);
}

void fm__count_watch(struct fm_map *map)
{
    fm__lock(&map->waiting.lock);
    watch_locked(map);
    fm__unlock(&map->waiting.lock);
}

int fm__count_await(struct fm_map *map, enum wait_kind kind, int64_t deadline_ns,
                    const char *what)
{
    FM_ASSERT(kind == WAIT_EMPTY || kind == WAIT_QUIESCENT);
    struct waiting *w = &map->waiting;
    int r = 0;

    fm__wait_prepare();
    fm__lock(&w->lock);
    watch_locked(map);
    if ((kind == WAIT_EMPTY ? w->stripes_live : w->stripes_with_members) != 0) {
        r = fm__waiting_wait(w, kind, deadline_ns, what);
        fm__lock(&w->lock);
    }
    unwatch_locked(map);
    fm__unlock(&w->lock);
    return r;
}
