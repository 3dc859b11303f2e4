/* SPDX-License-Identifier: Apache-2.0 */
/*
 * account.c - what is written down of a job: the journal, the events, the job log, our error
 */
#include "tools/batcher/account.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/batcher/attempt.h"
#include "tools/batcher/conductor.h"
#include "tools/batcher/events.h"
#include "tools/batcher/joblog.h"
#include "tools/batcher/journal.h"
#include "tools/batcher/runs.h"

/* 0 · as journal_write(): all is being stopped */
static int record(struct batch *batch, const struct record *record)
{
    char what[320];
    int r = batch->journal && !batch->options.dry_run ? journal_write(batch->journal, record)
                                                      : 0;
    if (r < 0) {
        snprintf(what, sizeof what, "cannot write the journal (%s)",
                 journal_error(batch->journal));
        conductor_give_up(batch, r, what);
    }
    return r;
}

/* last: it will not be tried again, now or when the batch is resumed. */
static int record_end(struct batch *batch, const struct job *job, enum job_state state,
                      bool last)
{
    const struct ending *ending = &job->ending;
    struct record end = { .number = job->number,
                          .attempt = job->attempts,
                          .at_ns = wall_ns(),
                          .state = state,
                          .last = last && state != JOB_CANCELLED &&
                                  conductor_why_stopped(batch, job) != JOB_REPLACED,
                          .code = ending_code(ending),
                          .user_ns = ending->status.user_ns,
                          .system_ns = ending->status.system_ns,
                          .max_rss_bytes = ending->status.max_rss_bytes };
    return record(batch, &end);
}

int account_complete(struct batch *batch, uint64_t count)
{
    struct record complete = { .complete = true, .number = count };
    return record(batch, &complete);
}

static void check_events(struct batch *batch, int r)
{
    if (r < 0)
        conductor_give_up(batch, r, "cannot write the events");
}

int account_start(struct batch *batch, const struct job *job, unsigned slot)
{
    struct record start = { .number = job->number,
                            .attempt = job->attempts + 1,
                            .at_ns = wall_ns(),
                            .state = JOB_RUNNING,
                            .argument = job->argument };
    int r = record(batch, &start);
    if (r == 0 && batch->events)
        check_events(batch, events_start(batch->events, job, slot));
    return r;
}

int account_end(struct batch *batch, struct job *job, enum job_state *state, int64_t delay_ns)
{
    int r = record_end(batch, job, *state, delay_ns == FM_NEVER);
    if (r < 0) {
        job->ending.stopped = true;
        job->ending.error = r;
        job->ending.step = "its end cannot be written";
        *state = JOB_CANCELLED;
    }
    if (batch->reports && runs_add(job, *state) < 0)
        conductor_give_up(batch, -ENOMEM, "cannot keep what is reported");
    if (batch->events)
        check_events(batch, events_end(batch->events, job, *state,
                                       delay_ns == ACCOUNT_AGAIN ? FM_NEVER : delay_ns));
    return r;
}

void account_last(struct batch *batch, const struct job *job, enum job_state state)
{
    record_end(batch, job, state, true);
}

static void log_end(struct batch *batch, struct job *job)
{
    char *command = job_command(job, job->ending.slot);
    int r = command ? joblog_add(batch->joblog, job, command) : -ENOMEM;
    free(command);
    if (r < 0)
        conductor_give_up(batch, r, "cannot write the job log");
}

static void say_end(struct batch *batch, struct job *job, enum job_state state)
{
    char why[256], name[128];
    if (state == JOB_NOT_RUN || batch->options.quiet)
        return;
    job_describe_end(job, why, sizeof why);
    job_name(job, name, sizeof name);
    if (job->ending.cut_bytes)
        printer_say(batch->printer, "batch: job %s: %zu bytes of its output are left out", name,
                    job->ending.cut_bytes);
    if (job->restart && state != JOB_CANCELLED && state != JOB_REPLACED) {
        if (state == JOB_FAILED)
            printer_say(batch->printer, "batch: service %s gave up after %u attempt%s: %s",
                        name, job->attempts, job->attempts == 1 ? "" : "s", why);
        else if (batch->options.verbose)
            printer_say(batch->printer, "batch: service %s %s", name, job_state_name(state));
    } else if (state == JOB_SUCCEEDED) {
        if (batch->options.verbose && !batch->options.dry_run)
            printer_say(batch->printer, "batch: job %s succeeded in %.3f s", name,
                        (double)job->ending.run_ns / 1e9);
    } else {
        printer_say(batch->printer, "batch: job %s %s: %s%s", name, job_state_name(state), why,
                    job->attempts > 1 ? ", at its last attempt" : "");
    }
}

void account_over(struct batch *batch, struct job *job, enum job_state state)
{
    say_end(batch, job, state);
    if (batch->joblog && job->attempts)
        log_end(batch, job);
}
