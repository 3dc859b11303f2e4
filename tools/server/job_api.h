/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_api.h - requests about jobs
 */
#ifndef SERVER_JOB_API_H
#define SERVER_JOB_API_H

#include "tools/server/answer.h"

void job_api_start(struct exchange *x, const char *name);
void job_api_start_many(struct exchange *x, const char *name);
void job_api_status(struct exchange *x, const char *key);
void job_api_cancel(struct exchange *x, const char *key);
void job_api_cancel_prefix(struct exchange *x, const char *name);

#endif
