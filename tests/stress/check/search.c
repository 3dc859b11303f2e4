/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search.c - the search for an order of the calls on one key
 *
 * Follows Wing and Gong, with the memory that Lowe gave it, in the form that walks the calls
 * and returns in time: a configuration is the state of the entry and what the open calls have
 * done so far; at a return the call must have taken effect. What changes nothing and fits is
 * taken at once. An exit of unknown result waits while its fiber may still come.
 *
 * Depth first, the likeliest first; where it has been it knows by 64 bits. A yes is an order
 * that was found. A no may be wrong where two configurations have the same bits, once in a
 * million of the largest histories.
 *
 * Source     Wing, Gong, "Testing and Verifying Concurrent Objects", 1993; Lowe, "Testing for
 *            Linearizability", 2017.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/stress/check/search.h"

enum {
    CHUNK = 1 << 14, /* events whose memory is kept and dropped together */
    ITEMS_MAX = 4096,
};

/* What an open call has done: DONE, or what is left; of WAIT one for each fiber. */
struct item {
    uint32_t op, left, fiber;
};

struct config {
    uint32_t at, items;
    struct state state;
    struct item item[ITEMS_MAX];
};

struct search {
    struct calls calls;
    uint8_t *left; /* of each call, in `now` */
    struct config *now, *after;
    char *stack; /* of configurations, with their lengths behind them */
    size_t depth, stack_room;
    struct been *been; /* of each chunk */
    uint64_t configurations;
    bool overflown;
};

/* ---- what open calls have done ---- */

static void add_item(struct search *s, uint32_t op, enum left left, uint32_t fiber)
{
    s->left[op] = (uint8_t)left;
    if (s->now->items == ITEMS_MAX)
        s->overflown = true;
    else
        s->now->item[s->now->items++] = (struct item) { op, left, fiber };
}

static void drop_items(struct search *s, uint32_t op)
{
    struct config *now = s->now;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < now->items; i++)
        if (now->item[i].op != op)
            now->item[kept++] = now->item[i];
    now->items = kept;
    s->left[op] = NOT_BEGUN;
}

static void note_left(struct search *s, uint32_t op, const struct outcome *outcome,
                      const struct state *before)
{
    drop_items(s, op);
    if (outcome->left != WAIT || outcome->whom)
        add_item(s, op, outcome->left, outcome->whom);
    for (uint32_t i = 0; outcome->everybody && i < before->queued; i++)
        add_item(s, op, WAIT, before->queue[i]);
}

/* Whether some call that puts this fiber in is still to take effect. */
static bool will_start(const struct search *s, uint32_t fiber)
{
    for (uint32_t i = s->calls.start[fiber]; i; i = s->calls.next_start[i - 1]) {
        bool open = s->calls.call_at[i - 1] < s->now->at &&
                    s->calls.return_at[i - 1] >= s->now->at;
        if (s->calls.call_at[i - 1] >= s->now->at)
            return true;
        if (open && (s->left[i - 1] == NOT_BEGUN || s->left[i - 1] == FOLLOW))
            return true;
    }
    return false;
}

static bool may_be_early(const struct op *op, const struct state *state)
{
    if (op->flags & FOLLOWS)
        return false;
    if (op->name >= GET && op->name <= LAST)
        return true;
    if (op->name == REMOVE) /* the next in the queue may well outlast who comes before it */
        return state->fiber || !state->queued;
    if (op->name == CLEAR)
        return true;
    if (op->name == RUN_WAIT && op->result == NO)
        return false; /* it need not have joined this one, and another's waiters are counted */
    bool took = op->result == YES || (op->result == NUMBER && op->number);
    return op->result != UNTOLD && !(op->name == DETACH && took);
}

/* Take the call if that loses nothing. */
static void take_early(struct search *s, uint32_t index)
{
    const struct op *op = s->calls.ops[index];
    const struct state *state = &s->now->state;
    struct outcome found[2];

    if (op->name == EXIT) {
        /* the fiber is not there and will not be again: later is as good as now */
        if (state->fiber != op->arg && op->result != YES && !state_queues(state, op->arg) &&
            !will_start(s, op->arg))
            add_item(s, index, DONE, 0);
        return;
    }
    if (!may_be_early(op, state))
        return;
    int count = outcomes(op, state, found);
    for (int i = 0; i < count; i++)
        /*
         * Whoever is found first leaves first: the earlier a removal has found, the earlier it
         * is through.
         */
        if (outcome_is_none(&found[i], state)) {
            note_left(s, index, &found[i], state);
            return;
        }
}

