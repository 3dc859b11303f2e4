/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake.h - the request by which a connection becomes a WebSocket
 */
#ifndef SERVER_HANDSHAKE_H
#define SERVER_HANDSHAKE_H

#include "tools/server/answer.h"

/*
 * Judge x->request. If it is good the calling fiber becomes the user's connection, 101 is
 * answered and x->websocket is set, to be given to websocket_run; else 400, 426 or 503 is
 * answered. No extension and no subprotocol that is offered is taken.
 */
void handshake_accept(struct exchange *x, const char *user);

#endif
