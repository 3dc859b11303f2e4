/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_lines.c - a body of lines through lines.c and json.c
 *
 * The lines are those that stand between the LFs, however the body is cut, up to the first that
 * is too long; and each is an object or has a reason why not.
 */
#include <errno.h>

#include "tests/fuzz/server/fuzz.h"
#include "tools/server/json.h"
#include "tools/server/lines.h"

/* What should come out, by a look at the whole body. */
struct expected {
    const char *at, *end;
    size_t limit;
    uint64_t number; /* of the line at the beginning of at */
};

static void check_line(struct expected *expected, const struct lines *lines)
{
    size_t left = (size_t)(expected->end - expected->at);
    const char *end = memchr(expected->at, '\n', left);
    size_t len = end ? (size_t)(end - expected->at) : left;
    CHECK(lines->number == expected->number && lines->line.len == len);
    CHECK(len <= expected->limit && (end || len));
    CHECK(len == 0 || !memcmp(lines->line.data, expected->at, len));
    expected->at += len + (end != NULL);
    expected->number++;

    bool blank = true;
    for (size_t i = 0; i < len; i++)
        blank &= strchr(" \t\r", lines->line.data[i]) && lines->line.data[i];
    CHECK(blank == lines_blank(lines));
    const char *reason = NULL;
    struct json_object *object = json_read_object(&lines->line, &reason);
    CHECK(object ? !blank : reason && *reason);
    json_object_put(object);
}

/* One that is too long ends it: what stands there is more than the limit. */
static void check_too_long(const struct expected *expected)
{
    size_t left = (size_t)(expected->end - expected->at);
    const char *end = memchr(expected->at, '\n', left);
    CHECK((end ? (size_t)(end - expected->at) : left) > expected->limit);
}

static void feed(const char *body, size_t len, size_t limit, struct cuts cuts)
{
    struct expected expected = { body, body + len, limit, 1 };
    struct lines lines = { .line.limit = limit };
    int r = 0;
    for (size_t at = 0; at < len && r >= 0;) {
        size_t count = next_cut(&cuts, len - at), used;
        char *piece = exact_copy((const uint8_t *)body + at, count);
        for (size_t from = 0; from < count && r >= 0; from += used) {
            r = lines_take(&lines, piece + from, count - from, &used);
            CHECK(r < 0 || (used > 0 && used <= count - from));
            if (r == LINES_WHOLE)
                check_line(&expected, &lines);
            else
                CHECK(r == -EMSGSIZE || used == count - from);
        }
        free(piece);
        at += count;
    }
    if (r < 0) {
        check_too_long(&expected);
    } else {
        if (lines_end(&lines) == LINES_WHOLE)
            check_line(&expected, &lines);
        CHECK(expected.at == expected.end && lines_end(&lines) == LINES_MORE);
    }
    lines_fini(&lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t seed;
    if (size < sizeof seed)
        return 0;
    memcpy(&seed, data, sizeof seed);
    char *body = exact_copy(data + sizeof seed, size - sizeof seed);
    size_t limit = 1 + seed % 500;
    feed(body, size - sizeof seed, limit, (struct cuts) { CUT_NOT, 0 });
    feed(body, size - sizeof seed, limit, (struct cuts) { CUT_BYTES, 0 });
    feed(body, size - sizeof seed, limit, (struct cuts) { CUT_SEEDED, seed });
    free(body);
    return 0;
}
