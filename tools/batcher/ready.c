/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready.c - wait for the end of a service's process, and see meanwhile when it is ready
 *
 * A fiber of its own looks, again and again until it has seen it. It alone says that the
 * service is up, and it is stopped before anything is made of its not having said so.
 */
#include "tools/batcher/ready.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/batcher/attempt.h"
#include "tools/batcher/conductor.h"
#include "tools/batcher/demand.h"
#include "tools/batcher/events.h"
#include "tools/batcher/pattern.h"
#include "tools/batcher/scan.h"
#include "tools/batcher/service_spec.h"

/* One of the two outputs, which goes to a file. */
struct tail {
    int fd;
    off_t at;
    struct scan scan;
};

struct watch {
    struct batch *batch;
    struct job *job;
    struct capture *capture; /* NULL: its outputs go to files */
    struct tail *tails;      /* two; NULL: nothing is read */
    int64_t start_ns;
    bool seen; /* that it is ready; read when nobody looks any more */
};

/* ---- looking ---- */

static bool port_is_open(const struct readiness *readiness)
{
    int fd;
    int64_t deadline_ns = fm_after_ns(readiness->timeout_ns);
    if (fm_dial_tcp(readiness->host, (uint16_t)readiness->port, deadline_ns, &fd) < 0)
        return false;
    fm_close(fd);
    return true;
}

static bool probe_succeeds(const struct job *job)
{
    const struct readiness *readiness = job->readiness;
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
    struct fm_process_output output;
    char **env = job_environment(job, 0);
    if (!env)
        return false;
    spec.argv = (const char *const *)readiness->argv;
    spec.shell = readiness->shell;
    spec.env = (const char *const *)env;
    spec.directory = job->directory;
    spec.flags = FM_PROCESS_GROUP | FM_PROCESS_ENV_ADD;
    spec.death_signal = SIGKILL;
    spec.in.kind = spec.out.kind = spec.err.kind = FM_STDIO_NULL;
    options.grace_ns = 1; /* it is there to be asked, and has nothing to tidy up */
    int r = fm_process_run(&spec, &options, fm_after_ns(readiness->timeout_ns), &output);
    bool well = r == 0 && output.status.kind == FM_PROCESS_EXITED && output.status.code == 0;
    if (r == 0 || r == FM_PROCESS_STOPPED)
        fm_process_output_free(&output);
    strings_free(env);
    return well;
}

static bool line_is_there(struct tail *tail, const regex_t *pattern)
{
    char text[1024];
    ssize_t n;
    while ((n = pread(tail->fd, text, sizeof text, tail->at)) > 0) {
        tail->at += n;
        if (scan_finds(&tail->scan, text, (size_t)n, pattern))
            return true;
    }
    return false;
}

static bool look(struct watch *watch)
{
    const struct readiness *readiness = watch->job->readiness;
    switch (readiness->kind) {
    case READY_PORT: return port_is_open(readiness);
    case READY_PROBE: return probe_succeeds(watch->job);
    case READY_LINE: break;
    }
    if (watch->capture)
        return capture_has_line(watch->capture);
    return line_is_there(&watch->tails[0], &readiness->pattern) ||
           line_is_there(&watch->tails[1], &readiness->pattern);
}

static void tell_up(struct watch *watch)
{
    struct batch *batch = watch->batch;
    int64_t took_ns = fm_now_ns() - watch->start_ns;
    int r = batch->events ? events_ready(batch->events, watch->job, took_ns) : 0;
    if (r < 0)
        conductor_give_up(batch, r, "cannot write the events");
    if (batch->options.verbose)
        printer_say(batch->printer, "batch: service \"%s\" is ready after %.3f s",
                    watch->job->key, (double)took_ns / 1e9);
    watch->seen = true;
    demand_up(batch, watch->job);
}

static struct fm_exit watch_entry(void *arg)
{
    struct watch *watch = arg;
    while (!look(watch))
        if (fm_sleep_ns(watch->job->readiness->interval_ns) < 0)
            return fm_interrupted();
    if (fm_check() < 0)
        return fm_interrupted();
    tell_up(watch);
    return fm_ok(NULL);
}

/* ---- waiting ---- */

static int wait_watched(struct watch *watch, struct fm_process *process,
                        struct fm_process_status *ret_status)
{
    struct fm_fiber *watcher;
    struct job *job = watch->job;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.stack_bytes = PATTERN_STACK;
    int r = fm_fiber_spawn(watch_entry, watch, &options, &watcher);
    if (r < 0)
        return r;
    int waited = fm_process_wait(process, fm_after_ns(job->readiness->within_ns), ret_status);
    fm_mask();
    fm_fiber_stop(watcher, FM_NEVER, NULL);
    fm_unmask();
    fm_fiber_unref(watcher);
    if (waited == -ETIMEDOUT && watch->seen)
        return fm_process_wait(process, FM_NEVER, ret_status);
    job->ending.early = waited == 0 && !watch->seen;
    return waited;
}

int ready_wait(struct batch *batch, struct job *job, const struct output *output,
               struct capture *capture, struct fm_process *process,
               struct fm_process_status *ret_status)
{
    struct watch watch = {
        .batch = batch, .job = job, .capture = capture, .start_ns = fm_now_ns()
    };
    int r = -ENOMEM;
    if (!job->readiness) {
        tell_up(&watch);
        r = fm_process_wait(process, FM_NEVER, ret_status);
    } else if (job->readiness->kind != READY_LINE || capture) {
        r = wait_watched(&watch, process, ret_status);
    } else if ((watch.tails = calloc(2, sizeof *watch.tails))) {
        watch.tails[0].fd = output->fd[0];
        watch.tails[1].fd = output->fd[1];
        r = wait_watched(&watch, process, ret_status);
    }
    free(watch.tails);
    demand_down(batch, job);
    return r;
}
