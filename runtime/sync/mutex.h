/*
 * mutex.h - what a condition needs of a mutex
 */
#ifndef FM_RUNTIME_SYNC_MUTEX_H
#define FM_RUNTIME_SYNC_MUTEX_H

#include <stdbool.h>
#include <stdint.h>

#include "fm/sync.h"

/* Who holds a mutex: the id of a fiber, or a number above all of these for a thread. */
uint64_t fm__mutex_self(void);
bool fm__mutex_held_by(struct fm_mutex *mutex, uint64_t who);
/* The caller holds it; allowed between the begin and the end of a wait. */
void fm__mutex_release(struct fm_mutex *mutex, uint64_t who);
/* Take it whatever it takes: masked, without a deadline. The caller does not hold it. */
void fm__mutex_retake(struct fm_mutex *mutex, uint64_t who);

#endif
