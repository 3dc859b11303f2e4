/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.c - a service from its start under its key to its end, however often it is restarted
 *
 *     batch->services:  KEY --> its keeper, which has a map of its own:
 *                                   "run" --> its runner: one incarnation is one attempt
 *
 * The runner is restarted by that map, as the job's `restart` says. The keeper waits for the
 * end of all that, or for its own interruption; what it has then learned is the job's end. The
 * runner's end is whole before the keeper's: SIGTERM, the grace, SIGKILL.
 */
#include "tools/batcher/service.h"

#include <errno.h>

#include "tools/batcher/account.h"
#include "tools/batcher/attempt.h"
#include "tools/batcher/conductor.h"
#include "tools/batcher/service_spec.h"

/* ---- one incarnation ---- */

static void say_attempt(struct batch *batch, const struct job *job, enum job_state state)
{
    char why[256];
    bool failed = state == JOB_FAILED;
    if (batch->options.quiet || (!failed && !batch->options.verbose))
        return;
    job_describe_end(job, why, sizeof why);
    printer_say(batch->printer, "batch: service \"%s\" %s: %s, attempt %u", job->key,
                failed ? "failed" : "ended", why, job->attempts);
}

static struct fm_exit run_entry(void *arg)
{
    struct job *job = arg;
    struct batch *batch = job->batch;
    struct output output = OUTPUT_NONE;
    if (rates_await(batch, job) < 0 || account_start(batch, job, 0) < 0)
        return fm_interrupted();
    attempt_run(batch, job, 0, &output);
    enum job_state state = ending_state(&job->ending);
    if (state == JOB_CANCELLED)
        state = conductor_why_stopped(batch, job);
    account_end(batch, job, &state, ACCOUNT_AGAIN);
    int r = printer_put(batch->printer, 0, &output);
    if (r < 0)
        conductor_give_up(batch, r, "cannot print");
    say_attempt(batch, job, state);
    return state == JOB_SUCCEEDED ? fm_ok(NULL) : fm_fail(-ECANCELED);
}

static int run_start(struct job *job, struct fm_map *map, struct fm_fiber **ret_runner)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    const struct restart *wanted = job->restart;
    restart.type = wanted->type;
    restart.intensity = wanted->intensity;
    restart.period_ns = wanted->period_ns;
    restart.reset_after_ns = wanted->reset_after_ns;
    restart.on_limit = FM_LIMIT_REMOVE;
    restart.schedule = retry_schedule(&wanted->delays);
    if (!restart.schedule)
        return -ENOMEM;
    options.restart = &restart;
    options.name = "service";
    int r = fm_map_run(map, fm_key_str("run"), run_entry, job, &options, ret_runner);
    fm_schedule_unref(restart.schedule);
    return r;
}

/* ---- all of it ---- */

/* Until it has ended for good: 0, ret_exit written · -ECANCELED it was stopped · -ENOMEM ... */
static int keep(struct batch *batch, struct job *job, struct fm_exit *ret_exit)
{
    struct fm_map *map;
    struct fm_fiber *runner;
    int r = fm_map_child(batch->services, fm_key_str(job->key), NULL, FM_NEVER, &map);
    if (r < 0)
        return r;
    r = run_start(job, map, &runner);
    if (r >= 0) {
        r = fm_fiber_join(runner, FM_NEVER, ret_exit);
        fm_mask();
        fm_map_close(map, NULL, NULL);
        fm_unmask();
        fm_fiber_unref(runner);
    }
    fm_map_unref(map);
    return r;
}

static struct fm_exit keep_entry(void *arg)
{
    struct job *job = arg;
    struct batch *batch = job->batch;
    struct fm_exit exit = fm_fail(-ECANCELED);
    enum job_state state = conductor_why_stopped(batch, job);
    if (state == JOB_NOT_RUN) { /* it is not: nobody has stopped it before it was here */
        int r = keep(batch, job, &exit);
        if (r < 0 && r != -ECANCELED)
            conductor_give_up(batch, r, "cannot keep a service");
        state = conductor_why_stopped(batch, job);
    }
    if (state == JOB_NOT_RUN && job->attempts)
        state = exit.kind == FM_SUCCESS ? JOB_SUCCEEDED : JOB_FAILED;
    if (state == JOB_SUCCEEDED || state == JOB_FAILED)
        account_last(batch, job, state);
    account_over(batch, job, state);
    conductor_ended(batch, job, state);
    return fm_ok(NULL);
}

/* It never ran: interrupted before its first line, or no memory for its stack. */
static void keep_drop(void *arg)
{
    struct job *job = arg;
    conductor_ended(job->batch, job, conductor_why_stopped(job->batch, job));
}

int service_start(struct batch *batch, struct job *job)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_QUEUE; /* the fiber of who had the key may be in its last lines */
    options.name = "keeper";
    options.arg_drop = keep_drop;
    options.own_map = 1;
    job->batch = batch;
    int r = fm_map_run(batch->services, fm_key_str(job->key), keep_entry, job, &options, NULL);
    return r < 0 ? r : 0;
}
