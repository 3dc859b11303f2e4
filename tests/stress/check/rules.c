/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.c - what the fibers say of themselves against what the calls said of them
 *
 * Once a call that displaced or signalled a fiber has returned, no step of that fiber begins;
 * once a remove has, its body has ended; and who awaits or queues begins after every fiber that
 * was displaced for another to wait.
 */
#include <stdlib.h>

#include "tests/stress/check/check.h"

struct awaited {
    int64_t returned, ended;
    const struct op *op;
};

/* By fiber. */
struct tales {
    const struct op **body;
    uint32_t *step, *next_step; /* 1 + index of an operation */
};

/* Whom the call has displaced or signalled, or 0. */
static uint32_t displaced_by(const struct op *op)
{
    if (op->name == RUN_IF)
        return op->result == NUMBER && op->number == op->arg && !(op->flags & FOLLOWS)
                   ? op->expect
                   : 0;
    bool displaces = op->name == RUN || op->name == RUN_AWAIT || op->name == SET ||
                     op->name == INTERRUPT || op->name == REMOVE;
    return displaces && op->result == NUMBER && !(op->flags & REUSED) ? op->number : 0;
}

static bool broken(const char *rule, const struct op *first, const struct op *second)
{
    fprintf(told, "%s:\n  %.*s\n", rule, (int)first->length, first->line);
    if (second)
        fprintf(told, "  %.*s\n", (int)second->length, second->line);
    return false;
}

static bool holds_after(const struct history *h, const struct tales *tales, const struct op *op)
{
    uint32_t displaced = displaced_by(op);

    if (!displaced || op->returned == NEVER)
        return true;
    for (uint32_t i = tales->step[displaced]; i; i = tales->next_step[i - 1])
        if (h->ops[i - 1].call > op->returned && displaced != op->arg)
            return broken("a step after the signal", op, &h->ops[i - 1]);
    const struct op *body = tales->body[displaced];
    if (op->name == REMOVE && body && body->returned > op->returned)
        return broken("a body after its remove", op, body);
    const struct op *own = op->name == RUN_AWAIT && body ? tales->body[op->arg] : NULL;
    if (own && (body->returned == NEVER || own->call < body->returned))
        return broken("a body before the end of the one it awaits", op, NULL);
    return true;
}

/* ---- turns ---- */

static int by_return(const void *a, const void *b)
{
    const struct awaited *x = a, *y = b;
    if (x->returned != y->returned)
        return x->returned < y->returned ? -1 : 1;
    return x->ended < y->ended ? -1 : x->ended > y->ended;
}

/* How many returned before that time. */
static size_t before(const struct awaited *awaited, size_t count, int64_t time)
{
    size_t from = 0;
    while (from < count) {
        size_t middle = from + (count - from) / 2;
        if (awaited[middle].returned < time)
            from = middle + 1;
        else
            count = middle;
    }
    return from;
}

/* `ops` are the run_awaits and run_queues of one key. */
static bool turns_hold(const struct tales *tales, const struct op *const *ops, size_t count)
{
    struct awaited *awaited = zeroed(count + 1, sizeof *awaited);
    size_t awaited_count = 0;
    bool good = true;

    for (size_t i = 0; i < count; i++) {
        const struct op *body = tales->body[displaced_by(ops[i])];
        if (ops[i]->name == RUN_AWAIT && body && ops[i]->returned != NEVER)
            awaited[awaited_count++] = (struct awaited) { ops[i]->returned, body->returned,
                                                          ops[i] };
    }
    qsort(awaited, awaited_count, sizeof *awaited, by_return);
    for (size_t i = 1; i < awaited_count; i++) /* from here on: the latest of all up to it */
        if (awaited[i].ended <= awaited[i - 1].ended) {
            awaited[i].ended = awaited[i - 1].ended;
            awaited[i].op = awaited[i - 1].op;
        }
    for (size_t i = 0; good && i < count; i++) {
        const struct op *op = ops[i], *body = tales->body[op->arg];
        size_t at = before(awaited, awaited_count, op->call);
        bool began = op->result != FAILED && op->result != CLOSED && op->result != FULL;
        if (body && began && at && body->call < awaited[at - 1].ended)
            good = broken("a body before the end of one that was awaited", op,
                          awaited[at - 1].op);
    }
    free(awaited);
    return good;
}

static int by_key(const void *a, const void *b)
{
    const struct op *x = *(const struct op *const *)a, *y = *(const struct op *const *)b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x < y ? -1 : x > y;
}

static bool all_turns_hold(const struct history *h, const struct tales *tales)
{
    const struct op **turns = zeroed(h->count + 1, sizeof(struct op *));
    size_t count = 0;
    bool good = true;

    for (size_t i = 0; i < h->count; i++)
        if (h->ops[i].name == RUN_AWAIT || h->ops[i].name == RUN_QUEUE)
            turns[count++] = &h->ops[i];
    qsort(turns, count, sizeof *turns, by_key);
    for (size_t from = 0, to; good && from < count; from = to) {
        for (to = from; to < count && turns[to]->key == turns[from]->key;)
            to++;
        good = turns_hold(tales, turns + from, to - from);
    }
    free(turns);
    return good;
}

/* ---- all of them ---- */

bool rules_hold(const struct history *h)
{
    struct tales tales = { zeroed((size_t)h->fibers + 1, sizeof(struct op *)),
                           zeroed((size_t)h->fibers + 1, sizeof(uint32_t)),
                           zeroed(h->count + 1, sizeof(uint32_t)) };
    bool good = true;

    for (uint32_t i = 0; i < h->count; i++) {
        const struct op *op = &h->ops[i];
        if (op->name == BODY)
            tales.body[op->arg] = op;
        if (op->name == STEP) {
            tales.next_step[i] = tales.step[op->arg];
            tales.step[op->arg] = i + 1;
        }
    }
    tales.body[0] = NULL;
    for (size_t i = 0; good && i < h->count; i++)
        good = holds_after(h, &tales, &h->ops[i]);
    good = good && all_turns_hold(h, &tales);
    free(tales.body);
    free(tales.step);
    free(tales.next_step);
    return good;
}

void mark(struct op *const ops[], size_t count)
{
    int64_t first_await = NEVER;
    bool retains = false;

    for (size_t i = 0; i < count; i++) {
        retains |= (ops[i]->flags & REUSES) || ops[i]->name == LAST || ops[i]->name == FORGET;
        if (ops[i]->name == RUN_AWAIT && ops[i]->call < first_await)
            first_await = ops[i]->call;
    }
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->name == EXIT && retains)
            ops[i]->flags |= RETAINED;
        /* after a run_await it may find somebody who still ends where nobody holds the key */
        if (ops[i]->name == RUN_QUEUE && first_await != NEVER &&
            ops[i]->returned >= first_await)
            ops[i]->flags |= BEHIND;
    }
}
