/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.h - the end in good order, and the report of it
 */
#ifndef SERVER_DRAIN_H
#define SERVER_DRAIN_H

#include "tools/server/listen.h"
#include "tools/server/server.h"

/*
 * End everything, and say on standard error and in the log how that went. Thread only.
 *
 * Returns    0 nothing is left running · -ETIMEDOUT something had not ended after grace_ms and
 *            drain_ms, and has been named
 */
int drain(struct server *server, struct listener *listener);

#endif
