/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern.h - an extended regular expression that somebody has written
 */
#ifndef BATCH_PATTERN_H
#define BATCH_PATTERN_H

#include <regex.h>
#include <stddef.h>

/* The C library goes one deeper on the stack for each ( of a pattern. */
enum { PATTERN_NESTED_MAX = 32, PATTERN_MAX = 4096, PATTERN_STACK = 256 << 10 };

/*
 * The caller has PATTERN_STACK bytes of stack.
 *
 * flags   of regcomp(3), REG_EXTENDED and REG_NOSUB besides.
 * why     what is wrong with it, where the result is not 0.
 *
 * Returns 0 · -EINVAL
 */
int pattern_compile(const char *pattern, int flags, regex_t *ret_regex, char *why, size_t size);

#endif
