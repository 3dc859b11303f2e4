/* SPDX-License-Identifier: Apache-2.0 */
/*
 * headers.h - the headers that somebody asks for
 */
#ifndef SERVER_HEADERS_H
#define SERVER_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The headers that somebody asks for; all others are read and forgotten. */
enum http_header_name {
    HEADER_HOST,
    HEADER_ACCEPT,
    HEADER_AUTHORIZATION,
    HEADER_ORIGIN,
    HEADER_UPGRADE,
    HEADER_EXPECT,
    HEADER_IF_NONE_MATCH,
    HEADER_LAST_EVENT_ID,
    HEADER_TRANSFER_ENCODING,
    HEADER_WEBSOCKET_KEY,
    HEADER_WEBSOCKET_VERSION,
    HEADER_COUNT,
};

/* Of a header's text, the NUL included. */
enum { HEADER_TEXT_BYTES = 256 };

struct http_header {
    uint32_t count; /* how often it stood there; the text is that of the first */
    uint32_t len;   /* without the white space around it */
    bool cut;       /* it was longer than text */
    char *text;     /* ends in NUL; empty if there was none */
};

/* Of the HEADER_COUNT headers the one of that name; NULL: nobody asks for it. */
struct http_header *header_find(struct http_header *headers, const char *name, size_t len);
/* Whether it stood there once, with that value; large and small letters are the same. */
bool header_is(const struct http_header *header, const char *value);
/* Whether no byte stands there that neither a host nor its port has. */
bool names_host(const char *text, size_t len);
/* Whether the value of Host is a name or an address, with or without a port. */
bool header_names_host(const struct http_header *host);
/* The end of the head: the white space behind the values goes. */
void headers_trim(struct http_header *headers);
/* As if none had come. */
void headers_clear(struct http_header *headers);

#endif
