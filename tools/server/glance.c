/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glance.c - the plainest request heads, read in one look
 *
 * A parser that may be given a request in pieces keeps a state from byte to byte, and pays for
 * it at each. Most heads come in one piece and say nothing that changes how they are read.
 *
 * Knows not   which headers somebody asks for, limits, what is refused.
 * Invariant   what is taken here is read by the parser behind it (http.c) in the same way, so
 *             nobody can tell which of the two has read it.
 */
#include "tools/server/glance.h"

#include <string.h>
#include <strings.h>

/* What a byte may stand in. */
enum {
    TARGET = 1,
    NAME = 2,  /* of a header */
    HOST = 4,  /* the value of Host: a name or address, and a port */
    VALUE = 8, /* of a header: all that is printed, and the space */
};

/* Fewer than the standards allow: what they quarrel about is not for a glance. */
static const unsigned char kinds[256] = {
    /* clang-format off */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /*      !  "  #  $  %  &  '  (  )  *  +  ,  -   .   /  */
        8,  8, 8, 8, 8, 9, 9, 8, 8, 8, 8, 9, 9, 15, 13, 9,
    /*  0   1   2   3   4   5   6   7   8   9   :   ;  <  =  >  ?  */
        15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 13, 8, 8, 9, 8, 9,
    /*  @   A   B   C   D   E   F   G   H   I   J   K   L   M   N   O  */
        8,  15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    /*  P   Q   R   S   T   U   V   W   X   Y   Z   [   \  ]   ^  _  */
        15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 12, 8, 12, 8, 15,
    /*  `   a   b   c   d   e   f   g   h   i   j   k   l   m   n   o  */
        8,  15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    /*  p   q   r   s   t   u   v   w   x   y   z   {  |  }  ~      */
        15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 8, 8, 8, 9, 0,
    /* clang-format on */
};

static unsigned kinds_of(char c)
{
    return kinds[(unsigned char)c];
}

/* The first byte that may not stand in it. */
static const char *skip(const char *at, const char *end, unsigned kind)
{
    while (at < end && kinds_of(*at) & kind)
        at++;
    return at;
}

static bool line_ends(const char *at, const char *end)
{
    return end - at >= 2 && at[0] == '\r' && at[1] == '\n';
}

static bool is(const char *name, size_t len, const char *other)
{
    return strlen(other) == len && !strncasecmp(name, other, len);
}

/* Whether a header of that name changes how a request is read, or what follows it. */
static bool name_matters(const char *name, size_t len)
{
    return is(name, len, "connection") || is(name, len, "content-length") ||
           is(name, len, "transfer-encoding") || is(name, len, "upgrade") ||
           is(name, len, "expect") || is(name, len, "proxy-connection");
}

/* One header: what stands behind its line, NULL if it is not for us. */
static const char *take_header(const char *at, const char *end, struct glance_header *header)
{
    header->name = at;
    at = skip(at, end, NAME);
    header->name_len = (size_t)(at - header->name);
    if (header->name_len == 0 || at == end || *at != ':' ||
        name_matters(header->name, header->name_len))
        return NULL;
    at++;
    while (at < end && *at == ' ')
        at++;
    header->value = at;
    unsigned all = HOST;
    for (unsigned kind; at < end && (kind = kinds_of(*at)) & VALUE; at++)
        all &= kind;
    if (!line_ends(at, end))
        return NULL;
    header->names_host = all != 0;
    const char *last = at;
    while (last > header->value && last[-1] == ' ')
        last--;
    header->value_len = (size_t)(last - header->value);
    return at + 2;
}

size_t glance(const char *data, size_t len, struct glance *ret)
{
    static const char method[] = "GET /", version[] = " HTTP/1.1\r\n";
    const char *at = data, *end = data + len;
    if (len < sizeof method - 1 || memcmp(at, method, sizeof method - 1))
        return 0;
    ret->target = at + sizeof method - 2;
    at = skip(ret->target, end, TARGET);
    ret->target_len = (size_t)(at - ret->target);
    if ((size_t)(end - at) < sizeof version - 1 || memcmp(at, version, sizeof version - 1))
        return 0;
    at += sizeof version - 1;
    for (ret->header_count = 0; !line_ends(at, end); ret->header_count++) {
        if (ret->header_count == GLANCE_HEADERS)
            return 0;
        at = take_header(at, end, &ret->headers[ret->header_count]);
        if (!at)
            return 0;
    }
    return (size_t)(at + 2 - data);
}
