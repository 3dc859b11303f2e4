/*
 * model_ring.c - who would wait for himself is told, nobody else is, and no lock is looked at
 * after it was freed
 *
 * Protocol   runtime/fiber/ring.c under runtime/sync/mutex.c and cond.c. A ring that nobody is
 *            told of is a deadlock, which the checker finds by itself; so is a look at a lock
 *            that has gone.
 */
#include <errno.h>

#include "fm/sync.h"
#include "runtime/fiber/ring.c" /* the room itself: its variable has to be named */
#include "tests/model/model.h"

enum { LOCKS = 3, SLOTS = 8 };

/* In place of the slab: the descriptor of each thread, by its number. */
static _Atomic(struct fm_fiber *) descriptors[SLOTS];

struct fm_fiber *fm__slab_find(uint32_t slot)
{
    return slot < SLOTS ? atomic_load_explicit(&descriptors[slot], memory_order_acquire) : NULL;
}

struct world {
    struct fm_mutex *locks[LOCKS];
    struct fm_cond *cond;
    _Atomic uint32_t seated[4]; /* by thread */
    _Atomic uint32_t go;
    int guarded[LOCKS]; /* plain, each under its lock */
};

static void appear(void)
{
    struct fm_fiber *self = fm__fiber_self();
    atomic_store_explicit(&descriptors[self->slot], self, memory_order_release);
}

static struct world *world_new(void)
{
    struct world *w = model_calloc(1, sizeof *w);
    model_global(&walkers, sizeof walkers);
    model_global(descriptors, sizeof descriptors);
    for (int i = 0; i < LOCKS; i++)
        model_assert(fm_mutex_create(&w->locks[i]) == 0);
    model_assert(fm_cond_create(&w->cond) == 0);
    return w;
}

static void take(struct world *w, int i)
{
    model_assert(fm_mutex_lock(w->locks[i], FM_NEVER) == 0);
    w->guarded[i]++;
}

static void give(struct world *w, int i)
{
    w->guarded[i]++;
    model_assert(fm_mutex_unlock(w->locks[i]) == 0);
}

/* The caller is where it is to be when all begin, which is when the last has sat down. */
static void sit_down(struct world *w)
{
    atomic_store_explicit(&w->seated[model_thread()], 1, memory_order_release);
    model_await(&w->go);
}

static void sit_down_holding(struct world *w, int own)
{
    appear();
    take(w, own);
    sit_down(w);
}

/* Take the next one's; counter 0: who was told. */
static void reach(struct world *w, int next)
{
    int r = fm_mutex_lock(w->locks[next], FM_NEVER);
    if (r == 0) {
        w->guarded[next]++;
        give(w, next);
    } else {
        model_assert(r == -EDEADLK);
        model_note(0, 1);
    }
}

static void dine(struct world *w, int own, int count)
{
    sit_down_holding(w, own);
    reach(w, (own + 1) % count);
    give(w, own);
}

static void first_of_two(void *arg)
{
    dine(arg, 0, 2);
}

static void second_of_two(void *arg)
{
    dine(arg, 1, 2);
}

static void first_of_three(void *arg)
{
    dine(arg, 0, 3);
}

static void second_of_three(void *arg)
{
    dine(arg, 1, 3);
}

static void third_of_three(void *arg)
{
    dine(arg, 2, 3);
}

/* One after the other sits down, then all begin. */
static void together(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    void (*const guests[])(void *) = { a, b, c };
    int threads[3], count = c ? 3 : 2;
    for (int i = 0; i < count; i++) {
        threads[i] = model_spawn(guests[i], w);
        model_await(&w->seated[threads[i]]);
    }
    atomic_store_explicit(&w->go, 1, memory_order_release);
    for (int i = 0; i < count; i++)
        model_join(threads[i]);
}

static void two_close_a_ring(void)
{
    together(world_new(), first_of_two, second_of_two, NULL);
    model_assert(model_note(0, 0) >= 1);
}

static void three_close_a_ring(void)
{
    together(world_new(), first_of_three, second_of_three, third_of_three);
    model_assert(model_note(0, 0) >= 1);
}

/* ---- what was never true at one time ---- */

/*
 * 1 waits for 0, which the middle one holds, gives up, and only then waits for 2, which the
 * last one holds, who by then waits for 1.
 */
static void waits_for_0(void *arg)
{
    struct world *w = arg;
    sit_down_holding(w, 1);
    take(w, 0);
    give(w, 0);
    give(w, 1);
}

static void gives_up_0_takes_2(void *arg)
{
    struct world *w = arg;
    sit_down_holding(w, 0);
    give(w, 0);
    take(w, 2);
    give(w, 2);
}

static void holds_2_waits_for_1(void *arg)
{
    struct world *w = arg;
    sit_down_holding(w, 2);
    take(w, 1);
    give(w, 1);
    give(w, 2);
}

static void none_where_they_follow_one_another(void)
{
    together(world_new(), waits_for_0, gives_up_0_takes_2, holds_2_waits_for_1);
}

/* ---- waits that have ended ---- */

/* Holds 1 while it waits for 0; an interruption lets it give 1 up. */
static void is_interrupted_at_0(void *arg)
{
    struct world *w = arg;
    sit_down_holding(w, 1);
    int r = fm_mutex_lock(w->locks[0], FM_NEVER);
    model_assert(r == 0 || r == -ECANCELED);
    if (r == 0)
        give(w, 0);
    give(w, 1);
}

