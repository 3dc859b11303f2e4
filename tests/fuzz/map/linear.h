/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear.h - is there an order in which a map of a few keys could have answered so?
 *
 * Fibers have numbers from 1 on; NOBODY_THERE is none. Times are any that grow; a call lies
 * between its two, both included, and calls that touch may be in either order. All keys are one
 * object: a move, a run of several keys and a snapshot are of one instant. The ends of the
 * fibers are calls like the others (LEAVE), which nobody has made.
 *
 * Where the map is closing, a lookup may find nobody although somebody still ends there.
 */
#ifndef TESTS_FUZZ_LINEAR_H
#define TESTS_FUZZ_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINEAR_KEYS = 3, LINEAR_CALLS = 64, NOBODY_THERE = 0 };

enum linear_op {
    PUT,         /* `fiber` takes the key; found: whether somebody was displaced */
    PUT_IF_FREE, /* `fiber` takes the key if it is free, else `seen` is there, if it is known */
    PUT_IF,      /* `fiber` takes the key if `expected` is there, else `seen` is */
    PUT_BOTH,    /* two fibers take two keys if both are free */
    MOVE,        /* from key to key2 */
    LOOK,        /* `seen` */
    HAS,         /* found */
    LOOK_AT_ALL, /* all_seen */
    SIGNAL,      /* found; no change */
    REMOVE,      /* found: whoever is found has left when the call returns */
    DETACH,      /* `seen` is taken out */
    CLEAR, /* of one key: whoever is found has left when the call returns, if anybody is */
    CLOSE, /* the map takes nobody any more, and is empty when the call returns */
    LEAVE, /* the end of `fiber`: out of the map, wherever it stands */
};

enum linear_result {
    DONE,
    REFUSED,      /* somebody else is there, or nobody: the op says which */
    REFUSED_TO,   /* MOVE: the second key is held */
    CLOSED,       /* the map was closing */
    FOLLOWED,     /* PUT_IF: right after the end of whom it expected */
    WENT,         /* REMOVE, CLEAR: did not stay to see the end */
    NOTHING_DONE, /* no memory: no change */
};

struct linear_call {
    uint8_t op, result;
    uint8_t key, key2;
    uint8_t fiber, fiber2;
    uint8_t expected;
    uint8_t seen;
    uint8_t all_seen[LINEAR_KEYS];
    bool found, seen_known;
    uint32_t call, returned;
};

enum linear_verdict { LINEAR, NOT_LINEAR, UNDECIDED };

/* Of all those calls on one map, which was empty; at most LINEAR_CALLS. */
enum linear_verdict linear_check(const struct linear_call calls[], size_t count);

/* What a failing history looks like: a line each on stderr, in the order of beginnings. */
void linear_print(const struct linear_call calls[], size_t count);

#endif
