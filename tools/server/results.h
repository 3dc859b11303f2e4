/* SPDX-License-Identifier: Apache-2.0 */
/*
 * results.h - how the last job of a key ended, for the keys that ended last
 */
#ifndef SERVER_RESULTS_H
#define SERVER_RESULTS_H

#include <stdint.h>

#include "fm/base.h"
#include "tools/server/work.h"

struct results;

struct result {
    uint64_t id;       /* of the fiber */
    uint64_t sequence; /* rises from job to job, from 1 on */
    struct work work;
    struct fm_exit exit;
    int64_t run_ns;
};

/* 0 · -ENOMEM. Keeps at most max keys; the one that ended first gives way. */
int results_create(unsigned max, struct results **ret_results);
struct results *results_destroy(struct results *results);
/*
 * Keep a result, unless a later job's stands there. key is copied. Without memory the result is
 * lost. Never waits.
 */
void results_put(struct results *results, const char *key, const struct result *result);
/* 0 · -ENOENT */
int results_get(struct results *results, const char *key, struct result *ret_result);

/* The same of one job, whatever came after it under its key, while it is of the last 1024. */
int results_get_number(struct results *results, uint64_t sequence, struct result *ret_result);

#endif
