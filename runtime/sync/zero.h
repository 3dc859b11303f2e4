/*
 * zero.h - a count, and those who wait until it is 0: inside a latch and a wait group
 */
#ifndef FM_RUNTIME_SYNC_ZERO_H
#define FM_RUNTIME_SYNC_ZERO_H

#include "runtime/sync/word.h"

#define ZERO_MAX (INT64_C(1) << 60)

struct zero {
    struct word word;        /* count << 2 | QUEUED | LOCKED */
    struct waitlist waiters; /* under word's lock */
};

void fm__zero_init(struct zero *zero, int64_t count);
/* Nobody may wait; waits until a count that has just met 0 has let go. */
void fm__zero_fini(struct zero *zero, const char *what);
/* 0 · -EINVAL below 0 · -EOVERFLOW above ZERO_MAX: nothing changed */
int fm__zero_add(struct zero *zero, int64_t n);
/* 0 · -ECANCELED · -ETIMEDOUT · -ENOMEM */
int fm__zero_wait(struct zero *zero, int64_t deadline_ns, const char *what);
int64_t fm__zero_count(struct zero *zero);

#endif
