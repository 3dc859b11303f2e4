/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conductor.c - what starts when, and when all is over
 *
 *   WAITING --- all that it needs has ended well ---> READY --- a slot, a place ---> its fiber
 *      '------- something has not ------------------> SKIPPED                          |
 *                                                                                      v
 *                                                  how it ended: conductor_ended()  <--'
 *
 * One fiber, the conductor, starts jobs in the order in which they became ready, each with the
 * slot that it has taken for it; it waits for a place in the map (max_live), for a slot or the
 * next argument of `each`, or for news. Those that end tell it by a permit of the semaphore
 * `news`, and make those ready that needed them.
 *
 * A service takes no slot. Those that need it start when it is up, see demand.h, which also
 * says when it is stopped.
 *
 * To halt is to interrupt the conductor, and for HALT_NOW all members of the map. A job that is
 * started nevertheless, because the conductor was just about to, sees it at its first step.
 */
#include "tools/batcher/conductor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/batcher/account.h"
#include "tools/batcher/demand.h"
#include "tools/batcher/each.h"
#include "tools/batcher/events.h"
#include "tools/batcher/service.h"
#include "tools/batcher/slots.h"
#include "tools/batcher/states.h"
#include "tools/batcher/work.h"

/* ---- ends ---- */

/* What the end of this job makes of the whole. */
static enum halting verdict_locked(struct batch *batch, const struct job *job, bool failed)
{
    uint64_t all = batch->all_known ? batch->all : each_count(batch->each);
    uint64_t all_failed = batch->count[JOB_FAILED] + batch->count[JOB_TIMED_OUT];
    const struct halt *halt = &batch->options.halt;
    enum halting how = halt_reached(halt, all_failed, batch->count[JOB_SUCCEEDED], all);
    if (how != GO_ON && batch->halting == GO_ON)
        batch->halt_code = halt_code(halt, ending_code(&job->ending), all_failed, all);
    return failed && states_policy(batch, job) == FAILURE_STOP ? HALT_NOW : how;
}

/* A job of `each` has ended, or will not be run: the reports want to know of it. */
static void let_go_locked(struct batch *batch, struct job *job)
{
    if (batch->reports)
        STAILQ_INSERT_TAIL(&batch->plan.jobs, job, in_plan);
    else
        job_destroy(job);
}

void conductor_ended(struct batch *batch, struct job *job, enum job_state state)
{
    bool failed = state == JOB_FAILED || state == JOB_TIMED_OUT;
    pthread_mutex_lock(&batch->lock);
    if (job->replaced)
        state = JOB_REPLACED; /* however it ended: who needs it needs the other one */
    states_end(batch, job, state);
    if (state == JOB_STOPPED)
        demand_stopped_locked(batch, job);
    if (state != JOB_STOPPED && state != JOB_REPLACED)
        states_release(batch, job,
                       state == JOB_SUCCEEDED ||
                           (failed && states_policy(batch, job) == FAILURE_CONTINUE));
    enum halting how = verdict_locked(batch, job, failed);
    batch->under_way--;
    batch->plain_under_way -= !job->restart;
    resources_give(&batch->options.resources, job);
    bool news = !TAILQ_EMPTY(&batch->ready) || !TAILQ_EMPTY(&batch->skipped) ||
                !batch->under_way;
    if (batch->each)
        let_go_locked(batch, job);
    pthread_mutex_unlock(&batch->lock);
    if (how != GO_ON)
        conductor_halt(batch, how, 0);
    demand_review(batch);
    if (news)
        fm_semaphore_release(batch->news, 1);
}

/* ---- starting ---- */

enum next { NEXT_JOB, NEXT_SLOT, NEXT_SKIPPED, NEXT_NEWS, NEXT_ARGUMENT, NEXT_END };

/* What one that does not fit waits for is kept for it: nobody behind it takes of that. */
static struct job *first_that_fits_locked(struct batch *batch)
{
    struct job *job;
    uint64_t closed = 0;
    TAILQ_FOREACH(job, &batch->ready, in_state) {
        if (!resources_fit(&batch->options.resources, job, closed))
            closed |= resources_set(job);
        else if (rates_let_locked(batch, job))
            return job;
    }
    return NULL;
}

