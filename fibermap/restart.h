/*
 * restart.h - fibers that the map runs again
 */
#ifndef FM_FIBERMAP_RESTART_H
#define FM_FIBERMAP_RESTART_H

#include "fm/map.h"
#include "runtime/fiber/fiber.h"

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
 * As fm__fiber_create, for a fiber that the map runs again as the policy in the options says.
 * `spawn` as for a plain one. 0 · its failures · -ENOMEM
 */
int fm__restart_create(struct fm_map *map, const struct map_key *key, fm_entry_fn *entry,
                       void *arg, const struct fm_map_run_options *options,
                       const struct fm_spawn_options *spawn, const void *site, bool reference,
                       struct fm_fiber **ret_fiber);
/* Before fm__fiber_discard, of any fiber: what restart_create made goes, without arg_drop. */
void fm__restart_discard(struct fm_fiber *fiber);

/* The map is closing: lineages that wait to be run again end instead. */
void fm__restart_end_pauses(struct fm_map *map);

#endif
