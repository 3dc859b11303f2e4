/*
 * model_semaphore.c - permits are neither lost nor made, and nobody waits for what is free
 *
 * Protocol   runtime/sync/semaphore.c with runtime/sync/word.h. What a releaser did before is
 *            plain data that the acquirer reads.
 */
#include <errno.h>

#include "fm/sync.h"
#include "runtime/fiber/fiber.h"
#include "tests/model/model.h"

struct world {
    struct fm_semaphore *semaphore;
    int data; /* plain: a semaphore of one permit guards it */
    _Atomic(struct fm_fiber *) waiter;
};

static struct world *world_new(int64_t permits)
{
    struct world *w = model_calloc(1, sizeof *w);
    model_assert(fm_semaphore_create(permits, &w->semaphore) == 0);
    return w;
}

static void with_permits(struct world *w, int64_t n, int64_t deadline_ns, int refused)
{
    int r = fm_semaphore_acquire(w->semaphore, n, deadline_ns);
    if (r == 0) {
        w->data++;
        model_assert(fm_semaphore_release(w->semaphore, n) == 0);
    } else {
        model_assert(r == refused);
    }
}

static void one(void *arg)
{
    with_permits(arg, 1, FM_NEVER, 0);
}

static void one_until(void *arg)
{
    with_permits(arg, 1, 1000, -ETIMEDOUT);
}

static void one_interruptibly(void *arg)
{
    struct world *w = arg;
    atomic_store_explicit(&w->waiter, fm__fiber_self(), memory_order_release);
    with_permits(w, 1, FM_NEVER, -ECANCELED);
}

static void interrupt(void *arg)
{
    struct world *w = arg;
    struct fm_fiber *waiter = atomic_load_explicit(&w->waiter, memory_order_acquire);
    if (waiter)
        fm__fiber_interrupt(waiter, FM_BY_USER);
}

/* Two permits at once: a large waiter at the head keeps small ones behind it waiting. */
static void two_until(void *arg)
{
    with_permits(arg, 2, 1000, -ETIMEDOUT);
}

static void together(struct world *w, int64_t permits, void (*a)(void *), void (*b)(void *),
                     void (*c)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
    model_assert(fm_semaphore_free(w->semaphore) == permits);
    fm_semaphore_destroy(w->semaphore);
}

static void two_share_one(void)
{
    together(world_new(1), 1, one, one, NULL);
}

static void three_share_one(void)
{
    together(world_new(1), 1, one, one, one);
}

static void deadline_meets_grant(void)
{
    together(world_new(1), 1, one, one_until, one);
}

static void interrupt_meets_grant(void)
{
    together(world_new(1), 1, one, one_interruptibly, interrupt);
}

/* All the permits are out at the start; the large waiter leaves, the small one must go on. */
static void release_one(void *arg)
{
    struct world *w = arg;
    w->data++;
    model_assert(fm_semaphore_release(w->semaphore, 1) == 0);
}

static void large_waiter_leaves(void)
{
    together(world_new(0), 1, two_until, one, release_one);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(two_share_one),
    SCENARIO(interrupt_meets_grant),
    SCENARIO(deadline_meets_grant, .less = 1),
    SCENARIO(three_share_one, .less = 1),
    SCENARIO(large_waiter_leaves, .less = 1),
    SCENARIO_END,
};
