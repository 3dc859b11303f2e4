/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_api.c - requests about jobs
 *
 * Each handler makes exactly one answer. Those that wait for a job do so no longer than their
 * client does.
 */
#include "tools/server/job_api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/server/describe.h"
#include "tools/server/jobs.h"
#include "tools/server/json.h"
#include "tools/server/patience.h"
#include "tools/server/text.h"

enum { BATCH_MAX = 1000 };

/* ---- what went wrong ---- */

static int status_of(int r)
{
    return r == -EAGAIN ? 429 : r == -EEXIST ? 409 : 503;
}

static const char *reason_of(int r)
{
    switch (r) {
    case -EAGAIN: return "too many jobs";
    case -EEXIST: return "a job runs under this key";
    case -ESHUTDOWN: return "draining";
    default: return fm_strerror(r);
    }
}

/* ---- one ---- */

static int run_and_wait(struct exchange *x, const struct job_spec *spec,
                        struct json_object **ret_object, const char **ret_reason)
{
    struct patience patience;
    patience_begin(&patience, x);
    int r = jobs_run_wait(x->server, spec, fm_after_ms(spec->wait_ms), ret_object);
    patience_end(&patience);
    if (r == -ETIMEDOUT || r == -ECANCELED) {
        *ret_object = json_object_new_object();
        if (*ret_object) {
            json_add_text(*ret_object, "key", spec->key);
            json_add_text(*ret_object, "outcome", "running");
        }
        return 202;
    }
    if (r < 0) {
        *ret_reason = reason_of(r);
        return status_of(r);
    }
    if (*ret_object)
        json_add_text(*ret_object, "outcome", r == FM_MAP_KEPT ? "joined" : "started");
    return 200;
}

int job_api_run(struct exchange *x, struct json_object *from, struct json_object **ret_object,
                const char **ret_reason)
{
    struct job_spec spec;
    struct job_outcome outcome;
    *ret_object = NULL;
    if (spec_read(&spec, from, ret_reason) < 0)
        return 400;
    if (spec.wait_ms)
        return run_and_wait(x, &spec, ret_object, ret_reason);
    int r = jobs_start(x->server, &spec, &outcome);
    if (r < 0) {
        *ret_reason = reason_of(r);
        return status_of(r);
    }
    *ret_object = describe_outcome(&spec, &outcome);
    return r == FM_MAP_KEPT ? 200 : 202;
}

void job_api_start(struct exchange *x, const char *name)
{
    const char *reason = NULL;
    struct json_object *answered = NULL;
    struct json_object *body = json_read_object(&x->request->body, &reason);
    int status = body ? job_api_run(x, body, &answered, &reason) : 400;
    json_object_put(body);
    if (status >= 400)
        answer_error(x, status, reason);
    else
        answer_json(x, status, answered);
}

/* ---- many ---- */

struct batch {
    struct job_spec *specs;
    struct job_outcome *outcomes;
    size_t count;
    bool all_or_nothing;
    char reason[160];
};

/* All or nothing has no other conflict than that the key is held, and waits for nothing. */
static int batch_read_job(struct batch *batch, struct json_object *from,
                          const char **ret_reason)
{
    struct job_spec *spec = &batch->specs[batch->count];
    if (!json_object_is_type(from, json_type_object)) {
        *ret_reason = "a job is an object";
        return -EINVAL;
    }
    int r = spec_read(spec, from, ret_reason);
    if (r == 0 && spec->wait_ms) {
        *ret_reason = "wait_ms is not for a batch";
        r = -EINVAL;
    }
    if (r == 0 && batch->all_or_nothing && !json_missing(from, "mode")) {
        *ret_reason = "mode is not for all or nothing";
        r = -EINVAL;
    }
    return r;
}

static int batch_read(struct batch *batch, struct json_object *body, const char **ret_reason)
{
    struct json_object *jobs;
    batch->all_or_nothing = true;
    if (json_flag(body, "all_or_nothing", &batch->all_or_nothing) < 0) {
        *ret_reason = "all_or_nothing is true or false";
        return -EINVAL;
    }
    size_t count = 0;
    if (json_object_object_get_ex(body, "jobs", &jobs) &&
        json_object_is_type(jobs, json_type_array))
        count = json_object_array_length(jobs);
    if (count == 0 || count > BATCH_MAX) {
        *ret_reason = "jobs is an array of 1 to 1000 jobs";
        return -EINVAL;
    }
    batch->specs = calloc(count, sizeof *batch->specs);
    batch->outcomes = calloc(count, sizeof *batch->outcomes);
    if (!batch->specs || !batch->outcomes)
        return -ENOMEM;
    for (; batch->count < count; batch->count++) {
        struct json_object *job = json_object_array_get_idx(jobs, batch->count);
        const char *reason = NULL;
        int r = batch_read_job(batch, job, &reason);
        if (r < 0) {
            snprintf(batch->reason, sizeof batch->reason, "jobs[%zu]: %s", batch->count,
                     reason);
            *ret_reason = batch->reason;
            return r;
        }
    }
    return 0;
}

