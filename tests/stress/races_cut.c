/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_cut.c - X10: a consistent snapshot beside replacements is one instant
 *
 * The writer replaces the fiber of the one key and then that of the other, again and again: at
 * every instant the first key is at most one generation ahead, and never behind.
 */
#include <stdlib.h>

#include "tests/stress/race.h"

enum { GENERATIONS = 8, LOOKS = 4 };

struct cut {
    uint64_t written[2][GENERATIONS];        /* ids, by the writer */
    uint64_t seen[RACE_PARTS_MAX][LOOKS][2]; /* by who took snapshots */
};

static uint64_t run_one(struct slot *slot, struct fm_key key)
{
    struct fm_fiber *fiber = NULL;
    int r = race_run(slot, key, race_park, FM_REPLACE, &fiber);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED, "run: %d", r);
    uint64_t id = fm_fiber_id(fiber);
    fm_fiber_unref(fiber);
    return id;
}

static void write_generation(struct slot *slot, int generation)
{
    struct cut *cut = slot->thing;
    cut->written[0][generation] = run_one(slot, slot->key);
    cut->written[1][generation] = run_one(slot, slot->key2);
}

static void two_keys(struct slot *slot)
{
    /* the keys in different stripes: other races want them in one */
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.runtime = slot->runtime;
    config.stripe_count = 8;
    slot->map = fm_map_destroy(slot->map);
    int r = fm_map_create(&config, &slot->map);
    slot->thing = calloc(1, sizeof(struct cut));
    RACE_CHECK(slot, r == 0 && slot->thing, "no memory");
    write_generation(slot, 0);
}

static void look(struct slot *slot, uint64_t seen[2])
{
    struct fm_snapshot *snapshot;
    int r = fm_map_snapshot(slot->map, FM_SNAPSHOT_CONSISTENT, &snapshot);
    RACE_CHECK(slot, r == 0, "snapshot: %d", r);
    RACE_CHECK(slot, fm_snapshot_count(snapshot) == 2, "%zu keys", fm_snapshot_count(snapshot));
    for (size_t i = 0; i < 2; i++) {
        const struct fm_member *member = fm_snapshot_at(snapshot, i);
        bool first = member->key.len == slot->key.len &&
                     memcmp(member->key.data, slot->key.data, slot->key.len) == 0;
        seen[!first] = fm_fiber_id(member->fiber);
    }
    fm_snapshot_free(snapshot);
}

static void write_or_look(struct slot *slot, struct part *part)
{
    struct cut *cut = slot->thing;
    if (part->role == 0)
        for (int generation = 1; generation < GENERATIONS; generation++)
            write_generation(slot, generation);
    else
        for (int i = 0; i < LOOKS; i++)
            look(slot, cut->seen[part->role][i]);
}

static int generation_of(struct slot *slot, int key, uint64_t id)
{
    struct cut *cut = slot->thing;
    for (int generation = 0; generation < GENERATIONS; generation++)
        if (cut->written[key][generation] == id)
            return generation;
    RACE_CHECK(slot, false, "fiber %llu was never under key %d", (unsigned long long)id, key);
    return -1;
}

static void one_instant(struct slot *slot)
{
    struct cut *cut = slot->thing;
    for (int i = 0; i < RACE_PARTS_MAX * LOOKS; i++) {
        const uint64_t *seen = cut->seen[i / LOOKS][i % LOOKS];
        if (!seen[0])
            continue;
        int first = generation_of(slot, 0, seen[0]), second = generation_of(slot, 1, seen[1]);
        RACE_CHECK(slot, first == second || first == second + 1,
                   "the first key in generation %d, the second in %d", first, second);
    }
    free(cut);
    slot->thing = NULL;
    slot->map = fm_map_destroy(slot->map);
    race_settle(slot);
}

const struct race cut_races[] = {
    /* F59 */
    { "x10_cut", "a consistent snapshot is one instant", two_keys, write_or_look, one_instant,
      NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
