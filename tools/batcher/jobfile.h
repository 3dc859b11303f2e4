/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobfile.h - a file of jobs: objects of JSON, one after the other or in an array
 *
 * docs/batch.md says what may stand in one.
 */
#ifndef BATCH_JOBFILE_H
#define BATCH_JOBFILE_H

#include "tools/batcher/plan.h"

/*
 * Read the file ("-": the standard input) to its end and add its jobs to the plan, linked.
 * Thread only, since it waits. 0 · -EINVAL, the complaint naming file, line, column and job ·
 * -ENOMEM · -errno of open(2) or read(2)
 */
int jobfile_read(const char *name, struct plan *plan, struct complaint *complaint);
/* Its text alone, to be freed, a NUL behind it: 0 · -ENOMEM · -errno */
int jobfile_text(const char *name, char **ret_text, size_t *ret_len);
/* The same of text, which `name` stands for in complaints; take: they are not linked. */
int jobfile_take(const char *name, const char *text, size_t len, struct plan *plan,
                 struct complaint *complaint);
int jobfile_parse(const char *name, const char *text, size_t len, struct plan *plan,
                  struct complaint *complaint);

#endif
