/*
 * process.c - the handle of a child process: its pipes, its end, its signals
 *
 * Owns        the child until its end is collected, the pidfd, our ends of the pipes until they
 *             are taken.
 * Knows not   how a process is started (spawn.c).
 * Invariant   The child's number is its own until `ended`: who reaps and who signals hold the
 *             lock. So a signal never meets somebody else, and the status is collected once.
 *
 *   spawn --> running -- ends --> a zombie -- collect_locked --> ended -- destroy --> freed
 *               |                   (whoever looks: a waiter, a destroyer, a sweep)
 *               '-- destroy: killed, or left alone if detached;
 *                   then the handle belongs to a fiber that waits for the end, or, where there
 *                   is no runtime (any more) to wait in, to the list of the left.
 */
#include "runtime/io/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fm/io.h"
#include "runtime/fiber/runtime.h"
#include "runtime/platform/clock.h"
#include "runtime/sched/fork.h"

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

void fm__process_close_pipes(struct fm_process *process)
{
    for (int i = 0; i < 3; i++)
        if (process->fds[i] >= 0)
            fm_close(process->fds[i]);
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
    FM_ASSERT(process->pidfd >= 0);
    long r;

    info->si_pid = 0;
    do
        r = syscall(SYS_waitid, PROCESS_WAIT_PIDFD, process->pidfd, info,
                    WEXITED | WNOHANG | flags, usage);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : info->si_pid != 0;
}

static int send_locked(struct fm_process *process, int signo)
{
    FM_ASSERT(fm__lock_held(&process->lock) && !process->ended);
    long r = process->flags & FM_PROCESS_GROUP
                 ? kill(-process->pid, signo)
                 : syscall(SYS_pidfd_send_signal, process->pidfd, signo, NULL, 0);
    return r < 0 ? -errno : 0;
}

/* Whether it has ended; the first to see it collects the status. The caller holds the lock. */
static __attribute__((noinline)) bool collect_locked(struct fm_process *process)
{
    FM_ASSERT(fm__lock_held(&process->lock));
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
    if (!process || signo < 0 || signo > PROCESS_SIGNAL_MAX)
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
    fm__process_close_pipes(process);
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
