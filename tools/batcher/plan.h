/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - the jobs of a batch by key, and who needs whom
 */
#ifndef BATCH_PLAN_H
#define BATCH_PLAN_H

#include "tools/batcher/complaint.h"
#include "tools/batcher/job.h"

STAILQ_HEAD(job_queue, job);

struct plan {
    struct job_queue jobs; /* in the order in which they were added */
    size_t count;
    void *by_key;
};

void plan_init(struct plan *plan);
/* Frees the jobs too. */
void plan_fini(struct plan *plan);
/* The job passes to the plan: 0 · -EEXIST its key is taken · -ENOMEM; else it stays. */
int plan_add(struct plan *plan, struct job *job);
/* NULL: none */
struct job *plan_find(const struct plan *plan, const char *key);
/*
 * Join each job with those that need it, once all have been added.
 *
 * Returns    0 · -EINVAL a key that is not there, or a ring of jobs that need one another: the
 *            complaint names it · -ENOMEM
 */
int plan_link(struct plan *plan, struct complaint *complaint);

#endif
