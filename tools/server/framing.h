/* SPDX-License-Identifier: Apache-2.0 */
/*
 * framing.h - every byte of a request that is not body, looked at once more
 */
#ifndef SERVER_FRAMING_H
#define SERVER_FRAMING_H

#include "tools/server/http.h"

/* Look at the bytes from http->framing up to end, and count them: 0 · -EPROTO, refused */
int framing_scan(struct http *http, const char *end);
/* The same up to a piece of body, which is passed over. */
int framing_skip_body(struct http *http, const char *at, size_t len);

#endif
