/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.c - what stands between the library and the kernel
 */
#undef _FORTIFY_SOURCE /* its inline functions have the names of ours */
#include "tests/faults/calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "runtime/platform/sanitizer.h"

static struct {
    _Atomic uint64_t nth, made, refused;
    _Atomic int error;
    atomic_bool for_ever;
} calls[CALL_KINDS];

static atomic_bool interrupting, shortening, stepping;
static _Atomic uint64_t turn, looks, times_of_day;

void call_refuse(enum call_kind kind, uint64_t n, int error, bool for_ever)
{
    atomic_store(&calls[kind].nth, 0);
    atomic_store(&calls[kind].error, error);
    atomic_store(&calls[kind].for_ever, for_ever);
    atomic_store(&calls[kind].made, 0);
    atomic_store(&calls[kind].refused, 0);
    atomic_store(&calls[kind].nth, n);
}

void call_interrupt(bool on)
{
    atomic_store(&interrupting, on);
}

void call_shorten(bool on)
{
    atomic_store(&shortening, on);
}

void call_step_back(bool on)
{
    atomic_store(&stepping, on);
}

uint64_t call_times_of_day(void)
{
    return atomic_load(&times_of_day);
}

uint64_t call_made(enum call_kind kind)
{
    return atomic_load(&calls[kind].made);
}

uint64_t call_refused(void)
{
    uint64_t sum = 0;
    for (int kind = 0; kind < CALL_KINDS; kind++)
        sum += atomic_load(&calls[kind].refused);
    return sum;
}

/* Whether this call does not come to pass; errno, which is the thread's, says why. */
static FM_THREADS_OWN bool refused(enum call_kind kind)
{
    static const bool can_be_interrupted[CALL_KINDS] = {
        [CALL_READ] = true,    [CALL_WRITE] = true, [CALL_ACCEPT] = true,
        [CALL_CONNECT] = true, [CALL_SYNC] = true,  [CALL_SLEEP] = true,
    };
    uint64_t made = atomic_fetch_add(&calls[kind].made, 1) + 1;
    uint64_t nth = atomic_load(&calls[kind].nth);
    if (nth && (made == nth || (made > nth && atomic_load(&calls[kind].for_ever)))) {
        atomic_fetch_add(&calls[kind].refused, 1);
        errno = atomic_load(&calls[kind].error);
        return true;
    }
    if (can_be_interrupted[kind] && atomic_load(&interrupting) &&
        atomic_fetch_add(&turn, 1) % 2 == 0) {
        errno = EINTR;
        return true;
    }
    return false;
}

static size_t cut(size_t count)
{
    return count > 1 && atomic_load(&shortening) ? 1 : count;
}

/*
 * The real one: the next, which is a sanitizer's where it is a library of its own. Clang's is
 * part of the program and gives its own another name.
 */
#define REAL(name) \
    extern __typeof__(name) __interceptor_##name __attribute__((weak)); \
    static __typeof__(name) *real_##name(void) \
    { \
        static __typeof__(name) *_Atomic found; \
        __typeof__(name) *real = atomic_load(&found); \
        if (!real) { \
            real = __interceptor_##name; \
            if (!real) \
                *(void **)&real = dlsym(RTLD_NEXT, #name); \
            atomic_store(&found, real); \
        } \
        return real; \
    }

#define STAND_IN(result, name, kind, parameters, arguments) \
    REAL(name) \
    result name parameters \
    { \
        return refused(kind) ? -1 : real_##name() arguments; \
    }

STAND_IN(ssize_t, recv, CALL_READ, (int fd, void *b, size_t n, int f), (fd, b, cut(n), f))
STAND_IN(ssize_t, pread, CALL_READ, (int fd, void *b, size_t n, off_t o), (fd, b, cut(n), o))
STAND_IN(ssize_t, send, CALL_WRITE, (int fd, const void *b, size_t n, int f),
         (fd, b, cut(n), f))
STAND_IN(ssize_t, pwrite, CALL_WRITE, (int fd, const void *b, size_t n, off_t o),
         (fd, b, cut(n), o))
STAND_IN(ssize_t, sendmsg, CALL_WRITE, (int fd, const struct msghdr *m, int f), (fd, m, f))
STAND_IN(ssize_t, sendfile, CALL_WRITE, (int to, int from, off_t *o, size_t n),
         (to, from, o, cut(n)))
STAND_IN(int, accept4, CALL_ACCEPT, (int fd, __SOCKADDR_ARG a, socklen_t *l, int f),
         (fd, a, l, f))
STAND_IN(int, epoll_ctl, CALL_EPOLL, (int epoll, int what, int fd, struct epoll_event *e),
         (epoll, what, fd, e))
STAND_IN(int, socket, CALL_OPEN, (int family, int type, int protocol), (family, type, protocol))
STAND_IN(int, epoll_create1, CALL_OPEN, (int flags), (flags))
STAND_IN(int, madvise, CALL_ADVISE, (void *start, size_t bytes, int advice),
         (start, bytes, advice))
STAND_IN(int, fsync, CALL_SYNC, (int fd), (fd))
STAND_IN(int, fdatasync, CALL_SYNC, (int fd), (fd))
STAND_IN(int, poll, CALL_SLEEP, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))

