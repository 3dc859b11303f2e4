/*
 * model_entry.c - exactly one of exit, displace and detach takes a fiber out of its key
 *
 * Protocol   fibermap/entry.h. What a fiber did, and what a displacer had ready for lookups, is
 *            plain data. Writers hold the stripe's lock, a snapshot the wait lock as well.
 */
#include "fibermap/entry.h"

#include "runtime/platform/lock.h"
#include "tests/model/model.h"

/* Notes, one for each fiber: what its exit, and what the writers were told. */
enum { ENDED = 0, DISPLACED = 8, DETACHED = 16, QUEUED = 24, LOOKED = 25 };

struct world {
    struct entry entry[4]; /* 1 of fiber 1, and so on; 0 is not used */
    struct lock stripe;
    struct lock wait;
    int work[4];      /* of each fiber, before it ends */
    int ready[4];     /* made before the entry is published, for who finds it */
    _Atomic int line; /* somebody queues behind fiber 1 */
};

/* Fibers 1 to `present` stand under keys of their own; the others are still to come. */
static struct world *world_new(unsigned present)
{
    struct world *w = model_aligned(_Alignof(struct world), sizeof *w);
    fm__lock_init(&w->stripe, LOCK_MAP_STRIPE);
    fm__lock_init(&w->wait, LOCK_MAP_WAIT);
    for (unsigned i = 1; i <= present; i++) {
        w->ready[i] = 1;
        fm__entry_publish(&w->entry[i], i);
    }
    return w;
}

/* The exit of a fiber, as member.c does it. */
static void end(struct world *w, unsigned fiber)
{
    w->work[fiber] = 1;
    enum entry_end how = fm__entry_end(&w->entry[fiber], fiber);
    if (how == ENTRY_END_HELD || how == ENTRY_END_MOVED) {
        fm__lock(&w->wait);
        how = fm__entry_end(fm__entry_now(&w->entry[fiber]), fiber);
        fm__unlock(&w->wait);
        model_assert(how != ENTRY_END_HELD && how != ENTRY_END_MOVED);
    }
    model_assert(model_note(ENDED + fiber, 1 + (int)how) == 0);
}

static void end_1(void *arg)
{
    end(arg, 1);
}

static void end_1_then_2(void *arg)
{
    end(arg, 1);
    end(arg, 2);
}

/* A run takes the key over; where the fiber has ended it sees what that did. */
static void replace(struct world *w, unsigned old, unsigned new)
{
    fm__lock(&w->stripe);
    w->ready[new] = 1;
    fm__entry_publish(&w->entry[new], new);
    uint64_t displaced = fm__entry_displace(&w->entry[old], &w->entry[new]);
    if (displaced) {
        model_assert(displaced == old);
        model_note(DISPLACED + old, 1);
    } else if (!model_note(DETACHED + old, 0)) {
        model_assert(w->work[old] == 1);
    }
    fm__unlock(&w->stripe);
}

static void replace_1_by_3(void *arg)
{
    replace(arg, 1, 3);
}

static void replace_1_by_2_by_3(void *arg)
{
    replace(arg, 1, 2);
    replace(arg, 2, 3);
}

static void detach_1(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe);
    if (fm__entry_detach(&w->entry[1], 1))
        model_note(DETACHED + 1, 1);
    fm__unlock(&w->stripe);
}

/* A lookup that stands on entry 1 follows the successors. */
static uint64_t look_up(struct world *w)
{
    struct entry *e = &w->entry[1];
    for (;;) {
        uint64_t state = fm__entry_read(e);
        enum entry_life life = fm__entry_life(state);
        if (life != ENTRY_ZOMBIE && life != ENTRY_GONE) {
            if (fm__entry_present(state))
                model_assert(w->ready[e - w->entry] == 1);
            return fm__entry_present(state);
        }
        e = atomic_load_explicit(&e->successor, memory_order_acquire);
        model_assert(e);
    }
}

/* Nobody ends: some fiber stands under the key at each instant. */
static void find_somebody(void *arg)
{
    uint64_t first = look_up(arg);
    uint64_t second = look_up(arg);
    model_assert(first && second >= first);
}

/* Fiber 1 may end; once 3 was found it stays found. */
static void find(void *arg)
{
    uint64_t first = look_up(arg);
    uint64_t second = look_up(arg);
    model_assert(first != 3 || second == 3);
}

/* A cut: fiber 1 ends before fiber 2, so a picture with 1 and without 2 is false. */
static void snapshot(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe);
    fm__lock(&w->wait);
    bool first = fm__entry_hold(&w->entry[1]);
    bool second = fm__entry_hold(&w->entry[2]);
    model_assert(!first || second);
    fm__entry_release(&w->entry[1]);
    fm__entry_release(&w->entry[2]);
    fm__unlock(&w->wait);
    fm__unlock(&w->stripe);
}

