/*
 * loop.h - a worker's thread
 */
#ifndef FM_RUNTIME_SCHED_LOOP_H
#define FM_RUNTIME_SCHED_LOOP_H

/* The thread's main function. `arg`: its struct worker, which counts as awake already. */
void *fm__worker_main(void *arg);

#endif
