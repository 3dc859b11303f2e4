/*
 * process.c - the handle of a child process: its pipes, its end, its signals
 *
 * Owns        the child until its end is collected, the pidfd, our ends of the pipes until they
 *             are taken.
 * Knows not   how a child is made (launch.c).
 * Invariant   The child's number is its own until `ended`: who reaps and who signals hold the
 *             lock. So a signal never meets somebody else, and the status is collected once.
 *
 *   spawn --> running -- ends --> a zombie -- collect_locked --> ended -- destroy --> freed
 *               |                   (whoever looks: a waiter, a destroyer, a sweep)
 *               '-- destroy: killed, or left alone if detached;
 *                   then the handle belongs to a fiber that waits for the end, or, where there
 *                   is no runtime (any more) to wait in, to the list of the left.
 */
#include "fm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fm/io.h"
#include "runtime/fiber/runtime.h"
#include "runtime/io/blocking.h"
#include "runtime/io/fd.h"
#include "runtime/io/launch.h"
#include "runtime/io/process.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"
#include "runtime/sched/fork.h"

enum {
    SIGNALS = 64,
    WAIT_PIDFD = 3, /* P_PIDFD, which headers older than glibc 2.36 do not name */
};

struct fm_process {
    struct lock lock; /* LOCK_SYNC: from here to status */
    bool ended;       /* collected: pid may be anybody's */
    bool lost;        /* by somebody else: there is no status */
    bool killed;      /* it will end at once */
    bool sweeps;      /* what is left of the group is killed when the leader ends */
    struct fm_process_status status;

    uint32_t flags;
    pid_t pid;
    int pidfd;
    int fds[3];              /* our ends; -1: none */
    struct fm_process *next; /* on the list of the left */
};

/* ---- what to run ---- */

static bool stdio_wrong(const struct fm_stdio *stdio, bool is_err)
{
    return stdio->kind > (is_err ? FM_STDIO_STDOUT : FM_STDIO_FD) ||
           (stdio->kind == FM_STDIO_FD ? stdio->fd < 0 : stdio->fd != 0);
}

