/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admit.c - may these jobs come to those that are there?
 *
 * Whether they make a ring is asked of a shadow: a plan of all jobs, those that have ended and
 * will not be run again without what they need, linked and thrown away.
 */
#include "tools/batcher/admit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/demand.h"

/* ---- keys that are held ---- */

enum verdict { ADDED, QUEUED, REPLACED, KEPT, VERDICTS };

static const char *const verdict_names[VERDICTS] = {
    [ADDED] = "added", [QUEUED] = "queued", [REPLACED] = "replaced", [KEPT] = "kept"
};

static int complain_of_holder(const struct job *job, const struct job *holder, const char *what,
                              struct complaint *complaint)
{
    char whence[64] = "of the file";
    if (holder->generation)
        snprintf(whence, sizeof whence, "of addition %u", holder->generation);
    return complain(complaint, "%zu:%zu: job \"%s\" %s, from %zu:%zu %s", job->line,
                    job->column, job->key, what, holder->line, holder->column, whence);
}

/* What becomes of a job whose key was there before. */
static int judge(const struct batch *batch, const struct job *job, enum verdict *ret_verdict,
                 struct complaint *complaint)
{
    const struct job *holder = plan_holder(&batch->plan, job->key);
    if (job->before || !holder || holder->state >= JOB_SUCCEEDED) {
        *ret_verdict = job->before ? QUEUED : ADDED;
        return 0;
    }
    switch (job->conflict) {
    case CONFLICT_ERROR: return complain_of_holder(job, holder, "is there already", complaint);
    case CONFLICT_REPLACE: *ret_verdict = REPLACED; return 0;
    case CONFLICT_KEEP: *ret_verdict = KEPT; return 0;
    case CONFLICT_JOIN: *ret_verdict = holder->cancelled ? QUEUED : KEPT; return 0;
    case CONFLICT_QUEUE: break;
    }
    if (holder->restart)
        return complain_of_holder(job, holder, "is queued behind a service, which ends last",
                                  complaint);
    *ret_verdict = QUEUED;
    return 0;
}

static void leave_out(struct plan *more, struct job *job)
{
    if (job->after)
        job->after->before = NULL;
    STAILQ_REMOVE(&more->jobs, job, job, in_plan);
    more->count--;
    job_destroy(job);
}

static int note(struct json_object *answer, enum verdict verdict, const char *key)
{
    struct json_object *keys;
    if (!json_object_object_get_ex(answer, verdict_names[verdict], &keys)) {
        keys = json_object_new_array();
        json_object_object_add(answer, verdict_names[verdict], keys);
    }
    struct json_object *text = json_object_new_string(key);
    return keys && text && json_object_array_add(keys, text) == 0 ? 0 : -ENOMEM;
}

static int judge_all(const struct batch *batch, struct plan *more, struct json_object *answer,
                     struct complaint *complaint)
{
    uint64_t number = batch->plan.count;
    struct job *job = STAILQ_FIRST(&more->jobs);
    while (job) {
        struct job *next = STAILQ_NEXT(job, in_plan);
        enum verdict verdict = ADDED;
        int r = judge(batch, job, &verdict, complaint);
        if (r == 0)
            r = note(answer, verdict, job->key);
        if (r < 0)
            return r;
        if (verdict == REPLACED)
            job->replaces = plan_holder(&batch->plan, job->key)->number;
        if (verdict == KEPT)
            leave_out(more, job);
        else
            job->number = ++number;
        job = next;
    }
    return 0;
}

/* ---- rings ---- */

static bool is_over(const struct job *job)
{
    switch (job->state) {
    case JOB_SUCCEEDED:
    case JOB_FAILED:
    case JOB_TIMED_OUT:
    case JOB_REPLACED: return true;
    default: return false; /* or it would run again, if the batch were resumed */
    }
}

static int shadow_add(struct plan *shadow, const struct job *job)
{
    struct job *copy = job_create(job->number);
    if (!copy)
        return -ENOMEM;
    copy->key = job->key; /* these two are borrowed */
    copy->needs = is_over(job) ? NULL : job->needs;
    copy->state = is_over(job) ? job->state : JOB_WAITING;
    copy->replaced = plan_superseded(job);
    copy->line = job->line;
    copy->column = job->column;
    shadow->generation = job->generation;
    int r = plan_add(shadow, copy);
    if (r < 0)
        free(copy);
    return r;
}

static void shadow_fini(struct plan *shadow)
{
    struct job *job;
    STAILQ_FOREACH(job, &shadow->jobs, in_plan) {
        job->key = NULL;
        job->needs = NULL;
    }
    plan_fini(shadow);
}

static int check_rings(const struct batch *batch, const struct plan *more,
                       struct complaint *complaint)
{
    struct plan shadow;
    const struct job *job;
    int r = 0;
    plan_init(&shadow);
    shadow.recorded = true;
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan) {
        if (r == 0)
            r = shadow_add(&shadow, job);
    }
    STAILQ_FOREACH(job, &more->jobs, in_plan) {
        if (r == 0)
            r = shadow_add(&shadow, job);
        struct job *old = job->replaces ? plan_find(&shadow, job->key) : NULL;
        while (old && old->number < job->replaces)
            old = old->after;
        if (old)
            old->state = JOB_REPLACED;
    }
    if (r == 0)
        r = plan_link(&shadow, complaint);
    shadow_fini(&shadow);
    return r;
}

/* ---- all ---- */

int admit_locked(struct batch *batch, struct plan *more, const char *name,
                 struct json_object *answer, struct complaint *complaint)
{
    struct complaint about;
    int r = judge_all(batch, more, answer, &about);
    if (r == 0)
        r = check_rings(batch, more, &about);
    if (r == 0)
        r = resources_bind(&batch->options.resources, more, &about);
    if (r == 0)
        r = rates_bind(&batch->options.rates, more, &about);
    if (r == 0)
        r = demand_check(&batch->options, &batch->plan, more, &about);
    return r == -EINVAL ? complain(complaint, "%s:%s", name, about.text) : r;
}
