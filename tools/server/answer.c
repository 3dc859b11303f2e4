/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.c - the answer to a request as bytes
 *
 * Knows not   sockets: the bytes go behind those that wait in exchange->out. Should memory run
 *             out, nothing is added and the connection closes.
 */
#include "tools/server/answer.h"

static const char *status_text(int status)
{
    switch (status) {
    case 200: return "200 OK";
    case 202: return "202 Accepted";
    case 400: return "400 Bad Request";
    case 403: return "403 Forbidden";
    case 404: return "404 Not Found";
    case 405: return "405 Method Not Allowed";
    case 408: return "408 Request Timeout";
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

/* One header or line: the texts up to NULL, in a row. */
#define ADD(x, ...) add(x, (const char *const[]) { __VA_ARGS__, NULL })
static int add(struct exchange *x, const char *const *texts)
{
    int r = 0;
    for (; *texts && r == 0; texts++)
        r = buffer_append_text(x->out, *texts);
    return r;
}

void answer(struct exchange *x, int status, const char *type, const void *body, size_t len)
{
    size_t before = x->out->len;
    int r = ADD(x, "HTTP/1.1 ", status_text(status), "\r\nContent-Type: ", type,
                "\r\nDate: ", date(x), "\r\nContent-Length: ");
    r = r ? r : buffer_append_number(x->out, len);
    if (x->close)
        r = r ? r : ADD(x, "\r\nConnection: close");
    if (status == 405 && x->allow)
        r = r ? r : ADD(x, "\r\nAllow: ", x->allow);
    if (status == 426)
        r = r ? r : ADD(x, "\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13");
    r = r ? r
          : ADD(x, "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n");
    if (!x->head_only)
        r = r ? r : buffer_append(x->out, body, len);
    if (r < 0) {
        x->out->len = before;
        x->close = true;
    }
}

void answer_text(struct exchange *x, int status, const char *text)
{
    answer(x, status, "text/plain; charset=utf-8", text, strlen(text));
}

void answer_json(struct exchange *x, int status, struct json_object *object)
{
    static const char type[] = "application/json";
    static const char exhausted[] = "{\"error\":\"out of memory\"}";
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
        answer(x, 503, type, exhausted, sizeof exhausted - 1);
    json_object_put(object);
}

void answer_error(struct exchange *x, int status, const char *reason)
{
    struct json_object *object = json_object_new_object();
    if (object)
        json_object_object_add(object, "error", json_object_new_string(reason));
    answer_json(x, status, object);
}

void answer_switch(struct exchange *x, const char *accept)
{
    size_t before = x->out->len;
    if (ADD(x,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: ",
            accept, "\r\n\r\n") < 0) {
        x->out->len = before;
        x->close = true;
    }
}