static struct json_object *batch_outcome(const struct job_spec *spec,
                                         const struct job_outcome *outcome)
{
    if (outcome->result >= 0)
        return describe_outcome(spec, outcome);
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_add_text(object, "key", spec->key);
    json_add_text(object, "outcome", outcome->result == -ECANCELED ? "not started" : "refused");
    if (outcome->result != -ECANCELED)
        json_add_text(object, "detail", reason_of(outcome->result));
    return object;
}

static void batch_answer(struct exchange *x, const struct batch *batch, int r)
{
    struct json_object *object = json_object_new_object();
    struct json_object *jobs = json_object_new_array();
    for (size_t i = 0; object && jobs && i < batch->count; i++)
        json_object_array_add(jobs, batch_outcome(&batch->specs[i], &batch->outcomes[i]));
    if (object)
        json_object_object_add(object, "jobs", jobs);
    if (r < 0)
        answer_problem(x, status_of(r), r == -EEXIST ? "a key is held" : reason_of(r), object);
    else
        answer_json(x, r == 0 ? 202 : 200, object);
}

void job_api_start_many(struct exchange *x, const char *name)
{
    struct batch batch = { 0 };
    const char *reason = "out of memory";
    struct json_object *body = json_read_object(&x->request->body, &reason);
    int r = body ? batch_read(&batch, body, &reason) : -EINVAL;
    json_object_put(body);
    if (r == 0)
        batch_answer(x, &batch,
                     jobs_start_many(x->server, batch.specs, batch.count, batch.all_or_nothing,
                                     batch.outcomes));
    else
        answer_error(x, r == -EINVAL ? 400 : 503, r == -EINVAL ? reason : fm_strerror(r));
    free(batch.specs);
    free(batch.outcomes);
}

/* ---- by key ---- */

/* wait_ms of the query, 0 where there is none: 0 · -EINVAL */
static int query_wait(const char *query, int64_t *ret_ms)
{
    char text[16], *end;
    *ret_ms = 0;
    int len = text_query(query, "wait_ms", text, sizeof text);
    if (len == -ENOENT)
        return 0;
    if (len <= 0 || text[0] < '0' || text[0] > '9')
        return -EINVAL;
    long long ms = strtoll(text, &end, 10);
    if (*end || ms > WAIT_MS_MAX)
        return -EINVAL;
    *ret_ms = ms;
    return 0;
}

void job_api_status(struct exchange *x, const char *key)
{
    int64_t wait_ms = 0;
    if (*x->query && query_wait(x->query, &wait_ms) < 0) {
        answer_error(x, 400, "wait_ms is a whole number from 0 to 600000");
        return;
    }
    if (wait_ms) {
        struct patience patience;
        patience_begin(&patience, x);
        jobs_await(x->server, key, fm_after_ms(wait_ms));
        patience_end(&patience);
    }
    struct json_object *object;
    if (jobs_status(x->server, key, &object) == 0)
        answer_json(x, 200, object);
    else
        answer_error(x, 404, "no such key");
}

static void answer_cancelled(struct exchange *x, int r, struct json_object *object)
{
    if (object)
        json_add_text(object, "outcome", r == 0 ? "cancelled" : "interrupted");
    answer_json(x, r == 0 ? 200 : 202, object);
}

void job_api_cancel(struct exchange *x, const char *key)
{
    int r = jobs_cancel(x->server, key);
    if (r == -ENOENT) {
        answer_error(x, 404, "no job runs under this key");
        return;
    }
    struct json_object *object = json_object_new_object();
    if (object)
        json_add_text(object, "key", key);
    answer_cancelled(x, r, object);
}

void job_api_cancel_prefix(struct exchange *x, const char *name)
{
    char prefix[NAME_BYTES_MAX + 1];
    int len = text_query(x->query, "prefix", prefix, sizeof prefix);
    if (len < 0 || !text_is_name(prefix, (size_t)len)) {
        answer_error(x, 400, "prefix is 1 to 512 bytes of UTF-8 without control characters");
        return;
    }
    size_t count;
    int r = jobs_cancel_prefix(x->server, prefix, &count);
    if (r < 0 && r != -ETIMEDOUT) {
        answer_error(x, 503, fm_strerror(r));
        return;
    }
    struct json_object *object = json_object_new_object();
    if (object) {
        json_add_text(object, "prefix", prefix);
        json_add_number(object, "jobs", count);
    }
    answer_cancelled(x, r, object);
}
