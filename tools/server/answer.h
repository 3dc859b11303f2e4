/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.h - one request, and the answer to it as bytes
 */
#ifndef SERVER_ANSWER_H
#define SERVER_ANSWER_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <time.h>

#include "tools/server/buffer.h"
#include "tools/server/http.h"
#include "tools/server/server.h"

struct body;
struct rate;
struct websocket;
struct wire;

/* Belongs to the connection's fiber. Exactly one answer_ call is made for each request. */
struct exchange {
    struct server *server;
    struct http_request *request;
    struct buffer *out;          /* answers not yet sent; one may follow the other */
    size_t begins;               /* where in out the present answer does; for the log */
    bool head_only;              /* the request was HEAD: no body */
    bool close;                  /* the connection ends after this answer */
    const char *allow;           /* the methods, for 405 and OPTIONS */
    const char *query;           /* what stands behind the ? of the target; "" if nothing */
    struct rate *rate;           /* the client's; NULL: no limit */
    const char *client;          /* its address, for the log */
    int fd;                      /* to see that the client has gone while it is waited for */
    struct websocket *websocket; /* made by a handler that has answered 101, else NULL */
    struct wire *wire;           /* below out */
    struct body *body;           /* what is still to come; NULL: request->body is all of it */
    bool streaming;              /* the answer is sent while it is made (stream.h) */
    unsigned long long streamed; /* so many bytes of it */

    /* private: the Date header of the present second */
    time_t date_second;
    char date[40];
};

void answer(struct exchange *x, int status, const char *type, const void *body, size_t len);
void answer_text(struct exchange *x, int status, const char *text);
/*
 * What stays the same for as long as its tag does: 200, or 304 where the client has it.
 *
 * etag   strong, with its quotes
 * more   header lines besides, each with its CR LF before it; "" for none
 */
void answer_tagged(struct exchange *x, const char *type, const char *etag, const char *more,
                   const void *body, size_t len);
/* Takes the object over. NULL, as when it could not be made, answers 503. */
void answer_json(struct exchange *x, int status, struct json_object *object);
/*
 * Problem details (RFC 9457), of no other type than the status: {"title", "status", "detail"},
 * and the members of an object that is taken over, where there is one.
 */
void answer_problem(struct exchange *x, int status, const char *reason,
                    struct json_object *more);
/* The same with nothing more. */
void answer_error(struct exchange *x, int status, const char *reason);
/* 204, with x->allow. */
void answer_allow(struct exchange *x);
/*
 * The head of a body whose length nobody knows yet, which comes in chunks or ends with the
 * connection: 0 · -errno, and then the connection closes without an answer.
 */
int answer_stream(struct exchange *x, const char *type, bool chunks);
/* 101 with the handshake's last word. */
void answer_switch(struct exchange *x, const char *accept);

#endif
