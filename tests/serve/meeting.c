/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meeting.c - WebSocket users who come, replace each other, listen and leave
 *
 * Each user comes, and comes once more by a second connection: the first must be closed with
 * the code that says so. Then all listen: each must get every message once and in order. At
 * last they take leave, and nothing may come but the answer to that.
 *
 * The server gives a farewell two seconds, and a processor that is shared with all of a crowd
 * may need longer for all of its farewells: so no more than some are let go at a time.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "tests/serve/clients.h"

enum {
    FRAME_TEXT = 1,
    FRAME_CLOSE = 8,
    FRAME_PING = 9,
    FRAME_PONG = 10,
    FAREWELLS = 20,    /* at a time */
    SHORT_BYTES = 125, /* what a frame holds whose length is one byte */
    CODE_NORMAL = 1000,
    CODE_REPLACED = 4000,
};

struct hall {
    struct meeting meeting;
    struct step come, replaced, told;
    struct fm_semaphore *gate; /* who is in it is let go by the server */
    atomic_uint next;          /* user's number */
};

/* One connection. */
struct wire {
    int fd;
    unsigned number; /* of the user */
    size_t len;
    unsigned char in[512];
};

struct frame {
    unsigned char opcode;
    size_t len;
    char bytes[SHORT_BYTES + 1]; /* with a NUL behind */
};

/* ---- frames ---- */

static void fill(struct wire *wire)
{
    size_t n = clients_receive(wire->fd, wire->number, wire->in + wire->len,
                               sizeof wire->in - wire->len);
    if (n == 0)
        clients_fail("user %u: closed without a word", wire->number);
    wire->len += n;
}

static void take(struct wire *wire, size_t count)
{
    wire->len -= count;
    memmove(wire->in, wire->in + count, wire->len);
}

static void read_frame(struct wire *wire, struct frame *frame)
{
    while (wire->len < 2 || wire->len < 2u + wire->in[1])
        fill(wire);
    if (!(wire->in[0] & 0x80) || wire->in[1] > SHORT_BYTES)
        clients_fail("user %u: a frame of %02x %02x", wire->number, wire->in[0], wire->in[1]);
    frame->opcode = wire->in[0] & 15;
    frame->len = wire->in[1];
    memcpy(frame->bytes, wire->in + 2, frame->len);
    frame->bytes[frame->len] = '\0';
    take(wire, 2 + frame->len);
}

/* Masked, as a client's must be. */
static void write_frame(struct wire *wire, unsigned char opcode, const void *bytes, size_t len)
{
    static const unsigned char mask[4] = { 0x5e, 0xed, 0xf0, 0x0d };
    unsigned char out[6 + SHORT_BYTES] = { 0x80 | opcode, 0x80 | (unsigned char)len };
    memcpy(out + 2, mask, sizeof mask);
    for (size_t i = 0; i < len; i++)
        out[6 + i] = ((const unsigned char *)bytes)[i] ^ mask[i % 4];
    clients_send(wire->fd, wire->number, out, 6 + len);
}

/* The next that is not about whether we live. */
static void next_frame(struct wire *wire, struct frame *frame)
{
    for (;;) {
        read_frame(wire, frame);
        if (frame->opcode != FRAME_PING)
            return;
        write_frame(wire, FRAME_PONG, frame->bytes, frame->len);
    }
}

static void expect_text(struct wire *wire, const char *text)
{
    struct frame frame;
    next_frame(wire, &frame);
    if (frame.opcode != FRAME_TEXT || strcmp(frame.bytes, text))
        clients_fail("user %u: not %s but a frame %u of %zu bytes: %s", wire->number, text,
                     frame.opcode, frame.len, frame.bytes);
}

