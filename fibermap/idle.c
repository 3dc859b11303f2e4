/*
 * idle.c - fibers that end when nobody has used them for a while
 *
 * A registration with a ttl has an idler, and each stripe a heap of its idlers by when they are
 * due. A use writes down the time and leaves the heap alone: one that is due and has been used
 * since is due again later. Who looks is the map's reaper, a fiber that is there as long as any
 * idler is, sleeps until the first is due, and interrupts those whose time is over.
 *
 *     attached ---- begin ----> in the heap ---- due, not used since ----> expired: interrupted
 *         |                      |  ^    |                                     |
 *         |                      |  '----'  due, used since                    |
 *         '----------------------+--- displaced, exit, detach: out ------------'
 *
 * An idler is one registration's: a replacement has its own, so that nobody ends for the time
 * of somebody who was under the key before. Expiry, use, displacement and detach of an entry
 * are under its stripe's lock: of a use and an expiry one is the first. If it is the expiry,
 * the entry is marked as given up (share.h): a touch finds nobody, FM_JOIN starts a fresh one.
 *
 *   begin                                     reaper
 *     stripe lock: into the heap                wakes = never
 *     due earlier than wakes:                   each stripe, under its lock: expire
 *       wait lock: told = true, take the wait   wakes = the earliest of them
 *       wake it                                 wait lock: told: all again; else leave the wait
 *                                               sleep until then
 *
 * Who comes into a stripe after the reaper has been there reads `wakes` after it was set to
 * never: he tells, unless the reaper will look early enough by itself.
 *
 * Owns        idlers, from make to drop; the reaper.
 * Invariant   count idlers: the reaper runs, or could not be made (it ended without a first
 *             step, for lack of a stack): the next one made makes it anew.
 *             The reaper has a reference of the map's: a run that is refused may have made it
 *             after the map was destroyed, where others still hold the map (fm_map_child).
 * Locks       the stripe's: heaps, idlers. The wait lock: count and what the reaper sleeps by.
 */
#include "fibermap/idle.h"

#include <errno.h>
#include <stdlib.h>

#include "fibermap/conflict.h"
#include "fibermap/due.h"
#include "fibermap/ledger.h"
#include "fibermap/member.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"

/* ---- the reaper ---- */

enum { BATCH = 32 };

/* One that is due. The id of whom to interrupt, or 0. */
static uint64_t expire_locked(struct stripe *stripe, struct idler *idler, int64_t now_ns)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    FM_ASSERT(idler->rank && idler->entry->idles && idler->entry->idler == idler);
    struct entry *entry = idler->entry;
    uint64_t id = fm__entry_present(fm__entry_read(entry));

    fm__due_take(&stripe->idlers, idler);
    if (!id)
        return 0; /* it ends */
    if (entry->shared & SHARED_WAITERS)
        idler->used_ns = now_ns;
    int64_t due_ns = fm__time_add(idler->used_ns, idler->ttl_ns);
    FM_ASSERT(idler->ttl_ns > 0);
    if (due_ns > now_ns) {
        fm__due_put(&stripe->idlers, idler, due_ns);
        return 0;
    }
    entry->shared |= SHARED_EXPIRED;
    return id;
}

/* Whoever is due; returns when the next one is. */
static int64_t reap_stripe(struct fm_map *map, struct stripe *stripe)
{
    uint64_t ids[BATCH];

    for (;;) {
        unsigned count = 0;
        int64_t next_ns = FM_NEVER, now_ns = fm__runtime_now_ns(map->runtime);

        fm__lock(&stripe->lock);
        for (unsigned i = 0; i < BATCH && stripe->idlers; i++) {
            next_ns = stripe->idlers->due_ns;
            if (next_ns > now_ns)
                break;
            uint64_t id = expire_locked(stripe, stripe->idlers, now_ns);
            FM_ASSERT(count < BATCH);
            next_ns = stripe->idlers ? stripe->idlers->due_ns : FM_NEVER;
            if (id)
                ids[count++] = id;
        }
        fm__unlock(&stripe->lock);
        for (unsigned i = 0; i < count; i++)
            fm__member_signal(ids[i], FM_BY_IDLE);
        if (next_ns > now_ns)
            return next_ns;
    }
}

static int64_t reap_all(struct fm_map *map)
{
    struct map_idle *idle = &map->idle;
    int64_t first_ns = FM_NEVER;

    /* relaxed: the stripe locks order it, see above */
    atomic_store_explicit(&idle->wakes_ns, FM_NEVER, memory_order_relaxed);
    fm__map_each_stripe(map, s) {
        int64_t next_ns = reap_stripe(map, s);
        first_ns = next_ns < first_ns ? next_ns : first_ns;
    }
    /* relaxed: who reads the old value tells for nothing */
    atomic_store_explicit(&idle->wakes_ns, first_ns, memory_order_relaxed);
    return first_ns;
}

