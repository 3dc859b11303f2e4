/*
 * turn.c - fibers whose bodies wait for others of their key
 *
 * A body that is to wait is wrapped: the fiber is started like any other, so it can be found,
 * joined, interrupted and awaited at once, and what it does first is to wait for its turn. A
 * turn stands in the line of its key, under the stripe lock, from the run until its body begins
 * or it gives up. A line holds
 *
 *     AWAITS  a fiber that is under the key, and the one that it displaced (`after`)
 *     QUEUES  a fiber that is not under the key yet (its entry is QUEUED), first in, first out
 *     LEFT    a turn whose fiber waits no more, while that of `after` has not ended
 *
 * and the fiber looks, under the lock, whether it may begin:
 *
 *     AWAITS  displaced meanwhile: never. Else when no `after` in the line is left to end.
 *     QUEUES  when, besides, no QUEUES is before it and nobody is under the key; then it takes
 *             the key in the same hold of the lock.
 *     else    it waits for the end of one whom it has seen, and looks again.
 *
 * A run that displaces AWAITS need not wait for that fiber: displacing and beginning are under
 * one lock, so it has begun (and is in the line no more) or never will. In that case it is out
 * of the line at once, and whom it waited for is the `after` of the one that displaced it: a
 * storm of runs leaves one turn. What is given up stays as the LEFT turn's. So one who AWAITS
 * begins after every fiber that was ever displaced for another to wait, and no two such bodies
 * are under way at once, whatever was removed, interrupted or late in between.
 *
 * A wait always goes from a turn to a fiber whose body runs, or to a turn before it in the
 * queue: there is no ring in it. A body that waits for its own successor closes one, and is
 * told (-EDEADLK), or that is.
 *
 *   the fiber                               an exit             detach
 *     begin a wait                            its CAS of the      lock; the CAS; copy the wait
 *     lock; look: not yet; note the wait;       entry               of the first in the queue;
 *       unlock                                its joiners:        unlock
 *     on the exit list of whom it saw, or       wake              wake it
 *       sealed: look again
 *     end the wait
 *
 * So the exit does for a line what it does for any joiner, and a key without a line costs
 * nothing.
 *
 * Owns        turns, until their bodies begin; LEFT ones until the next look at their bucket
 *             (line.c), or the end of the map.
 * Locks       the stripe's. Under it nothing is allocated or freed, and no reference is taken:
 *             fibers are asked by id.
 */
#include "fibermap/turn.h"

#include <errno.h>
#include <stdlib.h>

#include "fibermap/idle.h"
#include "fibermap/line.h"
#include "runtime/fiber/ring.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

static uint64_t under_key(struct stripe *stripe, const struct map_key *key)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    struct place place = fm__stripe_find_locked(stripe, key);
    return place.entry ? fm__entry_present(fm__entry_read(place.entry)) : 0;
}

/* ---- running ---- */

static struct fm_exit turn_body(void *arg);
static void turn_drop(void *arg);

int fm__turn_wrap(struct stripe *stripe, const struct map_key *key,
                  const struct fm_map_run_options *options, struct work *work,
                  struct turn **ret_turn)
{
    FM_ASSERT(fm__turn_kind(options) != TURN_NONE && work->entry);
    struct turn *turn = fm__calloc(1, sizeof *turn + key->len);
    if (!turn)
        return -ENOMEM;
    int r = fm__lines_spare(stripe, &turn->spare);
    if (r < 0) {
        free(turn);
        return r;
    }
    turn->proceeds = options->flags & FM_AWAIT_PROCEED;
    turn->deadline_ns = options->deadline_ns ? options->deadline_ns : FM_NEVER;
    turn->stripe = stripe;
    turn->key = *key;
    memcpy(turn->bytes, key->data, key->len);
    turn->key.data = turn->bytes;
    turn->work = *work;
    *work = (struct work) { turn_body, turn, turn_drop };
    *ret_turn = turn;
    return 0;
}

void fm__turn_unwrap(struct work *work)
{
    if (work->drop != turn_drop)
        return;
    struct turn *turn = work->arg;
    *work = turn->work;
    FM_ASSERT(!turn->stands && work->entry);
    turn->next = turn->gone;
    fm__turns_free(turn);
}

int fm__turn_ask_locked(struct turn *turn, struct place place, uint32_t queue_max)
{
    FM_ASSERT(fm__lock_held(&turn->stripe->lock));
    FM_ASSERT(turn->state == TURN_FREE && !turn->mine);
    fm__lines_give(turn->stripe, &turn->spare);
    /* after the lines are there: (K) of entry.h */
    bool held = place.entry && fm__entry_present(fm__entry_touch(place.entry));
    held = fm__line_displaced(turn->stripe, &turn->key, &turn->gone) || held;
    const struct line *line = fm__line_of(turn->stripe, &turn->key);
    uint32_t waiting = line ? line->queued : 0;
    if (!held && !waiting)
        return 0;
    return queue_max && waiting >= queue_max ? -EAGAIN : FM_MAP_QUEUED;
}

