/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern.c - an extended regular expression that somebody has written
 */
#include "tools/batcher/pattern.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static size_t opened(const char *pattern)
{
    size_t count = 0;
    for (; *pattern; pattern++)
        count += *pattern == '(';
    return count;
}

int pattern_compile(const char *pattern, int flags, regex_t *ret_regex, char *why, size_t size)
{
    if (strlen(pattern) > PATTERN_MAX || opened(pattern) > PATTERN_NESTED_MAX) {
        snprintf(why, size, "is too long, or has more than %d (", PATTERN_NESTED_MAX);
        return -EINVAL;
    }
    int r = regcomp(ret_regex, pattern, REG_EXTENDED | REG_NOSUB | flags);
    if (r == 0)
        return 0;
    char what[128];
    regerror(r, ret_regex, what, sizeof what);
    snprintf(why, size, "is wrong: %s", what);
    return -EINVAL;
}
