/*
 * arbiter.h - one thread at a time, and who is next
 *
 * A thread that takes turns has a seat. It runs until it comes to a point, gives its turn away,
 * waits or ends; then the strategy chooses among the seats that can run.
 *
 *              made                    block
 *      FREE -----------> READY ----------------------> BLOCKED
 *        ^               |  ^                            |
 *        |               |  '---- wake · time · io ------'
 *        '---- join ---- ENDED
 *
 * What happened goes to a log (log.h).
 */
#ifndef FM_RUNTIME_EXPLORE_ARBITER_H
#define FM_RUNTIME_EXPLORE_ARBITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/explore/log.h"

enum { DEVIATIONS_MAX = 4096 };

/*
 * At this choice (of the test, from 0, those among several seats alone) not the usual one but
 * `seat`.
 */
struct deviation {
    uint32_t choice;
    uint32_t seat;
};

enum plan_kind { PLAN_RANDOM, PLAN_PCT, PLAN_GIVEN, PLAN_SPELLED };

/* How one schedule is chosen. */
struct plan {
    enum plan_kind kind;
    uint64_t seed;
    uint32_t depth;          /* PLAN_PCT */
    uint64_t steps_before;   /* who is held up, is so at one of the steps after ... */
    uint64_t steps_expected; /* ... so many; 0: not known, PLAN_RANDOM alone */
    const struct turn_point *const *sites; /* PLAN_RANDOM: the points that the test comes to */
    uint32_t site_count;
    const struct deviation *deviations; /* PLAN_GIVEN, in order */
    uint32_t deviation_count;
    const uint8_t *spelled; /* PLAN_SPELLED: a byte for each choice that is not the usual one */
    size_t spelled_count;
    uint64_t step_limit;
    uint32_t time_jumps; /* one step in so many; 0: never */
    bool fine;
    bool keep_choices; /* write choices to the log */
    bool light;        /* threads are light ones: fm__light_begin has been called */
};

/*
 * The calling thread takes the first seat, called "main". `failed` is called in the thread
 * whose turn it is when the schedule cannot go on (outcome is in the log); it must not return.
 * 0 · -EBUSY: it has begun already
 */
int fm__arbiter_begin(const struct plan *plan, struct arbiter_log *log, void (*failed)(void));
/* All other seats are free again. */
void fm__arbiter_end(void);

/* Whether the calling thread has a seat, and which. */
bool fm__arbiter_seated(void);
unsigned fm__arbiter_seat(void);
/* Whether it has, and its threads are light ones. */
bool fm__arbiter_light(void);
/* All threads run as they like from here on: what is left is to tell and to exit. */
void fm__arbiter_abandon(void);

/* The test itself begins, or is over: what comes before and after is not searched. */
void fm__arbiter_test_begins(void);
void fm__arbiter_test_ends(void);

/* The caller's point, and its turn: see point.h. `waiting`: let others go on first. */
void fm__arbiter_turn(const struct turn_point *point, bool waiting);
const struct turn_point *fm__arbiter_point(const char *what);

enum block_result { BLOCK_WOKEN, BLOCK_TIMEOUT, BLOCK_LOOK, BLOCK_LAST };
/* Wait until woken on this address, at most to deadline_ns (INT64_MAX: for ever). */
enum block_result fm__arbiter_block(const void *address, int64_t deadline_ns);
/*
 * Wait for what only the system can tell. BLOCK_LOOK: look again without waiting; BLOCK_LAST:
 * the same, and nobody else can run, so wait for the outside a moment: if there is nothing,
 * call again.
 */
enum block_result fm__arbiter_block_io(int64_t deadline_ns, bool was_last);
void fm__arbiter_wake(const void *address, int count);
/* The outside may have changed: who waits for it looks again. */
void fm__arbiter_look(void);

/* The next number of the schedule's own sequence; 0 for a thread without a seat. */
uint64_t fm__arbiter_random(void);
/* 0 for a thread without a seat. */
int64_t fm__arbiter_now_ns(void);

/*
 * The seat of a thread that is being made; NOBODY: none is left. Then: it is, or it could not
 * be.
 */
unsigned fm__arbiter_seat_take(void);
void fm__arbiter_seat_made(unsigned seat, pthread_t thread);
void fm__arbiter_seat_drop(unsigned seat);
/* In the new thread: sit down and wait for the first turn. At its very end: stand up. */
void fm__arbiter_sit(unsigned seat);
void fm__arbiter_stand(unsigned seat);
/* Wait for the end of a thread with a seat and free the seat; nothing for one without. */
void fm__arbiter_join(pthread_t thread);
void fm__arbiter_name(const char *name);

#endif
