/* SPDX-License-Identifier: Apache-2.0 */
/*
 * each.h - the jobs of `batch each`: the command, once for each argument
 */
#ifndef BATCH_EACH_H
#define BATCH_EACH_H

#include "tools/batcher/job.h"
#include "tools/batcher/options.h"

struct each;
struct past;

/*
 * past     NULL, or what the journal of a batch that is resumed has: its jobs come as far as
 *          they were then, those that have ended in that state. The arguments are read again
 *          and must be the same, but where the past is whole.
 * options  lives as long, as does the past.
 *
 * 0 · -errno of opening the file with the arguments · -ENOTTY they would have to be typed
 * again · -ENOMEM
 */
int each_create(const struct options *options, const struct past *past,
                struct each **ret_each);
/* NULL-safe, returns NULL. */
struct each *each_destroy(struct each *each);
/*
 * The next job, the caller's; its key is its number. Waits for the next line of a pipe.
 *
 * Returns    1 a job · 0 there are no more · -ECANCELED · -ENOMEM · -errno of read(2) ·
 *            -EINVAL the arguments are not those of the past, each_complaint() says where
 */
int each_next(struct each *each, struct job **ret_job);
const char *each_complaint(const struct each *each);
/* How many there are in all; 0: it is not known before the end. */
uint64_t each_count(const struct each *each);

#endif
