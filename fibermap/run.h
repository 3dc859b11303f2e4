/*
 * run.h - the fiber of a run, before it stands under its key
 */
#ifndef FM_FIBERMAP_RUN_H
#define FM_FIBERMAP_RUN_H

#include "fibermap/map.h"
#include "fibermap/turn.h"
#include "fibermap/work.h"

/*
 * Make it, its body wrapped as the options want; not started. With a reference for the caller
 * if he wants one. 0 · what fm_map_run fails with: then the argument is still the caller's
 */
int fm__run_make(struct fm_map *map, struct stripe *stripe, const struct map_key *key,
                 struct work work, const struct fm_map_run_options *options, const void *site,
                 bool reference, struct turn **ret_turn, struct fm_fiber **ret_fiber);
/* It will not be started: the same undone, references and all. The argument is the caller's. */
void fm__run_unmake(struct fm_fiber *fiber, bool reference);

#endif
