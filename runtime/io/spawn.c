/*
 * spawn.c - from what was asked for to a child that runs it
 *
 * Owns        the child's ends of the pipes, until the child has them.
 * Knows not   how a child is made (launch.c), what becomes of it (process.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/fiber/runtime.h"
#include "runtime/io/blocking.h"
#include "runtime/io/fd.h"
#include "runtime/io/launch.h"
#include "runtime/io/process.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"
#include "runtime/sched/fork.h"

/* ---- what to run ---- */

static bool stdio_wrong(const struct fm_stdio *stdio, bool is_err)
{
    FM_ASSERT(stdio);
    return stdio->kind > (is_err ? FM_STDIO_STDOUT : FM_STDIO_FD) ||
           (stdio->kind == FM_STDIO_FD ? stdio->fd < 0 : stdio->fd != 0);
}

static bool limits_wrong(const struct fm_process_spec *spec)
{
    if (!spec->limits != !spec->limit_count)
        return true;
    for (uint32_t i = 0; i < spec->limit_count; i++)
        if (spec->limits[i].reserved || spec->limits[i].soft > spec->limits[i].hard)
            return true;
    return false;
}

enum {
    FLAGS = FM_PROCESS_GROUP | FM_PROCESS_ENV_ADD | FM_PROCESS_DETACHED | FM_PROCESS_IN_PLACE
};

static int read_spec(struct fm_process_spec *spec, const struct fm_process_spec *given)
{
    if (!given)
        return -EINVAL;
    int r = fm__config_read(spec, sizeof *spec, given);
    if (r < 0)
        return r;
    if (spec->flags & ~FLAGS ||
        !spec->argv == !spec->shell || (spec->argv && !spec->argv[0]) ||
        (spec->shell && spec->program) || limits_wrong(spec) || spec->death_signal < 0 ||
        spec->death_signal > PROCESS_SIGNAL_MAX || stdio_wrong(&spec->in, false) ||
        stdio_wrong(&spec->out, false) || stdio_wrong(&spec->err, true))
        return -EINVAL;
    return 0;
}

/*
 * A NULL-terminated list and the text that it points into, in one block; to be freed with
 * free().
 */
static const char **make_list(size_t count, size_t text_bytes, char **ret_text)
{
    FM_ASSERT(ret_text);
    const char **list = fm__malloc((count + 1) * sizeof *list + text_bytes);
    if (list)
        *ret_text = (char *)(list + count + 1);
    return list;
}

/* The files that a program's name may mean, in the order of PATH. NULL: no memory. */
static const char **find_files(const char *program)
{
    FM_ASSERT(program);
    const char *path = strchr(program, '/') || !*program ? NULL : getenv("PATH");
    size_t dirs = 1, count = 0;
    char *text;

    if (!path && !strchr(program, '/') && *program)
        path = "/bin:/usr/bin";
    for (const char *at = path; at && *at; at++)
        dirs += *at == ':';
    const char **files = make_list(dirs,
                                   (path ? strlen(path) : 0) + dirs * (strlen(program) + 3),
                                   &text);
    if (!files)
        return NULL;
    if (!path) {
        files[count++] = strcpy(text, program);
    } else {
        for (const char *dir = path;; dir++) {
            size_t length = strcspn(dir, ":");
            files[count++] = text;
            /* An empty name in PATH is the directory that the child starts in. */
            memcpy(text, length ? dir : ".", length ? length : 1);
            text += length ? length : 1;
            *text++ = '/';
            text = stpcpy(text, program) + 1;
            dir += length;
            if (!*dir)
                break;
        }
    }
    files[count] = NULL;
    return files;
}

static size_t list_length(const char *const *list)
{
    FM_ASSERT(list);
    size_t count = 0;
    while (list[count])
        count++;
    return count;
}

/* Whether two "NAME=value" name the same. */
static bool same_name(const char *a, const char *b)
{
    FM_ASSERT(a && b);
    size_t length = strcspn(a, "=");
    return strcspn(b, "=") == length && memcmp(a, b, length) == 0;
}

/* Our environment with `added` laid over it. NULL: no memory. */
static const char **add_to_env(const char *const *added)
{
    FM_ASSERT(added);
    const char *const *ours = (const char *const *)environ;
    size_t count = 0, added_count = list_length(added);
    char *text;
    const char **env = make_list((ours ? list_length(ours) : 0) + added_count, 0, &text);

    if (!env)
        return NULL;
    for (; ours && *ours; ours++) {
        bool replaced = false;
        for (size_t i = 0; i < added_count && !replaced; i++)
            replaced = same_name(*ours, added[i]);
        if (!replaced)
            env[count++] = *ours;
    }
    memcpy(env + count, added, (added_count + 1) * sizeof *env);
    return env;
}

/* ---- starting ---- */

