/* SPDX-License-Identifier: Apache-2.0 */
/*
 * summary.h - what the reports say of the whole: who was slow, and what all had to wait for
 */
#ifndef BATCH_SUMMARY_H
#define BATCH_SUMMARY_H

#include "tools/batcher/batch.h"
#include "tools/batcher/runs.h"

enum { SLOWEST_MAX = 10 };

struct summary {
    const struct batch *batch;
    int exit_code;
    int64_t elapsed_ns;
    int64_t begin_ns;           /* of the first attempt, since 1970; 0: there was none */
    int64_t user_ns, system_ns; /* of all attempts */
    int64_t max_rss_bytes;      /* of the largest */
    uint64_t attempts;
    const struct job *slowest[SLOWEST_MAX]; /* the slowest first */
    size_t slowest_count;
    /* The critical path: each needs the one before it, and together no others took longer. */
    const struct job **path;
    size_t path_count;
    int64_t path_ns;
};

/* All has ended. 0 · -ENOMEM */
int summary_init(struct summary *summary, const struct batch *batch, int64_t elapsed_ns,
                 int exit_code);
void summary_fini(struct summary *summary);

/* A job as it is called in reports: its key, of `each` number and argument; cut to fit. */
const char *summary_name(const struct job *job, char *text, size_t size);

#endif
