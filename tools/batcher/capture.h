/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture.h - of what an attempt says the beginning and the end, where that has a limit
 */
#ifndef BATCH_CAPTURE_H
#define BATCH_CAPTURE_H

#include "fm/process.h"
#include "tools/batcher/output.h"

struct capture;

/*
 * Read what the process writes into its two pipes, which pass to the capture.
 *
 * limit   bytes of each that are kept, half from the beginning and half from the end.
 *
 * Fiber only. 0 · -ENOMEM and what else a fiber cannot be had for: the pipes are closed
 */
int capture_start(struct fm_process *process, size_t limit, struct capture **ret_capture);
/*
 * The process has ended: take what stands in the pipes, and close them. What is kept goes to
 * the output as text, with a line between beginning and end that says how much is left out.
 * Fiber only, not interrupted. NULL-safe. 0 · -ENOMEM
 */
int capture_end(struct capture *capture, struct output *output);

#endif
