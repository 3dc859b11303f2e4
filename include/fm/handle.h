/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/handle.h - FiberHandle: a place for one fiber, under the rules of the map
 *
 * A handle is a map (fm/map.h) with one key. At every instant it holds one running fiber or
 * none; a run replaces the one that is there in one step, or leaves it (FM_KEEP). What is not
 * repeated here is done with the handle's map, fm_handle_map(), under the key fm_handle_key().
 *
 * Callers    as for the map: any fiber, any thread.
 */
#ifndef FM_HANDLE_H
#define FM_HANDLE_H

#include "fm/map.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_handle;

/* As fm_map_create and fm_map_create_scoped. */
FM_API int fm_handle_create(const struct fm_map_config *config, struct fm_handle **ret_handle);
FM_API int fm_handle_create_scoped(const struct fm_map_config *config,
                                   struct fm_handle **ret_handle);
/* As fm_map_close. */
FM_API int fm_handle_close(struct fm_handle *handle, const struct fm_close_policy *policy,
                           struct fm_close_report *ret_report);
/* As fm_map_destroy: NULL-safe, returns NULL. Not for one made by fm_handle_create_scoped. */
FM_API struct fm_handle *fm_handle_destroy(struct fm_handle *handle);
/* The handle's map, borrowed, and its one key. */
FM_API struct fm_map *fm_handle_map(struct fm_handle *handle);
FM_API struct fm_key fm_handle_key(void);

/* As fm_map_run, with all its options and results. */
FM_API int fm_handle_run(struct fm_handle *handle, fm_entry_fn *entry, void *arg,
                         const struct fm_map_run_options *options, struct fm_fiber **ret_fiber);
/* As fm_map_set. */
FM_API int fm_handle_set(struct fm_handle *handle, struct fm_fiber *fiber,
                         const struct fm_map_run_options *options);
/* The fiber that it holds: 0 with a reference · -ENOENT · -EINVAL */
FM_API int fm_handle_get(struct fm_handle *handle, struct fm_fiber **ret_fiber);
/*
 * End the fiber that it holds now, and await it: 0, also where there is none · FM_MAP_SELF ·
 * -ECANCELED · -ETIMEDOUT · -EINVAL. One that is run meanwhile stays.
 */
FM_API int fm_handle_clear(struct fm_handle *handle, int64_t deadline_ns);
/* As fm_map_join and fm_map_await_empty. */
FM_API int fm_handle_join(struct fm_handle *handle, int64_t deadline_ns,
                          struct fm_exit *ret_exit);
FM_API int fm_handle_await_empty(struct fm_handle *handle, int64_t deadline_ns);

#ifdef __cplusplus
}
#endif
#endif
