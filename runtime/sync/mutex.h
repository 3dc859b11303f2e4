/*
 * mutex.h - what a condition needs of a mutex
 */
#ifndef FM_RUNTIME_SYNC_MUTEX_H
#define FM_RUNTIME_SYNC_MUTEX_H

#include <stdbool.h>
#include <stdint.h>

#include "fm/sync.h"
#include "runtime/fiber/waitlist.h"

/* fm__holder_self(), the shorter way for a fiber. */
static inline uint64_t fm__mutex_caller(void)
{
    struct fm_fiber *self = fm__fiber_self();
    return self ? fm__fiber_id(self) : fm__holder_self();
}

/* `who` is fm__mutex_caller() of the one meant. */
bool fm__mutex_held_by(struct fm_mutex *mutex, uint64_t who);
/* The caller holds it, and is between the begin and the end of a wait. */
void fm__mutex_release(struct fm_mutex *mutex, uint64_t who);
/*
 * The caller holds it and has won the wake of that node's wait (WAKE_QUEUE): the waiter, `who`,
 * goes on when the mutex is given up, with node->item not NULL.
 */
void fm__mutex_promise(struct fm_mutex *mutex, struct wait_node *node, uint64_t who);
/*
 * Take it whatever it takes: masked, without a deadline. `node`
 * is that of a wait on a condition that has ended.
 */
void fm__mutex_retake(struct fm_mutex *mutex, struct wait_node *node, uint64_t who);

#endif
