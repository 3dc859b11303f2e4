/*
 * epoll.h - one epoll instance, and a way to interrupt the one who waits in it
 *
 * Owns        the two descriptors.
 * Knows not   descriptors' records, fibers: an event is a tag and a mask, given to a function.
 * Together    (X: the caller keeps the two apart; -: they may run at once)
 *                       add/remove  wait  wake  fini
 *             add/remove     -        -     -     X
 *             wait           -        X     -     X
 *             wake           -        -     -     X
 */
#ifndef FM_RUNTIME_IO_EPOLL_H
#define FM_RUNTIME_IO_EPOLL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "runtime/platform/atomic.h"

enum { EPOLL_BATCH = 256 };

#define EPOLL_TAG_WAKE UINT64_MAX /* the eventfd's own; never a descriptor's */

/* What a runtime has of io. */
struct poller {
    int epoll_fd;
    int event_fd;
    unsigned slot; /* its bit in every descriptor's record; fd.c */
    /* How many descriptors are registered. */
    _Atomic uint32_t registered;
    /* 1: the eventfd has been written and not yet read. */
    FM_ALONE _Atomic uint32_t woken;
    /* The waiter's own. */
    FM_ALONE _Atomic uint64_t polls;
    _Atomic uint64_t events;
    struct epoll_event batch[EPOLL_BATCH];
};

/* What is done with an event; returns how many fibers it woke. */
typedef unsigned epoll_event_fn(uint64_t tag, uint32_t events);

/* 0 · -EMFILE · -ENFILE · -ENOMEM */
int fm__epoll_init(struct poller *poller);
void fm__epoll_fini(struct poller *poller);

/*
 * Register a descriptor for both directions, edge-triggered; a state that is there already is
 * reported as an event. 0 · -ENOSPC · -ENOMEM · -EPERM (it cannot be polled: a regular file) ·
 * -EBADF. On failure nothing is registered.
 */
int fm__epoll_add(struct poller *poller, int fd, uint64_t tag);
/* Take it out, also where the kernel would go on reporting a duplicate of it. */
void fm__epoll_remove(struct poller *poller, int fd);

/*
 * Wait for events until deadline_ns of the monotonic clock (0: look only; INT64_MAX: for ever).
 * Returns how many there are, 0 past the deadline. A signal is not seen.
 */
int fm__epoll_wait(struct poller *poller, int64_t deadline_ns);
/* Give each of those `count` events to on_event. Returns the sum of what it returned. */
unsigned fm__epoll_deliver(struct poller *poller, int count, epoll_event_fn *on_event);

/*
 * Make the wait that is going on return, or else the next one. All before this call happens
 * before that return.
 */
void fm__epoll_wake(struct poller *poller);

/* Tests: wait as on a kernel without epoll_pwait2 (before 5.11). */
extern _Atomic bool fm__epoll_coarse;

#endif
