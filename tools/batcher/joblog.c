/* SPDX-License-Identifier: Apache-2.0 */
/*
 * joblog.c - one line for each job that has ended, as GNU parallel writes it
 *
 * Opened to append: each line is one write, and a line is whole or not there.
 */
#include "tools/batcher/joblog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fm/fm.h"
#include "tools/batcher/output.h"

struct joblog {
    int fd;
};

static const char head[] =
    "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

int joblog_create(const char *path, bool append, struct joblog **ret_joblog)
{
    int anew = append ? 0 : O_TRUNC;
    int fd = open(path, O_WRONLY | O_CREAT | anew | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    int r = append ? 0 : write_whole(fd, head, sizeof head - 1);
    struct joblog *joblog = r == 0 ? malloc(sizeof *joblog) : NULL;
    if (!joblog) {
        close(fd);
        return r < 0 ? r : -ENOMEM;
    }
    joblog->fd = fd;
    *ret_joblog = joblog;
    return 0;
}

struct joblog *joblog_destroy(struct joblog *joblog)
{
    if (joblog)
        close(joblog->fd);
    free(joblog);
    return NULL;
}

struct line {
    int fd;
    char *text;
    size_t bytes;
};

static struct fm_exit write_entry(void *arg)
{
    struct line *line = arg;
    int r = write_whole(line->fd, line->text, line->bytes);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

int joblog_add(struct joblog *joblog, const struct job *job, const char *command)
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
    struct line line = { joblog->fd, text, (size_t)n };
    struct fm_exit exit;
    fm_mask();
    int r = fm_blocking(write_entry, &line, FM_NEVER, &exit);
    fm_unmask();
    free(text);
    return r == 0 && exit.kind != FM_SUCCESS ? exit.code : r;
}
