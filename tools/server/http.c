/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - bytes in, HTTP/1.1 requests out, one after the other
 *
 * llhttp parses and is paused twice in each message: after the head, to judge it, and at its
 * end, so that the answer can be made before the next request is touched; pipelining is no more
 * than that. What llhttp lets pass for the sake of old peers is held back by a look of our own
 * at every byte that is not body (framing.c). Most requests are so plain that a glance tells
 * all (glance.c), and llhttp never sees them.
 *
 * Owns        the request under construction.
 * Knows not   sockets, deadlines, routes.
 * Invariant   head and line bytes, target and body never pass their limits by more than one
 *             call's data.
 */
#include "tools/server/http.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "tools/server/framing.h"
#include "tools/server/glance.h"

enum {
    HEADERS_MAX = 100,     /* trailers too */
    KEEP_URL_BYTES = 1024, /* memory kept from one request to the next */
    KEEP_BODY_BYTES = 4096,
};

int http_refuse(struct http *http, int status, const char *reason)
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
    http_refuse(http, status, reason);
    llhttp_set_error_reason(&http->parser, reason);
    return HPE_USER;
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
    if (++http->header_count > HEADERS_MAX)
        return refuse_in_callback(http, 431, "too many headers");
    struct http_header *header = header_find(http->request.headers, http->name, http->name_len);
    if (http->phase != PHASE_HEAD && http->name_len == 14 &&
        !strncasecmp(http->name, "content-length", 14))
        return refuse_in_callback(http, 400, "a length as a trailer");
    http->name_len = 0;
    http->header = NULL;
    /* what stands behind the body is no header, whatever it is called */
    if (header && http->phase == PHASE_HEAD && ++header->count == 1) {
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
    if (framing_skip_body(http, at, len) < 0)
        return HPE_USER;
    http->body_bytes += len;
    if (http->body_bytes > http->body_most)
        return refuse_in_callback(http, 413, "the body is too large");
    int r = buffer_append(&http->request.body, at, len);
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
    if (coding->count == 0)
        return 0;
    if (coding->count > 1 || http->parser.flags & F_CONTENT_LENGTH ||
        http->parser.http_minor == 0)
        return http_refuse(http, 400, "the body's length has more than one reading");
    if (!header_is(coding, "chunked"))
        return http_refuse(http, 501, "no transfer coding but chunked");
    return 0;
}

static int head_check(struct http *http)
{
    struct http_request *request = &http->request;
    llhttp_t *parser = &http->parser;
    headers_trim(request->headers);
    if (parser->http_major != 1 || parser->http_minor > 1)
        return http_refuse(http, 505, "HTTP/1.1 is spoken here");
    if (!method_known(parser->method))
        return http_refuse(http, 501, "the method is not known");
    uint32_t hosts = request->headers[HEADER_HOST].count;
    if (hosts > 1 || (hosts == 0 && parser->http_minor == 1))
        return http_refuse(http, 400, "one Host header is needed");
    if (hosts && !header_names_host(&request->headers[HEADER_HOST]))
        return http_refuse(http, 400, "the Host header names no host");
    int r = head_check_framing(http);
    if (r < 0)
        return r;
    const struct http_header *expect = &request->headers[HEADER_EXPECT];
    if (expect->count && !header_is(expect, "100-continue"))
        return http_refuse(http, 417, "nothing but 100-continue can be expected");
    r = buffer_append(&request->url, "", 1);
    if (r == -EMSGSIZE)
        return http_refuse(http, 414, "the target is too long");
    if (r < 0)
        return http_refuse(http, 503, "out of memory");
    request->url.len--;
    request->method = parser->method;
    request->upgrade_to_websocket = parser->upgrade && parser->http_minor == 1 &&
                                    header_is(&request->headers[HEADER_UPGRADE], "websocket");
    /* The message ends like any other; its receiver takes over what follows, or does not. */
    parser->upgrade = 0;
    request->http_1_0 = parser->http_minor == 0;
    http->phase = PHASE_BODY;
    http->line_bytes = 0;
    http->size_line_over = false;
    return 0;
}

/* ---- the body ---- */

static bool has_body(const struct http *http)
{
    return http->parser.flags & F_CHUNKED || http->parser.content_length > 0;
}

bool http_wants_continue(const struct http *http)
{
    return !http->request.http_1_0 && http->request.headers[HEADER_EXPECT].count;
}

static int limit_body(struct http *http, uint64_t most)
{
    http->body_most = most;
    bool chunked = http->parser.flags & F_CHUNKED;
    if (!chunked && http->parser.content_length > http->body_most)
        return http_refuse(http, 413, "the body is too large");
    return 0;
}

int http_hold_body(struct http *http)
{
    return limit_body(http, http->limits.body_bytes);
}

int http_stream_body(struct http *http, bool *ret_keep_alive)
{
    *ret_keep_alive = llhttp_should_keep_alive(&http->parser);
    return limit_body(http, http->limits.stream_bytes);
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
    request->http_1_0 = false;
    *ret_used = head;
    return true;
}

/* ---- in and out ---- */

static int refuse_llhttp(struct http *http, enum llhttp_errno error)
{
    const char *reason = llhttp_get_error_reason(&http->parser);
    bool version = error == HPE_INVALID_VERSION || error == HPE_PAUSED_H2_UPGRADE;
    return http_refuse(http, version ? 505 : 400, reason && *reason ? reason : "not HTTP");
}

int http_feed_body(struct http *http, const char *data, size_t len, size_t *ret_used)
{
    const char *at = data, *end = data + len;
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
        if (has_body(http)) {
            *ret_used = (size_t)(at - data);
            return FEED_HEAD;
        }
    }
}

int http_feed(struct http *http, const char *data, size_t len, size_t *ret_used)
{
    *ret_used = 0;
    if (len && http->phase == PHASE_IDLE) {
        if (take_plain(http, data, len, ret_used))
            return FEED_REQUEST;
        http->phase = PHASE_HEAD;
        http->in_request_line = true;
        http->excess = 0;
        http->header_count = 0;
        http->body_bytes = 0;
    }
    return http_feed_body(http, data, len, ret_used);
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
