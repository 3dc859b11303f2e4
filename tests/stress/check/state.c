/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - what each call may do to an entry
 *
 * A result that was not told fits whatever happens. A closing map may stop showing its entries
 * before they have left.
 */
#include <string.h>

#include "tests/stress/check/check.h"

static bool says(const struct op *op, uint32_t number)
{
    return op->result == UNTOLD || (op->result == NUMBER && op->number == number);
}

static bool says_so(const struct op *op, bool truth)
{
    return op->result == UNTOLD || op->result == (truth ? YES : NO);
}

/* It tells whom it has met, or only whether. */
static bool tells(const struct op *op, uint32_t number, bool truth)
{
    return says(op, number) || says_so(op, truth);
}

bool state_queues(const struct state *state, uint32_t fiber)
{
    for (uint32_t i = 0; i < state->queued; i++)
        if (state->queue[i] == fiber)
            return true;
    return false;
}

static uint32_t holder_of(const struct state *state)
{
    return state->fiber ? state->fiber : state->queued ? state->queue[0] : 0;
}

static struct outcome same(const struct state *state)
{
    return (struct outcome) {
        state->fiber, state->last, state->shared, state->closing, QUEUE_STAYS, DONE, 0, false
    };
}

static struct outcome puts_in(const struct state *state, uint32_t fiber)
{
    struct outcome after = same(state);
    after.fiber = fiber;
    after.shared = GOES_ON;
    return after;
}

static struct outcome waits_for(const struct state *state, uint32_t fiber)
{
    struct outcome after = same(state);
    after.left = WAIT;
    after.whom = fiber;
    return after;
}

static int one_if(bool can, struct outcome *found, struct outcome after)
{
    *found = after;
    return can;
}

static int waits(const struct op *op, const struct state *state, struct outcome *found)
{
    uint32_t holder = holder_of(state);
    bool starts = !holder || (state->fiber && state->shared == 0);

    *found = same(state);
    if (starts) {
        if (!tells(op, op->arg, true))
            return 0;
        *found = puts_in(state, op->arg);
        found->shared = op->flags & STOPS ? 1 : GOES_ON;
    } else if (state->fiber) {
        if (!tells(op, state->fiber, false))
            return 0;
        found->shared += state->shared != GOES_ON;
    } else if (!tells(op, holder, false)) {
        return 0;
    }
    if (!(op->flags & LEFT)) {
        found->left = WAIT;
        found->whom = found->fiber ? found->fiber : holder;
    } else if (found->fiber && found->shared != GOES_ON) {
        found->left = LEAVE;
        found->whom = found->fiber;
    }
    return 1;
}

static int queues(const struct op *op, const struct state *state, struct outcome *found)
{
    *found = same(state);
    if (op->result == FULL)
        return state->queued >= op->most;
    if (op->most && state->queued >= op->most)
        return 0;
    if (holder_of(state) || ((op->flags & BEHIND) && op->result == QUEUED)) {
        found->queue = QUEUE_GETS;
        return op->result == UNTOLD || op->result == QUEUED;
    }
    return one_if(says(op, 0), found, puts_in(state, op->arg));
}

static int runs_if(const struct op *op, const struct state *state, struct outcome *found)
{
    if (op->flags & FOLLOWS) {
        *found = same(state);
        found->left = FOLLOW;
        found->whom = state->fiber;
        return state->fiber && state->fiber == op->expect;
    }
    if (state->fiber == op->expect)
        return one_if(tells(op, op->arg, true), found, puts_in(state, op->arg));
    return one_if(tells(op, state->fiber, false), found, same(state));
}

/* -1: the call is one like any other. */
static int refused_or_reuses(const struct op *op, const struct state *state,
                             struct outcome *found)
{
    *found = same(state);
    if (op->result == FAILED)
        return 1;
    if (state->closing)
        return op->result == UNTOLD || op->result == CLOSED;
    if (op->result == CLOSED)
        return 0;
    if ((op->flags & REUSES) && state->last && !holder_of(state)) {
        if (op->name == RUN_WAIT) /* which does not say whom it met */
            return tells(op, state->last, false) && !(op->flags & LEFT);
        return (op->flags & REUSED) && says(op, state->last);
    }
    return op->flags & REUSED ? 0 : -1;
}

