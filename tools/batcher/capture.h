/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture.h - what an attempt says, from its pipes: all, or the beginning and the end
 */
#ifndef BATCH_CAPTURE_H
#define BATCH_CAPTURE_H

#include "fm/process.h"
#include "tools/batcher/output.h"

struct capture;

/*
 * Take over the two pipes of the process. Nobody reads them yet.
 *
 * limit   bytes of each that are kept, half from the beginning and half from the end; 0: all.
 *
 * Fiber only. 0 · -ENOMEM
 */
int capture_create(struct fm_process *process, size_t limit, struct capture **ret_capture);
/*
 * From now on they are read along, so that the process never stands still. Once is enough.
 * NULL-safe. 0 · -ENOMEM and what else a fiber cannot be had for
 */
int capture_follow(struct capture *capture);
/*
 * The process has ended: take what stands in the pipes. What is kept goes to the output; where
 * that has a limit as text, with a line between beginning and end that says how much is left
 * out. What others who still hold a pipe write to it later is read to nowhere. Fiber only, not
 * interrupted. NULL-safe. 0 · -ENOMEM · as spool_end
 */
int capture_end(struct capture *capture, struct output *output);

#endif
