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
    _Atomic uint32_t first, passed, second; /* turns of the one who passes another for sure */
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

/* The second time it may pass who was woken the first time. */
static void lock_twice(void *arg)
{
    lock_once(arg);
    lock_once(arg);
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

static void passed_and_handed_over(void)
{
    together(lock_twice, lock_once, NULL);
}

static void deadline_meets_passing(void)
{
    together(lock_twice, lock_until, lock_once);
}

static void interrupt_meets_passing(void)
{
    together(lock_twice, lock_interruptibly, interrupt);
}

/*
 * The holder stands aside, and goes on when the other had time to queue up; passes it, and the
 * same again: few preemptions are left to be found around the hand-over itself.
 */
static void give_turns(void *arg)
{
    struct world *w = arg;
    atomic_store_explicit(&w->first, 1, memory_order_release);
    model_await(&w->passed);
    atomic_store_explicit(&w->second, 1, memory_order_release);
}

static void handed_over_to_who_was_passed(void)
{
    struct world *w = world_new();
    model_assert(fm_mutex_lock(w->mutex, FM_NEVER) == 0);
    int waiter = model_spawn(lock_once, w), aside = model_spawn(give_turns, w);
    model_await(&w->first);
    model_assert(fm_mutex_unlock(w->mutex) == 0);
    model_assert(fm_mutex_lock(w->mutex, FM_NEVER) == 0);
    atomic_store_explicit(&w->passed, 1, memory_order_release);
    model_await(&w->second);
    section(w);
    model_assert(fm_mutex_unlock(w->mutex) == 0);
    model_join(waiter);
    model_join(aside);
    settle(w);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(two_lock),
    SCENARIO(interrupt_meets_hand_off),
    SCENARIO(deadline_meets_hand_off, .less = 1),
    SCENARIO(three_lock, .less = 1),
    SCENARIO(try_meets_hand_off, .less = 1),
    SCENARIO(passed_and_handed_over),
    SCENARIO(handed_over_to_who_was_passed),
    SCENARIO(interrupt_meets_passing),
    SCENARIO(deadline_meets_passing, .less = 1),
    SCENARIO_END,
};
