/* SPDX-License-Identifier: Apache-2.0 */
/*
 * framing.c - every byte of a request that is not body, looked at once more
 *
 * What attackers smuggle requests with is refused here, whatever the parser makes of it: a CR
 * without LF, an LF without CR, a folded line, a NUL, a chunk that does not end where its size
 * says, a space too many in the request line, lines longer than anybody needs.
 */
#include "tools/server/framing.h"

#include <string.h>

enum {
    AFTER_CHUNK = 1, /* stands in for the last byte: the end of a piece of chunked body */
    CHUNK_LINE_BYTES = 512, /* a chunk's size with its extensions */
    CHUNK_FAIR_BYTES = 16,  /* of framing for each chunk, and as many more as twice its body */
    EXCESS_BYTES = 16 << 10,
};

/*
 * The line with a chunk's size, without its LF. The CR LF behind the chunk before it, if there
 * is one, is counted with it. Where it ends is seen here and not asked of llhttp, which may have
 * gone on to the trailers in the same bytes.
 */
static int framing_count_size_line(struct http *http, const char *at, size_t count)
{
    size_t before = http->line_bytes, skip = before < 2 ? 2 - before : 0;
    const char *lf = count > skip ? memchr(at + skip, '\n', count - skip) : NULL;
    http->size_line_over = lf != NULL;
    return before + (lf ? (size_t)(lf - at) : count) > CHUNK_LINE_BYTES
               ? http_refuse(http, 400, "a chunk's extension is too long")
               : 0;
}

static int framing_count(struct http *http, const char *at, size_t count)
{
    if (http->phase != PHASE_BODY) {
        http->head_bytes += count;
        if (http->head_bytes - http->request.url.len > http->limits.head_bytes)
            return http_refuse(http, 431, "the headers are too large");
        return 0;
    }
    int r = http->size_line_over ? 0 : framing_count_size_line(http, at, count);
    http->line_bytes += count;
    if (r == 0 && http->parser.flags & F_TRAILING && http->line_bytes > http->limits.head_bytes)
        r = http_refuse(http, 431, "the trailers are too large");
    return r;
}

/* Whether none of eight bytes is below 16, as CR, LF and NUL are. */
static bool eight_are_text(const char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, at, sizeof word);
    word &= ones * 0xf0; /* a byte is 0 now if it was below 16 */
    return ((word - ones) & ~word & ones * 0x80) == 0;
}

int framing_scan(struct http *http, const char *end)
{
    unsigned char last = http->last;
    bool first_line = http->in_request_line;
    for (const char *at = http->framing; at < end; at++) {
        /* within a line, but for spaces in the first, the last makes no difference */
        unsigned char least = first_line ? ' ' + 1 : 16;
        if (last >= least) {
            while (least == 16 && end - at >= 8 && eight_are_text(at))
                at += 8;
            while (at < end && (unsigned char)*at >= least)
                at++;
            if (at == end)
                break;
        }
        unsigned char c = (unsigned char)*at;
        if (c == '\0')
            return http_refuse(http, 400, "a NUL byte");
        if ((last == '\r') != (c == '\n'))
            return http_refuse(http, 400, "a line end is CR LF");
        if (last == AFTER_CHUNK && c != '\r')
            return http_refuse(http, 400, "a chunk is longer than its size");
        if (last == '\n' && (c == ' ' || c == '\t'))
            return http_refuse(http, 400, "a line begins with white space");
        if (first_line) {
            if (last == ' ' && (c == ' ' || c == '\r'))
                return http_refuse(http, 400, "a request line has two spaces");
            first_line = c != '\r' || last == 0 || last == '\n';
        }
        last = c;
    }
    http->last = last;
    http->in_request_line = first_line;
    const char *begin = http->framing;
    http->framing = end;
    return framing_count(http, begin, end > begin ? (size_t)(end - begin) : 0);
}

/*
 * Extensions that outweigh the chunks by far are work for nothing. What is counted does not
 * depend on how the bytes are cut.
 */
static int framing_weigh(struct http *http, size_t piece)
{
    if (http->line_bytes == 0 || !(http->parser.flags & F_CHUNKED))
        return 0; /* not the first piece of a chunk */
    uint64_t rest = http->parser.content_length;
    size_t size = rest < EXCESS_BYTES ? (size_t)rest + piece : EXCESS_BYTES;
    size_t fair = CHUNK_FAIR_BYTES + 2 * (size < EXCESS_BYTES ? size : EXCESS_BYTES);
    http->excess += http->line_bytes;
    http->excess -= http->excess < fair ? http->excess : fair;
    return http->excess > EXCESS_BYTES ? http_refuse(http, 400, "more extensions than body")
                                       : 0;
}

int framing_skip_body(struct http *http, const char *at, size_t len)
{
    int r = framing_scan(http, at);
    if (r == 0)
        r = framing_weigh(http, len);
    if (r < 0)
        return r;
    http->framing = at + len;
    http->line_bytes = 0;
    http->size_line_over = false;
    http->last = http->parser.flags & F_CHUNKED ? AFTER_CHUNK : 0;
    return 0;
}
