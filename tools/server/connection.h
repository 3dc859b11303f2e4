/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - one client, one fiber
 */
#ifndef SERVER_CONNECTION_H
#define SERVER_CONNECTION_H

#include "fm/sync.h"
#include "tools/server/server.h"

/*
 * Start a fiber for an accepted socket, under a number of its own in server->connections.
 *
 * fd     taken over if the fiber has started, closed when it ends.
 * peer   the socket whose other end is the client: fd, or one that stands before it. Borrowed
 *        for the call.
 * slots  gets one permit back when it ends.
 * Returns    0 · -errno, nothing has started and fd stays the caller's
 */
int connection_start(struct server *server, int fd, int peer, uint64_t number,
                     struct fm_semaphore *slots);

#endif
