/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.c - a job from its start under its key to its end, all attempts
 *
 * One fiber for a job. It holds a slot while an attempt runs, and after the last until its
 * output is printed and its end counted; none while it waits for the next attempt.
 */
#include "tools/batcher/work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/account.h"
#include "tools/batcher/attempt.h"
#include "tools/batcher/conductor.h"
#include "tools/batcher/slots.h"

/* The C library's regular expressions want more than a fiber usually has. */
enum { CALL_STACK = 256 << 10 };

static void give_slot(struct batch *batch, unsigned slot)
{
    if (slots_give(batch->slots, slot))
        fm_semaphore_release(batch->news, 1);
}

/* Instead of an attempt: only say what it would be. */
static void pretend(struct batch *batch, struct job *job, unsigned slot, struct output *output)
{
    char *command = job_command(job, slot);
    bool run = batch->options.command == COMMAND_RUN;
    int n = command ? asprintf(&output->text[0], "%s%s%s\n", run ? job->key : "",
                               run ? ": " : "", command)
                    : -1;
    job->ending = (struct ending) { .slot = slot };
    if (n < 0) {
        output->text[0] = NULL;
        job->ending.error = -ENOMEM;
        job->ending.step = "its command cannot be shown";
    } else {
        output->bytes[0] = (size_t)n;
    }
    free(command);
}

/* How long until the next attempt; FM_NEVER: there is none. */
static int64_t delay_after(struct fm_schedule_run *run, const struct job *job,
                           enum job_state state)
{
    int64_t delay_ns;
    if (state != JOB_FAILED && state != JOB_TIMED_OUT)
        return FM_NEVER;
    if (fm_schedule_next(run, fm_fail(ending_code(&job->ending)), &delay_ns) != 0)
        return FM_NEVER;
    return delay_ns;
}

static void tell_of_retry(struct batch *batch, struct job *job, int64_t delay_ns)
{
    char why[256], name[128];
    job_describe_end(job, why, sizeof why);
    job_name(job, name, sizeof name);
    if (batch->options.verbose)
        printer_say(batch->printer, "batch: job %s: attempt %u: %s; the next in %.3g s", name,
                    job->attempts, why, (double)delay_ns / 1e9);
}

/*
 * Attempts until one is the last; its output is printed.
 *
 * slot  held on the call; on return what is held then, 0 if none.
 */
static enum job_state work(struct batch *batch, struct job *job, struct fm_schedule_run *run,
                           unsigned *slot)
{
    struct output output = OUTPUT_NONE;
    enum job_state state = JOB_NOT_RUN;
    for (;;) {
        int64_t delay_ns = FM_NEVER;
        if (conductor_lets(batch, job) && account_start(batch, job, *slot) == 0) {
            output_close(&output);
            if (batch->options.dry_run)
                pretend(batch, job, *slot, &output);
            else
                attempt_run(batch, job, *slot, &output);
            state = ending_state(&job->ending);
            delay_ns = delay_after(run, job, state);
            if (account_end(batch, job, &state, delay_ns) < 0)
                output_close(&output); /* it is said when it is run again */
        }
        if (!conductor_lets(batch, job))
            delay_ns = FM_NEVER;
        if (delay_ns == FM_NEVER) {
            int r = printer_put(batch->printer, job->number, &output);
            if (r < 0)
                conductor_give_up(batch, r, "cannot print");
            return state;
        }
        give_slot(batch, *slot);
        *slot = 0;
        tell_of_retry(batch, job, delay_ns);
        if (fm_sleep_ns(delay_ns) < 0 || rates_await(batch, job) < 0 ||
            slots_take(batch->slots, slot) < 0) {
            printer_put(batch->printer, job->number, &output);
            return JOB_CANCELLED;
        }
    }
}

static struct fm_exit work_entry(void *arg)
{
    struct job *job = arg;
    struct batch *batch = job->batch;
    const struct retry *retry = job->has_retry ? &job->retry : &batch->options.retry;
    struct fm_schedule *schedule = retry_schedule(retry);
    struct fm_schedule_run run;
    enum job_state state = JOB_FAILED;
    unsigned slot = job->ending.slot;
    job->permitted = false; /* used: an attempt begins */
    if (schedule && fm_schedule_run_init(&run, schedule) == 0) {
        state = work(batch, job, &run, &slot);
        fm_schedule_run_fini(&run);
    } else {
        job->ending.error = -ENOMEM;
        job->ending.step = "its retries cannot be planned";
    }
    fm_schedule_unref(schedule);
    if (state == JOB_NOT_RUN && !conductor_stopping(batch)) { /* cancelled at its first step */
        state = JOB_CANCELLED;
        job->ending.stopped = true;
        job->ending.error = -ECANCELED;
    }
    if (state == JOB_CANCELLED && conductor_why_stopped(batch, job) == JOB_REPLACED)
        state = JOB_REPLACED;
    account_over(batch, job, state);
    conductor_ended(batch, job, state);
    if (slot)
        give_slot(batch, slot); /* now: what this end halts does not start any more */
    return state == JOB_SUCCEEDED ? fm_ok(NULL) : fm_fail(-ECANCELED);
}

/* It never ran: interrupted before its first line, or no memory for its stack. */
static void work_drop(void *arg)
{
    struct job *job = arg;
    bool interrupted = fm_interrupt_info(NULL) == 0;
    if (!interrupted) {
        job->ending.error = -ENOMEM;
        job->ending.step = "its fiber cannot be started";
    }
    give_slot(job->batch, job->ending.slot);
    bool stopping = conductor_stopping(job->batch);
    conductor_ended(job->batch, job,
                    !interrupted ? JOB_FAILED
                    : stopping   ? JOB_NOT_RUN
                                 : JOB_CANCELLED);
}

int work_start(struct batch *batch, struct job *job, unsigned slot)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_QUEUE; /* the fiber of who had the key may be in its last lines */
    options.name = "job";
    options.arg_drop = work_drop;
    options.stack_bytes = job->call ? CALL_STACK : 0;
    job->batch = batch;
    job->ending.slot = slot;
    int r = fm_map_run(batch->map, fm_key_str(job->key), work_entry, job, &options, NULL);
    return r < 0 ? r : 0;
}
