/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admit.h - may these jobs come to those that are there?
 */
#ifndef BATCH_ADMIT_H
#define BATCH_ADMIT_H

#include <json-c/json.h>

#include "tools/batcher/batch.h"

/*
 * Take out of `more` the jobs that are left out, number the others, say of each whom it
 * replaces, and see that all that they need is or comes, without a ring, and that there is
 * enough of what they take. Nothing of the batch is changed. Under its lock; who adds is alone.
 *
 * name    of the text, for complaints.
 * answer  as of add_jobs(); written on success.
 *
 * Returns 0 · -EINVAL, the complaint naming place and job · -ENOMEM
 */
int admit_locked(struct batch *batch, struct plan *more, const char *name,
                 struct json_object *answer, struct complaint *complaint);

#endif
