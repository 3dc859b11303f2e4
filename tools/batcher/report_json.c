/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_json.c - a report for programs; docs/batch.md lists its fields
 *
 * One job at a time, so that a report of a million takes no memory.
 */
#include <errno.h>
#include <json-c/json.h>

#include "tools/batcher/reports.h"

static void add_text(struct json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

static void add_ms(struct json_object *object, const char *name, int64_t ns)
{
    json_object_object_add(object, name, json_object_new_double((double)(ns / 1000) / 1e3));
}

static int put(FILE *out, struct json_object *object)
{
    const char *text = json_object_to_json_string_ext(object,
                                                      JSON_C_TO_STRING_PLAIN |
                                                          JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text)
        fputs(text, out);
    json_object_put(object);
    return text ? 0 : -ENOMEM;
}

static struct json_object *describe_run(const struct run *run)
{
    const struct ending *ending = &run->ending;
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    add_number(object, "attempt", run->attempt);
    add_number(object, "slot", ending->slot);
    add_text(object, "state", job_state_name(run->state));
    add_text(object, "why", run->why);
    add_number(object, "code", ending_code(ending));
    add_ms(object, "started_at_ms", ending->started_at_ns);
    add_ms(object, "ms", ending->run_ns);
    add_ms(object, "user_ms", ending->status.user_ns);
    add_ms(object, "system_ms", ending->status.system_ns);
    add_number(object, "max_rss_bytes", ending->status.max_rss_bytes);
    add_number(object, "out_bytes", (int64_t)ending->out_bytes);
    add_number(object, "err_bytes", (int64_t)ending->err_bytes);
    add_number(object, "cut_bytes", (int64_t)ending->cut_bytes);
    return object;
}

static int put_job(FILE *out, const struct job *job)
{
    struct json_object *object = json_object_new_object();
    struct json_object *attempts = json_object_new_array();
    if (!object || !attempts) {
        json_object_put(object);
        json_object_put(attempts);
        return -ENOMEM;
    }
    add_text(object, "key", job->key);
    add_number(object, "number", (int64_t)job->number);
    if (job->argument)
        add_text(object, "argument", job->argument);
    add_text(object, "state", job_state_name(job->state));
    if (job->blocker)
        add_text(object, "because", job->blocker->key);
    for (size_t i = 0; i < job->run_count; i++)
        json_object_array_add(attempts, describe_run(&job->runs[i]));
    json_object_object_add(object, "attempts", attempts);
    return put(out, object);
}

static struct json_object *keys_of(const struct job *const jobs[], size_t count)
{
    struct json_object *keys = json_object_new_array();
    for (size_t i = 0; keys && i < count; i++)
        json_object_array_add(keys, json_object_new_string(jobs[i]->key));
    return keys;
}

static struct json_object *describe_whole(const struct summary *summary)
{
    const struct batch *batch = summary->batch;
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    for (int state = JOB_SUCCEEDED; state < JOB_STATES; state++)
        add_number(object, job_state_name(state), (int64_t)batch->count[state]);
    add_number(object, "exit_code", summary->exit_code);
    add_ms(object, "began_at_ms", summary->begin_ns);
    add_ms(object, "ms", summary->elapsed_ns);
    add_number(object, "slots", batch->options.jobs);
    add_number(object, "attempts", (int64_t)summary->attempts);
    add_ms(object, "user_ms", summary->user_ns);
    add_ms(object, "system_ms", summary->system_ns);
    add_number(object, "max_rss_bytes", summary->max_rss_bytes);
    json_object_object_add(object, "slowest",
                           keys_of(summary->slowest, summary->slowest_count));
    json_object_object_add(object, "critical_path",
                           keys_of(summary->path, summary->path_count));
    add_ms(object, "critical_path_ms", summary->path_ns);
    return object;
}

int report_json(FILE *out, const struct summary *summary)
{
    const struct job *job;
    const char *before = "";
    json_c_set_serialization_double_format("%.3f", JSON_C_OPTION_GLOBAL);
    fputs("{\"whole\":", out);
    struct json_object *whole = describe_whole(summary);
    int r = whole ? put(out, whole) : -ENOMEM;
    fputs(",\n\"jobs\":[\n", out);
    STAILQ_FOREACH(job, &summary->batch->plan.jobs, in_plan) {
        fputs(before, out);
        before = ",\n";
        if (r == 0)
            r = put_job(out, job);
    }
    fputs("\n]}\n", out);
    return r;
}
