/* SPDX-License-Identifier: Apache-2.0 */
/*
 * been.c - a set of hashes
 */
#include <stdlib.h>

#include "tests/stress/check/search.h"

static uint64_t *slot_of(const struct been *been, uint64_t hash)
{
    for (uint64_t at = hash >> 1;; at++) {
        uint64_t *slot = &been->hash[at & (been->room - 1)];
        if (*slot == 0 || *slot == hash)
            return slot;
    }
}

bool been_is_new(struct been *been, uint64_t hash)
{
    if (been->count * 2 >= been->room) {
        struct been larger = { .room = been->room ? been->room * 4 : 1 << 10 };
        larger.hash = zeroed(larger.room, sizeof *larger.hash);
        larger.count = been->count;
        for (size_t i = 0; i < been->room; i++)
            if (been->hash[i])
                *slot_of(&larger, been->hash[i]) = been->hash[i];
        free(been->hash);
        *been = larger;
    }
    uint64_t *slot = slot_of(been, hash);
    if (*slot)
        return false;
    *slot = hash;
    been->count++;
    return true;
}

void been_fini(struct been *been)
{
    free(been->hash);
    *been = (struct been) { 0 };
}
