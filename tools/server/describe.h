/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.h - jobs as JSON; an object that could not be made is NULL
 */
#ifndef SERVER_DESCRIBE_H
#define SERVER_DESCRIBE_H

#include <json-c/json_object.h>
#include <stdbool.h>

#include "fm/map.h"
#include "tools/server/jobs.h"
#include "tools/server/results.h"

struct json_object *describe_running(const char *key, struct fm_fiber *fiber);
/* whole: all of the result is known, not only work and exit. */
struct json_object *describe_result(const char *key, const struct result *result, bool whole);
/* What has come of a spec that was not refused. */
struct json_object *describe_outcome(const struct job_spec *spec,
                                     const struct job_outcome *outcome);
struct json_object *describe_member(const struct fm_member *member);

#endif
