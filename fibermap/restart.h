/*
 * restart.h - fibers that the map runs again
 */
#ifndef FM_FIBERMAP_RESTART_H
#define FM_FIBERMAP_RESTART_H

#include "fibermap/work.h"
#include "fm/map.h"
#include "runtime/fiber/fiber.h"

struct lineage;
struct map_key;

/*
 * At most `intensity` restarts within period_ns, both ends of the period included, wherever it
 * is laid. The last `intensity` times are kept in a ring.
 */
struct restart_window {
    uint32_t intensity; /* 0: no limit */
    uint32_t count;     /* times in the ring */
    uint32_t at;        /* where the next one goes: once the ring is full, the oldest */
    int64_t period_ns;
    int64_t *times;
};

/* `times` has room for `intensity`; 0 for the period: five seconds. */
void fm__restart_window_init(struct restart_window *window, uint32_t intensity,
                             int64_t period_ns, int64_t *times);
/* One more restart now; false if it would be one too many. */
bool fm__restart_window_admit(struct restart_window *window, int64_t now_ns);

/* Whether the caller's policy makes sense: 0 · -EINVAL · -E2BIG */
int fm__restart_check(const struct fm_restart *given);

/*
 * Wrap the work of a fiber that the map is to run again as the policy in the options says;
 * then, when the fiber is made, before it is started or known to anybody, make it one that may,
 * and a member of its group. 0 · -EINVAL · -E2BIG · -ENOMEM · -ESHUTDOWN (the group has
 * stopped)
 */
int fm__restart_wrap(struct fm_map *map, const struct map_key *key,
                     const struct fm_map_run_options *options, struct work *work,
                     struct lineage **ret_lineage);
int fm__restart_arm(struct fm_map *map, struct fm_fiber *fiber, struct lineage *lineage);
/* It will not be run: what wrap made goes. Any work. */
void fm__restart_unwrap(struct work *work);

/* The map is closing: lineages that wait to be run again end instead. */
void fm__restart_end_pauses(struct fm_map *map);

#endif
