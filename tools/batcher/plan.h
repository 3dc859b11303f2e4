/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - the jobs of a batch by key, and who needs whom
 */
#ifndef BATCH_PLAN_H
#define BATCH_PLAN_H

#include "tools/batcher/complaint.h"
#include "tools/batcher/job.h"
#include "tools/batcher/keys.h"

STAILQ_HEAD(job_queue, job);

struct plan {
    struct job_queue jobs; /* in the order of their numbers, which are 1 to count */
    size_t count;
    struct keys by_key;
    /* of jobs that come from now on */
    unsigned generation;
    bool forgetful; /* nobody wants their definitions */
    bool recorded;  /* they have been in a plan before: one with a key that is there queues */
};

void plan_init(struct plan *plan);
/* Frees the jobs too. */
void plan_fini(struct plan *plan);
#define PLAN_KEPT 1
/*
 * The job passes to the plan. Where its key is taken job->conflict says what becomes of it: it
 * comes last, behind those of its key (queue), or takes the place and the number of the first
 * of them, which is freed (replace).
 *
 * Returns    0 · -ENOMEM, and where the job stays the caller's: PLAN_KEPT (keep, join) ·
 *            -EEXIST · -EBUSY it would queue behind a service
 */
int plan_add(struct plan *plan, struct job *job);
/* The first with this key; NULL: none */
struct job *plan_find(const struct plan *plan, const char *key);
/* The one whose turn it is: the first that has not ended, or the last. */
struct job *plan_holder(const struct plan *plan, const char *key);
/*
 * It gives way to the next under its key: it is replaced, be it that it has yet to end, or it
 * is a service that was stopped.
 */
bool plan_superseded(const struct job *job);
/*
 * Join each job with those that need it, once all have been added and have the state that they
 * were left in. Who needs a key needs all jobs that had it when its own generation came; one
 * that has ended gives way to later generations, one that is superseded to the next.
 *
 * Returns    0 · -EINVAL a key that is not there, or a ring of jobs that need one another: the
 *            complaint names it, "line:column: ..." · -ENOMEM
 */
int plan_link(struct plan *plan, struct complaint *complaint);
/*
 * Those of `more`, which is empty then, come behind those that are there; they have their
 * numbers, and are not linked. 0 · -ENOMEM: nothing was done
 */
int plan_absorb(struct plan *plan, struct plan *more);
/* One more that needs `needed`, without counting that: 0 · -ENOMEM */
int plan_join(struct job *needed, struct job *job);
/* Call fn for each that this job needs, once for each time that it is linked with it. */
typedef void plan_need_fn(void *ctx, struct job *needed);
void plan_needs(const struct plan *plan, const struct job *job, plan_need_fn *fn, void *ctx);
/* The same for one job; 0 · as plan_link, but for rings · -ENOMEM: it may be linked in part */
int plan_link_one(struct plan *plan, struct job *job, struct complaint *complaint);

#endif
