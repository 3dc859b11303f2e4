/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.h - a text that comes piece by piece: a little in memory, more in a nameless file
 */
#ifndef BATCH_SPOOL_H
#define BATCH_SPOOL_H

#include <stddef.h>

struct spool {
    char *text; /* what is not in the file yet */
    size_t len, size;
    int fd;         /* of the file; -1: none */
    size_t written; /* to it */
    int error;      /* from then on nothing is kept */
};
#define SPOOL_EMPTY \
    { \
        .fd = -1 \
    }

/* Fiber only; the file is written on the blocking pool, which is awaited whatever happens. */
void spool_add(struct spool *spool, const char *text, size_t len);
/*
 * It is whole: either ret_text, to be freed, or ret_fd has it; neither where it is empty. Fiber
 * only. 0 · -ENOMEM · -errno of open(2) or write(2)
 */
int spool_end(struct spool *spool, char **ret_text, int *ret_fd, size_t *ret_bytes);
/* What no spool_end() has taken. */
void spool_free(struct spool *spool);

#endif
