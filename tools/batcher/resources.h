/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resources.h - what there is so much of, and jobs take their share of while they are under way
 */
#ifndef BATCH_RESOURCES_H
#define BATCH_RESOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/batcher/plan.h"

enum { RESOURCES_MAX = 64 };

struct resources {
    unsigned count;
    struct resource {
        const char *name; /* the caller's, up to its '=' */
        size_t name_len;
        int64_t total, taken;
    } each[RESOURCES_MAX];
};

/*
 * One more, "name=amount": 0 · -EINVAL not of this form, or the amount is not from 1 to 10^15 ·
 * -EEXIST it is there · -ENOSPC too many
 */
int resources_add(struct resources *resources, const char *text);
/*
 * Say of each share of each job which resource it is of. 0 · -EINVAL, the complaint naming the
 * job: there is no such resource, or not so much of it
 */
int resources_bind(const struct resources *resources, struct plan *plan,
                   struct complaint *complaint);
/* Are all the job's shares free, and none of them of a resource in the set `closed`? */
bool resources_fit(const struct resources *resources, const struct job *job, uint64_t closed);
/* The set of those that the job has a share of. */
uint64_t resources_set(const struct job *job);
void resources_take(struct resources *resources, const struct job *job);
void resources_give(struct resources *resources, const struct job *job);

#endif
