/* SPDX-License-Identifier: Apache-2.0 */
/*
 * states.c - what the end of one job makes of the others
 */
#include "tools/batcher/states.h"

#include "tools/batcher/demand.h"

void states_make_ready(struct batch *batch, struct job *job)
{
    struct job *first = TAILQ_FIRST(&batch->ready);
    job->state = JOB_READY;
    if (!job->restart || !first) {
        TAILQ_INSERT_TAIL(&batch->ready, job, in_state);
        return;
    }
    while (first && first->restart)
        first = TAILQ_NEXT(first, in_state);
    if (first)
        TAILQ_INSERT_BEFORE(first, job, in_state);
    else
        TAILQ_INSERT_TAIL(&batch->ready, job, in_state);
}

void states_end(struct batch *batch, struct job *job, enum job_state state)
{
    job->state = state;
    batch->count[state]++;
    batch->plain_left -= !job->restart;
    struct job *after = job->after;
    if (after && after->state == JOB_WAITING && --after->unmet == 0)
        states_make_ready(batch, after);
}

static bool has_not_begun(const struct job *job)
{
    return job->state == JOB_WAITING || (job->state == JOB_READY && !job->taken);
}

/* Out of the ready, if it has not begun. */
static bool take_back(struct batch *batch, struct job *job)
{
    if (!has_not_begun(job))
        return false;
    if (job->state == JOB_READY)
        TAILQ_REMOVE(&batch->ready, job, in_state);
    return true;
}

static void skip_direct(struct batch *batch, struct job *job)
{
    for (size_t i = 0; i < job->dependent_count; i++) {
        struct job *dependent = job->dependents[i];
        if (!take_back(batch, dependent))
            continue;
        dependent->blocker = job;
        states_end(batch, dependent, JOB_SKIPPED);
        TAILQ_INSERT_TAIL(&batch->skipped, dependent, in_state);
    }
}

/* Those that need it, those that need them, and so on. */
static void skip_dependents(struct batch *batch, struct job *job)
{
    struct job *before = TAILQ_LAST(&batch->skipped, job_list);
    skip_direct(batch, job);
    for (job = before ? TAILQ_NEXT(before, in_state) : TAILQ_FIRST(&batch->skipped); job;
         job = TAILQ_NEXT(job, in_state))
        skip_direct(batch, job);
}

enum failure_policy states_policy(const struct batch *batch, const struct job *job)
{
    enum failure_policy policy = job->on_failure ? job->on_failure : batch->options.on_failure;
    return policy ? policy : FAILURE_SKIP;
}

void states_release(struct batch *batch, struct job *job, bool go_on)
{
    if (batch->halting != GO_ON)
        return; /* they are not run, whatever became of this one */
    if (!go_on) {
        skip_dependents(batch, job);
        return;
    }
    for (size_t i = 0; i < job->dependent_count; i++) {
        struct job *dependent = job->dependents[i];
        if (dependent->state == JOB_WAITING && --dependent->unmet == 0)
            states_make_ready(batch, dependent);
    }
}

void states_hold(struct batch *batch, struct job *job)
{
    for (size_t i = 0; i < job->dependent_count; i++) {
        struct job *dependent = job->dependents[i];
        if (!take_back(batch, dependent))
            continue;
        dependent->state = JOB_WAITING;
        dependent->unmet++;
    }
}

struct meeting {
    struct batch *batch;
    struct job *job, *blocker;
};

static void meet(void *ctx, struct job *needed)
{
    struct meeting *meeting = ctx;
    bool failed = needed->state == JOB_FAILED || needed->state == JOB_TIMED_OUT;
    if (needed->state == JOB_STOPPED)
        demand_revive_locked(meeting->batch, needed);
    if (needed->up || needed->state == JOB_SUCCEEDED ||
        (failed && states_policy(meeting->batch, needed) == FAILURE_CONTINUE))
        meeting->job->unmet--;
    else if (needed->state >= JOB_SUCCEEDED)
        meeting->blocker = needed;
}

void states_begin(struct batch *batch, struct job *job)
{
    struct meeting meeting = { batch, job, NULL };
    if (job->state != JOB_WAITING)
        return; /* one that came with it has been skipped, and it needs that */
    plan_needs(&batch->plan, job, meet, &meeting);
    if (job->before && job->before->state >= JOB_SUCCEEDED)
        job->unmet--;
    if (meeting.blocker) {
        job->blocker = meeting.blocker;
        states_end(batch, job, JOB_SKIPPED);
        TAILQ_INSERT_TAIL(&batch->skipped, job, in_state);
        skip_dependents(batch, job);
    } else if (!job->unmet) {
        states_make_ready(batch, job);
    }
}

/* It has not been started: it ends here, and is told of as those that are skipped. */
void states_cancel(struct batch *batch, struct job *job)
{
    if (job->state == JOB_READY)
        TAILQ_REMOVE(&batch->ready, job, in_state);
    states_end(batch, job, JOB_CANCELLED);
    TAILQ_INSERT_TAIL(&batch->skipped, job, in_state);
    states_release(batch, job, false);
}
