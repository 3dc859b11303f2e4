/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt.h - run a job's command once
 */
#ifndef BATCH_ATTEMPT_H
#define BATCH_ATTEMPT_H

#include "tools/batcher/batch.h"

/* The command line as a person would write it, for logs; to be freed, NULL: no memory. */
char *job_command(const struct job *job, unsigned slot);
/* "NAME=value" of its own and of BATCH_...; to be freed with strings_free(), NULL: no memory. */
char **job_environment(const struct job *job, unsigned slot);
/*
 * Run it from start to end, and keep what it says. An interruption of the calling fiber, or the
 * timeout, ends it: SIGTERM, and SIGKILL after the grace, its children too. A service is up while
 * it is ready, and ended where that takes too long.
 *
 * slot     of --jobs, which the caller holds.
 * output   written always, to be closed.
 *
 * job->ending is written. Fiber only.
 */
void attempt_run(struct batch *batch, struct job *job, unsigned slot, struct output *output);

#endif
