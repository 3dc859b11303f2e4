/*
 * promise.c - a deferred that a foreign event loop can wait for
 *
 * Owns        the eventfd, from the first request to the last unref; and what it was told to
 *             keep.
 * Invariant   the eventfd, once there, is written when the cell is done and nobody reads it, so
 *             it becomes readable and stays so.
 * Callers     any fiber, any thread, each with a reference of its own. Only await suspends.
 *
 *   complete                                  eventfd
 *     DONE                                      make one, unless there is one
 *     lock; fd = the eventfd; unlock            lock; install it; done = DONE; unlock
 *     if (there is one) write 1                 if (it was installed and done) write 1
 *
 * The lock puts the two in one order: complete sees the descriptor, or eventfd sees DONE, or
 * both do, which does no harm.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/deferred.h"

struct fm_promise {
    struct fm_deferred cell;
    _Atomic uint32_t refs;
    int fd;           /* under cell.lock; -1: not asked for yet */
    fm_drop_fn *drop; /* NULL: nothing is kept; read by the last unref */
    void *kept;
};

int fm_promise_create(struct fm_promise **ret_promise)
{
    if (!ret_promise)
        return -EINVAL;
    struct fm_promise *promise = fm__malloc(sizeof *promise);
    if (!promise)
        return -ENOMEM;
    fm__deferred_init(&promise->cell);
    atomic_init(&promise->refs, 1);
    promise->fd = -1;
    promise->drop = NULL;
    *ret_promise = promise;
    return 0;
}

struct fm_promise *fm_promise_ref(struct fm_promise *promise)
{
    if (promise) {
        /* relaxed: the caller's own reference keeps the promise there */
        uint32_t old = atomic_fetch_add_explicit(&promise->refs, 1, memory_order_relaxed);
        FM_BUG_IF(old == 0 || old == UINT32_MAX, "reference to a promise that has gone");
    }
    return promise;
}

struct fm_promise *fm_promise_unref(struct fm_promise *promise)
{
    /* acq_rel: what each holder did happens before the last one frees */
    if (!promise || atomic_fetch_sub_explicit(&promise->refs, 1, memory_order_acq_rel) != 1)
        return NULL;
    fm__deferred_fini(&promise->cell);
    if (promise->fd >= 0)
        close(promise->fd);
    if (promise->drop)
        promise->drop(promise->kept);
    free(promise);
    return NULL;
}

int fm_promise_keep(struct fm_promise *promise, fm_drop_fn *drop, void *what)
{
    if (!promise || !drop || promise->drop)
        return -EINVAL;
    promise->drop = drop;
    promise->kept = what;
    return 0;
}

static void signal_fd(int fd)
{
    FM_ASSERT(fd >= 0);
    uint64_t one = 1;
    /* a counter that is written twice at most never waits */
    ssize_t written = write(fd, &one, sizeof one);
    FM_ASSERT(written == (ssize_t)sizeof one);
    (void)written;
}

/*
 * The eventfd, -1 if there is none. With a `made` above -1: that, if there is none, *ret_done
 * telling whether the cell is done.
 */
static int exchange_fd(struct fm_promise *promise, int made, bool *ret_done)
{
    FM_ASSERT(ret_done);
    uint64_t word = fm__word_lock(&promise->cell.word);
    if (promise->fd < 0)
        promise->fd = made;
    int fd = promise->fd;
    fm__word_unlock(&promise->cell.word, word);
    *ret_done = word != 0; /* it has no other flag than DONE */
    return fd;
}

int fm_promise_complete(struct fm_promise *promise, struct fm_exit exit)
{
    bool done;

    if (!promise)
        return -EINVAL;
    int r = fm__deferred_complete(&promise->cell, exit);
    if (r == 0) {
        int fd = exchange_fd(promise, -1, &done);
        if (fd >= 0)
            signal_fd(fd);
    }
    return r;
}

int fm_promise_await(struct fm_promise *promise, int64_t deadline_ns, struct fm_exit *ret_exit)
{
    return promise ? fm__deferred_await(&promise->cell, deadline_ns, ret_exit, "promise")
                   : -EINVAL;
}

int fm_promise_poll(struct fm_promise *promise, struct fm_exit *ret_exit)
{
    return promise ? fm__deferred_poll(&promise->cell, ret_exit) : -EINVAL;
}

int fm_promise_eventfd(struct fm_promise *promise)
{
    bool done;

    if (!promise)
        return -EINVAL;
    int fd = exchange_fd(promise, -1, &done);
    if (fd >= 0)
        return fd;
    int made = fm__fault(FAULT_FD) ? -EMFILE : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made < 0)
        return made == -1 ? -errno : made;
    fd = exchange_fd(promise, made, &done);
    if (fd != made)
        close(made); /* another request was faster */
    else if (done)
        signal_fd(fd);
    return fd;
}
