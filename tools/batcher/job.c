/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - what is to be done, and how it went
 */
#include "tools/batcher/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/batcher/call.h"
#include "tools/batcher/runs.h"
#include "tools/batcher/service_spec.h"

const char *job_state_name(enum job_state state)
{
    static const char *const names[JOB_STATES] = {
        [JOB_WAITING] = "waiting",     [JOB_READY] = "ready",
        [JOB_RUNNING] = "running",     [JOB_SUCCEEDED] = "succeeded",
        [JOB_FAILED] = "failed",       [JOB_TIMED_OUT] = "timed out",
        [JOB_CANCELLED] = "cancelled", [JOB_SKIPPED] = "skipped",
        [JOB_NOT_RUN] = "not run",     [JOB_STOPPED] = "stopped",
        [JOB_REPLACED] = "replaced",
    };
    return names[state];
}

int failure_policy_read(const char *text, enum failure_policy *ret_policy)
{
    if (!strcmp(text, "skip-dependents"))
        *ret_policy = FAILURE_SKIP;
    else if (!strcmp(text, "keep-going"))
        *ret_policy = FAILURE_CONTINUE;
    else if (!strcmp(text, "fail-fast"))
        *ret_policy = FAILURE_STOP;
    else
        return -EINVAL;
    return 0;
}

int conflict_policy_read(const char *text, enum conflict_policy *ret_policy)
{
    static const char *const names[] = { [CONFLICT_ERROR] = "error",
                                         [CONFLICT_REPLACE] = "replace",
                                         [CONFLICT_KEEP] = "keep",
                                         [CONFLICT_QUEUE] = "queue",
                                         [CONFLICT_JOIN] = "join" };
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(text, names[i])) {
            *ret_policy = (enum conflict_policy)i;
            return 0;
        }
    return -EINVAL;
}

struct job *job_create(uint64_t number)
{
    struct job *job = calloc(1, sizeof *job);
    if (job)
        job->number = number;
    return job;
}

void strings_free(char **strings)
{
    for (size_t i = 0; strings && strings[i]; i++)
        free(strings[i]);
    free(strings);
}

struct job *job_destroy(struct job *job)
{
    if (!job)
        return NULL;
    call_destroy(job->call);
    strings_free(job->argv);
    strings_free(job->env);
    strings_free(job->needs);
    for (size_t i = 0; i < job->share_count; i++)
        free(job->shares[i].name);
    free(job->shares);
    free(job->rate);
    readiness_destroy(job->readiness);
    free(job->restart);
    free(job->limits);
    free(job->key);
    free(job->definition);
    free(job->shell);
    free(job->argument);
    free(job->directory);
    free(job->input);
    free(job->input_file);
    free(job->dependents);
    runs_free(job);
    free(job);
    return NULL;
}

struct fm_schedule *retry_schedule(const struct retry *retry)
{
    struct fm_schedule *delays = retry->kind == RETRY_EXPONENTIAL
                                     ? fm_schedule_exponential(retry->delay_ns, retry->factor)
                                     : fm_schedule_spaced_ns(retry->delay_ns);
    if (retry->jitter)
        delays = fm_schedule_jittered(delays);
    if (retry->max_delay_ns)
        delays = fm_schedule_cap_ns(delays, retry->max_delay_ns);
    return fm_schedule_intersect(delays, fm_schedule_recurs(retry->times));
}

int64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void job_name(const struct job *job, char *text, size_t size)
{
    if (job->argument)
        snprintf(text, size, "%s (%.80s%s)", job->key, job->argument,
                 strlen(job->argument) > 80 ? " ..." : "");
    else
        snprintf(text, size, "\"%.100s%s\"", job->key, strlen(job->key) > 100 ? " ..." : "");
}

void job_describe_end(const struct job *job, char *text, size_t size)
{
    const struct ending *ending = &job->ending;
    const struct fm_process_status *status = &ending->status;
    if (ending->stopped && ending->error == -ECANCELED)
        snprintf(text, size, "before it was started");
    else if (ending->error)
        snprintf(text, size, "%s: %s", ending->step, fm_strerror(ending->error));
    else if (ending->late)
        snprintf(text, size, "not ready after %.3g s", (double)ending->run_ns / 1e9);
    else if (ending->timed_out)
        snprintf(text, size, "stopped after %.3g s", (double)ending->run_ns / 1e9);
    else if (job->call && ending->stopped)
        snprintf(text, size, "stopped in its midst");
    else if (status->kind == FM_PROCESS_SIGNALLED)
        snprintf(text, size, "signal %d (%s)", status->code, strsignal(status->code));
    else
        snprintf(text, size, "exit code %d%s", status->code,
                 ending->early ? ", before it was ready" : "");
}

enum job_state ending_state(const struct ending *ending)
{
    if (ending->stopped)
        return JOB_CANCELLED;
    if (ending->timed_out)
        return JOB_TIMED_OUT;
    bool well = !ending->error && !ending->late && !ending->early && ending_code(ending) == 0;
    return well ? JOB_SUCCEEDED : JOB_FAILED;
}

int ending_code(const struct ending *ending)
{
    if (ending->error)
        return ending->error == -ENOENT ? 127 : 126;
    if (ending->status.kind == FM_PROCESS_SIGNALLED)
        return 128 + ending->status.code;
    return ending->status.code;
}
