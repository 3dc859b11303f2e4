/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.c - server-sent events to one client
 *
 * The stream is as long as the connection lives. It begins with the present state of its key,
 * where it has one; and where the client has read so slowly that events were lost it is told
 * so, and the state again.
 */
#include "tools/server/feed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fm/pubsub.h"
#include "tools/server/events.h"
#include "tools/server/jobs.h"
#include "tools/server/patience.h"

enum { SEND_BUFFER_BYTES = 64 << 10 };

struct feed {
    struct exchange *exchange;
    struct fm_subscriber *subscriber;
    uint64_t lost; /* of which the client knows */
    char key[];    /* empty: all */
};

/* ---- the beginning ---- */

static void feed_free(struct feed *feed)
{
    events_leave(feed->exchange->server->events, feed->subscriber);
    free(feed);
}

/* What is known of the key now, if anything is, behind what stands in out. 0 · -errno */
static int feed_add_status(struct feed *feed, struct buffer *out)
{
    struct json_object *object;
    if (!*feed->key || jobs_status(feed->exchange->server, feed->key, &object) < 0)
        return 0;
    const char *text = object
                           ? json_object_to_json_string_ext(object,
                                                            JSON_C_TO_STRING_PLAIN |
                                                                JSON_C_TO_STRING_NOSLASHESCAPE)
                           : NULL;
    int r = text ? buffer_append_text(out, "event: status\ndata: ") : -ENOMEM;
    r = r ? r : buffer_append_text(out, text);
    r = r ? r : buffer_append_text(out, "\n\n");
    json_object_put(object);
    return r;
}

/*
 * The state goes out with the head: whoever has read that hears of all that begins afterwards
 * as an event.
 */
static void feed_begin(struct exchange *x, const char *key)
{
    size_t size = strlen(key) + 1, before = x->out->len;
    struct feed *feed = calloc(1, sizeof *feed + size);
    int r = feed ? events_listen(x->server->events, &feed->subscriber) : -ENOMEM;
    if (r < 0) {
        free(feed);
        answer_error(x, 503, fm_strerror(r));
        return;
    }
    feed->exchange = x;
    memcpy(feed->key, key, size);
    r = answer_stream(x, "text/event-stream", false);
    r = r ? r : feed_add_status(feed, x->out);
    if (r == 0) {
        x->feed = feed;
        return;
    }
    x->out->len = before;
    x->close = true;
    feed_free(feed);
}

void feed_all(struct exchange *x, const char *name)
{
    feed_begin(x, "");
}

void feed_key(struct exchange *x, const char *key)
{
    feed_begin(x, key);
}

/* ---- what is sent ---- */

static int feed_send(struct feed *feed, const char *text, size_t len)
{
    struct exchange *x = feed->exchange;
    int64_t deadline_ns = fm_after_ms(x->server->options.send_ms);
    ssize_t n = fm_write_full(x->fd, text, len, deadline_ns, NULL);
    return n < 0 ? (int)n : 0;
}

static int feed_send_lost(struct feed *feed)
{
    uint64_t lost = fm_subscriber_dropped(feed->subscriber);
    if (lost == feed->lost)
        return 0;
    char text[80];
    int len = snprintf(text, sizeof text, "event: lost\ndata: {\"events\":%llu}\n\n",
                       (unsigned long long)(lost - feed->lost));
    feed->lost = lost;
    struct buffer out = { 0 };
    int r = buffer_append(&out, text, (size_t)len);
    r = r ? r : feed_add_status(feed, &out);
    r = r ? r : feed_send(feed, out.data, out.len);
    buffer_fini(&out);
    return r;
}

/* The next event, or a comment that keeps the connection open if there is none for long. */
static int feed_next(struct feed *feed)
{
    static const char comment[] = ":\n\n";
    const struct options *options = &feed->exchange->server->options;
    struct fm_value *value = NULL;
    int r = fm_subscriber_recv(feed->subscriber, fm_after_ms(options->ping_ms), &value);
    if (r == -ETIMEDOUT)
        return feed_send(feed, comment, sizeof comment - 1);
    if (r < 0)
        return r;
    const struct event *event = fm_value_pointer(value);
    r = feed_send_lost(feed);
    if (r == 0 && (!*feed->key || !*event->key || !strcmp(feed->key, event->key)))
        r = feed_send(feed, event->text, event->len);
    fm_value_unref(value);
    return r;
}

int feed_run(struct feed *feed)
{
    /* who reads slowly shall lose events rather than get old ones out of the kernel's memory */
    setsockopt(feed->exchange->fd, SOL_SOCKET, SO_SNDBUF, &(int) { SEND_BUFFER_BYTES },
               sizeof(int));
    struct patience patience;
    patience_begin(&patience, feed->exchange);
    int r;
    do
        r = feed_next(feed);
    while (r == 0);
    patience_end(&patience);
    feed_free(feed);
    return r == -ECANCELED ? 0 : r;
}
