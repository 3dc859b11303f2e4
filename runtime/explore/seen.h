/*
 * seen.h - which traces there have been: a set of hashes
 */
#ifndef FM_RUNTIME_EXPLORE_SEEN_H
#define FM_RUNTIME_EXPLORE_SEEN_H

#include <stddef.h>
#include <stdint.h>

/* Zeros: the empty set. */
struct seen {
    uint64_t *traces; /* an open table, 0: a free place */
    size_t room;      /* a power of two */
    size_t count;
};

/* Without memory it stays as it was. */
void fm__seen_add(struct seen *seen, uint64_t trace);
void fm__seen_fini(struct seen *seen);

#endif
