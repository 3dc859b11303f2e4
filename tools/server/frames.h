/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames.h - one WebSocket's frames as bytes in memory
 */
#ifndef SERVER_FRAMES_H
#define SERVER_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wslay/wslay.h>

#include "tools/server/buffer.h"

/* Must not move. Used by one fiber or thread at a time. */
struct frames {
    struct buffer out; /* framed, to be sent: whoever sends it takes it away */
    bool closing;      /* a close frame has been framed: nothing goes behind it */
    bool broken; /* nothing can be framed, sent or heard any more: set here, or by the owner */

    /* private */
    wslay_event_context_ptr wslay;
    const uint8_t *in; /* what wslay has not read yet */
    size_t in_len;
    unsigned char held[14 + 125]; /* of a frame's head, and all of a control frame */
    size_t held_len;
    uint64_t payload_left; /* of the data frame that is passing */
    unsigned fragments;    /* of the message that is arriving */
    uint16_t refused;      /* the code of a close that wslay does not make; 0: none */
};

/* A server's side. message_bytes is the most that a message may have. 0 · -ENOMEM */
int frames_init(struct frames *frames, size_t message_bytes);
void frames_fini(struct frames *frames);

/*
 * What has come from the peer. Pings are answered into out, messages by themselves, text as
 * text and binary as binary; a close, or what breaks the rules of RFC 6455, by a close with its
 * code.
 *
 * Returns    whether more is wanted: not behind the peer's close, nor behind what it has broken
 */
bool frames_feed(struct frames *frames, const char *bytes, size_t len);
/* 0 · -ENOMEM, and then nothing was framed; none of it behind a close. */
int frames_send_text(struct frames *frames, const char *text, size_t len);
void frames_send_ping(struct frames *frames);
void frames_send_close(struct frames *frames, uint16_t code, const char *reason);

#endif
