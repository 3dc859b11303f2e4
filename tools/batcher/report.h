/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - how it went, all in all
 */
#ifndef BATCH_REPORT_H
#define BATCH_REPORT_H

#include "tools/batcher/batch.h"

/* One line on our error. Thread only: all has ended. */
void report_print(const struct batch *batch, int64_t elapsed_ns);
/* The exit code of the program. */
int report_exit_code(const struct batch *batch);

#endif
