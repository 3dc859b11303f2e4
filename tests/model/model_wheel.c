/*
 * model_wheel.c - a timer fires or is cancelled, and then it is its owner's again
 *
 * Protocol   runtime/time/wheel.c. An owner frees its timer, or arms it on another wheel, as
 *            soon as the contract allows; others fire meanwhile. What a timer is armed for is
 *            its epoch; who fires knows it by that and by its address alone.
 */
#include "runtime/time/wheel.h"

#include "tests/model/model.h"

#define MS INT64_C(1000000)

enum { EPOCHS = 8 };
enum { FIRED = 0, CANCELLED = EPOCHS }; /* notes, one for each epoch */

struct world {
    struct wheel *wheel, *other;
    struct timer *timer[6];
    _Atomic int64_t sleeps_until; /* of a poller; 0: it does not sleep */
    int told;                     /* the armer's, before it is joined */
    int64_t wakes_ns;             /* the sleeper's */
};

static struct wheel *wheel_new(uint32_t number)
{
    struct wheel *wheel = model_aligned(_Alignof(struct wheel), sizeof *wheel);
    fm__wheel_init(wheel, number, 0);
    return wheel;
}

static struct world *world_new(void)
{
    struct world *w = model_calloc(1, sizeof *w);
    w->wheel = wheel_new(0);
    return w;
}

static void arm(struct world *w, unsigned which, int64_t deadline_ns)
{
    struct timer *timer = model_calloc(1, sizeof *timer);
    w->timer[which] = timer;
    fm__wheel_arm(w->wheel, timer, deadline_ns, which + 1);
}

static void note_fired(void *context, const struct wheel_due *due, unsigned count)
{
    (void)context;
    for (unsigned i = 0; i < count; i++)
        model_assert(model_note(FIRED + (unsigned)due[i].epoch, 1) == 0);
}

static void fire_at(struct wheel *wheel, int64_t now_ns)
{
    fm__wheel_fire(wheel, now_ns, 8, note_fired, NULL);
}

/* Its timer goes at once, whatever the wheel says. */
static void cancel(struct world *w, unsigned which)
{
    struct timer *timer = w->timer[which];
    if (fm__wheel_disarm(w->wheel, timer))
        model_note(CANCELLED + which + 1, 1);
    model_assert(!fm__wheel_disarm(w->wheel, timer));
    model_free(timer);
}

/* All threads are joined: each of the first `count` timers has fired or was cancelled. */
static void settle(struct world *w, unsigned count)
{
    fire_at(w->wheel, 4000 * MS);
    for (unsigned i = 1; i <= count; i++)
        model_assert(model_note(FIRED + i, 0) + model_note(CANCELLED + i, 0) == 1);
    model_assert(fm__wheel_count(w->wheel) == 0);
}

static void together(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = model_spawn(c, w);
    model_join(ta);
    model_join(tb);
    model_join(tc);
}

static void cancel_0(void *arg)
{
    cancel(arg, 0);
}

static void cancel_3(void *arg)
{
    cancel(arg, 3);
}

static void fire(void *arg)
{
    struct world *w = arg;
    fire_at(w->wheel, 20 * MS);
}

static void fire_later(void *arg)
{
    struct world *w = arg;
    fire_at(w->wheel, 1100 * MS);
}

/* ---- fired, or cancelled ---- */

static void two_fire_one_cancels(void)
{
    struct world *w = world_new();
    arm(w, 0, 10 * MS);
    arm(w, 1, 10 * MS);
    together(w, fire, fire, cancel_0);
    settle(w, 2);
}

/* 0 and 3 are neighbours in one list of the slot. */
static void neighbours_are_cancelled(void)
{
    struct world *w = world_new();
    for (unsigned i = 0; i < 4; i++)
        arm(w, i, 10 * MS);
    together(w, cancel_0, cancel_3, fire);
    settle(w, 4);
}

/* They stand on a higher level, and come down as time goes on. */
static void cancelled_on_the_way_down(void)
{
    struct world *w = world_new();
    arm(w, 0, 1090 * MS);
    arm(w, 1, 1200 * MS);
    arm(w, 2, 1200 * MS);
    arm(w, 3, 1090 * MS);
    together(w, cancel_0, fire_later, fire_later);
    settle(w, 4);
}

/* ---- armed again ---- */

/* On another wheel, as by a fiber that goes on on another worker. */
static void cancel_and_arm_elsewhere(void *arg)
{
    struct world *w = arg;
    struct timer *timer = w->timer[0];
    if (fm__wheel_disarm(w->wheel, timer))
        model_note(CANCELLED + 1, 1);
    fm__wheel_arm(w->other, timer, 10 * MS, 3);
    if (fm__wheel_disarm(w->other, timer))
        model_note(CANCELLED + 3, 1);
    model_free(timer);
}

static void fire_elsewhere(void *arg)
{
    struct world *w = arg;
    fire_at(w->other, 20 * MS);
}

static void armed_elsewhere(void)
{
    struct world *w = world_new();
    w->other = wheel_new(1);
    arm(w, 0, 10 * MS);
    arm(w, 1, 10 * MS);
    together(w, cancel_and_arm_elsewhere, fire, fire_elsewhere);
    fire_at(w->other, 40 * MS);
    settle(w, 3);
}

/* While its list is being fired: what comes is taken whole. */
static void arm_2(void *arg)
{
    struct world *w = arg;
    struct timer *timer = model_calloc(1, sizeof *timer);
    fm__wheel_arm(w->wheel, timer, 5 * MS, 3);
}

static void armed_while_firing(void)
{
    struct world *w = world_new();
    arm(w, 0, 10 * MS);
    arm(w, 1, 10 * MS);
    together(w, arm_2, fire, cancel_0);
    settle(w, 3);
}

/* ---- who sleeps until the next one ---- */

static void sleep_until(void *arg)
{
    struct world *w = arg;
    int64_t until = fm__wheel_next(w->wheel);
    atomic_store_explicit(&w->sleeps_until, until, memory_order_seq_cst);
    int64_t again = fm__wheel_next(w->wheel);
    w->wakes_ns = again < until ? again : until;
}

static void arm_earlier(void *arg)
{
    struct world *w = arg;
    struct timer *timer = model_calloc(1, sizeof *timer);
    if (fm__wheel_arm(w->wheel, timer, 30 * MS, 3))
        w->told = atomic_load_explicit(&w->sleeps_until, memory_order_seq_cst) > 30 * MS;
}

/* Either it sees the earlier time or who armed sees that it sleeps. */
static void sleeper_meets_arm(void)
{
    struct world *w = world_new();
    arm(w, 0, 10 * MS);
    arm(w, 1, 90 * MS);
    together(w, sleep_until, arm_earlier, fire);
    model_assert(w->wakes_ns <= 30 * MS || w->told);
    settle(w, 3);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(two_fire_one_cancels),
    SCENARIO(neighbours_are_cancelled),
    SCENARIO(cancelled_on_the_way_down),
    SCENARIO(armed_elsewhere),
    SCENARIO(armed_while_firing),
    SCENARIO(sleeper_meets_arm),
    SCENARIO_END,
};
