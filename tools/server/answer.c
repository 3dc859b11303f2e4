/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.c - the answer to a request as bytes
 *
 * Knows not   sockets: the bytes go behind those that wait in exchange->out. Should memory run
 *             out, nothing is added and the connection closes.
 */
#include "tools/server/answer.h"

#include <errno.h>
#include <string.h>

#include "tools/server/json.h"
#include "tools/server/text.h"

/*
 * A head with everything that it can have is shorter: all texts in it are our own, the longest
 * status, type and list of methods under 40 bytes each.
 */
enum { HEAD_BYTES = 512 };

static const char problem_type[] = "application/problem+json";

static const char *status_text(int status)
{
    switch (status) {
    case 200: return "200 OK";
    case 202: return "202 Accepted";
    case 304: return "304 Not Modified";
    case 400: return "400 Bad Request";
    case 401: return "401 Unauthorized";
    case 403: return "403 Forbidden";
    case 404: return "404 Not Found";
    case 405: return "405 Method Not Allowed";
    case 408: return "408 Request Timeout";
    case 409: return "409 Conflict";
    case 413: return "413 Content Too Large";
    case 414: return "414 URI Too Long";
    case 417: return "417 Expectation Failed";
    case 426: return "426 Upgrade Required";
    case 429: return "429 Too Many Requests";
    case 431: return "431 Request Header Fields Too Large";
    case 501: return "501 Not Implemented";
    case 503: return "503 Service Unavailable";
    case 505: return "505 HTTP Version Not Supported";
    default: return "500 Internal Server Error";
    }
}

