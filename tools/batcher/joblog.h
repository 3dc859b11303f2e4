/* SPDX-License-Identifier: Apache-2.0 */
/*
 * joblog.h - one line for each job that has ended, as GNU parallel writes it
 */
#ifndef BATCH_JOBLOG_H
#define BATCH_JOBLOG_H

#include "tools/batcher/job.h"

struct joblog;

/* Makes the file, or empties it; append: goes on in it. 0 · -errno of open(2) or write(2) */
int joblog_create(const char *path, bool append, struct joblog **ret_joblog);
/* NULL-safe, returns NULL. */
struct joblog *joblog_destroy(struct joblog *joblog);
/* Add a line, whole; command is what was run. Fiber only; 0 · -errno of write(2) */
int joblog_add(struct joblog *joblog, const struct job *job, const char *command);

#endif
