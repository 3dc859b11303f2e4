/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.h - one of the two outputs of an attempt, where what is kept of it has a limit
 */
#ifndef BATCH_CHANNEL_H
#define BATCH_CHANNEL_H

#include "tools/batcher/keeper.h"
#include "tools/batcher/output.h"
#include "tools/batcher/rotor.h"

/* What is kept of each of the two; all zero: everything. */
struct keeping {
    size_t limit;         /* bytes, half from the beginning and half from the end; 0: all */
    struct rotate rotate; /* the files that it goes to */
    const char *folder;   /* of these; NULL: they are nameless */
};

/* Is anything limited? */
bool keeping_limits(const struct keeping *keeping);

struct channel {
    struct keeper keeper;
    struct rotor *rotor; /* NULL: it goes to no files */
};

/* which: 0 the output, 1 the error. The folder lives as long. Fiber only; as rotor_create() */
int channel_open(struct channel *channel, const struct keeping *keeping, int which);
/* Fiber only; may wait for the disk. */
void channel_put(struct channel *channel, const char *text, size_t len);
/* It is whole, and goes to the output: 0 · -ENOMEM · -errno of writing */
int channel_take(struct channel *channel, struct output *output, int which);
void channel_close(struct channel *channel);

#endif
