/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket.h - a user's connection, once it has left HTTP
 */
#ifndef SERVER_WEBSOCKET_H
#define SERVER_WEBSOCKET_H

#include <stddef.h>

#include "tools/server/answer.h"

struct websocket;

/* Sent to a connection whose user has opened another. */
#define WEBSOCKET_CODE_REPLACED 4000

/*
 * Judge the handshake in x->request. If it is good the calling fiber becomes the user's
 * connection, 101 is answered and x->websocket is set, to be given to websocket_run; else 400,
 * 426 or 503 is answered.
 */
void websocket_accept(struct exchange *x, const char *user);

/*
 * Speak WebSocket on fd until either side has closed. Called masked, with the 101 sent.
 *
 * bytes      what has been read of it already.
 */
void websocket_run(struct websocket *websocket, int fd, const char *bytes, size_t len);

/* There may be a message in the mailbox. Waits for a lock, no longer. Fiber only. */
void websocket_ring(struct websocket *websocket);
struct websocket *websocket_ref(struct websocket *websocket);
/* NULL-safe. */
void websocket_unref(struct websocket *websocket);

#endif
