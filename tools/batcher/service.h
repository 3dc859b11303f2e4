/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h - a service from its start under its key to its end, however often it is restarted
 */
#ifndef BATCH_SERVICE_H
#define BATCH_SERVICE_H

#include "tools/batcher/batch.h"

/*
 * Start the service's fiber under its key in batch->services; the conductor hears of its end by
 * conductor_ended(), once. It takes no slot. To interrupt it is to stop it for good; why, stands
 * in the job. 0 · as fm_map_run: nothing was started, nobody will be told
 */
int service_start(struct batch *batch, struct job *job);

#endif
