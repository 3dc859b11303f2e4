/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demand.c - which services are needed, and for how long
 */
#include "tools/batcher/demand.h"

#include <errno.h>
#include <stdlib.h>

#include "tools/batcher/conductor.h"
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
                            "%zu:%zu: job \"%s\" wants %lld of \"%s\", of which there is "
                            "%lld, and services may have taken %lld of that",
                            job->line, job->column, job->key, (long long)share->amount,
                            share->name, (long long)resource->total,
                            (long long)taken[share->resource]);
    }
    return 0;
}

static int check_service(const struct options *options, const struct job *job,
                         int64_t taken[RESOURCES_MAX], struct complaint *complaint)
{
    if (options->ungroup && job->readiness && job->readiness->kind == READY_LINE)
        return complain(complaint,
                        "%zu:%zu: service \"%s\" is ready by a line of its output, which with "
                        "--ungroup nobody reads",
                        job->line, job->column, job->key);
    int r = check_shares(options, job, taken, complaint);
    for (size_t i = 0; i < job->share_count; i++)
        taken[job->shares[i].resource] += job->shares[i].amount;
    return r;
}

int demand_check(const struct options *options, struct plan *plan, struct plan *more,
                 struct complaint *complaint)
{
    int64_t taken[RESOURCES_MAX] = { 0 };
    struct plan *const plans[] = { plan, more };
    size_t count = more ? 2 : 1;
    struct job *job;
    int r = 0;
    if (options->dry_run)
        forget_services(plans[count - 1]);
    for (size_t i = 0; i < count; i++)
        STAILQ_FOREACH(job, &plans[i]->jobs, in_plan) {
            if (job->restart && r == 0)
                r = check_service(options, job, taken, complaint);
        }
    for (size_t i = 0; i < count; i++)
        STAILQ_FOREACH(job, &plans[i]->jobs, in_plan) {
            if (!job->restart && r == 0)
                r = check_shares(options, job, taken, complaint);
        }
    return r;
}

void demand_add_locked(struct batch *batch, struct job *job)
{
    if (job->restart)
        TAILQ_INSERT_TAIL(&batch->all_services, job, in_services);
    else
        batch->plain_left++;
}

void demand_init(struct batch *batch)
{
    struct job *job;
    bool only_services = batch->plan.count;
    TAILQ_INIT(&batch->all_services);
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan) {
        demand_add_locked(batch, job);
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

/* One that nobody needs is stopped, or ends here if it was not started. */
static void dismiss_locked(struct batch *batch, struct job *job)
{
    job->dismissed = true;
    job->up = false; /* nobody who comes now may count on it */
    if (job->taken) {
        conductor_interrupt_locked(batch, job);
        return;
    }
    if (job->state == JOB_READY)
        TAILQ_REMOVE(&batch->ready, job, in_state);
    states_end(batch, job, JOB_STOPPED);
}

void demand_review(struct batch *batch)
{
    bool news = false;
    pthread_mutex_lock(&batch->lock);
    struct job *job = TAILQ_FIRST(&batch->all_services);
    while (job) {
        struct job *next = TAILQ_NEXT(job, in_services);
        if (job->state < JOB_SUCCEEDED && !job->dismissed && !is_needed_locked(batch, job)) {
            dismiss_locked(batch, job);
            if (!job->taken) { /* who it needs may not be needed either now */
                next = TAILQ_FIRST(&batch->all_services);
                news = true;
            }
        }
        job = next;
    }
    pthread_mutex_unlock(&batch->lock);
    if (news && batch->news)
        fm_semaphore_release(batch->news, 1);
}

/* Is it told of the other's ups and downs? One that took another's place may not know it. */
static bool is_told(struct job *needed, struct job *job)
{
    for (size_t i = 0; i < needed->dependent_count; i++)
        if (needed->dependents[i] == job)
            return true;
    return plan_join(needed, job) == 0;
}

/* One that it needs: is it to be waited for? */
static void await_again(void *ctx, struct job *needed)
{
    struct job *job = ctx;
    if (!needed->restart)
        return; /* it has succeeded before, or did not need to */
    if (needed->state == JOB_STOPPED)
        demand_revive_locked(job->batch, needed);
    needed->served = 0; /* this one has ended before, and goes on now */
    job->unmet += is_told(needed, job) && !needed->up && needed->state < JOB_SUCCEEDED;
}

void demand_revive_locked(struct batch *batch, struct job *job)
{
    batch->count[JOB_STOPPED]--;
    job->batch = batch;
    job->state = JOB_WAITING;
    job->taken = job->dismissed = job->up = false;
    job->served = job->unmet = 0;
    plan_needs(&batch->plan, job, await_again, job);
    if (!job->unmet)
        states_make_ready(batch, job);
}

void demand_stopped_locked(struct batch *batch, struct job *job)
{
    if (batch->halting == GO_ON && is_needed_locked(batch, job))
        demand_revive_locked(batch, job);
}

void demand_up(struct batch *batch, struct job *job)
{
    pthread_mutex_lock(&batch->lock);
    if (!job->dismissed && !job->cancelled && !job->replaced) {
        job->up = true;
        states_release(batch, job, true);
    }
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
