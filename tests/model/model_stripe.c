/*
 * model_stripe.c - a lookup without a lock finds who is there, and nobody else
 *
 * Protocol   fibermap/stripe.c: lookups against install, exit, sweep, use of an entry for
 *            another key, and growth. Fiber n stands under key n unless said otherwise. In the
 *            first table all keys share a chain, and it soon grows.
 */
#include "fibermap/lookup.h"

#include "tests/model/model.h"

static struct stripe *stripe_new(void)
{
    struct stripe *s = model_aligned(_Alignof(struct stripe), sizeof *s);
    struct table *table = model_aligned(_Alignof(struct table), sizeof *table);
    fm__stripe_init(s, NULL, NULL);
    s->tables[1] = table; /* two buckets, of which one is used */
    atomic_store_explicit(&s->table, (uintptr_t)table | 63, memory_order_relaxed);
    return s;
}

/* Eight bytes; neighbours in number are in different buckets of a table of four or eight. */
static struct map_key key_of(uint64_t n)
{
    uint64_t bucket = (n & 1) << 1 | (n >> 1 & 1);
    return (struct map_key) {
        .head = bucket << 45 | n << KEY_LENGTH_BITS | 8, .len = 8, .words = KEY_FIRST, .word = { n }
    };
}

/* Put the fiber under the key, as a run does. */
static struct entry *run(struct stripe *s, uint64_t key, uint64_t id)
{
    struct map_key k = key_of(key);
    model_assert(fm__stripe_lock_with_room(s, &k) == 0);
    struct place place = fm__stripe_find_locked(s, &k);
    struct entry *e = fm__stripe_take_locked(s, &k);
    fm__entry_publish(e, id);
    fm__stripe_install_locked(s, place, e);
    fm__unlock(&s->lock);
    return e;
}

static void leave(struct stripe *s, struct entry *e, uint64_t id)
{
    model_assert(fm__entry_end(e, id) != ENTRY_END_HELD);
    fm__stripe_bury(s, e);
}

static void sweep(struct stripe *s)
{
    fm__lock(&s->lock);
    fm__stripe_sweep_locked(s);
    fm__unlock(&s->lock);
}

/* What the threads of a scenario are given. */
struct world {
    struct stripe *stripe;
    struct entry *first; /* of fiber 1 */
    bool walk;
};

/*
 * walk       lookups walk, without a glance before: what that has read would hide what a walk
 *            must read in order
 */
static struct world *world_new(bool walk)
{
    struct world *w = model_calloc(1, sizeof *w);
    w->stripe = stripe_new();
    w->walk = walk;
    return w;
}

static uint64_t find(struct world *w, uint64_t key)
{
    struct map_key k = key_of(key);
    return w->walk ? fm__stripe_search(w->stripe, &k)
                   : fm__stripe_find(w->stripe, &k);
}

static void together(struct world *w, void (*a)(void *), void (*b)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w);
    model_join(ta);
    model_join(tb);
}

/* --- an entry serves another key -------------------------------------------------------- */

static void reuse_1_for_2(void *arg)
{
    struct world *w = arg;
    leave(w->stripe, w->first, 1);
    sweep(w->stripe);
    model_assert(run(w->stripe, 2, 2) == w->first);
}

static void find_1_and_2(void *arg)
{
    struct world *w = arg;
    uint64_t one = find(w, 1);
    uint64_t two = find(w, 2);
    model_assert(one == 0 || one == 1);
    model_assert(two == 0 || two == 2);
}

static void entry_is_used_again(bool walk)
{
    struct world *w = world_new(walk);
    w->first = run(w->stripe, 1, 1);
    together(w, reuse_1_for_2, find_1_and_2);
    model_assert(find(w, 1) == 0 && find(w, 2) == 2);
}

/* --- a neighbour in the chain comes and goes ---------------------------------------------- */

static void find_3(void *arg)
{
    struct world *w = arg;
    model_assert(find(w, 3) == 3);
}

static void stable_key_is_found(bool walk)
{
    struct world *w = world_new(walk);
    run(w->stripe, 3, 3);
    w->first = run(w->stripe, 1, 1);
    together(w, reuse_1_for_2, find_3);
    find_3(w);
}

/* --- replaced, ended, swept and used again ----------------------------------------------- */

