/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_fibers.c - the fibers of a history: what they do, what they tell of themselves, and
 * their ends
 *
 * An exit lies between the end of the fiber's last finalizer and the moment that somebody saw
 * the fiber ended; a set of a fiber that had
 * ended has an exit of its own within the set. A fiber that queued took its key between its run
 * and the begin of its body.
 */
#include "tests/stress/history.h"

#include <errno.h>

/* ---- recording ---- */

struct record *history_note(struct client *c, enum op op, int32_t key, uint64_t arg,
                            int64_t call_ns, int64_t return_ns)
{
    STRESS_CHECK(c->count < c->room, "the buffer of client %u is full", c->number);
    struct record *record = &c->records[c->count++];
    *record = (struct record) {
        .call_ns = call_ns,
        .return_ns = return_ns,
        .arg = arg,
        .by = fm_fiber_id(fm_fiber_self()),
        .key = key,
        .op = (uint8_t)op,
    };
    return record;
}

void history_note_number(struct record *record, uint64_t number)
{
    record->result = NUMBER;
    record->number = number;
}

void history_note_truth(struct record *record, bool truth)
{
    record->result = TRUTH;
    record->number = truth;
}

/* ---- bodies ---- */

static int told_end(void *arg, struct fm_exit exit)
{
    struct told *told = arg;
    atomic_store(&told->end_ns, fm_now_ns());
    return 0;
}

static bool step(struct told *told)
{
    int64_t begin_ns = fm_now_ns();
    if (fm_check() < 0)
        return false;
    int at = told->steps < STEPS_MAX ? told->steps++
                                     : STEPS_MAX - 1; /* the first ones, and the last */
    told->step_begin_ns[at] = begin_ns;
    told->step_end_ns[at] = fm_now_ns();
    return true;
}

/* The caller has no handle: the fiber gives one. */
static void tell_self(struct told *told)
{
    told->id = fm_fiber_id(fm_fiber_self());
    atomic_store(&told->self, fm_fiber_ref(fm_fiber_self()));
}

/*
 * Of run_wait: in the call itself where that joins another fiber; else in the fiber, which has
 * not begun.
 */
void history_never_begun(void *arg)
{
    struct told *told = arg;
    if (fm_fiber_self() == told->caller)
        told->refused = true;
    else
        tell_self(told);
}

struct fm_exit history_body(void *arg)
{
    struct told *told = arg;
    if (told->by_run_wait)
        tell_self(told);
    told->begin_ns = fm_now_ns();
    if (fm_defer(told_end, told) < 0)
        return fm_fail(-ENOMEM);
    bool goes_on = step(told);
    switch (told->kind % 3) {
    case 0: break;
    case 1:
        for (uint64_t i = told->kind / 3 % 24; i && goes_on; i--) {
            fm_yield();
            goes_on = step(told);
        }
        break;
    default: fm_never(); break;
    }
    if (fm_check() < 0)
        return fm_interrupted();
    return fm_ok((void *)(uintptr_t)fm_fiber_id(fm_fiber_self()));
}

/* ---- the fibers of a client ---- */

struct told *history_new_told(struct client *c)
{
    struct told *told = &c->told[c->told_count];
    told->kind = stress_random(&c->random) >> 8;
    return told;
}

void history_own(struct client *c, struct fm_fiber *fiber, struct told *told, int32_t key,
                 int64_t since_ns)
{
    c->owned[c->owned_count++] = (struct owned) { fiber, told, key, !fiber, since_ns };
}

/*
 * It has been seen ended: write down its exit from this key, and what it told, and forget it.
 */
static void note_end(struct client *c, int index, struct fm_exit exit)
{
    struct owned *owned = &c->owned[index];
    struct told *told = owned->told;
    int64_t now = fm_now_ns(), from_ns = atomic_load(&told->end_ns);
    uint64_t id = fm_fiber_id(owned->fiber);

    if (exit.kind == FM_INTERRUPTED && exit.by && !told->noted)
        c->signals[c->signal_count++] = (struct signal) { exit.by, id, exit.reason };

    struct record *left = history_note(c, EXIT, owned->key, id,
                                       from_ns > owned->since_ns ? from_ns : owned->since_ns,
                                       now);
    if (owned->by_run_wait && exit.kind == FM_INTERRUPTED && exit.reason == FM_BY_LAST_WAITER)
        left->flags = RECORD_GIVEN_UP;
    history_note(c, GONE, owned->key, id, now, now);
    if (from_ns && told->queued)
        history_note(c, TURN, owned->key, id, owned->since_ns, told->begin_ns);
    if (from_ns && !told->noted) {
        history_note(c, BODY, owned->key, id, told->begin_ns, from_ns);
        for (int i = 0; i < told->steps; i++)
            history_note(c, STEP, owned->key, id, told->step_begin_ns[i], told->step_end_ns[i]);
    }
    told->noted = true;
    fm_fiber_unref(owned->fiber);
    *owned = c->owned[--c->owned_count];
}

static void let_others(struct client *c)
{
    if (fm_fiber_self())
        fm_yield();
    else
        c->history->pause();
}

/* NULL, where `wait` does not say to wait for it: it has neither begun nor been dropped. */
static struct fm_fiber *fiber_of(struct client *c, struct owned *owned, bool wait)
{
    while (!owned->fiber && !(owned->fiber = atomic_exchange(&owned->told->self, NULL)) && wait)
        let_others(c);
    return owned->fiber;
}

void history_reap(struct client *c, bool all)
{
    for (int i = c->owned_count; i-- > 0;) {
        struct fm_fiber *fiber = fiber_of(c, &c->owned[i], all);
        struct fm_exit exit;
        if (all)
            STRESS_CHECK(fm_fiber_stop(fiber, FM_NEVER, NULL) == 0, "stop");
        if (fiber && fm_fiber_poll(fiber, &exit) == 0)
            note_end(c, i, exit);
    }
}
