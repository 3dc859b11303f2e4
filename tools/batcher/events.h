/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - what happens, as objects of JSON, one a line; docs/batch.md lists them
 *
 * Fibers only. Each waits until its line is written: 0 · -ENOMEM · -errno of write(2)
 */
#ifndef BATCH_EVENTS_H
#define BATCH_EVENTS_H

#include "tools/batcher/job.h"
#include "tools/batcher/lines.h"

struct batch;

/* An attempt begins; job->attempts are those before it. */
int events_start(struct lines *events, const struct job *job, unsigned slot);
/* It has ended; delay_ns: the next one begins then, FM_NEVER: there is none. */
int events_end(struct lines *events, const struct job *job, enum job_state state,
               int64_t delay_ns);
/* A service is ready, so long after its process started. */
int events_ready(struct lines *events, const struct job *job, int64_t took_ns);
/* A job that will not start: skipped, or cancelled before. */
int events_left_out(struct lines *events, const struct job *job, enum job_state state);
/* All is over; how many jobs came to what. */
int events_over(struct lines *events, const struct batch *batch, int exit_code);

#endif
