/*
 * fork.h - a child made by fork(2) has our memory and none of our threads
 *
 * In such a child nobody would ever run a fiber, and any lock may be held by a thread that is
 * not there. So, if a runtime lived at the fork:
 *
 *   - the thread that forked is no worker any more (fm__worker_self is NULL): whatever only a
 *     fiber may do is refused as for any thread, at no cost to fibers;
 *   - fm__forked() is true: whatever a thread may do, and needs workers for, asks it first.
 *
 * The parent notices nothing: the handler runs in the child.
 */
#ifndef FM_RUNTIME_SCHED_FORK_H
#define FM_RUNTIME_SCHED_FORK_H

#include <stdatomic.h>
#include <stdbool.h>

extern _Atomic bool fm__forked_flag;

static inline bool fm__forked(void)
{
    /* relaxed: set before the child has a second thread */
    return atomic_load_explicit(&fm__forked_flag, memory_order_relaxed);
}

/* A runtime begins: forks matter from here on. 0 · -EPERM this is such a child · -ENOMEM */
int fm__fork_enter(void);
/* It has ended, all its threads have gone. */
void fm__fork_leave(void);

#endif
