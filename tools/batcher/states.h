/* SPDX-License-Identifier: Apache-2.0 */
/*
 * states.h - what the end of one job makes of the others
 *
 * All under the batch's lock; nothing here waits.
 */
#ifndef BATCH_STATES_H
#define BATCH_STATES_H

#include "tools/batcher/batch.h"

/* It comes last; a service before all others, which wait for slots. */
void states_make_ready(struct batch *batch, struct job *job);
/* It is in this state, which is an end, and counted. */
void states_end(struct batch *batch, struct job *job, enum job_state state);
/* What its failure is to the others. */
enum failure_policy states_policy(const struct batch *batch, const struct job *job);
/*
 * It has ended: those that need it come nearer to their start (go_on), or are skipped with all
 * that need them, to be told of. While all is halting neither happens.
 */
void states_release(struct batch *batch, struct job *job, bool go_on);
/*
 * A job has come while others are under way, and is linked: it is ready, or skipped, as those
 * that it needs have ended; services among them that were stopped come back.
 */
void states_begin(struct batch *batch, struct job *job);
/* A service is not up any more: those that need it and were not started wait for it again. */
void states_hold(struct batch *batch, struct job *job);
/* It has not been started and will not be; told of as those that are skipped. */
void states_cancel(struct batch *batch, struct job *job);

#endif
