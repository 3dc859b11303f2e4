/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - of a text that comes piece by piece the beginning and the end
 */
#ifndef BATCH_KEEPER_H
#define BATCH_KEEPER_H

#include <stdbool.h>
#include <stddef.h>

/* All fields zero but the first. */
struct keeper {
    size_t half;       /* how many bytes are kept of each end */
    char *head, *tail; /* tail is a ring */
    size_t head_len, head_size;
    size_t tail_at, tail_len;
    size_t left_out;
    bool no_memory; /* from then on nothing is kept */
};

void keeper_put(struct keeper *keeper, const char *text, size_t len);
/*
 * Both ends as one text, to be freed, with a line between them that says how much is left out:
 * 0 · -ENOMEM
 */
int keeper_text(const struct keeper *keeper, char **ret_text, size_t *ret_bytes);
void keeper_fini(struct keeper *keeper);

#endif
