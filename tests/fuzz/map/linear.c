/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear.c - the search for an order
 *
 * Depth first over what may take effect next: a call that has begun before the first return
 * that is still to come. What was tried is remembered: the state of the map and of each call.
 *
 * Source     Wing, Gong, "Testing and Verifying Concurrent Objects", 1993; the memory is
 *            Lowe's, "Testing for Linearizability", 2017.
 */
#include "tests/fuzz/map/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOT_YET = 0, OVER = 255, TRIED_MAX = 1 << 18 }; /* between them: whose end is awaited */

/* All that decides how it may go on. */
struct config {
    uint8_t key[LINEAR_KEYS];
    uint8_t closing;
    uint8_t stage[LINEAR_CALLS]; /* NOT_YET, OVER, or 1 + the fiber */
};

struct search {
    const struct linear_call *calls;
    size_t count, over;
    struct config now;
    uint64_t tried[TRIED_MAX * 2]; /* open addressing; 0: free */
    size_t tried_count;
};

/* ---- what a call may do ---- */

static bool stands(const struct config *now, uint8_t fiber)
{
    for (int key = 0; key < LINEAR_KEYS; key++)
        if (now->key[key] == fiber)
            return true;
    return false;
}

static bool empty(const struct config *now)
{
    return now->key[0] == 0 && now->key[1] == 0 && now->key[2] == 0;
}

/* Whoever starts something. */
static bool put(struct config *now, const struct linear_call *call)
{
    uint8_t *there = &now->key[call->key], *other = &now->key[call->key2];

    if (now->closing)
        return false;
    switch ((enum linear_op)call->op) {
    case PUT:
        if (call->found != (*there != NOBODY_THERE))
            return false;
        break;
    case PUT_IF_FREE:
        if (*there)
            return false;
        break;
    case PUT_IF:
        if (*there != call->expected)
            return false;
        break;
    default:
        if (*there || *other)
            return false;
        *other = call->fiber2;
    }
    *there = call->fiber;
    return true;
}

/* Whoever was refused. */
static bool refused(const struct config *now, const struct linear_call *call)
{
    uint8_t there = now->key[call->key];

    switch ((enum linear_op)call->op) {
    case PUT_IF_FREE:
        return !now->closing && there && (!call->seen_known || call->seen == there);
    case PUT_IF: return !now->closing && there != call->expected && there == call->seen;
    case PUT_BOTH: return !now->closing && (there || now->key[call->key2]);
    case MOVE: return there == NOBODY_THERE;
    default: return false;
    }
}

static bool moved(struct config *now, const struct linear_call *call)
{
    uint8_t *from = &now->key[call->key], *to = &now->key[call->key2];

    if (!*from || now->closing || (to != from && *to))
        return false;
    uint8_t fiber = *from;
    *from = NOBODY_THERE;
    *to = fiber;
    return true;
}

/* The first half of a call that waits for somebody's end. */
static bool found(struct config *now, const struct linear_call *call, uint8_t *stage)
{
    uint8_t there = now->key[call->key];

    if (call->op == REMOVE && call->found != (there != NOBODY_THERE) &&
        !(now->closing && !call->found))
        return false;
    bool waits = there && call->result == DONE && (call->found || call->op == CLEAR);
    *stage = waits ? 1 + there : OVER;
    return true;
}

/* The first half, or the whole: `now` is changed, true, or it cannot be. */
static bool begin(struct config *now, const struct linear_call *call, uint8_t *stage)
{
    uint8_t *there = &now->key[call->key];

    *stage = OVER;
    if (call->result == NOTHING_DONE)
        return true;
    if (call->result == CLOSED)
        return now->closing;
    switch ((enum linear_op)call->op) {
    case PUT:
    case PUT_IF_FREE:
    case PUT_IF:
    case PUT_BOTH:
        if (call->result == FOLLOWED) {
            *stage = 1 + call->expected;
            return !now->closing && *there == call->expected;
        }
        return call->result == DONE ? put(now, call) : refused(now, call);
    case MOVE:
        if (call->result == REFUSED_TO)
            return now->key[call->key2] != NOBODY_THERE;
        return call->result == DONE ? moved(now, call) : refused(now, call);
    case LOOK: return *there == call->seen || (now->closing && !call->seen);
    case HAS: return call->found == (*there != NOBODY_THERE) || (now->closing && !call->found);
    case SIGNAL:
        return call->found == (*there != NOBODY_THERE) || (now->closing && !call->found);
    case LOOK_AT_ALL: return memcmp(now->key, call->all_seen, LINEAR_KEYS) == 0;
    case REMOVE:
    case CLEAR: return found(now, call, stage);
    case DETACH:
        if (!call->seen)
            return !*there || now->closing;
        if (*there != call->seen)
            return false;
        *there = NOBODY_THERE;
        return true;
    case CLOSE:
        now->closing = true;
        *stage = call->result == DONE ? 1 : OVER;
        return true;
    case LEAVE:
        for (int key = 0; key < LINEAR_KEYS; key++)
            if (now->key[key] == call->fiber)
                now->key[key] = NOBODY_THERE;
        return true;
    }
    return false;
}

