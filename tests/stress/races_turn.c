/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_turn.c - bodies that wait for others of their key: X14 a chain of replacements that are awaited, X15 a queue; and
 * runs and sets that give way to a queue
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

/*
 * ---- Who gives way gives way to a queue, too, also when the holder ends while he looks. ----
 *
 * Sets: each has his own in the queue, which has ended before he puts somebody else there. Runs: one takes the free
 * key, another queues behind it before it ends; who is started beside them finds both ended.
 */

enum { QUEUED_BEHIND, MAY_END, LAST_ENDED }; /* of seen */

static int queue_up(struct slot *slot, fm_entry_fn *entry, void *arg)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_QUEUE;
    int r = fm_map_run(slot->map, slot->key, entry, arg, &options, NULL);
    RACE_CHECK(slot, r == 0 || r == FM_MAP_QUEUED, "run: %d", r);
    return r;
}

/* Its end in the map, and so all that it did, is before the start of who gives way to it. */
static struct fm_exit say_done(void *exit)
{
    *(struct fm_exit *)exit = fm_ok(NULL);
    return fm_ok(NULL);
}

static struct fm_exit outsider(void *slot)
{
    return fm_yield() < 0 ? fm_interrupted() : fm_ok(slot);
}

static void queue_and_set(struct slot *slot, struct part *part)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_exit *done = &slot->exit[part->index];
    options.conflict = part->random & 1 ? FM_KEEP : FM_FAIL;
    *done = fm_fail(-EBUSY);
    queue_up(slot, say_done, done);
    for (int i = 0; i < 4; i++) {
        struct fm_fiber *fiber = race_spawn(slot, outsider);
        int r = fm_map_set(slot->map, slot->key, fiber, &options);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT || r == -EEXIST, "set: %d", r);
        RACE_CHECK(slot, r != 0 || done->kind == FM_SUCCESS, "set before one in the queue");
        fm_fiber_unref(fiber);
    }
}

static struct fm_exit first_of_two(void *arg)
{
    struct slot *slot = arg;
    while (!atomic_load(&slot->seen[MAY_END])) {
        int r = fm_yield();
        RACE_CHECK(slot, r == 0, "yield: %d", r);
    }
    return fm_ok(NULL);
}

static struct fm_exit last_of_two(void *arg)
{
    struct slot *slot = arg;
    atomic_store(&slot->seen[LAST_ENDED], 1);
    return fm_ok(NULL);
}

static struct fm_exit beside_two(void *arg)
{
    struct slot *slot = arg;
    RACE_CHECK(slot, !atomic_load(&slot->seen[QUEUED_BEHIND]) || atomic_load(&slot->seen[LAST_ENDED]),
               "started before one in the queue");
    return race_quick(slot);
}

static void give_way(struct slot *slot, struct part *part)
{
    static const uint32_t conflicts[] = { FM_JOIN, FM_JOIN, FM_KEEP, FM_FAIL };
    if (slot->choice & 1) {
        queue_and_set(slot, part);
    } else if (part->role == 0) {
        bool free = queue_up(slot, first_of_two, slot) == 0;
        bool behind = queue_up(slot, last_of_two, slot) == FM_MAP_QUEUED;
        atomic_store(&slot->seen[QUEUED_BEHIND], free && behind);
        atomic_store(&slot->seen[MAY_END], 1);
    } else {
        int r = race_run_as(slot, part, beside_two, conflicts[part->random % 4]);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT || r == -EEXIST, "run: %d", r);
    }
}

static void all_have_ended(struct slot *slot)
{
    int r = fm_map_await_empty(slot->map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await_empty: %d", r);
    race_empty(slot);
    race_release(slot);
}

const struct race turn_races[] = {
    /* F60 */
    { "x14_replace_await", "one body at a time, only the last of a chain begins", nothing,
      replace_and_await, only_the_last_is_left, NULL },
    /* F62 */
    { "x15_queue", "one body at a time, none is lost", nothing, queue, none_is_lost, NULL },
    { "queue_first", "who gives way to a holder gives way to a queue", nothing, give_way,
      all_have_ended, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
