/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.h - what a request's target says
 *
 * Nothing here keeps state. What comes out lies in the bytes that went in.
 */
#ifndef SERVER_TARGET_H
#define SERVER_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct target {
    const char *path; /* begins with a slash, ends before the query */
    size_t path_len;
    const char *query; /* behind the ?; empty if there is none */
};

/*
 * Read the form that names a path, or the absolute one, whose authority must be one.
 *
 * url    ends in a NUL, which len does not count.
 * Returns    false: neither.
 */
static inline bool target_read(const char *url, size_t len, struct target *ret);
/*
 * The host, with its port, that an absolute target names, which counts in place of Host (RFC
 * 9112, 3.2.2). NULL: the target is not absolute.
 */
const char *target_authority(const char *url, size_t len, size_t *ret_len);

/*
 * The same path in its one spelling: %xx stays only for what may not stand there as itself
 * (RFC 3986, 6.2.2.2), so that a slash stays apart from %2F.
 *
 * Returns    how many bytes, without a NUL · -EINVAL: a % without two digits, %00, a fragment,
 *            or a segment of one or two points, which clients resolve (5.2.4) · -EMSGSIZE
 */
int target_plain_path(const char *path, size_t len, char *out, size_t size);

/* private: what target_read does at each request, without a call */
bool target_read_absolute(const char *url, size_t len, struct target *ret);

static inline void target_split(const char *path, const char *end, struct target *ret)
{
    const char *query = memchr(path, '?', (size_t)(end - path));
    ret->query = query ? query + 1 : end;
    ret->path = path;
    ret->path_len = (size_t)((query ? query : end) - path);
}

static inline bool target_read(const char *url, size_t len, struct target *ret)
{
    if (len == 0 || *url != '/')
        return target_read_absolute(url, len, ret);
    target_split(url, url + len, ret);
    return true;
}

#endif
