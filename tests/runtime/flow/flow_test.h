/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow_test.h - what the tests of runtime/flow share: a board on which bodies leave what they
 * did, and a task that does what it is told
 */
#ifndef TESTS_RUNTIME_FLOW_FLOW_TEST_H
#define TESTS_RUNTIME_FLOW_FLOW_TEST_H

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/support/fibers.h"

#define MS INT64_C(1000000)
#define S (1000 * MS)
#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* begun and finalized count bodies; running and most, those between the two. */
struct board {
    _Atomic int begun, finalized, running, most;
    _Atomic int marks; /* of trace */
    char trace[64];
};

static inline void mark(struct board *board, char c)
{
    int at = atomic_fetch_add(&board->marks, 1);
    cr_assert_lt(at, (int)sizeof board->trace - 1);
    board->trace[at] = c;
}

static inline int off_the_board(void *arg, struct fm_exit exit)
{
    struct board *board = arg;
    (void)exit;
    atomic_fetch_sub(&board->running, 1);
    atomic_fetch_add(&board->finalized, 1);
    return 0;
}

/* A body begins: its scope's finalizer takes it off again. */
static inline void on_the_board(struct board *board)
{
    atomic_fetch_add(&board->begun, 1);
    int running = atomic_fetch_add(&board->running, 1) + 1, most = atomic_load(&board->most);
    while (running > most && !atomic_compare_exchange_weak(&board->most, &most, running))
        ;
    cr_assert_eq(fm_defer(off_the_board, board), 0);
}

static inline void all_off(struct board *board)
{
    cr_assert_eq(atomic_load(&board->running), 0);
    cr_assert_eq(atomic_load(&board->begun), atomic_load(&board->finalized));
}

/* What a task is to do. */
struct job {
    struct board *board;
    int64_t ms;          /* sleep so long; below 0: for ever */
    struct fm_exit exit; /* then end so */
    int64_t last_ms;     /* the finalizer takes so long, whatever happens */
    bool deaf;           /* sleep under a mask */
    char name;           /* marked where it finalizes; 0: not */
};

static inline int job_finalizer(void *arg, struct fm_exit exit)
{
    struct job *job = arg;
    (void)exit;
    if (job->last_ms)
        cr_assert_eq(fm_sleep_ms(job->last_ms), 0);
    if (job->name)
        mark(job->board, job->name);
    return 0;
}

static inline struct fm_exit do_job(void *arg)
{
    struct job *job = arg;
    on_the_board(job->board);
    cr_assert_eq(fm_defer(job_finalizer, job), 0);
    if (job->deaf)
        fm_mask();
    int r = job->ms < 0 ? fm_never() : job->ms ? fm_sleep_ms(job->ms) : 0;
    if (job->deaf)
        fm_unmask();
    return r < 0 ? fm_fail(r) : job->exit;
}

#endif
