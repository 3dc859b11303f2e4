/*
 * model_mutex.c - one holder at a time, and nobody waits for a mutex that is free
 *
 * Protocol   runtime/sync/mutex.c with the lists of runtime/fiber/waitlist.h. What the mutex
 *            guards is plain data. Waiters' nodes are on their stacks, which go on being used.
 */
#include <errno.h>

#include "fm/sync.h"
#include "runtime/fiber/fiber.h"
#include "tests/model/model.h"

struct world {
    struct fm_mutex *mutex;
    int inside; /* plain, guarded by the mutex */
    int total;
    _Atomic(struct fm_fiber *) waiter; /* whom to interrupt */
};

static struct world *world_new(void)
{
    struct world *w = model_calloc(1, sizeof *w);
    model_assert(fm_mutex_create(&w->mutex) == 0);
    return w;
}

/* Where the frame of a waiter was, something else stands soon. */
static __attribute__((noinline)) void reuse_stack(void)
{
    char frame[512];
    memset(frame, 0x5a, sizeof frame);
    __asm__ volatile("" : : "r"(frame) : "memory");
}

static void section(struct world *w)
{
    model_assert(w->inside == 0);
    w->inside = 1;
    w->total++;
    w->inside = 0;
}

static void lock_once(void *arg)
{
    struct world *w = arg;
    model_assert(fm_mutex_lock(w->mutex, FM_NEVER) == 0);
    reuse_stack();
    section(w);
    model_assert(fm_mutex_unlock(w->mutex) == 0);
}

static void lock_until(void *arg)
{
    struct world *w = arg;
    int r = fm_mutex_lock(w->mutex, 1000);
    reuse_stack();
    if (r == 0) {
        section(w);
        model_assert(fm_mutex_unlock(w->mutex) == 0);
    } else {
        model_assert(r == -ETIMEDOUT);
    }
}

static void lock_interruptibly(void *arg)
{
    struct world *w = arg;
    atomic_store_explicit(&w->waiter, fm__fiber_self(), memory_order_release);
    int r = fm_mutex_lock(w->mutex, FM_NEVER);
    reuse_stack();
    if (r == 0) {
        section(w);
        model_assert(fm_mutex_unlock(w->mutex) == 0);
    } else {
        model_assert(r == -ECANCELED);
    }
}

static void interrupt(void *arg)
{
    struct world *w = arg;
    struct fm_fiber *waiter = atomic_load_explicit(&w->waiter, memory_order_acquire);
    if (waiter)
        fm__fiber_interrupt(waiter, FM_BY_USER);
}

static void try_once(void *arg)
{
    struct world *w = arg;
    int r = fm_mutex_trylock(w->mutex);
    if (r == 0) {
        section(w);
        model_assert(fm_mutex_unlock(w->mutex) == 0);
    } else {
        model_assert(r == -EBUSY);
    }
}

/* All have come back: the mutex is free, and whoever comes gets it. */
static void settle(struct world *w)
{
    model_assert(fm_mutex_trylock(w->mutex) == 0);
    section(w);
    model_assert(fm_mutex_unlock(w->mutex) == 0);
    fm_mutex_destroy(w->mutex);
}

static void together(void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    struct world *w = world_new();
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
    settle(w);
}

static void two_lock(void)
{
    together(lock_once, lock_once, NULL);
}

static void three_lock(void)
{
    together(lock_once, lock_once, lock_once);
}

static void deadline_meets_hand_off(void)
{
    together(lock_once, lock_until, lock_once);
}

static void interrupt_meets_hand_off(void)
{
    together(lock_once, lock_interruptibly, interrupt);
}

static void try_meets_hand_off(void)
{
    together(lock_once, lock_once, try_once);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(two_lock),
    SCENARIO(interrupt_meets_hand_off),
    SCENARIO(deadline_meets_hand_off, .less = 1),
    SCENARIO(three_lock, .less = 1),
    SCENARIO(try_meets_hand_off, .less = 1),
    SCENARIO_END,
};
