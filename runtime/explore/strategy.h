/*
 * strategy.h - who goes on
 */
#ifndef FM_RUNTIME_EXPLORE_STRATEGY_H
#define FM_RUNTIME_EXPLORE_STRATEGY_H

#include "runtime/explore/arbiter.h"

enum { CHANGE_POINTS_MAX = 16 };

struct strategy {
    const struct plan *plan;
    struct arbiter_log *log;
    uint64_t random;
    uint32_t stay;    /* PLAN_RANDOM: go elsewhere once in so many points */
    uint32_t choices; /* made so far, those among several */
    uint32_t next;    /* PLAN_GIVEN: the next deviation; PLAN_SPELLED: the next byte */
    uint32_t gap;     /* PLAN_SPELLED: choices since the last byte */
    int64_t lowest;   /* PLAN_PCT: below all that were given out */
    int64_t priority[SEATS_MAX];
    uint32_t changes;
    uint64_t change[CHANGE_POINTS_MAX]; /* steps at which who runs falls or freezes; 0: over */
    const struct turn_point *site;      /* PLAN_RANDOM: who comes here freezes ... */
    uint32_t arrivals;                  /* ... after so many others; NULL: over */
    unsigned frozen;                    /* a seat, NOBODY: nobody yet ... */
    uint64_t thaw;                      /* ... until this step */
    uint32_t in_a_row;                  /* turns of one seat while others could run */
};

void fm__strategy_init(struct strategy *strategy, const struct plan *plan,
                       struct arbiter_log *log);
/* A seat has been taken. */
void fm__strategy_enter(struct strategy *strategy, unsigned seat);
/* It waits for what others do. */
void fm__strategy_gave(struct strategy *strategy, unsigned seat);
/* Whether a deadline passes early at this step. */
bool fm__strategy_jumps(struct strategy *strategy);
/*
 * One of `eligible`, which is not 0. `current` had the turn and stands at `point`; it may not
 * be eligible. NOBODY: the plan names a seat that is not eligible.
 */
unsigned fm__strategy_choose(struct strategy *strategy, uint64_t eligible, unsigned current,
                             const struct turn_point *point);

/* The next number of the sequence (SplitMix64). */
static inline uint64_t fm__explore_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

#endif
