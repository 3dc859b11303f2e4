/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - fibermap-batch: read what is to be done, do it, say how it went
 *
 * The signals are blocked before there is another thread, so that a fiber gets them. The first
 * stops all jobs in order and has it reported, the second kills them, the third ends the
 * program at once; those that still run die with it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/batcher/batch.h"
#include "tools/batcher/client.h"
#include "tools/batcher/conductor.h"
#include "tools/batcher/control.h"
#include "tools/batcher/demand.h"
#include "tools/batcher/each.h"
#include "tools/batcher/events.h"
#include "tools/batcher/guard.h"
#include "tools/batcher/jobfile.h"
#include "tools/batcher/joblog.h"
#include "tools/batcher/journal.h"
#include "tools/batcher/progress.h"
#include "tools/batcher/report.h"
#include "tools/batcher/reports.h"
#include "tools/batcher/slots.h"

/* So many jobs may wait for their next attempt before no more are taken up. */
enum { WAITING_MAX = 1024 };

static _Noreturn void die(const char *what, int r)
{
    fprintf(stderr, "batch: %s: %s\n", what, fm_strerror(r));
    exit(BATCH_ERROR);
}

/* ---- signals ---- */

static sigset_t signals;

static void signals_block(void)
{
    sigset_t unasked;
    sigemptyset(&unasked);
    sigaddset(&unasked, SIGCHLD); /* at every end this thread would be woken for nothing */
    fm_signal_block(&unasked);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    fm_signal_block(&signals);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the limit is an error and not our end */
}

static struct fm_exit signals_entry(void *arg)
{
    struct batch *batch = arg;
    int number;
    for (int times = 1;; times++) {
        int r = fm_signal_wait(&signals, FM_NEVER, &number);
        if (r < 0)
            return fm_fail(r);
        if (times == 1)
            conductor_halt(batch, HALT_NOW, number);
        else if (times == 2)
            conductor_kill_all(batch);
        else
            _exit(128 + number);
    }
}

/* ---- the whole ---- */

static _Noreturn void die_of(const struct complaint *complaint)
{
    fprintf(stderr, "batch: %s\n", complaint->text);
    exit(BATCH_ERROR);
}

static void make_journal(struct batch *batch)
{
    const struct options *options = &batch->options;
    struct complaint complaint;
    int r = store_create(options->journal, &batch->plan, options->argv, options->durable,
                         &batch->store, &complaint);
    if (r == -EEXIST)
        complain(&complaint, "%s is there already: batch resume %s goes on with it",
                 options->journal, options->journal);
    if (r == -ENOMEM)
        die(options->journal, r);
    if (r < 0)
        die_of(&complaint);
}

static void make_each(struct batch *batch)
{
    const struct options *options = &batch->options;
    int r = each_create(options, options->resumed ? &batch->past : NULL, &batch->each);
    if (r == -ENOTTY)
        fprintf(stderr,
                "batch: %s does not have all arguments, which came from the standard "
                "input: give it all of them again\n",
                options->journal);
    if (r == -ENOTTY)
        exit(BATCH_ERROR);
    if (r < 0)
        die(options->argument_file ? options->argument_file : "each", r);
}

static void check_plan(struct batch *batch)
{
    struct complaint complaint;
    if (resources_bind(&batch->options.resources, &batch->plan, &complaint) < 0 ||
        rates_bind(&batch->options.rates, &batch->plan, &complaint) < 0 ||
        demand_check(&batch->options, &batch->plan, NULL, &complaint) < 0) {
        struct complaint whole;
        const char *file = batch->options.file;
        complain(&whole, "%s:%s",
                 batch->options.resumed ? "journal"
                 : !strcmp(file, "-")   ? "standard input"
                                        : file,
                 complaint.text);
        die_of(&whole);
    }
}

static void read_jobs(struct batch *batch)
{
    struct complaint complaint;
    batch->plan.forgetful = !batch->options.journal && !batch->options.socket;
    int r = jobfile_read(batch->options.file, &batch->plan, &complaint);
    if (r == -EINVAL)
        die_of(&complaint);
    if (r < 0)
        die(batch->options.file, r);
    check_plan(batch);
    if (batch->options.journal && !batch->options.dry_run)
        make_journal(batch);
}

