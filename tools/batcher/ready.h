/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready.h - wait for the end of a service's process, and see meanwhile when it is ready
 */
#ifndef BATCH_READY_H
#define BATCH_READY_H

#include "tools/batcher/batch.h"
#include "tools/batcher/capture.h"

/*
 * As fm_process_wait(). When the service is ready it is up, see demand.h; it is no more when
 * this returns.
 *
 * capture    reads what it says, and looks for the line; NULL: the output has it in files.
 *
 * Returns    as fm_process_wait(); -ETIMEDOUT: it was not ready in time · -ENOMEM
 */
int ready_wait(struct batch *batch, struct job *job, const struct output *output,
               struct capture *capture, struct fm_process *process,
               struct fm_process_status *ret_status);

#endif
