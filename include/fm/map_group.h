/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map_group.h - fibers of a map that are restarted, and stopped, together
 *
 * A group is to the fibers of a map what a supervisor is to its children. Its members are runs
 * whose options name it, in the order of these runs. Each has a restart policy (struct
 * fm_restart; without one it is FM_TEMPORARY), and the group says who else begins anew when one
 * of them is to be run again:
 *
 *     FM_ONE_FOR_ONE     nobody
 *     FM_ONE_FOR_ALL     all
 *     FM_REST_FOR_ONE    those that were run after it
 *
 * A round   The others are interrupted (FM_BY_GROUP) one by one, the last that was run first,
 *           each when the one before it has ended whole, children and finalizers included. When
 *           all have, and the back-off of the one that failed is over, they run again, the
 *           first that was run first, each when the one before it begins. So no incarnation
 *           from before the round meets one from after it. A member is run again whatever its
 *           exit was when its group ended it, and is not charged for it; FM_TEMPORARY is not
 *           run again.
 * At once   Who fails while the round is stopping members is part of it. Who fails when it is
 *           starting them begins another.
 * Ends      A member that is removed, replaced or cleared, detached, or not to be run again, is
 *           out of the group, in the middle of a round too, and no other is restarted for it.
 *           So is one that reaches a limit of its own or of the map.
 * The limit is that of the group: one round too many within its period. The member that was to
 *           be run again ends as at its own limit (FM_BY_RESTART_LIMIT), on_limit says what the
 *           map hears of it, and then the group stops as by fm_map_group_stop().
 *
 * A member that waits for its turn (FM_QUEUE, FM_REPLACE_AWAIT), or whose body has not begun
 * for another reason, has nothing to stop: it begins after the round. A member that does not
 * end holds its round, or a stop, up until it is detached; it can be seen and removed like any
 * other. One that waits for a round and is interrupted from outside ends, unless it is
 * FM_PERMANENT: that one waits on, and nothing is counted, since no incarnation has ended.
 */
#ifndef FM_MAP_GROUP_H
#define FM_MAP_GROUP_H

#include "fm/map.h"

#ifdef __cplusplus
extern "C" {
#endif

enum fm_group_strategy {
    FM_ONE_FOR_ONE = 0,
    FM_ONE_FOR_ALL = 1,
    FM_REST_FOR_ONE = 2,
};

struct fm_map_group_config {
    uint32_t size;      /* set by FM_MAP_GROUP_CONFIG_INIT */
    uint32_t strategy;  /* enum fm_group_strategy */
    uint32_t intensity; /* so many rounds within any period; 0: no limit */
    uint32_t on_limit;  /* enum fm_on_limit */
    int64_t period_ns;  /* both its ends included; 0: five seconds */
};
#define FM_MAP_GROUP_CONFIG_INIT {.size = sizeof(struct fm_map_group_config)}

/*
 * A group of this map, without members; the reference is the caller's. config NULL:
 * FM_ONE_FOR_ONE without a limit, which still stops in reverse order. A group of which all
 * references have been dropped goes on as long as it has members. 0 · -EINVAL · -E2BIG ·
 * -ENOMEM
 */
FM_API int fm_map_group_create(struct fm_map *map, const struct fm_map_group_config *config,
                               struct fm_map_group **ret_group);
FM_API struct fm_map_group *fm_map_group_ref(struct fm_map_group *group);
/* NULL-safe, returns NULL. The last one must be dropped before the map's runtime goes. */
FM_API struct fm_map_group *fm_map_group_unref(struct fm_map_group *group);

/*
 * fm_map_group_stop - end the members, in the reverse order of their runs
 *
 * Interrupts the last one for good (FM_BY_GROUP), the one before it when that has ended, and so
 * on; the members see to that themselves, so it goes on when the caller has stopped waiting.
 * From here on no body of a member begins, be it its first, and runs that name the group are
 * refused (-ESHUTDOWN).
 *
 * A map that closes stops its groups in the same way (FM_BY_CLOSE), side by side with each other
 * and with its other fibers; under FM_CLOSE_DRAIN nobody is interrupted. A member that closes
 * the map itself leaves its group first, and is interrupted when all others have ended. Clearing
 * the map asks no group: it ends all members at once.
 *
 * Returns    0 all have ended, and no lookup finds them · FM_MAP_SELF the caller is a member:
 *            it is interrupted in its turn, nothing was awaited · -ETIMEDOUT · -ECANCELED ·
 *            -ENOMEM (a thread's first wait) · -EINVAL
 * Callers    any fiber or thread; where it must not wait, with deadline_ns 0.
 */
FM_API int fm_map_group_stop(struct fm_map_group *group, int64_t deadline_ns);
/* How many members there are; 0 for NULL. Never waits. */
FM_API size_t fm_map_group_size(struct fm_map_group *group);

#ifdef __cplusplus
}
#endif
#endif
