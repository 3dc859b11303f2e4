/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.c - server-sent events to one client
 *
 * A stream without an end of its own, an event to a chunk. It begins with what the client has
 * missed, if it comes back (Last-Event-ID), else with the present state of its key, where it
 * has one. Where events are lost, because they are not kept any more or the client reads too
 * slowly, it is told so, and the state again. At the end of the server it gets what is left,
 * and the stream its last chunk.
 */
#include "tools/server/feed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "fm/pubsub.h"
#include "tools/server/events.h"
#include "tools/server/jobs.h"
#include "tools/server/patience.h"
#include "tools/server/stream.h"
#include "tools/server/wire.h"

enum { SEND_BUFFER_BYTES = 64 << 10 };

struct feed {
    struct exchange *exchange;
    struct fm_subscriber *subscriber;
    const char *key; /* empty: all */
    uint64_t lost; /* of which the client knows */
};

/* ---- what is sent: 0 · -errno ---- */

static int feed_text(struct feed *feed, const char *text)
{
    return stream_write(feed->exchange, text, strlen(text));
}

/* What is known of the key now, if anything is. */
static int feed_status(struct feed *feed)
{
    struct json_object *object;
    if (!*feed->key || jobs_status(feed->exchange->server, feed->key, &object) < 0)
        return 0;
    const char *text = object
                           ? json_object_to_json_string_ext(object,
                                                            JSON_C_TO_STRING_PLAIN |
                                                                JSON_C_TO_STRING_NOSLASHESCAPE)
                           : NULL;
    struct buffer out = { 0 };
    int r = text ? buffer_append_text(&out, "event: status\ndata: ") : -ENOMEM;
    r = r ? r : buffer_append_text(&out, text);
    r = r ? r : buffer_append_text(&out, "\n\n");
    r = r ? r : stream_write(feed->exchange, out.data, out.len);
    buffer_fini(&out);
    json_object_put(object);
    return r;
}

static int feed_lost(struct feed *feed, uint64_t count)
{
    char text[80];
    snprintf(text, sizeof text, "event: lost\ndata: {\"events\":%llu}\n\n",
             (unsigned long long)count);
    int r = feed_text(feed, text);
    return r ? r : feed_status(feed);
}

static int feed_event(struct feed *feed, const struct fm_value *value)
{
    const struct event *event = fm_value_pointer(value);
    if (*feed->key && *event->key && strcmp(feed->key, event->key))
        return 0;
    return stream_write(feed->exchange, event->text, event->len);
}

/* One that has come, behind word of those before it that were lost. Takes the reference. */
static int feed_heard(struct feed *feed, struct fm_value *value)
{
    uint64_t lost = fm_subscriber_dropped(feed->subscriber), told = feed->lost;
    feed->lost = lost;
    int r = lost == told ? 0 : feed_lost(feed, lost - told);
    r = r ? r : feed_event(feed, value);
    fm_value_unref(value);
    return r;
}

/* The beginning. */
static int feed_missed(struct feed *feed, const struct events_missed *missed)
{
    int r = 0;
    if (!missed->came_back)
        r = feed_status(feed);
    else if (!missed->known)
        r = feed_text(feed, "event: lost\ndata: {}\n\n");
    else if (missed->lost)
        r = feed_lost(feed, missed->lost);
    if (missed->came_back && !missed->known)
        r = r ? r : feed_status(feed);
    for (size_t i = 0; i < missed->count && r == 0; i++)
        r = feed_event(feed, missed->values[i]);
    return r;
}

/* ---- the stream ---- */

/* The next event, or a comment that keeps the connection open if there is none for long. */
static int feed_next(struct feed *feed)
{
    struct exchange *x = feed->exchange;
    struct fm_value *value = NULL;
    int r = fm_subscriber_recv(feed->subscriber, fm_after_ms(x->server->options.ping_ms),
                               &value);
    fm_mask();
    if (r == -ETIMEDOUT)
        r = feed_text(feed, ":\n\n");
    else if (r == 0)
        r = feed_heard(feed, value);
    if (r == 0)
        r = wire_flush(x->wire);
    fm_unmask();
    return r;
}

/* What has come and is not sent. */
static int feed_rest(struct feed *feed)
{
    struct fm_value *value;
    int r = 0;
    while (r == 0 && fm_subscriber_try_recv(feed->subscriber, &value) == 0)
        r = feed_heard(feed, value);
    return r;
}

/*
 * The beginning goes out with the head: whoever has read that hears of all that begins
 * afterwards as an event.
 */
static int feed_run(struct feed *feed, const struct events_missed *missed)
{
    struct exchange *x = feed->exchange;
    /* who reads slowly shall lose events rather than get old ones out of the kernel's memory */
    setsockopt(x->fd, SOL_SOCKET, SO_SNDBUF, &(int) { SEND_BUFFER_BYTES }, sizeof(int));
    int r = feed_missed(feed, missed);
    r = r ? r : wire_flush(x->wire);
    if (r < 0)
        return r;
    struct patience patience;
    patience_begin(&patience, x);
    do
        r = feed_next(feed);
    while (r == 0);
    patience_end(&patience);
    return r == -ECANCELED && !x->wire->broken ? feed_rest(feed) : r;
}

static void feed_begin(struct exchange *x, const char *key)
{
    const struct http_header *last = &x->request->headers[HEADER_LAST_EVENT_ID];
    struct feed feed = { .exchange = x, .key = key };
    struct events_missed missed;
    int r = events_listen(x->server->events, last->count ? last->text : NULL, &missed,
                          &feed.subscriber);
    if (r < 0) {
        answer_error(x, 503, fm_strerror(r));
        return;
    }
    r = stream_begin(x, "text/event-stream");
    if (r == 0)
        stream_end(x, feed_run(&feed, &missed) == 0);
    events_missed_fini(&missed);
    events_leave(x->server->events, feed.subscriber);
}

void feed_all(struct exchange *x, const char *name)
{
    feed_begin(x, "");
}

void feed_key(struct exchange *x, const char *key)
{
    feed_begin(x, key);
}