static void hold_and_release_3(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe);
    fm__lock(&w->wait);
    fm__entry_hold(&w->entry[3]);
    fm__entry_release(&w->entry[3]);
    fm__unlock(&w->wait);
    fm__unlock(&w->stripe);
}

/* A walk over all entries comes to this one by no link and under no lock. */
static void walk(void *arg)
{
    struct world *w = arg;
    if (fm__entry_present(fm__entry_read(&w->entry[3])))
        model_assert(w->ready[3] == 1);
}

/* Fiber 3 queues; then its turn comes, and it ends under its key. */
static void queue_3_and_take_the_key(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe);
    w->ready[3] = 1;
    fm__entry_queue(&w->entry[3], 3);
    fm__unlock(&w->stripe);
    fm__lock(&w->stripe);
    fm__entry_publish(&w->entry[3], 3);
    fm__unlock(&w->stripe);
    end(w, 3);
}

/* Fiber 3 queues, and ends before its turn. */
static void queue_3_and_end(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe);
    w->ready[3] = 1;
    fm__entry_queue(&w->entry[3], 3);
    fm__unlock(&w->stripe);
    end(w, 3);
}

static void walk_all(void *arg)
{
    struct world *w = arg;
    if (fm__entry_counted(fm__entry_read(&w->entry[3])))
        model_assert(w->ready[3] == 1);
}

/* Somebody makes the line of the key, and queues if fiber 1 is there. */
static void queue_behind_1(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe);
    atomic_store_explicit(&w->line, 1, memory_order_relaxed);
    if (fm__entry_present(fm__entry_touch(&w->entry[1])))
        model_note(QUEUED, 1);
    fm__unlock(&w->stripe);
}

/* A lookup that finds fiber 1 gone asks for the line without a lock. */
static void find_or_ask(void *arg)
{
    struct world *w = arg;
    if (!fm__entry_present(fm__entry_read(&w->entry[1])))
        model_note(LOOKED, 1 + atomic_load_explicit(&w->line, memory_order_relaxed));
}

/* ---- a gate ---- */

/* Fibers 2 and 3 come under their keys at once, behind entry 0; which is used again for fiber 1. */
static void come_2_and_3(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe);
    for (unsigned i = 2; i <= 3; i++) {
        w->ready[i] = 1;
        fm__entry_come(&w->entry[i], i, &w->entry[0]);
    }
    fm__entry_open(&w->entry[0], 0);
    for (unsigned i = 2; i <= 3; i++)
        fm__entry_arrive(&w->entry[i], i);
    fm__unlock(&w->stripe);
    fm__lock(&w->stripe);
    w->ready[0] = 1;
    fm__entry_publish(&w->entry[0], 1);
    fm__unlock(&w->stripe);
}

static uint64_t look_at(struct world *w, unsigned i)
{
    for (;;) {
        uint64_t state = fm__entry_read(&w->entry[i]), id = fm__entry_present(state);
        if (fm__entry_life(state) == ENTRY_COMING &&
            !fm__entry_coming(&w->entry[i], state, &id))
            continue;
        if (id)
            model_assert(w->ready[i] == 1);
        return id;
    }
}

static void find_2_then_3(void *arg)
{
    if (look_at(arg, 2))
        model_assert(look_at(arg, 3) == 3);
}

static void find_3_then_2(void *arg)
{
    if (look_at(arg, 3))
        model_assert(look_at(arg, 2) == 2);
}

/* Once the gate is used again, or whoever comes through it is LIVE, all have come. */
static void find_the_gate_used_again(void *arg)
{
    struct world *w = arg;
    if (fm__entry_present(fm__entry_read(&w->entry[0]))) {
        model_assert(w->ready[0] == 1);
        model_assert(look_at(w, 2) == 2);
    }
}

/* ---- a move: fiber 1 goes from its entry to entry 2, as move.c has it ---- */

static void move_1_to(struct world *w, unsigned from, unsigned to)
{
    fm__lock(&w->wait);
    if (fm__entry_hold(&w->entry[from])) {
        w->ready[to] = 1;
        fm__entry_come(&w->entry[to], 1, &w->entry[from]);
        atomic_store_explicit(&w->entry[1].successor, &w->entry[to], memory_order_release);
        fm__entry_open(&w->entry[from], 1);
        fm__entry_arrive(&w->entry[to], 1);
    }
    fm__unlock(&w->wait);
}

static void move_1_to_2(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe);
    move_1_to(w, 1, 2);
    fm__unlock(&w->stripe);
}

/* Entry 2 is used again, for fiber 2, when fiber 1 has gone on. */
static void move_1_to_2_to_3(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe);
    move_1_to(w, 1, 2);
    move_1_to(w, 2, 3);
    if (fm__entry_life(fm__entry_read(&w->entry[2])) == ENTRY_MOVED)
        fm__entry_publish(&w->entry[2], 2);
    fm__unlock(&w->stripe);
}

/* Nobody ends: it is under one of the two. */
static void find_here_then_there(void *arg)
{
    struct world *w = arg;
    if (look_at(w, 1) != 1)
        model_assert(look_at(w, 2) == 1);
}

