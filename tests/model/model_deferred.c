/*
 * model_deferred.c - every awaiter gets the one exit, and the cell may go at once
 *
 * Protocol   runtime/sync/deferred.c with runtime/fiber/waitlist.c. The exit is plain data. The
 *            last awaiter destroys the cell while the completion may still be returning.
 */
#include "runtime/sync/deferred.h"

#include <errno.h>

#include "tests/model/model.h"

struct world {
    struct fm_deferred *cell;
    _Atomic int awaiters; /* the last to come back destroys the cell */
};

static struct world *world_new(int awaiters)
{
    struct world *w = model_calloc(1, sizeof *w);
    model_assert(fm_deferred_create(&w->cell) == 0);
    w->awaiters = awaiters;
    return w;
}

static void come_back(struct world *w)
{
    if (atomic_fetch_sub_explicit(&w->awaiters, 1, memory_order_acq_rel) == 1)
        fm_deferred_destroy(w->cell);
}

static void await_for_ever(void *arg)
{
    struct world *w = arg;
    struct fm_exit exit;
    model_assert(fm_deferred_await(w->cell, FM_NEVER, &exit) == 0);
    model_assert(exit.kind == FM_FAILURE && (exit.code == 5 || exit.code == 6));
    come_back(w);
}

static void await_until(void *arg)
{
    struct world *w = arg;
    struct fm_exit exit;
    int r = fm_deferred_await(w->cell, 1000, &exit);
    if (r == 0)
        model_assert(exit.kind == FM_FAILURE && exit.code == 5);
    else
        model_assert(r == -ETIMEDOUT);
    come_back(w);
}

static void poll(void *arg)
{
    struct world *w = arg;
    struct fm_exit exit;
    if (fm_deferred_poll(w->cell, &exit) == 0)
        model_assert(exit.kind == FM_FAILURE && exit.code == 5);
    come_back(w);
}

static void complete_with_5(void *arg)
{
    struct world *w = arg;
    model_note(0, fm_deferred_fail(w->cell, 5) == 0);
}

static void complete_with_6_and_come_back(void *arg)
{
    struct world *w = arg;
    model_note(0, fm_deferred_fail(w->cell, 6) == 0);
    come_back(w);
}

static void together(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
    model_assert(model_note(0, 0) == 1);
}

static void awaiter_destroys(void)
{
    together(world_new(1), complete_with_5, await_for_ever, NULL);
}

static void two_await(void)
{
    together(world_new(2), complete_with_5, await_for_ever, await_for_ever);
}

static void deadline_meets_completion(void)
{
    struct world *w = world_new(2); /* the scenario itself comes back last */
    together(w, complete_with_5, await_until, NULL);
    come_back(w);
}

static void poll_meets_completion(void)
{
    struct world *w = world_new(2);
    together(w, complete_with_5, poll, NULL);
    come_back(w);
}

static void two_complete(void)
{
    struct world *w = world_new(3);
    together(w, complete_with_5, complete_with_6_and_come_back, await_for_ever);
    come_back(w);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(awaiter_destroys),          SCENARIO(poll_meets_completion),
    SCENARIO(deadline_meets_completion), SCENARIO(two_await, .less = 1),
    SCENARIO(two_complete, .less = 1),   SCENARIO_END,
};
