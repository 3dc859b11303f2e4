/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scene.h - some clients, the calls on a map that bytes have chosen for them, and the verdict
 *
 *     scene.c         the clients, and what is known at the end
 *     scene_calls.c   the calls, and the fibers that they start
 *     linear.c        whether there is an order of them
 *     fuzz_map.c      under an arbiter, whose schedule is in the bytes as well
 *     rounds.c        on real workers, round after round
 *
 *     byte 0      how many call beside the main thread; what is above that is the caller's
 *     byte 1      how many calls
 *     3 a call    who and what · the key · more: a body, a second key, which allocation fails
 *
 * At the end there must be an order of all calls and all ends in which a map answers so
 * (linear.h), each fiber has either run or had its argument dropped, and nothing is left.
 */
#ifndef TESTS_FUZZ_SCENE_H
#define TESTS_FUZZ_SCENE_H

#include <fm/fm.h>
#include <stdatomic.h>

#include "tests/fuzz/map/fuzz.h"
#include "tests/fuzz/map/linear.h"

enum { CLIENTS = 3, CALLS_MAX = 12, BODIES = 2 * CALLS_MAX };

enum what {
    DO_RUN,
    DO_KEEP,
    DO_FAIL,
    DO_AWAIT,
    DO_RUN_IF,
    DO_BOTH,
    DO_MANY,
    DO_MOVE,
    DO_LOOK,
    DO_HAS,
    DO_LOOK_AT_ALL,
    DO_INTERRUPT,
    DO_REMOVE,
    DO_REMOVE_SOON,
    DO_DETACH,
    DO_CLEAR,
    DO_CLOSE,
    DO_DISTURB,
    DO_FAULT,
    DO_YIELD,
    DO_KINDS
};

/* What a run starts. */
struct body {
    uint8_t kind, times;
    struct fm_fiber *fiber; /* NULL: not started */
    struct fm_observer observer;
    uint64_t id;
    uint32_t started; /* the time before the call */
    _Atomic uint32_t ended, left;
    _Atomic int ran, dropped;
};

struct call {
    uint8_t what, key, more, client;
};

/* A call as linear.h wants it, with fibers by their ids, which are numbered at the end. */
struct record {
    struct linear_call told;
    uint64_t seen, expected, all_seen[LINEAR_KEYS];
};

struct client {
    int number;
    struct record records[LINEAR_KEYS * CALLS_MAX + 1];
    size_t count;
};

struct scene {
    struct fm_runtime *runtime;
    struct fm_map *map;
    struct call calls[CALLS_MAX];
    size_t call_count;
    struct body bodies[BODIES];
    struct client clients[CLIENTS];
    /* of the clients that are fibers; one may look before all have been started */
    _Atomic(struct fm_fiber *) fibers[CLIENTS];
    void (*pause)(void);  /* of who waits for others to go on */
    int64_t real_from_ns; /* 0: times are numbers from a counter, of one thread at a time */
    _Atomic uint32_t time;
};

extern struct scene scene;

/* A time for linear.h. */
uint32_t scene_now(void);

/* Nothing of a former scene is left; what bytes say of this one: how many of them they were. */
size_t scene_read(const uint8_t *bytes, size_t size);
/* In the main thread: runtime, map and pause are set. All have called, the map is closed. */
void scene_play(void);
/* When the map has gone. Stops the program if the answers are not those of a map. */
enum linear_verdict scene_judge(void);

/* Make the call, and note what it told. */
void scene_call(struct client *client, const struct call *call);

#endif
