/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/set.h - FiberSet: fibers without keys, under the rules of the map
 *
 * A set is a map (fm/map.h) in which each fiber stands under a key of its own: nobody replaces
 * anybody, a fiber that ends leaves by itself, closing interrupts and awaits all that are left.
 * What is not repeated here is done with the set's map, fm_set_map().
 *
 * Callers    as for the map: any fiber, any thread.
 */
#ifndef FM_SET_H
#define FM_SET_H

#include "fm/map.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_set;

/* As fm_map_create and fm_map_create_scoped. */
FM_API int fm_set_create(const struct fm_map_config *config, struct fm_set **ret_set);
FM_API int fm_set_create_scoped(const struct fm_map_config *config, struct fm_set **ret_set);
/* As fm_map_close. */
FM_API int fm_set_close(struct fm_set *set, const struct fm_close_policy *policy,
                        struct fm_close_report *ret_report);
/* As fm_map_destroy: NULL-safe, returns NULL. Not for a set made by fm_set_create_scoped. */
FM_API struct fm_set *fm_set_destroy(struct fm_set *set);
/* The set's map, borrowed; its keys are the set's own. */
FM_API struct fm_map *fm_set_map(struct fm_set *set);

/*
 * Start a fiber in the set. options: as of fm_map_run, conflict left 0. 0, with a reference if
 * asked for · -ESHUTDOWN · -ENOMEM · -EAGAIN · -EINVAL · -E2BIG, and what limits of the
 * config add to them
 */
FM_API int fm_set_run(struct fm_set *set, fm_entry_fn *entry, void *arg,
                      const struct fm_map_run_options *options, struct fm_fiber **ret_fiber);
/*
 * Add a fiber that exists, as fm_map_set does: 0 · FM_MAP_SAME it is in the set, and its first
 * options stay · -ESHUTDOWN it is interrupted (FM_BY_REJECT) · -ENOMEM · -EINVAL · -E2BIG
 */
FM_API int fm_set_add(struct fm_set *set, struct fm_fiber *fiber,
                      const struct fm_map_run_options *options);

/* As fm_map_size, fm_map_clear, fm_map_join, fm_map_await_empty. */
FM_API size_t fm_set_size(struct fm_set *set);
FM_API int fm_set_clear(struct fm_set *set, int64_t deadline_ns);
FM_API int fm_set_join(struct fm_set *set, int64_t deadline_ns, struct fm_exit *ret_exit);
FM_API int fm_set_await_empty(struct fm_set *set, int64_t deadline_ns);

#ifdef __cplusplus
}
#endif
#endif
