/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan.c - look for a line in a text that comes piece by piece
 */
#include "tools/batcher/scan.h"

#include <string.h>

/* Is there such a line among those of the text, which has room for a NUL behind it? */
static bool line_matches(struct scan *scan, const regex_t *pattern)
{
    char *line = scan->text, *limit = scan->text + scan->len, *end;
    bool matches = false;
    while (!matches && (end = memchr(line, '\n', (size_t)(limit - line)))) {
        *end = '\0';
        matches = regexec(pattern, line, 0, NULL, 0) == 0;
        line = end + 1;
    }
    if (!matches && line == scan->text && scan->len == SCAN_LINE_BYTES) { /* a long one */
        *limit = '\0';
        matches = regexec(pattern, line, 0, NULL, 0) == 0;
        line = limit;
    }
    scan->len = (size_t)(limit - line);
    memmove(scan->text, line, scan->len);
    return matches;
}

bool scan_finds(struct scan *scan, const char *text, size_t len, const regex_t *pattern)
{
    while (len) {
        size_t room = SCAN_LINE_BYTES - scan->len;
        size_t piece = len < room ? len : room;
        memcpy(scan->text + scan->len, text, piece);
        scan->len += piece;
        text += piece;
        len -= piece;
        if (line_matches(scan, pattern))
            return true;
    }
    return false;
}
