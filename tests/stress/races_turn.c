/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_turn.c - bodies that wait for others of their key: X14 a chain of replacements that are awaited, X15 a queue
 *
 * seen[0] counts who is inside a body or its finalizer: never two. seen[1] counts bodies, in the order of their turns.
 */
#include "tests/stress/race.h"

enum {
    ENDS_SLOWLY = 1,
    REMOVED = 2,     /* somebody removes whoever is under the key */
    INTERRUPTED = 4, /* somebody interrupts his own by its handle */
    CLEARED = 8,
    CLOSED = 16, /* and ... */
    DRAINED = 32,
    MIXED = 64, /* awaited replacements and a queue under one key */
    ENDS_BY_ITSELF = 128,
    UNDISTURBED = 256, /* nothing of what ends fibers, above */
    ENDING = REMOVED | INTERRUPTED | CLEARED | CLOSED | ENDS_BY_ITSELF,
};

static bool chosen(struct slot *slot, uint64_t what)
{
    uint64_t choice = slot->choice;
    return (choice & UNDISTURBED ? choice & ~(uint64_t)ENDING : choice) & what;
}

static int leave(void *arg, struct fm_exit exit)
{
    struct slot *slot = arg;
    for (int i = 0; chosen(slot, ENDS_SLOWLY) && i < 2; i++)
        fm_yield();
    RACE_CHECK(slot, atomic_fetch_sub(&slot->seen[0], 1) == 1, "two bodies at once");
    return 0;
}

static void alone(struct slot *slot)
{
    race_enter(slot);
    RACE_CHECK(slot, atomic_fetch_add(&slot->seen[0], 1) == 0, "two bodies at once");
    int r = fm_defer(leave, slot);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
    atomic_fetch_add(&slot->seen[1], 1);
}

static struct fm_exit body(void *arg)
{
    struct slot *slot = arg;
    alone(slot);
    if (!chosen(slot, ENDS_BY_ITSELF))
        return fm_fail(fm_never());
    return fm_yield() < 0 ? fm_interrupted() : fm_ok(NULL);
}

static struct fm_exit short_body(void *arg)
{
    alone(arg);
    return fm_yield() < 0 ? fm_interrupted() : fm_ok(NULL);
}

static void nothing(struct slot *slot) {}

/* The books count a queued fiber as started. */
static int run_one(struct slot *slot, struct part *part, fm_entry_fn *entry, uint32_t conflict)
{
    int r = race_run_as(slot, part, entry, conflict);
    if (r == FM_MAP_QUEUED)
        atomic_fetch_add(&slot->started, 1);
    RACE_CHECK(slot,
               r == 0 || r == FM_MAP_REPLACED || r == FM_MAP_QUEUED ||
                   (r == -ESHUTDOWN && chosen(slot, CLOSED)),
               "run: %d", r);
    return r;
}

static void end_some(struct slot *slot, struct part *part)
{
    int r = 0;
    if (chosen(slot, CLOSED)) {
        struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
        bool drained = chosen(slot, DRAINED) && chosen(slot, ENDS_BY_ITSELF);
        policy.kind = drained ? FM_CLOSE_DRAIN : FM_CLOSE_CANCEL;
        r = fm_map_close(slot->map, &policy, NULL);
        atomic_store(&slot->closed, true);
    } else if (chosen(slot, CLEARED)) {
        r = fm_map_clear(slot->map, FM_NEVER);
    } else if (chosen(slot, REMOVED)) {
        r = fm_map_remove(slot->map, slot->key, FM_NEVER);
        r = r == -ENOENT ? 0 : r;
    }
    RACE_CHECK(slot, r == 0, "%d", r);
}

/* ---- X14: all replace and await. One body at a time; of those who never began each has dropped its argument. ---- */

static void replace_and_await(struct slot *slot, struct part *part)
{
    if (part->role == 0 && chosen(slot, REMOVED | CLEARED | CLOSED)) {
        end_some(slot, part);
        return;
    }
    int runs = 1 + (int)(part->random % 2);
    for (int i = 0; i < runs; i++) {
        slot->fiber[part->index] = fm_fiber_unref(slot->fiber[part->index]);
        int r = run_one(slot, part, body, FM_REPLACE_AWAIT);
        if (r >= 0 && part->role == 1 && chosen(slot, INTERRUPTED))
            fm_fiber_interrupt(slot->fiber[part->index]);
    }
}

static void only_the_last_is_left(struct slot *slot)
{
    bool ended = chosen(slot, ENDING);
    if (!ended) {
        /* Whoever is under the key begins, since all before it end. */
        struct fm_fiber *last = NULL;
        int r = fm_map_get(slot->map, slot->key, &last);
        RACE_CHECK(slot, r == 0, "get: %d", r);
        while (fm_map_count(slot->map, FM_MEMBER_ZOMBIE) ||
               atomic_load(&slot->entered) == atomic_load(&slot->left))
            fm_yield();
        RACE_CHECK(slot, fm_fiber_poll(last, NULL) == -EAGAIN && fm_map_size(slot->map) == 1,
                   "the last one");
        RACE_CHECK(slot,
                   atomic_load(&slot->started) ==
                       1 + atomic_load(&slot->left) + atomic_load(&slot->dropped),
                   "one is left");
        fm_fiber_unref(last);
    }
    if (chosen(slot, CLOSED)) {
        race_release(slot);
        slot->map = fm_map_destroy(slot->map);
        race_settle(slot);
    } else {
        race_empty(slot);
        race_release(slot);
    }
    RACE_CHECK(slot, atomic_load(&slot->seen[0]) == 0, "somebody is inside");
}

/* ---- X15: all queue, some replace and await. None lost, no overlap. ---- */

static void queue(struct slot *slot, struct part *part)
{
    if (part->role == 0 && chosen(slot, REMOVED | CLEARED | CLOSED)) {
        end_some(slot, part);
        return;
    }
    bool replaces = chosen(slot, MIXED) && part->role == 1;
    for (int i = 0; i < 2; i++) {
        slot->fiber[part->index] = fm_fiber_unref(slot->fiber[part->index]);
        int r = run_one(slot, part, short_body, replaces && i ? FM_REPLACE_AWAIT : FM_QUEUE);
        if (r >= 0 && part->role == 2 && chosen(slot, INTERRUPTED))
            fm_fiber_interrupt(slot->fiber[part->index]);
    }
}

static void none_is_lost(struct slot *slot)
{
    bool cut = chosen(slot, REMOVED | CLEARED | CLOSED | INTERRUPTED | MIXED);
    int r = fm_map_await_empty(slot->map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await_empty: %d", r);
    r = fm_map_await_quiescent(slot->map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await_quiescent: %d", r);
    if (!cut)
        RACE_CHECK(slot, atomic_load(&slot->seen[1]) == atomic_load(&slot->started),
                   "%u bodies", atomic_load(&slot->seen[1]));
    if (chosen(slot, CLOSED)) {
        race_release(slot);
        slot->map = fm_map_destroy(slot->map);
        race_settle(slot);
    } else {
        race_empty(slot);
        race_release(slot);
    }
    RACE_CHECK(slot, atomic_load(&slot->seen[0]) == 0, "somebody is inside");
}

const struct race turn_races[] = {
    /* F60 */
    { "x14_replace_await", "one body at a time, only the last of a chain begins", nothing,
      replace_and_await, only_the_last_is_left, NULL },
    /* F62 */
    { "x15_queue", "one body at a time, none is lost", nothing, queue, none_is_lost, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