/* Nothing comes but a close, and then the end of the stream. */
static void expect_close(struct wire *wire, unsigned code, const char *reason, bool answer)
{
    struct frame frame;
    next_frame(wire, &frame);
    const unsigned char *told = (const unsigned char *)frame.bytes;
    unsigned came = (unsigned)told[0] << 8 | told[1];
    if (frame.opcode != FRAME_CLOSE || frame.len < 2 || came != code ||
        strcmp(frame.bytes + 2, reason))
        clients_fail("user %u: not a close of %u but a frame %u of %zu bytes: %s", wire->number,
                     code, frame.opcode, frame.len, frame.bytes + 2);
    if (answer)
        write_frame(wire, FRAME_CLOSE, frame.bytes, frame.len);
    if (wire->len || clients_receive(wire->fd, wire->number, wire->in, sizeof wire->in))
        clients_fail("user %u: something behind the close", wire->number);
    fm_close(wire->fd);
}

/* ---- users ---- */

static void shake_hands(struct wire *wire)
{
    char text[256];
    int len = snprintf(text, sizeof text,
                       "GET /ws/user-%05u HTTP/1.1\r\nHost: localhost\r\n"
                       "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                       wire->number);
    clients_send(wire->fd, wire->number, text, (size_t)len);
    const char *end;
    while (!(end = memmem(wire->in, wire->len, "\r\n\r\n", 4)))
        fill(wire);
    size_t head = (size_t)(end - (const char *)wire->in) + 4;
    if (memcmp(wire->in, "HTTP/1.1 101 ", 13) ||
        !memmem(wire->in, head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", 30))
        clients_fail("user %u: no handshake: %.*s", wire->number, (int)head, wire->in);
    take(wire, head);
}

/* Come, and hear one's own name back. */
static void come(struct hall *hall, struct wire *wire, unsigned number)
{
    char name[32];
    *wire = (struct wire) { .fd = clients_dial(hall->meeting.port, number), .number = number };
    shake_hands(wire);
    snprintf(name, sizeof name, "I am %u", number);
    write_frame(wire, FRAME_TEXT, name, strlen(name));
    expect_text(wire, name);
}

static void listen_to_all(struct hall *hall, struct wire *wire)
{
    char text[32];
    for (unsigned i = 0; i < hall->meeting.messages; i++) {
        snprintf(text, sizeof text, "message %u", i);
        expect_text(wire, text);
    }
}

static void take_leave(struct wire *wire)
{
    const unsigned char code[] = { CODE_NORMAL >> 8, CODE_NORMAL & 255 };
    write_frame(wire, FRAME_CLOSE, code, sizeof code);
    expect_close(wire, CODE_NORMAL, "", false);
}

static struct fm_exit attend(void *arg)
{
    struct hall *hall = arg;
    unsigned number = atomic_fetch_add_explicit(&hall->next, 1, memory_order_relaxed);
    struct wire first, second;
    come(hall, &first, number);
    step_reach(&hall->come);
    clients_must("the gate", number, fm_semaphore_acquire(hall->gate, 1, FM_NEVER));
    come(hall, &second, number);
    expect_close(&first, CODE_REPLACED, "replaced", true);
    fm_semaphore_release(hall->gate, 1);
    step_reach(&hall->replaced);
    listen_to_all(hall, &second);
    step_reach(&hall->told);
    clients_must("the gate", number, fm_semaphore_acquire(hall->gate, 1, FM_NEVER));
    take_leave(&second);
    fm_semaphore_release(hall->gate, 1);
    return fm_ok(NULL);
}

void clients_meet(const struct meeting *meeting)
{
    struct hall hall = { .meeting = *meeting };
    struct fm_set *set;
    step_init(&hall.come, meeting->users);
    step_init(&hall.replaced, meeting->users);
    step_init(&hall.told, meeting->users);
    clients_must("a semaphore", 0, fm_semaphore_create(FAREWELLS, &hall.gate));
    clients_must("a set", 0, fm_set_create(NULL, &set));
    clients_start(set, attend, &hall, meeting->users);
    step_await(&hall.come);
    step_end(&hall.come, "come", "replace");
    step_await(&hall.replaced);
    step_end(&hall.replaced, "replaced", "listen");
    step_await(&hall.told);
    step_end(&hall.told, "told", "leave");
    clients_await(set);
    fm_set_destroy(set);
    fm_semaphore_destroy(hall.gate);
    step_fini(&hall.come);
    step_fini(&hall.replaced);
    step_fini(&hall.told);
}
