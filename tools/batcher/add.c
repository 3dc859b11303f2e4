/* SPDX-License-Identifier: Apache-2.0 */
/*
 * add.c - jobs that come while a batch runs
 *
 * Who adds is alone, by a mutex of fibers, so that the plan stays as it was judged; only states
 * go on meanwhile. First all is judged, then it stands in the journal, then it is in the plan:
 * a kill in between leaves a journal from which the jobs are run. Until it is in the plan the
 * batch does not come to its end, but for a halt.
 *
 * A job that replaces another is behind it under its key, and starts when that has ended; those
 * that need it need the new one from then on.
 */
#include "tools/batcher/add.h"

#include <errno.h>
#include <string.h>

#include "tools/batcher/admit.h"
#include "tools/batcher/conductor.h"
#include "tools/batcher/demand.h"
#include "tools/batcher/jobfile.h"
#include "tools/batcher/journal.h"
#include "tools/batcher/states.h"

/* ---- the text ---- */

/* Of `replace KEY`: one job, with that key. */
static int check_key(struct plan *more, const char *name, const char *key,
                     struct complaint *complaint)
{
    struct job *job = STAILQ_FIRST(&more->jobs);
    if (more->count != 1 || strcmp(job->key, key))
        return complain(complaint, "%s: to replace \"%s\" takes one job, with this key", name,
                        key);
    job->conflict = CONFLICT_REPLACE;
    return 0;
}

static int read_jobs(struct batch *batch, const char *name, const char *text, const char *key,
                     struct plan *more, struct complaint *complaint)
{
    if (!text) { /* the plan is read: who adds is alone */
        const struct job *job = plan_find(&batch->plan, key);
        while (job && job->after)
            job = job->after;
        if (!job)
            return -ENOENT;
        text = job->definition;
    }
    int r = jobfile_take(name, text, strlen(text), more, complaint);
    return r == 0 && key ? check_key(more, name, key, complaint) : r;
}

/* ---- into the plan ---- */

/* Those that need the old one and have not begun need the new one instead. */
static int take_over_locked(struct batch *batch, struct job *old, struct job *job)
{
    if (old->up)
        states_hold(batch, old);
    old->up = false;
    for (size_t i = 0; i < old->dependent_count; i++) {
        int r = old->dependents[i]->state < JOB_SUCCEEDED && !old->dependents[i]->taken
                    ? plan_join(job, old->dependents[i])
                    : 0;
        if (r < 0)
            return r;
    }
    old->dependent_count = 0;
    return 0;
}

/* It is replaced: it ends here, or is to be stopped. */
static void replace_locked(struct batch *batch, struct job *old)
{
    if (old->state >= JOB_SUCCEEDED)
        return;
    if (old->taken) {
        conductor_interrupt_locked(batch, old);
        return;
    }
    if (old->state == JOB_READY)
        TAILQ_REMOVE(&batch->ready, old, in_state);
    states_end(batch, old, JOB_REPLACED);
    TAILQ_INSERT_TAIL(&batch->skipped, old, in_state);
}

/* NULL: nobody */
static struct job *whom_it_replaces(const struct plan *plan, const struct job *job)
{
    struct job *old = job->replaces ? plan_find(plan, job->key) : NULL;
    while (old && old->number != job->replaces)
        old = old->after;
    return old;
}

/* All of them come. -ENOMEM: some have */
static int commit_locked(struct batch *batch, struct plan *more)
{
    struct complaint unused;
    struct job *first = STAILQ_FIRST(&more->jobs), *job, *old;
    size_t count = more->count;
    int r = plan_absorb(&batch->plan, more);
    batch->all += r == 0 ? count : 0;
    for (job = r == 0 ? first : NULL; job; job = STAILQ_NEXT(job, in_plan)) {
        job->batch = batch;
        demand_add_locked(batch, job);
        old = whom_it_replaces(&batch->plan, job);
        if (old && old->state < JOB_SUCCEEDED)
            old->replaced = true; /* from here on nobody means it */
    }
    for (job = first; job && r == 0; job = STAILQ_NEXT(job, in_plan))
        r = plan_link_one(&batch->plan, job, &unused);
    for (job = first; job && r == 0; job = STAILQ_NEXT(job, in_plan)) {
        old = whom_it_replaces(&batch->plan, job);
        if (old && old->state < JOB_SUCCEEDED)
            r = take_over_locked(batch, old, job);
    }
    for (job = first; job && r == 0; job = STAILQ_NEXT(job, in_plan))
        states_begin(batch, job);
    for (job = first; job && r == 0; job = STAILQ_NEXT(job, in_plan))
        if ((old = whom_it_replaces(&batch->plan, job)))
            replace_locked(batch, old);
    return r;
}

/* Services' numbers are not waited for with --keep-order. */
static void pass_over_services(struct batch *batch, const struct job *first)
{
    for (const struct job *job = first; job; job = STAILQ_NEXT(job, in_plan)) {
        struct output nothing = OUTPUT_NONE;
        if (job->restart && batch->options.keep_order)
            printer_put(batch->printer, job->number, &nothing);
    }
}

/* ---- all ---- */

static int admit(struct batch *batch, struct plan *more, const char *name,
                 struct json_object *answer, struct complaint *complaint)
{
    pthread_mutex_lock(&batch->lock);
    int r = batch->halting != GO_ON || batch->over ? -ESHUTDOWN : 0;
    if (r == 0)
        r = admit_locked(batch, more, name, answer, complaint);
    batch->adding = r == 0;
    pthread_mutex_unlock(&batch->lock);
    return r;
}

/* They are admitted. 0 · -EIO, -ENOMEM all is being stopped · -ESHUTDOWN it was meanwhile */
static int enter(struct batch *batch, struct plan *more)
{
    struct record record = { .added = more };
    struct job *first = STAILQ_FIRST(&more->jobs);
    bool journal = batch->journal && !batch->options.dry_run && first;
    int r = journal ? journal_write(batch->journal, &record) : 0;
    bool written = r == 0;
    pthread_mutex_lock(&batch->lock);
    batch->adding = false;
    if (written && batch->over)
        r = -ESHUTDOWN;
    else if (written)
        r = commit_locked(batch, more);
    pthread_mutex_unlock(&batch->lock);
    fm_semaphore_release(batch->news, 1);
    if (r == -ESHUTDOWN)
        return r;
    if (r < 0)
        conductor_give_up(batch, r, written ? "cannot add jobs" : "cannot write the journal");
    pass_over_services(batch, r == 0 ? first : NULL);
    demand_review(batch);
    return r;
}

int add_jobs(struct batch *batch, const char *name, const char *text, const char *key,
             struct json_object *answer, struct complaint *complaint)
{
    struct plan more;
    plan_init(&more);
    int r = fm_mutex_lock(batch->adders, FM_NEVER);
    if (r < 0)
        return r;
    fm_mask(); /* what has been begun is done whole */
    more.generation = batch->plan.generation + 1;
    r = read_jobs(batch, name, text, key, &more, complaint);
    if (r == 0)
        r = admit(batch, &more, name, answer, complaint);
    if (r == 0)
        r = enter(batch, &more);
    plan_fini(&more);
    fm_unmask();
    fm_mutex_unlock(batch->adders);
    return r;
}
