/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.h - server-sent events to one client
 */
#ifndef SERVER_FEED_H
#define SERVER_FEED_H

#include "tools/server/answer.h"

/*
 * The events of all jobs, or of one key, until the client leaves or the calling fiber, which
 * is masked, is interrupted.
 */
void feed_all(struct exchange *x, const char *name);
void feed_key(struct exchange *x, const char *key);

#endif
