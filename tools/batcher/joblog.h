/* SPDX-License-Identifier: Apache-2.0 */
/*
 * joblog.h - one line for each job that has ended, as GNU parallel writes it
 */
#ifndef BATCH_JOBLOG_H
#define BATCH_JOBLOG_H

#include "tools/batcher/job.h"
#include "tools/batcher/lines.h"

/* The first line of the file. */
extern const char joblog_head[];
/* Add a job's; command is what was run. Fiber only; 0 · -ENOMEM · -errno of write(2) */
int joblog_add(struct lines *joblog, const struct job *job, const char *command);

#endif