/* Take all calls that may as well be taken now; who has left is awaited no more. */
static void settle(struct search *s)
{
    struct config *now = s->now;
    uint32_t from = s->calls.open_from[now->at], to = s->calls.open_from[now->at + 1];

    for (uint32_t i = from; i < to; i++)
        if (s->left[s->calls.open[i]] == NOT_BEGUN)
            take_early(s, s->calls.open[i]);
    for (uint32_t i = now->items; i-- > 0;) {
        struct item item = now->item[i];
        if ((item.left != WAIT && item.left != LEAVE) ||
            (item.fiber && item.fiber == now->state.fiber) ||
            state_queues(&now->state, item.fiber))
            continue;
        bool more = false;
        for (uint32_t j = 0; j < now->items; j++)
            more |= j != i && now->item[j].op == item.op;
        if (more) {
            now->item[i] = now->item[--now->items];
        } else {
            now->item[i] = (struct item) { item.op, DONE, 0 };
            s->left[item.op] = DONE;
        }
    }
}

/* ---- where it has been ---- */

static uint64_t mixed(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b * UINT64_C(0x9e3779b97f4a7c15))) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}

/* The order of the items says nothing. */
static uint64_t hash_of(const struct config *config)
{
    const struct state *state = &config->state;
    uint64_t hash = mixed(config->at, (uint64_t)state->fiber << 32 | state->last), sum = 0;

    hash = mixed(hash, (uint64_t)(state->shared + 1) << 1 | state->closing);
    for (uint32_t i = 0; i < state->queued; i++)
        hash = mixed(hash, state->queue[i] + UINT64_C(1));
    for (uint32_t i = 0; i < config->items; i++)
        sum += mixed((uint64_t)config->item[i].op << 3 | config->item[i].left,
                     config->item[i].fiber + UINT64_C(1));
    return mixed(hash, sum) | 1;
}

/* Far behind, memory is worth less than its room: at worst something is searched again. */
static void forget_behind(struct search *s, uint32_t at)
{
    if (at >= 2 * CHUNK)
        been_fini(&s->been[at / CHUNK - 2]);
}

/* ---- the walk ---- */

static void push(struct search *s)
{
    const struct config *now = s->now;
    uint32_t sizes[] = { now->state.queued, now->items };
    size_t head = offsetof(struct state, queue), queue = now->state.queued * sizeof(uint32_t),
           items = now->items * sizeof(struct item),
           whole = sizeof now->at + head + queue + items + sizeof sizes;

    if (!been_is_new(&s->been[now->at / CHUNK], hash_of(now)))
        return;
    s->configurations++;
    if (s->depth + whole > s->stack_room) {
        s->stack_room = (s->depth + whole) * 2;
        s->stack = grown(s->stack, s->stack_room, 1);
    }
    char *to = s->stack + s->depth;
    memcpy(to, now->item, items);
    memcpy(to + items, now->state.queue, queue);
    memcpy(to + items + queue, &now->state, head);
    memcpy(to + items + queue + head, &now->at, sizeof now->at);
    memcpy(to + items + queue + head + sizeof now->at, sizes, sizeof sizes);
    s->depth += whole;
}

static void leave(struct search *s)
{
    for (uint32_t i = 0; i < s->now->items; i++)
        s->left[s->now->item[i].op] = NOT_BEGUN;
}

static void pop(struct search *s)
{
    struct config *now = s->now;
    uint32_t sizes[2];
    const char *end = s->stack + s->depth;

    end -= sizeof sizes;
    memcpy(sizes, end, sizeof sizes);
    end -= sizeof now->at;
    memcpy(&now->at, end, sizeof now->at);
    end -= offsetof(struct state, queue);
    memcpy(&now->state, end, offsetof(struct state, queue));
    end -= sizes[0] * sizeof *now->state.queue;
    memcpy(now->state.queue, end, sizes[0] * sizeof *now->state.queue);
    end -= sizes[1] * sizeof *now->item;
    memcpy(now->item, end, sizes[1] * sizeof *now->item);
    now->items = sizes[1];
    s->depth = (size_t)(end - s->stack);
}

static void enter(struct search *s)
{
    for (uint32_t i = 0; i < s->now->items; i++)
        s->left[s->now->item[i].op] = (uint8_t)s->now->item[i].left;
}

/* What this open call may do next. */
static int steps(const struct search *s, uint32_t index, struct outcome found[2])
{
    const struct op *op = s->calls.ops[index];
    const struct state *state = &s->now->state;
    enum left left = s->left[index];

    if (left == NOT_BEGUN)
        return outcomes(op, state, found);
    found[0] = (struct outcome) {
        state->fiber, state->last, state->shared, state->closing, QUEUE_STAYS, DONE, 0, false
    };
    if (left == LEAVE)
        found[0].shared--;
    else if (left == END)
        found[0].last = op->arg;
    else if (left == FOLLOW && !state->fiber) {
        found[0].fiber = op->arg;
        found[0].shared = GOES_ON;
    } else
        return 0;
    return 1;
}

