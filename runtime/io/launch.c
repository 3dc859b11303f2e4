/*
 * launch.c - makes a child process that runs a program
 *
 * Between clone and exec the child runs in our memory, on a stack of its own, while this thread
 * stands still and the others go on. So it makes system calls and nothing else: the C library's
 * own would write to memory that both have (a sanitizer's records, a handler's), and no signal
 * may reach it while handlers of the program are in force:
 *
 *   parent                                   child
 *     block every signal
 *     clone: stands still                      every disposition to its default
 *                                              death signal, group, descriptors, directory,
 *                                              limits
 *                                              unblock: from here a signal does its usual
 *                                              exec; or leave the error in our memory and end
 *     the mask as it was
 *     an error: reap the child
 */
#include "runtime/io/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/io/process.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/sanitizer.h"

enum {
    STACK_BYTES = 4096,
    KERNEL_SET_BYTES = 8,  /* the kernel's set of signals; the C library's is larger */
    CLOSE_RANGE = 436,     /* its number on every architecture */
    CLOSE_BY_HAND = 65536, /* where nothing lists them: at most so many */
    FIRST_OWN_FD = 3,
};

struct birth {
    struct launch *launch;
    pid_t parent;
    bool no_close_range, no_list; /* as if refused */
    int error;                    /* written by the child */
};

/* What the kernel writes into a list of a folder. */
struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t bytes; /* to the next entry */
    uint8_t type;
    char name[];
};

/* Which errors say only that this file was not the one. */
static FM_NO_ASAN FM_NO_TSAN bool is_of_the_file(int error)
{
    return error == ENOENT || error == ENOTDIR || error == EACCES || error == ENODEV ||
           error == ESTALE || error == ETIMEDOUT;
}

/* A number, or -1 for what is none. */
static FM_NO_ASAN FM_NO_TSAN long read_number(const char *name)
{
    long number = 0;

    for (; *name >= '0' && *name <= '9'; name++)
        number = number * 10 + (*name - '0');
    return *name ? -1 : number;
}

/* Those that /proc lists: a place in the list is a number, so closing moves none. */
static FM_NO_ASAN FM_NO_TSAN bool close_listed(void)
{
    _Alignas(struct entry) char list[512];
    long folder = syscall(SYS_openat, AT_FDCWD, "/proc/self/fd",
                          O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    long bytes = -1;

    if (folder < 0)
        return false;
    while ((bytes = syscall(SYS_getdents64, folder, list, sizeof list)) > 0)
        for (long at = 0; at < bytes;) {
            const struct entry *entry = (const struct entry *)(list + at);
            long fd = read_number(entry->name);
            if (fd >= FIRST_OWN_FD && fd != folder)
                syscall(SYS_close, fd);
            at += entry->bytes;
        }
    syscall(SYS_close, folder);
    return bytes == 0;
}

/* Linux has close_range since 5.9, and a sandbox may refuse it. */
static FM_NO_ASAN FM_NO_TSAN void close_others(const struct birth *birth)
{
    if (!birth->no_close_range && syscall(CLOSE_RANGE, FIRST_OWN_FD, ~0u, 0) == 0)
        return;
    if (!birth->no_list && close_listed())
        return;
    for (long fd = FIRST_OWN_FD; fd < CLOSE_BY_HAND; fd++)
        syscall(SYS_close, fd);
}

/* What stands where the program's 0, 1 and 2 go is moved out of the way first. 0 · errno */
static FM_NO_ASAN FM_NO_TSAN int place_descriptors(const struct launch *launch)
{
    long fds[3] = { launch->fds[0], launch->fds[1], launch->fds[2] };

    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0 && fds[i] < FIRST_OWN_FD)
            fds[i] = syscall(SYS_fcntl, fds[i], F_DUPFD_CLOEXEC, FIRST_OWN_FD);
        if (fds[i] < 0 && launch->fds[i] >= 0)
            return errno;
    }
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0 && syscall(SYS_dup3, fds[i], i, 0) < 0)
            return errno;
    return 0;
}

static FM_NO_ASAN FM_NO_TSAN int execute(const struct launch *launch)
{
    int error = ENOENT;
    bool denied = false;

    for (const char *const *file = launch->files; *file; file++) {
        syscall(SYS_execve, *file, launch->argv, launch->env);
        error = errno;
        denied = denied || error == EACCES;
        if (!is_of_the_file(error))
            return error;
    }
    return denied ? EACCES : error;
}

/* Last, for a limit may be in the way of what comes before. 0 · errno */
static FM_NO_ASAN FM_NO_TSAN int limit(const struct launch *launch)
{
    for (uint32_t i = 0; i < launch->limit_count; i++) {
        const struct fm_process_limit *it = &launch->limits[i];
        const uint64_t soft_and_hard[2] = { it->soft, it->hard };
        if (syscall(SYS_prlimit64, 0, it->resource, soft_and_hard, NULL) < 0)
            return errno;
    }
    return 0;
}

static FM_NO_ASAN FM_NO_TSAN int child(void *arg)
{
    struct birth *birth = arg;
    const struct launch *launch = birth->launch;
    /*
     * The kernel's struct sigaction: zeros are the default, whatever the machine calls its
     * fields.
     */
    static const uint64_t by_default[8];
    static const uint64_t no_signals;

    for (long signo = 1; signo <= PROCESS_SIGNAL_MAX; signo++)
        syscall(SYS_rt_sigaction, signo, by_default, NULL, KERNEL_SET_BYTES);
    if (launch->death_signal) {
        syscall(SYS_prctl, PR_SET_PDEATHSIG, launch->death_signal, 0, 0, 0);
        /* The parent may have died before it had a say. */
        if (syscall(SYS_getppid) != birth->parent)
            syscall(SYS_exit_group, 127);
    }
    int error = 0;
    if (launch->leads_group && syscall(SYS_setpgid, 0, 0) < 0)
        error = errno;
    if (!error)
        error = place_descriptors(launch);
    if (!error)
        close_others(birth);
    if (!error && launch->directory && syscall(SYS_chdir, launch->directory) < 0)
        error = errno;
    if (!error)
        error = limit(launch);
    if (!error) {
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, NULL, KERNEL_SET_BYTES);
        error = execute(launch);
    }
    birth->error = error;
    syscall(SYS_exit_group, 127);
    __builtin_unreachable();
}

static void reap(int pidfd)
{
    siginfo_t info;
    while (waitid((idtype_t)PROCESS_WAIT_PIDFD, (id_t)pidfd, &info, WEXITED) < 0 &&
           errno == EINTR)
        ;
}

__attribute__((noinline)) int fm__launch(struct launch *launch)
{
    FM_ASSERT(launch->files && launch->argv);
    _Alignas(16) char stack[STACK_BYTES];
    const uint64_t all_signals = UINT64_MAX;
    uint64_t before;
    struct birth birth = { .launch = launch, .parent = getpid() };

    if (fm__fault(FAULT_PROCESS))
        return -EAGAIN;
    birth.no_close_range = fm__fault(FAULT_CLOSE);
    birth.no_list = birth.no_close_range && fm__fault(FAULT_CLOSE);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all_signals, &before, KERNEL_SET_BYTES);
    pid_t pid = FM_CLONE(child, stack + sizeof stack,
                         CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &birth,
                         &launch->pidfd);
    int r = pid < 0 ? -errno : -birth.error;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, KERNEL_SET_BYTES);
    if (pid >= 0 && r < 0) {
        reap(launch->pidfd);
        close(launch->pidfd);
    }
    launch->pid = pid;
    return r;
}
