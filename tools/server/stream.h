/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - an answer that is sent while it is made
 *
 * In chunks, so that the connection lasts; to a client of HTTP/1.0 as it is, and the end of the
 * connection is that of the answer. A client that reads slowly holds up who makes the answer.
 */
#ifndef SERVER_STREAM_H
#define SERVER_STREAM_H

#include "tools/server/answer.h"

/* 200 and the head: 0 · -ENOMEM, and then the connection closes without an answer */
int stream_begin(struct exchange *x, const char *type);
/* 0 · -errno: the client takes no more of it */
int stream_write(struct exchange *x, const void *bytes, size_t len);
/* After stream_begin, in any case. Not whole: the client sees that something is missing. */
void stream_end(struct exchange *x, bool whole);

#endif
