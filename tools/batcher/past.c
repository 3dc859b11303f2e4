/* SPDX-License-Identifier: Apache-2.0 */
/*
 * past.c - what a journal knows of the jobs of `each`: their arguments, and how far they came
 *
 * Jobs are written down as they start, several at once, so a number may be missing before the
 * largest.
 */
#include "tools/batcher/past.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int past_put(struct past *past, uint64_t number, const char *argument, enum job_state state,
             unsigned attempts)
{
    if (number >= past->size) {
        uint64_t size = 2 * number + 64;
        struct past_job *more = reallocarray(past->jobs, size, sizeof *more);
        if (!more)
            return -ENOMEM;
        memset(more + past->size, 0, (size - past->size) * sizeof *more);
        past->jobs = more;
        past->size = size;
    }
    struct past_job *job = &past->jobs[number];
    char *copy = strdup(argument);
    if (!copy)
        return -ENOMEM;
    past->most = number > past->most ? number : past->most;
    past->known += !job->argument;
    free(job->argument);
    *job = (struct past_job) { copy, state, attempts };
    return 0;
}

const struct past_job *past_find(const struct past *past, uint64_t number)
{
    return number && number <= past->most && past->jobs[number].argument ? &past->jobs[number]
                                                                         : NULL;
}

bool past_is_whole(const struct past *past)
{
    return past->complete && past->known == past->count;
}

void past_fini(struct past *past)
{
    for (uint64_t i = 1; i <= past->most; i++)
        free(past->jobs[i].argument);
    free(past->jobs);
    *past = (struct past) { 0 };
}
