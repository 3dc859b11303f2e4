/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - bytes in, HTTP/1.1 requests out, one after the other
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <llhttp.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/server/buffer.h"
#include "tools/server/headers.h"

struct http_limits {
    size_t head_bytes; /* request line and headers, the target left out; also the trailers */
    size_t url_bytes;  /* the target */
    size_t body_bytes;
    uint64_t stream_bytes; /* of a body that is not held whole */
};

struct http_request {
    uint8_t method; /* enum llhttp_method */
    bool upgrade_to_websocket;
    bool http_1_0;
    bool keep_alive;
    struct buffer url; /* the target as it came, with a NUL behind it */
    struct buffer body;
    struct http_header headers[HEADER_COUNT];
};

enum http_phase {
    PHASE_IDLE, /* not a byte of the next request has come */
    PHASE_HEAD,
    PHASE_BODY,
};

struct http {
    struct http_request request;
    enum http_phase phase;
    int refused_status; /* after http_feed failed: what to answer, and why */
    const char *refused_reason;

    /* private */
    llhttp_t parser;
    struct http_limits limits;
    const char
        *framing; /* in http_feed: from here on nothing has been looked at by framing_scan */
    unsigned char last; /* the byte before, or AFTER_CHUNK */
    size_t head_bytes;
    size_t line_bytes; /* framing since the last piece of body */
    bool size_line_over; /* of a chunk: what follows is body, or trailers */
    size_t excess;     /* of framing over what chunks of a fair size need */
    unsigned header_count; /* trailers too */
    bool in_request_line; /* or in the empty lines before */
    bool complete;
    uint64_t body_bytes, body_most; /* how many have come; how many may */
    struct http_header *header; /* whose value is being read; NULL: nobody asks for it */
    char name[32];
    size_t name_len;
    char texts[HEADER_COUNT][HEADER_TEXT_BYTES]; /* apart: most requests have few of them */
};

/* What http_feed has come to. */
#define FEED_MORE 1 /* used all of it, wants more */
#define FEED_HEAD 2 /* a head is good, and announces a body: hold it or stream it */
#define FEED_REQUEST 3 /* http->request is complete; http_next() before more is fed */

/* The limits are copied. */
void http_init(struct http *http, const struct http_limits *limits);
void http_fini(struct http *http);
/*
 * Parse. Which requests come out, and whether one is refused, does not depend on how the bytes
 * are cut; of two things wrong with one request, which is named may.
 *
 * ret_used   written always: how many bytes were used; the rest belong to what comes next.
 * Returns    FEED_MORE · FEED_HEAD · FEED_REQUEST · -EPROTO (refused_status; nothing more
 *            may be fed)
 */
int http_feed(struct http *http, const char *data, size_t len, size_t *ret_used);
/* The same between FEED_HEAD and FEED_REQUEST. */
int http_feed_body(struct http *http, const char *data, size_t len, size_t *ret_used);
void http_next(struct http *http);

/* After FEED_HEAD: request->body shall be all of it. 0 · -EPROTO, it is too large */
int http_hold_body(struct http *http);
/*
 * Or it comes as it is fed: whoever feeds takes what is in request->body between two calls, by
 * setting its len to 0. Results as above; ret_keep_alive says whether the connection is kept
 * behind this request.
 */
int http_stream_body(struct http *http, bool *ret_keep_alive);
/* Whether the client sends the body only when it has been told to. */
bool http_wants_continue(const struct http *http);

/* Note why nothing more may be fed; the first reason stays. -EPROTO */
int http_refuse(struct http *http, int status, const char *reason);

#endif
