/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - what happens, as objects of JSON, one a line
 */
#include "tools/batcher/events.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "fm/base.h"
#include "tools/batcher/batch.h"

/* The first fields of each. */
static struct json_object *event(const char *name, const struct job *job)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_object_object_add(object, "event", json_object_new_string(name));
    json_object_object_add(object, "at_ms", json_object_new_int64(wall_ns() / 1000000));
    if (job) {
        json_object_object_add(object, "key", json_object_new_string(job->key));
        json_object_object_add(object, "number", json_object_new_uint64(job->number));
    }
    if (job && job->argument)
        json_object_object_add(object, "argument", json_object_new_string(job->argument));
    return object;
}

static void add_number(struct json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

/* Write it and let it go. */
static int put(struct lines *events, struct json_object *object)
{
    char *text;
    int n = asprintf(&text, "%s\n",
                     json_object_to_json_string_ext(object,
                                                    JSON_C_TO_STRING_PLAIN |
                                                        JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
    if (n < 0)
        return -ENOMEM;
    int r = lines_add(events, text, (size_t)n);
    free(text);
    return r;
}

int events_start(struct lines *events, const struct job *job, unsigned slot)
{
    struct json_object *object = event("start", job);
    if (!object)
        return -ENOMEM;
    add_number(object, "attempt", job->attempts + 1);
    add_number(object, "slot", slot);
    return put(events, object);
}

int events_end(struct lines *events, const struct job *job, enum job_state state,
               int64_t delay_ns)
{
    const struct ending *ending = &job->ending;
    struct json_object *object = event("end", job);
    if (!object)
        return -ENOMEM;
    char why[256];
    job_describe_end(job, why, sizeof why);
    add_number(object, "attempt", job->attempts);
    add_number(object, "slot", ending->slot);
    json_object_object_add(object, "state", json_object_new_string(job_state_name(state)));
    json_object_object_add(object, "why", json_object_new_string(why));
    add_number(object, "code", ending_code(ending));
    add_number(object, "ms", ending->run_ns / 1000000);
    add_number(object, "user_ms", ending->status.user_ns / 1000000);
    add_number(object, "system_ms", ending->status.system_ns / 1000000);
    add_number(object, "max_rss_bytes", ending->status.max_rss_bytes);
    add_number(object, "out_bytes", (int64_t)ending->out_bytes);
    if (delay_ns != FM_NEVER)
        add_number(object, "again_in_ms", delay_ns / 1000000);
    return put(events, object);
}

int events_ready(struct lines *events, const struct job *job, int64_t took_ns)
{
    struct json_object *object = event("ready", job);
    if (!object)
        return -ENOMEM;
    add_number(object, "attempt", job->attempts);
    add_number(object, "ms", took_ns / 1000000);
    return put(events, object);
}

int events_left_out(struct lines *events, const struct job *job, enum job_state state)
{
    struct json_object *object = event("left-out", job);
    if (!object)
        return -ENOMEM;
    json_object_object_add(object, "state", json_object_new_string(job_state_name(state)));
    if (job->blocker)
        json_object_object_add(object, "because", json_object_new_string(job->blocker->key));
    return put(events, object);
}

int events_over(struct lines *events, const struct batch *batch, int exit_code)
{
    struct json_object *object = event("over", NULL);
    if (!object)
        return -ENOMEM;
    for (int state = JOB_SUCCEEDED; state < JOB_STATES; state++)
        add_number(object, job_state_name(state), (int64_t)batch->count[state]);
    add_number(object, "exit_code", exit_code);
    return put(events, object);
}