static void enter(struct turn *turn, struct fm_fiber *fiber, struct entry *mine)
{
    FM_ASSERT(!turn->fiber && !turn->mine);
    FM_ASSERT(fiber->kind == FIBER_TASK && mine);
    turn->fiber = fiber;
    turn->mine = mine;
    turn->id = fm__fiber_id(fiber);
}

/* It waits for whom `before` waited for, which will never begin, instead of that. */
static void inherit(struct turn *turn, struct turn *before)
{
    FM_ASSERT(before->stands && before->state == TURN_AWAITS);
    FM_ASSERT(turn != before && !turn->stands);
    turn->after = before->after && !fm__turn_is_over(before->after) ? before->after : 0;
    before->after = 0;
    fm__line_remove(before);
}

void fm__turn_enter_locked(struct turn *turn, struct fm_fiber *fiber, struct entry *mine,
                           uint64_t displaced, struct entry *old)
{
    FM_ASSERT(turn->state == TURN_FREE);
    FM_ASSERT(fm__lock_held(&turn->stripe->lock) && (!displaced || old));
    struct stripe *stripe = turn->stripe;

    fm__lines_give(stripe, &turn->spare);
    enter(turn, fiber, mine);
    turn->after = displaced;
    struct turn *before =
        displaced ? fm__line_awaiting(fm__line_of(stripe, &turn->key), old) : NULL;
    if (before)
        inherit(turn, before);
    if (fm__line_displaced(stripe, &turn->key, &turn->gone) || turn->after)
        fm__line_push(turn, TURN_AWAITS);
}

void fm__turn_queue_locked(struct turn *turn, struct fm_fiber *fiber, struct entry *mine)
{
    FM_ASSERT(fm__lock_held(&turn->stripe->lock));
    FM_ASSERT(turn->state == TURN_FREE);
    enter(turn, fiber, mine);
    fm__entry_queue(mine, turn->id);
    fm__line_push(turn, TURN_QUEUES);
    FM_ASSERT(turn->stands);
}

bool fm__turn_waits_locked(const struct turn *turn)
{
    return turn && turn->state != TURN_FREE;
}

struct turn_rest fm__turn_rest_locked(struct turn *turn)
{
    FM_ASSERT(fm__lock_held(&turn->stripe->lock));
    struct turn_rest rest = { turn->gone, turn->spare };
    turn->gone = NULL;
    turn->spare = NULL;
    return rest;
}

void fm__turn_rest_free(struct turn_rest rest)
{
    FM_ASSERT(!rest.gone || !rest.gone->stands);
    fm__turns_free(rest.gone);
    free(rest.spare);
}

/* ---- the fiber itself ---- */

/* Out of the line, but for what it leaves to others. */
static void leave_locked(struct turn *turn, struct turn **gone)
{
    FM_ASSERT(fm__lock_held(&turn->stripe->lock));
    FM_ASSERT(gone);
    if (turn->stands && turn->after && !fm__turn_is_over(turn->after)) {
        fm__line_left(turn);
        return;
    }
    if (turn->stands)
        fm__line_remove(turn);
    fm__turn_free_later(turn, gone);
}

enum look {
    LOOK_BEGIN,
    LOOK_WAIT,      /* for *ret_ahead */
    LOOK_DISPLACED, /* and so never */
};

static enum look look_locked(struct turn *turn, uint64_t *ret_ahead, struct turn **gone)
{
    FM_ASSERT(fm__lock_held(&turn->stripe->lock));
    FM_ASSERT(turn->mine && turn->id);
    struct stripe *stripe = turn->stripe;

    if (fm__entry_life(fm__entry_read(turn->mine)) == ENTRY_ZOMBIE)
        return LOOK_DISPLACED;
    *ret_ahead = fm__line_displaced(stripe, &turn->key, gone);
    if (!*ret_ahead && turn->state == TURN_QUEUES) {
        struct turn *before = turn->prev;
        *ret_ahead = before ? before->id : under_key(stripe, &turn->key);
    }
    return *ret_ahead ? LOOK_WAIT : LOOK_BEGIN;
}

/* It is its turn: it stands under its key from here on. */
static void take_key_locked(struct turn *turn)
{
    FM_ASSERT(fm__lock_held(&turn->stripe->lock));
    FM_ASSERT(turn->state == TURN_QUEUES);
    struct place place = fm__stripe_find_locked(turn->stripe, &turn->key);
    fm__entry_publish(turn->mine, turn->id);
    uint64_t displaced = fm__stripe_install_locked(turn->stripe, place, turn->mine);
    FM_ASSERT(!displaced);
}

/* The wait has begun and the lock is free. 0 look again · -ECANCELED · -ETIMEDOUT · -EDEADLK */
static int wait_for(struct turn *turn, uint64_t ahead, struct wait wait)
{
    FM_ASSERT(wait.who && ahead);
    FM_ASSERT(wait.who == turn->fiber);
    struct exit_node node = { .who = wait.who, .epoch = wait.epoch, .kind = EXIT_JOINER };
    struct fm_fiber *fiber = fm__fiber_ref_id(ahead);
    int r = 0;

    if (!fiber) {
        fm__wait_abort(wait);
        return 0;
    }
    if (fm__ring_enter_join(wait.who, fiber, turn->deadline_ns)) {
        fm__wait_abort(wait);
        r = -EDEADLK;
    } else if (!fm__exit_list_add(&fiber->exits, &node)) {
        fm__wait_abort(wait);
        fm__fiber_ended(fiber); /* its owners are being told: wait that moment */
    } else {
        r = fm__wake_result(fm__wait_end(wait, turn->deadline_ns));
        if (r != 0)
            fm__exit_list_remove(&fiber->exits, &node);
    }
    fm__ring_leave(wait.who);
    fm_fiber_unref(fiber);
    return r == -EBADF ? 0 : r;
}