static void interrupts_and_takes_1(void *arg)
{
    struct world *w = arg;
    sit_down_holding(w, 0);
    fm__fiber_interrupt(fm__slab_find(2), FM_BY_USER); /* the first who sat down */
    take(w, 1);
    give(w, 1);
    give(w, 0);
}

static void none_where_a_wait_was_interrupted(void)
{
    together(world_new(), is_interrupted_at_0, interrupts_and_takes_1, NULL);
}

/*
 * Holds 0 while it waits for 1, which is freed as soon as it has been had, and then for some
 * time to pass: who looks finds it waiting, and must not take the old note for one of this
 * wait.
 */
static void frees_1(void *arg)
{
    struct world *w = arg;
    struct wait sleep;
    sit_down_holding(w, 0);
    take(w, 1);
    give(w, 1);
    w->locks[1] = fm_mutex_destroy(w->locks[1]);
    model_assert(fm__wait_begin(&sleep, 0, "sleep") == 0);
    model_assert(fm__wait_end(sleep, 1000) == WAKE_TIMEOUT);
    give(w, 0);
}

static void gives_up_1(void *arg)
{
    struct world *w = arg;
    sit_down_holding(w, 1);
    give(w, 1);
}

/* Waits for 0, and looks what its holder waits for. */
static void looks_at_1(void *arg)
{
    struct world *w = arg;
    appear();
    sit_down(w);
    take(w, 0);
    give(w, 0);
}

static void lock_is_freed_under_the_eyes_of_another(void)
{
    together(world_new(), frees_1, gives_up_1, looks_at_1);
}

/* ---- promises ---- */

/*
 * Waits on the condition of 0, and holds 1 meanwhile. It sits when it has let go of 0; whoever
 * comes before it has left its stack does not find it standing: not of interest here.
 */
static void awaits_signal(void *arg)
{
    struct world *w = arg;
    appear();
    take(w, 1);
    take(w, 0);
    atomic_store_explicit(&w->seated[model_thread()], 1, memory_order_release);
    model_assert(fm_cond_wait(w->cond, w->locks[0], FM_NEVER) == 0);
    give(w, 0);
    give(w, 1);
}

static void signal_under_0(struct world *w)
{
    take(w, 0);
    struct fm_fiber *waiter = fm__slab_find(2); /* the first who sat down */
    if (fm__state_life(fm__state_read(&waiter->state)) != LIFE_PARKED)
        model_discard();
    model_assert(fm_cond_signal(w->cond) == 1);
}

/* Its signal makes the other wait for 0, which it keeps while it reaches for 1. */
static void signals_and_reaches_1(void *arg)
{
    struct world *w = arg;
    appear();
    sit_down(w);
    signal_under_0(w);
    reach(w, 1);
    give(w, 0);
}

static void promise_is_an_edge(void)
{
    together(world_new(), awaits_signal, signals_and_reaches_1, NULL);
    model_assert(model_note(0, 0) == 1);
}

/* The other was sent for 0, where it is passed: woken to try, it waits all the same. */
static void passes_and_reaches_1(struct world *w)
{
    give(w, 0);
    take(w, 0);
    reach(w, 1);
    give(w, 0);
}

static void signals_passes_and_reaches_1(void *arg)
{
    struct world *w = arg;
    appear();
    sit_down(w);
    signal_under_0(w);
    give(w, 0);
    take(w, 0);
    passes_and_reaches_1(w);
}

/* Without a promise: who goes by itself is noted when it has come to 0. */
static void signals_later_passes_and_reaches_1(void *arg)
{
    struct world *w = arg;
    appear();
    sit_down(w);
    struct fm_fiber *waiter = fm__slab_find(2);
    if (fm__state_life(fm__state_read(&waiter->state)) != LIFE_PARKED)
        model_discard();
    model_assert(fm_cond_signal(w->cond) == 1);
    take(w, 0);
    if (fm__state_life(fm__state_read(&waiter->state)) != LIFE_PARKED)
        model_discard();
    passes_and_reaches_1(w);
}

static void who_was_passed_after_a_promise_is_an_edge(void)
{
    together(world_new(), awaits_signal, signals_passes_and_reaches_1, NULL);
}

static void who_was_passed_after_a_signal_is_an_edge(void)
{
    together(world_new(), awaits_signal, signals_later_passes_and_reaches_1, NULL);
}

/* By way of a third, who holds 2 and waits for 1, while who has signalled waits for 2. */
static void signals_and_reaches_2(void *arg)
{
    struct world *w = arg;
    appear();
    sit_down(w);
    signal_under_0(w);
    reach(w, 2);
    give(w, 0);
}

static void holds_2_reaches_1(void *arg)
{
    struct world *w = arg;
    sit_down_holding(w, 2);
    reach(w, 1);
    give(w, 2);
}

static void promise_is_an_edge_to_a_third(void)
{
    together(world_new(), awaits_signal, signals_and_reaches_2, holds_2_reaches_1);
    model_assert(model_note(0, 0) >= 1);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(two_close_a_ring),
    SCENARIO(three_close_a_ring, .less = 1),
    SCENARIO(none_where_they_follow_one_another, .less = 1),
    SCENARIO(none_where_a_wait_was_interrupted),
    SCENARIO(lock_is_freed_under_the_eyes_of_another, .less = 1),
    SCENARIO(promise_is_an_edge),
    SCENARIO(who_was_passed_after_a_promise_is_an_edge),
    SCENARIO(who_was_passed_after_a_signal_is_an_edge),
    SCENARIO(promise_is_an_edge_to_a_third, .less = 1),
    SCENARIO_END,
};
