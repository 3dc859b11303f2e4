/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.h - a job from its start under its key to its end, all attempts
 */
#ifndef BATCH_WORK_H
#define BATCH_WORK_H

#include "tools/batcher/batch.h"

/*
 * Start the job's fiber under its key; the conductor hears of its end by conductor_ended(),
 * once, whatever becomes of it. The slot is that of its first attempt and passes to it. May
 * wait for a place in the map. 0 · as fm_map_run: nothing was started, nobody will be told
 */
int work_start(struct batch *batch, struct job *job, unsigned slot);

#endif