/* The wait lock is held; the last access to the map. */
static void reaper_ends_and_unlock(struct fm_map *map)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    FM_ASSERT(map->idle.running && !map->idle.reaper.who);
    map->idle.running = false;
    fm__waiting_wake_and_unlock(&map->waiting, 1u << WAIT_REAPER);
    fm__map_unref(map);
}

static struct fm_exit reap(void *arg)
{
    struct fm_map *map = arg;
    struct map_idle *idle = &map->idle;

    for (;;) {
        int64_t until_ns = reap_all(map);
        struct wait wait = { NULL, 0 };
        int r = fm__wait_begin(&wait, 0, "map_idle"); /* fails when the runtime shuts down */
        fm__lock(&map->waiting.lock);
        bool told = idle->told;
        idle->told = false;
        if (r < 0 || !idle->count) {
            if (wait.who)
                fm__wait_abort(wait);
            reaper_ends_and_unlock(map);
            return r < 0 ? fm_fail(r) : fm_ok(NULL);
        }
        idle->reaper = told ? (struct wait) { NULL, 0 } : wait;
        fm__unlock(&map->waiting.lock);
        if (told) {
            fm__wait_abort(wait);
            continue;
        }
        fm__wait_end(wait, until_ns);
        fm__lock(&map->waiting.lock);
        idle->reaper.who = NULL;
        fm__unlock(&map->waiting.lock);
    }
}

/* It ended without its first step. */
static void reaper_lost(void *arg)
{
    FM_ASSERT(arg);
    struct fm_map *map = arg;
    fm__lock(&map->waiting.lock);
    reaper_ends_and_unlock(map);
}

static void wake_reaper(struct fm_map *map)
{
    fm__lock(&map->waiting.lock);
    struct wait wait = map->idle.reaper;
    map->idle.reaper.who = NULL;
    map->idle.told = true;
    FM_ASSERT(!map->idle.reaper.who);
    fm__unlock(&map->waiting.lock);
    if (wait.who)
        fm__wake(wait, WAKE_VALUE);
}

/* ---- who puts a fiber in ---- */

static int start_reaper(struct fm_map *map)
{
    struct fm_spawn_options options = { .size = sizeof options,
                                        .name = "map idle",
                                        .arg_drop = reaper_lost };
    struct fm_fiber *reaper;
    int r = fm__fiber_create(map->runtime, reap, map, &options, NULL, false, &reaper);
    if (r < 0)
        return r;
    fm__lock(&map->waiting.lock);
    bool starts = !map->idle.running;
    map->idle.running = true;
    map->idle.count++;
    if (starts) /* relaxed: the caller has the map */
        atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    fm__unlock(&map->waiting.lock);
    if (starts)
        fm__fiber_start(reaper);
    else
        fm__fiber_discard(reaper);
    return 0;
}

int fm__idle_make(struct fm_map *map, int64_t ttl_ns, struct idler **ret_idler)
{
    FM_ASSERT(ttl_ns >= 0);
    *ret_idler = NULL;
    if (!ttl_ns)
        return 0;
    struct idler *idler = fm__calloc(1, sizeof *idler);
    if (!idler)
        return -ENOMEM;
    idler->ttl_ns = ttl_ns;
    /* relaxed: who finds the fiber sees it, by the fiber's entry */
    if (!atomic_load_explicit(&map->notes_use, memory_order_relaxed))
        atomic_store_explicit(&map->notes_use, true, memory_order_relaxed);
    fm__lock(&map->waiting.lock);
    bool running = map->idle.running;
    map->idle.count += running;
    fm__unlock(&map->waiting.lock);
    int r = running ? 0 : start_reaper(map);
    if (r < 0) {
        free(idler);
        return r;
    }
    *ret_idler = idler;
    return 0;
}

void fm__idle_drop(struct fm_map *map, struct idler *idler)
{
    if (!idler)
        return;
    free(idler);
    fm__lock(&map->waiting.lock);
    FM_ASSERT(map->idle.count);
    bool last = --map->idle.count == 0;
    fm__unlock(&map->waiting.lock);
    if (last)
        wake_reaper(map);
}

int64_t fm__idle_attach_locked(struct stripe *stripe, struct entry *entry, struct idler *idler,
                               bool begins)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    FM_ASSERT(!entry->idles && !idler->rank);
    FM_ASSERT(idler->ttl_ns > 0);
    idler->entry = entry;
    idler->since_ns = entry->since_ns;
    entry->idler = idler;
    entry->idles = true;
    FM_ASSERT(entry->idler == idler && idler->entry == entry);
    return begins ? fm__idle_begin_locked(stripe, entry) : FM_NEVER;
}