/* The second half. */
static bool finish(struct config *now, const struct linear_call *call, uint8_t *stage)
{
    uint8_t awaited = *stage - 1;

    *stage = OVER;
    if (call->op == CLOSE)
        return empty(now);
    if (call->op != PUT_IF)
        return !stands(now, awaited);
    if (now->key[call->key] || now->closing)
        return false;
    now->key[call->key] = call->fiber;
    return true;
}

/* ---- the search ---- */

/* Whether it is new; also where there is no room to tell. */
static bool remember(struct search *search)
{
    const uint8_t *byte = (const uint8_t *)&search->now;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < LINEAR_KEYS + 1 + search->count; i++) {
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
        hash ^= hash >> 29;
    }
    hash |= 1;
    for (size_t at = hash >> 1;; at++) {
        uint64_t *slot = &search->tried[at % (TRIED_MAX * 2)];
        if (*slot == hash)
            return false;
        if (*slot == 0) {
            *slot = hash;
            search->tried_count++;
            return true;
        }
    }
}

static uint32_t first_return(const struct search *search)
{
    uint32_t first = UINT32_MAX;
    for (size_t i = 0; i < search->count; i++)
        if (search->now.stage[i] != OVER && search->calls[i].returned < first)
            first = search->calls[i].returned;
    return first;
}

static bool go_on(struct search *search)
{
    if (search->over == search->count)
        return true;
    if (search->tried_count >= TRIED_MAX || !remember(search))
        return false;
    uint32_t until = first_return(search);
    for (size_t i = 0; i < search->count; i++) {
        const struct linear_call *call = &search->calls[i];
        struct config before = search->now;
        if (before.stage[i] == OVER || call->call > until)
            continue;
        uint8_t stage = before.stage[i];
        bool can = stage == NOT_YET ? begin(&search->now, call, &stage)
                                    : finish(&search->now, call, &stage);
        search->now.stage[i] = stage;
        search->over += stage == OVER;
        if (can && go_on(search))
            return true;
        search->over -= stage == OVER;
        search->now = before;
    }
    return false;
}

enum linear_verdict linear_check(const struct linear_call calls[], size_t count)
{
    struct search *search = calloc(1, sizeof *search);

    if (!search || count > LINEAR_CALLS) {
        free(search);
        return UNDECIDED;
    }
    search->calls = calls;
    search->count = count;
    bool linear = go_on(search);
    bool gave_up = search->tried_count >= TRIED_MAX;
    free(search);
    return linear ? LINEAR : gave_up ? UNDECIDED : NOT_LINEAR;
}

/* ---- telling ---- */

static int by_call(const void *a, const void *b)
{
    const struct linear_call *x = a, *y = b;
    return x->call != y->call ? (x->call < y->call ? -1 : 1) : 0;
}

void linear_print(const struct linear_call calls[], size_t count)
{
    static const char *const ops[] = { "put",    "put_if_free", "put_if", "put_both", "move",
                                       "look",   "has",         "all",    "signal",   "remove",
                                       "detach", "clear",       "close",  "leave" };
    static const char *const results[] = { "done",     "refused", "refused_to", "closed",
                                           "followed", "went",    "nothing" };
    struct linear_call sorted[LINEAR_CALLS];

    if (count > LINEAR_CALLS)
        return;
    memcpy(sorted, calls, count * sizeof *calls);
    qsort(sorted, count, sizeof *sorted, by_call);
    for (size_t i = 0; i < count; i++) {
        const struct linear_call *call = &sorted[i];
        fprintf(
            stderr,
            "%5u %5u  %-11s %-10s key %u %u  fiber %u %u  expected %u  seen %u%s  all %u %u "
            "%u  found %d\n",
            call->call, call->returned, ops[call->op], results[call->result], call->key,
            call->key2, call->fiber, call->fiber2, call->expected, call->seen,
            call->seen_known ? "" : "?", call->all_seen[0], call->all_seen[1],
            call->all_seen[2], call->found);
    }
}
