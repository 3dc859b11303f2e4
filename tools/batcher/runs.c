/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runs.c - the attempts of a job, kept for the reports
 */
#include "tools/batcher/runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int runs_add(struct job *job, enum job_state state)
{
    size_t n = job->run_count;
    if ((n & (n - 1)) == 0) { /* full: sizes are the powers of two */
        struct run *more = reallocarray(job->runs, n ? 2 * n : 1, sizeof *more);
        if (!more)
            return -ENOMEM;
        job->runs = more;
    }
    char why[256];
    job_describe_end(job, why, sizeof why);
    char *copy = strdup(why);
    if (!copy)
        return -ENOMEM;
    job->runs[job->run_count++] = (struct run) { job->attempts, state, copy, job->ending };
    return 0;
}

void runs_free(struct job *job)
{
    for (size_t i = 0; i < job->run_count; i++)
        free(job->runs[i].why);
    free(job->runs);
    job->runs = NULL;
    job->run_count = 0;
}

int64_t runs_begin_ns(const struct job *job)
{
    return job->run_count ? job->runs[0].ending.started_at_ns : 0;
}

int64_t runs_end_ns(const struct job *job)
{
    if (!job->run_count)
        return 0;
    const struct ending *last = &job->runs[job->run_count - 1].ending;
    return last->started_at_ns + last->run_ns;
}

int64_t runs_took_ns(const struct job *job)
{
    if (job->restart)
        return 0;
    int64_t took_ns = runs_end_ns(job) - runs_begin_ns(job);
    return took_ns > 0 ? took_ns : 0; /* somebody may have set the clock */
}
