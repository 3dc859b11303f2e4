/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - bytes in, HTTP/1.1 requests out, one after the other
 *
 * llhttp parses and is paused twice in each message: after the head, to judge it, and at its
 * end, so that the answer can be made before the next request is touched; pipelining is no more
 * than that. What llhttp lets pass for the sake of old peers, and what attackers smuggle
 * requests with, is held back by a look of our own at every byte that is not body: a CR without
 * LF, an LF without CR, a folded line, a NUL, a chunk that does not end where its size says.
 * Most requests are so plain that a glance tells all (glance.c), and llhttp never sees them.
 *
 * Owns        the request under construction.
 * Knows not   sockets, deadlines, routes.
 * Invariant   head and line bytes, target and body never pass their limits by more than one
 *             call's data.
 */
#include "tools/server/http.h"

#include <errno.h>
#include <string.h>

#include "tools/server/glance.h"

enum {
    AFTER_CHUNK = 1, /* stands in for the last byte: the end of a piece of chunked body */
    CHUNK_LINE_BYTES = 512, /* a chunk's size with its extensions */
    KEEP_URL_BYTES = 1024,  /* memory kept from one request to the next */
    KEEP_BODY_BYTES = 4096,
};

static int refuse(struct http *http, int status, const char *reason)
{
    if (!http->refused_status) {
        http->refused_status = status;
        http->refused_reason = reason;
    }
    return -EPROTO;
}

/* What a callback returns when it has refused. */
static int refuse_in_callback(struct http *http, int status, const char *reason)
{
    refuse(http, status, reason);
    llhttp_set_error_reason(&http->parser, reason);
    return HPE_USER;
}

/* ---- framing: every byte that is not body ---- */

static int framing_count(struct http *http, size_t count)
{
    if (http->phase != PHASE_BODY) {
        http->head_bytes += count;
        if (http->head_bytes - http->request.url.len > http->limits.head_bytes)
            return refuse(http, 431, "the headers are too large");
        return 0;
    }
    http->line_bytes += count;
    if (http->parser.flags & F_TRAILING) {
        if (http->line_bytes > http->limits.head_bytes)
            return refuse(http, 431, "the trailers are too large");
    } else if (http->line_bytes > CHUNK_LINE_BYTES) {
        return refuse(http, 400, "a chunk's extension is too long");
    }
    return 0;
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

/* Look at the bytes from http->framing up to end, and count them. */
static int framing_scan(struct http *http, const char *end)
{
    unsigned char last = http->last;
    for (const char *at = http->framing; at < end; at++) {
        if (last >= 16) { /* within a line: which byte was the last makes no difference */
            while (end - at >= 8 && eight_are_text(at))
                at += 8;
            while (at < end && (unsigned char)*at >= 16)
                at++;
            if (at == end)
                break;
        }
        unsigned char c = (unsigned char)*at;
        if (c == '\0')
            return refuse(http, 400, "a NUL byte");
        if ((last == '\r') != (c == '\n'))
            return refuse(http, 400, "a line end is CR LF");
        if (last == AFTER_CHUNK && c != '\r')
            return refuse(http, 400, "a chunk is longer than its size");
        if (last == '\n' && (c == ' ' || c == '\t'))
            return refuse(http, 400, "a line begins with white space");
        last = c;
    }
    http->last = last;
    size_t count = end > http->framing ? (size_t)(end - http->framing) : 0;
    http->framing = end;
    return framing_count(http, count);
}

/* ---- headers ---- */

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
    struct http *http = parser->data;
    /* a name that fills the room is none that is looked for */
    size_t room = sizeof http->name - http->name_len;
    if (len > room)
        len = room;
    memcpy(http->name + http->name_len, at, len);
    http->name_len += len;
    return 0;
}

static int on_header_field_complete(llhttp_t *parser)
{
    struct http *http = parser->data;
    if (http->name_len == 0)
        return refuse_in_callback(http, 400, "a header has no name");
    struct http_header *header = header_find(http->request.headers, http->name, http->name_len);
    http->name_len = 0;
    http->header = NULL;
    if (header && ++header->count == 1) {
        header->len = 0;
        header->cut = false;
        http->header = header;
    }
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
    struct http_header *header = ((struct http *)parser->data)->header;
    if (!header)
        return 0;
    size_t room = HEADER_TEXT_BYTES - 1 - header->len;
    if (len > room) {
        len = room;
        header->cut = true;
    }
    memcpy(header->text + header->len, at, len);
    header->len += (uint32_t)len;
    return 0;
}

