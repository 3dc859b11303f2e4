/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_work.h - what a built-in does with the pieces of files
 */
#ifndef BATCH_CALL_WORK_H
#define BATCH_CALL_WORK_H

#include <stdio.h>

#include "tools/batcher/call.h"
#include "tools/batcher/walk.h"

struct call_work {
    struct call *call;
    FILE *out;    /* of the job */
    bool matched; /* grep */
    void *state;  /* the built-in's own */
};

/* state is NULL at begin, and gone after end. Each: 0 · -ENOMEM */
struct call_kind_work {
    int (*begin)(struct call_work *work);
    /*
     * In the order of the walk. After one with an error, which is not among them, the next
     * begins a file.
     */
    int (*take)(struct call_work *work, const struct piece *piece);
    /* all: everything was taken; otherwise nothing more is said. */
    int (*end)(struct call_work *work, bool all);
};

extern const struct call_kind_work call_hash, call_grep, call_count;

#endif
