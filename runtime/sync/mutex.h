/*
 * mutex.h - what a condition needs of a mutex
 */
#ifndef FM_RUNTIME_SYNC_MUTEX_H
#define FM_RUNTIME_SYNC_MUTEX_H

#include <stdbool.h>
#include <stdint.h>

#include "fm/sync.h"
#include "runtime/fiber/waitlist.h"

/* `who` is fm__holder_self() of the one meant. */
bool fm__mutex_held_by(struct fm_mutex *mutex, uint64_t who);
/* The caller holds it; allowed between the begin and the end of a wait. */
void fm__mutex_release(struct fm_mutex *mutex, uint64_t who);
/*
 * The caller holds it and has won the wake of that node's wait (WAKE_QUEUE): the waiter, `who`,
 * gets the mutex in its turn and goes on only then, with node->item not NULL.
 */
void fm__mutex_promise(struct fm_mutex *mutex, struct wait_node *node, uint64_t who);
/* The other end of that: the mutex has been handed to the caller. */
void fm__mutex_receive(struct fm_mutex *mutex, struct wait_node *node, uint64_t who);
/* Take it whatever it takes: masked, without a deadline. The caller does not hold it. */
void fm__mutex_retake(struct fm_mutex *mutex, uint64_t who);

#endif
