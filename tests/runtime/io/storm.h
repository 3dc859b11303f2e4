/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm.h - every thread of the process is hit by a signal, some thousand times a second
 *
 * SIGPROF without SA_RESTART, which workers and the pool's threads let through: whatever they
 * are in the midst of ends with EINTR.
 */
#ifndef TESTS_RUNTIME_IO_STORM_H
#define TESTS_RUNTIME_IO_STORM_H

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/test.h"

struct storm {
    pthread_t thread;
    _Atomic bool over;
};

/* How many signals were handled, by threads other than the first. */
static _Atomic int storm_hits_;

static void storm_handler(int signo)
{
    (void)signo;
    if (syscall(SYS_gettid) != getpid())
        atomic_fetch_add(&storm_hits_, 1);
}

static inline int storm_hits(void)
{
    return atomic_load(&storm_hits_);
}

static void *storm_blow(void *arg)
{
    struct storm *storm = arg;
    const struct timespec pause = { 0, 300000 };
    long self = syscall(SYS_gettid);

    while (!atomic_load(&storm->over)) {
        DIR *threads = opendir("/proc/self/task");
        for (struct dirent *entry; threads && (entry = readdir(threads));) {
            long id = atol(entry->d_name);
            if (id > 0 && id != self)
                syscall(SYS_tgkill, getpid(), id, SIGPROF);
        }
        if (threads)
            closedir(threads);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static inline void storm_begin(struct storm *storm)
{
    struct sigaction action = { .sa_handler = storm_handler };
    cr_assert_eq(sigaction(SIGPROF, &action, NULL), 0);
    atomic_store(&storm->over, false);
    cr_assert_eq(pthread_create(&storm->thread, NULL, storm_blow, storm), 0);
}

static inline void storm_end(struct storm *storm)
{
    atomic_store(&storm->over, true);
    pthread_join(storm->thread, NULL);
}

#endif
