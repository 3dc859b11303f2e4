/* SPDX-License-Identifier: Apache-2.0 */
/*
 * websocket.c - a user's connection, once it has left HTTP
 *
 * Two fibers. The reader is the connection's own: it feeds what arrives to the frames, and is
 * the one that others interrupt. The writer is its child: it sends what has been framed, takes
 * messages out of the mailbox when nothing is left to send, and pings. Frames are memory only
 * and never wait; both fibers and nobody else use them, under one lock.
 *
 *   peer --> reader --> frames --> out --> writer --> peer
 *                                   ^        |
 *                                   '------- '-- takes from the mailbox; rung by users_send
 *
 * Owns        the frames, and the bytes that are framed but not sent. Not the socket.
 * Invariant   the reader reads on only while less than OUT_BYTES wait to be sent, so what a
 *             peer can make us keep is bounded, whether it floods us with pings or never reads.
 * The end     Whoever ends it frames a close, after which nothing follows. The reader waits a
 *             while for the peer's close, masked; then the writer sends what is left and both
 *             are gone.
 */
#include "tools/server/websocket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tools/server/frames.h"
#include "tools/server/users.h"

enum {
    OUT_BYTES = 256 << 10,
    CLOSE_WAIT_MS = 2000, /* for the peer's close frame, and for ours to leave */
};

struct websocket {
    atomic_uint references;
    struct server *server;
    struct fm_mutex *lock; /* guards all that follows but fd and user */
    struct fm_cond *turn;  /* something to send, room to read on, or the end */
    struct frames frames;
    bool last; /* the writer ends when there is nothing more to send */
    int fd;
    char user[];
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
    frames_fini(&ws->frames);
    fm_cond_destroy(ws->turn);
    fm_mutex_destroy(ws->lock);
    free(ws);
}

int websocket_create(struct server *server, const char *user, struct websocket **ret_ws)
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
    r = frames_init(&ws->frames, server->options.message_bytes);
    if (r < 0)
        goto destroy_turn;
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

/* ---- the writer ---- */

/* One more message out of the mailbox. Without memory it is put back: false. */
static bool take_message_locked(struct websocket *ws, struct message **ret_unsent)
{
    struct message *message = users_take(ws->server->users, ws->user, ws);
    if (!message)
        return true;
    const struct message_text *text = fm_value_pointer(message->text);
    if (frames_send_text(&ws->frames, text->bytes, text->len) < 0) {
        *ret_unsent = message;
        return false;
    }
    message_free(message);
    server_count(&ws->server->messages_sent);
    return true;
}

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
    struct buffer sending = ws->frames.out;
    ws->frames.out = (struct buffer) { 0 };
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
        if (!ws->frames.closing && fm_now_ns() >= ping_ns) {
            frames_send_ping(&ws->frames);
            ping_ns = fm_after_ms(ping_ms);
        }
        if (!ws->frames.closing && !ws->frames.out.len && !take_message_locked(ws, ret_unsent))
            return -ENOMEM;
        if (ws->frames.broken)
            return -ENOMEM;
        int r = 0;
        if (ws->frames.out.len)
            r = send_out_locked(ws);
        else if (ws->last)
            return 0;
        else
            r = fm_cond_wait(ws->turn, ws->lock, ws->frames.closing ? FM_NEVER : ping_ns);
        /*
         * a wait that timed out means a ping is due, a send that did that the peer reads no
         * more
         */
        if (r < 0 && !(r == -ETIMEDOUT && !ws->frames.out.len && fm_now_ns() >= ping_ns))
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
    ws->frames.broken |= r < 0;
    fm_cond_broadcast(ws->turn);
    fm_mutex_unlock(ws->lock);
    if (unsent)
        users_return(ws->server->users, ws->user, unsent);
    if (r < 0)
        shutdown(ws->fd, SHUT_RDWR); /* the reader finds the end of the stream */
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* ---- the reader ---- */

/* What has come, and whoever waits learns of it. Answers true as long as more is wanted. */
static bool feed_locked(struct websocket *ws, const char *bytes, size_t len)
{
    bool wanted = frames_feed(&ws->frames, bytes, len);
    fm_cond_broadcast(ws->turn);
    return wanted;
}

static void close_locked(struct websocket *ws, uint16_t code, const char *reason)
{
    frames_send_close(&ws->frames, code, reason);
    fm_cond_broadcast(ws->turn);
}

/*
 * Wait until the peer has read most of what is for it: false if it does not, or on an
 * interruption.
 */
static bool wait_for_room_locked(struct websocket *ws)
{
    bool open = !ws->frames.closing;
    int64_t deadline_ns = fm_after_ms(open ? ws->server->options.send_ms : CLOSE_WAIT_MS);
    int r = 0;
    if (open)
        fm_unmask();
    while (ws->frames.out.len >= OUT_BYTES && !ws->frames.broken && r == 0)
        r = fm_cond_wait(ws->turn, ws->lock, deadline_ns);
    if (open)
        fm_mask();
    return !ws->frames.broken && r == 0;
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
 * that. What comes after the last that is wanted is left to whoever closes the socket.
 */
static void read_locked(struct websocket *ws, struct wire *wire)
{
    const struct options *options = &ws->server->options;
    bool wanted = feed_locked(ws, wire->in + wire->in_from, wire->in_to - wire->in_from);
    int64_t close_ns = FM_NEVER;
    while (wanted && wait_for_room_locked(ws)) {
        if (ws->frames.closing && close_ns == FM_NEVER)
            close_ns = fm_after_ms(CLOSE_WAIT_MS);
        bool closing = ws->frames.closing;
        int64_t silent_ns = fm_after_ms((int64_t)options->ping_ms + options->pong_ms);
        fm_mutex_unlock(ws->lock);
        if (!closing)
            fm_unmask();
        ssize_t n =
            fm_recv(ws->fd, wire->in, sizeof wire->in, 0, closing ? close_ns : silent_ns);
        if (!closing)
            fm_mask();
        fm_mutex_lock(ws->lock, FM_NEVER);
        if (n == -ECANCELED && !closing)
            close_interrupted_locked(ws);
        else if (n == -ETIMEDOUT && !closing)
            ws->frames.broken = true; /* not even a pong: there is nobody to take leave of */
        else if (n <= 0)
            return;
        else
            wanted = feed_locked(ws, wire->in, (size_t)n);
    }
}

void websocket_run(struct websocket *ws, struct wire *wire)
{
    ws->fd = wire->fd;
    struct fm_fiber *writer = NULL;
    int r = fm_fiber_spawn(writer_entry, ws, NULL, &writer);
    fm_mutex_lock(ws->lock, FM_NEVER);
    if (r == 0)
        read_locked(ws, wire);
    ws->last = true;
    fm_cond_broadcast(ws->turn);
    fm_mutex_unlock(ws->lock);
    users_leave(ws->server->users, ws->user, ws);
    if (r == 0 && fm_fiber_join(writer, fm_after_ms(CLOSE_WAIT_MS), NULL) == -ETIMEDOUT)
        fm_fiber_stop(writer, FM_NEVER, NULL);
    fm_fiber_unref(writer);
    if (ws->frames.broken)
        shutdown(ws->fd, SHUT_RDWR);
    websocket_unref(ws);
}
