/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket.h - a user's connection, once it has left HTTP
 */
#ifndef SERVER_WEBSOCKET_H
#define SERVER_WEBSOCKET_H

#include <stddef.h>

#include "tools/server/answer.h"
#include "tools/server/wire.h"

struct websocket;

/* Sent to a connection whose user has opened another. */
#define WEBSOCKET_CODE_REPLACED 4000

/* For a connection that has become the user's: 0 · -ENOMEM. One reference is the caller's. */
int websocket_create(struct server *server, const char *user, struct websocket **ret_websocket);

/*
 * Speak WebSocket until either side has closed, beginning with what has come already. Called
 * masked, with the 101 sent. Takes the reference.
 */
void websocket_run(struct websocket *websocket, struct wire *wire);

/* There may be a message in the mailbox. Waits for a lock, no longer. Fiber only. */
void websocket_ring(struct websocket *websocket);
struct websocket *websocket_ref(struct websocket *websocket);
/* NULL-safe. */
void websocket_unref(struct websocket *websocket);

#endif
