/* SPDX-License-Identifier: Apache-2.0 */
/*
 * add.h - jobs that come while a batch runs
 */
#ifndef BATCH_ADD_H
#define BATCH_ADD_H

#include <json-c/json.h>

#include "tools/batcher/batch.h"

/*
 * Add the jobs of a text that is as a job file: all of them, or none. Where a key is held by a
 * job that has not ended, `conflict` says what becomes of the new one. They may need jobs that
 * were there before. When it returns they are in the journal, and will start as any other.
 *
 * name     for complaints.
 * key      NULL; or the only key there may be, once: whatever the job says, it replaces who
 *          holds that. Without a text: the last job of this key comes again.
 * answer   an object: "added", "replaced", "queued" and "kept" are put into it, arrays of keys.
 *
 * Returns    0 · -EINVAL, and the complaint · -ESHUTDOWN all is over or stopping · -ENOENT
 *            nobody ever had the key, and there is no text · -EIO it cannot be written to the
 *            journal · -ENOMEM · -ECANCELED
 * Callers    fibers of run, side by side: one goes after the other.
 */
int add_jobs(struct batch *batch, const char *name, const char *text, const char *key,
             struct json_object *answer, struct complaint *complaint);

#endif
