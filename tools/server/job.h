/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - one job as its own fiber sees it
 */
#ifndef SERVER_JOB_H
#define SERVER_JOB_H

#include "fm/map.h"
#include "tools/server/server.h"
#include "tools/server/spec.h"

struct job;

/*
 * The argument of job_entry, whose fiber frees it at its end; or the caller does, where it has
 * not passed to a map. NULL: no memory. Fiber only.
 */
struct job *job_create(struct server *server, const struct job_spec *spec);
void job_free(struct job *job);
int64_t job_deadline_ns(const struct job *job);

/* What the map is given: the body, what it does if that never runs, whether to run it again. */
struct fm_exit job_entry(void *job);
void job_drop(void *job);
bool job_may_restart(void *job, struct fm_key key, struct fm_exit exit, uint64_t count);

#endif