/* The jobs of the journal, with the options and in the directory that it was begun with. */
static void read_journal(struct batch *batch)
{
    const char *path = batch->options.file;
    struct complaint complaint;
    int r = store_open(path, &batch->store, &complaint);
    if (r == -EINVAL)
        die_of(&complaint);
    batch->begun = r == 0 ? store_words(batch->store) : NULL;
    if (!batch->begun || !batch->begun[0] || !batch->begun[1])
        die(path, -EIO);
    if (chdir(batch->begun[0]) < 0)
        die(batch->begun[0], -errno);
    options_resume(&batch->options, batch->begun + 1);
    bool each = batch->options.command == COMMAND_EACH, again = batch->options.retry_failed;
    r = each ? store_load_each(batch->store, again, &batch->past, &complaint)
             : store_load(batch->store, again, &batch->plan, &complaint);
    if (r == -EINVAL)
        die_of(&complaint);
    if (r < 0)
        die(path, r);
    if (each)
        make_each(batch);
    else
        check_plan(batch);
}

static void read_plan(struct batch *batch)
{
    plan_init(&batch->plan);
    switch (batch->options.command) {
    case COMMAND_RUN: read_jobs(batch); break;
    case COMMAND_RESUME: read_journal(batch); break;
    case COMMAND_STATUS:
    case COMMAND_CANCEL:
    case COMMAND_ADD:
    case COMMAND_REPLACE:
    case COMMAND_WAIT: break;
    case COMMAND_EACH:
        make_each(batch);
        if (batch->options.journal && !batch->options.dry_run)
            make_journal(batch);
        break;
    }
}

/* All has ended: the last things to be said. */
static void finish(struct batch *batch)
{
    int r = printer_flush(batch->printer);
    if (r < 0)
        conductor_give_up(batch, r, "cannot print");
    r = batch->events ? events_over(batch->events, batch, report_exit_code(batch)) : 0;
    if (r < 0)
        conductor_give_up(batch, r, "cannot write the events");
}

/* What could not be done, for the last message. */
static const char *failed_at = "cannot go on";

/* Nobody needs what the jobs have left behind any more. */
static void end_orphans(struct batch *batch)
{
    size_t ended = guard_end(batch->guard, NULL, 0, batch->options.grace_ns);
    if (ended && !batch->options.quiet)
        printer_say(batch->printer, "batch: ended %zu process%s that jobs had left behind",
                    ended, ended == 1 ? "" : "es");
}

/* Everything, with those who look on: the signals, the terminal, the socket. */
static int run_all(struct batch *batch)
{
    struct fm_fiber *watcher, *progress = NULL;
    struct control *control = NULL;
    int r = fm_fiber_spawn(signals_entry, batch, NULL, &watcher);
    if (r < 0)
        return r;
    if (batch->options.socket)
        r = control_start(batch, batch->options.socket, &control);
    if (r < 0)
        failed_at = batch->options.socket;
    if (r == 0 && progress_wanted(&batch->options))
        fm_fiber_spawn(progress_entry, batch, NULL, &progress); /* without it: no progress */
    if (r == 0)
        r = conductor_run(batch);
    end_orphans(batch);
    if (progress)
        fm_fiber_stop(progress, FM_NEVER, NULL);
    fm_fiber_unref(progress);
    fm_fiber_stop(watcher, FM_NEVER, NULL);
    fm_fiber_unref(watcher);
    control_stop(control);
    return r;
}

