/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt.c - run a job's command once
 *
 * The process leads a group of its own and dies when this program does, however that ends.
 */
#include "tools/batcher/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/batcher/call.h"
#include "tools/batcher/call_output.h"
#include "tools/batcher/conductor.h"
#include "tools/batcher/guard.h"
#include "tools/batcher/plain.h"
#include "tools/batcher/ready.h"
#include "tools/batcher/said.h"
#include "tools/batcher/template.h"

static const int64_t SHORT_NS = 4000000;

/* ---- what to run ---- */

static char *shell_line(const struct job *job, unsigned slot)
{
    return job->template ? template_fill(job->template, job->argument, job->number, slot)
                         : strdup(job->shell);
}

char *job_command(const struct job *job, unsigned slot)
{
    if (job->call)
        return call_line(job->call);
    if (!job->argv)
        return shell_line(job, slot);
    size_t size = 1;
    for (size_t i = 0; job->argv[i]; i++)
        size += strlen(job->argv[i]) + 1;
    char *text = calloc(1, size);
    for (size_t i = 0; text && job->argv[i]; i++)
        strcat(strcat(text, i ? " " : ""), job->argv[i]);
    return text;
}

/* What stands behind its standard input: a descriptor, or -1 for nothing · -errno */
static int input_open(const struct job *job, int *ret_fd)
{
    *ret_fd = -1;
    if (job->input_file)
        return fm_open(job->input_file, O_RDONLY, 0, FM_NEVER, ret_fd);
    if (!job->input)
        return 0;
    int fd = memfd_create("stdin", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t bytes = strlen(job->input);
    int r = write_whole(fd, job->input, bytes);
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r < 0)
        close(fd);
    else
        *ret_fd = fd;
    return r;
}

char **job_environment(const struct job *job, unsigned slot)
{
    size_t count = 0;
    while (job->env && job->env[count])
        count++;
    char **env = calloc(count + 4, sizeof *env);
    if (!env)
        return NULL;
    int r = asprintf(&env[0], "BATCH_KEY=%s", job->key);
    if (r >= 0)
        r = asprintf(&env[1], "BATCH_ATTEMPT=%u", job->attempts);
    if (r >= 0)
        r = asprintf(&env[2], "BATCH_SLOT=%u", slot);
    for (size_t i = 0; i < count && r >= 0; i++) {
        env[3 + i] = strdup(job->env[i]);
        r = env[3 + i] ? 0 : -1;
    }
    if (r < 0) {
        strings_free(env);
        return NULL;
    }
    return env;
}

static bool finds_programs_itself(const struct job *job)
{
    for (char **env = job->env; env && *env; env++)
        if (!strncmp(*env, "PATH=", 5))
            return true;
    return false;
}

/* A plain line is run without a shell; if that fails the shell says what it thinks of it. */
static int spawn_line(const struct job *job, struct fm_process_spec *spec, const char *shell,
                      struct fm_process **ret_process)
{
    char **words = job->directory || finds_programs_itself(job) ? NULL : plain_words(shell);
    int r = -ENOEXEC;
    if (words) {
        spec->argv = (const char *const *)words;
        r = fm_process_spawn(spec, ret_process);
        free(words);
        spec->argv = NULL;
    }
    if (r == 0 || r == -ECANCELED)
        return r;
    spec->shell = shell;
    return fm_process_spawn(spec, ret_process);
}

static int spawn(struct batch *batch, struct job *job, const struct said *said,
                 const struct output *output, struct fm_process **ret_process)
{
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process_limit limits[LIMITS];
    char *shell = job->argv ? NULL : shell_line(job, job->ending.slot);
    char **env = job_environment(job, job->ending.slot);
    int input;
    job->ending.step = "its standard input cannot be opened";
    int r = env && (job->argv || shell) ? input_open(job, &input) : -ENOMEM;
    if (r == 0) {
        job->ending.step = job->directory ? "it cannot be started in its directory"
                                          : "it cannot be started";
        spec.argv = (const char *const *)job->argv;
        spec.env = (const char *const *)env;
        spec.directory = job->directory;
        spec.flags = FM_PROCESS_GROUP | FM_PROCESS_ENV_ADD | FM_PROCESS_IN_PLACE;
        spec.death_signal = SIGKILL;
        spec.in.kind = input >= 0 ? FM_STDIO_FD : FM_STDIO_NULL;
        spec.in.fd = input >= 0 ? input : 0;
        spec.limit_count = limits_list(job->limits, &batch->options.limits, limits);
        spec.limits = spec.limit_count ? limits : NULL;
        said_place(said, output, &spec);
        r = shell ? spawn_line(job, &spec, shell, ret_process)
                  : fm_process_spawn(&spec, ret_process);
        if (input >= 0)
            fm_close(input);
    }
    strings_free(env);
    free(shell);
    return r;
}

/* ---- from start to end ---- */

/* process: NULL while it does not run, and of one that is built in. */
static void set_running(struct batch *batch, struct job *job, bool runs,
                        struct fm_process *process)
{
    pthread_mutex_lock(&batch->lock);
    if (runs)
        TAILQ_INSERT_TAIL(&batch->running, job, in_state);
    else
        TAILQ_REMOVE(&batch->running, job, in_state);
    batch->running_count += runs ? 1 : (size_t)-1;
    job->process = process;
    job->state = runs ? JOB_RUNNING : JOB_READY;
    pthread_mutex_unlock(&batch->lock);
}

