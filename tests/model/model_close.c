/*
 * model_close.c - after a close nobody is in the map, and nobody comes any more
 *
 * Protocol   fibermap/map_run.c, map_close.c, member.c and count.c as they are; fibers are
 *            made, started and interrupted here. A fiber goes on in the thread that ran it,
 *            waits to be interrupted and ends: one that came in unseen by every closer would
 *            wait for ever. What it did before its end is plain data.
 */
#include <errno.h>

#include "fibermap/child.h"
#include "fibermap/group.h"
#include "fibermap/ledger.h"
#include "fibermap/map.h"
#include "fibermap/member.h"
#include "fibermap/turn.h"
#include "tests/model/model.h"

enum { FIBERS = 4, STRIPES = 2 };
enum { REFUSED = 0, CLOSED = FIBERS }; /* notes; the first for each fiber */

struct player {
    struct fm_fiber fiber;
    _Atomic uint32_t interrupted;
};

struct world {
    struct fm_map *map;
    struct player *player[FIBERS]; /* n is made by the thread that runs n */
    int work[FIBERS];              /* before its end */
};

struct call {
    struct world *world;
    unsigned fiber;
    const char *key;
};

static struct world *the_world;

/* ---- in place of the rooms below ---- */

int fm__fiber_create(struct fm_runtime *runtime, fm_entry_fn *entry, void *arg,
                     const struct fm_spawn_options *options, const void *site, bool reference,
                     struct fm_fiber **ret_fiber)
{
    (void)runtime, (void)entry, (void)options, (void)site, (void)reference;
    struct call *call = arg;
    struct player *p = model_aligned(_Alignof(struct player), sizeof *p);
    p->fiber.slot = call->fiber;
    p->fiber.refs = UINT64_C(1) << FIBER_ID_SLOT_BITS | 1;
    call->world->player[call->fiber] = p;
    *ret_fiber = &p->fiber;
    return 0;
}

void fm__fiber_start(struct fm_fiber *fiber)
{
    (void)fiber;
}

void fm__fiber_discard(struct fm_fiber *fiber)
{
    (void)fiber;
}

struct fm_fiber *fm__fiber_ref_id(uint64_t id)
{
    return &the_world->player[id & (FIBERS - 1)]->fiber;
}

struct fm_fiber *fm_fiber_unref(struct fm_fiber *fiber)
{
    (void)fiber;
    return NULL;
}

int fm__fiber_interrupt(struct fm_fiber *fiber, enum fm_reason reason)
{
    struct player *p = (struct player *)fiber;
    (void)reason;
    atomic_store_explicit(&p->interrupted, 1, memory_order_release);
    return 0;
}

void *fm__again_kept(struct fm_fiber *fiber)
{
    (void)fiber;
    return NULL;
}

int64_t fm__runtime_coarse_ns(struct fm_runtime *runtime)
{
    (void)runtime;
    return 0;
}

void fm__groups_close(struct fm_map *map, struct fm_fiber *out)
{
    (void)map, (void)out;
}

void fm__limit_shut(struct fm_map *map)
{
    (void)map;
}

void fm__turn_unwrap(struct work *work)
{
    (void)work;
}

void fm__restart_unwrap(struct work *work)
{
    (void)work;
}

void fm__child_unwrap(struct work *work)
{
    (void)work;
}

/* ---- threads ---- */

static struct world *world_new(void)
{
    struct world *w = model_calloc(1, sizeof *w);
    struct fm_map *map = model_aligned(_Alignof(struct fm_map), sizeof *map);
    model_global(&the_world, sizeof(struct world *));
    the_world = w;
    w->map = map;
    map->stripe_mask = STRIPES - 1;
    map->stripes = model_aligned(_Alignof(struct stripe), STRIPES * sizeof *map->stripes);
    map->idle.wakes_ns = FM_NEVER;
    map->refs = 1;
    fm__hash_seed_init(&map->seed, 1, HASH_FAST);
    fm__waiting_init(&map->waiting);
    fm__map_each_stripe(map, s)
        fm__stripe_init(s, map, NULL);
    return w;
}

static struct fm_exit never_called(void *arg)
{
    (void)arg;
    return fm_ok(NULL);
}

/* Puts its fiber in, which waits for its interruption and ends. */
static void run(void *arg)
{
    struct call *call = arg;
    struct world *w = call->world;
    int r = fm_map_run(w->map, fm_key_str(call->key), never_called, call, NULL, NULL);
    if (r == -ESHUTDOWN) {
        model_note(REFUSED + call->fiber, 1);
        return;
    }
    model_assert(r == 0 || r == FM_MAP_REPLACED);
    /* it is in, so a close would wait for it */
    model_assert(model_note(CLOSED, 0) == 0);
    struct fm_fiber *fiber = &w->player[call->fiber]->fiber;
    model_await(&w->player[call->fiber]->interrupted);
    w->work[call->fiber] = 1;
    struct fm_exit exit = { .kind = FM_INTERRUPTED, .reason = FM_BY_CLOSE };
    fiber->owner.ended(fiber, exit);
    fm__state_end(&fiber->state);
}

static struct call *call_new(struct world *w, unsigned fiber, const char *key)
{
    struct call *call = model_calloc(1, sizeof *call);
    *call = (struct call) { w, fiber, key };
    return call;
}

static void close_map(void *arg)
{
    struct world *w = arg;
    model_assert(fm_map_close(w->map, NULL, NULL) == 0);
    model_note(CLOSED, 1);
    fm__map_each_stripe(w->map, s)
        model_assert(fm__count_members(fm__stripe_count(s)) == 0);
}

/* All threads are joined. */
static void settle(struct world *w, unsigned fibers)
{
    for (unsigned i = 0; i < fibers; i++)
        model_assert(w->work[i] + model_note(REFUSED + i, 0) == 1);
    fm__map_each_stripe(w->map, s)
        model_assert((fm__stripe_count(s) & ~COUNT_WATCHED) == 0);
}

/* ---- scenarios ---- */

/* Thread 0 runs fiber 0, another does this, and a third closes the map. */
static void together(struct world *w, void (*other)(void *), void *arg)
{
    int a = model_spawn(other, arg), b = model_spawn(close_map, w);
    run(call_new(w, 0, "a"));
    model_join(a);
    model_join(b);
}

/* Here the closer comes first. */
static void close_meets_two_runs(void)
{
    struct world *w = world_new();
    int a = model_spawn(run, call_new(w, 0, "a")), b = model_spawn(run, call_new(w, 1, "b"));
    close_map(w);
    model_join(a);
    model_join(b);
    settle(w, 2);
}

/* The second takes the key of the first, which is a zombie until it ends. */
static void close_meets_replacement(void)
{
    struct world *w = world_new();
    together(w, run, call_new(w, 1, "a"));
    settle(w, 2);
}

static void two_close(void)
{
    struct world *w = world_new();
    together(w, close_map, w);
    settle(w, 1);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(close_meets_two_runs),
    SCENARIO(close_meets_replacement),
    SCENARIO(two_close),
    SCENARIO_END,
};
