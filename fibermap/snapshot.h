/*
 * snapshot.h - all members at once, copied
 */
#ifndef FM_FIBERMAP_SNAPSHOT_H
#define FM_FIBERMAP_SNAPSHOT_H

#include "fibermap/map.h"

/*
 * All members of the snapshot but the fiber `except`, as an array for the caller of a close:
 * one block with the bytes of their keys behind them, for free() once the references have been
 * dropped. 0 · -ENOMEM
 */
int fm__snapshot_members(struct fm_snapshot *snapshot, uint64_t except,
                         struct fm_member **ret_members, size_t *ret_count);

#endif
