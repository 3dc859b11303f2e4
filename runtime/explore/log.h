/*
 * log.h - what happened in a schedule
 *
 * In memory that outlives the process, so that who started it can tell how it ended whatever
 * the end was. The arbiter writes it, one thread at a time.
 */
#ifndef FM_RUNTIME_EXPLORE_LOG_H
#define FM_RUNTIME_EXPLORE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/explore/point.h"

enum { SEATS_MAX = 64, SEAT_NAME_MAX = 16, POINTS_NAMED_MAX = 128 };
#define NOBODY 255u

enum outcome {
    OUTCOME_NONE, /* the process ended before it could say */
    OUTCOME_PASSED,
    OUTCOME_FAILED,
    OUTCOME_DEADLOCK,
    OUTCOME_STEP_LIMIT,
    OUTCOME_DIVERGED, /* a deviation names a seat that cannot run */
};

struct step {
    const struct turn_point *point;
    uint8_t seat;   /* came to the point */
    uint8_t chosen; /* goes on */
};

/* A choice among several. */
struct choice {
    uint64_t eligible; /* seats, a bit each */
    uint8_t current;   /* NOBODY or not eligible: who was chosen preempts nobody */
    uint8_t usual;
    uint8_t chosen;
};

enum seat_state { SEAT_FREE, SEAT_READY, SEAT_BLOCKED, SEAT_ENDED };

struct seat_log {
    char name[SEAT_NAME_MAX];
    const struct turn_point *at;
    uint8_t state; /* enum seat_state */
    bool timed;
    bool io;
};

/* Shared between processes; pointers into it and to constants are good in both. */
struct arbiter_log {
    enum outcome outcome;
    uint64_t steps, switches;
    uint64_t test_begins, test_ends; /* steps; 0: not yet */
    uint64_t trace;                  /* a hash of all steps */
    uint32_t seat_count;
    uint32_t choice_count;
    uint32_t point_count;
    struct seat_log seats[SEATS_MAX];
    struct turn_point points[POINTS_NAMED_MAX];
    struct step *records; /* step_limit of them; NULL: not kept */
    struct choice *choices;
    uint64_t record_max, choice_max;
};

/* Nothing has happened yet; where the steps and choices go stays. */
void fm__log_begin(struct arbiter_log *log);
/* The seat came to the point, `chosen` goes on. */
void fm__log_step(struct arbiter_log *log, unsigned seat, const struct turn_point *point,
                  unsigned chosen);
void fm__log_name(struct arbiter_log *log, unsigned seat, const char *name);
/* The point of this name, a new one if there is none. */
const struct turn_point *fm__log_point(struct arbiter_log *log, const char *what);

#endif
