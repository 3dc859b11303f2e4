/*
 * group.h - lineages of a map that begin anew, and end, together
 */
#ifndef FM_FIBERMAP_GROUP_H
#define FM_FIBERMAP_GROUP_H

#include "fm/map_group.h"
#include "runtime/fiber/again.h"

struct group_member;

/*
 * The map closes: its groups end their members in the reverse order of the runs (FM_BY_CLOSE),
 * but for `out`, if not NULL, who is no member from now on.
 */
void fm__groups_close(struct fm_map *map, struct fm_fiber *out);
/* Who has been detached is waited for by no group of the map any more. */
void fm__groups_let_go(struct fm_map *map);
/* Whether the fiber, of which the caller has a reference, was run in a group. */
static inline bool fm__group_has(struct fm_fiber *fiber)
{
    return fm__again_kept(fiber) != NULL;
}

/* Whether it is a group of this map. */
bool fm__group_is_of(const struct fm_map_group *group, const struct fm_map *map);
/* A member to be: 0 · -EINVAL (a group of another map) · -ENOMEM */
int fm__group_member_make(struct fm_map_group *group, struct fm_map *map,
                          struct group_member **ret_member);
/* It will not be run. NULL-safe. */
void fm__group_member_discard(struct group_member *member);
/*
 * Its fiber, which has not started, is the last of the group; its exit takes it out. From then
 * on the member is the exit's, but for discard. 0 · -ESHUTDOWN
 */
int fm__group_join(struct group_member *member, struct fm_fiber *fiber);

/* ---- the member's own fiber ---- */

/* Before its first incarnation. 0 · -ECANCELED for good */
int fm__group_begin(struct group_member *member, struct fm_fiber *self);
/* An incarnation has ended: whether the group has ended it, to run it again. */
bool fm__group_has_ended(struct group_member *member);

enum group_answer {
    GROUP_RESTARTS,
    GROUP_ENDS,     /* it is not run again */
    GROUP_AT_LIMIT, /* the same, and the group has reached its limit */
};
/* An incarnation has ended by itself, and is to be run again: begins a round, or joins it. */
enum group_answer fm__group_ask(struct group_member *member, struct fm_fiber *self,
                                int64_t now_ns);
/* enum fm_on_limit */
uint32_t fm__group_on_limit(const struct group_member *member);
/*
 * It is ready to run again: wait until the group is, and count one incarnation more. 0, then
 * fm__group_begun · -ECANCELED for good · -EBADF it does not go on
 */
int fm__group_await(struct group_member *member, struct fm_fiber *self);
/* It runs again: the next one may. */
void fm__group_begun(struct group_member *member);

#endif
