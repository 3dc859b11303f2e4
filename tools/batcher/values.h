/* SPDX-License-Identifier: Apache-2.0 */
/*
 * values.h - what a field of a job file may hold, by its kind
 *
 * Each takes the place of what was there, or leaves it as it is: 0 · -EINVAL a value of another
 * kind · -ERANGE · -ENOMEM
 */
#ifndef BATCH_VALUES_H
#define BATCH_VALUES_H

#include <json-c/json.h>
#include <stdint.h>

#include "tools/batcher/job.h"

/* A copy; a NUL would end it early and is refused. */
int value_text(struct json_object *value, char **ret_text);
/* An array of such; ends with NULL. */
int value_texts(struct json_object *value, char ***ret_texts);
/* Seconds, or a text as duration_read() takes it. */
int value_duration(struct json_object *value, int64_t *ret_ns);
/* From 0 to most. */
int value_count(struct json_object *value, int64_t most, unsigned *ret_count);
/* One field, by its name, of an object that says when to try again. */
int value_retry(const char *name, struct json_object *value, struct retry *retry);

#endif