/* ---- the other callbacks ---- */

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct http *http = parser->data;
    int r = buffer_append(&http->request.url, at, len);
    if (r == -EMSGSIZE)
        return refuse_in_callback(http, 414, "the target is too long");
    return r < 0 ? refuse_in_callback(http, 503, "out of memory") : 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    return HPE_PAUSED;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct http *http = parser->data;
    if (framing_scan(http, at) < 0)
        return HPE_USER;
    http->framing = at + len;
    http->line_bytes = 0;
    http->last = parser->flags & F_CHUNKED ? AFTER_CHUNK : 0;
    int r = buffer_append(&http->request.body, at, len);
    if (r == -EMSGSIZE)
        return refuse_in_callback(http, 413, "the body is too large");
    return r < 0 ? refuse_in_callback(http, 503, "out of memory") : 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct http *http = parser->data;
    http->complete = true;
    http->request.keep_alive = llhttp_should_keep_alive(parser);
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- the head, once it is complete ---- */

static bool method_known(unsigned method)
{
    switch (method) {
    case HTTP_GET:
    case HTTP_HEAD:
    case HTTP_POST:
    case HTTP_PUT:
    case HTTP_DELETE:
    case HTTP_PATCH:
    case HTTP_OPTIONS: return true;
    default: return false;
    }
}

/* How the body is framed may have one reading only. */
static int head_check_framing(struct http *http)
{
    const struct http_header *coding = &http->request.headers[HEADER_TRANSFER_ENCODING];
    if (coding->count == 0) {
        if (http->parser.flags & F_CONTENT_LENGTH &&
            http->parser.content_length > http->limits.body_bytes)
            return refuse(http, 413, "the body is too large");
        return 0;
    }
    if (coding->count > 1 || http->parser.flags & F_CONTENT_LENGTH ||
        http->parser.http_minor == 0)
        return refuse(http, 400, "the body's length has more than one reading");
    if (!header_is(coding, "chunked"))
        return refuse(http, 501, "no transfer coding but chunked");
    return 0;
}

static int head_check(struct http *http)
{
    struct http_request *request = &http->request;
    llhttp_t *parser = &http->parser;
    headers_trim(request->headers);
    if (parser->http_major != 1 || parser->http_minor > 1)
        return refuse(http, 505, "HTTP/1.1 is spoken here");
    if (!method_known(parser->method))
        return refuse(http, 501, "the method is not known");
    uint32_t hosts = request->headers[HEADER_HOST].count;
    if (hosts > 1 || (hosts == 0 && parser->http_minor == 1))
        return refuse(http, 400, "one Host header is needed");
    if (hosts && !header_names_host(&request->headers[HEADER_HOST]))
        return refuse(http, 400, "the Host header names no host");
    int r = head_check_framing(http);
    if (r < 0)
        return r;
    const struct http_header *expect = &request->headers[HEADER_EXPECT];
    if (expect->count && !header_is(expect, "100-continue"))
        return refuse(http, 417, "nothing but 100-continue can be expected");
    r = buffer_append(&request->url, "", 1);
    if (r == -EMSGSIZE)
        return refuse(http, 414, "the target is too long");
    if (r < 0)
        return refuse(http, 503, "out of memory");
    request->url.len--;
    request->method = parser->method;
    request->upgrade_to_websocket = parser->upgrade && parser->http_minor == 1 &&
                                    header_is(&request->headers[HEADER_UPGRADE], "websocket");
    /* The message ends like any other; its receiver takes over what follows, or does not. */
    parser->upgrade = 0;
    http->phase = PHASE_BODY;
    http->line_bytes = 0;
    return 0;
}

static bool wants_continue(const struct http *http)
{
    bool body = http->parser.flags & F_CHUNKED || http->parser.content_length > 0;
    return body && http->parser.http_minor == 1 && http->request.headers[HEADER_EXPECT].count;
}

/* ---- a plain request ---- */

