/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map_retain.h - the last exit of a key, kept for a while, and used again
 *
 * A map whose config has a retain_count keeps the last exit of up to so many keys, for
 * retain_ns each (0: until younger ones push it out). What is kept is the exit of who left the
 * key by ending: not of a replaced or detached fiber. The next end under the key takes its
 * place.
 *
 * Callers    as for the map; nothing here waits. Works on a closing map too.
 */
#ifndef FM_MAP_RETAIN_H
#define FM_MAP_RETAIN_H

#include "fm/map.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FM_RETAIN_MAX (1u << 20)

/*
 * Of a run, where the key is free: whether a retained exit does in place of a new run. Then
 * nothing starts, the call returns FM_MAP_REUSED, arg stays the caller's, and ret_fiber is the
 * fiber that has ended: a join returns its exit, but for an instant at once. fm_map_run_wait
 * returns FM_MAP_KEPT with the exit, as for a run that it joins, and does not wait. Looked up
 * in one step with the key: whoever comes while the key is held gets what the conflict option
 * says, whoever comes after finds the exit. Without a retain_count nothing is ever found.
 */
enum fm_reuse {
    FM_REUSE_NOTHING = 0,
    FM_REUSE_SUCCESS = 1, /* a success: failures are not cached */
    FM_REUSE_ANY = 2,
};

/*
 * The last exit of a key, whoever holds the key now; it is there for who has found the key
 * free once somebody has left it by ending. Its value is valid as long as it is retained; who
 * needs it longer takes the fiber (FM_REUSE_ANY, or fm_map_next). 0 · -ENOENT none, or its
 * time is over · -EINVAL a bad key, or the map retains nothing
 */
FM_API int fm_map_last_exit(struct fm_map *map, struct fm_key key, struct fm_exit *ret_exit);
/* Retain it no longer: 0 · -ENOENT · -EINVAL as above */
FM_API int fm_map_forget(struct fm_map *map, struct fm_key key);

#ifdef __cplusplus
}
#endif
#endif
