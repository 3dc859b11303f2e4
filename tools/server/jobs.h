/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.h - work under a key, in a fiber of its own
 */
#ifndef SERVER_JOBS_H
#define SERVER_JOBS_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/server/server.h"
#include "tools/server/spec.h"

/* What has come of a spec. */
struct job_outcome {
    int result;  /* as of fm_map_run */
    uint64_t id; /* of the fiber that holds the key, or queues for it */
};

/* The map of jobs: at most max_jobs at once. 0 · -errno */
int jobs_create(struct fm_runtime *runtime, unsigned max_jobs, struct fm_map **ret_map);

/* Start a job; the result is also in *ret_outcome. Of the spec nothing is kept. */
int jobs_start(struct server *server, const struct job_spec *spec,
               struct job_outcome *ret_outcome);
/*
 * Start many: all of them or none, or each by itself. Every outcome is written.
 * Returns    as fm_map_run_many
 */
int jobs_start_many(struct server *server, const struct job_spec specs[], size_t count,
                    bool all_or_nothing, struct job_outcome outcomes[]);
/*
 * Start a job whose conflict is FM_JOIN, or join the one that runs, and wait for its end.
 *
 * ret_object  how it ended, the caller's; NULL: no memory.
 * Returns     as fm_map_run_wait
 */
int jobs_run_wait(struct server *server, const struct job_spec *spec, int64_t deadline_ns,
                  struct json_object **ret_object);

/* What is known of a key: 0, with an object of the caller's (NULL: no memory) · -ENOENT */
int jobs_status(struct server *server, const char *key, struct json_object **ret_object);
/* Wait until who holds the key has ended. Results as fm_map_await_key. */
int jobs_await(struct server *server, const char *key, int64_t deadline_ns);

/* 0 it has ended · -ENOENT · -ETIMEDOUT it has been interrupted and will end */
int jobs_cancel(struct server *server, const char *key);
/*
 * All jobs whose key begins so, queued ones too; ret_count says how many they were.
 * Returns    0 all have ended · -ETIMEDOUT some have been interrupted and will end · -ENOMEM
 */
int jobs_cancel_prefix(struct server *server, const char *prefix, size_t *ret_count);

#endif
