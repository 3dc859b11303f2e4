/* SPDX-License-Identifier: Apache-2.0 */
/*
 * headers.c - the headers that somebody asks for
 *
 * Knows not   how they are read: http.c fills them in.
 */
#include "tools/server/headers.h"

#include <string.h>
#include <strings.h>

struct http_header *header_find(struct http_header *headers, const char *name, size_t len)
{
    static const char *const names[HEADER_COUNT] = {
        [HEADER_HOST] = "host",
        [HEADER_ACCEPT] = "accept",
        [HEADER_AUTHORIZATION] = "authorization",
        [HEADER_ORIGIN] = "origin",
        [HEADER_UPGRADE] = "upgrade",
        [HEADER_EXPECT] = "expect",
        [HEADER_IF_NONE_MATCH] = "if-none-match",
        [HEADER_LAST_EVENT_ID] = "last-event-id",
        [HEADER_TRANSFER_ENCODING] = "transfer-encoding",
        [HEADER_WEBSOCKET_KEY] = "sec-websocket-key",
        [HEADER_WEBSOCKET_VERSION] = "sec-websocket-version",
    };
    for (size_t i = 0; i < HEADER_COUNT; i++) {
        if (strlen(names[i]) == len && !strncasecmp(names[i], name, len))
            return &headers[i];
    }
    return NULL;
}

bool header_is(const struct http_header *header, const char *value)
{
    return header->count == 1 && !header->cut && !strcasecmp(header->text, value);
}

void headers_trim(struct http_header *headers)
{
    for (size_t i = 0; i < HEADER_COUNT; i++) {
        struct http_header *header = &headers[i];
        if (header->count == 0)
            continue;
        while (header->len &&
               (header->text[header->len - 1] == ' ' || header->text[header->len - 1] == '\t'))
            header->len--;
        header->text[header->len] = '\0';
    }
}

void headers_clear(struct http_header *headers)
{
    for (size_t i = 0; i < HEADER_COUNT; i++) {
        struct http_header *header = &headers[i];
        if (header->count == 0)
            continue;
        header->count = 0;
        header->len = 0;
        header->text[0] = '\0';
    }
}

static bool host_byte_is_good(char c)
{
    switch (c) {
    case '/':
    case '@':
    case '?':
    case '#':
    case '\\':
    case ',': return false;
    default: return c > ' ' && c < 0x7f;
    }
}

bool names_host(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!host_byte_is_good(text[i]))
            return false;
    }
    return true;
}

bool header_names_host(const struct http_header *host)
{
    return !host->cut && names_host(host->text, host->len);
}