/*
 * An eventfd and a signalfd give and take whole records, never wait as they are used here, and
 * the kernel fails neither: they are let alone.
 */
enum { KNOWN = 1024 };
static atomic_bool whole[KNOWN];

static int remember(int fd, bool is_whole)
{
    if (fd >= 0 && fd < KNOWN)
        atomic_store(&whole[fd], is_whole);
    return fd;
}

static bool is_whole(int fd)
{
    return fd >= 0 && fd < KNOWN && atomic_load(&whole[fd]);
}

REAL(eventfd)
int eventfd(unsigned count, int flags)
{
    return refused(CALL_OPEN) ? -1 : remember(real_eventfd()(count, flags), true);
}

REAL(signalfd)
int signalfd(int fd, const sigset_t *set, int flags)
{
    return refused(CALL_OPEN) ? -1 : remember(real_signalfd()(fd, set, flags), true);
}

REAL(close)
int close(int fd)
{
    remember(fd, false);
    return real_close()(fd);
}

REAL(read)
ssize_t read(int fd, void *buffer, size_t count)
{
    if (is_whole(fd))
        return real_read()(fd, buffer, count);
    return refused(CALL_READ) ? -1 : real_read()(fd, buffer, cut(count));
}

REAL(write)
ssize_t write(int fd, const void *buffer, size_t count)
{
    if (is_whole(fd))
        return real_write()(fd, buffer, count);
    return refused(CALL_WRITE) ? -1 : real_write()(fd, buffer, cut(count));
}

/* One byte of a vector is one of its first part that has any. */
static const struct iovec *cut_vector(const struct iovec *iov, int *count, struct iovec *one)
{
    if (!atomic_load(&shortening))
        return iov;
    while (*count > 1 && iov->iov_len == 0)
        iov++, --*count;
    *one = *iov;
    one->iov_len = cut(one->iov_len);
    *count = 1;
    return one;
}

#define STAND_IN_VECTOR(name, kind, parameters, arguments) \
    REAL(name) \
    ssize_t name parameters \
    { \
        struct iovec one; \
        if (refused(kind)) \
            return -1; \
        iov = cut_vector(iov, &count, &one); \
        return real_##name() arguments; \
    }

STAND_IN_VECTOR(readv, CALL_READ, (int fd, const struct iovec *iov, int count),
                (fd, iov, count))
STAND_IN_VECTOR(writev, CALL_WRITE, (int fd, const struct iovec *iov, int count),
                (fd, iov, count))
STAND_IN_VECTOR(preadv2, CALL_READ,
                (int fd, const struct iovec *iov, int count, off_t at, int flags),
                (fd, iov, count, at, flags))
STAND_IN_VECTOR(pwritev2, CALL_WRITE,
                (int fd, const struct iovec *iov, int count, off_t at, int flags),
                (fd, iov, count, at, flags))

/* A connection that is interrupted goes on being made. */
REAL(connect)
int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    bool not_yet = refused(CALL_CONNECT);
    int error = errno;
    if (not_yet && error != EINTR)
        return -1;
    int r = real_connect()(fd, address, len);
    if (r == 0 && not_yet) {
        errno = EINTR;
        return -1;
    }
    return r;
}

REAL(open)
int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return refused(CALL_OPEN) ? -1 : real_open()(path, flags, mode);
}

/* Not instrumented: a child that shares our memory does not come back from its exec. */
REAL(syscall)
FM_NO_ASAN FM_NO_TSAN long syscall(long number, ...)
{
    long a[6];
    va_list more;
    va_start(more, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(more, long);
    va_end(more);
    enum { EPOLL_PWAIT2 = 441 };
    bool sleeps = number == EPOLL_PWAIT2 ||
                  (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET);
    if (sleeps && refused(CALL_SLEEP))
        return -1;
    return real_syscall()(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

REAL(clock_gettime)
int clock_gettime(clockid_t clock, struct timespec *time)
{
    int r = real_clock_gettime()(clock, time);
    if (clock == CLOCK_REALTIME)
        atomic_fetch_add(&times_of_day, 1);
    else if (clock == CLOCK_MONOTONIC && atomic_load(&stepping) && time->tv_nsec >= 2000 &&
             atomic_fetch_add(&looks, 1) % 2)
        time->tv_nsec -= 2000;
    return r;
}
