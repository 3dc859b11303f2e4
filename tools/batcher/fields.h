/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.h - a job from an object of JSON
 */
#ifndef BATCH_FIELDS_H
#define BATCH_FIELDS_H

#include <json-c/json.h>

#include "tools/batcher/complaint.h"
#include "tools/batcher/job.h"

/*
 * Fill in what the object says; what it does not say stays as it is.
 *
 * Returns    0 · -EINVAL, the complaint naming the job: a field that there is not, a value of
 *            another kind or out of range, no key, no command or two · -ENOMEM
 */
int fields_read(struct job *job, struct json_object *object, struct complaint *complaint);

#endif
