/*
 * map.c - making a map; looking up, counting, detaching
 *
 * Owns   the map's memory until fm_map_destroy and the last detached fiber.
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/describe.h"
#include "fibermap/group.h"
#include "fibermap/idle.h"
#include "fibermap/ledger.h"
#include "fibermap/lookup.h"
#include "fibermap/map.h"
#include "fibermap/member.h"
#include "fibermap/turn.h"
#include "fm/scope.h"
#include "runtime/fiber/again.h"
#include "runtime/fiber/runtime.h"
#include "runtime/fiber/slab.h"
#include "runtime/platform/check.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"

/* ---- making ---- */

static int config_read(struct fm_map_config *config, const struct fm_map_config *given)
{
    int r = fm__config_read(config, sizeof *config, given);
    if (r < 0)
        return r;
    if (config->hash > FM_HASH_FAST || config->on_failure > FM_CLOSE_MAP || config->flags ||
        config->reserved || config->restart_intensity > FM_RESTART_INTENSITY_MAX ||
        config->restart_reserved || config->restart_period_ns < 0 ||
        config->completions > FM_COMPLETIONS_MAX ||
        config->retain_count > FM_RETAIN_MAX || config->retain_ns < 0 ||
        (config->retain_ns && !config->retain_count) || config->interval_ns < 0 ||
        !config->max_starts != !config->interval_ns || config->max_live > FM_LIVE_MAX ||
        config->on_excess > FM_EXCESS_EVICT_IDLE || config->excess_reserved ||
        config->idle_ttl_ns < 0)
        return -EINVAL;
    if (!config->runtime)
        config->runtime = fm_runtime_current();
    return config->runtime ? 0 : -EINVAL;
}

static uint32_t stripe_count(const struct fm_map_config *config)
{
    uint32_t wanted = config->stripe_count, count = 1;
    if (!wanted) {
        wanted = 4 * fm__sched_at_once(&config->runtime->sched);
        wanted = wanted < 8 ? 8 : wanted;
    }
    while (count < wanted && count < STRIPES_MAX)
        count *= 2;
    return count;
}

int fm_map_create(const struct fm_map_config *given, struct fm_map **ret_map)
{
    struct fm_map_config config;

    if (!ret_map)
        return -EINVAL;
    int r = config_read(&config, given);
    if (r < 0)
        return r;
    struct fm_map *map = fm__zalloc_aligned(_Alignof(struct fm_map), sizeof *map);
    if (!map)
        return -ENOMEM;
    r = -ENOMEM;
    uint32_t count = stripe_count(&config);
    FM_ASSERT(count && (count & (count - 1)) == 0 && count <= STRIPES_MAX);
    map->stripes = fm__zalloc_aligned(_Alignof(struct stripe), count * sizeof *map->stripes);
    if (!map->stripes)
        goto free_map;
    if (config.name) {
        size_t bytes = strlen(config.name) + 1;
        map->name = fm__malloc(bytes);
        if (!map->name)
            goto free_stripes;
        memcpy(map->name, config.name, bytes);
    }
    if (config.restart_intensity) {
        int64_t *times = fm__malloc(config.restart_intensity * sizeof *times);
        if (!times)
            goto free_name;
        fm__restart_window_init(&map->restarts, config.restart_intensity,
                                config.restart_period_ns, times);
    }
    map->stripe_mask = count - 1;
    r = fm__ledger_make(map, &config);
    if (r < 0)
        goto free_times;
    map->runtime = config.runtime;
    map->on_failure = config.on_failure;
    map->idle_ttl_ns = config.idle_ttl_ns;
    map->idle.wakes_ns = FM_NEVER;
    fm__hash_seed_init(&map->seed, config.runtime->config.seed,
                       config.hash == FM_HASH_FAST ? HASH_FAST : HASH_AES);
    fm__waiting_init(&map->waiting);
    fm__arena_init(&map->arena);
    atomic_init(&map->refs, 1);
    fm__map_each_stripe(map, s)
        fm__stripe_init(s, map, &map->arena.source);
    if (map->ledger && map->ledger->ring)
        fm__count_watch(map);
    fm__describe_start();
    *ret_map = map;
    return 0;

free_times:
    free(map->restarts.times);
free_name:
    free(map->name);
free_stripes:
    free(map->stripes);
free_map:
    free(map);
    return r;
}

