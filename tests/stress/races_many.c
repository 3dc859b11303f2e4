/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_many.c - calls over more than one key: all start or none does, beside runs of one of
 * the keys, lookups, snapshots, and a close
 */
#include "tests/stress/race.h"

/*
 * The roles: one starts both keys or none; one wants the second key alone, or removes who is
 * under it; one looks, key by key or by a snapshot; one closes, in some rounds. Where there are
 * two places, the two gather those of whoever has left a key and not yet his place.
 */
enum { CLOSES = 1, SNAPSHOT = 2, REMOVES = 4, ENDS = 8, LIMITED = 16 };

static bool chosen(const struct slot *slot, uint64_t what)
{
    return slot->choice & what;
}

/* The keys in different stripes; other races want them in one. max_live 0: no limit. */
static void wide_map_of(struct slot *slot, uint32_t max_live)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.runtime = slot->runtime;
    config.stripe_count = 8;
    config.max_live = max_live;
    slot->map = fm_map_destroy(slot->map);
    int r = fm_map_create(&config, &slot->map);
    RACE_CHECK(slot, r == 0, "map_create: %d", r);
}

static void map_for_both(struct slot *slot)
{
    wide_map_of(slot, chosen(slot, LIMITED) ? 2 : 0);
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

/*
 * ---- a move, beside what goes with X10 (snapshots), X3 (exits), X4 (removes), X1
 * (replacements) and X5 (a close) ----
 *
 * One moves the incumbent to the second key, and back where nobody looks; one does what the
 * round says, to either key; the others look.
 */
enum {
    MOVE_ENDS,
    MOVE_REPLACES,
    MOVE_REMOVES,
    MOVE_CLEARS,
    MOVE_CLOSES,
    MOVE_DETACHES,
    MOVE_SETS,
    MOVE_LOOKS,
    MOVE_KINDS
};

static unsigned kind_of(const struct slot *slot)
{
    return (unsigned)(slot->choice >> 8) % MOVE_KINDS;
}

static void one_to_move(struct slot *slot)
{
    wide_map_of(slot, 0);
    int r = race_run(slot, slot->key, race_park, FM_FAIL, &slot->first);
    RACE_CHECK(slot, r == 0, "run: %d", r);
}

static void go_over(struct slot *slot)
{
    int steps = kind_of(slot) == MOVE_LOOKS ? 1 : 4;
    for (int i = 0; i < steps; i++) {
        int r = fm_map_move(slot->map, i % 2 ? slot->key2 : slot->key,
                            i % 2 ? slot->key : slot->key2);
        RACE_CHECK(slot,
                   r == 0 || ((r == -ENOENT || r == -EEXIST) && kind_of(slot) != MOVE_LOOKS) ||
                       (r == -ESHUTDOWN && kind_of(slot) == MOVE_CLOSES),
                   "move: %d", r);
    }
}

static void disturb(struct slot *slot, struct part *part)
{
    struct fm_key key = part->random & 1 ? slot->key : slot->key2;
    struct fm_fiber *fiber = NULL;
    int r = 0;

    switch (kind_of(slot)) {
    case MOVE_ENDS: r = fm_fiber_stop(slot->first, FM_NEVER, NULL); break;
    case MOVE_REPLACES:
        r = race_run(slot, key, race_park, FM_REPLACE, &slot->fiber[part->index]);
        break;
    case MOVE_REMOVES: r = fm_map_remove(slot->map, key, FM_NEVER); break;
    case MOVE_CLEARS: r = fm_map_clear(slot->map, FM_NEVER); break;
    case MOVE_CLOSES:
        r = fm_map_close(slot->map, NULL, NULL);
        atomic_store(&slot->closed, true);
        break;
    case MOVE_DETACHES:
        r = fm_map_detach(slot->map, key, &fiber);
        if (fiber)
            race_finish(slot, (fm_fiber_interrupt(fiber), fiber));
        break;
    case MOVE_SETS: r = fm_map_set(slot->map, key, slot->first, NULL); break;
    default: break;
    }
    RACE_CHECK(slot, r >= 0 || r == -ENOENT, "%d", r);
    bool ended = kind_of(slot) == MOVE_ENDS || kind_of(slot) == MOVE_CLEARS;
    RACE_CHECK(slot, !ended || fm_fiber_poll(slot->first, NULL) != -EAGAIN,
               "it was there, and has been missed");
}

static bool stands(struct slot *slot, struct fm_key key)
{
    struct fm_fiber *fiber = NULL;
    bool first = fm_map_get(slot->map, key, &fiber) == 0 && fiber == slot->first;
    fm_fiber_unref(fiber);
    return first;
}

/* It goes to the second key, once: there, then, nowhere else; and not here, then there. */
static void look_for_it(struct slot *slot, struct part *part)
{
    struct fm_snapshot *snapshot;
    size_t found = 0;

    if (part->random >> 8 & 1)
        RACE_CHECK(slot, !stands(slot, slot->key2) || !stands(slot, slot->key), "under both");
    else
        RACE_CHECK(slot, stands(slot, slot->key) || stands(slot, slot->key2), "under neither");
    int r = fm_map_snapshot(slot->map, part->random >> 9 & FM_SNAPSHOT_CONSISTENT, &snapshot);
    RACE_CHECK(slot, r == 0, "snapshot: %d", r);
    for (size_t i = 0; i < fm_snapshot_count(snapshot); i++)
        found += fm_snapshot_at(snapshot, i)->fiber == slot->first;
    RACE_CHECK(slot, found == 1, "%zu times in a snapshot", found);
    fm_snapshot_free(snapshot);
}

static void move_or_disturb(struct slot *slot, struct part *part)
{
    if (part->role == 0)
        go_over(slot);
    else if (kind_of(slot) == MOVE_LOOKS)
        look_for_it(slot, part);
    else if (part->role == 1)
        disturb(slot, part);
}

static void nothing_is_left_of_it(struct slot *slot)
{
    if (kind_of(slot) == MOVE_LOOKS)
        RACE_CHECK(slot, stands(slot, slot->key2) && !stands(slot, slot->key),
                   "it has not moved");
    if (kind_of(slot) == MOVE_DETACHES)
        fm_fiber_interrupt(slot->first);
    race_finish(slot, (fm_fiber_interrupt(slot->first), fm_fiber_ref(slot->first)));
    RACE_CHECK(slot, !stands(slot, slot->key) && !stands(slot, slot->key2),
               "found after its end");
    race_release(slot);
    if (atomic_load(&slot->closed))
        race_settle(slot);
    else
        race_empty(slot);
    slot->map = fm_map_destroy(slot->map);
}

const struct race many_races[] = {
    /* F59 */
    { "x10_move", "a fiber that is moved is under one key at each instant", one_to_move,
      move_or_disturb, nothing_is_left_of_it, NULL },
    { "all_or_nothing", "all start at one instant or none does", map_for_both, start_or_look,
      both_or_none_started, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
