/*
 * schedule.h - what a schedule is made of
 *
 * A tree of parts, immutable once made. What a part remembers between two steps is a cell in
 * the run, not in the part. A run begins all zeros, and so does a part that begins anew: the
 * cells of a part and of those under it stand together.
 *
 *     most parts      [ its own, if it has one ][ those of a ][ those of b ]
 *     and_then        [ its own ][ those of a, later those of b ]
 */
#ifndef FM_RUNTIME_FLOW_SCHEDULE_H
#define FM_RUNTIME_FLOW_SCHEDULE_H

#include <stdatomic.h>

#include "fm/schedule.h"

enum schedule_kind {
    SCHEDULE_RECURS,
    SCHEDULE_FOREVER,
    SCHEDULE_FIXED,
    SCHEDULE_SPACED,
    SCHEDULE_WINDOWED,
    SCHEDULE_EXPONENTIAL,
    SCHEDULE_LINEAR,
    SCHEDULE_FIBONACCI,
    SCHEDULE_DELAYS,
    SCHEDULE_INTERSECT,
    SCHEDULE_UNION,
    SCHEDULE_COMPOSE,
    SCHEDULE_AND_THEN,
    SCHEDULE_JITTERED,
    SCHEDULE_UP_TO,
    SCHEDULE_CAP,
    SCHEDULE_RESET_AFTER,
    SCHEDULE_WHILE,
    SCHEDULE_UNTIL,
    SCHEDULE_ON_DECISION,
};

struct fm_schedule {
    _Atomic uint32_t refs;
    enum schedule_kind kind;
    uint32_t depth;            /* 1: it has no parts */
    uint32_t size;             /* itself and its parts, each place counted */
    uint32_t cells;            /* that a run needs for it and its parts */
    struct fm_schedule *a, *b; /* its parts, a reference each; NULL where it has none */
    int64_t n;                 /* times, or nanoseconds; of delays: how many */
    union {
        double factor; /* exponential */
        fm_schedule_pred_fn *pred;
        fm_schedule_decision_fn *decision;
    };
    void *ctx;
    int64_t delays[];
};

#endif
