/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - is a history of map calls linearizable?
 *
 *     history_check.c   the program: what is read, what is said, its own test
 *     read.c            lines to operations
 *     state.c           what each call may do to an entry
 *     search.c          the search for an order of the calls on one key
 *     calls.c           the calls in time, for it;  been.c  where it has been
 *     rules.c           what the fibers say of themselves against what the calls said of them
 *     cases.c           short histories, good ones and broken ones
 *
 * Each key is an object of its own; clear and close are checked on each key. Fibers are counted
 * from 1 in each history, in the order in which it names them; 0 is none.
 */
#ifndef TESTS_STRESS_CHECK_H
#define TESTS_STRESS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NEVER INT64_MAX

enum name {
    /* what puts a fiber in */
    RUN,
    RUN_MISSING,
    RUN_JOIN,
    RUN_WAIT,
    RUN_AWAIT,
    RUN_QUEUE,
    RUN_IF,
    SET,
    /* what reads */
    GET,
    HAS,
    SEE,
    INTERRUPT,
    GONE,
    STEP,
    BODY,
    LAST,
    /* and the others */
    REMOVE,
    DETACH,
    EXIT,
    CLEAR,
    CLOSE,
    TURN,
    FORGET,
    NAMES
};

enum result { UNTOLD, NUMBER, YES, NO, CLOSED, FAILED, QUEUED, FULL };

enum flag {
    STOPS = 1,     /* run_wait: what it starts ends with the last waiter */
    LEFT = 2,      /* run_wait: did not stay to the end */
    GIVEN_UP = 4,  /* exit: its last waiter has ended it */
    REUSES = 8,    /* a run: content with the exit that is retained ... */
    REUSED = 16,   /* ... and that is what it got */
    FOLLOWS = 32,  /* run_if: whom it expected had ended in that instant */
    RETAINED = 64, /* exit: of a map that retains it */
    BEHIND = 128,  /* run_queue: somebody may still end who was displaced for another to wait */
};

/* One line. */
struct op {
    int64_t call, returned; /* NEVER: it has not returned */
    uint32_t arg, number, expect, most;
    int32_t key; /* -1: all of them */
    uint8_t name, result, flags;
    const char *line;
    uint32_t length;
};

struct history {
    struct op *ops;
    size_t count, room;
    uint64_t *ids; /* of the fibers; [0] is none */
    uint32_t fibers, ids_room;
    uint32_t *fiber_table;
    uint32_t fiber_table_room;
    struct key_name {
        const char *text;
        size_t length;
    } * keys;
    int32_t key_count, key_room;
};

/* What was found wrong goes here, and the caller says of which history. */
extern FILE *told;

/* ---- memory: as much as is wanted, or the program ends ---- */

void *grown(void *memory, size_t count, size_t each);
/* Zeroed. */
void *zeroed(size_t count, size_t each);

/* ---- read.c ---- */

/* Add the operation of a line. False: it is none. */
bool history_add(struct history *h, const char *line, size_t length);
/* Of the next history nothing is known yet. */
void history_forget(struct history *h);
void history_free(struct history *h);

/* ---- state.c ---- */

enum {
    GOES_ON = -1, /* shared: the run goes on without its waiters */
    QUEUE_MAX = 64,
};

struct state {
    uint32_t fiber; /* who is under the key */
    uint32_t last;  /* whose exit is retained */
    int32_t shared; /* how many callers share the run; 0: its last waiter has given it up */
    bool closing;
    uint32_t queued;
    uint32_t queue[QUEUE_MAX]; /* who waits to come under the key, the next one first */
};

/*
 * What is left of a call that has begun to take effect. remove, clear and close find fibers,
 * and these are no more in the entry when it returns. So has run_wait two steps, which starts
 * or joins one first; where it left early its second step is the leaving. A run_if that found
 * whom it expected may come in right after the end of that one. Who leaves a queue ends later.
 */
enum left { NOT_BEGUN, DONE, WAIT, LEAVE, FOLLOW, END };

struct outcome {
    uint32_t fiber, last;
    int32_t shared;
    bool closing;
    enum { QUEUE_STAYS, QUEUE_GETS, QUEUE_MOVES, QUEUE_LOSES } queue; /* op->arg */
    enum left left;
    uint32_t whom;
    bool everybody; /* of WAIT: whom, and all who queue */
};

/* All that the call may do in this state, at most two things. */
int outcomes(const struct op *op, const struct state *state, struct outcome found[2]);
bool outcome_is_none(const struct outcome *outcome, const struct state *state);
/* False: the queue is longer than this checker can take. */
bool state_change(struct state *state, const struct op *op, const struct outcome *outcome);
bool state_queues(const struct state *state, uint32_t fiber);

/* ---- search.c ---- */

enum verdict { LINEARIZABLE, VIOLATION, UNDECIDED };

/* All operations on one key. Adds to `configurations`. */
enum verdict search_key(const struct history *h, struct op *const ops[], size_t count,
                        uint64_t *configurations);

/* ---- rules.c ---- */

bool rules_hold(const struct history *h);
/* What the calls on one key say of the map, and of each other. */
void mark(struct op *const ops[], size_t count);

/* ---- cases.c ---- */

struct history_case {
    const char *name, *text;
};

/* Each ends with one without a name. */
extern const struct history_case accepted_cases[], rejected_cases[];

#endif
