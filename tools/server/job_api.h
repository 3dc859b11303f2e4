/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_api.h - requests about jobs
 */
#ifndef SERVER_JOB_API_H
#define SERVER_JOB_API_H

#include "tools/server/answer.h"

/*
 * Start the job that an object describes, or join one and wait for its end: a status, and below
 * 400 what is to be said of it (the caller's; NULL: no memory), else the reason.
 */
int job_api_run(struct exchange *x, struct json_object *from, struct json_object **ret_object,
                const char **ret_reason);

void job_api_start(struct exchange *x, const char *name);
void job_api_start_many(struct exchange *x, const char *name);
void job_api_status(struct exchange *x, const char *key);
void job_api_cancel(struct exchange *x, const char *key);
void job_api_cancel_prefix(struct exchange *x, const char *name);

#endif