static int64_t deadline(const struct batch *batch, const struct job *job)
{
    int64_t timeout_ns = job->timeout_ns ? job->timeout_ns : batch->options.timeout_ns;
    return timeout_ns ? fm_after_ns(timeout_ns) : FM_NEVER;
}

/*
 * Until when it counts as short: on a grid, so that of all who wait but the first finds a timer
 * that is early enough.
 */
static int64_t soon(void)
{
    return (fm_now_ns() / SHORT_NS + 2) * SHORT_NS;
}

/* Results as fm_process_wait(), capture_follow(). */
static int await_in_time(struct batch *batch, struct job *job, const struct output *output,
                         struct capture *capture, struct fm_process *process)
{
    struct fm_process_status *status = &job->ending.status;
    if (job->restart)
        return ready_wait(batch, job, output, capture, process, status);
    int64_t deadline_ns = deadline(batch, job), soon_ns = soon();
    if (capture && soon_ns < deadline_ns) {
        int r = fm_process_wait(process, soon_ns, status);
        if (r != -ETIMEDOUT)
            return r;
        r = capture_follow(capture);
        if (r < 0)
            return r;
    }
    return fm_process_wait(process, deadline_ns, status);
}

static void await_end(struct batch *batch, struct job *job, const struct output *output,
                      struct capture *capture, struct fm_process *process)
{
    struct ending *ending = &job->ending;
    int r = await_in_time(batch, job, output, capture, process);
    if (r == -ETIMEDOUT || r == -ECANCELED) {
        ending->timed_out = r == -ETIMEDOUT && !job->restart;
        ending->late = r == -ETIMEDOUT && job->restart;
        ending->stopped = r == -ECANCELED;
        capture_follow(capture); /* it may say much in its grace */
        r = fm_process_stop(process, batch->options.grace_ns, &ending->status);
    }
    ending->error = r;
    ending->step = "its end cannot be told";
}

/*
 * What it said cannot be kept. With a full disk that holds for all that come: nothing goes on,
 * and this attempt has not been.
 */
static int not_kept(struct batch *batch, struct job *job, struct output *output, int error)
{
    job->ending.step = "its output cannot be kept";
    if (error == -ENOSPC || error == -EDQUOT) {
        job->ending.stopped = true;
        output_close(output);
        conductor_give_up(batch, error, "cannot keep what the jobs say");
    }
    return error;
}

static int run_process(struct batch *batch, struct job *job, struct output *output)
{
    struct fm_process *process = NULL;
    struct said said;
    int r = said_begin(&said, batch, job, output);
    if (r < 0) {
        job->ending.stopped = r == -ECANCELED;
        return not_kept(batch, job, output, r);
    }
    r = spawn(batch, job, &said, output, &process);
    if (r == 0)
        r = said_started(&said, job, process);
    if (r < 0) {
        job->ending.stopped = r == -ECANCELED;
        said_end(&said, output);
        fm_process_destroy(process);
        return r;
    }
    set_running(batch, job, true, process);
    await_end(batch, job, output, said.capture, process);
    if (job->restart || ending_state(&job->ending) != JOB_SUCCEEDED)
        guard_end(batch->guard, job->key, job->attempts, batch->options.grace_ns);
    set_running(batch, job, false, NULL);
    fm_process_destroy(process);
    r = said_end(&said, output);
    return r < 0 && !job->ending.error ? not_kept(batch, job, output, r) : job->ending.error;
}

/* What is built in, with the streams that it writes to. */
static int run_work(struct batch *batch, struct job *job, const struct keeping *keeping,
                    struct output *output)
{
    struct ending *ending = &job->ending;
    struct call_output streams;
    int r = call_output_open(&streams, keeping, output);
    if (r < 0)
        return not_kept(batch, job, output, r);
    set_running(batch, job, true, NULL);
    ending->step = "it cannot be done";
    r = call_run(job->call, job->directory, deadline(batch, job), streams.files[0],
                 streams.files[1], &ending->status.code);
    set_running(batch, job, false, NULL);
    ending->timed_out = r == -ETIMEDOUT;
    ending->stopped = r == -ECANCELED;
    int kept = call_output_close(&streams, output);
    if (ending->timed_out || ending->stopped)
        r = 0;
    return r == 0 && kept < 0 ? not_kept(batch, job, output, kept) : r;
}

static int run_call(struct batch *batch, struct job *job, struct output *output)
{
    struct said said;
    *output = (struct output)OUTPUT_NONE;
    int r = said_of_call(&said, batch, job);
    if (r < 0)
        return not_kept(batch, job, output, r);
    r = run_work(batch, job, &said.keeping, output);
    int saved = said_save(&said, output);
    return r == 0 && saved < 0 ? not_kept(batch, job, output, saved) : r;
}

void attempt_run(struct batch *batch, struct job *job, unsigned slot, struct output *output)
{
    job->ending = (struct ending) { .slot = slot, .started_at_ns = wall_ns() };
    job->attempts++;
    int64_t start_ns = fm_now_ns();
    job->ending.error = job->call ? run_call(batch, job, output)
                                  : run_process(batch, job, output);
    job->ending.run_ns = fm_now_ns() - start_ns;
    job->ending.out_bytes = output->bytes[0];
    job->ending.err_bytes = output->bytes[1];
    job->ending.cut_bytes = output->left_out;
}
