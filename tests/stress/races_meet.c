/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_meet.c - runs that start together, moves, waiters who leave, idle times and detaches, all
 * on three keys, in maps of one stripe and of many, with hooks, limits or neither
 *
 * Nobody is told what to find: the books must balance in the end. Each argument has gone to a
 * body or been dropped, each start that was told has an end that was, and no place is lost.
 */
#include "tests/stress/race.h"

enum { PLACES = 3, STEPS = 4 };
enum { HOOKS = 1, PLACES_COUNT = 2, WIDE = 4, IDLES = 8 };
enum { STARTS, EXITS, DETACHED }; /* of slot->seen */

static bool chosen(const struct slot *slot, uint64_t what)
{
    return slot->choice & what;
}

static void tell_start(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    atomic_fetch_add(&((struct slot *)ctx)->seen[STARTS], 1);
}

static void tell_exit(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit)
{
    atomic_fetch_add(&((struct slot *)ctx)->seen[EXITS], 1);
}

static void make_place(struct slot *slot)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_map *map;

    config.runtime = slot->runtime;
    config.stripe_count = chosen(slot, WIDE) ? 8 : 1;
    hooks.ctx = slot;
    hooks.on_start = tell_start;
    hooks.on_exit = tell_exit;
    if (chosen(slot, HOOKS))
        config.hooks = &hooks;
    if (chosen(slot, PLACES_COUNT)) {
        config.max_live = PLACES;
        config.on_excess = FM_EXCESS_FAIL;
    }
    int r = fm_map_create(&config, &map);
    RACE_CHECK(slot, r == 0, "create: %d", r);
    slot->thing = map;
}

static struct fm_key key_of(const struct slot *slot, uint64_t number)
{
    return number % 3 == 0 ? slot->key : number % 3 == 1 ? slot->key2 : fm_key_str("third");
}

static struct fm_map_run_options options_of(const struct slot *slot)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.arg_drop = race_drop;
    options.idle_ttl_ns = chosen(slot, IDLES) ? 1000 : 0;
    return options;
}

static void two_together(struct slot *slot, uint64_t number)
{
    struct fm_map_run_options options = options_of(slot), plain = options;
    plain.idle_ttl_ns = 0;
    struct fm_map_run_item runs[] = {
        { key_of(slot, number), race_park, slot, &options, NULL, 0 },
        { key_of(slot, number + 1), race_linger, slot, &plain, NULL, 0 },
    };
    int r = fm_map_run_many(slot->thing, runs, 2, FM_MAP_ALL_OR_NOTHING);
    RACE_CHECK(slot, r == 0 || r == -EEXIST || (r == -EAGAIN && chosen(slot, PLACES_COUNT)),
               "run_many: %d", r);
    if (r == 0)
        atomic_fetch_add(&slot->started, 2);
}

/* Comes, and leaves at once: the fiber goes on, or ends with him. */
static void look_in(struct slot *slot, uint64_t number)
{
    struct fm_map_run_options options = options_of(slot);
    options.flags = number & 64 ? FM_MAP_STOP_WITH_LAST_WAITER : 0;
    int r = fm_map_run_wait(slot->thing, key_of(slot, number), race_linger, slot, &options,
                            fm_after_ns(number & 128 ? 0 : 2000), NULL);
    RACE_CHECK(slot,
               r == 0 || r == FM_MAP_KEPT || r == -ETIMEDOUT ||
                   (r == -EAGAIN && chosen(slot, PLACES_COUNT)),
               "run_wait: %d", r);
    if (r != -EAGAIN) /* the argument is gone, with a body or without */
        atomic_fetch_add(&slot->started, 1);
}

static void detach_one(struct slot *slot, uint64_t number)
{
    struct fm_fiber *fiber;
    int r = fm_map_detach(slot->thing, key_of(slot, number), &fiber);
    RACE_CHECK(slot, r == 0 || r == -ENOENT, "detach: %d", r);
    if (r < 0)
        return;
    atomic_fetch_add(&slot->seen[DETACHED], 1);
    fm_fiber_interrupt(fiber);
    race_finish(slot, fiber);
}

static void meet(struct slot *slot, struct part *part)
{
    for (int i = 0; i < STEPS; i++) {
        uint64_t number = part->random >> (8 * i) ^ slot->choice >> 32;
        int r = 0;
        switch (number >> 3 & 7) {
        case 0:
        case 1: two_together(slot, number); break;
        case 2:
        case 3:
            r = fm_map_move(slot->thing, key_of(slot, number), key_of(slot, number + 1));
            break;
        case 4:
        case 5: look_in(slot, number); break;
        case 6: detach_one(slot, number); break;
        default:
            r = number & 64 ? fm_map_remove(slot->thing, key_of(slot, number), FM_NEVER)
                            : fm_map_touch(slot->thing, key_of(slot, number));
        }
        RACE_CHECK(slot, r == 0 || r == -ENOENT || r == -EEXIST, "%d", r);
    }
}

static void books_balance(struct slot *slot)
{
    struct fm_map *map = slot->thing;

    int r = fm_map_clear(map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "clear: %d", r);
    r = fm_map_await_quiescent(map, FM_NEVER);
    RACE_CHECK(slot, r == 0 && fm_map_size(map) == 0, "not empty: %d", r);
    race_settle(slot);
    for (uint64_t i = 0; i < PLACES; i++) {
        r = fm_map_run(map, key_of(slot, i), race_quick, slot, NULL, NULL);
        RACE_CHECK(slot, r == 0, "a place is lost: %d", r);
        atomic_fetch_add(&slot->started, 1);
    }
    r = fm_map_await_quiescent(map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await: %d", r);
    fm_map_destroy(map);
    slot->thing = NULL;
    race_settle(slot);
    uint32_t starts = atomic_load(&slot->seen[STARTS]), exits = atomic_load(&slot->seen[EXITS]);
    RACE_CHECK(slot, starts == exits + (starts ? atomic_load(&slot->seen[DETACHED]) : 0),
               "%u starts, %u exits, %u detached", starts, exits,
               atomic_load(&slot->seen[DETACHED]));
}

const struct race meet_races[] = {
    { "meet", "runs together, moves, waiters who leave, detaches: the books balance",
      make_place, meet, books_balance, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
