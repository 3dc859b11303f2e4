/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.c - lines out of pieces that are cut anywhere
 *
 * Knows not   where they come from, what they mean.
 */
#include "tools/server/lines.h"

/* The line before has been used. */
static void begin(struct lines *lines)
{
    if (lines->number && !lines->whole)
        return;
    lines->line.len = 0;
    lines->whole = false;
    lines->number++;
}

int lines_take(struct lines *lines, const char *piece, size_t len, size_t *ret_used)
{
    *ret_used = 0;
    if (len == 0)
        return LINES_MORE;
    begin(lines);
    const char *end = memchr(piece, '\n', len);
    size_t count = end ? (size_t)(end - piece) : len;
    int r = buffer_append(&lines->line, piece, count);
    if (r < 0)
        return r;
    lines->whole = end != NULL;
    *ret_used = count + lines->whole;
    return lines->whole ? LINES_WHOLE : LINES_MORE;
}

int lines_end(struct lines *lines)
{
    if (lines->number == 0 || lines->whole)
        return LINES_MORE;
    lines->whole = true;
    return LINES_WHOLE;
}

bool lines_blank(const struct lines *lines)
{
    const struct buffer *line = &lines->line;
    size_t at = 0;
    while (at < line->len && memchr(" \t\r", line->data[at], 3))
        at++;
    return at == line->len;
}

void lines_fini(struct lines *lines)
{
    buffer_fini(&lines->line);
}
