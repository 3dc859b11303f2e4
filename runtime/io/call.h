/*
 * call.h - one attempt, repeated until it is not in vain
 *
 * A call is an attempt (one system call, -errno, never waiting) and what it works on. fm__call
 * tries, waits for readiness when there was nothing to be had, and tries again. Attempts are
 * functions of their own, never inlined: a system call and the reading of its errno stand
 * together where no switch can come between, for after a wait errno is another thread's.
 */
#ifndef FM_RUNTIME_IO_CALL_H
#define FM_RUNTIME_IO_CALL_H

#include "runtime/io/readiness.h"

struct call;
/* The result, or -errno; -EAGAIN: nothing to be had. EINTR is tried again inside. */
typedef ssize_t call_fn(const struct use *use, const struct call *call);
#define ATTEMPT static __attribute__((noinline)) ssize_t

struct call {
    call_fn *attempt;
    /*
     * For a file that cannot be polled: an attempt that takes only what needs no device. NULL:
     * straight to the pool.
     */
    call_fn *file_attempt;
    enum direction direction;
    const char *what; /* for the dump */
    bool streams;     /* fewer than `count` is short: see fm__use_short_is_drained */
    /* its outcome does not depend on what the poller remembers, nor changes it */
    bool always_try;

    void *buffer;
    size_t count;
    const struct iovec *iov;
    int iov_count;
    int flags;
    struct sockaddr *address;
    socklen_t *address_len;
    int in_fd;
    off_t *offset;
};

/*
 * Returns what the attempt returned, but for -EAGAIN; or -EPERM in a thread · -ECANCELED ·
 * -ETIMEDOUT · -EBADF · -ENOMEM, -ENOSPC (registering). An interruption that is pending is seen
 * first, before anything is done.
 */
ssize_t fm__call(int fd, const struct call *call, int64_t deadline_ns);

#endif
