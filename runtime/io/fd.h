/*
 * fd.h - what is known of each file descriptor, and who waits for it
 *
 * One record a number, in a table of the process: runtimes share it as they share the numbers.
 * The table grows by chunks and never shrinks, so a record may be read at any time.
 *
 * Owns        the records; the right to close(2) a number.
 * Knows not   what the calls do with a descriptor: they come with an attempt of their own
 *             (io.c).
 *
 * The state word, 64 bits:
 *
 *     63         32  31      8    6         5        4      3      2..0
 *     generation     users      finishing  closing  exact  known  kind
 *
 *              first use          fm_close             the last user leaves
 *     unknown -----------> known --------------> closing -----------------> finishing
 *        ^                   (waiters get -EBADF)     (one CAS: the winner      |
 *        |                                             calls close(2))          |
 *        '---------------- generation + 1, all flags off -----------------------'
 *
 * A user is a fiber that is inside a system call on the number, or about to be: the number
 * cannot be closed, hence not be reused, under it. A fiber that waits is no user. When it is
 * woken it becomes one again, if the generation is still its own: so it never touches a number
 * that has gone to somebody else. The generation also travels in the poller's tag, so that an
 * event of a closed descriptor wakes nobody.
 *
 * Order   use_begin and the setting of `closing` are read-modify-writes of one word: either
 *         the user came first and the closer counts him (his leaving closes), or he reads
 *         `closing` and goes.
 *         (A) use_end, release <--- pairs ---> (B) the finisher's CAS, acquire: what users did
 *         is done before close(2)
 *         (C) generation + 1, release <--- pairs ---> (D) use_begin, acquire: the next owner
 *         sees a clean record
 */
#ifndef FM_RUNTIME_IO_FD_H
#define FM_RUNTIME_IO_FD_H

#include "fm/io.h"
#include "runtime/fiber/waitlist.h"
#include "runtime/io/epoll.h"

enum direction { DIRECTION_READ = 0, DIRECTION_WRITE = 1 };
_Static_assert(FM_IO_READ == 1u << DIRECTION_READ && FM_IO_WRITE == 1u << DIRECTION_WRITE,
               "a direction is the place of its bit");

enum fd_kind {
    KIND_OTHER = 0, /* terminals, eventfds ... */
    KIND_SOCKET = 1,
    KIND_TCP = 2, /* a short transfer says something: fm__use_short_is_drained */
    KIND_PIPE = 3,
    KIND_FILE = 4, /* cannot be polled: always ready, and may block */
};

#define STATE_KIND UINT64_C(7)
#define STATE_KNOWN UINT64_C(8)
#define STATE_EXACT UINT64_C(16)
#define STATE_CLOSING UINT64_C(32)
#define STATE_FINISHING UINT64_C(64)
#define STATE_USER_ONE UINT64_C(256)
#define STATE_USERS (UINT64_C(0xffffff) << 8)
#define STATE_GENERATION_SHIFT 32

struct fd_record {
    _Atomic uint64_t state;
    struct lock lock; /* LOCK_IO: the lists, the mask, and who sets `closing` */
    /*
     * By direction, what the poller remembers: 31 bits of how many events there have been << 1
     * | drained. The poller adds one and clears `drained`; a call that found nothing sets it,
     * if there has been no event since it looked.
     */
    _Atomic uint32_t ticks[2];
    struct waitlist waiters[2];
    _Atomic uint64_t pollers; /* bit: the slot of a poller that has it registered */
};
_Static_assert(sizeof(struct fd_record) == 64, "one cache line");

#define TICK_DRAINED 1u

static inline uint32_t fm__fd_generation(uint64_t state)
{
    return (uint32_t)(state >> STATE_GENERATION_SHIFT);
}

/* The next event's tick; the caller holds the lock. */
static inline void fm__fd_tick_locked(struct fd_record *d, enum direction direction)
{
    uint32_t old = atomic_load_explicit(&d->ticks[direction], memory_order_relaxed);
    /* release (C of readiness.c): what the event says of the record was written before */
    while (!atomic_compare_exchange_weak_explicit(&d->ticks[direction], &old,
                                                  (old & ~TICK_DRAINED) + 2,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

/* One call on one descriptor. */
struct use {
    struct fd_record *record;
    struct fm_fiber *fiber;
    int fd;
    uint32_t generation;
    enum fd_kind kind;
    bool on_time;  /* the deadline is not over: looked at for the wait that follows */
    unsigned more; /* directions in which others waited when this one was woken */
};

/*
 * Become a user. The first use of a descriptor finds out what it is and makes it non-blocking.
 * 0 · -EPERM in a thread · -ECANCELED interrupted (and not masked) · -EBADF · -ENOMEM
 */
int fm__use_begin(struct use *use, int fd);
/* No longer a user; closes the number if it was left to the last one. */
void fm__use_end(struct use *use);
/*
 * A user again, after a wait: false if the number is no longer the same descriptor; then the
 * use is over.
 */
bool fm__use_resume(struct use *use);

/* fm_close without the question who calls. 0 · -EBADF · -errno of close(2) */
int fm__fd_close(int fd);

/* A number that the kernel has just handed out, of this kind and non-blocking. */
void fm__fd_adopt(int fd, enum fd_kind kind);

/* The record, NULL if nobody has ever needed one near that number. fd >= 0. */
struct fd_record *fm__fd_find(int fd);

/*
 * Give the poller its slot: 0 · -EMFILE (64 are taken). Leaving forgets all that it had
 * registered.
 */
int fm__fd_join(struct poller *poller);
void fm__fd_leave(struct poller *poller);

#endif