static void copy(struct config *to, const struct config *from)
{
    memcpy(to, from, offsetof(struct config, item) + from->items * sizeof *from->item);
}

/* All configurations after one more call has taken effect, the likeliest last. */
static void take_each(struct search *s, uint32_t returning)
{
    uint32_t from = s->calls.open_from[s->now->at], to = s->calls.open_from[s->now->at + 1];

    copy(s->after, s->now);
    for (uint32_t i = from; i < to + 1; i++) {
        if (i < to && s->calls.open[i] == returning)
            continue;
        uint32_t index = i < to ? s->calls.open[i] : returning;
        const struct op *op = s->calls.ops[index];
        struct outcome found[2];
        if (op->name == EXIT && op->result == UNTOLD && op->arg != s->now->state.fiber &&
            !state_queues(&s->now->state, op->arg) && index != returning &&
            s->left[index] == NOT_BEGUN)
            continue; /* it would change nothing, and may be wanted later */
        int count = steps(s, index, found);
        for (int j = 0; j < count; j++) {
            note_left(s, index, &found[j], &s->after->state);
            s->overflown |= !state_change(&s->now->state, op, &found[j]);
            settle(s);
            push(s);
            leave(s);
            copy(s->now, s->after);
            enter(s);
        }
    }
}

static void go_on(struct search *s)
{
    struct event event = s->calls.events[s->now->at];

    if (event.returns && s->left[event.op] != DONE) {
        take_each(s, event.op);
        return;
    }
    if (event.returns)
        drop_items(s, event.op);
    s->now->at++;
    settle(s);
    push(s);
}

static void tell(const struct search *s, const struct history *h, const struct config *config)
{
    const struct state *state = &config->state;
    const struct op *op = s->calls.ops[s->calls.events[config->at].op];
    uint32_t from = s->calls.open_from[config->at], to = s->calls.open_from[config->at + 1];

    fprintf(told, "key %.*s: nothing explains %.*s\n  one entry possible before: %llu%s",
            op->key < 0 ? 0 : (int)h->keys[op->key].length,
            op->key < 0 ? "" : h->keys[op->key].text, (int)op->length, op->line,
            (unsigned long long)h->ids[state->fiber], state->closing ? " closing" : "");
    if (state->shared == 0)
        fputs(" given up", told);
    if (state->shared > 0)
        fprintf(told, " shared by %d", state->shared);
    for (uint32_t i = 0; i < state->queued; i++)
        fprintf(told, "%s %llu", i ? "" : " queue",
                (unsigned long long)h->ids[state->queue[i]]);
    if (state->last)
        fprintf(told, " last %llu", (unsigned long long)h->ids[state->last]);
    fputs("\n  open calls:\n", told);
    for (uint32_t i = from; i < to; i++)
        fprintf(told, "    %.*s\n", (int)s->calls.ops[s->calls.open[i]]->length,
                s->calls.ops[s->calls.open[i]]->line);
}

static enum verdict walk(struct search *s, const struct history *h)
{
    struct config *furthest = zeroed(1, sizeof *furthest);
    enum verdict verdict = VIOLATION;

    s->now->state.shared = GOES_ON;
    copy(furthest, s->now);
    push(s);
    leave(s);
    while (s->depth && !s->overflown && verdict == VIOLATION) {
        pop(s);
        enter(s);
        if (s->now->at == s->calls.event_count)
            verdict = LINEARIZABLE;
        else {
            if (s->now->at > furthest->at) {
                copy(furthest, s->now);
                forget_behind(s, s->now->at);
            }
            go_on(s);
        }
        leave(s);
    }
    if (s->overflown)
        verdict = UNDECIDED;
    if (verdict == VIOLATION)
        tell(s, h, furthest);
    free(furthest);
    return verdict;
}

enum verdict search_key(const struct history *h, struct op *const ops[], size_t count,
                        uint64_t *configurations)
{
    struct search s = { .left = zeroed(count + 1, sizeof *s.left),
                        .now = zeroed(1, sizeof *s.now),
                        .after = zeroed(1, sizeof *s.after) };

    calls_init(&s.calls, ops, (uint32_t)count, h->fibers);
    uint32_t chunks = s.calls.event_count / CHUNK + 1;
    s.been = zeroed(chunks, sizeof *s.been);
    enum verdict verdict = walk(&s, h);
    *configurations += s.configurations;
    for (uint32_t i = 0; i < chunks; i++)
        been_fini(&s.been[i]);
    calls_fini(&s.calls);
    free(s.been);
    free(s.stack);
    free(s.now);
    free(s.after);
    free(s.left);
    return verdict;
}
