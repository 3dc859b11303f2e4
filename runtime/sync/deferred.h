/*
 * deferred.h - the one-shot cell inside a deferred and inside a promise
 */
#ifndef FM_RUNTIME_SYNC_DEFERRED_H
#define FM_RUNTIME_SYNC_DEFERRED_H

#include "fm/sync.h"
#include "runtime/sync/word.h"

struct fm_deferred {
    struct word word;        /* DONE once exit is written | LOCKED */
    struct waitlist waiters; /* under word's lock; nobody joins it once DONE is set */
    struct fm_exit exit;
};

void fm__deferred_init(struct fm_deferred *deferred);
/* Nobody may wait; waits until a completion that is just returning has let go. */
void fm__deferred_fini(struct fm_deferred *deferred);
/* 0 · FM_ALREADY_DONE */
int fm__deferred_complete(struct fm_deferred *deferred, struct fm_exit exit);
int fm__deferred_await(struct fm_deferred *deferred, int64_t deadline_ns,
                       struct fm_exit *ret_exit, const char *what);
int fm__deferred_poll(struct fm_deferred *deferred, struct fm_exit *ret_exit);

#endif
