/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.h - what all rooms of the program share
 *
 * Exit codes, besides those of options.h: BATCH_ERROR before anything was run, or when it could
 * not go on; 128 + number after a signal.
 */
#ifndef BATCH_BATCH_H
#define BATCH_BATCH_H

#include <pthread.h>

#include "fm/fm.h"
#include "tools/batcher/halt.h"
#include "tools/batcher/options.h"
#include "tools/batcher/past.h"
#include "tools/batcher/plan.h"
#include "tools/batcher/printer.h"

TAILQ_HEAD(job_list, job);

struct each;
struct guard;
struct lines;
struct journal;
struct reports;
struct slots;
struct store;

struct batch {
    struct options options;
    struct plan plan;  /* of run */
    struct each *each; /* of each: where jobs come from; NULL otherwise */
    struct fm_runtime *runtime;
    struct fm_map *map;      /* jobs that are under way, by key */
    struct fm_map *services; /* services, by key */
    struct fm_fiber *conductor;
    struct fm_semaphore *news; /* a permit whenever the conductor should look again */
    struct guard *guard;     /* NULL: none */
    struct printer *printer;
    struct lines *joblog;    /* NULL: none */
    struct lines *events;    /* NULL: none */
    struct reports *reports; /* NULL: none */
    struct journal *journal; /* NULL: none */
    struct store *store;     /* of the journal, which has it from then on */
    struct past past;        /* of each, resumed */
    char **begun;            /* directory and words of a batch that is resumed */
    struct slots *slots;
    struct fm_mutex *adders; /* who holds it may add to the plan */

    /* Held for a few lines each, never across a wait. */
    pthread_mutex_t lock;
    struct job_list ready;      /* lock */
    struct job_list running;    /* lock; those with a process */
    size_t running_count;       /* lock */
    struct job_list skipped;    /* lock; to be told of */
    uint64_t all;               /* lock; how many there are; each: so far */
    bool all_known;             /* lock; no more will come */
    uint64_t count[JOB_STATES]; /* lock; how many are in each state that is an end */
    uint64_t under_way;         /* lock; taken from ready, not ended */
    uint64_t plain_under_way;   /* lock; of them those that are no services */
    int64_t plain_left;         /* lock; of run: jobs that have not ended and are no services */
    bool adding;                /* lock; jobs are about to come */
    bool over;                  /* lock; no more may */
    bool endless;               /* its file has only services */
    struct job_list all_services; /* lock; of the plan */
    enum halting halting;         /* lock */
    int signal;                   /* lock; that halted us */
    int halt_code;                /* lock; exit code of the job that did; -1: none */
    int error;                    /* lock; what made us give up; 0: nothing */
};

#endif
