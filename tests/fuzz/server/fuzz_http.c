/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_http.c - bytes of a client through http.c
 *
 * Four bytes choose how the rest is cut. Whole, in those pieces and byte by byte, with bodies
 * that are held and with bodies that are streamed, it must come to the same requests, and be
 * refused behind the same one.
 */
#include <errno.h>

#include "tests/fuzz/server/fuzz.h"
#include "tools/server/http.h"

static const struct http_limits limits = {
    .head_bytes = 1024, .url_bytes = 128, .body_bytes = 2048, .stream_bytes = 4096
};

/* What has come out, as bytes that can be compared. */
struct outcome {
    struct buffer text;
    bool refused;
    enum http_phase phase;
};

static void note(struct outcome *outcome, const void *bytes, size_t len)
{
    CHECK(buffer_append(&outcome->text, &len, sizeof len) == 0);
    CHECK(buffer_append(&outcome->text, bytes, len) == 0);
}

static bool is_line(const char *text, size_t len)
{
    return !memchr(text, '\r', len) && !memchr(text, '\n', len) && !memchr(text, '\0', len);
}

static void note_request(struct outcome *outcome, const struct http_request *request,
                         const struct buffer *body, size_t body_most)
{
    const unsigned char flags[] = { request->method, request->keep_alive,
                                    request->upgrade_to_websocket, request->http_1_0 };
    note(outcome, flags, sizeof flags);
    CHECK(request->url.len > 0 && request->url.len <= limits.url_bytes);
    CHECK(is_line(request->url.data, request->url.len) && !strchr(request->url.data, ' '));
    CHECK(request->url.data[request->url.len] == '\0');
    note(outcome, request->url.data, request->url.len);
    CHECK(body->len <= body_most);
    note(outcome, body->data ? body->data : "", body->len);
    for (size_t i = 0; i < HEADER_COUNT; i++) {
        const struct http_header *header = &request->headers[i];
        CHECK(strlen(header->text) == header->len && is_line(header->text, header->len));
        CHECK(header->count || header->len == 0);
        note(outcome, &header->count, sizeof header->count);
        note(outcome, header->text, header->len);
    }
    CHECK(request->headers[HEADER_HOST].count == 1 || request->http_1_0);
    CHECK(!request->upgrade_to_websocket || !request->http_1_0);
}

static void note_refusal(struct outcome *outcome, const struct http *http)
{
    switch (http->refused_status) {
    case 400: case 413: case 414: case 417: case 431: case 501: case 505: break;
    default: CHECK(!"such a status");
    }
    CHECK(http->refused_reason && *http->refused_reason);
    outcome->refused = true;
}

/* The next bytes, of which there are some. False: nothing more is to be fed. */
static bool feed(struct http *http, const char *bytes, size_t len, bool stream,
                 struct buffer *body, struct outcome *outcome)
{
    for (size_t at = 0; at < len;) {
        size_t used;
        int r = http_feed(http, bytes + at, len - at, &used);
        CHECK(used <= len - at);
        at += used;
        if (stream && http->request.body.len) {
            CHECK(buffer_append(body, http->request.body.data, http->request.body.len) == 0);
            http->request.body.len = 0;
        }
        bool keep_alive;
        if (r == FEED_HEAD)
            r = stream ? http_stream_body(http, &keep_alive) : http_hold_body(http);
        if (r < 0) {
            CHECK(r == -EPROTO);
            note_refusal(outcome, http);
            return false;
        }
        CHECK(r != FEED_MORE || at == len);
        if (r != FEED_REQUEST)
            continue;
        note_request(outcome, &http->request, stream ? body : &http->request.body,
                     stream ? limits.stream_bytes : limits.body_bytes);
        keep_alive = http->request.keep_alive;
        http_next(http);
        buffer_clear(body, 0);
        if (!keep_alive)
            return false;
    }
    return true;
}

static struct outcome run(const uint8_t *data, size_t size, struct cuts cuts, bool stream)
{
    struct outcome outcome = { 0 };
    struct buffer body = { 0 };
    struct http http;
    http_init(&http, &limits);
    for (size_t at = 0; at < size;) {
        size_t len = next_cut(&cuts, size - at);
        char *piece = exact_copy(data + at, len);
        bool more = feed(&http, piece, len, stream, &body, &outcome);
        free(piece);
        at += len;
        if (!more)
            break;
    }
    outcome.phase = http.phase;
    http_fini(&http);
    buffer_fini(&body);
    return outcome;
}

static void compare(const struct outcome *one, const struct outcome *other)
{
    CHECK(one->refused == other->refused);
    CHECK(one->refused || one->phase == other->phase);
    CHECK(one->text.len == other->text.len);
    CHECK(one->text.len == 0 || !memcmp(one->text.data, other->text.data, one->text.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cuts seeded = { CUT_SEEDED, 0 };
    if (size < sizeof seeded.seed)
        return 0;
    memcpy(&seeded.seed, data, sizeof seeded.seed);
    data += sizeof seeded.seed;
    size -= sizeof seeded.seed;
    struct outcome held = run(data, size, (struct cuts) { CUT_NOT, 0 }, false);
    for (int stream = 0; stream < 2; stream++) {
        struct outcome whole = run(data, size, (struct cuts) { CUT_NOT, 0 }, stream);
        struct outcome bytes = run(data, size, (struct cuts) { CUT_BYTES, 0 }, stream);
        struct outcome pieces = run(data, size, seeded, stream);
        compare(&whole, &bytes);
        compare(&whole, &pieces);
        if (!held.refused)
            compare(&whole, &held);
        buffer_fini(&whole.text);
        buffer_fini(&bytes.text);
        buffer_fini(&pieces.text);
    }
    buffer_fini(&held.text);
    return 0;
}
