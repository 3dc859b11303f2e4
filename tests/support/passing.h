/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passing.h - virtual time that passes by itself
 *
 * A thread moves the runtime's virtual clock to the next deadline whenever all is quiet. So a body may sleep and wait
 * with deadlines as on the real clock, to the nanosecond and without anybody waiting for it. Not for bodies that wait for
 * descriptors, the blocking pool or other threads with a deadline: to the clock they are quiet, and it passes
 * before what they wait for has come.
 */
#ifndef TESTS_SUPPORT_PASSING_H
#define TESTS_SUPPORT_PASSING_H

#include <fm/fm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/support/test.h"

struct passing {
    struct fm_runtime *runtime;
    pthread_t thread;
    _Atomic bool stop;
};

static inline void *passing_main(void *arg)
{
    struct passing *passing = arg;
    while (!atomic_load(&passing->stop)) {
        int64_t next_ns;
        cr_assert_eq(fm_clock_next_ns(passing->runtime, &next_ns), 0);
        if (next_ns != FM_NEVER)
            fm_clock_set_ns(passing->runtime, next_ns);
        else /* quiet: a thread is about to do something, or the body has ended */
            nanosleep(&(struct timespec) { .tv_nsec = 50000 }, NULL);
    }
    return NULL;
}

static inline void passing_start(struct passing *passing, struct fm_runtime *runtime)
{
    passing->runtime = runtime;
    atomic_init(&passing->stop, false);
    cr_assert_eq(pthread_create(&passing->thread, NULL, passing_main, passing), 0);
}

static inline void passing_stop(struct passing *passing)
{
    atomic_store(&passing->stop, true);
    pthread_join(passing->thread, NULL);
}

#endif
