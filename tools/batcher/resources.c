/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resources.c - what there is so much of, and jobs take their share of while they are under way
 *
 * Plain numbers: the conductor guards them.
 */
#include "tools/batcher/resources.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const int64_t amount_max = INT64_C(1000000000000000);

/* Which one has this name; count if none has. */
static unsigned find(const struct resources *resources, const char *name, size_t len)
{
    unsigned i = 0;
    while (i < resources->count &&
           (resources->each[i].name_len != len || memcmp(resources->each[i].name, name, len)))
        i++;
    return i;
}

int resources_add(struct resources *resources, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || equals[1] < '0' || equals[1] > '9')
        return -EINVAL;
    char *end;
    errno = 0;
    long long amount = strtoll(equals + 1, &end, 10);
    if (*end || errno || amount < 1 || amount > amount_max)
        return -EINVAL;
    size_t len = (size_t)(equals - text);
    if (find(resources, text, len) < resources->count)
        return -EEXIST;
    if (resources->count == RESOURCES_MAX)
        return -ENOSPC;
    resources->each[resources->count++] = (struct resource) { text, len, amount, 0 };
    return 0;
}

static int bind(const struct resources *resources, struct job *job, struct share *share,
                struct complaint *complaint)
{
    share->resource = find(resources, share->name, strlen(share->name));
    if (share->resource == resources->count)
        return complain(complaint,
                        "%zu:%zu: job \"%s\" wants of \"%s\", which there is not: "
                        "--resource=%s=AMOUNT says how much there is",
                        job->line, job->column, job->key, share->name, share->name);
    int64_t total = resources->each[share->resource].total;
    if (share->amount > total)
        return complain(complaint,
                        "%zu:%zu: job \"%s\" wants %lld of \"%s\", of which there is %lld",
                        job->line, job->column, job->key, (long long)share->amount, share->name,
                        (long long)total);
    return 0;
}

int resources_bind(const struct resources *resources, struct plan *plan,
                   struct complaint *complaint)
{
    struct job *job;
    STAILQ_FOREACH(job, &plan->jobs, in_plan) {
        for (size_t i = 0; i < job->share_count; i++) {
            int r = bind(resources, job, &job->shares[i], complaint);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

bool resources_fit(const struct resources *resources, const struct job *job, uint64_t closed)
{
    for (size_t i = 0; i < job->share_count; i++) {
        const struct resource *resource = &resources->each[job->shares[i].resource];
        if (resource->total - resource->taken < job->shares[i].amount)
            return false;
    }
    return !(resources_set(job) & closed);
}

uint64_t resources_set(const struct job *job)
{
    uint64_t set = 0;
    for (size_t i = 0; i < job->share_count; i++)
        set |= UINT64_C(1) << job->shares[i].resource;
    return set;
}

void resources_take(struct resources *resources, const struct job *job)
{
    for (size_t i = 0; i < job->share_count; i++)
        resources->each[job->shares[i].resource].taken += job->shares[i].amount;
}

void resources_give(struct resources *resources, const struct job *job)
{
    for (size_t i = 0; i < job->share_count; i++)
        resources->each[job->shares[i].resource].taken -= job->shares[i].amount;
}
