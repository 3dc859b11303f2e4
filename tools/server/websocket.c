/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket.c - a user's connection, once it has left HTTP
 *
 * Two fibers. The reader is the connection's own: it feeds what arrives to wslay, and is the
 * one that others interrupt. The writer is its child: it sends what wslay has framed, takes
 * messages out of the mailbox when nothing is left to send, and pings. wslay itself reads and
 * writes memory only and so never waits; both fibers and nobody else use it, under one lock.
 *
 *   peer --> reader --> wslay --> out --> writer --> peer
 *                                  ^        |
 *                                  '- wslay '-- takes from the mailbox; rung by users_send
 *
 * What a user sends is echoed: text as text, binary as binary.
 *
 * Owns        the framing, and the bytes that are framed but not sent. Not the socket.
 * Invariant   the reader reads on only while less than OUT_BYTES wait to be sent, so what a
 *             peer can make us keep is bounded, whether it floods us with pings or never reads.
 * The end     Whoever ends it frames a close, after which nothing follows. The reader waits a
 *             while for the peer's close, masked; then the writer sends what is left and both
 *             are gone.
 */
#include "tools/server/websocket.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

#include "tools/server/text.h"
#include "tools/server/users.h"

enum {
    IN_BYTES = 8 << 10,
    OUT_BYTES = 256 << 10,
    FRAGMENTS_MAX = 1024, /* of one message */
    CLOSE_WAIT_MS = 2000, /* for the peer's close frame, and for ours to leave */
};

struct websocket {
    atomic_uint references;
    struct server *server;
    struct fm_mutex *lock; /* guards all that follows but fd and user */
    struct fm_cond *turn;  /* something to send, room to read on, or the end */
    wslay_event_context_ptr wslay;
    const uint8_t *in; /* what wslay has not read yet */
    size_t in_len;
    struct buffer out;
    unsigned fragments; /* of the message that is arriving */
    uint16_t refused;   /* the code of a close that wslay does not make, or not well; 0: none */
    bool closing;       /* a close frame has been framed: nothing goes behind it */
    bool last;          /* the writer ends when out is empty */
    bool broken;        /* nothing can be sent or heard any more */
    int fd;
    char user[];
};

/* ---- what wslay calls: memory only ---- */

