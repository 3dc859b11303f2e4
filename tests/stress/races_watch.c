/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_watch.c - maps with a ledger: hooks and completions under runs, replacements, sets and ends; results that are retained
 *
 * The hooks play an automaton of one key. Its fields are plain: that the calls are one after the other is what is tested.
 */
#include "tests/stress/race.h"

enum { ROOM = 4 };

struct watch {
    struct fm_map *map;
    uint64_t present, next; /* ids: under the key; about to be, by a replacement */
    uint32_t zombies, starts, exits, replaced;
    bool within;
    _Atomic uint32_t taken;
};

static void enter(struct slot *slot, struct watch *w)
{
    RACE_CHECK(slot, !w->within, "two hooks at once");
    w->within = true;
}

static void on_replace(void *ctx, struct fm_key key, struct fm_fiber *old,
                       struct fm_fiber *fiber)
{
    struct slot *slot = ctx;
    struct watch *w = slot->thing;
    enter(slot, w);
    RACE_CHECK(slot, w->present == fm_fiber_id(old) && !w->next,
               "who is replaced is not there");
    w->zombies++;
    w->replaced++;
    w->present = 0;
    w->next = fm_fiber_id(fiber);
    w->within = false;
}

static void on_start(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    struct slot *slot = ctx;
    struct watch *w = slot->thing;
    enter(slot, w);
    RACE_CHECK(slot, !w->present && (!w->next || w->next == fm_fiber_id(fiber)),
               "a start on a key that is held");
    w->present = fm_fiber_id(fiber);
    w->next = 0;
    w->starts++;
    w->within = false;
}

static void on_exit_of(void *ctx, struct fm_key key, struct fm_fiber *fiber,
                       struct fm_exit exit)
{
    struct slot *slot = ctx;
    struct watch *w = slot->thing;
    enter(slot, w);
    if (w->present == fm_fiber_id(fiber)) {
        w->present = 0;
    } else {
        RACE_CHECK(slot, w->zombies > 0, "an exit of somebody who was never there");
        w->zombies--;
    }
    w->exits++;
    w->within = false;
}

static void make_watched(struct slot *slot)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct watch *w = calloc(1, sizeof *w);
    STRESS_CHECK(w, "no memory");
    hooks.ctx = slot;
    hooks.on_start = on_start;
    hooks.on_exit = on_exit_of;
    hooks.on_replace = on_replace;
    config.runtime = slot->runtime;
    config.stripe_count = 1;
    config.completions = ROOM;
    config.hooks = &hooks;
    slot->thing = w;
    int r = fm_map_create(&config, &w->map);
    RACE_CHECK(slot, r == 0, "create: %d", r);
}

static void run_in(struct slot *slot, struct watch *w, fm_entry_fn *entry, uint32_t conflict)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = conflict;
    options.arg_drop = race_drop;
    int r = fm_map_run(w->map, slot->key, entry, slot, &options, NULL);
    RACE_CHECK(slot, r >= 0, "run: %d", r);
    if (r != FM_MAP_KEPT)
        atomic_fetch_add(&slot->started, 1);
}

static void take(struct slot *slot, struct watch *w, int64_t deadline_ns)
{
    struct fm_completion *completion;
    int r = fm_map_next(w->map, deadline_ns, &completion);
    RACE_CHECK(slot, r == 0 || r == -ENOENT || r == -ETIMEDOUT, "next: %d", r);
    if (r != 0)
        return;
    RACE_CHECK(slot, completion->exit.reason != FM_BY_REPLACE, "a replaced fiber completes");
    atomic_fetch_add(&w->taken, 1);
    fm_completion_free(completion);
}

static void run_end_take(struct slot *slot, struct part *part)
{
    struct watch *w = slot->thing;
    int r;

    for (int i = 0; i < 2; i++) {
        switch ((part->role + (slot->choice >> 4 * i)) % 6) {
        case 0: run_in(slot, w, race_park, FM_REPLACE); break;
        case 1: run_in(slot, w, race_quick, FM_REPLACE); break;
        case 2: run_in(slot, w, race_linger, FM_KEEP); break;
        case 3:
            r = fm_map_remove(w->map, slot->key, FM_NEVER);
            RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
            break;
        case 4: take(slot, w, fm_after_us(20)); break;
        default: {
            struct fm_fiber *fiber = race_spawn(slot, race_linger);
            atomic_fetch_add(&slot->started, 1);
            r = fm_map_set(w->map, slot->key, fiber, NULL);
            RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED, "set: %d", r);
            fm_fiber_unref(fiber);
        }
        }
    }
}

static void all_is_told(struct slot *slot)
{
    struct watch *w = slot->thing;
    int r = fm_map_close(w->map, NULL, NULL);
    RACE_CHECK(slot, r == 0, "close: %d", r);
    while (fm_map_try_next(w->map, NULL) == 0)
        atomic_fetch_add(&w->taken, 1);
    uint64_t completed = w->taken + fm_map_completions_dropped(w->map);
    RACE_CHECK(slot, w->starts == w->exits && !w->present && !w->zombies && !w->next,
               "%u starts, %u exits, %u zombies", w->starts, w->exits, w->zombies);
    RACE_CHECK(slot, completed == w->starts - w->replaced,
               "%" PRIu64 " completions, %u starts, %u replaced", completed, w->starts,
               w->replaced);
    fm_map_destroy(w->map);
    free(w);
    slot->thing = NULL;
}

/* ---- a result that is retained: computed once, by whoever was first ---- */

static void make_retaining(struct slot *slot)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.runtime = slot->runtime;
    config.retain_count = 2;
    int r = fm_map_create(&config, &map);
    RACE_CHECK(slot, r == 0, "create: %d", r);
    slot->thing = map;
}