static int starts(const struct op *op, const struct state *state, struct outcome *found)
{
    uint32_t holder = holder_of(state);
    int refused = refused_or_reuses(op, state, found);

    if (refused >= 0)
        return refused;
    switch ((enum name)op->name) {
    case RUN_WAIT: return waits(op, state, found);
    case RUN_QUEUE: return queues(op, state, found);
    case RUN_IF: return runs_if(op, state, found);
    case RUN_MISSING:
    case RUN_JOIN:
        if (!holder || (op->name == RUN_JOIN && state->fiber && state->shared == 0))
            return one_if(tells(op, op->arg, true), found, puts_in(state, op->arg));
        return one_if(tells(op, holder, false), found, same(state));
    case SET:
        if (holder == op->arg)
            return one_if(says(op, op->arg), found, same(state));
        return one_if(says(op, state->fiber), found, puts_in(state, op->arg));
    default: return one_if(says(op, state->fiber), found, puts_in(state, op->arg));
    }
}

/* From under its key, from the queue, or it was neither here nor there. */
static int leaves(const struct op *op, const struct state *state, struct outcome found[2])
{
    bool present = state->fiber == op->arg, queued = state_queues(state, op->arg);
    bool out = state->closing || says_so(op, true);
    int count = 0;

    if (present && out && !((op->flags & GIVEN_UP) && state->shared != 0)) {
        found[count] = puts_in(state, 0);
        if (op->flags & RETAINED)
            found[count].last = op->arg;
        count++;
    }
    if (queued && out) {
        found[count] = same(state);
        found[count].queue = QUEUE_LOSES;
        found[count].left = op->flags & RETAINED ? END : DONE;
        found[count].whom = op->arg;
        count++;
    }
    if (!present && !queued)
        count += one_if(says_so(op, false), &found[count], same(state));
    return count;
}

/* remove and detach: found somebody, or nobody. */
static int finds(const struct op *op, const struct state *state, uint32_t fiber,
                 struct outcome after, struct outcome found[2])
{
    int count = one_if(fiber && tells(op, fiber, true), &found[0], after);
    bool nobody = (!fiber || state->closing) && tells(op, 0, false);
    return count + one_if(nobody, &found[count], same(state));
}

static int ends_all(const struct op *op, const struct state *state, struct outcome *found)
{
    *found = same(state);
    found->closing = state->closing || op->name == CLOSE;
    if (holder_of(state)) {
        found->left = WAIT;
        found->whom = state->fiber;
        found->everybody = true;
    }
    return 1;
}

int outcomes(const struct op *op, const struct state *state, struct outcome found[2])
{
    uint32_t holder = holder_of(state);

    if (op->name <= SET)
        return starts(op, state, found);
    found[0] = same(state);
    switch ((enum name)op->name) {
    case GET:
    case INTERRUPT: return says(op, holder) || (state->closing && says(op, 0));
    case SEE: return says(op, state->fiber);
    case HAS: return state->closing || says_so(op, holder != 0);
    case GONE: return state->fiber != op->arg && !state_queues(state, op->arg);
    case LAST:
        if (!state->last)
            return op->result == UNTOLD || op->result == NO;
        return tells(op, state->last, true);
    case FORGET: found[0].last = 0; return says_so(op, state->last != 0);
    case TURN:
        found[0] = puts_in(state, op->arg);
        found[0].queue = QUEUE_MOVES;
        return !state->fiber && state->queued && state->queue[0] == op->arg;
    case EXIT: return leaves(op, state, found);
    case REMOVE: return finds(op, state, holder, waits_for(state, holder), found);
    case DETACH: return finds(op, state, state->fiber, puts_in(state, 0), found);
    case CLEAR:
    case CLOSE: return ends_all(op, state, found);
    default: return 1; /* step, body */
    }
}

bool outcome_is_none(const struct outcome *outcome, const struct state *state)
{
    return outcome->queue == QUEUE_STAYS && outcome->fiber == state->fiber &&
           outcome->shared == state->shared && outcome->closing == state->closing &&
           outcome->last == state->last;
}

bool state_change(struct state *state, const struct op *op, const struct outcome *outcome)
{
    uint32_t kept = 0;

    state->fiber = outcome->fiber;
    state->last = outcome->last;
    state->shared = outcome->shared;
    state->closing = outcome->closing;
    switch (outcome->queue) {
    case QUEUE_STAYS: break;
    case QUEUE_GETS:
        if (state->queued == QUEUE_MAX)
            return false;
        state->queue[state->queued++] = op->arg;
        break;
    case QUEUE_MOVES:
        state->queued--;
        memmove(state->queue, state->queue + 1, state->queued * sizeof *state->queue);
        break;
    case QUEUE_LOSES:
        for (uint32_t i = 0; i < state->queued; i++)
            if (state->queue[i] != op->arg)
                state->queue[kept++] = state->queue[i];
        state->queued = kept;
        break;
    }
    return true;
}
