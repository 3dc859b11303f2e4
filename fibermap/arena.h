/*
 * arena.h - large blocks for the stripes of a map, in huge pages where the system has them
 *
 * A map of many entries is read all over: with pages of 4 KiB each look misses the processor's
 * page table cache as well, and each page costs a fault when it is first touched.
 *
 * Blocks are cut from chunks of 2 MiB and go when the map goes.
 */
#ifndef FM_FIBERMAP_ARENA_H
#define FM_FIBERMAP_ARENA_H

#include "fibermap/stripe.h"

struct arena_chunk;
struct arena_spare;

struct arena {
    struct block_source source; /* first: its functions cast back */
    struct lock lock;           /* taken with no other lock held */
    char *at, *end;             /* what is left of the newest chunk */
    struct arena_chunk *chunks; /* all */
    struct arena_spare *spares; /* given back */
};

void fm__arena_init(struct arena *arena);
void fm__arena_fini(struct arena *arena);

#endif
