/* SPDX-License-Identifier: Apache-2.0 */
/*
 * said.h - where what an attempt says goes: to files, to pipes that are read along, or to ours
 */
#ifndef BATCH_SAID_H
#define BATCH_SAID_H

#include "tools/batcher/batch.h"
#include "tools/batcher/capture.h"

struct said {
    enum { SAID_TO_US, SAID_TO_FILES, SAID_TO_PIPES } way;
    struct keeping keeping;
    char *folder;            /* under --results; NULL: none */
    struct capture *capture; /* of pipes, while the process runs */
};

/*
 * Before a process is started: see how it is to be, and make its files. Fiber only.
 *
 * Returns    0 · -ENOMEM · -ENAMETOOLONG · as output_open(): there is nothing to be ended
 */
int said_begin(struct said *said, const struct batch *batch, const struct job *job,
               struct output *output);
/* Where the process is to write. */
void said_place(const struct said *said, const struct output *output,
                struct fm_process_spec *spec);
/* It has been started. 0 · as capture_create(), capture_follow() */
int said_started(struct said *said, const struct job *job, struct fm_process *process);
/* It has ended, or was not started: all is in the output. 0 · as capture_end(), output_save() */
int said_end(struct said *said, struct output *output);

/*
 * Of a call: what is kept of it and in which folder. said_save() has what is not there by then,
 * and ends it.
 */
int said_of_call(struct said *said, const struct batch *batch, const struct job *job);
int said_save(struct said *said, const struct output *output);

#endif
