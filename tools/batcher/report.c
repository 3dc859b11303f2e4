/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c - how it went, all in all
 */
#include "tools/batcher/report.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static uint64_t failures(const struct batch *batch)
{
    return batch->count[JOB_FAILED] + batch->count[JOB_TIMED_OUT];
}

static uint64_t unfinished(const struct batch *batch)
{
    return batch->count[JOB_CANCELLED] + batch->count[JOB_SKIPPED] + batch->count[JOB_NOT_RUN];
}

void report_print(const struct batch *batch, int64_t elapsed_ns)
{
    const struct options *options = &batch->options;
    bool well = !failures(batch) && !unfinished(batch);
    if (options->quiet || options->dry_run ||
        (options->command == COMMAND_EACH && well && !options->verbose))
        return;
    char text[512];
    size_t len = 0;
    uint64_t all = 0;
    for (int state = JOB_SUCCEEDED; state < JOB_STATES; state++) {
        all += batch->count[state];
        if (batch->count[state])
            len += (size_t)snprintf(text + len, sizeof text - len, "%s %llu %s", len ? "," : "",
                                    (unsigned long long)batch->count[state],
                                    job_state_name(state));
    }
    if (batch->signal)
        fprintf(stderr, "batch: stopped by %s\n", strsignal(batch->signal));
    fprintf(stderr, "batch: %llu job%s:%s; %.3f s\n", (unsigned long long)all,
            all == 1 ? "" : "s", len ? text : " nothing to do", (double)elapsed_ns / 1e9);
}

int report_exit_code(const struct batch *batch)
{
    if (batch->signal)
        return 128 + batch->signal;
    if (batch->error)
        return batch->error == -EPIPE ? 128 + SIGPIPE : BATCH_ERROR;
    if (batch->halt_code >= 0)
        return batch->halt_code;
    if (batch->options.command == COMMAND_RUN)
        return failures(batch) || unfinished(batch);
    return failures(batch) > 100 ? 101 : (int)failures(batch);
}
