/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body.h - a request's body, piece by piece as it comes
 *
 * For handlers that are called when the head has come (api_streams). Nothing is read of the
 * socket until they ask, so a client sends no faster than they use what it sends.
 */
#ifndef SERVER_BODY_H
#define SERVER_BODY_H

#include "tools/server/answer.h"
#include "tools/server/wire.h"

struct body {
    struct wire *wire;
    struct http *http;
    int64_t patience_ns; /* for which the client may still be waited for */
    bool keep_alive;     /* as the head says */
    bool asked;          /* for it; a client that waits for 100 Continue has got it */
    bool ended;
    int failed; /* what comes behind the piece that is given out; 0: more */
};

/*
 * The head of x->request has come, and its body shall be streamed: x->body is set until the
 * exchange is over. An answer that is made before the body has ended closes the connection.
 */
void body_begin(struct body *body, struct exchange *x, struct http *http);

/* Tell a client that waits for 100 Continue to go on, before an answer begins. 0 · -ENOMEM */
int body_ask(struct body *body);
/*
 * The next piece. What waits to be sent goes out before a wait. The client may keep us waiting
 * for body_ms in all; each KiB that comes gives a second back.
 *
 * ret_piece  is good until the next call.
 * Returns    how many bytes · 0 the body has ended · -EPROTO it is refused · -ETIMEDOUT ·
 *            -ECONNRESET the client has gone · -ECANCELED the server ends
 */
ssize_t body_read(struct exchange *x, const char **ret_piece);
/* What body_read has failed with, as a status and the reason for it. It is counted. */
int body_problem(struct exchange *x, int result, const char **ret_reason);

#endif