static struct fm_exit compute(void *arg)
{
    struct slot *slot = arg;
    uint32_t before = atomic_fetch_add(&slot->seen[0], 1);
    if (slot->choice & 1)
        fm_yield();
    return fm_ok((void *)(uintptr_t)(before + 1));
}

/* It has begun, and a lookup, which takes no lock, finds it gone: its result is there. */
static void look_for_result(struct slot *slot)
{
    if (atomic_load(&slot->seen[0]) == 0 || fm_map_has(slot->thing, slot->key))
        return;
    int r = fm_map_last_exit(slot->thing, slot->key, NULL);
    RACE_CHECK(slot, r == 0, "the key is free and there is no result: %d", r);
}

static void ask(struct slot *slot, struct part *part)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_exit exit;
    options.reuse = FM_REUSE_SUCCESS;
    for (uint32_t i = part->role % 2 ? 4 : 0; i--;)
        look_for_result(slot);
    if ((part->role + slot->choice) % 4 == 0)
        fm_yield();
    int r = fm_map_run_wait(slot->thing, slot->key, compute, slot, &options, FM_NEVER, &exit);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT, "run_wait: %d", r);
    RACE_CHECK(slot, exit.kind == FM_SUCCESS && exit.value == (void *)1, "another's result");
}

static void computed_once(struct slot *slot)
{
    RACE_CHECK(slot, atomic_load(&slot->seen[0]) == 1, "computed %u times",
               atomic_load(&slot->seen[0]));
    fm_map_destroy(slot->thing);
    slot->thing = NULL;
}

/* ---- places: never too many bodies, and none is lost ---- */

enum { PLACES = 2 };

static void make_limited(struct slot *slot)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.runtime = slot->runtime;
    config.max_live = PLACES;
    config.on_excess = slot->choice & 1 ? FM_EXCESS_WAIT : FM_EXCESS_EVICT_IDLE;
    int r = fm_map_create(&config, &map);
    RACE_CHECK(slot, r == 0, "create: %d", r);
    slot->thing = map;
}

static struct fm_exit hold_place(void *arg)
{
    struct slot *slot = arg;
    uint32_t bodies = atomic_fetch_add(&slot->seen[0], 1);
    RACE_CHECK(slot, bodies < PLACES, "%u bodies at once", bodies + 1);
    fm_yield();
    atomic_fetch_sub(&slot->seen[0], 1);
    return fm_ok(NULL);
}

static struct fm_exit run_in_place(void *arg)
{
    struct slot *slot = arg;
    uint64_t key = atomic_fetch_add(&slot->seen[1], 1);
    int r = fm_map_run(slot->thing, fm_key_bytes(&key, sizeof key), hold_place, slot, NULL,
                       NULL);
    RACE_CHECK(slot, r == 0 || r == -ECANCELED, "run: %d", r);
    return fm_ok(NULL);
}

static void want_place(struct slot *slot, struct part *part)
{
    run_in_place(slot);
    /* Another waits and is interrupted wherever he is by then. */
    struct fm_fiber *fiber = race_spawn(slot, run_in_place);
    if ((part->role + slot->choice) % 3 == 0)
        fm_yield();
    fm_fiber_interrupt(fiber);
    race_finish(slot, fiber);
}

static void all_places_are_back(struct slot *slot)
{
    struct fm_map *map = slot->thing;
    int r = fm_map_await_quiescent(map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await: %d", r);
    for (uint64_t key = 1000; key < 1000 + PLACES; key++) {
        /* With a place lost this waits for ever, and the watchdog tells. */
        r = fm_map_run(map, fm_key_bytes(&key, sizeof key), race_park, slot, NULL, NULL);
        RACE_CHECK(slot, r == 0, "run: %d", r);
    }
    fm_map_destroy(map);
    slot->thing = NULL;
}

/* ---- compare and replace: a chain, each link of which one caller has put in ---- */

static void make_holder(struct slot *slot)
{
    int r = race_run(slot, slot->key, race_park, FM_REPLACE, &slot->first);
    RACE_CHECK(slot, r == 0, "run: %d", r);
}

static void replace_expected(struct slot *slot, struct part *part)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.arg_drop = race_drop;
    int r = fm_map_compare_and_replace(slot->map, slot->key, slot->first, race_park, slot,
                                       &options, &slot->fiber[part->index]);
    slot->result[part->index] = r;
    if (r == FM_MAP_REPLACED)
        atomic_fetch_add(&slot->started, 1);
    else
        RACE_CHECK(slot, r == FM_MAP_KEPT, "compare and replace: %d", r);
}

static void one_has_replaced(struct slot *slot)
{
    struct fm_fiber *winner = NULL;
    for (uint32_t i = 0; i < slot->parts; i++) {
        if (slot->result[i] != FM_MAP_REPLACED)
            continue;
        RACE_CHECK(slot, !winner, "two have replaced one fiber");
        winner = slot->fiber[i];
    }
    RACE_CHECK(slot, winner != NULL, "nobody has replaced it");
    for (uint32_t i = 0; i < slot->parts; i++)
        RACE_CHECK(slot, slot->fiber[i] == winner, "kept another than the winner");
    race_release(slot);
    race_empty(slot);
}

const struct race watch_races[] = {
    { "compare_replace", "of all who expect the same fiber one replaces it", make_holder,
      replace_expected, one_has_replaced, NULL },
    { "places", "so many bodies and no more, and no place is lost to an interruption",
      make_limited, want_place, all_places_are_back, NULL },
    { "retained_once", "who comes while it runs or afterwards gets the one result",
      make_retaining, ask, computed_once, NULL },
    { "hooks_in_order", "hooks of a key come in order, each present end completes once",
      make_watched, run_end_take, all_is_told, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
