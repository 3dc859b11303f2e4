/*
 * sched.h - workers, as the rooms above see them
 */
#ifndef FM_RUNTIME_SCHED_SCHED_H
#define FM_RUNTIME_SCHED_SCHED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/sched/task.h"

enum { WORKERS_MAX = 256 };

struct worker;

/* The index of the worker that the caller runs on, -1 for a thread that is none. Read anew after every wait. */
int fm__worker_index(void);

struct sched {
    struct worker *_Atomic workers[WORKERS_MAX]; /* NULL: never made; not freed before the scheduler is */
};

#endif
