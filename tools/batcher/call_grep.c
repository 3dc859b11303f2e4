/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_grep.c - lines that match an extended regular expression: PATH:NUMBER:LINE
 *
 * A line that goes on in the next piece is kept until it is whole. A file with a NUL in a line
 * that matches is no text: that it matches is said once. re_search() and not regexec(), which
 * sanitizers take to read up to a NUL.
 */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/call_work.h"

struct grepping {
    uint64_t number; /* of the line */
    char *begun;     /* its first part */
    size_t len, size;
    bool done; /* with this file */
};

static int begin(struct call_work *work)
{
    work->state = calloc(1, sizeof(struct grepping));
    return work->state ? 0 : -ENOMEM;
}

static void look(struct call_work *work, const struct piece *piece, const char *line,
                 size_t len)
{
    struct grepping *grepping = work->state;
    regoff_t whole = len < INT_MAX ? (regoff_t)len : INT_MAX;
    grepping->number++;
    if (grepping->done || re_search(&work->call->regex, line, whole, 0, whole, NULL) < 0)
        return;
    work->matched = true;
    if (memchr(line, '\0', len)) {
        fprintf(work->out, "%s: binary file matches\n", piece->path ? piece->path : "-");
        grepping->done = true;
        return;
    }
    if (piece->path)
        fprintf(work->out, "%s:", piece->path);
    fprintf(work->out, "%llu:", (unsigned long long)grepping->number);
    fwrite(line, 1, len, work->out);
    fputc('\n', work->out);
}

static int keep(struct grepping *grepping, const char *bytes, size_t len)
{
    if (grepping->size - grepping->len < len) {
        size_t size = 2 * (grepping->len + len);
        char *more = realloc(grepping->begun, size);
        if (!more)
            return -ENOMEM;
        grepping->begun = more;
        grepping->size = size;
    }
    memcpy(grepping->begun + grepping->len, bytes, len);
    grepping->len += len;
    return 0;
}

/* The end of a line is here: all of it. */
static int look_at_end(struct call_work *work, const struct piece *piece, const char *bytes,
                       size_t len)
{
    struct grepping *grepping = work->state;
    if (!grepping->len) {
        look(work, piece, bytes, len);
        return 0;
    }
    int r = keep(grepping, bytes, len);
    if (r == 0)
        look(work, piece, grepping->begun, grepping->len);
    grepping->len = 0;
    return r;
}

static int take(struct call_work *work, const struct piece *piece)
{
    struct grepping *grepping = work->state;
    if (piece->begins) {
        grepping->number = grepping->len = 0;
        grepping->done = false;
    }
    const char *at = piece->bytes, *stop = at + piece->len, *newline;
    int r = 0;
    while (r == 0 && at < stop && (newline = memchr(at, '\n', (size_t)(stop - at)))) {
        r = look_at_end(work, piece, at, (size_t)(newline - at));
        at = newline + 1;
    }
    if (r == 0 && at < stop)
        r = keep(grepping, at, (size_t)(stop - at));
    if (r == 0 && piece->ends && grepping->len)
        r = look_at_end(work, piece, stop, 0);
    return r;
}

static int end(struct call_work *work, bool all)
{
    struct grepping *grepping = work->state;
    (void)all;
    free(grepping->begun);
    free(grepping);
    return 0;
}

const struct call_kind_work call_grep = { begin, take, end };