static int read_spec(struct fm_process_spec *spec, const struct fm_process_spec *given)
{
    if (!given)
        return -EINVAL;
    int r = fm__config_read(spec, sizeof *spec, given);
    if (r < 0)
        return r;
    if (spec->flags & ~(FM_PROCESS_GROUP | FM_PROCESS_ENV_ADD | FM_PROCESS_DETACHED) ||
        !spec->argv == !spec->shell || (spec->argv && !spec->argv[0]) ||
        (spec->shell && spec->program) || spec->reserved || spec->death_signal < 0 ||
        spec->death_signal > SIGNALS || stdio_wrong(&spec->in, false) ||
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
    const char **list = fm__malloc((count + 1) * sizeof *list + text_bytes);
    if (list)
        *ret_text = (char *)(list + count + 1);
    return list;
}

/* The files that a program's name may mean, in the order of PATH. NULL: no memory. */
static const char **find_files(const char *program)
{
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
    size_t count = 0;
    while (list[count])
        count++;
    return count;
}

/* Whether two "NAME=value" name the same. */
static bool same_name(const char *a, const char *b)
{
    size_t length = strcspn(a, "=");
    return strcspn(b, "=") == length && memcmp(a, b, length) == 0;
}

/* Our environment with `added` laid over it. NULL: no memory. */
static const char **add_to_env(const char *const *added)
{
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
 * The exec may take its time, so a fiber has it done on another thread; without one, on its own
 * worker.
 */
static int launch_elsewhere(struct launch *launch)
{
    struct fm_exit exit;
    int r = launch->death_signal
                ? fm__blocking_run_kept(run_launch, launch, NULL, WAIT_MASKED, FM_NEVER, &exit)
                : fm__blocking_run(run_launch, launch, NULL, WAIT_MASKED, FM_NEVER, &exit);
    if (r == 0)
        return exit.kind == FM_INTERRUPTED ? -ECANCELED : exit.code;
    return launch->death_signal ? r : fm__launch(launch);
}

static int launch(struct fm_process *process, const struct fm_process_spec *spec,
                  const struct ends *ends)
{
    const char *const shell[] = { "/bin/sh", "-c", spec->shell, NULL };
    struct launch launch = { .argv = spec->shell ? shell : spec->argv,
                             .directory = spec->directory,
                             .fds = { ends->fds[0], ends->fds[1], ends->fds[2] },
                             .leads_group = spec->flags & FM_PROCESS_GROUP,
                             .death_signal = spec->death_signal };
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
    r = launch_elsewhere(&launch);
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

static void close_pipes(struct fm_process *process)
{
    for (int i = 0; i < 3; i++)
        if (process->fds[i] >= 0)
            fm_close(process->fds[i]);
}

int fm_process_spawn(const struct fm_process_spec *given, struct fm_process **ret_process)
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
        r = launch(process, &spec, &ends);
    close_ends(&ends);
    if (r < 0) {
        close_pipes(process);
        free(process);
        return r;
    }
    *ret_process = process;
    return 0;
}

pid_t fm_process_id(const struct fm_process *process)
{
    return process ? process->pid : 0;
}

/* ---- its pipes ---- */

int fm_process_fd(const struct fm_process *process, int which)
{
    if (!process || which < 0 || which > 2)
        return -EINVAL;
    return process->fds[which] >= 0 ? process->fds[which] : -EBADF;
}

int fm_process_take_fd(struct fm_process *process, int which)
{
    int fd = fm_process_fd(process, which);
    if (fd >= 0)
        process->fds[which] = -1;
    return fd;
}

int fm_process_close_fd(struct fm_process *process, int which)
{
    int fd = fm_process_take_fd(process, which);
    return fd < 0 ? fd : fm_close(fd);
}

/* ---- its end ---- */

static int64_t ns_of(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000000 + (int64_t)time.tv_usec * 1000;
}

/* waitid(2) as the kernel has it, with the usage. 1 it has ended · 0 it runs · -errno */
static int ask(const struct fm_process *process, int flags, siginfo_t *info,
               struct rusage *usage)
{
    long r;

    info->si_pid = 0;
    do
        r = syscall(SYS_waitid, WAIT_PIDFD, process->pidfd, info, WEXITED | WNOHANG | flags,
                    usage);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : info->si_pid != 0;
}

static int send_locked(struct fm_process *process, int signo)
{
    long r = process->flags & FM_PROCESS_GROUP
                 ? kill(-process->pid, signo)
                 : syscall(SYS_pidfd_send_signal, process->pidfd, signo, NULL, 0);
    return r < 0 ? -errno : 0;
}

/* Whether it has ended; the first to see it collects the status. The caller holds the lock. */
static __attribute__((noinline)) bool collect_locked(struct fm_process *process)
{
    struct fm_process_status *status = &process->status;
    struct rusage usage = { 0 };
    siginfo_t info;

    if (process->ended)
        return true;
    /* The group keeps its number for as long as its leader is not collected. */
    if (process->sweeps && ask(process, WNOWAIT, &info, NULL) == 1)
        send_locked(process, SIGKILL);
    int r = ask(process, 0, &info, &usage);
    if (r == 0)
        return false;
    process->ended = true;
    process->lost = r < 0;
    if (r < 0)
        return true;
    status->kind = info.si_code == CLD_EXITED ? FM_PROCESS_EXITED : FM_PROCESS_SIGNALLED;
    status->code = info.si_status;
    status->core_dumped = info.si_code == CLD_DUMPED;
    status->user_ns = ns_of(usage.ru_utime);
    status->system_ns = ns_of(usage.ru_stime);
    status->max_rss_bytes = (int64_t)usage.ru_maxrss * 1024;
    status->minor_faults = usage.ru_minflt;
    status->major_faults = usage.ru_majflt;
    return true;
}

static bool collect(struct fm_process *process)
{
    fm__lock(&process->lock);
    bool ended = collect_locked(process);
    fm__unlock(&process->lock);
    return ended;
}

static __attribute__((noinline)) int await_in_thread(int pidfd, int64_t deadline_ns)
{
    struct pollfd p = { .fd = pidfd, .events = POLLIN };

    for (;;) {
        struct timespec left = { 0, 0 };
        if (deadline_ns != FM_NEVER && deadline_ns > 0) {
            int64_t ns = deadline_ns - fm__clock_ns();
            if (ns > 0)
                left = (struct timespec) { ns / 1000000000, ns % 1000000000 };
        }
        int n = ppoll(&p, 1, deadline_ns == FM_NEVER ? NULL : &left, NULL);
        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

int fm_process_wait(struct fm_process *process, int64_t deadline_ns,
                    struct fm_process_status *ret_status)
{
    if (!process)
        return -EINVAL;
    if (fm__forked())
        return -EPERM;
    /* Of those who wait at once one collects; the others find it done. */
    while (!collect(process)) {
        int r = fm__fiber_self() ? fm_io_wait(process->pidfd, FM_IO_READ, deadline_ns)
                                 : await_in_thread(process->pidfd, deadline_ns);
        if (r < 0)
            return r;
    }
    /* Written once, under the lock that collect has just given back. */
    if (process->lost)
        return -ECHILD;
    if (ret_status)
        *ret_status = process->status;
    return 0;
}

static __attribute__((noinline)) int kill_process(struct fm_process *process, int signo)
{
    fm__lock(&process->lock);
    int r = process->ended ? -ESRCH : send_locked(process, signo);
    fm__unlock(&process->lock);
    return r;
}

int fm_process_kill(struct fm_process *process, int signo)
{
    if (!process || signo < 0 || signo > SIGNALS)
        return -EINVAL;
    return fm__forked() ? -EPERM : kill_process(process, signo);
}

static int stop(struct fm_process *process, int64_t grace_ns, struct fm_process_status *status)
{
    int r = -ETIMEDOUT;

    if (grace_ns > 0) {
        kill_process(process, SIGTERM);
        kill_process(process, SIGCONT);
        r = fm_process_wait(process, fm_after_ns(grace_ns), status);
        if (r == 0 || r == -ECHILD)
            return r;
    }
    int killed = kill_process(process, SIGKILL);
    if (killed == -EPERM)
        return killed;
    return r == -ETIMEDOUT ? fm_process_wait(process, FM_NEVER, status) : r;
}

int fm_process_stop(struct fm_process *process, int64_t grace_ns,
                    struct fm_process_status *ret_status)
{
    if (!process || grace_ns < 0)
        return -EINVAL;
    if (fm__forked())
        return -EPERM;
    fm__lock(&process->lock);
    process->sweeps = process->flags & FM_PROCESS_GROUP;
    fm__unlock(&process->lock);
    fm_mask(); /* in a thread there is nothing to mask */
    int r = stop(process, grace_ns, ret_status);
    fm_unmask();
    return r;
}

/* ---- without a handle ---- */

static struct lock left_lock = LOCK_INIT(LOCK_RUNTIME);
static struct fm_process *left; /* under left_lock */

static void free_process(struct fm_process *process)
{
    fm_close(process->pidfd);
    free(process);
}

size_t fm__process_sweep(void)
{
    struct fm_process *ended = NULL;
    size_t running = 0;

    fm__lock(&left_lock);
    for (struct fm_process **at = &left, *process; (process = *at);) {
        if (collect(process)) {
            *at = process->next;
            process->next = ended;
            ended = process;
        } else {
            at = &process->next;
            running++;
        }
    }
    fm__unlock(&left_lock);
    while (ended) {
        struct fm_process *next = ended->next;
        free_process(ended);
        ended = next;
    }
    return running;
}

/* No fiber can wait for it. One that was killed is gone in a moment: this thread waits. */
static void leave(void *arg)
{
    struct fm_process *process = arg;

    if (process->killed) {
        while (!collect(process) && await_in_thread(process->pidfd, FM_NEVER) == 0)
            ;
        free_process(process);
        return;
    }
    fm__lock(&left_lock);
    process->next = left;
    left = process;
    fm__unlock(&left_lock);
}

static struct fm_exit reap(void *arg)
{
    struct fm_process *process = arg;

    if (process->killed)
        fm_mask();
    int r = fm_process_wait(process, FM_NEVER, NULL);
    if (r == 0 || r == -ECHILD)
        free_process(process);
    else
        leave(process);
    return fm_ok(NULL);
}

struct fm_process *fm_process_destroy(struct fm_process *process)
{
    if (!process || fm__forked())
        return NULL;
    close_pipes(process);
    fm__lock(&process->lock);
    bool ended = collect_locked(process);
    if (!ended && !(process->flags & FM_PROCESS_DETACHED)) {
        process->sweeps = process->flags & FM_PROCESS_GROUP;
        process->killed = send_locked(process, SIGKILL) == 0;
    }
    fm__unlock(&process->lock);
    if (ended) {
        free_process(process);
    } else {
        const struct fm_spawn_options options = { .size = sizeof options,
                                                  .name = "process reaper",
                                                  .flags = FM_SPAWN_DETACHED,
                                                  .arg_drop = leave };
        if (fm_fiber_spawn(reap, process, &options, NULL) < 0)
            leave(process);
    }
    fm__process_sweep();
    return NULL;
}
