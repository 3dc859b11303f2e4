/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_restart.c - calls that meet a fiber which is run again: X13 restart x remove x replace x close
 *
 * The lineage is slot->first; seen[0] counts its incarnations, seen[1] who is inside one, seen[3] drops of its arg.
 */
#include "tests/stress/race.h"

enum {
    BY_REMOVE = 1, /* else by interrupt first, which does not wait */
    REPLACED = 2,
    CLOSED = 4,
    CLEARED = 8,
    BACKS_OFF = 16,
    FAILS = 32, /* at once, the first, third ... */
    WAITS = 64, /* the others, until interrupted; else they succeed after a while */
    DRAINED = 128,
};

/* The map is drained: nobody else ends it, and it backs off for ever. */
static bool drained(struct slot *slot)
{
    return (slot->choice & DRAINED) && (slot->choice & CLOSED) && !(slot->choice & REPLACED);
}

static int leave(void *arg, struct fm_exit exit)
{
    struct slot *slot = arg;
    atomic_fetch_sub(&slot->seen[1], 1);
    return 0;
}

/* Whoever finds himself interrupted is told by whom. */
static void interrupter_is_known(struct slot *slot)
{
    struct fm_exit exit;
    if (fm_interrupt_info(&exit) == 0)
        RACE_CHECK(slot, exit.reason != FM_BY_NOBODY, "a mark without an interrupter");
}

static struct fm_exit incarnation(void *arg)
{
    struct slot *slot = arg;
    RACE_CHECK(slot, !atomic_load(&slot->closed), "a body begins after its end was awaited");
    bool odd = atomic_fetch_add(&slot->seen[0], 1) % 2 == 0;
    RACE_CHECK(slot, atomic_fetch_add(&slot->seen[1], 1) == 0, "two incarnations at once");
    interrupter_is_known(slot);
    int r = fm_defer(leave, slot);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
    if ((slot->choice & FAILS) && odd)
        return fm_fail(-EIO);
    r = (slot->choice & WAITS) && !drained(slot) ? fm_never() : fm_yield();
    interrupter_is_known(slot);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static void drop(void *arg)
{
    atomic_fetch_add(&((struct slot *)arg)->seen[3], 1);
}

/* Permanent; a schedule that ends, so that one whom nobody ends does not go on and on. */
static void restarting(struct slot *slot)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    restart.type = slot->round % 4 ? FM_PERMANENT : FM_TRANSIENT;
    restart.on_limit = FM_LIMIT_REMOVE;
    restart.schedule = fm_schedule_recurs(6);
    if (slot->choice & BACKS_OFF) {
        int64_t delay_ns = drained(slot) ? INT64_MAX : 20000;
        restart.schedule = fm_schedule_intersect(restart.schedule,
                                                 fm_schedule_spaced_ns(delay_ns));
    }
    options.restart = &restart;
    options.arg_drop = drop;
    int r = fm_map_run(slot->map, slot->key, incarnation, slot, &options, &slot->first);
    RACE_CHECK(slot, r == 0 && restart.schedule, "run: %d", r);
    fm_schedule_unref(restart.schedule);
}

/* What was counted when a call had ended it for good is what is counted at the end. */
static void frozen(struct slot *slot, struct part *part)
{
    slot->result[part->index] = 1 + (int)fm_fiber_incarnation(slot->first);
}

static void end_it(struct slot *slot, struct part *part)
{
    int r;
    if (!(slot->choice & BY_REMOVE)) {
        r = fm_map_interrupt(slot->map, slot->key);
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "interrupt: %d", r);
        /* Under the key is nobody else, or it has been replaced, which may not be over yet. */
        if (r == 0 && !(slot->choice & REPLACED))
            frozen(slot, part);
    }
    r = fm_map_remove(slot->map, slot->key, FM_NEVER);
    RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
    if (r == 0 && !(slot->choice & REPLACED) && !slot->result[part->index]) {
        RACE_CHECK(slot, fm_fiber_poll(slot->first, NULL) == 0, "it has been removed");
        frozen(slot, part);
    }
}

