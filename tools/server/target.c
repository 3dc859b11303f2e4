/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.c - what a request's target says
 */
#include "tools/server/target.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "tools/server/headers.h"
#include "tools/server/text.h"

const char *target_authority(const char *url, size_t len, size_t *ret_len)
{
    size_t scheme = len >= 7 && !strncasecmp(url, "http://", 7)    ? 7
                    : len >= 8 && !strncasecmp(url, "https://", 8) ? 8
                                                                   : 0;
    *ret_len = scheme ? strcspn(url + scheme, "/?") : 0;
    return scheme ? url + scheme : NULL;
}

/* What stands behind the authority; NULL: there is none, or none that names a host. */
static const char *skip_authority(const char *url, size_t len)
{
    size_t count;
    const char *authority = target_authority(url, len, &count);
    if (!authority || count == 0 || !names_host(authority, count))
        return NULL;
    return authority + count;
}

bool target_read_absolute(const char *url, size_t len, struct target *ret)
{
    const char *path = skip_authority(url, len);
    if (!path)
        return false;
    target_split(path, url + len, ret);
    if (ret->path_len == 0) { /* http://host is http://host/ */
        ret->path = "/";
        ret->path_len = 1;
    }
    return true;
}

/* What may stand in a path as itself, and so is the same as its %xx. */
static bool is_unreserved(int c)
{
    return c < 0x80 && (isalnum(c) || strchr("-._~", c));
}

int target_plain_path(const char *path, size_t len, char *out, size_t size)
{
    size_t count = 0, segment = 0;
    for (size_t i = 0; i <= len; i++) {
        int c = i < len ? (unsigned char)path[i] : '/';
        if (c == '/') {
            if (text_is_dots(out + segment, count - segment))
                return -EINVAL;
            segment = count + 1;
        }
        if (i == len)
            break;
        if (count + 3 > size)
            return -EMSGSIZE;
        if (c == '#')
            return -EINVAL;
        if (c != '%') {
            out[count++] = (char)c;
            continue;
        }
        char decoded[2];
        if (len - i < 3 || text_percent_decode(path + i, 3, decoded, sizeof decoded) < 0 ||
            decoded[0] == '\0')
            return -EINVAL;
        if (is_unreserved((unsigned char)decoded[0])) {
            out[count++] = decoded[0];
        } else {
            memcpy(out + count, path + i, 3);
            count += 3;
        }
        i += 2;
    }
    return (int)count;
}
