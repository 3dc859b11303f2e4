/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conductor.h - what starts when, and when all is over
 */
#ifndef BATCH_CONDUCTOR_H
#define BATCH_CONDUCTOR_H

#include "tools/batcher/batch.h"

/* What stands below the batch's lock, from the plan; before there is a fiber. */
void conductor_init(struct batch *batch);
/*
 * Run everything: returns when nothing runs any more and nothing will. The main fiber's. 0 ·
 * -ENOMEM and what else a fiber cannot be had for
 */
int conductor_run(struct batch *batch);

/* A job that was started has ended. Never waits; a job of `each` is freed. */
void conductor_ended(struct batch *batch, struct job *job, enum job_state state);
/*
 * Nothing more starts; HALT_NOW: what runs is stopped too. signal: that asked for it, or 0.
 * Never waits, any fiber.
 */
void conductor_halt(struct batch *batch, enum halting how, int signal);
/* The same, because we cannot go on: `what` and why are said, once. Fiber only, waits. */
void conductor_give_up(struct batch *batch, int error, const char *what);
/*
 * End one job: what runs is stopped, what waits does not start. Never waits. 0 · -ENOENT there
 * is none · -EALREADY it has ended
 */
int conductor_cancel(struct batch *batch, const char *key);
/* Is it halting? */
bool conductor_stopping(struct batch *batch);
/* May this job, which was started, begin an attempt? */
bool conductor_lets(struct batch *batch, const struct job *job);
/* Why this one of all is being stopped, as the state that it comes to; JOB_NOT_RUN: it is not. */
enum job_state conductor_why_stopped(struct batch *batch, const struct job *job);
/*
 * Interrupt the fiber of a job that has been taken up; if that is not there yet it will see
 * why. Under the lock, so that nobody else can have the key by then. Never waits.
 */
void conductor_interrupt_locked(struct batch *batch, const struct job *job);
/* SIGKILL to all that runs. Never waits. */
void conductor_kill_all(struct batch *batch);

#endif
