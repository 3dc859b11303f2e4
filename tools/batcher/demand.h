/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demand.h - which services are needed, and for how long
 *
 * A service is needed while a job that needs it has not ended, one that is under way if all is
 * halting. One that no job needs is needed while there are jobs that are no services; in a
 * batch whose file has nothing but services such a one is needed for ever.
 */
#ifndef BATCH_DEMAND_H
#define BATCH_DEMAND_H

#include "tools/batcher/batch.h"

/*
 * Can it be done with these options? All services may be up at once, and then each other job
 * must find its resources. With --dry-run they are jobs like others. more: that come to those
 * of the plan, or NULL. 0 · -EINVAL, the complaint
 * naming the job
 */
int demand_check(const struct options *options, struct plan *plan, struct plan *more,
                 struct complaint *complaint);
/* Count the jobs of the plan, those that have ended too; before there is a fiber. */
void demand_init(struct batch *batch);
/* One more job; under the lock. */
void demand_add_locked(struct batch *batch, struct job *job);
/* A service that was stopped is needed again, and those that it needs; under the lock. */
void demand_revive_locked(struct batch *batch, struct job *job);
/* A service has been stopped: it comes back where somebody needs it by now. The same. */
void demand_stopped_locked(struct batch *batch, struct job *job);
/*
 * Stop the services that nobody needs any more, and do not start those that nobody will. So
 * each is stopped when all that need it have ended, services among them. Never waits; without
 * the lock.
 */
void demand_review(struct batch *batch);
/* The service runs, and is ready: who needs it may start. Never waits; without the lock. */
void demand_up(struct batch *batch, struct job *job);
/* It does not run any more: who needs it and was not started waits again. The same. */
void demand_down(struct batch *batch, struct job *job);

#endif
