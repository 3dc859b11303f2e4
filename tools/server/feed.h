/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.h - server-sent events to one client
 */
#ifndef SERVER_FEED_H
#define SERVER_FEED_H

#include "tools/server/answer.h"

struct feed;

/*
 * The events of all jobs, or of one key: answers the head, and sets x->feed, to be given to
 * feed_run when that has been sent; or answers why not.
 */
void feed_all(struct exchange *x, const char *name);
void feed_key(struct exchange *x, const char *key);

/*
 * Send events until the client leaves or the calling fiber, which is masked, is interrupted.
 * Frees the feed.
 *
 * Returns    0, or why nothing more can be sent: -errno
 */
int feed_run(struct feed *feed);

#endif
