/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search.h - what search.c looks things up in
 */
#ifndef TESTS_STRESS_CHECK_SEARCH_H
#define TESTS_STRESS_CHECK_SEARCH_H

#include "tests/stress/check/check.h"

struct event {
    int64_t time;
    uint32_t op;
    bool returns;
};

/* Of one key. A call is open before an event that lies behind its call and not its return. */
struct calls {
    struct op *const *ops;
    uint32_t count, event_count;
    struct event *events; /* by time; those who meet are open together */
    uint32_t *call_at,
        *return_at; /* of each call, its events; UINT32_MAX: it has not returned */
    uint32_t *start, *next_start; /* of each fiber, the calls that put it in; 1 + index */
    uint32_t *open, *open_from;   /* before each event, the open ones; latest return first */
};

void calls_init(struct calls *calls, struct op *const ops[], uint32_t count, uint32_t fibers);
void calls_fini(struct calls *calls);

/* Open addressing; 0 is free. */
struct been {
    uint64_t *hash;
    size_t count, room;
};

/* Remembers it. `hash` is not 0. */
bool been_is_new(struct been *been, uint64_t hash);
void been_fini(struct been *been);

#endif
