/*
 * round.c - who of a group does what next
 *
 * Nobody conducts a round. What happens to its members is written down under the group's lock,
 * and whoever has written something takes the step that follows from it, if there is one. So a
 * round needs no fiber that could be removed, or interrupted, or wait.
 *
 *   REST ---- a member asks to be run again ---> STOP: `at` goes from the last member back to
 *     ^                                           |  the first of the round. Who runs is told
 *     |                                           |  to end, and awaited
 *     |                                           v  nobody backs off any more
 *     '--- `at` is past the last member ------ START: `at` goes forwards. Who waits is let
 *                                                run, and has begun before the next is
 *   any ---- the group stops, its map ---------> END: `at` goes back. Each is told to end for
 *            closes, or its limit                    good, and awaited
 *
 * The members of a round are all from the one with the number `from` on: 1 for all, the number
 * of the first that failed for the rest. A member, as the group sees it:
 *
 *   NEW --- begins, no round --> RUNS -- told to end --> STOPPING -- has ended --> WAITS
 *     '--- else --> WAITS          '--- asks --> BACKS_OFF --- its time is over --'  |
 *                                                                                    | let run
 *                            RUNS <----- counts its incarnation, under the lock -- RELEASED
 *
 * It leaves from wherever it is, by its fiber's exit, after that has left the key. A STOP
 * leaves NEW ones alone: they ask when they begin. From an END on nobody is let run: who would
 * begin waits until he is told.
 *
 * Lock        of each group, LOCK_MAP_GROUP: no other of the map's under it, but fibers are
 *             interrupted and woken. A fiber may be at its end: whoever tells it touches its
 *             state word and what is extra of it, and does not wait for its end.
 */
#include "fibermap/round.h"

#include "fibermap/member.h"
#include "runtime/fiber/again.h"

void fm__round_take_out_locked(struct group_member *member)
{
    FM_ASSERT(fm__lock_held(&member->group->lock));
    FM_ASSERT(member->state != MEMBER_OUT && member->group->count);
    struct fm_map_group *group = member->group;

    if (group->at == member)
        group->at = group->phase == PHASE_START ? member->next : member->prev;
    if (group->at_limit == member)
        group->at_limit = NULL;
    group->backing_off -= member->state == MEMBER_BACKS_OFF;
    if (member->prev)
        member->prev->next = member->next;
    else
        group->first = member->next;
    if (member->next)
        member->next->prev = member->prev;
    else
        group->last = member->prev;
    group->count--;
    FM_ASSERT(!group->count == !group->first && !group->first == !group->last);
    member->state = MEMBER_OUT;
}

/* ---- steps: the lock is held ---- */

static void tell(struct group_member *member, enum member_state state)
{
    FM_ASSERT(fm__lock_held(&member->group->lock));
    FM_ASSERT(state == MEMBER_STOPPING || state == MEMBER_ENDING);
    FM_ASSERT(member->fiber);
    member->state = state;
    if (state == MEMBER_STOPPING)
        fm__again_end_running(member->fiber, FM_BY_GROUP);
    else
        fm__again_end(member->fiber, member->group->end_reason);
}

/* The map has let it go, and so does its group. */
static bool is_detached(struct group_member *member)
{
    FM_ASSERT(member->fiber);
    struct fm_fiber *fiber = member->fiber;
    /* acquire, with bind: who has just been made has words that mean nothing yet */
    if (!(__atomic_load_n(&fiber->flags, __ATOMIC_ACQUIRE) & FIBER_OWNED))
        return false;
    return fm__member_is_detached(fiber);
}

/* Whether there is another step to take. */
static bool stop_one(struct fm_map_group *group)
{
    FM_ASSERT(group->phase == PHASE_STOP);
    struct group_member *member = group->at;

    if (!member || member->number < group->from) {
        if (group->backing_off)
            return false;
        group->phase = PHASE_START;
        group->at = member ? member->next : group->first;
        return true;
    }
    if ((member->state == MEMBER_RUNS || member->state == MEMBER_STOPPING) &&
        is_detached(member)) {
        fm__round_take_out_locked(member);
        return true;
    }
    if (member->state == MEMBER_RUNS)
        tell(member, MEMBER_STOPPING);
    if (member->state == MEMBER_STOPPING)
        return false;
    group->at = member->prev;
    return true;
}

static bool start_one(struct fm_map_group *group)
{
    FM_ASSERT(group->phase == PHASE_START);
    struct group_member *member = group->at;

    if (!member) {
        group->phase = PHASE_REST;
        return false;
    }
    if (member->state == MEMBER_WAITS) {
        member->state = MEMBER_RELEASED;
        fm__again_hurry(member->fiber);
    }
    if (member->state == MEMBER_RELEASED)
        return false;
    group->at = member->next;
    return true;
}

static bool end_one(struct fm_map_group *group)
{
    FM_ASSERT(group->phase == PHASE_END);
    struct group_member *member = group->at;

    if (!member || group->at_limit)
        return false;
    if (is_detached(member)) {
        fm__round_take_out_locked(member);
        fm__again_hurry(member->fiber); /* it may wait to begin */
        return true;
    }
    if (member->state != MEMBER_ENDING)
        tell(member, MEMBER_ENDING);
    return false;
}

static void go_on(struct fm_map_group *group)
{
    FM_ASSERT(fm__lock_held(&group->lock));
    for (bool more = true; more;) {
        switch (group->phase) {
        case PHASE_STOP: more = stop_one(group); break;
        case PHASE_START: more = start_one(group); break;
        case PHASE_END: more = end_one(group); break;
        case PHASE_REST: more = false; break;
        }
    }
}

void fm__round_begin_locked(struct fm_map_group *group, enum phase phase)
{
    FM_ASSERT(fm__lock_held(&group->lock));
    FM_ASSERT(group->phase != PHASE_END);
    FM_ASSERT(phase == PHASE_STOP || phase == PHASE_END);
    /* Who has been let run, and has not begun, does not: of the last round. */
    if (group->phase == PHASE_START && group->at && group->at->state == MEMBER_RELEASED)
        group->at->state = MEMBER_WAITS;
    group->phase = phase;
    group->at = group->last;
}

void fm__round_end_locked(struct fm_map_group *group, enum fm_reason reason)
{
    FM_ASSERT(fm__lock_held(&group->lock));
    if (group->phase == PHASE_END)
        return;
    group->end_reason = reason;
    fm__round_begin_locked(group, PHASE_END);
}

void fm__round_go_on_and_unlock(struct fm_map_group *group)
{
    FM_ASSERT(fm__lock_held(&group->lock));
    go_on(group);
    bool stopped = group->phase == PHASE_END && !group->first;
    fm__unlock(&group->lock);
    if (stopped) /* nobody joins any more: it stays so */
        fm__waitlist_wake_all(&group->stopped, &group->lock, WAKE_VALUE);
}
