/*
 * deferred.h - the one-shot cell inside a deferred and inside a promise
 */
#ifndef FM_RUNTIME_SYNC_DEFERRED_H
#define FM_RUNTIME_SYNC_DEFERRED_H

#include "fm/sync.h"
#include "runtime/fiber/waitlist.h"

struct fm_deferred {
    _Atomic uint32_t done;   /* 1 once exit is written; it never changes again */
    struct lock lock;        /* LOCK_SYNC: the first writing of exit, and the list */
    struct waitlist waiters; /* of the awaiters; nobody joins it once done is 1 */
    struct fm_exit exit;
};

void fm__deferred_init(struct fm_deferred *deferred);
/* Nobody may wait; waits until a completion that is just returning has let go. */
void fm__deferred_fini(struct fm_deferred *deferred);
/*
 * Complete it: 0 · FM_ALREADY_DONE. after(deferred), if given, is called once by the winner under the
 * lock, between the moment the exit shows and the first wake.
 */
int fm__deferred_complete(struct fm_deferred *deferred, struct fm_exit exit,
                          void (*after)(struct fm_deferred *deferred));
int fm__deferred_await(struct fm_deferred *deferred, int64_t deadline_ns,
                       struct fm_exit *ret_exit, const char *what);
int fm__deferred_poll(struct fm_deferred *deferred, struct fm_exit *ret_exit);

#endif
