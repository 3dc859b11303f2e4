/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what the targets share
 *
 * A target is one function over some bytes, which comes back or stops the program. libFuzzer
 * calls it with inputs of its own (fuzz.py); replay.c with those that are kept.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What holds for every input, in every build. */
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* How an input is cut: whole, byte by byte, or in pieces of lengths that a seed chooses. */
struct cuts {
    enum { CUT_NOT, CUT_BYTES, CUT_SEEDED } how;
    uint32_t seed;
};

static inline size_t next_cut(struct cuts *cuts, size_t left)
{
    size_t len = left;
    if (cuts->how == CUT_BYTES) {
        len = 1;
    } else if (cuts->how == CUT_SEEDED) {
        cuts->seed = cuts->seed * 1664525 + 1013904223;
        unsigned scale = cuts->seed >> 29; /* mostly short ones, some long */
        len = 1 + (cuts->seed >> 8 & 0xff) % (UINT32_C(2) << scale);
    }
    return len < left ? len : left;
}

/* The same bytes in memory that ends with them, so that a look beyond is seen. */
static inline char *exact_copy(const uint8_t *data, size_t len)
{
    char *copy = malloc(len ? len : 1);
    CHECK(copy);
    if (len)
        memcpy(copy, data, len);
    return copy;
}

#endif
