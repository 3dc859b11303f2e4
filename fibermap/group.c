/*
 * group.c - lineages of a map that begin anew, and end, together
 *
 * What the members' fibers tell of themselves, and ask, around their incarnations. What follows
 * from it is round.c's, where the states are drawn.
 *
 * An interruption by the group is told under its lock, and ends one incarnation (again.c): to
 * whom RUNS, no other. When he has ended that incarnation he takes it back, under the lock or
 * before he counts the next one under it. So it never reaches an incarnation for which it was
 * not meant, and none for which it was meant goes on.
 *
 * Owns        groups, by counted references; members that have joined, until their exit. The
 *             map lists its groups without a reference: one that nobody has any more is passed
 *             over.
 */
#include "fibermap/group.h"

#include <errno.h>
#include <stdlib.h>

#include "fibermap/member.h"
#include "fibermap/round.h"
#include "runtime/fiber/again.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"

/* ---- the group ---- */

int fm_map_group_create(struct fm_map *map, const struct fm_map_group_config *given,
                        struct fm_map_group **ret_group)
{
    struct fm_map_group_config config;

    if (!map || !ret_group)
        return -EINVAL;
    int r = fm__config_read(&config, sizeof config, given);
    if (r < 0)
        return r;
    if (config.strategy > FM_REST_FOR_ONE || config.on_limit > FM_LIMIT_CLOSE_MAP ||
        config.intensity > FM_RESTART_INTENSITY_MAX || config.period_ns < 0)
        return -EINVAL;
    struct fm_map_group *group = fm__calloc(1, sizeof *group +
                                                   config.intensity * sizeof(int64_t));
    if (!group)
        return -ENOMEM;
    fm__lock_init(&group->lock, LOCK_MAP_GROUP);
    atomic_init(&group->refs, 1);
    /* relaxed: the caller has the map */
    atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    group->map = map;
    group->strategy = config.strategy;
    group->on_limit = config.on_limit;
    fm__restart_window_init(&group->rounds, config.intensity, config.period_ns, group->times);
    fm__lock(&map->waiting.lock);
    group->older = map->groups;
    if (group->older)
        group->older->newer = group;
    map->groups = group;
    fm__unlock(&map->waiting.lock);
    *ret_group = group;
    return 0;
}

static void group_free(struct fm_map_group *group)
{
    FM_ASSERT(!group->first && !group->last && !group->count);
    FM_ASSERT(group->map);
    struct fm_map *map = group->map;

    fm__lock(&map->waiting.lock);
    if (group->newer)
        group->newer->older = group->older;
    else
        map->groups = group->older;
    if (group->older)
        group->older->newer = group->newer;
    fm__unlock(&map->waiting.lock);
    fm__map_unref(map);
    free(group);
}

struct fm_map_group *fm_map_group_ref(struct fm_map_group *group)
{
    /* relaxed: the caller's own reference keeps it */
    if (group)
        atomic_fetch_add_explicit(&group->refs, 1, memory_order_relaxed);
    return group;
}

struct fm_map_group *fm_map_group_unref(struct fm_map_group *group)
{
    /* acq_rel: all uses of the others happen before the last one frees */
    if (group && atomic_fetch_sub_explicit(&group->refs, 1, memory_order_acq_rel) == 1)
        group_free(group);
    return NULL;
}

static bool try_ref(struct fm_map_group *group)
{
    FM_ASSERT(fm__lock_held(&group->map->waiting.lock));
    FM_ASSERT(group->map);
    /* relaxed: it is in the list, whose lock the caller holds */
    uint32_t refs = atomic_load_explicit(&group->refs, memory_order_relaxed);
    while (refs && !atomic_compare_exchange_weak_explicit(&group->refs, &refs, refs + 1,
                                                          memory_order_relaxed,
                                                          memory_order_relaxed))
        ;
    return refs != 0;
}

/* The newest, or the next one after `group`, whose reference goes; a reference, or NULL. */
static struct fm_map_group *next_group(struct fm_map *map, struct fm_map_group *group)
{
    fm__lock(&map->waiting.lock);
    struct fm_map_group *next = group ? group->older : map->groups;
    while (next && !try_ref(next))
        next = next->older;
    fm__unlock(&map->waiting.lock);
    fm_map_group_unref(group);
    return next;
}

size_t fm_map_group_size(struct fm_map_group *group)
{
    if (!group)
        return 0;
    fm__lock(&group->lock);
    size_t count = group->count;
    fm__unlock(&group->lock);
    return count;
}

/* ---- joining and leaving ---- */

static void leave(struct group_member *member)
{
    FM_ASSERT(member->group);
    struct fm_map_group *group = member->group;

    fm__lock(&group->lock);
    if (member->state != MEMBER_OUT)
        fm__round_take_out_locked(member);
    fm__round_go_on_and_unlock(group);
    free(member);
    fm_map_group_unref(group);
}