static int scope_closes(void *arg, struct fm_exit exit)
{
    FM_ASSERT(arg);
    fm_map_destroy(arg);
    return 0;
}

int fm_map_create_scoped(const struct fm_map_config *config, struct fm_map **ret_map)
{
    struct fm_map *map;

    if (!fm__fiber_self())
        return -EPERM;
    if (!ret_map)
        return -EINVAL;
    int r = fm_map_create(config, &map);
    if (r < 0)
        return r;
    r = fm_defer(scope_closes, map);
    if (r < 0) {
        fm_map_destroy(map);
        return r;
    }
    *ret_map = map;
    return 0;
}

void fm__map_unref(struct fm_map *map)
{
    FM_ASSERT(map);
    /* acq_rel: what each of them did happens before the last one frees */
    if (atomic_fetch_sub_explicit(&map->refs, 1, memory_order_acq_rel) != 1)
        return;
    FM_ASSERT(!map->groups && !map->moves_held);
    fm__describe_wait();
    fm__map_each_stripe(map, s) {
        fm__turn_lines_free(s);
        fm__stripe_fini(s);
    }
    fm__arena_fini(&map->arena);
    while (map->failures) {
        struct closing_failure *failure = map->failures;
        map->failures = failure->next;
        free(failure);
    }
    fm__ledger_free(map);
    free(map->restarts.times);
    free(map->stripes);
    free(map->name);
    free(map);
}

/* ---- looking up ---- */

static inline uint64_t or_next(struct stripe *stripe, const struct map_key *key, uint64_t id)
{
    FM_ASSERT(stripe && key);
    /* nobody is under the key; whoever queued there and has not taken it yet holds it */
    if (__builtin_expect(!id, 0) && __builtin_expect(fm__turn_lines_used(stripe), 0))
        return fm__turn_find(stripe, key);
    return id;
}

uint64_t fm__map_find(struct stripe *stripe, const struct map_key *key)
{
    return or_next(stripe, key, fm__stripe_find(stripe, key));
}

struct fm_fiber *fm__map_look(struct fm_map *map, const struct map_key *key)
{
    FM_ASSERT(map && key);
    struct stripe *stripe = fm__map_stripe(map, key);
    for (;;) {
        uint64_t id = fm__map_find(stripe, key);
        if (!id || !fm__map_is_open(map))
            return NULL;
        struct fm_fiber *fiber = fm__slab_ref(id);
        if (__builtin_expect(fiber != NULL, 1))
            return fiber;
        /*
         * It has ended and gone since, so its exit has left the entry: what stands there now is
         * something else.
         */
    }
}

/* What fm_map_get does when there is more to do than a glance. */
static __attribute__((noinline)) int get_properly(struct fm_map *map, struct fm_key given,
                                                  struct fm_fiber **ret_fiber)
{
    struct map_key key;

