/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_output.h - what a built-in says, as two streams that it writes to
 */
#ifndef BATCH_CALL_OUTPUT_H
#define BATCH_CALL_OUTPUT_H

#include <stdio.h>

#include "tools/batcher/channel.h"

struct call_output {
    FILE *files[2];             /* out and err */
    struct channel channels[2]; /* where it is limited */
    bool limited;
};

/*
 * Both streams, for the calling fiber alone. The output is written, and lives as long. 0 ·
 * -ENOMEM · as rotor_create(): there is nothing to close
 */
int call_output_open(struct call_output *said, const struct keeping *keeping,
                     struct output *output);
/* What was said is in the output. 0 · -ENOMEM · -errno of writing it to files */
int call_output_close(struct call_output *said, struct output *output);

#endif
