/* SPDX-License-Identifier: Apache-2.0 */
/*
 * account.h - what is written down of a job: the journal, the events, the job log, our error
 *
 * What cannot be written stops all. Fibers only; each call waits until it is written.
 */
#ifndef BATCH_ACCOUNT_H
#define BATCH_ACCOUNT_H

#include "tools/batcher/batch.h"

/* An attempt is about to begin, in this slot; job->attempts are those before it. 0 · -EIO */
int account_start(struct batch *batch, const struct job *job, unsigned slot);
/*
 * An attempt has ended, job->ending says how.
 *
 * delay_ns  until the next one; FM_NEVER: there is none, ACCOUNT_AGAIN: there may be one, whenever.
 *
 * state     how; JOB_CANCELLED on failure: what is not written down has not happened, and is run
 *           again when the batch is resumed.
 *
 * Returns 0 · as journal_write()
 */
#define ACCOUNT_AGAIN (-1)
int account_end(struct batch *batch, struct job *job, enum job_state *state, int64_t delay_ns);
/* Into the journal alone: the attempt that account_end was told of with ACCOUNT_AGAIN was the last. */
void account_last(struct batch *batch, const struct job *job, enum job_state state);
/* Into the journal: these were all arguments of `each`. 0 · -EIO */
int account_complete(struct batch *batch, uint64_t count);
/* The job has come to this state: said as the options want it, and a line of the job log. */
void account_over(struct batch *batch, struct job *job, enum job_state state);

#endif
