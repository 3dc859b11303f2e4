/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - the door: accepts connections until it is closed
 */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stdbool.h>

#include "tools/server/door.h"
#include "tools/server/server.h"

struct listener;

/*
 * Open the door and start the fiber that stands in it. Thread only.
 *
 * Returns    0 · -ENOKEY others than this machine could come, and there is no token · -errno
 */
int listener_start(struct server *server, struct listener **ret_listener);
/* Borrowed. */
const struct door *listener_door(const struct listener *listener);
/* Close it: no connection starts after this has returned. Thread only. */
void listener_stop(struct listener *listener);
/* It could not go on accepting, and has sent the process SIGTERM. After listener_stop. */
bool listener_failed(const struct listener *listener);
/* After the last connection has ended. NULL-safe, returns NULL. */
struct listener *listener_destroy(struct listener *listener);

#endif
