/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - random calls on a map, recorded for a linearizability checker
 *
 *     history.c                the map, the clients, their memory
 *     history_calls.c          the clients' calls
 *     history_runs.c           those of them that put a fiber under a key
 *     history_fibers.c         the fibers of the map, what they tell of themselves
 *     history_write.c          what became known later, and the lines
 *     map_history.c            on real workers and threads
 *     map_history_explored.c   under an arbiter, one short history a schedule
 *
 * Each client records into memory of its own, all is written at the end: a shared log would
 * order what it watches.
 *
 * A call does not tell everything; what it leaves open stands as null and weakens the check. So
 * each call that may signal is
 * made by a fiber of its own (of a thread's: by a thread, which has no id): an interrupted
 * fiber has the id of that one
 * on record, and that says whom a run displaced, whom an interrupt or a remove found. A map
 * that is watched has hooks and
 * completions, which say it of all runs and sets, and of each exit whether it took its entry
 * out; but watching takes other
 * ways through the map, so histories are made of both kinds.
 *
 * A map that retains its last exits is asked for them too, and runs are content with them.
 *
 * Not known even so: in a plain map, whether an exit took its entry out, and whom a thread
 * displaced, or whom somebody else had
 * interrupted first.
 */
#ifndef TESTS_STRESS_HISTORY_H
#define TESTS_STRESS_HISTORY_H

#include <fm/fm.h>
#include <stdatomic.h>

#include "tests/support/stress.h"

enum { OWNED_MAX = 48, STEPS_MAX = 2, CLIENTS_MAX = 256, KEY_BYTES = 48 };
/* An id that no fiber can have: of one that was not started. */
#define NOT_STARTED (UINT64_C(1) << 52)

enum op {
    /* what puts a fiber in */
    RUN,
    RUN_MISSING,
    RUN_JOIN,
    RUN_WAIT,
    RUN_AWAIT,
    RUN_QUEUE,
    RUN_IF,
    SET,
    /* and what does not */
    GET,
    HAS,
    SEE,
    INTERRUPT,
    REMOVE,
    DETACH,
    EXIT,
    GONE,
    CLEAR,
    CLOSE,
    STEP,
    BODY,
    TURN,
    LAST,
    FORGET,
    RUN_MANY /* a call of a client; on record it is a RUN_MISSING of each key */
};

enum result { UNKNOWN, NUMBER, TRUTH, CLOSED, FAILED, WAITS, FULL };

enum record_flag {
    RECORD_STOPS = 1,    /* run_wait: what it starts ends with the last waiter */
    RECORD_LEFT = 2,     /* run_wait: did not stay to the end */
    RECORD_GIVEN_UP = 4, /* exit: its last waiter has ended it */
    RECORD_REUSES = 8,   /* a run: content with the exit that is retained ... */
    RECORD_REUSED = 16,  /* ... and that is what it got */
    RECORD_FOLLOWS = 32, /* run_if: whom it expected had ended in that instant */
};

struct record {
    int64_t call_ns, return_ns;
    uint64_t arg, number;
    uint64_t expect;   /* run_if: who must be there; run_queue: how many may wait */
    uint64_t by;       /* id of the fiber that made the call; 0: a thread */
    struct told *told; /* arg is its id, which may become known after the call; else NULL */
    int32_t key;       /* -1: none */
    uint8_t op, result, flags;
};

/* What a fiber tells of itself; lives as long as the history. */
struct told {
    uint64_t kind; /* what its body does, random */
    bool by_run_wait;
    bool queued;                     /* came under its key in its turn */
    struct fm_fiber *caller;         /* of run_wait: the fiber that called, NULL: a thread */
    _Atomic(struct fm_fiber *) self; /* of run_wait: a reference, from its start on */
    bool refused;                    /* of run_wait: the call joined another fiber */
    uint64_t id;                     /* of run_wait */
    int64_t begin_ns;
    _Atomic int64_t end_ns; /* 0: not yet, or it has never run */
    int64_t step_begin_ns[STEPS_MAX], step_end_ns[STEPS_MAX];
    int steps;
    bool noted;
};

/* A fiber under a key, not yet seen ended. */
struct owned {
    struct fm_fiber *fiber; /* NULL: told->self, once that is known */
    struct told *told;
    int32_t key;
    bool by_run_wait;
    int64_t since_ns;
};

/* A fiber that was interrupted, and who did it first. */
struct signal {
    uint64_t by, fiber;
    uint8_t reason;
};

/* What a watched map tells: `fiber` has taken the key from `old`. */
struct replaced {
    int32_t key;
    uint64_t old, fiber;
};

struct client {
    struct history *history;
    uint32_t number;
    uint64_t random;
    struct record *records;
    size_t count, room;
    struct told *told;
    size_t told_count;
    struct signal *signals;
    size_t signal_count;
    struct owned owned[OWNED_MAX];
    int owned_count;
};

struct history {
    struct fm_map *map;
    struct fm_runtime *runtime;
    uint32_t keys, clients, foreign, workers;
    uint32_t hot;        /* so many keys get half of the calls */
    uint64_t operations; /* of one client */
    uint32_t rare;       /* of a thousand calls so many concern all keys */
    bool close;          /* at a random moment, not at the end only */
    bool watched;
    bool retains;
    void (*pause)(void); /* of who waits for others to go on; a fiber yields */
    char (*names)[KEY_BYTES];
    _Atomic uint64_t not_started;
    _Atomic uint64_t done; /* operations of all */
    struct client *client; /* fibers, threads, and who closes */
    struct replaced *replaced;
    _Atomic size_t replaced_count;
    size_t replaced_room;
};

/* Memory and the map; h says what is wanted. fini gives it back, after the map has gone. */
void history_init(struct history *h, uint64_t *random);
void history_fini(struct history *h);
/* All calls of one client. */
void history_play(struct client *client);
/* By nobody but the last client: at any time, and again at the end. */
void history_close(struct history *h);
/*
 * When all have played and the map is closed: what has ended since, and what the map has kept
 * of it.
 */
void history_end(struct history *h);

/* ---- between the rooms ---- */

struct record *history_note(struct client *c, enum op op, int32_t key, uint64_t arg,
                            int64_t call_ns, int64_t return_ns);
struct fm_key history_key(const struct client *c, int32_t key);
/* The fiber under the key, with a reference, or NULL. */
struct fm_fiber *history_get(struct client *c, int32_t key);
void history_run(struct client *c, int32_t key, enum op op);
void history_note_number(struct record *record, uint64_t number);
void history_note_truth(struct record *record, bool truth);
/* A body, with a struct told. Its exit's value is the fiber's id: who joined it knows whom. */
struct fm_exit history_body(void *arg);
/* arg_drop of run_wait. */
void history_never_begun(void *arg);
struct told *history_new_told(struct client *c);
/*
 * `fiber` is the client's to look after, from a call of that time on. NULL: it will tell
 * itself.
 */
void history_own(struct client *c, struct fm_fiber *fiber, struct told *told, int32_t key,
                 int64_t since_ns);
/* Look after what has ended; with `all`, end and await the rest. */
void history_reap(struct client *c, bool all);

/*
 * From what was learned later: whom a call displaced or found, whether an exit took its entry
 * out.
 */
void history_resolve(struct history *h);
void history_write(const struct history *h, FILE *out, const char *title);

#endif
