/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rlimits.h - what a job's processes may take of the system, each: setrlimit(2)
 */
#ifndef BATCH_RLIMITS_H
#define BATCH_RLIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "fm/process.h"

enum { LIMITS = 6 };

/* By their place in the table of rlimits.c. */
struct limits {
    bool said[LIMITS];
    int64_t value[LIMITS]; /* seconds of cpu, bytes of as, fsize and core, numbers */
};

/* cpu, as, nofile, nproc, fsize or core, from 0. 0 · -EINVAL */
int limits_set(struct limits *limits, const char *name, int64_t value);
/* The same from "NAME=VALUE". */
int limits_read(struct limits *limits, const char *text);
/* What the first says, and where it says nothing the second; both may be NULL. Their number. */
unsigned limits_list(const struct limits *limits, const struct limits *otherwise,
                     struct fm_process_limit list[LIMITS]);

#endif