static const char *date(struct exchange *x)
{
    time_t now = time(NULL);
    if (now != x->date_second) {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(x->date, sizeof x->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        x->date_second = now;
    }
    return x->date;
}

static char *add_allow(struct exchange *x, char *at)
{
    return stpcpy(stpcpy(stpcpy(at, "\r\nAllow: "), x->allow), ", OPTIONS");
}

/* What the client should know besides the reason. */
static char *add_explanation(struct exchange *x, int status, char *at)
{
    server_count(&x->server->problems);
    switch (status) {
    case 401: return stpcpy(at, "\r\nWWW-Authenticate: Bearer realm=\"fibermap-serve\"");
    case 405: return add_allow(x, at);
    case 426: return stpcpy(at, "\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13");
    case 429: return stpcpy(at, "\r\nRetry-After: 1");
    default: return at;
    }
}

void answer(struct exchange *x, int status, const char *type, const void *body, size_t len)
{
    if (buffer_reserve(x->out, HEAD_BYTES + len) < 0) {
        x->close = true;
        return;
    }
    char *at = x->out->data + x->out->len;
    if (status == 200) /* what is known beforehand is copied in one go */
        at = stpcpy(at, "HTTP/1.1 200 OK");
    else
        at = stpcpy(stpcpy(at, "HTTP/1.1 "), status_text(status));
    at = stpcpy(at, "\r\nContent-Type: ");
    at = stpcpy(at, type);
    at = stpcpy(at, "\r\nDate: ");
    at = stpcpy(at, date(x));
    at = stpcpy(at, "\r\nContent-Length: ");
    at += text_number(len, at);
    if (x->close)
        at = stpcpy(at, "\r\nConnection: close");
    if (status >= 400)
        at = add_explanation(x, status, at);
    at = stpcpy(at, "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n");
    if (!x->head_only && len)
        at = mempcpy(at, body, len);
    x->out->len = (size_t)(at - x->out->data);
}

/* Whether one of the tags that the client has is this one. */
static bool client_has(const struct exchange *x, const char *etag)
{
    const struct http_header *tags = &x->request->headers[HEADER_IF_NONE_MATCH];
    return tags->count && (strstr(tags->text, etag) || !strcmp(tags->text, "*"));
}

void answer_tagged(struct exchange *x, const char *type, const char *etag, const char *more,
                   const void *body, size_t len)
{
    bool known = client_has(x, etag);
    if (buffer_reserve(x->out, HEAD_BYTES + strlen(etag) + strlen(more) + len) < 0) {
        x->close = true;
        return;
    }
    char *at = x->out->data + x->out->len;
    at = stpcpy(stpcpy(at, "HTTP/1.1 "), status_text(known ? 304 : 200));
    at = stpcpy(stpcpy(at, "\r\nETag: "), etag);
    at = stpcpy(stpcpy(at, "\r\nDate: "), date(x));
    if (!known) {
        at = stpcpy(stpcpy(at, "\r\nContent-Type: "), type);
        at = stpcpy(at, "\r\nContent-Length: ");
        at += text_number(len, at);
    }
    if (x->close)
        at = stpcpy(at, "\r\nConnection: close");
    at = stpcpy(at, "\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff");
    at = stpcpy(stpcpy(at, more), "\r\n\r\n");
    if (!known && !x->head_only)
        at = mempcpy(at, body, len);
    x->out->len = (size_t)(at - x->out->data);
}

void answer_text(struct exchange *x, int status, const char *text)
{
    answer(x, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* Takes the object over. */
static void answer_object(struct exchange *x, int status, const char *type,
                          struct json_object *object)
{
    static const char exhausted[] =
        "{\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"out of memory\"}";
    size_t len;
    const char *text =
        object ? json_object_to_json_string_length(object,
                                                   JSON_C_TO_STRING_PLAIN |
                                                       JSON_C_TO_STRING_NOSLASHESCAPE,
                                                   &len)
               : NULL;
    if (text)
        answer(x, status, type, text, len);
    else
        answer(x, 503, problem_type, exhausted, sizeof exhausted - 1);
    json_object_put(object);
}

void answer_json(struct exchange *x, int status, struct json_object *object)
{
    answer_object(x, status, "application/json", object);
}

void answer_problem(struct exchange *x, int status, const char *reason,
                    struct json_object *more)
{
    struct json_object *object = more ? more : json_object_new_object();
    if (object) {
        json_add_text(object, "title", status_text(status) + 4);
        json_add_number(object, "status", (uint64_t)status);
        json_add_text(object, "detail", reason);
    }
    answer_object(x, status, problem_type, object);
}

void answer_error(struct exchange *x, int status, const char *reason)
{
    answer_problem(x, status, reason, NULL);
}

void answer_allow(struct exchange *x)
{
    if (buffer_reserve(x->out, HEAD_BYTES) < 0) {
        x->close = true;
        return;
    }
    char *at = x->out->data + x->out->len;
    at = stpcpy(stpcpy(at, "HTTP/1.1 204 No Content\r\nDate: "), date(x));
    at = add_allow(x, at);
    if (x->close)
        at = stpcpy(at, "\r\nConnection: close");
    at = stpcpy(at, "\r\n\r\n");
    x->out->len = (size_t)(at - x->out->data);
}

int answer_stream(struct exchange *x, const char *type, bool chunks)
{
    if (buffer_reserve(x->out, HEAD_BYTES) < 0) {
        x->close = true;
        return -ENOMEM;
    }
    if (!chunks)
        x->close = true;
    char *at = x->out->data + x->out->len;
    at = stpcpy(stpcpy(at, "HTTP/1.1 200 OK\r\nContent-Type: "), type);
    at = stpcpy(stpcpy(at, "\r\nDate: "), date(x));
    if (chunks)
        at = stpcpy(at, "\r\nTransfer-Encoding: chunked");
    if (x->close)
        at = stpcpy(at, "\r\nConnection: close");
    at = stpcpy(at, "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n");
    x->out->len = (size_t)(at - x->out->data);
    return 0;
}

void answer_switch(struct exchange *x, const char *accept)
{
    static const char head[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: ";
    size_t before = x->out->len;
    int r = buffer_append(x->out, head, sizeof head - 1);
    r = r ? r : buffer_append_text(x->out, accept);
    r = r ? r : buffer_append_text(x->out, "\r\n\r\n");
    if (r < 0) {
        x->out->len = before;
        x->close = true;
    }
}