static void replace_1_and_reuse(void *arg)
{
    struct world *w = arg;
    run(w->stripe, 1, 4);
    leave(w->stripe, w->first, 1);
    sweep(w->stripe);
    run(w->stripe, 2, 2);
}

static void find_1_or_4(void *arg)
{
    struct world *w = arg;
    uint64_t found = find(w, 1);
    model_assert(found == 1 || found == 4);
}

static void replaced_key_is_never_empty(bool walk)
{
    struct world *w = world_new(walk);
    w->first = run(w->stripe, 1, 1);
    together(w, replace_1_and_reuse, find_1_or_4);
    model_assert(find(w, 1) == 4);
}

/* --- detached: the entry stays in its chain, and its fiber is nobody's ---------------------- */

static void detach_1(void *arg)
{
    struct world *w = arg;
    fm__lock(&w->stripe->lock);
    model_assert(fm__entry_detach(w->first, 1));
    fm__unlock(&w->stripe->lock);
    model_assert(find(w, 1) == 0);
}

static void find_1_or_nobody(void *arg)
{
    struct world *w = arg;
    uint64_t found = find(w, 1);
    model_assert(found == 0 || found == 1);
}

static void detached_fiber_is_not_found(bool walk)
{
    struct world *w = world_new(walk);
    w->first = run(w->stripe, 1, 1);
    together(w, detach_1, find_1_or_nobody);
    model_assert(find(w, 1) == 0);
}

/* --- growth ------------------------------------------------------------------------------- */

static void run_2_4_5(void *arg)
{
    struct world *w = arg;
    run(w->stripe, 5, 5);
    run(w->stripe, 2, 2);
    run(w->stripe, 4, 4);
}

static void find_1(void *arg)
{
    struct world *w = arg;
    model_assert(find(w, 1) == 1);
}

/*
 * Twice, so that the links of the first table are written again under a lookup that stands on
 * 3, which leads to 1 in the first of these tables only.
 */
static void table_grows(bool walk)
{
    struct world *w = world_new(walk);
    run(w->stripe, 1, 1);
    run(w->stripe, 3, 3);
    together(w, run_2_4_5, find_1);
    for (uint64_t key = 1; key <= 5; key++)
        model_assert(find(w, key) == key);
}

/* --- exits against the sweep -------------------------------------------------------------- */

static void leave_1(void *arg)
{
    struct world *w = arg;
    leave(w->stripe, w->first, 1);
}

static void sweep_and_run(void *arg)
{
    struct world *w = arg;
    sweep(w->stripe);
    run(w->stripe, 2, 2);
}

static void exit_meets_sweep(void)
{
    struct world *w = world_new(false);
    w->first = run(w->stripe, 1, 1);
    struct entry *third = run(w->stripe, 3, 3);
    int a = model_spawn(leave_1, w);
    int b = model_spawn(sweep_and_run, w);
    leave(w->stripe, third, 3);
    model_join(a);
    model_join(b);
    sweep(w->stripe);
    model_assert(find(w, 1) == 0 && find(w, 3) == 0);
    model_assert(find(w, 2) == 2);
    model_assert(atomic_load_explicit(&w->stripe->used, memory_order_relaxed) == 1);
}

#define LOOKUPS(scenario)                     \
    static void scenario##_to_glances(void)   \
    {                                         \
        scenario(false);                      \
    }                                         \
    static void scenario##_to_walks(void)     \
    {                                         \
        scenario(true);                       \
    }
LOOKUPS(entry_is_used_again)
LOOKUPS(stable_key_is_found)
LOOKUPS(replaced_key_is_never_empty)
LOOKUPS(detached_fiber_is_not_found)
LOOKUPS(table_grows)

const struct model_scenario model_scenarios[] = {
    SCENARIO(entry_is_used_again_to_glances),
    SCENARIO(entry_is_used_again_to_walks),
    SCENARIO(stable_key_is_found_to_glances),
    SCENARIO(stable_key_is_found_to_walks),
    SCENARIO(replaced_key_is_never_empty_to_glances),
    SCENARIO(replaced_key_is_never_empty_to_walks),
    SCENARIO(detached_fiber_is_not_found_to_glances),
    SCENARIO(detached_fiber_is_not_found_to_walks),
    SCENARIO(table_grows_to_glances),
    SCENARIO(table_grows_to_walks),
    SCENARIO(exit_meets_sweep),
    SCENARIO_END,
};
