/*
 * io.c - bytes in and out
 *
 * Owns        nothing: a call's state stands on its own stack.
 * Knows not   sockets' names and addresses (socket.c).
 *
 * No call raises SIGPIPE: sockets are written with MSG_NOSIGNAL; for pipes and sendfile the
 * kernel is asked for the same, or, where it is older than Linux 6.18, the signal is blocked in
 * the thread for the time of the call and taken back if it came.
 */
#include "fm/io.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "runtime/io/call.h"
#include "runtime/io/quiet.h"
#include "runtime/platform/check.h"
#include "runtime/sched/fork.h"

/* pwritev2: -EPIPE without SIGPIPE; Linux 6.18. Headers do not name it yet. */
enum { RWF_NO_SIGNAL = 0x100 };

_Atomic bool fm__quiet_by_mask;

/*
 * A system call's result as ours. It is the next thing done after the call, in the same thread.
 */
#define RESULT(n) ((n) < 0 ? -errno : (n))
#define RETRY(n, expression) \
    do { \
        (n) = (expression); \
    } while ((n) < 0 && errno == EINTR)

/* ---- writing without a signal ---- */

static void quiet_begin(sigset_t *ret_old)
{
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, ret_old);
}

static void quiet_end(const sigset_t *old, bool raised)
{
    sigset_t pipe;

    if (sigismember(old, SIGPIPE))
        return; /* it was blocked before: one more that is pending changes nothing */
    if (raised) {
        const struct timespec at_once = { 0 };
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, old, NULL);
}

static ssize_t write_pipe(int fd, const struct iovec *iov, int iov_count)
{
    FM_ASSERT(iov_count >= 0);
    ssize_t n;

    /* relaxed: a fact about the kernel; finding it out twice does no harm */
    if (!atomic_load_explicit(&fm__quiet_by_mask, memory_order_relaxed)) {
        RETRY(n, pwritev2(fd, iov, iov_count, -1, RWF_NO_SIGNAL));
        if (n >= 0 || errno != EOPNOTSUPP)
            return RESULT(n);
        atomic_store_explicit(&fm__quiet_by_mask, true, memory_order_relaxed);
    }
    sigset_t old;
    quiet_begin(&old);
    RETRY(n, writev(fd, iov, iov_count));
    n = RESULT(n);
    quiet_end(&old, n == -EPIPE);
    return n;
}

/* ---- attempts ---- */

static bool is_socket(const struct use *use)
{
    return use->kind == KIND_TCP || use->kind == KIND_SOCKET;
}

ATTEMPT try_read(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->direction == DIRECTION_READ);
    ssize_t n;
    RETRY(n, read(use->fd, call->buffer, call->count));
    return RESULT(n);
}

ATTEMPT try_readv(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->direction == DIRECTION_READ && call->iov_count >= 0);
    ssize_t n;
    RETRY(n, readv(use->fd, call->iov, call->iov_count));
    return RESULT(n);
}

/* What is in memory, without waiting for the device. */
ATTEMPT try_read_cached(const struct use *use, const struct call *call)
{
    struct iovec one = { call->buffer, call->count };
    ssize_t n;
    RETRY(n, preadv2(use->fd, call->iov ? call->iov : &one, call->iov ? call->iov_count : 1, -1,
                     RWF_NOWAIT));
    return RESULT(n);
}

ATTEMPT try_write(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->direction == DIRECTION_WRITE);
    ssize_t n;

    if (is_socket(use)) {
        RETRY(n, send(use->fd, call->buffer, call->count, MSG_NOSIGNAL | MSG_DONTWAIT));
    } else if (use->kind == KIND_PIPE) {
        struct iovec one = { call->buffer, call->count };
        return write_pipe(use->fd, &one, 1);
    } else {
        RETRY(n, write(use->fd, call->buffer, call->count));
    }
    return RESULT(n);
}

