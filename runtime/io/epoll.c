/*
 * epoll.c - epoll(7), and an eventfd beside it
 *
 * Waking, when many may want it at once:
 *
 *   fm__epoll_wake                              fm__epoll_wait
 *     make known why                               (returned by epoll: the eventfd is readable)
 *     if (exchange(woken, 1) was 0)   (A)          read the eventfd
 *         write the eventfd                        exchange(woken, 0)   (B)
 *                                                  return: the caller looks at everything again
 *
 * A and B are acq_rel on one word. A wake that reads 1 at A comes before the B that clears it,
 * so its reason is seen by who returns from B; one that reads 0 writes. Were B before the read,
 * a wake between the two would leave woken at 1 with an empty eventfd, and nobody would ever be
 * woken again. The counter of the eventfd may be full (somebody wrote to it): it is readable
 * then, which is all that is wanted.
 *
 * What reads errno is not inlined: the callers may switch, and must not keep the place of errno
 * over that.
 */
#include "runtime/io/epoll.h"

#include <errno.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"

/* Its number on every architecture; headers older than Linux 5.11 do not name it. */
enum { EPOLL_PWAIT2 = 441 };

_Atomic bool fm__epoll_coarse;

int fm__epoll_init(struct poller *poller)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = EPOLL_TAG_WAKE };
    int r;

    *poller = (struct poller) { .event_fd = -1 };
    poller->epoll_fd = fm__fault(FAULT_FD) ? (errno = EMFILE, -1)
                                           : epoll_create1(EPOLL_CLOEXEC);
    if (poller->epoll_fd < 0)
        return -errno;
    poller->event_fd = fm__fault(FAULT_FD) ? (errno = EMFILE, -1)
                                           : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (poller->event_fd < 0) {
        r = -errno;
        goto close_epoll;
    }
    if (epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, poller->event_fd, &event) < 0) {
        r = -errno;
        goto close_event;
    }
    return 0;

close_event:
    close(poller->event_fd);
close_epoll:
    close(poller->epoll_fd);
    return r;
}

void fm__epoll_fini(struct poller *poller)
{
    close(poller->event_fd);
    close(poller->epoll_fd);
}

__attribute__((noinline)) int fm__epoll_add(struct poller *poller, int fd, uint64_t tag)
{
    FM_ASSERT(fd >= 0 && tag != EPOLL_TAG_WAKE);
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
                                 .data.u64 = tag };

    if (fm__fault(FAULT_EPOLL))
        return -ENOSPC;
    int r = epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    /*
     * Closed behind our back while a duplicate lives on: the registration is there, under an
     * old tag.
     */
    if (r < 0 && errno == EEXIST)
        r = epoll_ctl(poller->epoll_fd, EPOLL_CTL_MOD, fd, &event);
    if (r < 0)
        return -errno;
    /* relaxed: a racy count of what there is to wait for */
    atomic_fetch_add_explicit(&poller->registered, 1, memory_order_relaxed);
    return 0;
}

void fm__epoll_remove(struct poller *poller, int fd)
{
    FM_ASSERT(fd >= 0);
    /* It may have been closed behind our back: then it is out already. */
    epoll_ctl(poller->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    atomic_fetch_sub_explicit(&poller->registered, 1, memory_order_relaxed);
}

/* Returns the number of events, or -errno. */
static int wait_for(struct poller *poller, int64_t timeout_ns)
{
    /* relaxed: a fact about the kernel; finding it out twice does no harm */
    if (!atomic_load_explicit(&fm__epoll_coarse, memory_order_relaxed)) {
        struct timespec timeout = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
        long n = syscall(EPOLL_PWAIT2, poller->epoll_fd, poller->batch, EPOLL_BATCH,
                         timeout_ns < 0 ? NULL : &timeout, NULL, (size_t)0);
        if (n >= 0)
            return (int)n;
        if (errno != ENOSYS)
            return -errno;
        atomic_store_explicit(&fm__epoll_coarse, true, memory_order_relaxed);
    }
    /* Rounded up: a wait that ends before its deadline would be begun again for nothing. */
    int64_t ms = timeout_ns < 0 ? -1 : timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    int n = epoll_wait(poller->epoll_fd, poller->batch, EPOLL_BATCH,
                       ms > INT_MAX ? INT_MAX : (int)ms);
    return n >= 0 ? n : -errno;
}

static void take_wake(struct poller *poller)
{
    uint64_t count;

    while (read(poller->event_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    /* acq_rel (B) */
    atomic_exchange_explicit(&poller->woken, 0, memory_order_acq_rel);
}

__attribute__((noinline)) int fm__epoll_wait(struct poller *poller, int64_t deadline_ns)
{
    int n;

    do {
        int64_t timeout_ns = deadline_ns == INT64_MAX ? -1 : 0;
        if (deadline_ns > 0 && deadline_ns != INT64_MAX) {
            timeout_ns = deadline_ns - fm__clock_ns();
            if (timeout_ns < 0)
                timeout_ns = 0;
        }
        n = wait_for(poller, timeout_ns);
    } while (n == -EINTR);
    FM_BUG_IF(n < 0, "epoll_wait: error %d", -n);

    fm__count(&poller->polls, 1);
    return n;
}

unsigned fm__epoll_deliver(struct poller *poller, int count, epoll_event_fn *on_event)
{
    FM_ASSERT(count >= 0 && count <= EPOLL_BATCH);
    unsigned woken = 0;

    for (int i = 0; i < count; i++) {
        if (poller->batch[i].data.u64 == EPOLL_TAG_WAKE) {
            take_wake(poller);
            continue;
        }
        fm__count(&poller->events, 1);
        woken += on_event(poller->batch[i].data.u64, poller->batch[i].events);
    }
    return woken;
}

__attribute__((noinline)) void fm__epoll_wake(struct poller *poller)
{
    uint64_t one = 1;

    /* acq_rel (A) */
    if (atomic_exchange_explicit(&poller->woken, 1, memory_order_acq_rel))
        return;
    while (write(poller->event_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}
