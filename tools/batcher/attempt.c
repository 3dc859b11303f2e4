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

#include "tools/batcher/ready.h"
#include "tools/batcher/template.h"

/* ---- what to run ---- */

static char *shell_line(const struct job *job, unsigned slot)
{
    return job->template ? template_fill(job->template, job->argument, job->number, slot)
                         : strdup(job->shell);
}

char *job_command(const struct job *job, unsigned slot)
{
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

static int spawn(struct batch *batch, struct job *job, unsigned slot,
                 const struct output *output, struct fm_process **ret_process)
{
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    char *shell = job->argv ? NULL : shell_line(job, slot);
    char **env = job_environment(job, slot);
    int input;
    job->ending.step = "its standard input cannot be opened";
    int r = env && (job->argv || shell) ? input_open(job, &input) : -ENOMEM;
    if (r == 0) {
        job->ending.step = job->directory ? "it cannot be started in its directory"
                                          : "it cannot be started";
        spec.argv = (const char *const *)job->argv;
        spec.shell = shell;
        spec.env = (const char *const *)env;
        spec.directory = job->directory;
        spec.flags = FM_PROCESS_GROUP | FM_PROCESS_ENV_ADD;
        spec.death_signal = SIGKILL;
        spec.in.kind = input >= 0 ? FM_STDIO_FD : FM_STDIO_NULL;
        spec.in.fd = input >= 0 ? input : 0;
        if (!batch->options.ungroup) {
            spec.out.kind = spec.err.kind = FM_STDIO_FD;
            spec.out.fd = output->fd[0];
            spec.err.fd = output->fd[1];
        }
        r = fm_process_spawn(&spec, ret_process);
        if (input >= 0)
            fm_close(input);
    }
    strings_free(env);
    free(shell);
    return r;
}

/* ---- from start to end ---- */

static void set_running(struct batch *batch, struct job *job, struct fm_process *process)
{
    pthread_mutex_lock(&batch->lock);
    if (process)
        TAILQ_INSERT_TAIL(&batch->running, job, in_state);
    else
        TAILQ_REMOVE(&batch->running, job, in_state);
    batch->running_count += process ? 1 : (size_t)-1;
    job->process = process;
    job->state = process ? JOB_RUNNING : JOB_READY;
    pthread_mutex_unlock(&batch->lock);
}

/* Results as fm_process_wait(). */
static int await_in_time(struct batch *batch, struct job *job, const struct output *output,
                         struct fm_process *process)
{
    int64_t timeout_ns = job->timeout_ns ? job->timeout_ns : batch->options.timeout_ns;
    if (job->restart)
        return ready_wait(batch, job, output, process, &job->ending.status);
    return fm_process_wait(process, timeout_ns ? fm_after_ns(timeout_ns) : FM_NEVER,
                           &job->ending.status);
}

static void await_end(struct batch *batch, struct job *job, const struct output *output,
                      struct fm_process *process)
{
    struct ending *ending = &job->ending;
    int r = await_in_time(batch, job, output, process);
    if (r == -ETIMEDOUT || r == -ECANCELED) {
        ending->timed_out = r == -ETIMEDOUT && !job->restart;
        ending->late = r == -ETIMEDOUT && job->restart;
        ending->stopped = r == -ECANCELED;
        r = fm_process_stop(process, batch->options.grace_ns, &ending->status);
    }
    ending->error = r;
    ending->step = "its end cannot be told";
}

/* FOLDER/KEY, in which no key can reach elsewhere: 0 · -ENAMETOOLONG */
static int results_folder(const struct batch *batch, const struct job *job, char *path,
                          size_t size)
{
    const char *name = job->template ? job->argument : job->key;
    int n = snprintf(path, size, "%s/%s", batch->options.results, job->template ? "1/" : "");
    if (n < 0 || (size_t)n >= size)
        return -ENAMETOOLONG;
    char *end = path + n, *limit = path + size - 3;
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        *end++ = '\\'; /* these would be other folders */
    for (; *name; name++) {
        if (end >= limit)
            return -ENAMETOOLONG;
        const char *from = "/\\\t", *to = "_\\t";
        const char *special = strchr(from, *name);
        if (special)
            *end++ = '\\';
        *end++ = special ? to[special - from] : *name;
    }
    *end = '\0';
    return 0;
}

static int files_open(struct batch *batch, struct job *job, struct output *output)
{
    char folder[3072];
    *output = (struct output)OUTPUT_NONE;
    if (batch->options.ungroup)
        return 0;
    if (!batch->options.results)
        return output_open(output, NULL);
    int r = results_folder(batch, job, folder, sizeof folder);
    return r < 0 ? r : output_open(output, folder);
}

void attempt_run(struct batch *batch, struct job *job, unsigned slot, struct output *output)
{
    struct fm_process *process = NULL;
    job->ending = (struct ending) { .slot = slot, .started_at_ns = wall_ns() };
    job->attempts++;
    int64_t start_ns = fm_now_ns();
    job->ending.step = "its output cannot be kept";
    int r = files_open(batch, job, output);
    if (r == 0)
        r = spawn(batch, job, slot, output, &process);
    if (r == 0) {
        set_running(batch, job, process);
        await_end(batch, job, output, process);
        set_running(batch, job, NULL);
        fm_process_destroy(process);
        output_settle(output);
    } else {
        job->ending.error = r;
        job->ending.stopped = r == -ECANCELED;
    }
    job->ending.run_ns = fm_now_ns() - start_ns;
    job->ending.out_bytes = output->bytes[0];
}
