/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_share.c - callers that share one run: X12 last waiter leaves x new caller
 *
 * Every call takes its argument along, so it counts as started whatever becomes of it: a body
 * has run with it, or it has been dropped.
 */
#include "tests/stress/race.h"

enum {
    ENDS_SLOWLY = 1, /* the run takes a while to end when it is given up */
    REPLACED = 2,    /* somebody replaces what is under the key */
    LEAVES_AT_ONCE = 4,
};

static int slowly(void *arg, struct fm_exit exit)
{
    for (int i = 0; i < 3; i++)
        fm_yield();
    return 0;
}

static struct fm_exit shared(void *arg)
{
    struct slot *slot = arg;
    race_enter(slot);
    if (slot->choice & ENDS_SLOWLY) {
        int r = fm_defer(slowly, NULL);
        RACE_CHECK(slot, r == 0, "defer: %d", r);
    }
    for (int i = 0; i < 4; i++) {
        if (fm_yield() < 0)
            return fm_interrupted();
    }
    return fm_ok(slot);
}

static void nothing(struct slot *slot) {}

static int wait_for_it(struct slot *slot, struct part *part, int64_t deadline_ns)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.flags = FM_MAP_STOP_WITH_LAST_WAITER;
    options.arg_drop = race_drop;
    atomic_fetch_add(&slot->started, 1);
    return fm_map_run_wait(slot->map, slot->key, shared, slot, &options, deadline_ns,
                           &slot->exit[part->index]);
}

/* Some leave early, some stay to the end: those never get the exit of a run that was given up. */
static void share(struct slot *slot, struct part *part)
{
    struct fm_exit *exit = &slot->exit[part->index];
    int r;

    if (part->role == 0) {
        r = wait_for_it(slot, part,
                        slot->choice & LEAVES_AT_ONCE ? 0 : fm_after_us(1 + part->random % 30));
        RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT || r == -ETIMEDOUT, "run_wait: %d", r);
        slot->result[part->index] = r;
        return;
    }
    if (part->role == 1 && (slot->choice & REPLACED)) {
        r = race_run_as(slot, part, race_quick, FM_REPLACE);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED, "run: %d", r);
        return;
    }
    r = wait_for_it(slot, part, FM_NEVER);
    slot->result[part->index] = r;
    RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT, "run_wait: %d", r);
    if (exit->kind == FM_INTERRUPTED)
        RACE_CHECK(slot, exit->reason == FM_BY_REPLACE && (slot->choice & REPLACED),
                   "interrupted by %s", fm_reason_name(exit->reason));
    else
        RACE_CHECK(slot, exit->kind == FM_SUCCESS, "%s %d", fm_exit_kind_name(exit->kind),
                   exit->code);
}

static void every_argument_is_accounted_for(struct slot *slot)
{
    race_empty(slot);
    race_release(slot);
}

const struct race share_races[] = {
    /* F61 */
    { "x12_last_waiter", "who stays never gets the exit of a run that was given up", nothing,
      share, every_argument_is_accounted_for, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