/* What the conductor does now; it has a slot for a job, or has not. */
static enum next next_locked(struct batch *batch, bool has_slot, struct job **ret_job)
{
    struct job *job = TAILQ_FIRST(&batch->skipped);
    if (job) {
        TAILQ_REMOVE(&batch->skipped, job, in_state);
        *ret_job = job;
        return NEXT_SKIPPED;
    }
    if (batch->halting != GO_ON)
        return NEXT_END;
    job = first_that_fits_locked(batch);
    if (job && !job->restart && !has_slot)
        return NEXT_SLOT;
    if (job) {
        TAILQ_REMOVE(&batch->ready, job, in_state);
        resources_take(&batch->options.resources, job);
        rates_use_locked(batch, job);
        job->taken = true;
        batch->under_way++;
        batch->plain_under_way += !job->restart;
        *ret_job = job;
        return NEXT_JOB;
    }
    if (!TAILQ_EMPTY(&batch->ready))
        return NEXT_NEWS; /* of resources that are given back, or of a rate */
    if (!batch->all_known)
        return NEXT_ARGUMENT;
    batch->over = !batch->under_way && !batch->adding;
    return batch->over ? NEXT_END : NEXT_NEWS;
}

/* Of `each`, resumed: others wait for its number with --keep-order. */
static void count_past(struct batch *batch, struct job *job)
{
    struct output nothing = OUTPUT_NONE;
    printer_put(batch->printer, job->number, &nothing);
    pthread_mutex_lock(&batch->lock);
    batch->all++;
    states_end(batch, job, job->state);
    let_go_locked(batch, job);
    pthread_mutex_unlock(&batch->lock);
}

static void arguments_failed(struct batch *batch, int error)
{
    char what[320];
    const char *why = each_complaint(batch->each);
    snprintf(what, sizeof what, "cannot read the arguments%s%s", *why ? ": " : "", why);
    conductor_give_up(batch, error, what);
}

static int take_argument(struct batch *batch)
{
    struct job *job;
    int r = each_next(batch->each, &job);
    if (r == -ECANCELED)
        return r;
    if (r > 0 && job->state >= JOB_SUCCEEDED) {
        count_past(batch, job);
        return 0;
    }
    if (r == 0 && account_complete(batch, batch->all) < 0)
        return -EIO;
    pthread_mutex_lock(&batch->lock);
    if (r > 0) {
        batch->all++;
        states_make_ready(batch, job);
    } else {
        batch->all_known = true;
    }
    pthread_mutex_unlock(&batch->lock);
    if (r < 0)
        arguments_failed(batch, r);
    return r < 0 ? r : 0;
}

/* Say so, and let those be printed that come after it. */
static int tell_of_skipped(struct batch *batch, struct job *job)
{
    struct output nothing = OUTPUT_NONE;
    const char *state = job_state_name(job->state);
    if (!batch->options.quiet && job->blocker)
        printer_say(batch->printer, "batch: job \"%s\" %s: it needs \"%s\"", job->key, state,
                    job->blocker->key);
    else if (!batch->options.quiet)
        printer_say(batch->printer, "batch: job \"%s\" %s before it was started", job->key,
                    state);
    int r = job->restart ? 0 : printer_put(batch->printer, job->number, &nothing);
    if (r < 0)
        conductor_give_up(batch, r, "cannot print");
    int written = batch->events ? events_left_out(batch->events, job, job->state) : 0;
    if (written < 0)
        conductor_give_up(batch, written, "cannot write the events");
    return r < 0 ? r : written;
}

/*
 * The slot passes to the job, if it is no service. What cannot be started is not run; what was
 * started may be over, and a job of `each` gone, before this returns.
 */
static int start(struct batch *batch, struct job *job, unsigned *slot)
{
    bool takes_slot = !job->restart;
    int r = takes_slot ? work_start(batch, job, *slot) : service_start(batch, job);
    if (r == 0) {
        *slot = takes_slot ? 0 : *slot;
        return 0;
    }
    conductor_ended(batch, job, JOB_NOT_RUN);
    if (r != -ECANCELED)
        conductor_give_up(batch, r, "cannot start a job");
    return r;
}

/*
 * With --keep-order others wait for the numbers of those that were printed before, and of
 * services, whose outputs come when there are some.
 */
static void pass_over_some(struct batch *batch)
{
    struct job *job;
    if (!batch->options.keep_order || fm_mutex_lock(batch->adders, FM_NEVER) < 0)
        return;
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan) {
        if (job->restart || (job->state >= JOB_SUCCEEDED && job->state != JOB_SKIPPED)) {
            struct output nothing = OUTPUT_NONE;
            printer_put(batch->printer, job->number, &nothing);
        }
    }
    fm_mutex_unlock(batch->adders);
}