/* Keep the headers that somebody asks for. False: one of them is not plain enough. */
static bool keep_headers(struct http *http, const struct glance *seen)
{
    struct http_header *headers = http->request.headers, *host = &headers[HEADER_HOST];
    for (size_t i = 0; i < seen->header_count; i++) {
        const struct glance_header *from = &seen->headers[i];
        struct http_header *header = header_find(headers, from->name, from->name_len);
        if (!header)
            continue;
        if (header->count || from->value_len >= HEADER_TEXT_BYTES ||
            (header == host && !from->names_host))
            return false;
        memcpy(header->text, from->value, from->value_len);
        header->text[from->value_len] = '\0';
        header->len = (uint32_t)from->value_len;
        header->count = 1;
        header->cut = false;
    }
    return host->count == 1;
}

/*
 * Take a request that a glance is enough for. False: nothing is taken, and whatever is wrong
 * with it is llhttp's to find.
 */
static bool take_plain(struct http *http, const char *data, size_t len, size_t *ret_used)
{
    struct http_request *request = &http->request;
    struct glance seen;
    size_t head = glance(data, len, &seen);
    if (head == 0 || head - seen.target_len > http->limits.head_bytes ||
        !request->keep_alive || /* of the last one, behind which nothing may come */
        buffer_reserve(&request->url, seen.target_len + 1) < 0)
        return false;
    if (!keep_headers(http, &seen)) {
        headers_clear(request->headers);
        return false;
    }
    memcpy(request->url.data, seen.target, seen.target_len);
    request->url.data[seen.target_len] = '\0';
    request->url.len = seen.target_len;
    request->method = HTTP_GET;
    request->upgrade_to_websocket = false;
    *ret_used = head;
    return true;
}

/* ---- in and out ---- */

static int refuse_llhttp(struct http *http, enum llhttp_errno error)
{
    const char *reason = llhttp_get_error_reason(&http->parser);
    bool version = error == HPE_INVALID_VERSION || error == HPE_PAUSED_H2_UPGRADE;
    return refuse(http, version ? 505 : 400, reason && *reason ? reason : "not HTTP");
}

int http_feed(struct http *http, const char *data, size_t len, size_t *ret_used)
{
    const char *at = data, *end = data + len;
    *ret_used = 0;
    if (len && http->phase == PHASE_IDLE) {
        if (take_plain(http, data, len, ret_used))
            return FEED_REQUEST;
        http->phase = PHASE_HEAD;
    }
    for (;;) {
        http->framing = at;
        enum llhttp_errno error = llhttp_execute(&http->parser, at, (size_t)(end - at));
        const char *stop = error == HPE_OK ? end : llhttp_get_error_pos(&http->parser);
        *ret_used = (size_t)(stop - data);
        /* what came first counts, the same as if the bytes had come one by one */
        if (http->refused_status || framing_scan(http, stop) < 0)
            return -EPROTO;
        if (error == HPE_OK)
            return FEED_MORE;
        if (error != HPE_PAUSED)
            return refuse_llhttp(http, error);
        llhttp_resume(&http->parser);
        at = stop;
        if (http->complete)
            return FEED_REQUEST;
        int r = head_check(http);
        if (r < 0)
            return r;
        if (at == end && wants_continue(http))
            return FEED_CONTINUE;
    }
}

void http_next(struct http *http)
{
    buffer_clear(&http->request.url, KEEP_URL_BYTES);
    buffer_clear(&http->request.body, KEEP_BODY_BYTES);
    headers_clear(http->request.headers);
    http->phase = PHASE_IDLE;
    http->last = 0;
    http->head_bytes = 0;
    http->line_bytes = 0;
    http->complete = false;
    http->header = NULL;
    http->name_len = 0;
}

void http_init(struct http *http, const struct http_limits *limits)
{
    memset(http, 0, sizeof *http);
    http->limits = *limits;
    http->request.url.limit = limits->url_bytes + 1; /* the NUL */
    http->request.body.limit = limits->body_bytes;
    http->request.keep_alive = true;
    for (size_t i = 0; i < HEADER_COUNT; i++)
        http->request.headers[i].text = http->texts[i];
    llhttp_init(&http->parser, HTTP_REQUEST, &settings);
    http->parser.data = http;
}

void http_fini(struct http *http)
{
    buffer_fini(&http->request.url);
    buffer_fini(&http->request.body);
}
