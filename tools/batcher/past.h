/* SPDX-License-Identifier: Apache-2.0 */
/*
 * past.h - what a journal knows of the jobs of `each`: their arguments, and how far they came
 */
#ifndef BATCH_PAST_H
#define BATCH_PAST_H

#include "tools/batcher/job.h"

struct past_job {
    char *argument;       /* NULL: the journal has no such job */
    enum job_state state; /* an end, or JOB_WAITING */
    unsigned attempts;
};

struct past {
    struct past_job *jobs; /* by number; the first is unused */
    uint64_t size;         /* of jobs: so many places */
    uint64_t most;         /* the largest number */
    uint64_t known;        /* how many of 1 to most are there */
    bool complete;         /* all arguments were read once, and were `count` */
    uint64_t count;
};

/* A past job, whose argument is copied. 0 · -ENOMEM */
int past_put(struct past *past, uint64_t number, const char *argument, enum job_state state,
             unsigned attempts);
/* NULL where it has none with this number. */
const struct past_job *past_find(const struct past *past, uint64_t number);
/* Does it have all there were, so that nobody need read the arguments again? */
bool past_is_whole(const struct past *past);
void past_fini(struct past *past);

#endif
