/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map_limit.h - how many fibers of a map there may be, and how many may start
 *
 * max_live       present entries at once. A run that replaces somebody takes over his place, so it
 *                never waits for one; a replaced fiber that still ends holds none. A place is
 *                free when its fiber has left the key. fm_map_set is not limited, but counted.
 * max_starts     runs that start a fiber, in a window of interval_ns that begins with the first
 *                start after the last window's end. Replacements count; a run that starts
 *                nothing does not, unless it waited for its start meanwhile.
 * on_excess      what a run does that is one too many.
 *
 * Waiting is first come, first served, interruptible, and ends at the deadline_ns of the run's
 * options: fm_map_run and its like then also return -ECANCELED, -ETIMEDOUT, -ENOMEM (a thread's
 * first wait) or, if the map closes, -ESHUTDOWN (who waits for a start hears of that when he has
 * it), with nothing started and no place or start lost. A member that waits for a place holds its own;
 * exit observers, hooks and other callers that must not wait want FM_EXCESS_FAIL. fm_map_destroy
 * must not be called while somebody waits.
 */
#ifndef FM_MAP_LIMIT_H
#define FM_MAP_LIMIT_H

#include "fm/map.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FM_LIVE_MAX (1u << 30)

enum fm_excess {
    FM_EXCESS_WAIT = 0, /* until there is a place, and a start */
    FM_EXCESS_FAIL = 1, /* -EAGAIN */
    /*
     * Interrupt (FM_BY_REMOVE) whoever has neither been run nor touched for the longest time,
     * and wait for a place; for a start, wait.
     */
    FM_EXCESS_EVICT_IDLE = 2,
};

/*
 * The fiber under the key is in use: it is now the last that would be evicted. 0 · -ENOENT ·
 * -EINVAL. Never waits; without eviction it only looks the key up.
 */
FM_API int fm_map_touch(struct fm_map *map, struct fm_key key);

#ifdef __cplusplus
}
#endif
#endif
