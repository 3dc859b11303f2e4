/*
 * model_cond.c - a signal is spent on a waiter or found nobody
 *
 * Protocol   runtime/sync/cond.c over runtime/sync/mutex.c. What is waited for is plain data
 *            under the mutex.
 */
#include <errno.h>

#include "fm/sync.h"
#include "runtime/fiber/fiber.h"
#include "tests/model/model.h"

struct world {
    struct fm_mutex *mutex;
    struct fm_cond *cond;
    int items; /* plain, under the mutex */
    int taken;
};

static struct world *world_new(void)
{
    struct world *w = model_calloc(1, sizeof *w);
    model_assert(fm_mutex_create(&w->mutex) == 0);
    model_assert(fm_cond_create(&w->cond) == 0);
    return w;
}

static void take_one(struct world *w, int64_t deadline_ns)
{
    int r = 0;
    model_assert(fm_mutex_lock(w->mutex, FM_NEVER) == 0);
    while (w->items == 0 && r == 0)
        r = fm_cond_wait(w->cond, w->mutex, deadline_ns);
    model_assert(r == 0 || r == -ETIMEDOUT);
    if (w->items > 0) {
        w->items--;
        w->taken++;
    }
    model_assert(fm_mutex_unlock(w->mutex) == 0);
}

static void take(void *arg)
{
    take_one(arg, FM_NEVER);
}

/* A deadline that passes gives the item to the other taker: the signal must not be lost. */
static void take_until(void *arg)
{
    take_one(arg, 1000);
}

static void put_under_the_mutex(void *arg)
{
    struct world *w = arg;
    model_assert(fm_mutex_lock(w->mutex, FM_NEVER) == 0);
    w->items++;
    model_assert(fm_cond_signal(w->cond) >= 0);
    model_assert(fm_mutex_unlock(w->mutex) == 0);
}

static void put_and_signal_later(void *arg)
{
    struct world *w = arg;
    model_assert(fm_mutex_lock(w->mutex, FM_NEVER) == 0);
    w->items++;
    model_assert(fm_mutex_unlock(w->mutex) == 0);
    model_assert(fm_cond_signal(w->cond) >= 0);
}

static void put_two_and_broadcast(void *arg)
{
    struct world *w = arg;
    model_assert(fm_mutex_lock(w->mutex, FM_NEVER) == 0);
    w->items += 2;
    model_assert(fm_cond_broadcast(w->cond) >= 0);
    model_assert(fm_mutex_unlock(w->mutex) == 0);
}

static void together(void (*a)(void *), void (*b)(void *), void (*c)(void *), int taken)
{
    struct world *w = world_new();
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
    model_assert(w->taken == taken || (taken < 0 && w->taken <= -taken));
    fm_cond_destroy(w->cond);
    fm_mutex_destroy(w->mutex);
}

static void signal_under_the_mutex(void)
{
    together(take, put_under_the_mutex, NULL, 1);
}

static void signal_after_the_mutex(void)
{
    together(take, put_and_signal_later, NULL, 1);
}

/* Two items, three who may want them: one of whom gives up. */
static void deadline_meets_signal(void)
{
    together(take, take_until, put_two_and_broadcast, -2);
}

static void broadcast_wakes_all(void)
{
    together(take, take, put_two_and_broadcast, 2);
}

/* Each waits for its turn, and gives it to the other: with its own wait, the first time. */
static void take_turns(struct world *w, int me)
{
    model_assert(fm_mutex_lock(w->mutex, FM_NEVER) == 0);
    for (int i = 0; i < 2; i++) {
        while (w->items != me)
            model_assert(fm_cond_wait(w->cond, w->mutex, FM_NEVER) == 0);
        w->items = !me;
        w->taken++;
        model_assert(fm_cond_signal(w->cond) >= 0);
    }
    model_assert(fm_mutex_unlock(w->mutex) == 0);
}

static void take_turns_first(void *arg)
{
    take_turns(arg, 0);
}

static void take_turns_second(void *arg)
{
    take_turns(arg, 1);
}

static void touch(void *arg)
{
    struct world *w = arg;
    model_assert(fm_mutex_lock(w->mutex, FM_NEVER) == 0);
    w->taken++;
    model_assert(fm_mutex_unlock(w->mutex) == 0);
}

static void turn_is_passed_on(void)
{
    together(take_turns_first, take_turns_second, NULL, 4);
}

static void turn_is_passed_on_while_another_comes(void)
{
    together(take_turns_first, take_turns_second, touch, 5);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(signal_under_the_mutex),
    SCENARIO(signal_after_the_mutex),
    SCENARIO(deadline_meets_signal, .less = 1),
    SCENARIO(broadcast_wakes_all, .less = 1),
    SCENARIO(turn_is_passed_on),
    SCENARIO(turn_is_passed_on_while_another_comes, .less = 1),
    SCENARIO_END,
};
