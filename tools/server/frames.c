/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames.c - one WebSocket's frames as bytes in memory
 *
 * wslay frames, and is helped where it does less than RFC 6455 asks for. It reads what was fed
 * and writes to out, so nothing here ever waits.
 *
 * It is fed frame by frame: what one has caused stands in out before the next is looked at, so
 * that the answer does not depend on how the bytes are cut. wslay would let a close overtake
 * what came before, and judges a close that comes in pieces by a part of them.
 *
 * Knows not   sockets, fibers, users.
 */
#include "tools/server/frames.h"

#include <errno.h>


enum {
    FRAGMENTS_MAX = 1024, /* of one message */
    CONTROL_BYTES = 125,
};

/* ---- what wslay calls ---- */

static ssize_t on_recv(wslay_event_context_ptr wslay, uint8_t *bytes, size_t len, int flags,
                       void *arg)
{
    struct frames *frames = arg;
    if (frames->in_len == 0) {
        wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (len > frames->in_len)
        len = frames->in_len;
    memcpy(bytes, frames->in, len);
    frames->in += len;
    frames->in_len -= len;
    return (ssize_t)len;
}

static ssize_t on_send(wslay_event_context_ptr wslay, const uint8_t *bytes, size_t len,
                       int flags, void *arg)
{
    struct frames *frames = arg;
    if (buffer_append(&frames->out, bytes, len) < 0) {
        wslay_event_set_error(wslay, WSLAY_ERR_NOMEM);
        return -1;
    }
    return (ssize_t)len;
}

static void on_frame(wslay_event_context_ptr wslay,
                     const struct wslay_event_on_frame_recv_start_arg *frame, void *arg)
{
    struct frames *frames = arg;
    if (!wslay_is_ctrl_frame(frame->opcode) && ++frames->fragments > FRAGMENTS_MAX)
        frames->refused = WSLAY_CODE_POLICY_VIOLATION;
    /* half a code, which wslay takes for none */
    if (frame->opcode == WSLAY_CONNECTION_CLOSE && frame->payload_length == 1)
        frames->refused = WSLAY_CODE_PROTOCOL_ERROR;
}

static void on_message(wslay_event_context_ptr wslay,
                       const struct wslay_event_on_msg_recv_arg *message, void *arg)
{
    struct frames *frames = arg;
    if (wslay_is_ctrl_frame(message->opcode) || frames->refused)
        return;
    frames->fragments = 0;
    struct wslay_event_msg echo = { message->opcode, message->msg, message->msg_length };
    wslay_event_queue_msg(wslay, &echo); /* refused once a close is queued, which is right */
}

static const struct wslay_event_callbacks callbacks = {
    .recv_callback = on_recv,
    .send_callback = on_send,
    .on_frame_recv_start_callback = on_frame,
    .on_msg_recv_callback = on_message,
};

/* ---- out ---- */

/* Frame all that wslay has queued. */
static void frame_queued(struct frames *frames)
{
    if (wslay_event_send(frames->wslay) != 0)
        frames->broken = true;
    if (wslay_event_get_close_sent(frames->wslay))
        frames->closing = true;
}

int frames_send_text(struct frames *frames, const char *text, size_t len)
{
    struct wslay_event_msg framed = { WSLAY_TEXT_FRAME, (const uint8_t *)text, len };
    if (wslay_event_queue_msg(frames->wslay, &framed) != 0)
        return -ENOMEM;
    frame_queued(frames);
    return 0;
}

void frames_send_ping(struct frames *frames)
{
    struct wslay_event_msg ping = { WSLAY_PING, NULL, 0 };
    wslay_event_queue_msg(frames->wslay, &ping);
    frame_queued(frames);
}

void frames_send_close(struct frames *frames, uint16_t code, const char *reason)
{
    wslay_event_queue_close(frames->wslay, code, (const uint8_t *)reason, strlen(reason));
    frame_queued(frames);
}

/*
 * Where a frame's very head is wrong wslay closes without a code: the close frame is ours, and
 * wslay's days are over.
 */
static void send_refusal(struct frames *frames)
{
    const unsigned char frame[] = { 0x80 | WSLAY_CONNECTION_CLOSE, 2,
                                    (unsigned char)(frames->refused >> 8),
                                    (unsigned char)frames->refused };
    wslay_event_shutdown_read(frames->wslay);
    wslay_event_shutdown_write(frames->wslay);
    frames->closing = true;
    if (buffer_append(&frames->out, frame, sizeof frame) < 0)
        frames->broken = true;
}

/* ---- in ---- */

/* Bytes of one frame and no other: what it causes is framed before the next is looked at. */
static void hand_over(struct frames *frames, const void *bytes, size_t len)
{
    frames->in = bytes;
    frames->in_len = len;
    int r = wslay_event_recv(frames->wslay);
    if (r == WSLAY_ERR_NOMEM)
        frames->broken = true;
    else if (r != 0)
        frames->refused = WSLAY_CODE_PROTOCOL_ERROR;
    if (frames->refused && !frames->closing)
        send_refusal(frames);
    frame_queued(frames);
}

static bool more_wanted(const struct frames *frames)
{
    return !frames->broken && wslay_event_get_read_enabled(frames->wslay) &&
           !wslay_event_get_close_received(frames->wslay);
}

/* How many bytes the head has that begins so, of which there are at least two. */
static size_t head_size(const unsigned char *head)
{
    unsigned len = head[1] & 127;
    return 2 + (len == 127 ? 8 : len == 126 ? 2 : 0) + (head[1] & 128 ? 4 : 0);
}

static uint64_t payload_size(const unsigned char *head)
{
    unsigned len = head[1] & 127, more = len == 127 ? 8 : len == 126 ? 2 : 0;
    uint64_t size = more ? 0 : len;
    for (unsigned i = 0; i < more; i++)
        size = size << 8 | head[2 + i];
    return size;
}

/* What wslay judges badly in pieces: handed over only when all of it is there. */
static bool is_control(const unsigned char *head)
{
    return head[0] >= 0x88 && head[0] <= 0x8a && head[1] >= 0x80 &&
           payload_size(head) <= CONTROL_BYTES;
}

/* How much of a frame must be there to go on with it. */
static size_t wanted_size(const struct frames *frames)
{
    const unsigned char *held = frames->held;
    if (frames->held_len < 2)
        return 2;
    size_t head = head_size(held);
    return frames->held_len >= head && is_control(held) ? head + payload_size(held) : head;
}

/* Go on with the frame that has begun, or begin one: how many of len bytes were taken. */
static size_t take(struct frames *frames, const char *bytes, size_t len)
{
    size_t count = 0, wanted;
    if (frames->payload_left) {
        count = len < frames->payload_left ? len : (size_t)frames->payload_left;
        frames->payload_left -= count;
        hand_over(frames, bytes, count);
        return count;
    }
    while ((wanted = wanted_size(frames)) > frames->held_len) {
        if (count == len)
            return count;
        size_t step = wanted - frames->held_len;
        step = step < len - count ? step : len - count;
        memcpy(frames->held + frames->held_len, bytes + count, step);
        frames->held_len += step;
        count += step;
    }
    frames->payload_left = is_control(frames->held) ? 0 : payload_size(frames->held);
    size_t held_len = frames->held_len;
    frames->held_len = 0;
    hand_over(frames, frames->held, held_len);
    return count;
}

bool frames_feed(struct frames *frames, const char *bytes, size_t len)
{
    while (len && more_wanted(frames)) {
        size_t count = take(frames, bytes, len);
        bytes += count;
        len -= count;
    }
    return more_wanted(frames);
}

int frames_init(struct frames *frames, size_t message_bytes)
{
    memset(frames, 0, sizeof *frames);
    if (wslay_event_context_server_init(&frames->wslay, &callbacks, frames) != 0)
        return -ENOMEM;
    wslay_event_config_set_max_recv_msg_length(frames->wslay, message_bytes);
    return 0;
}

void frames_fini(struct frames *frames)
{
    wslay_event_context_free(frames->wslay);
    buffer_fini(&frames->out);
}