/* Of run: a service may become ready meanwhile, which waits for no slot. */
static int take_slot(struct batch *batch, unsigned *ret_slot)
{
    if (batch->each)
        return slots_take(batch->slots, ret_slot);
    int r = slots_try(batch->slots, ret_slot);
    return r == -EAGAIN ? fm_semaphore_acquire(batch->news, 1, FM_NEVER) : r;
}

static struct fm_exit conductor_entry(void *arg)
{
    struct batch *batch = arg;
    unsigned slot = 0; /* none */
    int r = 0;
    pthread_mutex_lock(&batch->lock);
    batch->conductor = fm_fiber_self();
    pthread_mutex_unlock(&batch->lock);
    pass_over_some(batch);
    r = rates_begin(batch);
    if (r < 0)
        conductor_give_up(batch, r, "cannot start what keeps the rates");
    while (r == 0) {
        struct job *job = NULL;
        pthread_mutex_lock(&batch->lock);
        enum next next = next_locked(batch, slot, &job);
        pthread_mutex_unlock(&batch->lock);
        rates_ask(batch);
        if (next == NEXT_END)
            break;
        if (slot && (next == NEXT_NEWS || next == NEXT_ARGUMENT)) {
            slots_give(batch->slots, slot); /* somebody who tries again may wait for it */
            slot = 0;
        }
        r = next == NEXT_JOB        ? start(batch, job, &slot)
            : next == NEXT_SLOT     ? take_slot(batch, &slot)
            : next == NEXT_SKIPPED  ? tell_of_skipped(batch, job)
            : next == NEXT_ARGUMENT ? take_argument(batch)
                                    : fm_semaphore_acquire(batch->news, 1, FM_NEVER);
    }
    if (slot)
        slots_give(batch->slots, slot);
    pthread_mutex_lock(&batch->lock);
    batch->conductor = NULL;
    pthread_mutex_unlock(&batch->lock);
    return fm_ok(NULL);
}

/* What was never started. */
static void count_the_rest(struct batch *batch)
{
    struct job *job;
    pthread_mutex_lock(&batch->lock);
    batch->over = true;
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan)
        if (job->state < JOB_SUCCEEDED)
            states_end(batch, job, JOB_NOT_RUN);
    while (batch->each && (job = TAILQ_FIRST(&batch->ready))) {
        TAILQ_REMOVE(&batch->ready, job, in_state);
        states_end(batch, job, JOB_NOT_RUN);
        let_go_locked(batch, job);
    }
    if (batch->each && each_count(batch->each))
        batch->count[JOB_NOT_RUN] += each_count(batch->each) - batch->all;
    pthread_mutex_unlock(&batch->lock);
}

/* Those that have ended before the batch was resumed, and then those that need nobody. */
static void begin(struct batch *batch)
{
    struct job *job;
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan) {
        if (job->state < JOB_SUCCEEDED || job->blocker)
            continue;
        states_end(batch, job, job->state);
        if (job->state != JOB_REPLACED)
            states_release(batch, job,
                           job->state == JOB_SUCCEEDED ||
                               states_policy(batch, job) == FAILURE_CONTINUE);
    }
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan) {
        if (job->state == JOB_WAITING && !job->unmet)
            states_make_ready(batch, job);
    }
}

void conductor_init(struct batch *batch)
{
    TAILQ_INIT(&batch->ready);
    TAILQ_INIT(&batch->running);
    TAILQ_INIT(&batch->skipped);
    batch->halt_code = -1;
    batch->all = batch->each ? 0 : batch->plan.count;
    batch->all_known = !batch->each;
    demand_init(batch);
    begin(batch);
    demand_review(batch);
}

int conductor_run(struct batch *batch)
{
    struct fm_fiber *conductor;
    int r = fm_fiber_spawn(conductor_entry, batch, NULL, &conductor);
    if (r < 0)
        return r;
    fm_fiber_join(conductor, FM_NEVER, NULL);
    fm_fiber_unref(conductor);
    r = fm_map_await_quiescent(batch->map, FM_NEVER);
    if (r == 0)
        r = fm_map_await_quiescent(batch->services, FM_NEVER);
    count_the_rest(batch);
    return r;
}
