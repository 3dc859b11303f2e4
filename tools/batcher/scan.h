/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan.h - look for a line in a text that comes piece by piece
 */
#ifndef BATCH_SCAN_H
#define BATCH_SCAN_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

enum { SCAN_LINE_BYTES = 4096 };

/* What was read and is not a whole line yet; at the start all zero. */
struct scan {
    size_t len;
    char text[SCAN_LINE_BYTES + 1];
};

/*
 * Does a line that this piece ends match? Of a long line the parts are looked at. The caller has
 * PATTERN_STACK bytes of stack.
 */
bool scan_finds(struct scan *scan, const char *text, size_t len, const regex_t *pattern);

#endif