static void fiber_ended(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    FM_ASSERT(arg);
    (void)fiber, (void)exit;
    leave(arg);
}

bool fm__group_is_of(const struct fm_map_group *group, const struct fm_map *map)
{
    FM_ASSERT(group);
    return group->map == map;
}

int fm__group_member_make(struct fm_map_group *group, struct fm_map *map,
                          struct group_member **ret_member)
{
    FM_ASSERT(group && ret_member);
    if (!fm__group_is_of(group, map))
        return -EINVAL;
    struct group_member *member = fm__malloc(sizeof *member);
    if (!member)
        return -ENOMEM;
    *member = (struct group_member) {
        .node = { .fn = fiber_ended, .arg = member, .kind = EXIT_OWNER },
        .group = fm_map_group_ref(group),
    };
    *ret_member = member;
    return 0;
}

void fm__group_member_discard(struct group_member *member)
{
    if (member)
        leave(member);
}

int fm__group_join(struct group_member *member, struct fm_fiber *fiber)
{
    FM_ASSERT(member->state == MEMBER_OUT && !member->fiber);
    FM_ASSERT(member->group && fiber->kind == FIBER_TASK);
    struct fm_map_group *group = member->group;

    fm__lock(&group->lock);
    if (group->phase == PHASE_END) {
        fm__unlock(&group->lock);
        return -ESHUTDOWN;
    }
    member->fiber = fiber;
    member->number = ++group->numbers;
    member->state = MEMBER_NEW;
    member->prev = group->last;
    member->next = NULL;
    if (group->last)
        group->last->next = member;
    else
        group->first = member;
    group->last = member;
    group->count++;
    FM_ASSERT(group->last == member && group->first);
    fm__unlock(&group->lock);
    fm__exit_list_add(&fiber->exits, &member->node);
    return 0;
}

/* ---- the member's own fiber ---- */

static enum member_state state_of(struct group_member *member)
{
    FM_ASSERT(member->group);
    fm__lock(&member->group->lock);
    enum member_state state = member->state;
    fm__unlock(&member->group->lock);
    return state;
}

static struct group_member *mine(struct fm_fiber *self)
{
    FM_ASSERT(self == fm__fiber_self());
    return fm__again_kept(self);
}

static bool waits(struct fm_fiber *self)
{
    FM_ASSERT(self == fm__fiber_self());
    return state_of(mine(self)) == MEMBER_WAITS;
}

static bool waits_and_goes_on(struct fm_fiber *self)
{
    FM_ASSERT(self == fm__fiber_self());
    return fm__member_goes_on(self) && waits(self);
}

/*
 * Until the group lets it run; counted if it is to run again. One that was detached before its
 * body has ever begun is let run by itself. 0 · -ECANCELED · -EBADF
 */
static int await_release(struct group_member *member, struct fm_fiber *self, bool again)
{
    FM_ASSERT(member->fiber == self);
    struct fm_map_group *group = member->group;

    for (;;) {
        fm__lock(&group->lock);
        bool alone = member->state == MEMBER_OUT && !again;
        if (alone || member->state == MEMBER_RELEASED) {
            bool runs = !again || fm__again_next(self);
            if (runs && !alone)
                member->state = MEMBER_RUNS;
            fm__unlock(&group->lock);
            return runs ? 0 : -ECANCELED; /* which takes it out */
        }
        fm__unlock(&group->lock);
        int r = fm__again_pause(self, FM_NEVER, again ? waits_and_goes_on : waits);
        if (r == -ECANCELED && !fm__again_forgive(self))
            return r;
        if (r == -EBADF && again && !fm__member_goes_on(self))
            return r;
    }
}

int fm__group_begin(struct group_member *member, struct fm_fiber *self)
{
    FM_ASSERT(member->fiber == self);
    struct fm_map_group *group = member->group;

    fm__lock(&group->lock);
    bool passed = group->phase == PHASE_START &&
                  (!group->at || member->number < group->at->number);
    bool in_round = (group->phase == PHASE_STOP || group->phase == PHASE_START) &&
                    member->number >= group->from && !passed;
    if (member->state == MEMBER_NEW)
        member->state = in_round || group->phase == PHASE_END ? MEMBER_WAITS : MEMBER_RUNS;
    bool held = member->state == MEMBER_WAITS;
    fm__round_go_on_and_unlock(group);
    if (!held)
        return 0;
    int r = await_release(member, self, false);
    if (r == 0)
        fm__group_begun(member);
    return r;
}

bool fm__group_has_ended(struct group_member *member)
{
    FM_ASSERT(member->fiber == fm__fiber_self());
    return state_of(member) == MEMBER_STOPPING;
}

