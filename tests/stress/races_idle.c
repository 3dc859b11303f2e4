/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_idle.c - who is idle is interrupted, beside uses, replacements, ends, detaches of its key
 *
 * The times are so short that they are over as soon as anybody looks. Nobody else ends those
 * who have one: one that is lost, or a reaper that sleeps too long, and the round never ends.
 * Those who have none must never be interrupted for being idle.
 */
#include "tests/stress/race.h"

/* ---- expiry, on one key ---- */

static void make_idle(struct slot *slot)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.runtime = slot->runtime;
    config.stripe_count = 1;
    config.completions = slot->choice & 1 ? 4 : 0; /* a ledger, or none */
    int r = fm_map_create(&config, &map);
    RACE_CHECK(slot, r == 0, "create: %d", r);
    slot->thing = map;
}

static int lasting_ends(void *arg, struct fm_exit exit)
{
    struct slot *slot = arg;
    RACE_CHECK(slot, exit.kind != FM_INTERRUPTED || exit.reason != FM_BY_IDLE,
               "one without a time has been idle for too long");
    atomic_fetch_add(&slot->left, 1);
    return 0;
}

/* Without a time of its own. */
static struct fm_exit lasting(void *arg)
{
    struct slot *slot = arg;
    atomic_fetch_add(&slot->entered, 1);
    int r = fm_defer(lasting_ends, slot);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
    return fm_fail(fm_never());
}

static void run_one(struct slot *slot, fm_entry_fn *entry, uint32_t conflict, int64_t ttl_ns)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = conflict;
    options.arg_drop = race_drop;
    options.idle_ttl_ns = ttl_ns;
    int r = fm_map_run(slot->thing, slot->key, entry, slot, &options, NULL);
    RACE_CHECK(slot, r >= 0, "run: %d", r);
    if (r != FM_MAP_KEPT)
        atomic_fetch_add(&slot->started, 1);
}

static struct fm_exit uncounted(void *arg)
{
    return fm_fail(fm_never());
}

static void set_one(struct slot *slot, int64_t ttl_ns)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = race_spawn(slot, uncounted);
    options.idle_ttl_ns = ttl_ns;
    int r = fm_map_set(slot->thing, slot->key, fiber, &options);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED, "set: %d", r);
    fm_fiber_unref(fiber);
}

static void detach_one(struct slot *slot)
{
    struct fm_fiber *fiber;
    int r = fm_map_detach(slot->thing, slot->key, &fiber);
    RACE_CHECK(slot, r == 0 || r == -ENOENT, "detach: %d", r);
    if (r < 0)
        return;
    fm_fiber_interrupt(fiber);
    race_finish(slot, fiber);
}

static void use_and_end(struct slot *slot, struct part *part)
{
    for (int i = 0; i < 3; i++) {
        uint64_t what = part->role + (slot->choice >> (4 + 4 * i));
        int64_t ttl_ns = slot->choice >> 20 & 1 ? 1 : 1000;
        int r;
        switch (what % 8) {
        case 0: run_one(slot, race_park, FM_REPLACE, ttl_ns); break;
        case 1: run_one(slot, race_linger, FM_KEEP, ttl_ns); break;
        case 2: run_one(slot, lasting, FM_REPLACE, 0); break;
        case 3: run_one(slot, race_park, FM_JOIN, ttl_ns); break;
        case 4: set_one(slot, ttl_ns); break;
        case 5: run_one(slot, race_park, FM_REPLACE_AWAIT, ttl_ns); break;
        case 6: detach_one(slot); break;
        default:
            r = fm_map_touch(slot->thing, slot->key);
            RACE_CHECK(slot, r == 0 || r == -ENOENT, "touch: %d", r);
        }
    }
}

