/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map_limit.h - how many fibers of a map there may be, how many may start, how long they may
 * be idle
 *
 * max_live       present entries at once. A run that replaces somebody takes over his place, so
 *                it never waits for one; a replaced fiber that still ends holds none. A place
 *                is free when its fiber has left the key. fm_map_set is not limited, but
 *                counted.
 * max_starts     runs that start a fiber, in a window of interval_ns that begins with the first
 *                start after the last window's end. Replacements count; a run that starts
 *                nothing, or gives up, does not.
 * on_excess      what a run does that is one too many.
 *
 * Waiting is first come, first served, interruptible, and ends at the deadline_ns of the run's
 * options: fm_map_run and its like then also return -ECANCELED, -ETIMEDOUT, -ENOMEM (a thread's
 * first wait), -EINVAL (a fiber of another runtime, and one of the two clocks is virtual, waits
 * for a start) or, as soon as the map closes, -ESHUTDOWN, with nothing started and no place or
 * start lost. A member that waits for a place holds its own; exit observers, hooks and other
 * callers that must not wait want FM_EXCESS_FAIL. fm_map_destroy must not be called while
 * somebody waits.
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
     * For a start, wait. For a place, with a start in hand: interrupt (FM_BY_REMOVE) whoever
     * has not been used (see below) for the longest time, one for each place that is waited
     * for, and wait. A map that closes evicts nobody any more.
     */
    FM_EXCESS_EVICT_IDLE = 2,
};

/*
 * ---- idle_ttl_ns: who has not been used for so long is interrupted (FM_BY_IDLE) ----
 *
 * Of a run or a set: its options' idle_ttl_ns, else that of the map's config; 0: none, and
 * FM_NEVER: none, whatever the config says. On the runtime's clock: exact on the virtual one,
 * at the next tick of the real one.
 *
 * Used       when it is put under the key; touched; found by a run with FM_KEEP or FM_JOIN; and
 *            as long as anybody waits for it by fm_map_run_wait. All else only looks: get, has,
 *            await_key, a join on the fiber, FM_FAIL, snapshots.
 * Not begun  a body that waits for its turn (FM_QUEUE, FM_REPLACE_AWAIT) is not idle yet: its
 *            time runs from when it begins. A lineage's time runs on from one incarnation to
 *            the next and in back-offs, and its end by it is final.
 * Interrupted as by any call of the map: the key stays held until the fiber has ended. For
 *            FM_JOIN, fm_map_run_wait and FM_MAP_DYING_IS_ABSENT it does not hold it: they
 *            start a fresh one in its place.
 * Its own    the time is that registration's: a fiber that replaces another has its own, and
 *            one that is replaced or detached has none any more.
 * Cost       one allocation for each; a use is one stripe lock more. While any are there a
 *            fiber of the map sleeps until the first is due; where that has no memory for its
 *            stack, they are late until the next one is run. A map where nobody was ever given
 *            one pays nothing.
 */

/*
 * The fiber under the key is in use: its idle time begins anew, and it is now the last that
 * would be evicted. 0: it is not interrupted for being idle before its time is over again ·
 * -ENOENT nobody is there, or it has been idle for so long that it is being interrupted ·
 * -EINVAL. Never waits, takes the stripe lock; where neither matters it only looks the key up.
 */
FM_API int fm_map_touch(struct fm_map *map, struct fm_key key);

#ifdef __cplusplus
}
#endif
#endif
