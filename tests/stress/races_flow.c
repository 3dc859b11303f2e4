/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_flow.c - what may decide a structured call: its bodies, a deadline, its caller's interruption (X19)
 */
#include "tests/stress/race.h"

/* seen[0]: bodies that run. seen[1]: bodies that have succeeded. */
static int body_leaves(void *arg, struct fm_exit exit)
{
    struct slot *slot = arg;
    atomic_fetch_sub(&slot->seen[0], 1);
    atomic_fetch_add(&slot->seen[1], exit.kind == FM_SUCCESS);
    return 0;
}

static void body_enters(struct slot *slot)
{
    atomic_fetch_add(&slot->seen[0], 1);
    int r = fm_defer(body_leaves, slot);
    RACE_CHECK(slot, r == 0, "defer: %d", r);
}

static void none_runs_on(struct slot *slot)
{
    RACE_CHECK(slot, atomic_load(&slot->seen[0]) == 0, "%u bodies run on",
               atomic_load(&slot->seen[0]));
}

static struct fm_deferred *a_cell(struct slot *slot)
{
    struct fm_deferred *cell;
    int r = fm_deferred_create(&cell);
    RACE_CHECK(slot, r == 0, "deferred_create: %d", r);
    return cell;
}

static struct fm_exit value_of(struct slot *slot, struct fm_deferred *cell)
{
    struct fm_exit exit;
    int r = fm_deferred_await(cell, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

static void over(struct slot *slot)
{
    fm_deferred_succeed(slot->thing, slot);
    fm_deferred_succeed(slot->thing2, slot);
    struct fm_exit exit = race_finish(slot, fm_fiber_ref(slot->first));
    RACE_CHECK(slot, exit.kind == FM_SUCCESS || exit.kind == FM_INTERRUPTED, "%s %d",
               fm_exit_kind_name(exit.kind), exit.code);
    none_runs_on(slot);
    slot->thing = fm_deferred_destroy(slot->thing);
    slot->thing2 = fm_deferred_destroy(slot->thing2);
    race_release(slot);
}

/* Role 0 interrupts the caller; the others fill the cells that its bodies wait for. */
static void interrupt_or_fill(struct slot *slot, struct part *part)
{
    if (part->role == 0)
        fm_fiber_interrupt(slot->first);
    else if (part->role == 1)
        fm_deferred_succeed(slot->thing, slot);
    else
        fm_deferred_complete(slot->thing2, slot->choice & 1 ? fm_fail(-EIO) : fm_ok(slot));
}

/* ---- two bodies race; both are over when the race is ---- */

static struct fm_exit first_cell(void *arg)
{
    struct slot *slot = arg;
    body_enters(slot);
    return value_of(slot, slot->thing);
}

static struct fm_exit second_cell(void *arg)
{
    struct slot *slot = arg;
    body_enters(slot);
    return value_of(slot, slot->thing2);
}

static struct fm_exit call_race(void *arg)
{
    struct slot *slot = arg;
    const struct fm_task tasks[] = { { first_cell, slot }, { second_cell, slot } };
    size_t winner = 9;
    struct fm_exit exit;

    int r = fm_race(tasks, 2, &winner, &exit);
    none_runs_on(slot);
    if (r == -ECANCELED) {
        RACE_CHECK(slot, fm_check() == -ECANCELED, "cancelled by nobody");
        return fm_fail(r);
    }
    RACE_CHECK(slot, r == 0 && exit.kind == FM_SUCCESS && exit.value == slot, "race: %d, %s", r,
               fm_exit_kind_name(exit.kind));
    RACE_CHECK(slot, winner == 0 || (winner == 1 && !(slot->choice & 1)), "winner %zu", winner);
    return fm_ok(NULL);
}

static void begin_race(struct slot *slot)
{
    slot->thing = a_cell(slot);
    slot->thing2 = a_cell(slot);
    slot->first = race_spawn(slot, call_race);
}

/* ---- a bounded for_each under a deadline ---- */

enum { PIECES = 5 };

static struct fm_exit piece(void *arg, size_t index)
{
    struct slot *slot = arg;
    body_enters(slot);
    return index == 1   ? value_of(slot, slot->thing)
           : index == 3 ? value_of(slot, slot->thing2)
                        : fm_ok(NULL);
}

static struct fm_exit all_pieces(void *arg)
{
    struct slot *slot = arg;
    struct fm_exit exit;

    int r = fm_for_each(PIECES, 1 + slot->choice / 2 % 3, piece, slot, &exit);
    none_runs_on(slot);
    if (r < 0)
        return fm_fail(r);
    uint32_t done = atomic_load(&slot->seen[1]);
    RACE_CHECK(slot, exit.kind != FM_SUCCESS || done == PIECES, "%u of %d pieces", done,
               PIECES);
    RACE_CHECK(slot, exit.kind == FM_SUCCESS || exit.code == -EIO, "for_each: %s %d",
               fm_exit_kind_name(exit.kind), exit.code);
    return exit;
}

static struct fm_exit call_timeout(void *arg)
{
    struct slot *slot = arg;
    int64_t deadline = slot->choice / 8 % 4 == 0 ? fm_after_us(20) : FM_NEVER;
    struct fm_exit exit;

    int r = fm_timeout(all_pieces, slot, deadline, &exit);
    none_runs_on(slot);
    RACE_CHECK(slot, r == 0 || r == -ECANCELED || (r == -ETIMEDOUT && deadline != FM_NEVER),
               "timeout: %d", r);
    if (r == 0)
        RACE_CHECK(slot, exit.kind == FM_SUCCESS || exit.code == -EIO, "%s %d",
                   fm_exit_kind_name(exit.kind), exit.code);
    return r == -ECANCELED ? fm_fail(r) : fm_ok(NULL);
}

static void begin_for_each(struct slot *slot)
{
    slot->thing = a_cell(slot);
    slot->thing2 = a_cell(slot);
    slot->first = race_spawn(slot, call_timeout);
}

const struct race flow_races[] = {
    { "flow_race", "of two bodies and an interruption one decides, and nothing runs on",
      begin_race, interrupt_or_fill, over, NULL },
    { "flow_for_each",
      "a failure, a deadline, an interruption: one decides, and nothing runs on",
      begin_for_each, interrupt_or_fill, over, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