ATTEMPT try_writev(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->direction == DIRECTION_WRITE && call->iov_count >= 0);
    ssize_t n;

    if (is_socket(use)) {
        struct msghdr message = { .msg_iov = (struct iovec *)call->iov,
                                  .msg_iovlen = (size_t)call->iov_count };
        RETRY(n, sendmsg(use->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
    } else if (use->kind == KIND_PIPE) {
        return write_pipe(use->fd, call->iov, call->iov_count);
    } else {
        RETRY(n, writev(use->fd, call->iov, call->iov_count));
    }
    return RESULT(n);
}

ATTEMPT try_recv(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->direction == DIRECTION_READ);
    ssize_t n;
    RETRY(n, recv(use->fd, call->buffer, call->count, call->flags | MSG_DONTWAIT));
    return RESULT(n);
}

ATTEMPT try_send(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->direction == DIRECTION_WRITE);
    ssize_t n;
    RETRY(n,
          send(use->fd, call->buffer, call->count, call->flags | MSG_DONTWAIT | MSG_NOSIGNAL));
    return RESULT(n);
}

ATTEMPT try_sendfile(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->in_fd >= 0);
    sigset_t old;
    ssize_t n;

    quiet_begin(&old);
    RETRY(n, sendfile(use->fd, call->in_fd, call->offset, call->count));
    n = RESULT(n);
    quiet_end(&old, n == -EPIPE);
    return n;
}

/* Which of `events` (FM_IO_...) are there now: -EAGAIN none */
static __attribute__((noinline)) int look(int fd, unsigned events)
{
    FM_ASSERT(events);
    struct pollfd p = { .fd = fd,
                        .events = (short)((events & FM_IO_READ ? POLLIN | POLLRDHUP : 0) |
                                          (events & FM_IO_WRITE ? POLLOUT : 0)) };
    int n;

    RETRY(n, poll(&p, 1, 0));
    if (n < 0)
        return -errno;
    if (p.revents & POLLNVAL)
        return -EBADF;
    unsigned found = (p.revents & (POLLIN | POLLRDHUP | POLLHUP | POLLERR) ? FM_IO_READ : 0) |
                     (p.revents & (POLLOUT | POLLHUP | POLLERR) ? FM_IO_WRITE : 0);
    return found & events ? (int)(found & events) : -EAGAIN;
}

/* ---- calls ---- */

int fm_io_wait(int fd, unsigned events, int64_t deadline_ns)
{
    struct use use;
    bool waited = false;

    if (!events || events & ~(FM_IO_READ | FM_IO_WRITE))
        return -EINVAL;
    int r = fm__use_begin(&use, fd);
    if (r < 0)
        return r;
    for (;;) {
        uint32_t seen[2] = { fm__use_tick(&use, DIRECTION_READ),
                             fm__use_tick(&use, DIRECTION_WRITE) };
        r = use.kind == KIND_FILE ? (int)events : look(fd, events);
        if (r != -EAGAIN)
            break;
        r = fm__use_wait(&use, events, seen, deadline_ns, "io readiness");
        if (r < 0)
            return r;
        waited = true;
    }
    fm__use_pass_on(&use);
    fm__use_end(&use);
    if (!waited)
        fm__budget_spend();
    return r;
}

ssize_t fm_read(int fd, void *buffer, size_t count, int64_t deadline_ns)
{
    const struct call call = { .attempt = try_read,
                               .file_attempt = try_read_cached,
                               .direction = DIRECTION_READ,
                               .what = "io read",
                               .streams = true,
                               .always_try = count == 0,
                               .buffer = buffer,
                               .count = count };
    return fm__call(fd, &call, deadline_ns);
}

ssize_t fm_write(int fd, const void *buffer, size_t count, int64_t deadline_ns)
{
    const struct call call = { .attempt = try_write,
                               .direction = DIRECTION_WRITE,
                               .what = "io write",
                               .streams = true,
                               .buffer = (void *)buffer,
                               .count = count };
    return fm__call(fd, &call, deadline_ns);
}

static bool iov_wrong(const struct iovec *iov, int iov_count)
{
    return iov_count < 0 || iov_count > IOV_MAX || (iov_count > 0 && !iov);
}

