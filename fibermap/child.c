/*
 * child.c - maps that belong to fibers of maps
 *
 * A fiber that may have one has a nest, made with it, in which the map lies while the body is
 * under way. Its body is wrapped: it opens the nest, runs the user's entry, takes the map out,
 * and closes it. Who asks for the map looks into the nest under its lock, so he comes before it
 * is taken out, and then it is closed with him in it, or after, and then he is refused.
 *
 *     SHUT --- the body begins ---> OPEN --- it has returned ---> CLOSING --- closed ---> SHUT
 *       '--- the fiber ends ---> OVER
 *
 * SHUT is a fiber whose body has not begun, or a lineage between two incarnations: who asks
 * waits. From OVER he looks again who is under the key.
 *
 * Owns        nests, until the memory of their fibers goes; the one reference with which a map
 *             was made, from when it is put into the nest until it has been closed.
 */
#include "fibermap/child.h"

#include <errno.h>
#include <stdlib.h>

#include "fibermap/map.h"
#include "fm/map_child.h"
#include "runtime/fiber/waitlist.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"

enum nest_state { NEST_SHUT, NEST_OPEN, NEST_CLOSING, NEST_OVER };

struct nest {
    struct work work;
    struct exit_node node;
    bool attached;
    struct lock lock; /* LOCK_SYNC: what follows */
    enum nest_state state;
    struct fm_map *map; /* OPEN: NULL until somebody asks */
    struct waitlist waiting;
};

/* ---- the fiber's side ---- */

/* Returns what lay in it. */
static struct fm_map *turn_into(struct nest *nest, enum nest_state state)
{
    fm__lock(&nest->lock);
    FM_ASSERT(nest->state != NEST_OVER);
    FM_ASSERT(state != NEST_OPEN || nest->state == NEST_SHUT);
    FM_ASSERT(state != NEST_CLOSING || nest->state == NEST_OPEN);
    struct fm_map *map = nest->map;
    FM_ASSERT(!map || nest->state == NEST_OPEN);
    nest->map = NULL;
    nest->state = state;
    fm__unlock(&nest->lock);
    return map;
}

static struct fm_exit nest_body(void *arg)
{
    struct nest *nest = arg;
    FM_ASSERT(nest->work.entry && nest->attached);

    turn_into(nest, NEST_OPEN);
    fm__waitlist_wake_all(&nest->waiting, &nest->lock, WAKE_VALUE);
    struct fm_exit exit = nest->work.entry(nest->work.arg);
    fm_map_destroy(turn_into(nest, NEST_CLOSING));
    turn_into(nest, NEST_SHUT);
    return exit;
}

static void nest_drop(void *arg)
{
    FM_ASSERT(arg);
    fm__work_drop(&((struct nest *)arg)->work);
}

static void fiber_ended(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    struct nest *nest = arg;
    FM_ASSERT(nest->attached);
    (void)fiber, (void)exit;
    turn_into(nest, NEST_OVER);
    fm__waitlist_wake_all(&nest->waiting, &nest->lock, WAKE_VALUE);
}

int fm__child_wrap(struct work *work, struct nest **ret_nest)
{
    FM_ASSERT(work->entry);
    struct nest *nest = fm__calloc(1, sizeof *nest);
    if (!nest)
        return -ENOMEM;
    nest->work = *work;
    nest->node = (struct exit_node) { .fn = fiber_ended, .arg = nest, .kind = EXIT_OWNER };
    fm__lock_init(&nest->lock, LOCK_SYNC);
    *work = (struct work) { nest_body, nest, nest_drop };
    *ret_nest = nest;
    return 0;
}

int fm__child_attach(struct fm_fiber *fiber, struct nest *nest)
{
    FM_ASSERT(!nest->attached);
    FM_ASSERT(fiber->kind == FIBER_TASK);
    struct fiber_extra *extra = fm__fiber_extra(fiber);
    if (!extra)
        return -ENOMEM;
    extra->nest = nest;
    nest->attached = true;
    fm__exit_list_add(&fiber->exits, &nest->node);
    return 0;
}

void fm__child_unwrap(struct work *work)
{
    if (work->drop != nest_drop)
        return;
    struct nest *nest = work->arg;
    FM_ASSERT(nest->work.entry);
    *work = nest->work;
    if (!nest->attached)
        free(nest);
}

/* ---- those who ask ---- */

static struct nest *nest_of(struct fm_fiber *fiber)
{
    /* acquire: with its making. The nest was there before the fiber was known. */
    struct fiber_extra *extra = atomic_load_explicit(&fiber->extra, memory_order_acquire);
    return extra ? extra->nest : NULL;
}

static struct fm_map *share(struct fm_map *map)
{
    FM_ASSERT(map);
    /* relaxed: the nest, whose lock is held, has it */
    atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    return map;
}

/*
 * The map in the nest, or *made in its stead, which then is NULL. 0 · FM_MAP_KEPT · -ENOENT
 * there is none yet, make one · -ESRCH the fiber has ended · -ESHUTDOWN · what waiting fails
 * with
 */
static int look_in(struct nest *nest, bool own, int64_t deadline_ns, struct fm_map **made,
                   struct fm_map **ret_child)
{
    FM_ASSERT(made && ret_child);
    for (;;) {
        struct wait_node node = { 0 };
        fm__lock(&nest->lock);
        if (nest->state == NEST_SHUT && !own) {
            int r = fm__waitlist_wait(&nest->waiting, &nest->lock, &node, deadline_ns, 0,
                                      "map_child");
            if (r < 0)
                return r;
            continue;
        }
        int r = nest->state == NEST_OVER   ? -ESRCH
                : nest->state != NEST_OPEN ? -ESHUTDOWN
                : nest->map                ? FM_MAP_KEPT
                : *made                    ? 0
                                           : -ENOENT;
        if (r == 0) {
            nest->map = *made;
            FM_ASSERT(nest->map);
            *made = NULL;
        }
        if (r >= 0)
            *ret_child = share(nest->map);
        fm__unlock(&nest->lock);
        return r;
    }
}

int fm_map_child(struct fm_map *map, struct fm_key given, const struct fm_map_config *config,
                 int64_t deadline_ns, struct fm_map **ret_child)
{
    struct fm_map_config copy;
    struct fm_map *made = NULL;
    struct map_key key;
    int r;

    if (!map || !ret_child || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    r = fm__config_read(&copy, sizeof copy, config);
    if (r < 0)
        return r;
    if (!copy.runtime)
        copy.runtime = map->runtime;
    do {
        struct fm_fiber *fiber = fm__map_look(map, &key);
        struct nest *nest = fiber ? nest_of(fiber) : NULL;
        if (nest)
            r = look_in(nest, fiber == fm__fiber_self(), deadline_ns, &made, ret_child);
        else
            r = fiber ? -ENOTSUP : -ENOENT;
        bool makes = nest && r == -ENOENT;
        FM_ASSERT(!makes || !made);
        fm_fiber_unref(fiber);
        if (makes)
            r = fm_map_create(&copy, &made);
        if (makes && r == 0)
            r = -ESRCH; /* look again: others may have come before, or it has ended */
    } while (r == -ESRCH);
    fm_map_destroy(made); /* another's is there */
    return r;
}

struct fm_map *fm_map_unref(struct fm_map *map)
{
    if (map)
        fm__map_unref(map);
    return NULL;
}
