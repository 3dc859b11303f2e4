/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.h - work under a key, in a fiber of its own
 */
#ifndef SERVER_JOBS_H
#define SERVER_JOBS_H

#include <json-c/json_object.h>
#include <stdint.h>

#include "tools/server/server.h"
#include "tools/server/work.h"

/*
 * Start a job. key is copied.
 *
 * conflict   enum fm_conflict: FM_REPLACE or FM_KEEP
 * ret_id     of the fiber that holds the key now
 * Returns    as fm_map_run, and -EAGAIN if max_jobs are running
 */
int jobs_start(struct server *server, const char *key, const struct work *work,
               unsigned conflict, uint64_t *ret_id);
/* What is known of a key: 0, with an object of the caller's (NULL: no memory) · -ENOENT */
int jobs_status(struct server *server, const char *key, struct json_object **ret_object);
/* 0 it has ended · -ENOENT · -ETIMEDOUT it has been interrupted and will end */
int jobs_cancel(struct server *server, const char *key);

#endif
