/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - work that is built in: hash, grep, count, in a fiber and without a process
 */
#ifndef BATCH_CALL_H
#define BATCH_CALL_H

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/batcher/complaint.h"

enum call_kind { CALL_UNSAID, CALL_HASH, CALL_GREP, CALL_COUNT };

struct call {
    enum call_kind kind;
    char **paths; /* files and folders; NULL: text instead of them */
    char *text;
    char *pattern; /* of grep: an extended regular expression */
    bool ignore_case;
    bool compiled;
    regex_t regex;
};

/* "hash", "grep", "count": 0 · -EINVAL */
int call_kind_read(const char *name, enum call_kind *ret_kind);
/* All has been said: 0 · -EINVAL, the complaint naming what is missing or wrong in job `key` */
int call_check(struct call *call, const char *key, struct complaint *complaint);
/* "hash a b", for logs; to be freed, NULL: no memory. */
char *call_line(const struct call *call);
/* NULL-safe, returns NULL. */
struct call *call_destroy(struct call *call);

/*
 * Do it.
 *
 * out, err     what it says; theirs alone.
 * folder       that paths are named from; NULL: ours.
 * ret_code     0 · grep: 1 no line matched · 2 something could not be read, and was said.
 *
 * Returns    0 · -ETIMEDOUT · -ECANCELED · -ENOMEM · -errno of opening the folder. Fiber only.
 */
int call_run(struct call *call, const char *folder, int64_t deadline_ns, FILE *out, FILE *err,
             int *ret_code);

#endif
