/*
 * file.c - files by their names and places: open, pread, pwrite, fsync
 *
 * What may wait for a device is done by a thread of the blocking pool. Where that thread works
 * on the caller's buffer the caller, once it has begun, waits for it whatever happens (call.c);
 * an open and a sync work on a record of their own, which goes with the last of the two, so
 * that the caller may leave: an open that nobody waits for any more is undone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fm/io.h"
#include "runtime/io/blocking.h"
#include "runtime/io/call.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

/* ---- open ---- */

struct opening {
    _Atomic uint32_t refs;
    int result; /* the descriptor, or -errno; -1: taken, or never opened */
    int flags;
    mode_t mode;
    char path[];
};

static void opening_unref(void *pointer)
{
    struct opening *opening = pointer;
    /* acq_rel: the last one sees what the other has written */
    if (atomic_fetch_sub_explicit(&opening->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (opening->result >= 0)
        fm_close(opening->result);
    free(opening);
}

/* In a thread of the pool. */
static struct fm_exit open_file(void *arg)
{
    struct opening *opening = arg;
    struct stat status;
    int fd;

    do
        fd = fm__fault(FAULT_FD)
                 ? (errno = EMFILE, -1)
                 : open(opening->path, opening->flags | O_CLOEXEC, opening->mode);
    while (fd < 0 && errno == EINTR);
    opening->result = fd < 0 ? -errno : fd;
    /* Anything else is looked at when it is first used. */
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        fm__fd_adopt(fd, KIND_FILE);
    return fm_ok(NULL);
}

int fm_open(const char *path, int flags, mode_t mode, int64_t deadline_ns, int *ret_fd)
{
    struct fm_exit exit;

    if (!path || !ret_fd)
        return -EINVAL;
    if (!fm_fiber_self())
        return -EPERM;
    int r = fm_check();
    if (r < 0)
        return r;
    size_t size = strlen(path) + 1;
    struct opening *opening = fm__calloc(1, sizeof *opening + size);
    if (!opening)
        return -ENOMEM;
    atomic_init(&opening->refs, 2);
    opening->result = -1;
    opening->flags = flags;
    opening->mode = mode;
    memcpy(opening->path, path, size);
    r = fm__blocking_run(open_file, opening, opening_unref, deadline_ns, &exit);
    if (r == 0)
        r = exit.kind == FM_INTERRUPTED ? -ECANCELED : opening->result;
    if (r >= 0) {
        *ret_fd = r;
        opening->result = -1;
        r = 0;
    }
    opening_unref(opening);
    return r;
}

/* ---- at a place ---- */

ATTEMPT try_pread(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->offset);
    ssize_t n;
    do
        n = pread(use->fd, call->buffer, call->count, *call->offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* What is in memory, without waiting for the device. */
ATTEMPT try_pread_cached(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->offset);
    struct iovec one = { call->buffer, call->count };
    ssize_t n;
    do
        n = preadv2(use->fd, &one, 1, *call->offset, RWF_NOWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ATTEMPT try_pwrite(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->offset);
    ssize_t n;
    do
        n = pwrite(use->fd, call->buffer, call->count, *call->offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t fm_pread(int fd, void *buffer, size_t count, off_t offset, int64_t deadline_ns)
{
    if (offset < 0)
        return -EINVAL;
    const struct call call = { .attempt = try_pread,
                               .file_attempt = try_pread_cached,
                               .direction = DIRECTION_READ,
                               .what = "io read",
                               .always_try = true,
                               .buffer = buffer,
                               .count = count,
                               .offset = &offset };
    return fm__call(fd, &call, deadline_ns);
}

ssize_t fm_pwrite(int fd, const void *buffer, size_t count, off_t offset, int64_t deadline_ns)
{
    if (offset < 0)
        return -EINVAL;
    const struct call call = { .attempt = try_pwrite,
                               .direction = DIRECTION_WRITE,
                               .what = "io write",
                               .always_try = true,
                               .buffer = (void *)buffer,
                               .count = count,
                               .offset = &offset };
    return fm__call(fd, &call, deadline_ns);
}

/* ---- to the device ---- */

/*
 * A user of the descriptor for as long as the thread works, whoever waits: the number stays its
 * own.
 */
struct syncing {
    _Atomic uint32_t refs;
    struct use use;
    bool over; /* the use has been ended by who waited */
    bool data_only;
    int result;
};

static void syncing_unref(void *pointer)
{
    struct syncing *syncing = pointer;
    /* acq_rel: the last one sees what the other has written */
    if (atomic_fetch_sub_explicit(&syncing->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (!syncing->over)
        fm__use_end(&syncing->use);
    free(syncing);
}

/* In a thread of the pool. */
static struct fm_exit sync_file(void *arg)
{
    struct syncing *syncing = arg;
    int fd = syncing->use.fd;
    int r;

    do
        r = syncing->data_only ? fdatasync(fd) : fsync(fd);
    while (r < 0 && errno == EINTR);
    syncing->result = r < 0 ? -errno : 0;
    return fm_ok(NULL);
}

static int sync_until(int fd, bool data_only, int64_t deadline_ns)
{
    struct fm_exit exit;
    struct use use;

    int r = fm__use_begin(&use, fd);
    if (r < 0)
        return r;
    struct syncing *syncing = fm__calloc(1, sizeof *syncing);
    if (!syncing) {
        fm__use_end(&use);
        return -ENOMEM;
    }
    atomic_init(&syncing->refs, 2);
    syncing->use = use;
    syncing->data_only = data_only;
    r = fm__blocking_run(sync_file, syncing, syncing_unref, deadline_ns, &exit);
    if (r == 0) {
        r = exit.kind == FM_INTERRUPTED ? -ECANCELED : syncing->result;
        /* Not left to the thread, which may be late: the caller is free to close. */
        fm__use_end(&syncing->use);
        syncing->over = true;
    }
    syncing_unref(syncing);
    return r;
}

int fm_fsync(int fd, int64_t deadline_ns)
{
    return sync_until(fd, false, deadline_ns);
}

int fm_fdatasync(int fd, int64_t deadline_ns)
{
    return sync_until(fd, true, deadline_ns);
}
