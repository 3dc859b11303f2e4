/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map_many.h - calls of a map over more than one thing: many keys; a key and who is to hold it
 */
#ifndef FM_MAP_MANY_H
#define FM_MAP_MANY_H

#include "fm/map.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * fm_map_remove_many - end the fibers under these keys, and wait for all of them
 *
 * Signals all that are present (FM_BY_REMOVE) before it waits for the first, so they end side
 * by side. As for fm_map_remove: their entries stay until they have ended, the caller's
 * interruption or deadline ends the waiting only, and a caller who is among them is signalled
 * last and not awaited. Keys that nobody stands under are passed over; a key may stand twice.
 *
 * Returns    0 all who were found have ended · -ENOENT none was found · FM_MAP_SELF the caller
 *            was among them · -ECANCELED · -ETIMEDOUT · -ENOMEM, -EINVAL (a key that is none
 *            is among them too): nobody was signalled
 */
FM_API int fm_map_remove_many(struct fm_map *map, const struct fm_key keys[], size_t count,
                              int64_t deadline_ns);

/*
 * fm_map_compare_and_replace - start a fiber in place of that one, and of no other
 *
 * Looks who holds the key and puts the new fiber there in one step: of any number of callers
 * who expect the same fiber one replaces it.
 *
 * expected   the fiber that must be present under the key, of which the caller holds a
 *            reference; NULL: nobody may be.
 * options    as of fm_map_run; conflict left 0.
 *
 * Returns    FM_MAP_REPLACED started, `expected` was interrupted (FM_BY_REPLACE) · 0 started:
 *            the key was free, as expected, or `expected` ended in that very instant ·
 *            FM_MAP_KEPT nothing started, ret_fiber is the fiber that holds the key · -ENOENT
 *            nobody does · and what fm_map_run fails with. Where nothing starts arg stays the
 *            caller's.
 * Callers    as fm_map_run.
 */
FM_API int fm_map_compare_and_replace(struct fm_map *map, struct fm_key key,
                                      struct fm_fiber *expected, fm_entry_fn *entry, void *arg,
                                      const struct fm_map_run_options *options,
                                      struct fm_fiber **ret_fiber);

#ifdef __cplusplus
}
#endif
#endif
