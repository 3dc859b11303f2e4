/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map_many.h - calls of a map over many keys at once
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

#ifdef __cplusplus
}
#endif
#endif
