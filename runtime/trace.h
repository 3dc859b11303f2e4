/*
 * trace.h - what a trace needs to know of fibers: sched_ops
 */
#ifndef FM_RUNTIME_TRACE_H
#define FM_RUNTIME_TRACE_H

#include "runtime/sched/sched.h"

uint64_t fm__trace_id(struct task *task);
void fm__trace_task(struct task *task, struct trace_event *event);
const char *fm__trace_wait(struct task *task);
int64_t fm__trace_now(struct sched *sched);

#endif