static struct fm_exit program(void *arg)
{
    struct batch *batch = arg;
    int r = run_all(batch);
    if (r == 0) {
        printer_progress(batch->printer, "");
        finish(batch);
    }
    guard_dismiss(batch->guard);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct lines *open_lines(const struct batch *batch, const char *path, const char *head)
{
    struct lines *lines = NULL;
    int r = path ? lines_create(path, batch->options.resumed, head, &lines) : 0;
    if (r < 0)
        die(path, r);
    return lines;
}

static void open_reports(struct batch *batch)
{
    const char *path = "cannot start";
    if (!batch->options.report_count || batch->options.dry_run)
        return;
    int r = reports_create(&batch->options, &batch->reports, &path);
    if (r < 0)
        die(path, r);
}

/* What cannot be reported is told, and makes another exit code. */
static int write_reports(struct batch *batch, int64_t elapsed_ns, int exit_code)
{
    struct summary summary;
    const char *path = "cannot report";
    if (!batch->reports)
        return exit_code;
    int r = summary_init(&summary, batch, elapsed_ns, exit_code);
    if (r == 0)
        r = reports_write(batch->reports, &summary, &path);
    if (r < 0)
        fprintf(stderr, "batch: %s: %s\n", path, fm_strerror(r));
    summary_fini(&summary);
    return r < 0 && !exit_code ? BATCH_ERROR : exit_code;
}

static void batch_init(struct batch *batch)
{
    struct fm_runtime_config runtime = FM_RUNTIME_CONFIG_INIT;
    runtime.flags = FM_RUNTIME_NO_STALL_REPORT; /* a slow exec is no news to who uses us */
    int r = fm_runtime_create(&runtime, &batch->runtime);
    if (r < 0)
        die("cannot start the runtime", r);
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.runtime = batch->runtime;
    config.name = "jobs";
    config.max_live = batch->options.jobs + WAITING_MAX;
    if (batch->options.dry_run)
        batch->options.rates.count = 0; /* nothing is started */
    pthread_mutex_init(&batch->lock, NULL);
    conductor_init(batch);
    r = fm_map_create(&config, &batch->map);
    config.name = "services";
    config.max_live = 0;
    if (r == 0)
        r = fm_map_create(&config, &batch->services);
    if (r == 0)
        r = fm_semaphore_create(0, &batch->news);
    if (r == 0)
        r = printer_create(batch->options.keep_order, &batch->printer);
    if (r == 0)
        r = slots_create(batch->options.jobs, &batch->slots);
    if (r == 0)
        r = fm_mutex_create(&batch->adders);
    if (r == 0)
        r = rates_init(&batch->options.rates);
    if (r == 0 && batch->store)
        r = journal_create(batch->store, &batch->journal);
    if (r < 0)
        die("cannot start", r);
    batch->joblog = open_lines(batch, batch->options.joblog, joblog_head);
    batch->events = open_lines(batch, batch->options.events, "");
    open_reports(batch);
}

static void batch_fini(struct batch *batch)
{
    batch->map = fm_map_destroy(batch->map);
    batch->services = fm_map_destroy(batch->services);
    batch->each = each_destroy(batch->each);
    batch->runtime = fm_runtime_destroy(batch->runtime);
    batch->joblog = lines_destroy(batch->joblog);
    batch->events = lines_destroy(batch->events);
    batch->reports = reports_destroy(batch->reports);
    batch->journal = journal_destroy(batch->journal);
    batch->guard = guard_destroy(batch->guard);
    past_fini(&batch->past);
    strings_free(batch->begun);
    batch->slots = slots_destroy(batch->slots);
    rates_fini(&batch->options.rates);
    batch->adders = fm_mutex_destroy(batch->adders);
    batch->printer = printer_destroy(batch->printer);
    batch->news = fm_semaphore_destroy(batch->news);
    plan_fini(&batch->plan);
    pthread_mutex_destroy(&batch->lock);
}

/* In the main thread, which has nothing else to do but to reap orphans. */
static void run_program(struct batch *batch)
{
    struct fm_exit exit;
    struct fm_fiber *fiber;
    int r = fm_runtime_spawn(batch->runtime, program, batch, NULL, &fiber);
    if (r == 0) {
        guard_reap(batch->guard);
        r = fm_fiber_join(fiber, FM_NEVER, &exit);
        fm_fiber_unref(fiber);
    }
    if (r < 0 || exit.kind != FM_SUCCESS)
        die(failed_at, r < 0 ? r : exit.code);
}

/* While we are small: the watcher is a copy of us. */
static void make_guard(struct batch *batch)
{
    int why;
    bool in_cgroup = batch->options.cgroup;
    batch->guard = guard_create(in_cgroup, &why);
    if (in_cgroup && why < 0 && !batch->options.quiet)
        fprintf(stderr, "batch: goes on without a cgroup of its own: %s\n", fm_strerror(why));
}

int main(int argc, char *argv[])
{
    static struct batch batch;
    options_read(&batch.options, argc, argv);
    if (batch.options.command >= COMMAND_STATUS) {
        signal(SIGPIPE, SIG_IGN);
        return client_run(&batch.options);
    }
    signals_block();
    if (!batch.options.dry_run)
        make_guard(&batch);
    read_plan(&batch);
    batch_init(&batch);
    int64_t start_ns = fm_now_ns();
    run_program(&batch);
    int64_t elapsed_ns = fm_now_ns() - start_ns;
    report_print(&batch, elapsed_ns);
    int code = write_reports(&batch, elapsed_ns, report_exit_code(&batch));
    batch_fini(&batch);
    return code;
}
