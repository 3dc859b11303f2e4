/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/io.h - descriptors that let other fibers run while they wait
 *
 * Fiber only (a thread gets -EPERM). A descriptor is made non-blocking and registered at its
 * first use here, and must be closed with fm_close, which wakes every waiter with -EBADF. Where
 * another fiber is in the midst of a system call on the number, the end of that call closes it:
 * a number is not used again under somebody's hands. Every call returns a count or 0, or a
 * negative errno; -ECANCELED and -ETIMEDOUT as everywhere.
 *
 * Regular files are always ready, and may make their thread wait for a device: what is not in
 * memory is read, and all is written, by a thread of the blocking pool that works on the
 * caller's buffer. Until a thread has begun, deadline and interruption end the call and nothing
 * is done; they do not end what has begun.
 */
#ifndef FM_IO_H
#define FM_IO_H

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "fm/fiber.h"
#include "fm/process.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FM_IO_READ 1u
#define FM_IO_WRITE 2u

/*
 * Wait until the descriptor is ready for one of `events`: the ready ones (hang-up and error
 * count as both) · -errno
 */
FM_API int fm_io_wait(int fd, unsigned events, int64_t deadline_ns);

FM_API ssize_t fm_read(int fd, void *buffer, size_t count, int64_t deadline_ns);
FM_API ssize_t fm_write(int fd, const void *buffer, size_t count, int64_t deadline_ns);
FM_API ssize_t fm_readv(int fd, const struct iovec *iov, int iov_count, int64_t deadline_ns);
FM_API ssize_t fm_writev(int fd, const struct iovec *iov, int iov_count, int64_t deadline_ns);
/*
 * All of it, or the failure; fm_read_full returns fewer at end of file. ret_done (may be NULL)
 * is written always: how much was transferred.
 */
FM_API ssize_t fm_read_full(int fd, void *buffer, size_t count, int64_t deadline_ns,
                            size_t *ret_done);
FM_API ssize_t fm_write_full(int fd, const void *buffer, size_t count, int64_t deadline_ns,
                             size_t *ret_done);

/* The new descriptor, non-blocking and close-on-exec, no SIGPIPE · -EMFILE ... as accept4(2) */
FM_API int fm_accept(int fd, struct sockaddr *address, socklen_t *address_len,
                     int64_t deadline_ns);
FM_API int fm_connect(int fd, const struct sockaddr *address, socklen_t address_len,
                      int64_t deadline_ns);
FM_API ssize_t fm_recv(int fd, void *buffer, size_t count, int flags, int64_t deadline_ns);
/* never SIGPIPE */
FM_API ssize_t fm_send(int fd, const void *buffer, size_t count, int flags,
                       int64_t deadline_ns);
FM_API ssize_t fm_sendfile(int out_fd, int in_fd, off_t *offset, size_t count,
                           int64_t deadline_ns);
/*
 * Files. fm_open opens on the blocking pool, close-on-exec; path is copied. Where the caller
 * leaves early (-ECANCELED, -ETIMEDOUT) what is opened later is closed again. flags and mode
 * and results as open(2).
 */
FM_API int fm_open(const char *path, int flags, mode_t mode, int64_t deadline_ns, int *ret_fd);
/* At a place, leaving the descriptor's own alone; -ESPIPE where there are no places. */
FM_API ssize_t fm_pread(int fd, void *buffer, size_t count, off_t offset, int64_t deadline_ns);
FM_API ssize_t fm_pwrite(int fd, const void *buffer, size_t count, off_t offset,
                         int64_t deadline_ns);
/*
 * What has been written is on the device: 0 · -EIO ... as fsync(2). Leaving early ends the
 * waiting, not the work.
 */
FM_API int fm_fsync(int fd, int64_t deadline_ns);
FM_API int fm_fdatasync(int fd, int64_t deadline_ns);

/*
 * Wake every waiter with -EBADF, unregister, close. 0 · -EBADF · -EPERM in a child of fork.
 * From a thread too.
 */
FM_API int fm_close(int fd);

/*
 * host NULL: loopback; port 0: any. IPv4 and IPv6 literals, names through fm_resolve.
 * SO_REUSEADDR is set.
 */
FM_API int fm_listen_tcp(const char *host, uint16_t port, int backlog, int *ret_fd);
FM_API int fm_listen_unix(const char *path, int *ret_fd);
/* TCP_NODELAY set */
FM_API int fm_dial_tcp(const char *host, uint16_t port, int64_t deadline_ns, int *ret_fd);

struct fm_address {
    struct fm_address *next;
    socklen_t len;
    struct sockaddr_storage storage;
};
/*
 * Name resolution on the blocking pool. 0, a list to be freed with fm_addresses_free · -ENOENT
 * no such name · -EAGAIN for now · -errno.
 */
FM_API int fm_resolve(const char *host, uint16_t port, int64_t deadline_ns,
                      struct fm_address **ret_addresses);
FM_API struct fm_address *fm_addresses_free(struct fm_address *addresses);

#ifdef __cplusplus
}
#endif
#endif
