/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - a batch on disk: its jobs, each start and each end of an attempt
 *
 * A SQLite database in WAL mode. Who has it open has it alone. Every call waits for the disk:
 * threads only, one at a time.
 */
#ifndef BATCH_STORE_H
#define BATCH_STORE_H

#include "tools/batcher/complaint.h"
#include "tools/batcher/past.h"
#include "tools/batcher/plan.h"

struct store;

/*
 * A start: state is JOB_RUNNING; that of a job of `each` brings the job too. An end: what it
 * came to, and whether it was the last one. Or jobs that come, some of them in the place of
 * others.
 */
struct record {
    const struct plan *added; /* NULL: none, and what follows holds */
    bool complete;            /* of `each`: it has `number` arguments and no more, that is all */
    const char *argument;     /* of `each`, of a start; NULL: none */
    uint64_t number;          /* of the job */
    unsigned attempt;
    int64_t at_ns; /* since 1970 */
    enum job_state state;
    bool last;
    int code; /* as ending_code() */
    int64_t user_ns, system_ns, max_rss_bytes;
};

/*
 * Make the database, with all jobs of the plan; those of `each` come as they start.
 *
 * words      of the command line, NULL behind the last, to be had again from store_words().
 * durable    each write is on the device when it returns, not only in the system's memory.
 *
 * Returns    0 · -EEXIST there is such a file · -EINVAL, the complaint saying what of SQLite
 *            failed
 */
int store_create(const char *path, const struct plan *plan, char *const words[], bool durable,
                 struct store **ret_store, struct complaint *complaint);
/* 0 · -ENOENT · -EINVAL it is none, or somebody has it open: the complaint says it */
int store_open(const char *path, struct store **ret_store, struct complaint *complaint);
/* NULL-safe, returns NULL. */
struct store *store_destroy(struct store *store);

/*
 * What store_create was given: to be freed with strings_free(); the directory that it was
 * called in is the first. NULL: no memory, or it cannot be read.
 */
char **store_words(struct store *store);
/*
 * The jobs into an empty plan, linked. Those that have ended have their state and how often
 * they were tried. How many were in the midst of an attempt, each told on our error.
 *
 * again      those that failed or timed out have not ended.
 *
 * Returns    0 and more · -EINVAL, the complaint saying why · -ENOMEM
 */
int store_load(struct store *store, bool again, struct plan *plan, struct complaint *complaint);
/* The same of a batch of `each`, into an empty past. */
int store_load_each(struct store *store, bool again, struct past *past,
                    struct complaint *complaint);
/* All of them or, on failure, none: 0 · -ENOSPC · -EIO, store_error() says why */
int store_write(struct store *store, const struct record *const records[], size_t count);
/* Of the last failure. */
const char *store_error(const struct store *store);

#endif
