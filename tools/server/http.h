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
};

struct http_request {
    uint8_t method; /* enum llhttp_method */
    bool keep_alive;
    bool upgrade_to_websocket;
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
    bool complete;
    struct http_header *header; /* whose value is being read; NULL: nobody asks for it */
    char name[32];
    size_t name_len;
    char texts[HEADER_COUNT][HEADER_TEXT_BYTES]; /* apart: most requests have few of them */
};

/* What http_feed has come to. */
#define FEED_MORE 1 /* used all of it, wants more */
#define FEED_CONTINUE \
    2 /* the head is good and its sender waits for `100 Continue` before the body */
#define FEED_REQUEST 3 /* http->request is complete; http_next() before more is fed */

/* The limits are copied. */
void http_init(struct http *http, const struct http_limits *limits);
void http_fini(struct http *http);
/*
 * Parse. Which requests come out, and whether one is refused, does not depend on how the bytes
 * are cut; of two things wrong with one request, which is named may.
 *
 * ret_used   written always: how many bytes were used; the rest belong to what comes next.
 * Returns    FEED_MORE · FEED_CONTINUE · FEED_REQUEST · -EPROTO (refused_status; nothing more
 *            may be fed)
 */
int http_feed(struct http *http, const char *data, size_t len, size_t *ret_used);
void http_next(struct http *http);

#endif
