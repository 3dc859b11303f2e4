/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - jobs by their keys
 */
#ifndef BATCH_KEYS_H
#define BATCH_KEYS_H

#include "tools/batcher/job.h"

/* All zero is an empty one. */
struct keys {
    struct job **places; /* a power of two, at most half of them taken */
    size_t size, count;
};

/*
 * Where the job with this key is: the job itself, if there was none, or who was there before.
 * Another job with the same key may be put into the place. Until the next keys_add or
 * keys_remove. NULL: no memory
 */
struct job **keys_add(struct keys *keys, struct job *job);
/* NULL: none */
struct job *keys_find(const struct keys *keys, const char *key);
/* It is there. */
void keys_remove(struct keys *keys, const struct job *job);
void keys_fini(struct keys *keys);

#endif
