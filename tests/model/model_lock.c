/*
 * model_lock.c - one holds the lock, nobody sleeps while it is free, and it may go with its
 * owner
 *
 * Protocol   runtime/platform/lock.h and lock.c themselves; the other models have a stand-in.
 *            What the lock guards is plain data. A nap may end at any time.
 */
#include "runtime/platform/clock.h"
#include "tests/model/model.h"

#undef fm__lock
#undef fm__lock_try
#undef fm__unlock
#define fm__clock_ns() INT64_C(0)

/* The ranks of debug builds are thread-locals, and no part of the protocol. */
void fm__lock_note(struct lock *lock)
{
    (void)lock;
}
void fm__lock_forget(struct lock *lock)
{
    (void)lock;
}
#define NDEBUG
#include "runtime/platform/lock.c"

struct world {
    struct lock lock;
    int guarded;
    int users;
};

static struct world *world_new(int users)
{
    struct world *w = model_calloc(1, sizeof *w);
    fm__lock_init(&w->lock, LOCK_SYNC);
    w->users = users;
    return w;
}

static void together(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w);
    c(w);
    model_join(ta);
    model_join(tb);
}

static void add(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->lock);
    w->guarded++;
    fm__unlock(&w->lock);
}

static void add_twice(void *arg)
{
    add(arg);
    add(arg);
}

static void try_to_add(void *arg)
{
    struct world *w = arg;
    if (!fm__lock_try(&w->lock)) {
        model_note(0, 1);
        return;
    }
    w->guarded++;
    fm__unlock(&w->lock);
}

static void three_lock(void)
{
    struct world *w = world_new(0);
    together(w, add, add, add);
    model_assert(w->guarded == 3);
}

static void held_again_and_again(void)
{
    struct world *w = world_new(0);
    together(w, add_twice, add, add_twice);
    model_assert(w->guarded == 5);
}

static void one_tries(void)
{
    struct world *w = world_new(0);
    together(w, try_to_add, add, add);
    model_assert(w->guarded == 3 - model_note(0, 0));
}

/* The last user frees what the lock stands in, while those before it may still be unlocking. */
static void leave(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->lock);
    bool last = --w->users == 0;
    fm__unlock(&w->lock);
    if (last)
        model_free(w);
}

static void last_user_frees(void)
{
    struct world *w = world_new(3);
    together(w, leave, leave, leave);
    model_assert(model_freed(w));
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(three_lock),
    SCENARIO(one_tries),
    SCENARIO(held_again_and_again, .less = 1),
    SCENARIO(last_user_frees),
    SCENARIO_END,
};
