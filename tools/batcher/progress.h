/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - a line on the terminal that says how far it is
 */
#ifndef BATCH_PROGRESS_H
#define BATCH_PROGRESS_H

#include "tools/batcher/batch.h"

/* Is there somebody to show it to? */
bool progress_wanted(const struct options *options);
/* The body of a fiber that shows it until it is interrupted; arg is the batch. */
struct fm_exit progress_entry(void *arg);

#endif
