/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conductor_stop.c - what ends before its time: all, or one job
 *
 * Who stops a job writes down why, under the lock, and interrupts its fiber by its key while
 * nobody else can have that. A fiber that is not there yet sees why at its first step.
 */
#include "tools/batcher/conductor.h"

#include <errno.h>
#include <signal.h>

#include "tools/batcher/demand.h"
#include "tools/batcher/guard.h"
#include "tools/batcher/states.h"

void conductor_halt(struct batch *batch, enum halting how, int signal)
{
    pthread_mutex_lock(&batch->lock);
    bool more = how > batch->halting;
    if (more)
        batch->halting = how;
    if (signal && !batch->signal)
        batch->signal = signal;
    struct fm_fiber *conductor = fm_fiber_ref(batch->conductor);
    pthread_mutex_unlock(&batch->lock);
    if (more && conductor)
        fm_fiber_interrupt(conductor);
    fm_fiber_unref(conductor);
    if (more && how == HALT_NOW)
        fm_map_clear(batch->map, 0); /* signals, and does not wait */
    if (more)
        demand_review(batch);
}

void conductor_give_up(struct batch *batch, int error, const char *what)
{
    pthread_mutex_lock(&batch->lock);
    bool first = !batch->error;
    if (first)
        batch->error = error;
    pthread_mutex_unlock(&batch->lock);
    if (first && error != -EPIPE) /* who reads no more wants to hear no more */
        printer_say(batch->printer, "batch: %s: %s", what, fm_strerror(error));
    conductor_halt(batch, HALT_NOW, 0);
}

bool conductor_stopping(struct batch *batch)
{
    pthread_mutex_lock(&batch->lock);
    bool stopping = batch->halting != GO_ON;
    pthread_mutex_unlock(&batch->lock);
    return stopping;
}

bool conductor_lets(struct batch *batch, const struct job *job)
{
    pthread_mutex_lock(&batch->lock);
    bool lets = batch->halting == GO_ON && !job->cancelled && !job->replaced;
    pthread_mutex_unlock(&batch->lock);
    return lets;
}

enum job_state conductor_why_stopped(struct batch *batch, const struct job *job)
{
    pthread_mutex_lock(&batch->lock);
    enum job_state why = job->replaced    ? JOB_REPLACED
                         : job->cancelled ? JOB_CANCELLED
                         : job->dismissed ? JOB_STOPPED
                                          : JOB_NOT_RUN;
    pthread_mutex_unlock(&batch->lock);
    return why;
}

void conductor_interrupt_locked(struct batch *batch, const struct job *job)
{
    fm_map_interrupt(job->restart ? batch->services : batch->map, fm_key_str(job->key));
}

int conductor_cancel(struct batch *batch, const char *key)
{
    if (batch->each) /* who is not under way has not been read yet, or is about to start */
        return fm_map_interrupt(batch->map, fm_key_str(key));
    pthread_mutex_lock(&batch->lock);
    struct job *job = plan_holder(&batch->plan, key);
    bool ended = job && job->state >= JOB_SUCCEEDED;
    bool taken = job && job->taken;
    if (job && !ended) {
        job->cancelled = true;
        if (taken)
            conductor_interrupt_locked(batch, job);
        else
            states_cancel(batch, job);
    }
    pthread_mutex_unlock(&batch->lock);
    if (!job)
        return -ENOENT;
    if (ended)
        return -EALREADY;
    if (!taken)
        fm_semaphore_release(batch->news, 1);
    demand_review(batch);
    return 0;
}

void conductor_kill_all(struct batch *batch)
{
    struct job *job;
    pthread_mutex_lock(&batch->lock);
    TAILQ_FOREACH(job, &batch->running, in_state)
        fm_process_kill(job->process, SIGKILL);
    pthread_mutex_unlock(&batch->lock);
    guard_hurry(batch->guard);
}
