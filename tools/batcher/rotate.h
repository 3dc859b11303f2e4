/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rotate.h - how large a file of output becomes, and how many are kept
 */
#ifndef BATCH_ROTATE_H
#define BATCH_ROTATE_H

#include <stddef.h>

enum { ROTATE_BYTES_MIN = 16, ROTATE_FILES_MAX = 100 };

struct rotate {
    size_t bytes;   /* that a file holds; 0: it is not rotated */
    unsigned files; /* that are kept besides the one that is written */
};

/* "10M", "64k:3": bytes, with k, M or G of 1024, and a number of files (1). 0 · -EINVAL */
int rotate_read(const char *text, struct rotate *ret_rotate);

#endif
