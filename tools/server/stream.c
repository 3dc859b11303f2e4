/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - an answer that is sent while it is made
 */
#include "tools/server/stream.h"

#include <stdio.h>

#include "tools/server/body.h"

enum { STREAM_OUT_BYTES = 16 << 10 }; /* that wait to be sent, but for what one call adds */

int stream_begin(struct exchange *x, const char *type)
{
    bool keep_alive = x->body ? x->body->keep_alive : x->request->keep_alive;
    bool chunks = !x->request->http_1_0;
    x->close = !keep_alive || !chunks ||
               atomic_load_explicit(&x->server->draining, memory_order_relaxed);
    int r = x->body && !x->body->failed ? body_ask(x->body) : 0;
    size_t before = x->out->len;
    r = r ? r : answer_stream(x, type, chunks);
    if (r < 0)
        return r;
    x->streaming = true;
    x->streamed = x->out->len - before;
    return 0;
}

int stream_write(struct exchange *x, const void *bytes, size_t len)
{
    char head[24];
    size_t before = x->out->len;
    bool chunks = !x->request->http_1_0;
    if (len == 0)
        return 0; /* would be the last chunk */
    int r = 0;
    if (chunks)
        r = buffer_append(x->out, head, (size_t)snprintf(head, sizeof head, "%zx\r\n", len));
    r = r ? r : buffer_append(x->out, bytes, len);
    if (chunks)
        r = r ? r : buffer_append(x->out, "\r\n", 2);
    if (r < 0) {
        x->out->len = before;
        return r;
    }
    x->streamed += x->out->len - before;
    return x->out->len > STREAM_OUT_BYTES ? wire_flush(x->wire) : 0;
}

void stream_end(struct exchange *x, bool whole)
{
    static const char last[] = "0\r\n\r\n";
    if (whole && (x->request->http_1_0 || buffer_append_text(x->out, last) == 0))
        return;
    x->close = true;
}
