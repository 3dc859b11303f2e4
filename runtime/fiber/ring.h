/*
 * ring.h - who waits for whom, and rings of those who wait for one another
 *
 * A lock whose holder is known has a holder word: the number of the holder (fm__holder_self)
 * << HOLDER_SHIFT, 0 if there is none, a number of 2^61 or more if there are several; below it
 * flags of the lock's own.
 */
#ifndef FM_RUNTIME_FIBER_RING_H
#define FM_RUNTIME_FIBER_RING_H

#include "runtime/fiber/fiber.h"

#define HOLDER_SHIFT 2

typedef _Atomic uint64_t holder_word;

/*
 * `self` (a fiber's descriptor, or a thread's: wait.who) begins to wait until the lock is given
 * up, or the fiber has ended. True: for ever, since that waits for `self`, by way of others or
 * at once. Asked between the begin and the end of the wait, with no lock held, and when whoever
 * gives up the lock can find the wait.
 */
bool fm__ring_enter_lock(struct fm_fiber *self, holder_word *word, int64_t deadline_ns);
bool fm__ring_enter_join(struct fm_fiber *self, struct fm_fiber *target, int64_t deadline_ns);
/*
 * `other`, the caller itself or one that stands as the caller has won its wake, has to have the
 * lock before it does anything else: it waits for that, also while it runs, until it leaves.
 */
void fm__ring_note_promise(struct fm_fiber *other, holder_word *word);
/* It does not wait any more. */
void fm__ring_leave(struct fm_fiber *self);
/*
 * A holder word is about to be freed; nobody waits for its lock. Waits until nobody looks at it
 * any more.
 */
void fm__ring_forget(void);

/*
 * The number of whoever holds the lock that `fiber` waits for; 0: none, or it waits for
 * something else. Old as soon as it is told. fm__ring_find: the descriptor of a number, NULL if
 * it has ended or is not known; it may end at any time.
 */
uint64_t fm__ring_holder(struct fm_fiber *fiber);
struct fm_fiber *fm__ring_find(uint64_t number);

#endif