static ssize_t on_recv(wslay_event_context_ptr wslay, uint8_t *bytes, size_t len, int flags,
                       void *arg)
{
    struct websocket *ws = arg;
    if (ws->in_len == 0) {
        wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (len > ws->in_len)
        len = ws->in_len;
    memcpy(bytes, ws->in, len);
    ws->in += len;
    ws->in_len -= len;
    return (ssize_t)len;
}

static ssize_t on_send(wslay_event_context_ptr wslay, const uint8_t *bytes, size_t len,
                       int flags, void *arg)
{
    struct websocket *ws = arg;
    if (buffer_append(&ws->out, bytes, len) < 0) {
        wslay_event_set_error(wslay, WSLAY_ERR_NOMEM);
        return -1;
    }
    return (ssize_t)len;
}

static void on_frame(wslay_event_context_ptr wslay,
                     const struct wslay_event_on_frame_recv_start_arg *frame, void *arg)
{
    struct websocket *ws = arg;
    if (!wslay_is_ctrl_frame(frame->opcode) && ++ws->fragments > FRAGMENTS_MAX)
        ws->refused = WSLAY_CODE_POLICY_VIOLATION;
    /* half a code, which wslay takes for none */
    if (frame->opcode == WSLAY_CONNECTION_CLOSE && frame->payload_length == 1)
        ws->refused = WSLAY_CODE_PROTOCOL_ERROR;
    /* What the frames before have caused goes first: wslay would let a close overtake it. */
    if (wslay_event_send(wslay) != 0)
        ws->broken = true;
}

static void on_message(wslay_event_context_ptr wslay,
                       const struct wslay_event_on_msg_recv_arg *message, void *arg)
{
    struct websocket *ws = arg;
    /* wslay looks at a close reason too, but not at all of one that comes in pieces */
    if (message->opcode == WSLAY_CONNECTION_CLOSE && message->msg_length > 2 &&
        !text_is_utf8((const char *)message->msg + 2, message->msg_length - 2))
        ws->refused = WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA;
    if (wslay_is_ctrl_frame(message->opcode))
        return;
    ws->fragments = 0;
    struct wslay_event_msg echo = { message->opcode, message->msg, message->msg_length };
    wslay_event_queue_msg(wslay, &echo); /* refused once a close is queued, which is right */
}

static const struct wslay_event_callbacks callbacks = {
    .recv_callback = on_recv,
    .send_callback = on_send,
    .on_frame_recv_start_callback = on_frame,
    .on_msg_recv_callback = on_message,
};

/* ---- making and ending ---- */

struct websocket *websocket_ref(struct websocket *ws)
{
    /* relaxed: the caller has a reference, or the lock under which the owner's stands */
    atomic_fetch_add_explicit(&ws->references, 1, memory_order_relaxed);
    return ws;
}

void websocket_unref(struct websocket *ws)
{
    /* acq_rel: what others did with it comes before its end */
    if (!ws || atomic_fetch_sub_explicit(&ws->references, 1, memory_order_acq_rel) != 1)
        return;
    wslay_event_context_free(ws->wslay);
    fm_cond_destroy(ws->turn);
    fm_mutex_destroy(ws->lock);
    buffer_fini(&ws->out);
    free(ws);
}

static int websocket_create(struct server *server, const char *user, struct websocket **ret_ws)
{
    size_t size = strlen(user) + 1;
    struct websocket *ws = calloc(1, sizeof *ws + size);
    if (!ws)
        return -ENOMEM;
    atomic_init(&ws->references, 1);
    ws->server = server;
    ws->fd = -1;
    memcpy(ws->user, user, size);
    int r = fm_mutex_create(&ws->lock);
    if (r < 0)
        goto free_ws;
    r = fm_cond_create(&ws->turn);
    if (r < 0)
        goto destroy_lock;
    if (wslay_event_context_server_init(&ws->wslay, &callbacks, ws) != 0) {
        r = -ENOMEM;
        goto destroy_turn;
    }
    wslay_event_config_set_max_recv_msg_length(ws->wslay, server->options.message_bytes);
    *ret_ws = ws;
    return 0;

destroy_turn:
    fm_cond_destroy(ws->turn);
destroy_lock:
    fm_mutex_destroy(ws->lock);
free_ws:
    free(ws);
    return r;
}

void websocket_ring(struct websocket *ws)
{
    if (fm_mutex_lock(ws->lock, FM_NEVER) < 0)
        return;
    fm_cond_broadcast(ws->turn);
    fm_mutex_unlock(ws->lock);
}

/* ---- framing ---- */

/* Frame all that wslay has queued, and wake the writer. */
static void frame_locked(struct websocket *ws)
{
    if (wslay_event_send(ws->wslay) != 0)
        ws->broken = true;
    if (wslay_event_get_close_sent(ws->wslay))
        ws->closing = true;
    fm_cond_broadcast(ws->turn);
}

static void close_locked(struct websocket *ws, uint16_t code, const char *reason)
{
    wslay_event_queue_close(ws->wslay, code, (const uint8_t *)reason, strlen(reason));
    frame_locked(ws);
}

/* One more message out of the mailbox. Without memory it is put back: false. */
static bool take_message_locked(struct websocket *ws, struct message **ret_unsent)
{
    struct message *message = users_take(ws->server->users, ws->user, ws);
    if (!message)
        return true;
    const struct message_text *text = fm_value_pointer(message->text);
    struct wslay_event_msg framed = { WSLAY_TEXT_FRAME, (const uint8_t *)text->bytes,
                                      text->len };
    if (wslay_event_queue_msg(ws->wslay, &framed) != 0) {
        *ret_unsent = message;
        return false;
    }
    message_free(message);
    frame_locked(ws);
    server_count(&ws->server->messages_sent);
    return true;
}

/* ---- the writer ---- */

static int send_all(int fd, const char *bytes, size_t len, int64_t deadline_ns)
{
    while (len) {
        ssize_t n = fm_send(fd, bytes, len, 0, deadline_ns);
        if (n < 0)
            return (int)n;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Send what is framed, with the lock given up meanwhile. */
static int send_out_locked(struct websocket *ws)
{
    struct buffer sending = ws->out;
    ws->out = (struct buffer) { 0 };
    fm_mutex_unlock(ws->lock);
    int r = send_all(ws->fd, sending.data, sending.len,
                     fm_after_ms(ws->server->options.send_ms));
    buffer_fini(&sending);
    /* masked, so that the lock is held again whatever happens */
    fm_mask();
    fm_mutex_lock(ws->lock, FM_NEVER);
    fm_unmask();
    fm_cond_broadcast(ws->turn);
    return r;
}

static int write_locked(struct websocket *ws, struct message **ret_unsent)
{
    int64_t ping_ms = ws->server->options.ping_ms, ping_ns = fm_after_ms(ping_ms);
    for (;;) {
        if (!ws->closing && fm_now_ns() >= ping_ns) {
            struct wslay_event_msg ping = { WSLAY_PING, NULL, 0 };
            wslay_event_queue_msg(ws->wslay, &ping);
            frame_locked(ws);
            ping_ns = fm_after_ms(ping_ms);
        }
        if (!ws->closing && !ws->out.len && !take_message_locked(ws, ret_unsent))
            return -ENOMEM;
        if (ws->broken)
            return -ENOMEM;
        int r = 0;
        if (ws->out.len)
            r = send_out_locked(ws);
        else if (ws->last)
            return 0;
        else
            r = fm_cond_wait(ws->turn, ws->lock, ws->closing ? FM_NEVER : ping_ns);
        /*
         * a wait that timed out means a ping is due, a send that did that the peer reads no
         * more
         */
        if (r < 0 && !(r == -ETIMEDOUT && !ws->out.len && fm_now_ns() >= ping_ns))
            return r;
    }
}

static struct fm_exit writer_entry(void *arg)
{
    struct websocket *ws = arg;
    struct message *unsent = NULL;
    int r = fm_mutex_lock(ws->lock, FM_NEVER);
    if (r < 0)
        return fm_fail(r);
    r = write_locked(ws, &unsent);
    ws->broken = r < 0;
    fm_cond_broadcast(ws->turn);
    fm_mutex_unlock(ws->lock);
    if (unsent)
        users_return(ws->server->users, ws->user, unsent);
    if (r < 0)
        shutdown(ws->fd, SHUT_RDWR); /* the reader finds the end of the stream */
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* ---- the reader ---- */

/*
 * Where a frame's very head is wrong wslay closes without a code: the close frame is ours, and
 * wslay's days are over.
 */
static void refuse_locked(struct websocket *ws)
{
    const unsigned char frame[] = { 0x80 | WSLAY_CONNECTION_CLOSE, 2,
                                    (unsigned char)(ws->refused >> 8),
                                    (unsigned char)ws->refused };
    wslay_event_shutdown_read(ws->wslay);
    wslay_event_shutdown_write(ws->wslay);
    ws->closing = true;
    if (buffer_append(&ws->out, frame, sizeof frame) < 0)
        ws->broken = true;
}

/* Hand wslay what has come. Answers true as long as more is wanted. */
static bool feed_locked(struct websocket *ws, const char *bytes, size_t len)
{
    ws->in = (const uint8_t *)bytes;
    ws->in_len = len;
    int r = wslay_event_recv(ws->wslay);
    if (r == WSLAY_ERR_NOMEM)
        ws->broken = true;
    else if (r != 0)
        ws->refused = WSLAY_CODE_PROTOCOL_ERROR;
    if (ws->refused && !ws->closing)
        refuse_locked(ws);
    frame_locked(ws);
    return !ws->broken && wslay_event_get_read_enabled(ws->wslay) &&
           !wslay_event_get_close_received(ws->wslay);
}

/*
 * Wait until the peer has read most of what is for it: false if it does not, or on an
 * interruption.
 */
static bool wait_for_room_locked(struct websocket *ws)
{
    bool open = !ws->closing;
    int64_t deadline_ns = fm_after_ms(open ? ws->server->options.send_ms : CLOSE_WAIT_MS);
    int r = 0;
    if (open)
        fm_unmask();
    while (ws->out.len >= OUT_BYTES && !ws->broken && r == 0)
        r = fm_cond_wait(ws->turn, ws->lock, deadline_ns);
    if (open)
        fm_mask();
    return !ws->broken && r == 0;
}

/* The fiber was interrupted: say so to the peer. */
static void close_interrupted_locked(struct websocket *ws)
{
    struct fm_exit info = { 0 };
    fm_interrupt_info(&info);
    if (info.reason == FM_BY_REPLACE)
        close_locked(ws, WEBSOCKET_CODE_REPLACED, "replaced");
    else
        close_locked(ws, WSLAY_CODE_GOING_AWAY, "going away");
}

/*
 * Read until the peer has taken leave, has broken the rules, or is gone. Masked but for the
 * wait for bytes, which an interruption ends once; from our close frame on a deadline does
 * that. What comes after the last that wslay wants is left to whoever closes the socket.
 */
static void read_locked(struct websocket *ws, const char *bytes, size_t len)
{
    const struct options *options = &ws->server->options;
    char in[IN_BYTES];
    bool wanted = feed_locked(ws, bytes, len);
    int64_t close_ns = FM_NEVER;
    while (wanted && wait_for_room_locked(ws)) {
        if (ws->closing && close_ns == FM_NEVER)
            close_ns = fm_after_ms(CLOSE_WAIT_MS);
        bool closing = ws->closing;
        int64_t silent_ns = fm_after_ms((int64_t)options->ping_ms + options->pong_ms);
        fm_mutex_unlock(ws->lock);
        if (!closing)
            fm_unmask();
        ssize_t n = fm_recv(ws->fd, in, sizeof in, 0, closing ? close_ns : silent_ns);
        if (!closing)
            fm_mask();
        fm_mutex_lock(ws->lock, FM_NEVER);
        if (n == -ECANCELED && !closing)
            close_interrupted_locked(ws);
        else if (n == -ETIMEDOUT && !closing)
            ws->broken = true; /* not even a pong: there is nobody to take leave of */
        else if (n <= 0)
            return;
        else
            wanted = feed_locked(ws, in, (size_t)n);
    }
}

void websocket_run(struct websocket *ws, int fd, const char *bytes, size_t len)
{
    ws->fd = fd;
    struct fm_fiber *writer = NULL;
    int r = fm_fiber_spawn(writer_entry, ws, NULL, &writer);
    fm_mutex_lock(ws->lock, FM_NEVER);
    if (r == 0)
        read_locked(ws, bytes, len);
    ws->last = true;
    fm_cond_broadcast(ws->turn);
    fm_mutex_unlock(ws->lock);
    users_leave(ws->server->users, ws->user, ws);
    if (r == 0 && fm_fiber_join(writer, fm_after_ms(CLOSE_WAIT_MS), NULL) == -ETIMEDOUT)
        fm_fiber_stop(writer, FM_NEVER, NULL);
    fm_fiber_unref(writer);
    if (ws->broken)
        shutdown(fd, SHUT_RDWR);
    websocket_unref(ws);
}

/* ---- the handshake ---- */

/*
 * Sec-WebSocket-Accept, which proves that the key was understood: 0 · -EINVAL (no key of 16
 * bytes) · -ENOMEM
 */
static int handshake_accept(const struct http_header *key, char accept[32])
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char decoded[18], digest[20];
    char text[24 + sizeof magic];
    if (key->count != 1 || key->len != 24 || strcmp(key->text + 22, "==") ||
        EVP_DecodeBlock(decoded, (const unsigned char *)key->text, 24) != sizeof decoded)
        return -EINVAL;
    memcpy(text, key->text, 24);
    memcpy(text + 24, magic, sizeof magic);
    /* OpenSSL's errors are the thread's: read, or cleared, before any switch */
    if (!EVP_Digest(text, sizeof text - 1, digest, NULL, EVP_sha1(), NULL)) {
        ERR_clear_error();
        return -ENOMEM;
    }
    EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
    return 0;
}

void websocket_accept(struct exchange *x, const char *user)
{
    const struct http_request *request = x->request;
    const struct http_header *version = &request->headers[HEADER_WEBSOCKET_VERSION];
    char accept[32];
    if (!request->upgrade_to_websocket || version->count != 1 || strcmp(version->text, "13")) {
        answer_error(x, 426, "WebSocket, version 13");
        return;
    }
    int r = handshake_accept(&request->headers[HEADER_WEBSOCKET_KEY], accept);
    if (r == -EINVAL) {
        answer_error(x, 400, "Sec-WebSocket-Key is 16 bytes in base64");
        return;
    }
    struct websocket *ws = NULL;
    if (r == 0)
        r = websocket_create(x->server, user, &ws);
    if (r == 0)
        r = users_enter(x->server->users, user, ws);
    if (r < 0) {
        websocket_unref(ws);
        answer_error(x, 503, r == -EAGAIN ? "too many users" : fm_strerror(r));
        return;
    }
    server_count(&x->server->upgraded);
    x->websocket = ws;
    answer_switch(x, accept);
}