    if (!map || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    if (!ret_fiber)
        return fm_map_has(map, given) ? 0 : -ENOENT;
    struct fm_fiber *fiber = fm__map_look(map, &key);
    if (!fiber)
        return -ENOENT;
    *ret_fiber = fiber;
    return 0;
}

int fm_map_get(struct fm_map *map, struct fm_key given, struct fm_fiber **ret_fiber)
{
    struct short_key key;

    if (__builtin_expect(map && ret_fiber && fm__key_read_short(&key, &map->seed, given), 1)) {
        struct stripe *stripe = fm__map_stripe_of(map, key.head);
        struct glance seen = fm__stripe_glance(stripe, &key, fm__slab_fetch);
        if (__builtin_expect(seen.sure && seen.id == 0, 0)) {
            if (!fm__turn_lines_used(stripe))
                return -ENOENT;
        } else if (__builtin_expect(seen.sure && (seen.id & FIBER_ID_SLOT) == seen.slot &&
                                        seen.ahead,
                                    1) &&
                   fm__map_is_open(map)) {
            struct fm_fiber *fiber = fm__slab_ref_at(seen.ahead, seen.id);
            if (__builtin_expect(fiber != NULL, 1)) {
                *ret_fiber = fiber;
                return 0;
            }
        }
    }
    return get_properly(map, given, ret_fiber);
}

bool fm_map_has(struct fm_map *map, struct fm_key given)
{
    struct map_key key;
    return map && fm__key_read(&key, &map->seed, given) &&
           fm__map_find(fm__map_stripe(map, &key), &key) != 0 && fm__map_is_open(map);
}

size_t fm_map_size(struct fm_map *map)
{
    uint64_t live = 0;

    if (!map)
        return 0;
    fm__map_each_stripe(map, s)
        live += fm__count_live(fm__stripe_count(s));
    return fm__map_is_open(map) ? live : 0;
}

static bool is_ready(struct fm_fiber *fiber)
{
    FM_ASSERT(fiber);
    return fm__member_state(fiber) == FM_MEMBER_LIVE &&
           fm__state_read(&fiber->state) & STATE_READY;
}

size_t fm_map_count(struct fm_map *map, uint32_t state)
{
    size_t count = 0;

    if (!map || state > FM_MEMBER_READY)
        return 0;
    fm__map_each_stripe(map, s) {
        if (state == FM_MEMBER_ZOMBIE) {
            /*
             * A set that displaces counts its key twice for an instant, and both fibers may
             * have ended within it.
             */
            uint64_t both = fm__stripe_count(s), members = fm__count_members(both);
            uint64_t live = fm__count_live(both);
            count += members > live ? members - live : 0;
            continue;
        }
        uint32_t made = fm__stripe_made(s);
        for (uint32_t i = 0; i < made; i++) {
            uint64_t word = fm__entry_read(fm__stripe_at(s, i)), id = fm__entry_present(word);
            if (state == FM_MEMBER_QUEUED) {
                count += fm__entry_life(word) == ENTRY_QUEUED;
                continue;
            }
            struct fm_fiber *fiber = id ? fm__fiber_ref_id(id) : NULL;
            if (!fiber)
                continue;
            if (state == FM_MEMBER_READY)
                count += is_ready(fiber);
            else
                count += fm__member_state(fiber) == state;
            fm_fiber_unref(fiber);
        }
    }
    return count;
}

/* ---- detaching and signalling ---- */

int fm_map_detach(struct fm_map *map, struct fm_key given, struct fm_fiber **ret_fiber)
{
    struct map_key key;

    if (!map || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    struct stripe *stripe = fm__map_stripe(map, &key);
    /*
     * relaxed, both: the detached fiber's exit gets the map from the entry, after the swap; a
     * failure takes it back
     */
    atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    fm__lock(&stripe->lock);
    struct place place = fm__stripe_find_locked(stripe, &key);
    struct fm_fiber *fiber = fm__map_is_open(map) ? fm__present_locked(place.entry) : NULL;
    if (fiber && map->ledger)
        fm__evict_displace_locked(map, place.entry);
    bool detached = fiber && fm__entry_detach(place.entry, fm__fiber_id(fiber));
    struct wait next = { NULL, 0 };
    struct idler *idler = NULL;
    if (detached) {
        idler = fm__idle_detach_locked(stripe, place.entry);
        fm__stripe_unlink_locked(stripe, place);
        next = fm__turn_next_locked(stripe, &key);
    }
    fm__unlock(&stripe->lock);
    if (next.who)
        fm__wake(next, WAKE_CLOSED);
    if (!detached) {
        fm_fiber_unref(fiber);
        atomic_fetch_sub_explicit(&map->refs, 1, memory_order_relaxed);
        return -ENOENT;
    }
    fm__idle_drop(map, idler);
    fm__count_subtract(stripe, COUNT_MEMBER_ONE + COUNT_LIVE_ONE);
    if (map->ledger)
        fm__limit_left(map, NULL, true);
    fm__again_hurry(fiber);
    if (fm__group_has(fiber))
        fm__groups_let_go(map);
    if (ret_fiber)
        *ret_fiber = fiber;
    else
        fm_fiber_unref(fiber);
    return 0;
}

int fm_map_interrupt(struct fm_map *map, struct fm_key given)
{
    struct map_key key;

    if (!map || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    struct fm_fiber *fiber = fm__map_look(map, &key);
    if (!fiber)
        return -ENOENT;
    fm__fiber_interrupt(fiber, FM_BY_REMOVE);
    fm_fiber_unref(fiber);
    return 0;
}
