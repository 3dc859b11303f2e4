/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.c - the jobs of a batch by key, and who needs whom
 *
 * Knows not   running: this is all done before, in one thread.
 */
#include "tools/batcher/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void plan_init(struct plan *plan)
{
    STAILQ_INIT(&plan->jobs);
    plan->count = 0;
    plan->by_key = (struct keys) { 0 };
    plan->generation = 0;
    plan->recorded = false;
    plan->forgetful = false;
}

void plan_fini(struct plan *plan)
{
    keys_fini(&plan->by_key);
    struct job *job;
    while ((job = STAILQ_FIRST(&plan->jobs))) {
        STAILQ_REMOVE_HEAD(&plan->jobs, in_plan);
        job_destroy(job);
    }
    plan_init(plan);
}

/* In the place of `old`, which is freed; no job is linked yet. */
static void take_place(struct plan *plan, struct job **node, struct job *job)
{
    struct job *old = *node;
    job->number = old->number;
    job->after = old->after;
    if (job->after)
        job->after->before = job;
    STAILQ_INSERT_AFTER(&plan->jobs, old, job, in_plan);
    STAILQ_REMOVE(&plan->jobs, old, job, in_plan);
    *node = job;
    job_destroy(old);
}

static void append(struct plan *plan, struct job *job)
{
    STAILQ_INSERT_TAIL(&plan->jobs, job, in_plan);
    plan->count++;
}

/* Its key is taken by who is first. */
static int add_again(struct plan *plan, struct job **node, struct job *job)
{
    struct job *last = *node;
    while (last->after)
        last = last->after;
    switch (plan->recorded ? CONFLICT_QUEUE : job->conflict) { /* what is recorded was let in */
    case CONFLICT_ERROR: return -EEXIST;
    case CONFLICT_KEEP:
    case CONFLICT_JOIN: return PLAN_KEPT;
    case CONFLICT_REPLACE: take_place(plan, node, job); return 0;
    case CONFLICT_QUEUE: break;
    }
    if (last->restart && !plan->recorded)
        return -EBUSY;
    last->after = job;
    job->before = last;
    append(plan, job);
    return 0;
}

static void chain(struct plan *plan, struct job *job)
{
    struct job *last = plan_find(plan, job->key);
    job->before = job->after = NULL;
    if (last == job)
        return;
    while (last->after)
        last = last->after;
    last->after = job;
    job->before = last;
}

int plan_absorb(struct plan *plan, struct plan *more)
{
    struct job *job, *undo;
    STAILQ_FOREACH(job, &more->jobs, in_plan) {
        if (keys_add(&plan->by_key, job))
            continue;
        STAILQ_FOREACH(undo, &more->jobs, in_plan) {
            if (plan_find(plan, undo->key) == undo)
                keys_remove(&plan->by_key, undo);
        }
        return -ENOMEM;
    }
    STAILQ_FOREACH(job, &more->jobs, in_plan) {
        chain(plan, job);
    }
    plan->count += more->count;
    plan->generation = more->generation;
    STAILQ_CONCAT(&plan->jobs, &more->jobs);
    more->count = 0;
    return 0;
}

int plan_add(struct plan *plan, struct job *job)
{
    struct job **node = keys_add(&plan->by_key, job);
    if (!node)
        return -ENOMEM;
    job->generation = plan->generation;
    if (*node != job)
        return add_again(plan, node, job);
    append(plan, job);
    return 0;
}

struct job *plan_find(const struct plan *plan, const char *key)
{
    return keys_find(&plan->by_key, key);
}

struct job *plan_holder(const struct plan *plan, const char *key)
{
    struct job *job = plan_find(plan, key);
    while (job && job->state >= JOB_SUCCEEDED && job->after)
        job = job->after;
    return job;
}

/* ---- who needs whom ---- */

int plan_join(struct job *needed, struct job *job)
{
    size_t n = needed->dependent_count;
    if ((n & (n - 1)) == 0) { /* full: sizes are the powers of two */
        struct job **more = reallocarray(needed->dependents, n ? 2 * n : 1, sizeof *more);
        if (!more)
            return -ENOMEM;
        needed->dependents = more;
    }
    needed->dependents[needed->dependent_count++] = job;
    return 0;
}

