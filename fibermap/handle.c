/*
 * handle.c - a place for one fiber: a map with one key and one stripe
 */
#include "fm/handle.h"

#include <errno.h>
#include <stdlib.h>

#include "fibermap/map.h"
#include "fm/scope.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"

struct fm_handle {
    struct fm_map *map;
};

struct fm_key fm_handle_key(void)
{
    return fm_key_bytes("handle", 6);
}

int fm_handle_create(const struct fm_map_config *given, struct fm_handle **ret_handle)
{
    struct fm_map_config config;

    if (!ret_handle)
        return -EINVAL;
    int r = fm__config_read(&config, sizeof config, given);
    if (r < 0)
        return r;
    config.size = sizeof config;
    config.stripe_count = 1;
    struct fm_handle *handle = fm__malloc(sizeof *handle);
    if (!handle)
        return -ENOMEM;
    r = fm_map_create(&config, &handle->map);
    if (r < 0) {
        free(handle);
        return r;
    }
    *ret_handle = handle;
    return 0;
}

static int scope_closes(void *arg, struct fm_exit exit)
{
    FM_ASSERT(arg);
    fm_handle_destroy(arg);
    return 0;
}

int fm_handle_create_scoped(const struct fm_map_config *config, struct fm_handle **ret_handle)
{
    struct fm_handle *handle;

    if (!fm__fiber_self())
        return -EPERM;
    if (!ret_handle)
        return -EINVAL;
    int r = fm_handle_create(config, &handle);
    if (r < 0)
        return r;
    r = fm_defer(scope_closes, handle);
    if (r < 0) {
        fm_handle_destroy(handle);
        return r;
    }
    *ret_handle = handle;
    return 0;
}

struct fm_handle *fm_handle_destroy(struct fm_handle *handle)
{
    if (!handle)
        return NULL;
    fm_map_destroy(handle->map);
    free(handle);
    return NULL;
}

struct fm_map *fm_handle_map(struct fm_handle *handle)
{
    return handle ? handle->map : NULL;
}

int fm_handle_run(struct fm_handle *handle, fm_entry_fn *entry, void *arg,
                  const struct fm_map_run_options *options, struct fm_fiber **ret_fiber)
{
    return handle ? fm__map_run(handle->map, fm_handle_key(), entry, arg, options,
                                __builtin_return_address(0), NULL, ret_fiber)
                  : -EINVAL;
}

int fm_handle_clear(struct fm_handle *handle, int64_t deadline_ns)
{
    if (!handle)
        return -EINVAL;
    int r = fm_map_remove(handle->map, fm_handle_key(), deadline_ns);
    return r == -ENOENT ? 0 : r;
}

/* ---- as of the map ---- */

int fm_handle_close(struct fm_handle *handle, const struct fm_close_policy *policy,
                    struct fm_close_report *ret_report)
{
    return handle ? fm_map_close(handle->map, policy, ret_report) : -EINVAL;
}

int fm_handle_set(struct fm_handle *handle, struct fm_fiber *fiber,
                  const struct fm_map_run_options *options)
{
    return handle ? fm_map_set(handle->map, fm_handle_key(), fiber, options) : -EINVAL;
}

int fm_handle_get(struct fm_handle *handle, struct fm_fiber **ret_fiber)
{
    return handle ? fm_map_get(handle->map, fm_handle_key(), ret_fiber) : -EINVAL;
}

int fm_handle_join(struct fm_handle *handle, int64_t deadline_ns, struct fm_exit *ret_exit)
{
    return handle ? fm_map_join(handle->map, deadline_ns, ret_exit) : -EINVAL;
}

int fm_handle_await_empty(struct fm_handle *handle, int64_t deadline_ns)
{
    return handle ? fm_map_await_empty(handle->map, deadline_ns) : -EINVAL;
}
