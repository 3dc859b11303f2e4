/*
 * fork.c - a child made by fork(2) has our memory and none of our threads
 *
 * Owns   the count of runtimes, and what a child is told.
 */
#include "runtime/sched/fork.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include "runtime/sched/worker.h"

_Atomic bool fm__forked_flag;

static _Atomic uint32_t runtimes;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int registered; /* 0, or the errno */

static void in_child(void)
{
    /* relaxed: one thread is left, the one that forked */
    if (atomic_load_explicit(&runtimes, memory_order_relaxed) == 0)
        return;
    atomic_store_explicit(&fm__forked_flag, true, memory_order_relaxed);
    fm__worker_set_self(NULL);
}

static void register_handler(void)
{
    registered = pthread_atfork(NULL, NULL, in_child);
}

int fm__fork_enter(void)
{
    pthread_once(&once, register_handler);
    if (registered)
        return -registered;
    if (fm__forked())
        return -EPERM;
    /* relaxed: read by a fork of this thread, or of one that knows of the runtime */
    atomic_fetch_add_explicit(&runtimes, 1, memory_order_relaxed);
    return 0;
}

void fm__fork_leave(void)
{
    atomic_fetch_sub_explicit(&runtimes, 1, memory_order_relaxed);
}