/* Who displaced us is about to interrupt us, and we end by that. */
static int wait_for_interruption(void)
{
    FM_ASSERT(fm__fiber_self());
    struct wait wait;
    int r = fm__wait_begin(&wait, 0, "map_turn");
    return r < 0 ? r : fm__wake_result(fm__wait_end(wait, FM_NEVER));
}

/*
 * Until the body may begin; then the turn is not ours any more. 0 · -ECANCELED · -ETIMEDOUT ·
 * -EDEADLK
 */
static int await_turn(struct turn *turn)
{
    FM_ASSERT(turn->state != TURN_FREE && turn->fiber == fm__fiber_self());
    struct stripe *stripe = turn->stripe;
    int failed = 0;

    for (;;) {
        struct wait wait = { NULL, 0 };
        struct turn *gone = NULL;
        uint64_t ahead = 0;

        if (failed == 0 || failed == -ETIMEDOUT) {
            int r = fm__wait_begin(&wait, 0, "map_turn");
            failed = r < 0 ? r : failed;
        }
        if (failed == -ETIMEDOUT && turn->proceeds)
            failed = 1; /* begins whatever is ahead */
        fm__lock(&stripe->lock);
        enum look look = look_locked(turn, &ahead, &gone);
        if (look == LOOK_BEGIN && failed == -ETIMEDOUT)
            failed = 0; /* just in time */
        bool waits = look == LOOK_WAIT && failed == 0;
        bool begins = !waits && look != LOOK_DISPLACED && failed >= 0;
        int64_t due_ns = FM_NEVER;
        if (waits) {
            turn->epoch = wait.epoch;
        } else {
            if (begins && turn->state == TURN_QUEUES)
                take_key_locked(turn);
            if (begins) {
                due_ns = fm__idle_begin_locked(stripe, turn->mine);
                fm__idle_use_locked(stripe, turn->mine);
            }
            leave_locked(turn, &gone);
        }
        fm__unlock(&stripe->lock);
        fm__turns_free(gone);
        fm__idle_told(stripe->map, due_ns);
        if (!waits) {
            if (wait.who)
                fm__wait_abort(wait);
            if (look == LOOK_DISPLACED)
                return wait_for_interruption();
            return failed < 0 ? failed : 0;
        }
        failed = wait_for(turn, ahead, wait);
    }
}

static struct fm_exit turn_body(void *arg)
{
    struct turn *turn = arg;
    FM_ASSERT(turn->work.entry && turn->stripe);
    struct work work = turn->work;
    int r = 0;

    if (turn->state == TURN_FREE)
        free(turn);
    else
        r = await_turn(turn);
    if (r == 0)
        return work.entry(work.arg);
    fm__work_drop(&work);
    return r == -ECANCELED ? fm_interrupted() : fm_fail(r);
}

/* The fiber has ended without its first step. */
static void turn_drop(void *arg)
{
    struct turn *turn = arg, *gone = NULL;
    FM_ASSERT(turn->stripe && turn->work.entry);
    struct stripe *stripe = turn->stripe;
    struct work work = turn->work;

    fm__lock(&stripe->lock);
    leave_locked(turn, &gone);
    fm__unlock(&stripe->lock);
    fm__turns_free(gone);
    fm__work_drop(&work);
}

/* ---- others ---- */

bool fm__turn_awaits_locked(struct stripe *stripe, const struct map_key *key,
                            const struct entry *entry)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    FM_ASSERT(entry);
    return fm__line_awaiting(fm__line_of(stripe, key), entry) != NULL;
}

static struct turn *first_queued(struct stripe *stripe, const struct map_key *key)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    const struct line *line = fm__line_of(stripe, key);
    return line ? line->queue.first : NULL;
}

struct entry *fm__turn_head_locked(struct stripe *stripe, const struct map_key *key)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    struct turn *turn = first_queued(stripe, key);
    return turn ? turn->mine : NULL;
}

uint64_t fm__turn_find(struct stripe *stripe, const struct map_key *key)
{
    FM_ASSERT(key);
    fm__lock(&stripe->lock);
    uint64_t id = under_key(stripe, key);
    if (!id) {
        struct turn *turn = first_queued(stripe, key);
        id = turn ? turn->id : 0;
    }
    fm__unlock(&stripe->lock);
    return id;
}

struct wait fm__turn_next_locked(struct stripe *stripe, const struct map_key *key)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    struct turn *turn = first_queued(stripe, key);
    return turn ? (struct wait) { turn->fiber, turn->epoch } : (struct wait) { NULL, 0 };
}
