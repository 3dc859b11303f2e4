/*
 * model_count.c - who waits for nobody wakes when there was nobody, and may then free the map;
 * who looks for all that are present has room for so many as are counted
 *
 * Protocol   fibermap/count.c with two stripes. What a member did before it left is plain data;
 *            the stripes are freed as soon as the wait has returned. Of fibermap/map_end.c the
 *            look of a clear at a stripe, of which the room is part of this file.
 */
#include "fibermap/count.h"

#include "fibermap/map.h"
#include "fibermap/map_end.c" /* the room itself: its step is its own */
#include "tests/model/model.h"

#define MEMBER (COUNT_MEMBER_ONE + COUNT_LIVE_ONE)

struct world {
    struct fm_map *map;
    int work[3];
};

static struct world *world_new(uint64_t first, uint64_t second)
{
    struct world *w = model_calloc(1, sizeof *w);
    w->map = model_aligned(_Alignof(struct fm_map), sizeof *w->map);
    w->map->stripe_mask = 1;
    w->map->stripes = model_aligned(_Alignof(struct stripe), 2 * sizeof(struct stripe));
    fm__waiting_init(&w->map->waiting);
    for (int i = 0; i < 2; i++) {
        w->map->stripes[i].map = w->map;
        fm__lock_init(&w->map->stripes[i].lock, LOCK_MAP_STRIPE);
    }
    atomic_store_explicit(&w->map->stripes[0].count, first, memory_order_relaxed);
    atomic_store_explicit(&w->map->stripes[1].count, second, memory_order_relaxed);
    return w;
}

static void leave_0(void *arg)
{
    struct world *w = arg;
    w->work[0] = 1;
    fm__count_subtract(&w->map->stripes[0], MEMBER);
}

static void leave_1(void *arg)
{
    struct world *w = arg;
    w->work[1] = 1;
    fm__count_subtract(&w->map->stripes[1], MEMBER);
}

/* There is always somebody until the end: the second comes before the first goes. */
static void move_over_and_leave(void *arg)
{
    struct world *w = arg;
    fm__count_add(&w->map->stripes[1], MEMBER);
    leave_0(w);
    leave_1(w);
}

static void await_and_free(void *arg)
{
    struct world *w = arg;
    model_assert(fm__count_await(w->map, WAIT_QUIESCENT, FM_NEVER, "model") == 0);
    model_assert(w->work[0] == 1 && w->work[1] == 1);
    model_free(w->map->stripes);
    model_free(w->map);
}

static void await_only(void *arg)
{
    struct world *w = arg;
    model_assert(fm__count_await(w->map, WAIT_EMPTY, FM_NEVER, "model") == 0);
    model_assert(w->work[0] == 1 && w->work[1] == 1);
}

static void await_until(void *arg)
{
    struct world *w = arg;
    if (fm__count_await(w->map, WAIT_EMPTY, 1000, "model") == 0)
        model_assert(w->work[0] == 1 && w->work[1] == 1);
}

static void together(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
}

static void last_exits_meet_destroy(void)
{
    together(world_new(MEMBER, MEMBER), leave_0, leave_1, await_and_free);
}

static void members_move_over(void)
{
    together(world_new(MEMBER, 0), move_over_and_leave, await_and_free, NULL);
}

static void two_wait(void)
{
    together(world_new(MEMBER, 0), move_over_and_leave, await_only, await_only);
}

static void one_of_two_gives_up(void)
{
    together(world_new(MEMBER, 0), move_over_and_leave, await_only, await_until);
}

/* ---- a clear that looks, with room for those who are counted ---- */

void *fm__realloc(void *memory, size_t bytes)
{
    model_assert(!memory);
    return model_malloc(bytes);
}

struct stay_here {
    struct stripe *stripe;
    struct entry *entry;
};

/* In the order of an exit: its entry, then the count. */
static void leave_entry(void *arg)
{
    struct stay_here *stay = arg;
    model_assert(fm__entry_end(stay->entry, 1) == ENTRY_END_PRESENT);
    fm__count_subtract(stay->stripe, MEMBER);
}

static void look(void *arg)
{
    struct stay_here *stay = arg;
    struct found found = { 0 };
    model_assert(find_present(stay->stripe, &found) == 0);
    model_assert(found.count <= found.room);
    model_assert(!found.count || found.ids[0] == 1);
}

static void clear_meets_exit(void)
{
    struct map_key key = { .head = 1, .len = 1 };
    struct world *w = world_new(0, 0);
    struct stripe *stripe = &w->map->stripes[0];
    struct entry *entry;
    fm__stripe_init(stripe, w->map, NULL);
    model_assert(fm__stripe_reserve(stripe, &key, 0, &entry) == 0);
    fm__entry_publish(entry, 1);
    fm__count_add(stripe, MEMBER);
    struct stay_here stay = { stripe, entry };
    int a = model_spawn(leave_entry, &stay), b = model_spawn(look, &stay);
    model_join(a);
    model_join(b);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(last_exits_meet_destroy, .less = 1),
    SCENARIO(members_move_over),
    SCENARIO(two_wait, .less = 1),
    SCENARIO(one_of_two_gives_up, .less = 1),
    SCENARIO(clear_meets_exit),
    SCENARIO_END,
};
