/*
 * crew.h - the fibers that one call starts, and that have all ended when it returns
 *
 * A call has pieces of work, 0 to count - 1. Members take them one after the other, and report
 * how each ended; a report may decide the call, which ends the rest.
 *
 *             fm__crew_run           decided, deadline, interruption        last member ends
 *     (made) --------------> RUNNING ------------------------------> CLOSED ---------------> done
 *                               |                 members are signalled                ^
 *                               '--------------- no piece is left ---------------------'
 */
#ifndef FM_RUNTIME_FLOW_CREW_H
#define FM_RUNTIME_FLOW_CREW_H

#include "runtime/fiber/fiber.h"
#include "runtime/platform/lock.h"

/* crew.decides: which exits of a piece decide the call */
#define CREW_ON_SUCCESS 1u
#define CREW_ON_OTHER 2u

struct crew {
    /* what the call sets; the rest is zero */
    struct fm_exit (*work)(struct crew *crew, size_t index); /* one piece */
    size_t count;
    unsigned decides;
    struct fm_exit *exits; /* NULL, or where each piece's exit goes, by index */
    const void *site;

    struct fm_fiber *caller;
    _Atomic size_t next; /* the next piece */
    struct lock lock;    /* LOCK_SCOPE: what follows, and closed when it is written */
    _Atomic bool closed; /* no further piece is begun */
    bool decided;        /* index and exit are final */
    size_t index;        /* of the piece whose report decided, else of the last that was kept */
    struct fm_exit exit;
    struct fm_fiber *members; /* made and not ended */
    bool waited;              /* waiter wants to know when there are none */
    struct wait waiter;
};

/*
 * Do all pieces, at most `concurrency` at a time (0: no bound), and await all members. 0 done
 * or decided · -ETIMEDOUT · -ECANCELED (before it was decided) · -EPERM · -ENOMEM · -EAGAIN (no
 * piece has begun). Fiber only.
 */
int fm__crew_run(struct crew *crew, size_t concurrency, int64_t deadline_ns);

#endif