static __attribute__((noinline)) int open_null(bool reads)
{
    int fd = fm__fault(FAULT_FD) ? (errno = EMFILE, -1)
                                 : open("/dev/null", (reads ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/*
 * The child's end is blocking, as programs expect; ours is not, where a fiber is going to use
 * it.
 */
static __attribute__((noinline)) int open_pipe(bool child_reads, bool for_fibers,
                                               int *ret_child, int *ret_ours)
{
    FM_ASSERT(ret_child && ret_ours);
    int ends[2];

    if (fm__fault(FAULT_FD))
        return -EMFILE;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ret_child = ends[child_reads ? 0 : 1];
    *ret_ours = ends[child_reads ? 1 : 0];
    if (for_fibers && fcntl(*ret_ours, F_SETFL, O_NONBLOCK) == 0)
        fm__fd_adopt(*ret_ours, KIND_PIPE);
    return 0;
}

static __attribute__((noinline)) bool is_descriptor(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* The child's ends of a spawn: those that are ours to close when it has them. */
struct ends {
    int fds[3];
    bool ours[3];
};

static int open_ends(struct fm_process *process, struct ends *ends,
                     const struct fm_process_spec *spec)
{
    const struct fm_stdio *stdio[3] = { &spec->in, &spec->out, &spec->err };
    bool for_fibers = fm__fiber_self() != NULL;

    for (int i = 0; i < 3; i++) {
        int r = 0;
        switch (stdio[i]->kind) {
        case FM_STDIO_INHERIT: break;
        case FM_STDIO_NULL:
            r = ends->fds[i] = open_null(i == 0);
            ends->ours[i] = r >= 0;
            break;
        case FM_STDIO_PIPE:
            r = open_pipe(i == 0, for_fibers, &ends->fds[i], &process->fds[i]);
            ends->ours[i] = r == 0;
            break;
        case FM_STDIO_FD:
            ends->fds[i] = stdio[i]->fd;
            r = is_descriptor(stdio[i]->fd) ? 0 : -EBADF;
            break;
        case FM_STDIO_STDOUT: ends->fds[i] = ends->fds[1] >= 0 ? ends->fds[1] : 1; break;
        default: break;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static void close_ends(const struct ends *ends)
{
    for (int i = 0; i < 3; i++)
        if (ends->ours[i])
            close(ends->fds[i]);
}

static struct fm_exit run_launch(void *launch)
{
    return fm_fail_with(fm__launch(launch), NULL);
}

/*
 * The exec may take its time, so a fiber has it done on another thread; where none can be had,
 * on its own worker.
 */
static int launch_elsewhere(struct launch *launch, int64_t deadline_ns)
{
    FM_ASSERT(launch->argv && launch->files);
    struct fm_exit exit;
    int r = launch->death_signal
                ? fm__blocking_run_kept(run_launch, launch, deadline_ns, &exit)
                : fm__blocking_run_lent(run_launch, launch, deadline_ns, &exit);
    if (r == 0)
        return exit.kind == FM_INTERRUPTED ? -ECANCELED : exit.code;
    if (r == -ECANCELED || r == -ETIMEDOUT || launch->death_signal)
        return r;
    return fm__launch(launch);
}

static int launch_in_place(struct launch *launch, int64_t deadline_ns)
{
    FM_ASSERT(launch->argv && launch->files);
    if (deadline_ns != FM_NEVER && deadline_ns <= fm_now_ns())
        return -ETIMEDOUT;
    return fm__launch(launch);
}

static int launch(struct fm_process *process, const struct fm_process_spec *spec,
                  const struct ends *ends, int64_t deadline_ns)
{
    FM_ASSERT(!spec->argv != !spec->shell);
    const char *const shell[] = { "/bin/sh", "-c", spec->shell, NULL };
    struct launch launch = { .argv = spec->shell ? shell : spec->argv,
                             .directory = spec->directory,
                             .fds = { ends->fds[0], ends->fds[1], ends->fds[2] },
                             .leads_group = spec->flags & FM_PROCESS_GROUP,
                             .death_signal = spec->death_signal,
                             .limits = spec->limits,
                             .limit_count = spec->limit_count };
    const char **added = NULL;
    int r = -ENOMEM;

    const char **files = find_files(spec->program ? spec->program : launch.argv[0]);
    if (!files)
        return r;
    launch.files = files;
    launch.env = spec->env ? spec->env : (const char *const *)environ;
    if (spec->env && spec->flags & FM_PROCESS_ENV_ADD) {
        launch.env = added = add_to_env(spec->env);
        if (!added)
            goto free_files;
    }
    r = spec->flags & FM_PROCESS_IN_PLACE ? launch_in_place(&launch, deadline_ns)
                                          : launch_elsewhere(&launch, deadline_ns);
    if (r == 0) {
        process->pid = launch.pid;
        process->pidfd = launch.pidfd;
        fm__fd_adopt(launch.pidfd, KIND_OTHER);
    }
    free(added);
free_files:
    free(files);
    return r;
}

int fm__process_spawn(const struct fm_process_spec *given, int64_t deadline_ns,
                      struct fm_process **ret_process)
{
    struct fm_process_spec spec;
    struct ends ends = { { -1, -1, -1 }, { false, false, false } };

    if (!ret_process)
        return -EINVAL;
    if (fm__forked())
        return -EPERM;
    int r = read_spec(&spec, given);
    if (r < 0)
        return r;
    r = fm_check();
    if (r < 0)
        return r;
    fm__process_sweep();
    struct fm_process *process = fm__calloc(1, sizeof *process);
    if (!process)
        return -ENOMEM;
    fm__lock_init(&process->lock, LOCK_SYNC);
    process->flags = spec.flags;
    for (int i = 0; i < 3; i++)
        process->fds[i] = -1;
    r = open_ends(process, &ends, &spec);
    if (r == 0)
        r = launch(process, &spec, &ends, deadline_ns);
    close_ends(&ends);
    if (r < 0) {
        fm__process_close_pipes(process);
        free(process);
        return r;
    }
    *ret_process = process;
    return 0;
}

int fm_process_spawn(const struct fm_process_spec *spec, struct fm_process **ret_process)
{
    return fm__process_spawn(spec, FM_NEVER, ret_process);
}
