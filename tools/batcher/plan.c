/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.c - the jobs of a batch by key, and who needs whom
 *
 * Knows not   running: this is all done before, in one thread.
 */
#include "tools/batcher/plan.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *left, const void *right)
{
    return strcmp(((const struct job *)left)->key, ((const struct job *)right)->key);
}

void plan_init(struct plan *plan)
{
    STAILQ_INIT(&plan->jobs);
    plan->count = 0;
    plan->by_key = NULL;
}

static void keep(void *job)
{
    (void)job;
}

void plan_fini(struct plan *plan)
{
    tdestroy(plan->by_key, keep);
    struct job *job;
    while ((job = STAILQ_FIRST(&plan->jobs))) {
        STAILQ_REMOVE_HEAD(&plan->jobs, in_plan);
        job_destroy(job);
    }
    plan_init(plan);
}

int plan_add(struct plan *plan, struct job *job)
{
    struct job **node = tsearch(job, &plan->by_key, compare);
    if (!node)
        return -ENOMEM;
    if (*node != job)
        return -EEXIST;
    STAILQ_INSERT_TAIL(&plan->jobs, job, in_plan);
    plan->count++;
    return 0;
}

struct job *plan_find(const struct plan *plan, const char *key)
{
    struct job wanted = { .key = (char *)key };
    struct job **node = tfind(&wanted, &plan->by_key, compare);
    return node ? *node : NULL;
}

/* ---- who needs whom ---- */

static int dependent_add(struct job *needed, struct job *job)
{
    size_t n = needed->dependent_count;
    if ((n & (n - 1)) == 0) { /* full: sizes are the powers of two */
        struct job **more = reallocarray(needed->dependents, n ? 2 * n : 1, sizeof *more);
        if (!more)
            return -ENOMEM;
        needed->dependents = more;
    }
    needed->dependents[needed->dependent_count++] = job;
    job->unmet++;
    return 0;
}

static int needs_link(struct plan *plan, struct job *job, struct complaint *complaint)
{
    for (size_t i = 0; job->needs && job->needs[i]; i++) {
        struct job *needed = plan_find(plan, job->needs[i]);
        if (!needed)
            return complain(complaint, "job \"%s\" needs \"%s\", which there is not", job->key,
                            job->needs[i]);
        int r = dependent_add(needed, job);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What stands in a ring needs one that stands in it: follow that until somebody comes again. */
static int complain_of_ring(const struct plan *plan, struct job *job, const size_t *unmet,
                            struct complaint *complaint)
{
    for (size_t steps = 0; steps < plan->count; steps++)
        for (size_t i = 0; job->needs[i]; i++) {
            struct job *needed = plan_find(plan, job->needs[i]);
            if (unmet[needed->number - 1]) {
                job = needed;
                break;
            }
        }
    const struct job *first = job;
    char text[768];
    size_t len = 0;
    do {
        len += (size_t)snprintf(text + len, sizeof text - len, "\"%s\" needs ", job->key);
        for (size_t i = 0; job->needs[i]; i++) {
            struct job *needed = plan_find(plan, job->needs[i]);
            if (unmet[needed->number - 1]) {
                job = needed;
                break;
            }
        }
    } while (job != first && len < sizeof text - 1);
    return complain(complaint, "these jobs wait for each other: %s\"%s\"", text, first->key);
}

/*
 * Take away whoever needs nobody, again and again: what remains stands in a ring, or needs one
 * that does. Jobs have the numbers 1 to count.
 */
static int rings_find(const struct plan *plan, struct complaint *complaint)
{
    size_t *unmet = calloc(plan->count + 1, sizeof *unmet);
    struct job **free_ones = calloc(plan->count + 1, sizeof *free_ones);
    int r = unmet && free_ones ? 0 : -ENOMEM;
    size_t taken = 0, found = 0;
    struct job *job;
    if (r == 0) {
        STAILQ_FOREACH(job, &plan->jobs, in_plan) {
            unmet[job->number - 1] = job->unmet;
            if (!job->unmet)
                free_ones[found++] = job;
        }
        while (taken < found) {
            job = free_ones[taken++];
            for (size_t i = 0; i < job->dependent_count; i++)
                if (--unmet[job->dependents[i]->number - 1] == 0)
                    free_ones[found++] = job->dependents[i];
        }
        STAILQ_FOREACH(job, &plan->jobs, in_plan) {
            if (unmet[job->number - 1]) {
                r = complain_of_ring(plan, job, unmet, complaint);
                break;
            }
        }
    }
    free(free_ones);
    free(unmet);
    return r;
}

int plan_link(struct plan *plan, struct complaint *complaint)
{
    struct job *job;
    STAILQ_FOREACH(job, &plan->jobs, in_plan) {
        int r = needs_link(plan, job, complaint);
        if (r < 0)
            return r;
    }
    return rings_find(plan, complaint);
}
