/*
 * runner.c - a map of its own for callers that live outside fibers, and promises of exits
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/map.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"

struct fm_runner {
    struct fm_map *map;
};

int fm_runner_create(struct fm_runtime *runtime, const struct fm_map_config *given,
                     struct fm_runner **ret_runner)
{
    struct fm_map_config config;

    if (!ret_runner)
        return -EINVAL;
    int r = fm__config_read(&config, sizeof config, given);
    if (r < 0)
        return r;
    if (runtime)
        config.runtime = runtime;
    config.size = sizeof config;
    struct fm_runner *runner = fm__malloc(sizeof *runner);
    if (!runner)
        return -ENOMEM;
    r = fm_map_create(&config, &runner->map);
    if (r < 0) {
        free(runner);
        return r;
    }
    *ret_runner = runner;
    return 0;
}

struct fm_map *fm_runner_map(struct fm_runner *runner)
{
    return runner ? runner->map : NULL;
}

struct fm_runner *fm_runner_destroy(struct fm_runner *runner)
{
    if (!runner)
        return NULL;
    fm_map_destroy(runner->map);
    free(runner);
    return NULL;
}

int fm_runner_run(struct fm_runner *runner, struct fm_key key, fm_entry_fn *entry, void *arg,
                  const struct fm_map_run_options *options, struct fm_fiber **ret_fiber)
{
    if (!runner)
        return -EINVAL;
    return fm__map_run(runner->map, key, entry, arg, options, __builtin_return_address(0), NULL,
                       ret_fiber);
}

/* ---- promises ---- */

/*
 * On the fiber's exit list, as an owner: told before any join returns. Frees itself when told.
 */
struct promise_node {
    struct exit_node node;
    struct fm_promise *promise;
};

static void promise_ended(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    FM_ASSERT(((struct promise_node *)arg)->promise);
    struct promise_node *node = arg;
    fm_promise_complete(node->promise, exit);
    fm_promise_unref(node->promise);
    free(node);
}

static struct promise_node *promise_node_make(void)
{
    struct promise_node *node = fm__malloc(sizeof *node);
    if (!node)
        return NULL;
    *node = (struct promise_node) {
        .node = { .fn = promise_ended, .arg = node, .kind = EXIT_OWNER }
    };
    if (fm_promise_create(&node->promise) < 0) {
        free(node);
        return NULL;
    }
    return node;
}

static void drop_fiber(void *fiber)
{
    FM_ASSERT(fiber);
    fm_fiber_unref(fiber);
}

int fm_runner_promise(struct fm_runner *runner, struct fm_key key, fm_entry_fn *entry,
                      void *arg, const struct fm_map_run_options *options,
                      struct fm_promise **ret_promise)
{
    struct fm_fiber *fiber;

    if (!runner || !ret_promise)
        return -EINVAL;
    struct promise_node *node = promise_node_make();
    if (!node)
        return -ENOMEM;
    struct fm_promise *promise = fm_promise_ref(node->promise);
    struct run_more more = { .told = &node->node };
    int r = fm__map_run(runner->map, key, entry, arg, options, __builtin_return_address(0),
                        &more, &fiber);
    if (r < 0) {
        fm_promise_unref(node->promise);
        fm_promise_unref(promise);
        free(node);
        return r;
    }
    fm_promise_keep(promise, drop_fiber, fm_fiber_ref(fiber));
    const bool started_before = r == FM_MAP_KEPT || r == FM_MAP_REUSED;
    if (started_before && !fm__exit_list_add(&fiber->exits, &node->node)) {
        struct fm_exit exit;
        fm_fiber_poll(fiber, &exit);
        promise_ended(fiber, exit, node);
    }
    fm_fiber_unref(fiber);
    *ret_promise = promise;
    return r;
}
