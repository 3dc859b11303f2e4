/* SPDX-License-Identifier: Apache-2.0 */
/*
 * joblog.c - one line for each job that has ended, as GNU parallel writes it
 */
#include "tools/batcher/joblog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const char joblog_head[] =
    "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

int joblog_add(struct lines *joblog, const struct job *job, const char *command)
{
    const struct ending *ending = &job->ending;
    bool killed = !ending->error && ending->status.kind == FM_PROCESS_SIGNALLED;
    char *text;
    int n = asprintf(&text, "%llu\t:\t%.3f\t%10.3f\t0\t%zu\t%d\t%d\t%s\n",
                     (unsigned long long)job->number, (double)ending->started_at_ns / 1e9,
                     (double)ending->run_ns / 1e9, ending->out_bytes,
                     ending->timed_out ? -1
                     : killed          ? 0
                                       : ending_code(ending),
                     killed ? ending->status.code : 0, command);
    if (n < 0)
        return -ENOMEM;
    for (char *at = text; at < text + n - 1; at++)
        if (*at == '\n')
            *at = ' '; /* one line is one job */
    int r = lines_add(joblog, text, (size_t)n);
    free(text);
    return r;
}
