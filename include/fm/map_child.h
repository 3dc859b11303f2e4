/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map_child.h - a map of its own for a fiber of a map, which closes with it
 *
 * A fiber that was run with own_map = 1 may have a map of its own, as a tenant has its workers.
 * It is made by whoever asks for it first, and closed by the fiber: when its body has returned,
 * before its children and finalizers. So by the time the fiber's exit is public, or a successor
 * of FM_REPLACE_AWAIT begins, nothing runs there. Each incarnation of a fiber that is restarted
 * has another map. Fibers of such a map may have maps of their own, to any depth: ending a
 * fiber ends the tree below it, and so does closing the map that it is in. The fiber itself
 * must not be put into its own map (fm_map_set): it could not close it, and the program stops.
 */
#ifndef FM_MAP_CHILD_H
#define FM_MAP_CHILD_H

#include "fm/map.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * fm_map_child - the map of the fiber under a key
 *
 * Makes it if there is none; of racing callers one makes it and all get the same. Where the
 * body has not begun, or the fiber is about to be run again, the call waits until it begins, so
 * that what runs below a key never overlaps with what ran below it before.
 *
 * config     of the map, if it is made here; NULL: the defaults. Its runtime is the parent's if
 *            none is given.
 * ret_child  a reference, to be dropped with fm_map_unref(). The map may close at any time, as
 *            its fiber may end: then it refuses runs (-ESHUTDOWN), finds nothing, and can be
 *            held on to and called all the same. Its fiber destroys it: nobody else may.
 *
 * Returns    0 made · FM_MAP_KEPT it was there · -ENOENT nobody is under the key · -ENOTSUP who
 *            is was not run with own_map · -ESHUTDOWN its map is closing, or the caller is that
 *            fiber and its body is over · -ETIMEDOUT, -ECANCELED of the wait for the body ·
 *            -ENOMEM, and what else fm_map_create fails with
 * Callers    any fiber or thread; where it must not wait, with deadline_ns 0.
 * Cost       a lookup and one lock; making a map is the dear part.
 */
FM_API int fm_map_child(struct fm_map *map, struct fm_key key,
                        const struct fm_map_config *config, int64_t deadline_ns,
                        struct fm_map **ret_child);
/*
 * Drop a reference that fm_map_child gave. NULL-safe, returns NULL. The last one must be
 * dropped before the map's runtime goes.
 */
FM_API struct fm_map *fm_map_unref(struct fm_map *map);

#ifdef __cplusplus
}
#endif
#endif
