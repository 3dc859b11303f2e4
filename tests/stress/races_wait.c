/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_wait.c - what may end one wait: X19 value x timeout x interrupt, on a cell and on a
 * permit
 */
#include "tests/stress/race.h"

static int64_t short_deadline(struct slot *slot)
{
    return slot->choice % 8 == 0 ? fm_after_us(20) : FM_NEVER;
}

/*
 * ---- X19: one cell, completed from two sides, its waiter interrupted, a deadline ----
 *
 * seen[0]: 1 + what ended the first wait (0 value, 1 timeout, 2 interrupt). seen[1]: the second
 * wait may end. seen[2]: completions that were the first. seen[3]: the first wait begins. The
 * second wait is masked, so that only its own value ends it: who was too late for the first
 * must not.
 */

static struct fm_exit wait_twice(void *arg)
{
    struct slot *slot = arg;
    struct fm_exit exit = { .kind = 255 };

    atomic_store(&slot->seen[3], 1);
    int r = fm_deferred_await(slot->thing, short_deadline(slot), &exit);
    RACE_CHECK(slot, r == 0 || r == -ETIMEDOUT || r == -ECANCELED, "first wait: %d", r);
    RACE_CHECK(slot, r != 0 || (exit.kind == FM_SUCCESS && exit.value == slot),
               "another value");
    RACE_CHECK(slot, r != -ECANCELED || fm_check() == -ECANCELED, "the mark does not stay");
    atomic_store(&slot->seen[0], r == 0 ? 1 : r == -ETIMEDOUT ? 2 : 3);

    fm_mask();
    r = fm_deferred_await(slot->thing2, FM_NEVER, NULL);
    RACE_CHECK(slot, r == 0 && atomic_load(&slot->seen[1]) == 1, "second wait: %d", r);
    fm_unmask();
    return fm_fail(fm_check());
}

static void two_cells(struct slot *slot)
{
    struct fm_deferred *first, *second;
    int r = fm_deferred_create(&first);
    RACE_CHECK(slot, r == 0, "deferred_create: %d", r);
    r = fm_deferred_create(&second);
    RACE_CHECK(slot, r == 0, "deferred_create: %d", r);
    slot->thing = first;
    slot->thing2 = second;
    slot->first = race_spawn(slot, wait_twice);
    while (slot->choice & 16 && !atomic_load(&slot->seen[3]))
        fm_yield(); /* else it may not have begun when all is over */
}

static void complete_or_interrupt(struct slot *slot, struct part *part)
{
    if (part->role == 0) {
        fm_fiber_interrupt(slot->first);
        return;
    }
    int r = fm_deferred_succeed(slot->thing, slot);
    RACE_CHECK(slot, r == 0 || r == FM_ALREADY_DONE, "succeed: %d", r);
    atomic_fetch_add(&slot->seen[2], r == 0);
}

static void one_reason(struct slot *slot)
{
    RACE_CHECK(slot, atomic_load(&slot->seen[2]) == 1, "%u completions were the first",
               atomic_load(&slot->seen[2]));
    atomic_store(&slot->seen[1], 1);
    fm_deferred_succeed(slot->thing2, NULL);
    struct fm_exit exit = race_finish(slot, fm_fiber_ref(slot->first));
    RACE_CHECK(slot, exit.kind == FM_INTERRUPTED && exit.reason == FM_BY_USER, "%s by %s",
               fm_exit_kind_name(exit.kind), fm_reason_name(exit.reason));
    uint32_t ended_by = atomic_load(&slot->seen[0]);
    /* an interruption before the first step leaves nothing behind */
    RACE_CHECK(slot, ended_by <= 3, "ended by %u", ended_by);
    slot->thing = fm_deferred_destroy(slot->thing);
    slot->thing2 = fm_deferred_destroy(slot->thing2);
    race_release(slot);
}

/* ---- X19: one permit, given back while its waiters leave. It is somebody's, or free. ---- */

static struct fm_exit acquire_one(void *arg)
{
    struct slot *slot = arg;
    int r = fm_semaphore_acquire(slot->thing, 1, short_deadline(slot));
    RACE_CHECK(slot, r == 0 || r == -ETIMEDOUT || r == -ECANCELED, "acquire: %d", r);
    atomic_fetch_add(&slot->seen[0], r == 0);
    return r == 0 ? fm_ok(NULL) : fm_fail(r);
}

static void no_permit(struct slot *slot)
{
    struct fm_semaphore *semaphore;
    int r = fm_semaphore_create(0, &semaphore);
    RACE_CHECK(slot, r == 0, "semaphore_create: %d", r);
    slot->thing = semaphore;
    slot->first = race_spawn(slot, acquire_one);
    slot->second = race_spawn(slot, acquire_one);
}

static void release_or_interrupt(struct slot *slot, struct part *part)
{
    int r;
    switch (part->role) {
    case 0:
        r = fm_semaphore_release(slot->thing, 1);
        RACE_CHECK(slot, r == 0, "release: %d", r);
        break;
    case 1: fm_fiber_interrupt(slot->first); break;
    default:
        if (slot->choice & 1)
            fm_fiber_interrupt(slot->second);
        break;
    }
}

static void permit_is_there(struct slot *slot)
{
    /*
     * Where it went to one of them, or to nobody, the other waits until it is interrupted here.
     */
    if (atomic_load(&slot->seen[0]) == 0)
        fm_yield();
    fm_fiber_interrupt(slot->first);
    fm_fiber_interrupt(slot->second);
    race_finish(slot, fm_fiber_ref(slot->first));
    race_finish(slot, fm_fiber_ref(slot->second));
    bool is_free = fm_semaphore_try_acquire(slot->thing, 1) == 0;
    RACE_CHECK(slot, atomic_load(&slot->seen[0]) + is_free == 1, "%u have it, free: %d",
               atomic_load(&slot->seen[0]), is_free);
    slot->thing = fm_semaphore_destroy(slot->thing);
    race_release(slot);
}

const struct race wait_races[] = {
    /* F5, F29 */
    { "x19_one_wait",
      "value, timeout, interrupt: one ends the wait, the next wait is untouched", two_cells,
      complete_or_interrupt, one_reason, NULL },
    /* F75 */
    { "x19_permit", "a permit that meets leaving waiters is not lost", no_permit,
      release_or_interrupt, permit_is_there, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
