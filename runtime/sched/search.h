/*
 * search.h - work from others' queues
 */
#ifndef FM_RUNTIME_SCHED_SEARCH_H
#define FM_RUNTIME_SCHED_SEARCH_H

#include "runtime/sched/worker.h"

/*
 * A worker with pinned tasks most likely waits for one of them, which another worker puts into
 * its inbox: look there alone for a moment, so that the two exchange the line of the inbox and
 * not also those of the word of idle.h and of each other's queues.
 */
struct task *fm__worker_await_inbox(struct worker *w);

/*
 * A searcher looks at every queue, and again for some microseconds where that may help. NULL:
 * nothing is there.
 */
struct task *fm__worker_search(struct worker *w);

/*
 * Enough others search: wait a moment, awake, for what is put into our hands or comes from
 * outside, before the way to sleep and back is taken. It is awake and not searching, so
 * submitters neither wake it nor trust it; it looks at every queue again on its way to sleep.
 */
struct task *fm__worker_linger(struct worker *w);

#endif