static void all_have_ended(struct slot *slot)
{
    struct fm_map *map = slot->thing;

    /* The one under the key may have no time. */
    int r = fm_map_remove(map, slot->key, slot->choice & 2 ? FM_NEVER : 0);
    RACE_CHECK(slot, r == 0 || r == -ENOENT || r == -ETIMEDOUT, "remove: %d", r);
    r = fm_map_await_quiescent(map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await: %d", r);
    fm_map_destroy(map);
    slot->thing = NULL;
    race_settle(slot);
}

/* ---- nobody but the reaper ends them: no wake-up of it is lost ---- */

static void one_key_each(struct slot *slot, struct part *part)
{
    for (uint64_t i = 0; i < 2; i++) {
        struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
        uint64_t key = part->index * 2 + i;
        options.arg_drop = race_drop;
        options.idle_ttl_ns = 1 + (slot->choice >> (key * 2) & 3) * 300;
        int r = fm_map_run(slot->thing, fm_key_bytes(&key, sizeof key), race_park, slot,
                           &options, NULL);
        RACE_CHECK(slot, r == 0, "run: %d", r);
        atomic_fetch_add(&slot->started, 1);
        if (slot->choice >> (32 + key) & 1)
            fm_map_touch(slot->thing, fm_key_bytes(&key, sizeof key));
    }
}

static void all_were_idle(struct slot *slot)
{
    struct fm_map *map = slot->thing;
    int r = fm_map_await_quiescent(map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await: %d", r);
    fm_map_destroy(map);
    slot->thing = NULL;
    race_settle(slot);
}

/* ---- eviction: exits, uses and new runs beside it ---- */

enum { PLACES = 2 };

static void make_evicting(struct slot *slot)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.runtime = slot->runtime;
    config.max_live = PLACES;
    config.on_excess = FM_EXCESS_EVICT_IDLE;
    if ((slot->choice & 15) == 1) { /* starts are scarce, too, for a moment */
        config.max_starts = 2;
        config.interval_ns = 1000;
    }
    int r = fm_map_create(&config, &map);
    RACE_CHECK(slot, r == 0, "create: %d", r);
    slot->thing = map;
}

static int gives_place_up(void *arg, struct fm_exit exit)
{
    struct slot *slot = arg;
    RACE_CHECK(slot, exit.kind != FM_INTERRUPTED || exit.reason == FM_BY_REMOVE ||
                         exit.reason == FM_BY_CLOSE,
               "interrupted by %s", fm_reason_name(exit.reason));
    atomic_fetch_sub(&slot->seen[0], 1);
    return 0;
}

static struct fm_exit hold_place(void *arg)
{
    struct slot *slot = arg;
    uint32_t bodies = atomic_fetch_add(&slot->seen[0], 1);
    RACE_CHECK(slot, bodies < PLACES, "%u bodies at once", bodies + 1);
    int r = fm_defer(gives_place_up, slot);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
    uint32_t number = atomic_fetch_add(&slot->seen[1], 1);
    if (slot->choice >> (8 + number % 32) & 1)
        return fm_yield() < 0 ? fm_interrupted() : fm_ok(NULL);
    return fm_fail(fm_never());
}

static void evict_some(struct slot *slot, struct part *part)
{
    for (uint64_t i = 0; i < 2; i++) {
        struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
        uint64_t key = (part->role + i) % 4;
        options.conflict = FM_KEEP;
        int r = fm_map_run(slot->thing, fm_key_bytes(&key, sizeof key), hold_place, slot,
                           &options, NULL);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT, "run: %d", r);
        key = (part->role + slot->choice) % 4;
        r = fm_map_touch(slot->thing, fm_key_bytes(&key, sizeof key));
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "touch: %d", r);
    }
}

static void places_are_evicted_once_more(struct slot *slot)
{
    struct fm_map *map = slot->thing;
    for (uint64_t key = 1000; key < 1000 + 2 * PLACES; key++) {
        /* With a place or a start lost this waits for ever, and the watchdog tells. */
        int r = fm_map_run(map, fm_key_bytes(&key, sizeof key), hold_place, slot, NULL, NULL);
        RACE_CHECK(slot, r == 0, "run: %d", r);
    }
    fm_map_destroy(map);
    slot->thing = NULL;
}

const struct race idle_races[] = {
    { "idle", "who is idle ends, once, and nobody for the time of another", make_idle,
      use_and_end, all_have_ended, NULL },
    { "idle_alone", "everybody ends by nothing but being idle", make_idle, one_key_each,
      all_were_idle, NULL },
    { "evict", "whoever is evicted makes room for one, whatever ends beside it", make_evicting,
      evict_some, places_are_evicted_once_more, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
