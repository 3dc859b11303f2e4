/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_replace.c - calls that want the same key: X1 run x run, X2 keep x keep, X3 exit x replace, X4 exit x remove
 */
#include "tests/stress/race.h"

/* The fiber under the key by reference, or NULL. */
static struct fm_fiber *under(struct slot *slot)
{
    struct fm_fiber *fiber = NULL;
    int r = fm_map_get(slot->map, slot->key, &fiber);
    RACE_CHECK(slot, r == (fiber ? 0 : -ENOENT), "get: %d", r);
    return fiber;
}

static void incumbent(struct slot *slot)
{
    int r = race_run(slot, slot->key, race_park, FM_FAIL, &slot->first);
    RACE_CHECK(slot, r == 0, "run: %d", r);
}

static void expect(struct slot *slot, struct fm_exit exit, int reason)
{
    RACE_CHECK(slot, exit.kind == FM_INTERRUPTED && exit.reason == reason, "%s %d by %s",
               fm_exit_kind_name(exit.kind), exit.code, fm_reason_name(exit.reason));
}

/* ---- X1: all run, replacing. One is left; all others end, replaced. ---- */

static void nothing(struct slot *slot) {}

static void replace(struct slot *slot, struct part *part)
{
    int r = race_run_as(slot, part, race_park, FM_REPLACE);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED, "run: %d", r);
    RACE_CHECK(slot, fm_map_has(slot->map, slot->key), "a gap in a replacement");
}

static void one_is_left(struct slot *slot)
{
    struct fm_fiber *last = under(slot);
    uint32_t first = 0, found = 0;

    RACE_CHECK(slot, last && fm_map_size(slot->map) == 1, "size %zu", fm_map_size(slot->map));
    for (uint32_t i = 0; i < slot->parts; i++) {
        first += slot->result[i] == 0;
        if (slot->fiber[i] == last)
            found++;
        else
            expect(slot, race_finish(slot, fm_fiber_ref(slot->fiber[i])), FM_BY_REPLACE);
    }
    RACE_CHECK(slot, first == 1 && found == 1, "%u found the key free, %u are under it", first,
               found);
    uint32_t ended = atomic_load(&slot->left) + atomic_load(&slot->dropped);
    RACE_CHECK(slot, atomic_load(&slot->started) == ended + 1, "%u have ended", ended);
    RACE_CHECK(slot, fm_fiber_poll(last, NULL) == -EAGAIN, "the last one has ended");
    fm_fiber_unref(last);
    race_empty(slot);
    race_release(slot);
}

/* ---- X2: all run if the key is free. One starts, all get it. Odd rounds: what starts ends at once. ---- */

static void keep(struct slot *slot, struct part *part)
{
    int r = race_run_as(slot, part, slot->round & 1 ? race_quick : race_park, FM_KEEP);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT, "run: %d", r);
}

static void one_started(struct slot *slot)
{
    uint32_t starts = 0;

    for (uint32_t i = 0; i < slot->parts; i++) {
        bool same = false;
        for (uint32_t j = 0; j < slot->parts; j++)
            same |= slot->result[j] == 0 && slot->fiber[j] == slot->fiber[i];
        RACE_CHECK(slot, slot->fiber[i] && same, "the handle is of nobody who was started");
        starts += slot->result[i] == 0;
    }
    RACE_CHECK(slot, starts == atomic_load(&slot->started) && starts >= 1, "%u starts", starts);
    RACE_CHECK(slot, slot->round & 1 || starts == 1, "%u starts", starts);
    race_empty(slot);
    race_release(slot);
}

/* ---- X3: the incumbent ends while others replace it. The successor stays. ---- */

static void end_or_replace(struct slot *slot, struct part *part)
{
    int r;
    if (part->role == 0) {
        r = fm_fiber_interrupt(slot->first);
        RACE_CHECK(slot, r == 0 || r == FM_ALREADY_DONE, "interrupt: %d", r);
        return;
    }
    r = race_run_as(slot, part, race_park, FM_REPLACE);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED, "run: %d", r);
    RACE_CHECK(slot, fm_map_has(slot->map, slot->key), "a gap in a replacement");
}

static void successor_stays(struct slot *slot)
{
    struct fm_exit exit = race_finish(slot, fm_fiber_ref(slot->first));
    RACE_CHECK(slot, exit.kind == FM_INTERRUPTED, "the incumbent: %s",
               fm_exit_kind_name(exit.kind));
    struct fm_fiber *last = under(slot);
    uint32_t found = 0, free_found = 0;
    for (uint32_t i = 0; i < slot->parts; i++) {
        found += slot->fiber[i] && slot->fiber[i] == last;
        free_found += slot->fiber[i] && slot->result[i] == 0;
        if (slot->fiber[i] && slot->fiber[i] != last)
            expect(slot, race_finish(slot, fm_fiber_ref(slot->fiber[i])), FM_BY_REPLACE);
    }
    RACE_CHECK(slot, found == 1 && free_found <= 1, "%u under the key, %u found it free", found,
               free_found);
    uint32_t ended = atomic_load(&slot->left) + atomic_load(&slot->dropped);
    RACE_CHECK(slot, atomic_load(&slot->started) == ended + 1, "%u have ended", ended);
    RACE_CHECK(slot, fm_fiber_poll(last, NULL) == -EAGAIN && fm_map_size(slot->map) == 1,
               "the successor");
    fm_fiber_unref(last);
    race_empty(slot);
    race_release(slot);
}

/* ---- X4: the incumbent ends while others remove it and one runs anew. ---- */

static void end_or_remove(struct slot *slot, struct part *part)
{
    if (part->role == 0) {
        fm_fiber_interrupt(slot->first);
    } else if (part->role == 1 && slot->round % 2) {
        int r = race_run_as(slot, part, race_park, slot->round % 4 == 1 ? FM_KEEP : FM_REPLACE);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT || r == FM_MAP_REPLACED, "run: %d", r);
    } else {
        int r = fm_map_remove(slot->map, slot->key, FM_NEVER);
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
        slot->result[part->index] = r;
        if (slot->round % 2 == 0)
            RACE_CHECK(slot, !fm_map_has(slot->map, slot->key), "there after remove: %d", r);
    }
}

static void removed(struct slot *slot)
{
    struct fm_exit exit = race_finish(slot, fm_fiber_ref(slot->first));
    RACE_CHECK(slot, exit.kind == FM_INTERRUPTED, "the incumbent: %s",
               fm_exit_kind_name(exit.kind));
    RACE_CHECK(slot, slot->round % 2 || !fm_map_has(slot->map, slot->key),
               "there after remove");
    int r = fm_map_remove(slot->map, slot->key, FM_NEVER);
    RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
    RACE_CHECK(slot, fm_map_remove(slot->map, slot->key, FM_NEVER) == -ENOENT, "removed twice");
    race_empty(slot);
    race_release(slot);
}

const struct race replace_races[] = {
    /* F40 */
    { "x1_run_run", "all but one of those who replace each other end", nothing, replace,
      one_is_left, NULL },
    /* F41 */
    { "x2_keep_keep", "one start, one handle", nothing, keep, one_started, NULL },
    /* F39 */
    { "x3_exit_replace", "an exit never touches the successor", incumbent, end_or_replace,
      successor_stays, NULL },
    /* F43 */
    { "x4_exit_remove", "a remove that meets the exit or a new run comes back", incumbent,
      end_or_remove, removed, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
