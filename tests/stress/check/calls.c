/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.c - the calls on one key in time: what begins and returns when, and what is open then
 */
#include <stdlib.h>
#include <string.h>

#include "tests/stress/check/search.h"

static int by_time(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    if (x->returns != y->returns)
        return x->returns - y->returns;
    return x->op < y->op ? -1 : x->op > y->op;
}

static void note_events(struct calls *c)
{
    c->events = zeroed(c->count * 2 + 1, sizeof *c->events);
    for (uint32_t i = 0; i < c->count; i++) {
        c->events[c->event_count++] = (struct event) { c->ops[i]->call, i, false };
        if (c->ops[i]->returned != NEVER)
            c->events[c->event_count++] = (struct event) { c->ops[i]->returned, i, true };
    }
    qsort(c->events, c->event_count, sizeof *c->events, by_time);
    c->call_at = zeroed(c->count + 1, sizeof *c->call_at);
    c->return_at = zeroed(c->count + 1, sizeof *c->return_at);
    memset(c->return_at, 0xff, (c->count + 1) * sizeof *c->return_at);
    for (uint32_t at = 0; at < c->event_count; at++)
        (c->events[at].returns ? c->return_at : c->call_at)[c->events[at].op] = at;
}

static void note_open(struct calls *c)
{
    size_t room = 0, used = 0;
    uint32_t *now = zeroed(c->count + 1, sizeof *now), open = 0;

    c->open_from = zeroed((size_t)c->event_count + 2, sizeof *c->open_from);
    for (uint32_t at = 0; at <= c->event_count; at++) {
        if (used + open > room) {
            room = (used + open) * 2;
            c->open = grown(c->open, room, sizeof *c->open);
        }
        c->open_from[at] = (uint32_t)used;
        for (uint32_t i = 0; i < open; i++)
            c->open[used++] = now[i];
        if (at == c->event_count)
            break;
        uint32_t op = c->events[at].op, place = 0;
        if (c->events[at].returns) {
            while (now[place] != op)
                place++;
            memmove(now + place, now + place + 1, (--open - place) * sizeof *now);
            continue;
        }
        while (place < open && c->ops[now[place]]->returned >= c->ops[op]->returned)
            place++;
        memmove(now + place + 1, now + place, (open++ - place) * sizeof *now);
        now[place] = op;
    }
    c->open_from[c->event_count + 1] = (uint32_t)used;
    free(now);
}

static void note_starts(struct calls *c, uint32_t fibers)
{
    c->start = zeroed((size_t)fibers + 1, sizeof *c->start);
    c->next_start = zeroed((size_t)c->count + 1, sizeof *c->next_start);
    for (uint32_t i = 0; i < c->count; i++)
        if (c->ops[i]->name <= SET) {
            c->next_start[i] = c->start[c->ops[i]->arg];
            c->start[c->ops[i]->arg] = i + 1;
        }
}

void calls_init(struct calls *c, struct op *const ops[], uint32_t count, uint32_t fibers)
{
    *c = (struct calls) { .ops = ops, .count = count };
    note_events(c);
    note_open(c);
    note_starts(c, fibers);
}

void calls_fini(struct calls *c)
{
    free(c->events);
    free(c->call_at);
    free(c->return_at);
    free(c->next_start);
    free(c->start);
    free(c->open);
    free(c->open_from);
}
