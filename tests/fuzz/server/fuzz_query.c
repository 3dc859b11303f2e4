/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_query.c - a request's target through target.c and text.c
 *
 * The one spelling of a path is its own one spelling, and the same name stands in both. Names
 * and values that are decoded fit, and what is found in a query stands there.
 */
#include <errno.h>

#include "tests/fuzz/server/fuzz.h"
#include "tools/server/target.h"
#include "tools/server/text.h"

/* Whether the path has a segment that names nothing. */
static bool has_dots(const char *path, size_t len)
{
    for (size_t at = 0, end; at < len; at = end + 1) {
        const char *slash = memchr(path + at, '/', len - at);
        end = slash ? (size_t)(slash - path) : len;
        if (text_is_dots(path + at, end - at))
            return true;
    }
    return false;
}

static void check_path(const char *path, size_t len)
{
    enum { SIZE = 512 };
    char plain[SIZE], again[SIZE], decoded[SIZE], other[SIZE];
    int count = target_plain_path(path, len, plain, sizeof plain);
    if (count < 0) {
        CHECK(count == -EINVAL || count == -EMSGSIZE);
        return;
    }
    CHECK((size_t)count <= len && plain[0] == '/');
    CHECK(!has_dots(plain, (size_t)count) && !memchr(plain, '\0', (size_t)count));
    CHECK(target_plain_path(plain, (size_t)count, again, sizeof again) == count);
    CHECK(!memcmp(plain, again, (size_t)count));
    int one = text_percent_decode(path, len, decoded, sizeof decoded);
    int two = text_percent_decode(plain, (size_t)count, other, sizeof other);
    CHECK(one == two && (one < 0 || !memcmp(decoded, other, (size_t)one)));
}

static void check_query(const char *query)
{
    static const char *const names[] = { "wait_ms", "prefix", "a", "" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char value[64];
        int len = text_query(query, names[i], value, sizeof value);
        CHECK(len == -ENOENT || len == -EINVAL || len == -EMSGSIZE ||
              (len >= 0 && len < (int)sizeof value && value[len] == '\0'));
        CHECK(len == -ENOENT || strstr(query, names[i]));
        if (len >= 0 && text_is_name(value, (size_t)len))
            CHECK(len > 0 && text_is_utf8(value, (size_t)len));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* a target ends in a NUL and has none, which the parser sees to */
    if (memchr(data, '\0', size))
        return 0;
    char *url = malloc(size + 1);
    CHECK(url);
    memcpy(url, data, size);
    url[size] = '\0';
    size_t authority_len;
    const char *authority = target_authority(url, size, &authority_len);
    CHECK(!authority || (authority >= url && authority + authority_len <= url + size));
    struct target target;
    if (target_read(url, size, &target)) {
        CHECK(target.path_len > 0 && target.path[0] == '/');
        CHECK(!memchr(target.path, '?', target.path_len));
        CHECK(target.query >= url && target.query <= url + size);
        CHECK(url[0] == '/' || authority_len > 0);
        check_path(target.path, target.path_len);
        check_query(target.query);
    }
    free(url);
    return 0;
}
