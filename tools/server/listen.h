/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - the door: accepts connections until it is closed
 */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stdbool.h>

#include "tools/server/server.h"

struct listener;

/*
 * Open the door and start the fiber that stands in it. Thread only.
 *
 * Returns    0, with the port that is listened on in *ret_port · -errno
 */
int listener_start(struct server *server, struct listener **ret_listener, unsigned *ret_port);
/* Close it: no connection starts after this has returned. Thread only. */
void listener_stop(struct listener *listener);
/* It could not go on accepting, and has sent the process SIGTERM. After listener_stop. */
bool listener_failed(const struct listener *listener);
/* After the last connection has ended. NULL-safe, returns NULL. */
struct listener *listener_destroy(struct listener *listener);

#endif