bool plan_superseded(const struct job *job)
{
    return job->after && (job->replaced || job->state == JOB_REPLACED ||
                          job->state == JOB_STOPPED);
}

/* Is `needed`, one with the key, whom this job means? */
static bool is_meant(const struct job *needed, const struct job *job)
{
    if (plan_superseded(needed))
        return false;
    if (needed->generation > job->generation) { /* later than the job: in place of another */
        const struct job *before = needed->before;
        while (before && plan_superseded(before) && before->generation > job->generation)
            before = before->before;
        return before && plan_superseded(before);
    }
    if (needed->state < JOB_SUCCEEDED)
        return true;
    for (const struct job *later = needed->after; later; later = later->after)
        if (later->generation > needed->generation && later->generation <= job->generation)
            return false;
    return true;
}

int plan_link_one(struct plan *plan, struct job *job, struct complaint *complaint)
{
    for (size_t i = 0; job->needs && job->needs[i]; i++) {
        struct job *needed = plan_find(plan, job->needs[i]);
        if (!needed)
            return complain(complaint, "%zu:%zu: job \"%s\" needs \"%s\", which there is not",
                            job->line, job->column, job->key, job->needs[i]);
        for (; needed; needed = needed->after) {
            int r = is_meant(needed, job) ? plan_join(needed, job) : 1;
            if (r < 0)
                return r;
            job->unmet += r == 0;
        }
    }
    if (job->before)
        job->unmet++;
    return 0;
}

void plan_needs(const struct plan *plan, const struct job *job, plan_need_fn *fn, void *ctx)
{
    for (size_t i = 0; job->needs && job->needs[i]; i++)
        for (struct job *needed = plan_find(plan, job->needs[i]); needed;
             needed = needed->after)
            if (is_meant(needed, job))
                fn(ctx, needed);
}

/* One of those that it waits for and that wait as well; NULL: there is none. */
static struct job *waits_for(const struct plan *plan, const struct job *job,
                             const size_t *unmet)
{
    for (size_t i = 0; job->needs && job->needs[i]; i++)
        for (struct job *needed = plan_find(plan, job->needs[i]); needed;
             needed = needed->after)
            if (unmet[needed->number - 1] && is_meant(needed, job))
                return needed;
    return job->before && unmet[job->before->number - 1] ? job->before : NULL;
}

/* What stands in a ring needs one that stands in it: follow that until somebody comes again. */
static int complain_of_ring(const struct plan *plan, struct job *job, const size_t *unmet,
                            struct complaint *complaint)
{
    for (size_t steps = 0; steps < plan->count; steps++)
        job = waits_for(plan, job, unmet);
    const struct job *first = job;
    char text[768];
    size_t len = 0;
    do {
        len += (size_t)snprintf(text + len, sizeof text - len, "\"%s\" needs ", job->key);
        job = waits_for(plan, job, unmet);
    } while (job != first && len < sizeof text - 1);
    return complain(complaint, "%zu:%zu: these jobs wait for each other: %s\"%s\"", first->line,
                    first->column, text, first->key);
}

/* One that it waited for has been taken away: does it wait for nobody now? */
static bool is_free_now(const struct job *job, size_t *unmet)
{
    return job && job->state < JOB_SUCCEEDED && --unmet[job->number - 1] == 0;
}

/*
 * Take away whoever has ended or needs nobody, again and again: what remains stands in a ring,
 * or needs one that does. Jobs have the numbers 1 to count.
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
            unmet[job->number - 1] = job->state < JOB_SUCCEEDED ? job->unmet : 0;
            if (!unmet[job->number - 1])
                free_ones[found++] = job;
        }
        while (taken < found) {
            job = free_ones[taken++];
            for (size_t i = 0; i < job->dependent_count; i++)
                if (is_free_now(job->dependents[i], unmet))
                    free_ones[found++] = job->dependents[i];
            if (is_free_now(job->after, unmet))
                free_ones[found++] = job->after;
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
        int r = plan_link_one(plan, job, complaint);
        if (r < 0)
            return r;
    }
    return rings_find(plan, complaint);
}
