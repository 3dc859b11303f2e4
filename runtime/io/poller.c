/*
 * poller.c - hands epoll and the descriptors' records down to the scheduler
 */
#include "runtime/io/poller.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/fiber/runtime.h"
#include "runtime/io/readiness.h"
#include "runtime/platform/memory.h"

int fm__poller_init(struct fm_runtime *runtime)
{
    FM_ASSERT(!runtime->poller);
    struct poller *poller = fm__zalloc_aligned(_Alignof(struct poller), sizeof *poller);
    if (!poller)
        return -ENOMEM;
    int r = fm__epoll_init(poller);
    if (r < 0)
        goto free_poller;
    r = fm__fd_join(poller);
    if (r < 0)
        goto fini_epoll;
    runtime->poller = poller;
    return 0;

fini_epoll:
    fm__epoll_fini(poller);
free_poller:
    free(poller);
    return r;
}

void fm__poller_fini(struct fm_runtime *runtime)
{
    FM_ASSERT(runtime->poller);
    fm__fd_leave(runtime->poller);
    fm__epoll_fini(runtime->poller);
    free(runtime->poller);
    runtime->poller = NULL;
}

unsigned fm__poller_poll(struct fm_runtime *runtime, int64_t deadline_ns)
{
    int count = fm__epoll_wait(runtime->poller, deadline_ns);
    fm__sched_poll_returned(&runtime->sched);
    return fm__epoll_deliver(runtime->poller, count, fm__fd_event);
}

void fm__poller_wake(struct fm_runtime *runtime)
{
    fm__epoll_wake(runtime->poller);
}

bool fm__poller_needed(struct fm_runtime *runtime)
{
    /*
     * relaxed: a hint; a fiber that waits for io was registered by a worker that will look
     * again before it sleeps
     */
    return atomic_load_explicit(&runtime->poller->registered, memory_order_relaxed) != 0;
}

void fm__poller_stats(struct fm_runtime *runtime, struct fm_runtime_stats *stats)
{
    stats->polls = fm__counted(&runtime->poller->polls);
    stats->io_events = fm__counted(&runtime->poller->events);
}