static size_t iov_sum(const struct iovec *iov, int iov_count)
{
    FM_ASSERT(iov_count >= 0);
    size_t sum = 0;
    for (int i = 0; i < iov_count; i++)
        sum += iov[i].iov_len;
    return sum;
}

ssize_t fm_readv(int fd, const struct iovec *iov, int iov_count, int64_t deadline_ns)
{
    if (iov_wrong(iov, iov_count))
        return -EINVAL;
    const struct call call = { .attempt = try_readv,
                               .file_attempt = try_read_cached,
                               .direction = DIRECTION_READ,
                               .what = "io read",
                               .streams = true,
                               .count = iov_sum(iov, iov_count),
                               .iov = iov,
                               .iov_count = iov_count };
    return fm__call(fd, &call, deadline_ns);
}

ssize_t fm_writev(int fd, const struct iovec *iov, int iov_count, int64_t deadline_ns)
{
    if (iov_wrong(iov, iov_count))
        return -EINVAL;
    const struct call call = { .attempt = try_writev,
                               .direction = DIRECTION_WRITE,
                               .what = "io write",
                               .streams = true,
                               .count = iov_sum(iov, iov_count),
                               .iov = iov,
                               .iov_count = iov_count };
    return fm__call(fd, &call, deadline_ns);
}

ssize_t fm_read_full(int fd, void *buffer, size_t count, int64_t deadline_ns, size_t *ret_done)
{
    size_t done = 0;
    ssize_t n;

    do {
        n = fm_read(fd, (char *)buffer + done, count - done, deadline_ns);
        if (n > 0)
            done += (size_t)n;
    } while (n > 0 && done < count);
    if (ret_done)
        *ret_done = done;
    return n < 0 ? n : (ssize_t)done;
}

ssize_t fm_write_full(int fd, const void *buffer, size_t count, int64_t deadline_ns,
                      size_t *ret_done)
{
    size_t done = 0;
    ssize_t n;

    do {
        n = fm_write(fd, (const char *)buffer + done, count - done, deadline_ns);
        if (n > 0)
            done += (size_t)n;
    } while (n > 0 && done < count);
    if (ret_done)
        *ret_done = done;
    if (n == 0 && done < count)
        return -EIO; /* a device that takes nothing and says nothing */
    return n < 0 ? n : (ssize_t)done;
}

ssize_t fm_recv(int fd, void *buffer, size_t count, int flags, int64_t deadline_ns)
{
    /*
     * A peek takes nothing out, so a short one says nothing; urgent data and errors are not
     * what the poller remembers.
     */
    const struct call call = { .attempt = try_recv,
                               .direction = DIRECTION_READ,
                               .what = "io receive",
                               .streams = !(flags & (MSG_PEEK | MSG_TRUNC)),
                               .always_try = (flags & (MSG_OOB | MSG_ERRQUEUE)) != 0,
                               .buffer = buffer,
                               .count = count,
                               .flags = flags };
    return fm__call(fd, &call, deadline_ns);
}

ssize_t fm_send(int fd, const void *buffer, size_t count, int flags, int64_t deadline_ns)
{
    const struct call call = { .attempt = try_send,
                               .direction = DIRECTION_WRITE,
                               .what = "io send",
                               .streams = true,
                               .buffer = (void *)buffer,
                               .count = count,
                               .flags = flags };
    return fm__call(fd, &call, deadline_ns);
}

ssize_t fm_sendfile(int out_fd, int in_fd, off_t *offset, size_t count, int64_t deadline_ns)
{
    struct use in;
    const struct call call = { .attempt = try_sendfile,
                               .direction = DIRECTION_WRITE,
                               .what = "io sendfile",
                               .count = count,
                               .in_fd = in_fd,
                               .offset = offset };

    /* Used all the while: its number stays its own until we have done with it. */
    int r = fm__use_begin(&in, in_fd);
    if (r < 0)
        return r;
    ssize_t n = fm__call(out_fd, &call, deadline_ns);
    fm__use_end(&in);
    return n;
}

int fm_close(int fd)
{
    /* The poller that it may be registered with is the parent's too. */
    return fm__forked() ? -EPERM : fm__fd_close(fd);
}
