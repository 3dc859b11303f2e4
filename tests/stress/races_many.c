/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_many.c - calls over more than one key: all start or none does, beside runs of one of
 * the keys, lookups, snapshots, and a close
 */
#include "tests/stress/race.h"

/*
 * The roles: one starts both keys or none; one wants the second key alone, or removes who is
 * under it; one looks, key by key or by a snapshot; one closes, in some rounds.
 */
enum { CLOSES = 1, SNAPSHOT = 2, REMOVES = 4, ENDS = 8 };

static bool chosen(const struct slot *slot, uint64_t what)
{
    return slot->choice & what;
}

/* The keys in different stripes; other races want them in one. */
static void wide_map(struct slot *slot)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.runtime = slot->runtime;
    config.stripe_count = 8;
    slot->map = fm_map_destroy(slot->map);
    int r = fm_map_create(&config, &slot->map);
    RACE_CHECK(slot, r == 0, "map_create: %d", r);
}

static void both_or_none(struct slot *slot, struct part *part)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    fm_entry_fn *entry = chosen(slot, ENDS) ? race_quick : race_park;
    options.arg_drop = race_drop;
    struct fm_map_run_item runs[] = {
        { slot->key, entry, slot, &options, &slot->first, 0 },
        { slot->key2, entry, slot, &options, &slot->second, 0 },
    };
    int r = fm_map_run_many(slot->map, runs, 2, FM_MAP_ALL_OR_NOTHING);
    slot->result[part->index] = r;
    RACE_CHECK(slot,
               r == 0 || (r == -EEXIST && runs[1].result == r) ||
                   (r == -ESHUTDOWN && chosen(slot, CLOSES)),
               "run_many: %d", r);
    if (r == 0)
        atomic_fetch_add(&slot->started, 2);
    atomic_store(&slot->seen[0], r == 0);
}

static void the_second_alone(struct slot *slot, struct part *part)
{
    int r = race_run(slot, slot->key2, race_park, FM_KEEP, &slot->fiber[part->index]);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT || r == -ESHUTDOWN, "run: %d", r);
    slot->result[part->index] = r;
    if (r >= 0 && chosen(slot, REMOVES)) {
        r = fm_map_remove(slot->map, slot->key2, FM_NEVER);
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
    }
}

/* Of fibers that stay: the first key is never held without the second, however one looks. */
static void look(struct slot *slot)
{
    bool stays = !chosen(slot, ENDS | CLOSES | REMOVES);
    bool first, second;

    if (chosen(slot, SNAPSHOT)) {
        struct fm_snapshot *snapshot;
        int r = fm_map_snapshot(slot->map, FM_SNAPSHOT_CONSISTENT, &snapshot);
        RACE_CHECK(slot, r == 0, "snapshot: %d", r);
        first = second = false;
        for (size_t i = 0; i < fm_snapshot_count(snapshot); i++) {
            const struct fm_member *member = fm_snapshot_at(snapshot, i);
            bool is_first = member->key.len == slot->key.len &&
                            memcmp(member->key.data, slot->key.data, slot->key.len) == 0;
            *(is_first ? &first : &second) = true;
        }
        fm_snapshot_free(snapshot);
    } else {
        first = fm_map_has(slot->map, slot->key);
        second = fm_map_has(slot->map, slot->key2);
    }
    RACE_CHECK(slot, !stays || !first || second, "the first of two that start together alone");
}

static void start_or_look(struct slot *slot, struct part *part)
{
    if (part->role == 0) {
        both_or_none(slot, part);
    } else if (part->role == 1) {
        the_second_alone(slot, part);
    } else if (part->role == 2 || !chosen(slot, CLOSES)) {
        for (int i = 0; i < 3; i++)
            look(slot);
    } else {
        int r = fm_map_close(slot->map, NULL, NULL);
        RACE_CHECK(slot, r == 0, "close: %d", r);
        atomic_store(&slot->closed, true);
    }
}

static void both_or_none_started(struct slot *slot)
{
    bool started = atomic_load(&slot->seen[0]);
    RACE_CHECK(slot, started == (slot->first != NULL) && started == (slot->second != NULL),
               "a reference to one that has not started");
    race_release(slot);
    if (atomic_load(&slot->closed)) {
        RACE_CHECK(slot, fm_map_count(slot->map, FM_MEMBER_LIVE) == 0, "alive after the close");
        race_settle(slot);
    } else {
        race_empty(slot);
    }
    slot->map = fm_map_destroy(slot->map);
}

const struct race many_races[] = {
    { "all_or_nothing", "all start at one instant or none does", wide_map, start_or_look,
      both_or_none_started, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
