/* SPDX-License-Identifier: Apache-2.0 */
/*
 * each_test.h - what the tests of fm_for_each share: pieces that count, sleep, fail, meet
 */
#ifndef TESTS_RUNTIME_FLOW_EACH_TEST_H
#define TESTS_RUNTIME_FLOW_EACH_TEST_H

#include "tests/runtime/flow/flow_test.h"

struct each {
    struct board board;
    _Atomic int calls[100];
    _Atomic int order;
    int nth[100]; /* when it was called */
    int64_t ms;   /* how long each takes */
    size_t count, concurrency;
    int fails_at; /* this index fails with -(index); 0: none */
    int result;
    struct fm_exit exit;
};

static inline struct fm_exit each_index(void *arg, size_t index)
{
    struct each *each = arg;
    on_the_board(&each->board);
    each->nth[index] = atomic_fetch_add(&each->order, 1);
    atomic_fetch_add(&each->calls[index], 1);
    int r = each->ms ? fm_sleep_ms(each->ms) : 0;
    if (r < 0)
        return fm_fail(r);
    return each->fails_at && index == (size_t)each->fails_at ? fm_fail(-(int)index)
                                                             : fm_ok(arg);
}

static inline struct fm_exit run_each(void *arg)
{
    struct each *each = arg;
    each->exit.kind = 99;
    each->result = fm_for_each(each->count, each->concurrency, each_index, each, &each->exit);
    all_off(&each->board);
    return each->result < 0 ? fm_fail(each->result) : fm_ok(NULL);
}

static inline struct fm_exit meet_all(void *arg, size_t index)
{
    struct each *each = arg;
    (void)index;
    atomic_fetch_add(&each->order, 1);
    while (atomic_load(&each->order) < (int)each->count) {
        int r = fm_yield();
        if (r < 0)
            return fm_fail(r);
    }
    return fm_ok(NULL);
}

static inline struct fm_exit count_call(void *arg, size_t index)
{
    (void)index;
    atomic_fetch_add((_Atomic uint64_t *)arg, 1);
    return fm_ok(NULL);
}

/* Index by index, what a piece is to do; three at once. */
static struct job crowd[6];

static inline struct fm_exit do_one_of_the_crowd(void *arg, size_t index)
{
    (void)arg;
    return do_job(&crowd[index]);
}

static inline struct fm_exit for_the_crowd(void *arg)
{
    struct each *each = arg;
    each->result = fm_for_each(LENGTH(crowd), 3, do_one_of_the_crowd, NULL, &each->exit);
    all_off(crowd[0].board);
    return fm_ok(NULL);
}

#endif
