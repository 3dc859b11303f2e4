/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - one job as its own fiber sees it
 *
 * It leaves its result before it leaves the map, and tells those who listen what happens. Where
 * it is restarted each incarnation leaves a result, which nobody sees while the map still holds
 * the key. Only an end that no body has seen, in a back-off or at the limit of restarts, is put
 * right by the observer, an instant later. A job that was replaced leaves none: the key is its
 * successor's.
 *
 * A job's exit carries the number of its result in place of a value, by which those who have
 * waited for it together find the result that was theirs.
 *
 * Owns        struct job, from the start until its fiber has ended or will never run.
 */
#include "tools/server/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fm/flow.h"
#include "tools/server/describe.h"
#include "tools/server/events.h"
#include "tools/server/json.h"
#include "tools/server/results.h"

struct job {
    struct server *server;
    uint64_t maker;    /* the fiber that started it */
    uint64_t id;       /* its own, once it has begun */
    uint64_t sequence; /* rises from body to body; 0: none has begun */
    int64_t deadline_ns;
    int64_t start_ns;    /* of the present incarnation */
    struct fm_exit left; /* what the result that it has left says */
    bool replaced;       /* it leaves none */
    unsigned percent;    /* of the work, as far as it has been told */
    struct work asked;   /* as it was asked for */
    struct work work;    /* as the present incarnation does it */
    struct fm_observer observer;
    char key[];
};

/* ---- telling ---- */

static void job_tell(struct job *job, const char *name, const char *member, uint64_t number)
{
    if (!events_wanted(job->server->events))
        return;
    struct json_object *object = json_object_new_object();
    if (object) {
        json_add_text(object, "key", job->key);
        json_add_id(object, "id", job->id);
        json_add_text(object, "kind", work_kind_name(&job->asked));
        if (member)
            json_add_number(object, member, number);
    }
    events_tell(job->server->events, name, job->key, object);
}

/* On the fiber that does the work, whichever that is. */
static void job_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct job *job = ctx;
    unsigned percent = total ? (unsigned)((double)done / (double)total * 100) : 100;
    if (percent <= job->percent)
        return;
    job->percent = percent;
    job_tell(job, "progress", "percent", percent);
}

/* ---- results ---- */

static void job_put_result(struct job *job, struct fm_exit exit)
{
    struct result result = {
        .id = job->id,
        .sequence = job->sequence,
        .work = job->work,
        .exit = exit,
        .run_ns = fm_now_ns() - job->start_ns,
    };
    job->left = exit;
    results_put(job->server->results, job->key, &result);
    if (events_wanted(job->server->events))
        events_tell(job->server->events, "ended", job->key,
                    describe_result(job->key, &result, true));
}

/* exit is that of the body; an interruption if the fiber has been interrupted and says so. */
static void job_leave_result(struct job *job, struct fm_exit exit)
{
    struct fm_exit interrupt;
    bool interrupted = fm_interrupt_info(&interrupt) == 0;
    job->replaced = interrupted && interrupt.reason == FM_BY_REPLACE;
    if (job->replaced) {
        job_tell(job, "replaced", NULL, 0);
        return;
    }
    if (interrupted && exit.kind == FM_FAILURE && exit.code == -ECANCELED)
        exit = interrupt;
    job_put_result(job, exit);
}

static void job_ended(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    struct job *job = arg;
    bool replaced = job->replaced ||
                    (exit.kind == FM_INTERRUPTED && exit.reason == FM_BY_REPLACE);
    if (!replaced && (exit.kind != job->left.kind || exit.reason != job->left.reason))
        job_put_result(job, exit);
    free(job);
}

/* ---- the body ---- */

static void job_begin(struct job *job)
{
    if (!job->sequence)
        job->sequence = 1 + atomic_fetch_add_explicit(&job->server->job_sequence, 1,
                                                      memory_order_relaxed);
    job->id = fm_fiber_id(fm_fiber_self());
    job->work = job->asked;
    job->percent = 0;
    job->start_ns = fm_now_ns();
}

static struct fm_exit do_work(void *arg)
{
    struct job *job = arg;
    const struct progress progress = { .report = job_progress, .ctx = job };
    return work_run(&job->work, &progress);
}

struct fm_exit job_entry(void *arg)
{
    struct job *job = arg;
    if (!job->sequence) {
        job->observer = (struct fm_observer) { .fn = job_ended, .arg = job };
        fm_fiber_observe(fm_fiber_self(), &job->observer);
    }
    job_begin(job);
    job_tell(job, "started", "restarts", fm_fiber_incarnation(fm_fiber_self()));
    struct fm_exit exit;
    if (job->deadline_ns == FM_NEVER) {
        exit = do_work(job);
    } else {
        int r = fm_timeout(do_work, job, job->deadline_ns, &exit);
        if (r < 0)
            exit = fm_fail(r);
    }
    job_leave_result(job, exit);
    if (exit.kind == FM_SUCCESS || (exit.kind == FM_FAILURE && exit.code != -ECANCELED))
        exit.value = (void *)(uintptr_t)job->sequence;
    return exit;
}

/*
 * The body never ran: its maker has joined another, it was interrupted before its first line or
 * while it waited for its turn, that did not come in time, or there was no stack to run it on.
 */
void job_drop(void *arg)
{
    struct job *job = arg;
    if (fm_fiber_id(fm_fiber_self()) != job->maker) {
        bool interrupted = fm_interrupt_info(NULL) == 0;
        bool late = job->deadline_ns <= fm_now_ns();
        job_begin(job);
        job_leave_result(job, fm_fail(interrupted ? -ECANCELED : late ? -ETIMEDOUT : -ENOMEM));
    }
    free(job);
}

/* A deadline is for all incarnations together. */
bool job_may_restart(void *ctx, struct fm_key key, struct fm_exit exit, uint64_t count)
{
    const struct job *job = ctx;
    return fm_now_ns() < job->deadline_ns;
}

/* ---- making and ending ---- */

struct job *job_create(struct server *server, const struct job_spec *spec)
{
    size_t size = strlen(spec->key) + 1;
    struct job *job = calloc(1, sizeof *job + size);
    if (!job)
        return NULL;
    job->server = server;
    job->maker = fm_fiber_id(fm_fiber_self());
    job->deadline_ns = spec->deadline_ms ? fm_after_ms(spec->deadline_ms) : FM_NEVER;
    job->asked = spec->work;
    memcpy(job->key, spec->key, size);
    return job;
}

void job_free(struct job *job)
{
    free(job);
}

int64_t job_deadline_ns(const struct job *job)
{
    return job->deadline_ns;
}
