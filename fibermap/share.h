/*
 * share.h - callers that share one run: who of them still waits
 */
#ifndef FM_FIBERMAP_SHARE_H
#define FM_FIBERMAP_SHARE_H

#include "fibermap/entry.h"

/* In entry->shared, under the stripe lock. */
#define SHARED_STOPS (UINT32_C(1) << 31)    /* it ends when nobody waits any more ... */
#define SHARED_STOPPING (UINT32_C(1) << 30) /* ... as is the case now: nobody joins it */
#define SHARED_EXPIRED (UINT32_C(1) << 29) /* idle for too long: nor does anybody here */
#define SHARED_MOVED (UINT32_C(1) << 28) /* no waiter: its fiber came here by a move, and ... */
#define SHARED_SET (UINT32_C(1) << 27)   /* ... was set, not run */
#define SHARED_WAITERS (SHARED_SET - 1)

/*
 * The entry with which the registration of this one began. The stripe lock is held, and one
 * that has been moved is HELD: its exit uses the link.
 */
static inline struct entry *fm__entry_home_locked(struct entry *entry)
{
    return entry->shared & SHARED_MOVED ? entry->link : entry;
}

/* The entry, new, is put in by somebody who waits for it. */
static inline void fm__share_begin_locked(struct entry *entry, bool stops)
{
    FM_ASSERT(!(entry->shared & SHARED_WAITERS));
    entry->shared = 1 | (stops ? SHARED_STOPS : 0);
}

/* One more waits for it. */
static inline void fm__share_join_locked(struct entry *entry)
{
    FM_ASSERT((entry->shared & SHARED_WAITERS) < SHARED_WAITERS);
    entry->shared++;
}

/* Its last waiter has left, or its time is over: it has been stopped or is about to be. */
static inline bool fm__share_stopping_locked(const struct entry *entry)
{
    return entry->shared & (SHARED_STOPPING | SHARED_EXPIRED);
}

#endif
