/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body.c - a request's body, piece by piece as it comes
 *
 * The parser puts what it finds into request->body, which is emptied at each call: there is never
 * more in it than one receive brings.
 */
#include "tools/server/body.h"

#include <errno.h>

enum { NS_BACK_PER_BYTE = 1000000000 / 1024 };

void body_begin(struct body *body, struct exchange *x, struct http *http)
{
    *body = (struct body) { .wire = x->wire, .http = http };
    body->patience_ns = (int64_t)x->server->options.body_ms * 1000000;
    body->failed = http_stream_body(http, &body->keep_alive);
    /* until the body has ended nobody knows where the next request begins */
    http->request.keep_alive = false;
    x->body = body;
}

static void body_end(struct body *body, struct exchange *x)
{
    body->ended = true;
    if (!x->streaming)
        x->close = !body->keep_alive ||
                   atomic_load_explicit(&x->server->draining, memory_order_relaxed);
}

int body_ask(struct body *body)
{
    /* who has sent some of it does not wait */
    bool waits = !body->asked && body->wire->in_from == body->wire->in_to &&
                 http_wants_continue(body->http);
    body->asked = true;
    return waits ? buffer_append_text(&body->wire->out, "HTTP/1.1 100 Continue\r\n\r\n") : 0;
}

/* Wait for more of it: 0 · -errno */
static int body_receive(struct body *body, const struct options *options)
{
    if (body_ask(body) < 0 || wire_flush(body->wire) < 0)
        return -ECONNRESET;
    int64_t start_ns = fm_now_ns(), most_ns = (int64_t)options->body_ms * 1000000;
    ssize_t n = wire_receive(body->wire, start_ns + body->patience_ns);
    if (n == -ETIMEDOUT || n == -ECANCELED)
        return (int)n;
    if (n <= 0)
        return -ECONNRESET;
    body->patience_ns += n * NS_BACK_PER_BYTE - (fm_now_ns() - start_ns);
    if (body->patience_ns > most_ns)
        body->patience_ns = most_ns;
    fm_yield(); /* who sends all the time leaves others a turn */
    return 0;
}

ssize_t body_read(struct exchange *x, const char **ret_piece)
{
    struct body *body = x->body;
    struct buffer *piece = &x->request->body;
    if (!body)
        return 0; /* its head says that there is none */
    piece->len = 0;
    while (piece->len == 0 && !body->ended) {
        if (body->failed)
            return body->failed;
        struct wire *wire = body->wire;
        int r = wire->in_from == wire->in_to ? body_receive(body, &x->server->options) : 0;
        if (r < 0)
            return r;
        size_t used;
        r = http_feed_body(body->http, wire->in + wire->in_from, wire->in_to - wire->in_from,
                           &used);
        wire->in_from += used;
        if (r < 0)
            body->failed = r;
        if (r == FEED_REQUEST)
            body_end(body, x);
    }
    *ret_piece = piece->data;
    return (ssize_t)piece->len;
}

int body_problem(struct exchange *x, int result, const char **ret_reason)
{
    server_count(&x->server->refused);
    switch (result) {
    case -EPROTO:
        *ret_reason = x->body->http->refused_reason;
        return x->body->http->refused_status;
    case -ETIMEDOUT: *ret_reason = "the request did not come in time"; return 408;
    case -ECANCELED: *ret_reason = "draining"; return 503;
    default: *ret_reason = "the request was cut off"; return 400;
    }
}
