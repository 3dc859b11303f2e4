/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello.h - the shortest answers, to measure with
 */
#ifndef SERVER_HELLO_H
#define SERVER_HELLO_H

#include "tools/server/answer.h"

/* GET /hello: the connection's fiber answers. */
void hello_plain(struct exchange *x, const char *name);
/*
 * GET /hello/keyed: a supervised fiber answers, one for each request, under a fresh key in
 * server->hellos; the text says how many have. Waits for its end.
 */
void hello_keyed(struct exchange *x, const char *name);

#endif