static void restart_and_end(struct slot *slot, struct part *part)
{
    int r;
    switch (part->role) {
    case 0:
        if (!drained(slot))
            end_it(slot, part);
        return;
    case 1:
        if (slot->choice & REPLACED) {
            r = race_run(slot, slot->key, race_park, FM_REPLACE, NULL);
            RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED || r == -ESHUTDOWN, "run: %d", r);
            if (r == FM_MAP_REPLACED)
                frozen(slot, part);
            return;
        }
        break;
    case 2:
        if (slot->choice & CLOSED) {
            struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
            policy.kind = drained(slot) ? FM_CLOSE_DRAIN : FM_CLOSE_CANCEL;
            r = fm_map_close(slot->map, &policy, NULL);
            RACE_CHECK(slot, r == 0, "close: %d", r);
            RACE_CHECK(slot, fm_fiber_incarnation(slot->first) <= 6, "the limit");
            atomic_store(&slot->closed, true);
            frozen(slot, part);
            return;
        }
        if (slot->choice & CLEARED) {
            r = fm_map_clear(slot->map, FM_NEVER);
            RACE_CHECK(slot, r == 0, "clear: %d", r);
            if (!(slot->choice & REPLACED))
                frozen(slot, part);
            return;
        }
        break;
    }
    for (int i = 0; i < 3; i++) {
        r = fm_fiber_interrupt(slot->first);
        RACE_CHECK(slot, r == 0 || r == FM_ALREADY_DONE, "interrupt: %d", r);
    }
}

static void count_is_frozen(struct slot *slot)
{
    struct fm_exit exit = race_finish(slot, fm_fiber_ref(slot->first));
    uint64_t count = fm_fiber_incarnation(slot->first);
    uint32_t bodies = atomic_load(&slot->seen[0]), dropped = atomic_load(&slot->seen[3]);

    /* one interrupted before its first step has lived an incarnation without a body */
    RACE_CHECK(slot, bodies == count + 1 || bodies == count, "%u bodies, incarnation %" PRIu64,
               bodies, count);
    RACE_CHECK(slot, dropped == (bodies == 0), "arg dropped %u times, %u bodies", dropped,
               bodies);
    RACE_CHECK(slot, atomic_load(&slot->seen[1]) == 0 && count <= 6, "%" PRIu64 " restarts",
               count);
    RACE_CHECK(slot,
               exit.kind == FM_INTERRUPTED || exit.kind == FM_SUCCESS || exit.code == -EIO,
               "%s %d", fm_exit_kind_name(exit.kind), exit.code);
    for (uint32_t i = 0; i < slot->parts; i++) {
        RACE_CHECK(slot, !slot->result[i] || (uint64_t)slot->result[i] == count + 1,
                   "incarnation %d, in the end %" PRIu64, slot->result[i] - 1, count);
    }
    if (slot->choice & CLOSED) {
        RACE_CHECK(slot, fm_map_size(slot->map) == 0, "not empty");
        race_release(slot);
        slot->map = fm_map_destroy(slot->map);
        race_settle(slot);
        return;
    }
    race_empty(slot);
    race_release(slot);
}

/* A drain interrupts nobody: who backs off for ever must hear of it, before he waits or in it. */
static void backing_off(struct slot *slot)
{
    slot->choice = (slot->choice & WAITS) | FAILS | BACKS_OFF | DRAINED | CLOSED;
    restarting(slot);
}

static void drain(struct slot *slot, struct part *part)
{
    if (part->role == 2)
        restart_and_end(slot, part);
}

const struct race restart_races[] = {
    { "x13_drained", "a drain ends whoever backs off", backing_off, drain, count_is_frozen,
      NULL },
    /* F63 */
    { "x13_restart", "the count of incarnations never grows after the end was ordered",
      restarting, restart_and_end, count_is_frozen, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
