/*
 * switch.h - from a worker's own stack to a task's
 */
#ifndef FM_RUNTIME_SCHED_SWITCH_H
#define FM_RUNTIME_SCHED_SWITCH_H

#include "runtime/sched/worker.h"

/*
 * Run `task`, and after it whatever those who leave pick themselves. On the worker's own stack;
 * returns when one of them found nothing to pick. A task for which there was no stack has been
 * ended.
 */
void fm__worker_run(struct worker *w, struct task *task);

#endif
