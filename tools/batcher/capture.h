/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture.h - what an attempt says, from its pipes: all, or what a limit leaves of it
 */
#ifndef BATCH_CAPTURE_H
#define BATCH_CAPTURE_H

#include <regex.h>

#include "fm/process.h"
#include "tools/batcher/channel.h"

struct capture;

/*
 * Take over the two pipes of the process. Nobody reads them yet.
 *
 * keeping   what is kept of each; its folder lives as long.
 * pattern   of a line that is looked for in both as they are read, see capture_has_line(); NULL:
 *           none. Lives as long.
 *
 * Fiber only. 0 · -ENOMEM · as channel_open(): the process has its pipes still
 */
int capture_create(struct fm_process *process, const struct keeping *keeping,
                   const regex_t *pattern, struct capture **ret_capture);
/* Has such a line come? Any thread. */
bool capture_has_line(struct capture *capture);
/*
 * From now on they are read along, so that the process never stands still. Once is enough.
 * NULL-safe. 0 · -ENOMEM and what else a fiber cannot be had for
 */
int capture_follow(struct capture *capture);
/*
 * The process has ended: take what stands in the pipes. What is kept goes to the output. What
 * others who still hold a pipe write to it later is read to nowhere. Fiber only, not
 * interrupted. NULL-safe. 0 · -ENOMEM · as spool_end(), channel_take()
 */
int capture_end(struct capture *capture, struct output *output);

#endif