/* The lock is held. */
static enum group_answer ask(struct group_member *member, struct fm_fiber *self, int64_t now_ns)
{
    FM_ASSERT(fm__lock_held(&member->group->lock));
    struct fm_map_group *group = member->group;

    if (group->phase == PHASE_END || member->state == MEMBER_OUT)
        return GROUP_ENDS;
    if (member->state == MEMBER_BACKS_OFF)
        return GROUP_RESTARTS; /* interrupted in its back-off, it has another one */
    if (member->state == MEMBER_STOPPING && !fm__again_forgive(self))
        return GROUP_ENDS;
    bool in_round = member->state == MEMBER_STOPPING ||
                    (group->phase == PHASE_STOP && member->number >= group->from);
    if (!in_round) {
        if (!fm__restart_window_admit(&group->rounds, now_ns)) {
            fm__round_end_locked(group, FM_BY_GROUP);
            group->at_limit = member;
            return GROUP_AT_LIMIT;
        }
        if (group->strategy == FM_ONE_FOR_ONE)
            return GROUP_RESTARTS;
        group->from = group->strategy == FM_ONE_FOR_ALL ? 1 : member->number;
        fm__round_begin_locked(group, PHASE_STOP);
    }
    member->state = MEMBER_BACKS_OFF;
    group->backing_off++;
    FM_ASSERT(group->backing_off <= group->count);
    return GROUP_RESTARTS;
}

enum group_answer fm__group_ask(struct group_member *member, struct fm_fiber *self,
                                int64_t now_ns)
{
    FM_ASSERT(member->fiber == self);
    fm__lock(&member->group->lock);
    enum group_answer answer = ask(member, self, now_ns);
    fm__round_go_on_and_unlock(member->group);
    return answer;
}

uint32_t fm__group_on_limit(const struct group_member *member)
{
    FM_ASSERT(member->group);
    return member->group->on_limit;
}

int fm__group_await(struct group_member *member, struct fm_fiber *self)
{
    FM_ASSERT(member->fiber == self);
    struct fm_map_group *group = member->group;

    fm__lock(&group->lock);
    bool held = member->state == MEMBER_BACKS_OFF || member->state == MEMBER_STOPPING ||
                (member->state == MEMBER_RUNS && group->phase == PHASE_END);
    FM_ASSERT(member->state != MEMBER_BACKS_OFF || group->backing_off);
    group->backing_off -= member->state == MEMBER_BACKS_OFF;
    if (held)
        member->state = MEMBER_WAITS;
    bool runs = !held && fm__again_next(self); /* one for one, or it ends */
    fm__round_go_on_and_unlock(group);
    return held ? await_release(member, self, true) : runs ? 0 : -ECANCELED;
}

void fm__group_begun(struct group_member *member)
{
    FM_ASSERT(member->group);
    fm__lock(&member->group->lock);
    fm__round_go_on_and_unlock(member->group);
}

/* ---- stopping ---- */

/* The lock is held; NULL: none of them is the fiber's. */
static struct group_member *member_of(struct fm_map_group *group, struct fm_fiber *fiber)
{
    FM_ASSERT(fm__lock_held(&group->lock));
    struct group_member *member = fiber ? group->first : NULL;
    while (member && member->fiber != fiber)
        member = member->next;
    return member;
}

int fm_map_group_stop(struct fm_map_group *group, int64_t deadline_ns)
{
    struct wait_node node = { 0 };

    if (!group)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend();
    fm__lock(&group->lock);
    fm__round_end_locked(group, FM_BY_GROUP);
    bool among = member_of(group, fm__fiber_self()) != NULL;
    fm__round_go_on_and_unlock(group);
    fm__lock(&group->lock);
    if (among || !group->first) {
        fm__unlock(&group->lock);
        return among ? FM_MAP_SELF : 0;
    }
    return fm__waitlist_wait(&group->stopped, &group->lock, &node, deadline_ns, 0,
                             "group_stop");
}

/*
 * Whoever was put in while the map was open had joined a group that was listed by then; who
 * joins later is refused by the map.
 */
void fm__groups_close(struct fm_map *map, struct fm_fiber *out)
{
    FM_ASSERT(!fm__map_is_open(map));
    for (struct fm_map_group *group = NULL; (group = next_group(map, group));) {
        fm__lock(&group->lock);
        struct group_member *member = member_of(group, out);
        if (member)
            fm__round_take_out_locked(member);
        fm__round_end_locked(group, FM_BY_CLOSE);
        fm__round_go_on_and_unlock(group);
    }
}

void fm__groups_let_go(struct fm_map *map)
{
    for (struct fm_map_group *group = NULL; (group = next_group(map, group));) {
        fm__lock(&group->lock);
        fm__round_go_on_and_unlock(group);
    }
}
