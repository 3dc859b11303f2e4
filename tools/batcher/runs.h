/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runs.h - the attempts of a job, kept for the reports
 */
#ifndef BATCH_RUNS_H
#define BATCH_RUNS_H

#include "tools/batcher/job.h"

struct run {
    unsigned attempt;
    enum job_state state;
    char *why;
    struct ending ending;
};

/* The attempt that has just ended came to this. The job's own fiber. 0 · -ENOMEM */
int runs_add(struct job *job, enum job_state state);
void runs_free(struct job *job);
/* Since 1970, the start of the first and the end of the last; both 0: there is none. */
int64_t runs_begin_ns(const struct job *job);
int64_t runs_end_ns(const struct job *job);
/* From the one to the other; a service, which runs as long as others need it, takes nothing. */
int64_t runs_took_ns(const struct job *job);

#endif
