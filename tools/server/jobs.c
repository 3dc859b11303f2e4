/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.c - work under a key, in a fiber of its own: starting, looking, waiting, ending
 *
 * The map holds who is running, results.c how it ended. A job leaves its result before it
 * leaves the map, so that a look into the map and then into the results never finds nothing in
 * between.
 *
 * Owns        a struct job until the map has taken it.
 */
#include "tools/server/jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/server/describe.h"
#include "tools/server/job.h"
#include "tools/server/results.h"

enum { CANCEL_WAIT_MS = 5000 };

/* ---- starting ---- */

/* What a run takes, in one place that must not move. */
struct job_run {
    struct job *job;
    struct fm_restart restart;
    struct fm_map_run_options options;
};

static int restart_prepare(struct fm_restart *restart, const struct restart_spec *spec,
                           struct job *job)
{
    *restart = (struct fm_restart)FM_RESTART_INIT;
    restart->type = spec->type;
    restart->intensity = spec->intensity;
    restart->period_ns = spec->period_ms * 1000000;
    restart->on_limit = FM_LIMIT_REMOVE;
    restart->should_restart = job_may_restart;
    restart->ctx = job;
    struct fm_schedule *schedule = spec->delay_ms
                                       ? fm_schedule_exponential(spec->delay_ms * 1000000,
                                                                 spec->factor)
                                       : fm_schedule_forever();
    schedule = fm_schedule_cap_ns(schedule, spec->max_delay_ms * 1000000);
    if (spec->times >= 0)
        schedule = fm_schedule_intersect(schedule, fm_schedule_recurs(spec->times));
    restart->schedule = schedule;
    return schedule ? 0 : -ENOMEM;
}

static int run_prepare(struct job_run *run, struct server *server, const struct job_spec *spec)
{
    struct job *job = job_create(server, spec);
    if (!job)
        return -ENOMEM;
    run->job = job;
    run->restart.schedule = NULL;
    run->options = (struct fm_map_run_options)FM_MAP_RUN_OPTIONS_INIT;
    run->options.conflict = spec->conflict;
    run->options.flags = spec->stop_with_last_waiter ? FM_MAP_STOP_WITH_LAST_WAITER : 0;
    run->options.name = work_kind_name(&spec->work);
    run->options.arg_drop = job_drop;
    run->options.deadline_ns = job_deadline_ns(job);
    if (spec->restart.type == FM_TEMPORARY)
        return 0;
    run->options.restart = &run->restart;
    int r = restart_prepare(&run->restart, &spec->restart, job);
    if (r < 0)
        job_free(job);
    return r;
}

/* The run has been given to the map, or has been given up: whose is the job now? */
static void run_done(struct job_run *run, bool passed)
{
    fm_schedule_unref(run->restart.schedule);
    if (!passed)
        job_free(run->job);
}

static bool started(int result)
{
    return result == 0 || result == FM_MAP_REPLACED || result == FM_MAP_QUEUED;
}

/* Who queues holds no place yet. */
static bool queue_is_full(struct server *server, const struct job_spec *spec)
{
    return spec->conflict == FM_QUEUE && fm_map_size(server->jobs) >= server->options.max_jobs;
}

int jobs_start(struct server *server, const struct job_spec *spec,
               struct job_outcome *ret_outcome)
{
    struct job_run run;
    struct fm_fiber *fiber = NULL;
    int r = queue_is_full(server, spec) ? -EAGAIN : run_prepare(&run, server, spec);
    if (r == 0) {
        r = fm_map_run(server->jobs, fm_key_str(spec->key), job_entry, run.job, &run.options,
                       &fiber);
        run_done(&run, started(r));
    }
    if (started(r))
        server_count(&server->jobs_started);
    ret_outcome->result = r;
    ret_outcome->id = r < 0 ? 0 : fm_fiber_id(fiber);
    fm_fiber_unref(fiber);
    return r;
}

