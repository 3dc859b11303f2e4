/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - others may ask a running batch, over a Unix socket
 *
 * A question is an object of JSON on a line, and so is the answer: {"do": "status"},
 * {"do": "cancel", "key": "..."}, {"do": "wait"}, {"do": "add", "name": "...", "jobs": "text of a
 * job file"}, {"do": "replace", "key": "...", and name and jobs or neither}. It may have
 * "version": 1. What went wrong is {"error": "..."}. Questions of other users go unheard.
 */
#ifndef BATCH_CONTROL_H
#define BATCH_CONTROL_H

#include "tools/batcher/batch.h"

/* So long may a question be, in bytes, with its newline. */
#define CONTROL_QUESTION_MAX (4 << 20)

struct control;

/*
 * Listen at the path, for our user alone (mode 0600), in a fiber of its own; a socket that
 * nobody listens at any more is removed. Fiber only, before there are other threads that make
 * files. 0 · -EADDRINUSE somebody listens there · -ENOMEM · -errno of bind(2)
 */
int control_start(struct batch *batch, const char *path, struct control **ret_control);
/* All is over: those who wait are told, and the path is removed. NULL-safe, returns NULL. */
struct control *control_stop(struct control *control);

#endif
