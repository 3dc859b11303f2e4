/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.c - the bytes of one connection: what has come and is not used, what waits to leave
 *
 * Knows not   HTTP.
 */
#include "tools/server/wire.h"

#include <errno.h>
#include <sys/socket.h>

#include "fm/fm.h"

enum {
    KEEP_OUT_BYTES = 8 << 10,
    SEND_MASKED_MS = 2000, /* how long an interruption waits for an answer to leave */
    LINGER_MS = 2000,
    LINGER_BYTES = 16 << 20,
};

ssize_t wire_receive(struct wire *wire, int64_t deadline_ns)
{
    fm_unmask();
    ssize_t n = fm_check();
    if (n == 0)
        n = fm_recv(wire->fd, wire->in, sizeof wire->in, 0, deadline_ns);
    fm_mask();
    wire->in_from = 0;
    wire->in_to = n > 0 ? (size_t)n : 0;
    return n;
}

static int send_some(struct wire *wire, size_t *sent, int64_t deadline_ns)
{
    while (*sent < wire->out.len) {
        ssize_t n = fm_send(wire->fd, wire->out.data + *sent, wire->out.len - *sent, 0,
                            deadline_ns);
        if (n < 0)
            return (int)n;
        *sent += (size_t)n;
    }
    return 0;
}

int wire_flush(struct wire *wire)
{
    if (wire->out.len == 0)
        return 0;
    size_t sent = 0;
    unsigned patience_ms = wire->send_ms;
    int r = send_some(wire, &sent, 0);
    if (r == -ETIMEDOUT)
        r = send_some(wire, &sent,
                      fm_after_ms(patience_ms < SEND_MASKED_MS ? patience_ms : SEND_MASKED_MS));
    if (r == -ETIMEDOUT && patience_ms > SEND_MASKED_MS) {
        fm_unmask();
        r = send_some(wire, &sent, fm_after_ms(patience_ms - SEND_MASKED_MS));
        fm_mask();
    }
    wire->broken = r < 0;
    buffer_clear(&wire->out, KEEP_OUT_BYTES);
    return r;
}

void wire_hang_up(struct wire *wire)
{
    if (wire->broken || wire_flush(wire) < 0)
        return;
    shutdown(wire->fd, SHUT_WR);
    int64_t deadline_ns = fm_after_ms(LINGER_MS);
    for (size_t count = 0; count < LINGER_BYTES;) {
        ssize_t n = wire_receive(wire, deadline_ns);
        if (n <= 0)
            break;
        count += (size_t)n;
    }
}