/* All of them at one instant, by fm_map_run_many. */
static int start_together(struct server *server, const struct job_spec specs[], size_t count,
                          struct job_outcome outcomes[])
{
    struct job_run *runs = calloc(count, sizeof *runs);
    struct fm_map_run_item *items = calloc(count, sizeof *items);
    struct fm_fiber **fibers = calloc(count, sizeof *fibers);
    size_t made = 0;
    int r = runs && items && fibers ? 0 : -ENOMEM;
    for (; made < count && r == 0; made += r == 0) {
        r = run_prepare(&runs[made], server, &specs[made]);
        items[made] = (struct fm_map_run_item) { .key = fm_key_str(specs[made].key),
                                                 .entry = job_entry,
                                                 .arg = runs[made].job,
                                                 .options = &runs[made].options,
                                                 .ret_fiber = &fibers[made] };
    }
    bool given = r == 0;
    if (given)
        r = fm_map_run_many(server->jobs, items, count, FM_MAP_ALL_OR_NOTHING);
    for (size_t i = 0; i < count; i++) {
        outcomes[i].result = given ? items[i].result : r;
        outcomes[i].id = r == 0 ? fm_fiber_id(fibers[i]) : 0;
        if (r == 0) {
            server_count(&server->jobs_started);
            fm_fiber_unref(fibers[i]);
        }
    }
    for (size_t i = 0; i < made; i++)
        run_done(&runs[i], r == 0);
    free(runs);
    free(items);
    free(fibers);
    return r;
}

int jobs_start_many(struct server *server, const struct job_spec specs[], size_t count,
                    bool all_or_nothing, struct job_outcome outcomes[])
{
    if (all_or_nothing)
        return start_together(server, specs, count, outcomes);
    int failed = 0;
    for (size_t i = 0; i < count; i++)
        failed += jobs_start(server, &specs[i], &outcomes[i]) < 0;
    return failed;
}

int jobs_run_wait(struct server *server, const struct job_spec *spec, int64_t deadline_ns,
                  struct json_object **ret_object)
{
    struct job_run run;
    int r = run_prepare(&run, server, spec);
    if (r < 0)
        return r;
    struct fm_exit exit = { 0 };
    r = fm_map_run_wait(server->jobs, fm_key_str(spec->key), job_entry, run.job, &run.options,
                        deadline_ns, &exit);
    bool refused = r < 0 && r != -ETIMEDOUT && r != -ECANCELED && r != -EDEADLK;
    run_done(&run, !refused);
    if (r != 0 && r != FM_MAP_KEPT)
        return r;
    if (r == 0)
        server_count(&server->jobs_started);
    struct result result;
    bool numbered = exit.kind == FM_SUCCESS || exit.kind == FM_FAILURE;
    bool found = numbered &&
                 results_get_number(server->results, (uintptr_t)exit.value, &result) == 0;
    if (!found)
        result = (struct result) { .work = spec->work, .exit = exit };
    *ret_object = describe_result(spec->key, &result, found);
    return r;
}

/* ---- looking, waiting, ending ---- */

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
        *ret_object = describe_result(key, &result, true);
    return r;
}

int jobs_await(struct server *server, const char *key, int64_t deadline_ns)
{
    return fm_map_await_key(server->jobs, fm_key_str(key), deadline_ns, NULL);
}

int jobs_cancel(struct server *server, const char *key)
{
    return fm_map_remove(server->jobs, fm_key_str(key), fm_after_ms(CANCEL_WAIT_MS));
}

struct prefix {
    const char *text;
    size_t len;
    size_t count; /* of matches */
};

static bool begins_so(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    struct prefix *prefix = ctx;
    bool matches = key.len >= prefix->len && !memcmp(key.data, prefix->text, prefix->len);
    prefix->count += matches;
    return matches;
}

int jobs_cancel_prefix(struct server *server, const char *prefix, size_t *ret_count)
{
    struct prefix wanted = { .text = prefix, .len = strlen(prefix) };
    int r = fm_map_clear_matching(server->jobs, begins_so, &wanted,
                                  fm_after_ms(CANCEL_WAIT_MS));
    *ret_count = wanted.count;
    return r;
}

int jobs_create(struct fm_runtime *runtime, unsigned max_jobs, struct fm_map **ret_map)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.runtime = runtime;
    config.name = "jobs";
    config.max_live = max_jobs;
    config.on_excess = FM_EXCESS_FAIL;
    return fm_map_create(&config, ret_map);
}
