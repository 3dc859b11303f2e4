/*
 * monitor.h - the thread that watches the workers
 */
#ifndef FM_RUNTIME_SCHED_MONITOR_H
#define FM_RUNTIME_SCHED_MONITOR_H

#include <stdint.h>

struct sched;

/* 0 · -ENOMEM · -EAGAIN */
int fm__monitor_start(struct sched *sched);
void fm__monitor_stop(struct sched *sched);
/* Work flows again: the monitor must watch. Cheap when it does. */
void fm__monitor_rouse(struct sched *sched);
uint64_t fm__monitor_stalls(struct sched *sched);

#endif
