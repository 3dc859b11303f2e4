/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.c - work under a key, in a fiber of its own
 *
 * The map holds who is running, results.c how it ended. A job leaves its result before it
 * leaves the map, so that a look into the map and then into the results never finds nothing in
 * between.
 *
 * A job that was replaced leaves none: the key is its successor's.
 *
 * Owns        struct job, from the start until its fiber has ended or will never run.
 */
#include "tools/server/jobs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/server/results.h"

enum { CANCEL_WAIT_MS = 5000 };

struct job {
    struct server *server;
    uint64_t sequence;
    struct work work;
    char key[];
};

/*
 * On the job's own fiber, at its end.
 *
 * exit      of the body; an interruption if the fiber has been interrupted and says so
 * start_ns  when the body began
 */
static void job_leave_result(const struct job *job, struct fm_exit exit, int64_t start_ns)
{
    struct fm_exit interrupt;
    bool interrupted = fm_interrupt_info(&interrupt) == 0;
    if (interrupted && interrupt.reason == FM_BY_REPLACE)
        return;
    if (interrupted && exit.kind == FM_FAILURE && exit.code == -ECANCELED)
        exit = interrupt;
    struct result result = {
        .id = fm_fiber_id(fm_fiber_self()),
        .sequence = job->sequence,
        .work = job->work,
        .exit = exit,
        .run_ns = fm_now_ns() - start_ns,
    };
    results_put(job->server->results, job->key, &result);
}

static struct fm_exit job_entry(void *arg)
{
    struct job *job = arg;
    int64_t start_ns = fm_now_ns();
    struct fm_exit exit = work_run(&job->work);
    job_leave_result(job, exit, start_ns);
    free(job);
    return exit;
}

/* The body never ran: interrupted before its first line, or there was no stack to run it on. */
static void job_drop(void *arg)
{
    struct job *job = arg;
    bool interrupted = fm_interrupt_info(NULL) == 0;
    job_leave_result(job, fm_fail(interrupted ? -ECANCELED : -ENOMEM), fm_now_ns());
    free(job);
}

int jobs_start(struct server *server, const char *key, const struct work *work,
               unsigned conflict, uint64_t *ret_id)
{
    if (fm_map_size(server->jobs) >= server->options.max_jobs)
        return -EAGAIN;
    size_t size = strlen(key) + 1;
    struct job *job = malloc(sizeof *job + size);
    if (!job)
        return -ENOMEM;
    job->server = server;
    job->sequence = atomic_fetch_add_explicit(&server->job_sequence, 1, memory_order_relaxed);
    job->work = *work;
    memcpy(job->key, key, size);

    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = conflict;
    options.name = work_kind_name(work);
    options.arg_drop = job_drop;
    struct fm_fiber *fiber;
    int r = fm_map_run(server->jobs, fm_key_str(key), job_entry, job, &options, &fiber);
    if (r < 0 || r == FM_MAP_KEPT)
        free(job);
    if (r < 0)
        return r;
    if (r != FM_MAP_KEPT)
        server_count(&server->jobs_started);
    *ret_id = fm_fiber_id(fiber);
    fm_fiber_unref(fiber);
    return r;
}

/* An id has 64 bits, more than a number of JavaScript holds: it is shown as text. */
static struct json_object *id_object(uint64_t id)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    return json_object_new_string(text);
}

static struct json_object *describe_running(const char *key, struct fm_fiber *fiber)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_object_object_add(object, "key", json_object_new_string(key));
    json_object_object_add(object, "state", json_object_new_string("running"));
    json_object_object_add(object, "id", id_object(fm_fiber_id(fiber)));
    json_object_object_add(object, "kind", json_object_new_string(fm_fiber_name(fiber)));
    return object;
}

static void describe_exit(struct json_object *object, const struct result *result)
{
    switch (result->exit.kind) {
    case FM_SUCCESS: {
        struct json_object *value = json_object_new_object();
        if (value)
            work_describe(&result->work, value);
        json_object_object_add(object, "result", value);
        break;
    }
    case FM_INTERRUPTED:
        json_object_object_add(object, "reason",
                               json_object_new_string(fm_reason_name(result->exit.reason)));
        break;
    default:
        json_object_object_add(object, "code", json_object_new_int(result->exit.code));
        break;
    }
}

static struct json_object *describe_result(const char *key, const struct result *result)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_object_object_add(object, "key", json_object_new_string(key));
    json_object_object_add(object, "state",
                           json_object_new_string(fm_exit_kind_name(result->exit.kind)));
    if (result->id)
        json_object_object_add(object, "id", id_object(result->id));
    json_object_object_add(object, "kind",
                           json_object_new_string(work_kind_name(&result->work)));
    json_object_object_add(object, "ms", json_object_new_int64(result->run_ns / 1000000));
    describe_exit(object, result);
    return object;
}

int jobs_status(struct server *server, const char *key, struct json_object **ret_object)
{
    struct fm_fiber *fiber;
    if (fm_map_get(server->jobs, fm_key_str(key), &fiber) == 0) {
        *ret_object = describe_running(key, fiber);
        fm_fiber_unref(fiber);
        return 0;
    }
    struct result result;
    int r = results_get(server->results, key, &result);
    if (r == 0)
        *ret_object = describe_result(key, &result);
    return r;
}

int jobs_cancel(struct server *server, const char *key)
{
    return fm_map_remove(server->jobs, fm_key_str(key), fm_after_ms(CANCEL_WAIT_MS));
}