int64_t fm__idle_begin_locked(struct stripe *stripe, struct entry *entry)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    if (!entry->idles || !fm__entry_present(fm__entry_read(entry)))
        return FM_NEVER;
    struct idler *idler = entry->idler;
    FM_ASSERT(!idler->rank);
    FM_ASSERT(idler->entry == entry);
    idler->used_ns = fm__runtime_now_ns(stripe->map->runtime);
    fm__due_put(&stripe->idlers, idler, fm__time_add(idler->used_ns, idler->ttl_ns));
    return idler->due_ns;
}

void fm__idle_told(struct fm_map *map, int64_t due_ns)
{
    if (map->ledger)
        fm__evict_settle(map);
    /* relaxed: as in reap_all */
    if (due_ns < atomic_load_explicit(&map->idle.wakes_ns, memory_order_relaxed))
        wake_reaper(map);
}

/* ---- who takes it out ---- */

void fm__idle_displace_locked(struct stripe *stripe, struct entry *entry)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    struct fm_map *map = stripe->map;

    if (entry->idles)
        fm__due_take(&stripe->idlers, entry->idler);
    if (map->ledger)
        fm__evict_displace_locked(map, entry);
}

struct idler *fm__idle_detach_locked(struct stripe *stripe, struct entry *entry)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    if (!entry->idles)
        return NULL;
    struct idler *idler = entry->idler;
    fm__due_take(&stripe->idlers, idler);
    FM_ASSERT(!idler->rank && idler->entry == entry);
    entry->idles = false;
    entry->since_ns = idler->since_ns;
    return idler;
}

int64_t fm__idle_move_locked(struct stripe *from_stripe, struct entry *from,
                             struct stripe *to_stripe, struct entry *to)
{
    FM_ASSERT(fm__lock_held(&from_stripe->lock) && fm__lock_held(&to_stripe->lock));
    FM_ASSERT(from != to && !to->idles);
    to->since_ns = fm__idle_since_locked(from);
    if (!from->idles)
        return FM_NEVER;
    bool due = from->idler->rank != 0;
    struct idler *idler = fm__idle_detach_locked(from_stripe, from);
    fm__idle_attach_locked(to_stripe, to, idler, false);
    if (!due)
        return FM_NEVER;
    fm__due_put(&to_stripe->idlers, idler, idler->due_ns);
    return idler->due_ns;
}

void fm__idle_left(struct stripe *stripe, struct entry *entry)
{
    FM_ASSERT(entry);
    fm__lock(&stripe->lock);
    struct idler *idler = fm__idle_detach_locked(stripe, entry);
    fm__unlock(&stripe->lock);
    fm__idle_drop(stripe->map, idler);
}

/* ---- who uses it ---- */

void fm__idle_used_locked(struct stripe *stripe, struct entry *entry)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    FM_ASSERT(!entry->idles || entry->idler->entry == entry);
    struct fm_map *map = stripe->map;

    if (entry->idles)
        entry->idler->used_ns = fm__runtime_now_ns(map->runtime);
    if (map->ledger && fm__limit_evicts(map->ledger))
        fm__evict_touch_locked(map, entry);
}

int fm_map_touch(struct fm_map *map, struct fm_key given)
{
    struct map_key key;

    if (!map || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    /* relaxed: as in fm__conflict_look */
    if (!atomic_load_explicit(&map->notes_use, memory_order_relaxed))
        return fm_map_has(map, given) ? 0 : -ENOENT;
    struct stripe *stripe = fm__map_stripe(map, &key);
    fm__lock(&stripe->lock);
    struct entry *holder = fm__holder_locked(stripe, &key,
                                             fm__stripe_find_locked(stripe, &key));
    bool used = holder && fm__map_is_open(map) && !fm__idle_expired_locked(holder);
    if (used)
        fm__idle_use_locked(stripe, holder);
    fm__unlock(&stripe->lock);
    return used ? 0 : -ENOENT;
}

/* ---- the end ---- */

void fm__idle_fini(struct fm_map *map)
{
    fm__wait_prepare();
    fm__lock(&map->waiting.lock);
    while (map->idle.running) {
        /* a thread that has no memory to wait with comes back at once, and looks again */
        fm__waiting_wait(&map->waiting, WAIT_REAPER, FM_NEVER, "map_destroy");
        fm__wait_prepare();
        fm__lock(&map->waiting.lock);
    }
    fm__unlock(&map->waiting.lock);
}
