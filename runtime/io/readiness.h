/*
 * readiness.h - wait until a descriptor is worth another attempt
 *
 * The poller reports edges; each edge counts one tick in the record and wakes one waiter. A
 * call that finds nothing to be had notes so (drained), and the next one need not ask the
 * kernel before there has been another tick.
 *
 * Owns        the ticks, the waiters' lists.
 * Knows not   what is attempted.
 */
#ifndef FM_RUNTIME_IO_READINESS_H
#define FM_RUNTIME_IO_READINESS_H

#include "runtime/io/fd.h"

static inline uint32_t fm__use_tick(const struct use *use, enum direction direction)
{
    /* acquire: an event's `exact` is set before its tick */
    return atomic_load_explicit(&use->record->ticks[direction], memory_order_acquire);
}

/*
 * There was nothing to be had (EAGAIN), or the last of it has been had, in an attempt that
 * began after `seen` was read: until the next event further attempts are not worth their system
 * call.
 */
void fm__use_drained(struct use *use, enum direction direction, uint32_t seen);
/*
 * Whether a short transfer says "drained": TCP, while there was neither an end, an error nor
 * urgent data. Local sockets give less than they hold where the sender or his credentials
 * change.
 */
bool fm__use_short_is_drained(const struct use *use);

/*
 * Wait until there has been an event in one of the directions `events` (FM_IO_READ,
 * FM_IO_WRITE) since seen[direction] was read.
 *
 * Returns    0: try again; an event, or none: the caller is still a user
 *            -EBADF closed · -ETIMEDOUT · -ECANCELED · -ENOSPC, -ENOMEM of epoll_ctl: the use
 *            is over
 *            use->kind may have become KIND_FILE: it cannot be polled.
 */
int fm__use_wait(struct use *use, unsigned events, const uint32_t seen[2], int64_t deadline_ns,
                 const char *what);
/*
 * An event wakes one waiter. It owes the next one a wake unless it finds the descriptor
 * drained: what is left is for him.
 */
void fm__use_pass_on(struct use *use);

/*
 * Whether that deadline is over, on the clock of the fiber's runtime. False also for one that
 * was far off when the worker last looked at the clock, whatever has happened since.
 */
bool fm__use_expired(const struct use *use, int64_t deadline_ns);

/* The poller's event; returns how many fibers it woke. */
epoll_event_fn fm__fd_event;

#endif
