/*
 * signal.c - signals as something to wait for
 *
 * A signal that every thread has blocked stays pending for the process until somebody takes it.
 * A fiber takes it by way of a signalfd of its own; of all that become readable one reads the
 * signal and the others find nothing and wait on. A thread asks the kernel directly.
 */
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "fm/io.h"
#include "runtime/fiber/fiber.h"
#include "runtime/io/fd.h"
#include "runtime/io/process.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"

/* glibc's sigisemptyset looks at half of the real-time signals only (2.36). */
static bool can_be_waited_for(const sigset_t *set)
{
    if (!set || sigismember(set, SIGKILL) == 1 || sigismember(set, SIGSTOP) == 1)
        return false;
    for (int signo = 1; signo <= PROCESS_SIGNAL_MAX; signo++)
        if (sigismember(set, signo) == 1)
            return true;
    return false;
}

int fm_signal_block(const sigset_t *set)
{
    return set ? -pthread_sigmask(SIG_BLOCK, set, NULL) : -EINVAL;
}

static __attribute__((noinline)) int open_signalfd(const sigset_t *set)
{
    FM_ASSERT(set);
    int fd = fm__fault(FAULT_FD) ? (errno = EMFILE, -1)
                                 : signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    fm__fd_adopt(fd, KIND_OTHER);
    return fd;
}

static int wait_in_fiber(const sigset_t *set, int64_t deadline_ns, int *ret_signo)
{
    FM_ASSERT(fm__fiber_self());
    struct signalfd_siginfo info;

    int fd = open_signalfd(set);
    if (fd < 0)
        return fd;
    ssize_t n = fm_read(fd, &info, sizeof info, deadline_ns);
    fm_close(fd);
    if (n < 0)
        return (int)n;
    *ret_signo = (int)info.ssi_signo;
    return 0;
}

static int wait_in_thread(const sigset_t *set, int64_t deadline_ns, int *ret_signo)
{
    FM_ASSERT(!fm__fiber_self());
    for (;;) {
        struct timespec left = { 0, 0 };
        int64_t ns = deadline_ns > 0 && deadline_ns != FM_NEVER ? deadline_ns - fm__clock_ns()
                                                                : 0;
        if (ns > 0)
            left = (struct timespec) { ns / 1000000000, ns % 1000000000 };
        int signo = deadline_ns == FM_NEVER ? sigwaitinfo(set, NULL)
                                            : sigtimedwait(set, NULL, &left);
        if (signo > 0) {
            *ret_signo = signo;
            return 0;
        }
        if (errno != EINTR)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
    }
}

int fm_signal_wait(const sigset_t *set, int64_t deadline_ns, int *ret_signo)
{
    int signo = 0;

    if (!can_be_waited_for(set))
        return -EINVAL;
    int r = fm__fiber_self() ? wait_in_fiber(set, deadline_ns, &signo)
                             : wait_in_thread(set, deadline_ns, &signo);
    if (r == 0 && ret_signo)
        *ret_signo = signo;
    return r;
}
