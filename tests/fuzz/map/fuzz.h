/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - a target, and who calls it
 *
 * The target is LLVMFuzzerTestOneInput. Built with libFuzzer (-Dfuzz=true, by clang) that
 * library has the main function; else replay.c has it and goes through the kept inputs.
 */
#ifndef TESTS_FUZZ_MAP_FUZZ_H
#define TESTS_FUZZ_MAP_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Of so many inputs the target could not tell whether they are right. */
uint64_t fuzz_undecided(void);

#define FUZZ_CHECK(condition, ...) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr); \
            abort(); \
        } \
    } while (0)

#endif
