/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glance.h - the plainest request heads, read in one look
 */
#ifndef SERVER_GLANCE_H
#define SERVER_GLANCE_H

#include <stdbool.h>
#include <stddef.h>

enum { GLANCE_HEADERS = 16 };

struct glance_header {
    const char *name, *value;
    size_t name_len, value_len; /* the value without the spaces around it */
    bool names_host;            /* the value has only bytes that a host and port may have */
};

/* All of it lies in the bytes that were looked at. */
struct glance {
    const char *target; /* begins with a slash */
    size_t target_len;
    size_t header_count;
    struct glance_header headers[GLANCE_HEADERS];
};

/*
 * Look at the first bytes of a request. Taken is a whole head of a GET in HTTP/1.1 with at most
 * GLANCE_HEADERS headers, none of which says anything about the connection or a body, and with
 * no byte about which anybody could be of two minds. Such a request has no body, and its
 * connection is kept.
 *
 * Returns    how many bytes the head has; 0: something else, whether good or not, and *ret is
 *            of no use
 */
size_t glance(const char *data, size_t len, struct glance *ret);

#endif
