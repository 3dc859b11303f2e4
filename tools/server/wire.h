/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - the bytes of one connection: what has come and is not used, what waits to leave
 *
 * Belongs to the connection's fiber, which is masked but where it waits for the client.
 */
#ifndef SERVER_WIRE_H
#define SERVER_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/server/buffer.h"

enum {
    WIRE_IN_BYTES = 8 << 10,
    WIRE_OUT_BYTES = 64 << 10, /* that may wait before they are sent */
};

struct wire {
    int fd;
    unsigned send_ms; /* for what waits to leave */
    bool broken;      /* nothing can be sent any more */
    struct buffer out;
    size_t in_from, in_to; /* what nobody has used of in */
    char in[WIRE_IN_BYTES];
};

/* Wait for bytes, with no mask: how many have come into in, 0 at their end · -errno */
ssize_t wire_receive(struct wire *wire, int64_t deadline_ns);
/*
 * Send all of out: 0 · -errno, and then it is broken. Mostly the socket takes them as they are,
 * and no clock is looked at; a client that reads slowly is waited for, but a short while only
 * under the mask.
 */
int wire_flush(struct wire *wire);
/*
 * Send out, say that no more will come, and read what still comes until the client has closed
 * as well. To close a socket with unread bytes in it would take the answer back.
 */
void wire_hang_up(struct wire *wire);

#endif
