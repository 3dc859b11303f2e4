/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demand.c - which services are needed, and for how long
 */
#include "tools/batcher/demand.h"

#include <errno.h>
#include <stdlib.h>

#include "tools/batcher/service_spec.h"
#include "tools/batcher/states.h"

static void forget_services(struct plan *plan)
{
    struct job *job;
    STAILQ_FOREACH(job, &plan->jobs, in_plan) {
        free(job->restart);
        job->restart = NULL;
    }
}

static int check_shares(const struct options *options, const struct job *job,
                        const int64_t taken[RESOURCES_MAX], struct complaint *complaint)
{
    for (size_t i = 0; i < job->share_count; i++) {
        const struct share *share = &job->shares[i];
        const struct resource *resource = &options->resources.each[share->resource];
        if (resource->total - taken[share->resource] < share->amount)
            return complain(complaint,
                            "job \"%s\" wants %lld of \"%s\", of which there is %lld, "
                            "and services may have taken %lld of that",
                            job->key, (long long)share->amount, share->name,
                            (long long)resource->total, (long long)taken[share->resource]);
    }
    return 0;
}

int demand_check(const struct options *options, struct plan *plan, struct complaint *complaint)
{
    int64_t taken[RESOURCES_MAX] = { 0 };
    struct job *job;
    int r = 0;
    if (options->dry_run)
        forget_services(plan);
    STAILQ_FOREACH(job, &plan->jobs, in_plan) {
        if (!job->restart)
            continue;
        if (options->ungroup && job->readiness && job->readiness->kind == READY_LINE)
            return complain(complaint,
                            "service \"%s\" is ready by a line of its output, which with "
                            "--ungroup nobody reads",
                            job->key);
        r = check_shares(options, job, taken, complaint);
        for (size_t i = 0; i < job->share_count; i++)
            taken[job->shares[i].resource] += job->shares[i].amount;
        if (r < 0)
            return r;
    }
    STAILQ_FOREACH(job, &plan->jobs, in_plan) {
        if (!job->restart && (r = check_shares(options, job, taken, complaint)) < 0)
            return r;
    }
    return 0;
}

void demand_init(struct batch *batch)
{
    struct job *job;
    bool only_services = batch->plan.count;
    TAILQ_INIT(&batch->all_services);
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan) {
        if (job->restart)
            TAILQ_INSERT_TAIL(&batch->all_services, job, in_services);
        else
            batch->plain_left++;
        if (!job->restart && !job->generation)
            only_services = false;
    }
    batch->endless = only_services;
}

/* Will somebody who needs it go on, or start? Who has ended never does again. */
static bool is_needed_locked(struct batch *batch, struct job *service)
{
    bool halting = batch->halting != GO_ON;
    for (; service->served < service->dependent_count; service->served++) {
        const struct job *job = service->dependents[service->served];
        if (job->state < JOB_SUCCEEDED && (!halting || job->taken))
            return true;
    }
    if (service->dependent_count)
        return false;
    return halting ? batch->plain_under_way : batch->plain_left || batch->endless;
}

/* One that runs and is not needed any more; those that were not started end here. */
static struct job *dismiss_locked(struct batch *batch, bool *ret_news)
{
    struct job *job = TAILQ_FIRST(&batch->all_services);
    while (job) {
        struct job *next = TAILQ_NEXT(job, in_services);
        if (job->state < JOB_SUCCEEDED && !job->dismissed && !is_needed_locked(batch, job)) {
            job->dismissed = true;
            if (job->taken)
                return job;
            if (job->state == JOB_READY)
                TAILQ_REMOVE(&batch->ready, job, in_state);
            states_end(batch, job, JOB_STOPPED);
            *ret_news = true;
            next = TAILQ_FIRST(&batch->all_services); /* who it needs may not be needed now */
        }
        job = next;
    }
    return NULL;
}

void demand_review(struct batch *batch)
{
    struct job *job;
    bool news = false;
    do {
        pthread_mutex_lock(&batch->lock);
        job = dismiss_locked(batch, &news);
        pthread_mutex_unlock(&batch->lock);
        if (job) /* if it is not there yet it will see */
            fm_map_interrupt(batch->services, fm_key_str(job->key));
    } while (job);
    if (news && batch->news)
        fm_semaphore_release(batch->news, 1);
}

void demand_up(struct batch *batch, struct job *job)
{
    pthread_mutex_lock(&batch->lock);
    job->up = true;
    states_release(batch, job, true);
    bool news = !TAILQ_EMPTY(&batch->ready);
    pthread_mutex_unlock(&batch->lock);
    if (news)
        fm_semaphore_release(batch->news, 1);
}

void demand_down(struct batch *batch, struct job *job)
{
    pthread_mutex_lock(&batch->lock);
    if (job->up)
        states_hold(batch, job);
    job->up = false;
    pthread_mutex_unlock(&batch->lock);
}

bool demand_is_up(struct batch *batch, const struct job *job)
{
    pthread_mutex_lock(&batch->lock);
    bool up = job->up;
    pthread_mutex_unlock(&batch->lock);
    return up;
}
