/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_websocket.c - bytes of a peer through frames.c
 *
 * Four bytes choose how the rest is cut. However it is cut the answer is the same bytes, and
 * they are frames as a server may send them, with nothing behind a close.
 */
#include "tests/fuzz/server/fuzz.h"
#include "tools/server/frames.h"
#include "tools/server/text.h"

enum { MESSAGE_BYTES = 1000 };

/* One frame of the answer: how many bytes it has. */
static size_t check_frame(const unsigned char *at, size_t left, bool *closed)
{
    CHECK(left >= 2 && !*closed);
    unsigned opcode = at[0] & 15;
    CHECK((at[0] & 0xf0) == 0x80); /* whole, no reserved bit */
    CHECK(opcode == 1 || opcode == 2 || opcode == 8 || opcode == 10);
    CHECK(!(at[1] & 0x80) && at[1] != 127); /* a server masks nothing */
    size_t len = at[1], head = 2;
    if (len == 126) {
        CHECK(left >= 4);
        len = (size_t)at[2] << 8 | at[3];
        head = 4;
        CHECK(len >= 126);
    }
    CHECK(len <= (opcode >= 8 ? 125 : MESSAGE_BYTES) && len <= left - head);
    const char *payload = (const char *)at + head;
    if (opcode == 1)
        CHECK(text_is_utf8(payload, len));
    if (opcode == 8) {
        *closed = true;
        CHECK(len != 1);
        unsigned code = len ? (unsigned)(at[head] << 8 | at[head + 1]) : 1000;
        CHECK(code >= 1000 && code < 5000 && code != 1004 && code != 1005 && code != 1006);
        CHECK(len < 2 || text_is_utf8(payload + 2, len - 2));
    }
    return head + len;
}

static void check_frames(const struct frames *frames)
{
    bool closed = false;
    for (size_t at = 0; at < frames->out.len;)
        at += check_frame((const unsigned char *)frames->out.data + at, frames->out.len - at,
                          &closed);
    CHECK(closed == frames->closing);
}

/* Answers whether more was wanted. */
static bool run(struct frames *frames, const uint8_t *data, size_t size, struct cuts cuts)
{
    bool wanted = true;
    CHECK(frames_init(frames, MESSAGE_BYTES) == 0);
    for (size_t at = 0; at < size && wanted;) {
        size_t len = next_cut(&cuts, size - at);
        char *piece = exact_copy(data + at, len);
        wanted = frames_feed(frames, piece, len);
        free(piece);
        at += len;
    }
    CHECK(!frames->broken);
    check_frames(frames);
    return wanted;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cuts cuts[] = { { CUT_NOT, 0 }, { CUT_BYTES, 0 }, { CUT_SEEDED, 0 } };
    if (size < sizeof cuts[2].seed)
        return 0;
    memcpy(&cuts[2].seed, data, sizeof cuts[2].seed);
    data += sizeof cuts[2].seed;
    size -= sizeof cuts[2].seed;
    struct frames frames[3];
    bool wanted[3];
    for (int i = 0; i < 3; i++) {
        wanted[i] = run(&frames[i], data, size, cuts[i]);
        CHECK(wanted[i] == wanted[0]);
        CHECK(frames[i].out.len == frames[0].out.len);
        CHECK(frames[i].out.len == 0 ||
              !memcmp(frames[i].out.data, frames[0].out.data, frames[0].out.len));
    }
    /* what the server has to say goes behind all that, but not behind a close */
    CHECK(frames_send_text(&frames[0], "hello", 5) == 0 || frames[0].closing);
    frames_send_ping(&frames[1]);
    frames_send_close(&frames[2], 1001, "going away");
    CHECK(frames[2].closing);
    for (int i = 0; i < 3; i++)
        frames_fini(&frames[i]);
    return 0;
}
