/* SPDX-License-Identifier: Apache-2.0 */
/*
 * summary.c - what the reports say of the whole: who was slow, and what all had to wait for
 *
 * The critical path: jobs are taken up after all that they need, and each has as its way the
 * longest way of those and its own time. The longest of all is the path.
 */
#include "tools/batcher/summary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *summary_name(const struct job *job, char *text, size_t size)
{
    if (job->argument)
        snprintf(text, size, "%s (%s)", job->key, job->argument);
    else
        snprintf(text, size, "%s", job->key);
    return text;
}

static void rank(struct summary *summary, const struct job *job)
{
    size_t at = summary->slowest_count;
    int64_t took_ns = runs_took_ns(job);
    while (at && runs_took_ns(summary->slowest[at - 1]) < took_ns)
        at--;
    if (at == SLOWEST_MAX)
        return;
    if (summary->slowest_count < SLOWEST_MAX)
        summary->slowest_count++;
    memmove(&summary->slowest[at + 1], &summary->slowest[at],
            (summary->slowest_count - at - 1) * sizeof summary->slowest[0]);
    summary->slowest[at] = job;
}

static void add(struct summary *summary, const struct job *job)
{
    if (!job->run_count)
        return;
    if (!summary->begin_ns || runs_begin_ns(job) < summary->begin_ns)
        summary->begin_ns = runs_begin_ns(job);
    rank(summary, job);
    summary->attempts += job->run_count;
    for (size_t i = 0; i < job->run_count; i++) {
        const struct fm_process_status *status = &job->runs[i].ending.status;
        summary->user_ns += status->user_ns;
        summary->system_ns += status->system_ns;
        if (status->max_rss_bytes > summary->max_rss_bytes)
            summary->max_rss_bytes = status->max_rss_bytes;
    }
}

/* ---- the critical path ---- */

struct way {
    const struct job *before;
    int64_t ns;
    size_t unmet;
};

/* All jobs, each behind those that it needs; ways has room for the largest number. */
static size_t sort(const struct plan *plan, struct way *ways, const struct job **jobs)
{
    size_t found = 0;
    const struct job *job;
    STAILQ_FOREACH(job, &plan->jobs, in_plan)
        for (size_t i = 0; i < job->dependent_count; i++)
            ways[job->dependents[i]->number].unmet++;
    STAILQ_FOREACH(job, &plan->jobs, in_plan)
        if (!ways[job->number].unmet)
            jobs[found++] = job;
    for (size_t taken = 0; taken < found; taken++)
        for (size_t i = 0; i < jobs[taken]->dependent_count; i++)
            if (--ways[jobs[taken]->dependents[i]->number].unmet == 0)
                jobs[found++] = jobs[taken]->dependents[i];
    return found;
}

static const struct job *longest(const struct job **jobs, size_t count, struct way *ways)
{
    const struct job *last = NULL;
    for (size_t i = 0; i < count; i++) {
        struct way *way = &ways[jobs[i]->number];
        way->ns += runs_took_ns(jobs[i]);
        if (jobs[i]->run_count && (!last || way->ns > ways[last->number].ns))
            last = jobs[i];
        for (size_t n = 0; n < jobs[i]->dependent_count; n++) {
            struct way *next = &ways[jobs[i]->dependents[n]->number];
            if (!next->before || way->ns > next->ns) {
                next->before = jobs[i];
                next->ns = way->ns;
            }
        }
    }
    return last;
}

static int find_path(struct summary *summary)
{
    const struct plan *plan = &summary->batch->plan;
    size_t count = 0, most = 0;
    const struct job *job;
    STAILQ_FOREACH(job, &plan->jobs, in_plan) {
        count++;
        most = job->number > most ? job->number : most;
    }
    struct way *ways = calloc(most + 1, sizeof *ways);
    const struct job **jobs = calloc(count + 1, sizeof *jobs);
    if (!ways || !jobs) {
        free(ways);
        free(jobs);
        return -ENOMEM;
    }
    const struct job *last = longest(jobs, sort(plan, ways, jobs), ways);
    size_t length = 0;
    for (job = last; job; job = ways[job->number].before)
        length++;
    summary->path = jobs; /* has room for it */
    summary->path_count = length;
    summary->path_ns = last ? ways[last->number].ns : 0;
    for (job = last; job; job = ways[job->number].before)
        jobs[--length] = job;
    free(ways);
    return 0;
}

int summary_init(struct summary *summary, const struct batch *batch, int64_t elapsed_ns,
                 int exit_code)
{
    const struct job *job;
    *summary = (struct summary) { .batch = batch,
                                  .exit_code = exit_code,
                                  .elapsed_ns = elapsed_ns };
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan)
        add(summary, job);
    return find_path(summary);
}

void summary_fini(struct summary *summary)
{
    free(summary->path);
}
