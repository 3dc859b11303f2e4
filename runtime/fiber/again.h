/*
 * again.h - a fiber whose body runs more than once
 *
 * To everybody else it is one fiber: one id, one reference count, one exit. A room above (the
 * map) decides whether its body runs once more, from inside the fiber. This room ends one
 * running whole, children, finalizers, locals and all, before the next begins, and takes back
 * an interruption that is meant for one running and not for the fiber.
 */
#ifndef FM_RUNTIME_FIBER_AGAIN_H
#define FM_RUNTIME_FIBER_AGAIN_H

#include "runtime/fiber/fiber.h"

enum again {
    AGAIN_NO = 0,
    AGAIN_UNLESS_INTERRUPTED = 1, /* every interruption is final */
    AGAIN_UNLESS_OWNED = 2,       /* FM_BY_USER ends one running; all others are final */
};

/* Before the fiber is started or known to anybody. 0 · -ENOMEM */
int fm__again_init(struct fm_fiber *fiber, enum again again);
/* The same; what the room above wants to find again, as `kept`. */
void fm__again_keep(struct fm_fiber *fiber, void *kept);

/* NULL: nothing. Of a fiber that was shown to the caller after it was kept. */
void *fm__again_kept(struct fm_fiber *fiber);

/* ---- the fiber itself ---- */

/*
 * One running: entry(arg) in a scope of its own, with a note as fm__scoped has it. Its exit,
 * settled; the value is the caller's, who drops it if another running follows.
 */
struct fm_exit fm__again_run(struct fm_fiber *self, fm_entry_fn *entry, void *arg,
                             const void *note);
/* Whether one running has ended and no other has begun. Any fiber, any thread; soon old. */
bool fm__again_between(struct fm_fiber *fiber);
/* Take back an interruption that is not final. False: it is. */
bool fm__again_forgive(struct fm_fiber *self);
/* The same, and one running more is counted. False: none may follow. */
bool fm__again_next(struct fm_fiber *self);

typedef bool fm__again_ask_fn(struct fm_fiber *self);
/*
 * Wait between two runnings. What `goes_on` says may change to false at any time; who changes
 * it calls fm__again_hurry afterwards, and the wait ends.
 *
 * 0 the time has come · -ECANCELED interrupted · -EBADF it does not go on
 */
int fm__again_pause(struct fm_fiber *self, int64_t until_ns, fm__again_ask_fn *goes_on);

/* ---- anybody with a reference ---- */

/* How many runnings came after the first; 0 for every other fiber. */
uint64_t fm__again_count(struct fm_fiber *fiber);
/* End its wait between two runnings, if it is in one. */
void fm__again_hurry(struct fm_fiber *fiber);
/*
 * Interrupt one running of a fiber whose body may run again, whatever it is again for; or the
 * fiber. Unlike fm__fiber_interrupt neither waits for owners that are being told of its end.
 */
void fm__again_end_running(struct fm_fiber *fiber, enum fm_reason reason);
void fm__again_end(struct fm_fiber *fiber, enum fm_reason reason);

/* ---- for fiber.c and wait.c ---- */

/* It is interrupted before its first step: whether its body is to decide what follows. */
bool fm__again_outlives(struct fm_fiber *fiber);
/* fm__fiber_interrupt, where somebody is on record already or INTERRUPTER_ASK. */
int fm__again_interrupt(struct fm_fiber *fiber, uint64_t record);

#endif