static void find_there_then_here(void *arg)
{
    struct world *w = arg;
    if (look_at(w, 2) == 1)
        model_assert(look_at(w, 1) != 1);
}

static void together(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
}

/* What exit and writers were told agrees: one of them took the fiber out. */
static void settle(unsigned fiber)
{
    int ended = model_note(ENDED + fiber, 0);
    bool displaced = model_note(DISPLACED + fiber, 0) != 0;
    bool detached = model_note(DETACHED + fiber, 0) != 0;
    model_assert(!displaced || !detached);
    if (ended) {
        model_assert(displaced == (ended == 1 + ENTRY_END_ZOMBIE));
        model_assert(detached == (ended == 1 + ENTRY_END_DETACHED));
    }
}

/* F39 */
static void exit_meets_replace(void)
{
    struct world *w = world_new(1);
    together(w, end_1, replace_1_by_3, find);
    settle(1);
    model_assert(fm__entry_present(fm__entry_read(&w->entry[3])) == 3);
}

/* F40 */
static void lookup_meets_two_replaces(void)
{
    struct world *w = world_new(1);
    together(w, replace_1_by_2_by_3, find_somebody, NULL);
    settle(1);
    settle(2);
    model_assert(look_up(w) == 3);
}

static void exit_meets_detach_and_replace(void)
{
    struct world *w = world_new(1);
    together(w, end_1, detach_1, replace_1_by_3);
    settle(1);
}

static void exits_meet_a_cut(void)
{
    struct world *w = world_new(2);
    together(w, end_1_then_2, snapshot, NULL);
    settle(1);
    settle(2);
}

static void exits_and_replace_meet_a_cut(void)
{
    struct world *w = world_new(2);
    together(w, end_1_then_2, snapshot, replace_1_by_3);
    settle(1);
    settle(2);
}

static void walk_meets_publish_and_a_cut(void)
{
    struct world *w = world_new(1);
    together(w, replace_1_by_3, hold_and_release_3, walk);
    settle(1);
}

static void walk_meets_a_queued_one_and_a_cut(void)
{
    struct world *w = world_new(1);
    together(w, queue_3_and_take_the_key, hold_and_release_3, walk_all);
    model_assert(model_note(ENDED + 3, 0) == 1 + ENTRY_END_PRESENT);
}

static void walk_meets_one_that_leaves_the_queue(void)
{
    struct world *w = world_new(1);
    together(w, queue_3_and_end, hold_and_release_3, walk_all);
    model_assert(model_note(ENDED + 3, 0) == 1 + ENTRY_END_PRESENT);
}

/* Who queues behind a fiber before it has left is not overlooked by who finds that it has left. */
static void lookup_meets_exit_and_one_that_queues(void)
{
    struct world *w = world_new(1);
    together(w, end_1, queue_behind_1, find_or_ask);
    model_assert(!(model_note(QUEUED, 0) && model_note(LOOKED, 0) == 1));
}

static void lookups_meet_two_that_come_at_once(void)
{
    together(world_new(0), come_2_and_3, find_2_then_3, find_3_then_2);
}

static void lookups_meet_a_gate_that_is_used_again(void)
{
    together(world_new(0), come_2_and_3, find_2_then_3, find_the_gate_used_again);
}

static void lookups_meet_a_move(void)
{
    together(world_new(1), move_1_to_2, find_here_then_there, find_there_then_here);
}

static void exit_meets_a_move(void)
{
    struct world *w = world_new(1);
    together(w, end_1, move_1_to_2, find_there_then_here);
    model_assert(model_note(ENDED + 1, 0) == 1 + ENTRY_END_PRESENT);
    model_assert(look_at(w, 1) == 0 && look_at(w, 2) == 0);
}

static void exit_meets_two_moves(void)
{
    struct world *w = world_new(1);
    together(w, end_1, move_1_to_2_to_3, NULL);
    model_assert(model_note(ENDED + 1, 0) == 1 + ENTRY_END_PRESENT);
    model_assert(look_at(w, 1) == 0 && look_at(w, 2) != 1 && look_at(w, 3) == 0);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(exit_meets_replace),
    SCENARIO(lookup_meets_two_replaces),
    SCENARIO(exit_meets_detach_and_replace),
    SCENARIO(exits_meet_a_cut),
    SCENARIO(exits_and_replace_meet_a_cut),
    SCENARIO(walk_meets_publish_and_a_cut),
    SCENARIO(walk_meets_a_queued_one_and_a_cut),
    SCENARIO(walk_meets_one_that_leaves_the_queue),
    SCENARIO(lookup_meets_exit_and_one_that_queues),
    SCENARIO(lookups_meet_two_that_come_at_once),
    SCENARIO(lookups_meet_a_gate_that_is_used_again),
    SCENARIO(lookups_meet_a_move),
    SCENARIO(exit_meets_a_move),
    SCENARIO(exit_meets_two_moves),
    SCENARIO_END,
};
