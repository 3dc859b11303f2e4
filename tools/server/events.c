/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - what happens to jobs, told to whoever listens
 *
 * Owns        the pubsub. An event is made once, as text, and shared by all who hear it.
 * Knows not   jobs, connections.
 */
#include "tools/server/events.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { UNREAD_MAX = 256 }; /* for one who listens */

struct events {
    struct fm_pubsub *pubsub;
    atomic_uint listeners;
};

int events_create(struct events **ret_events)
{
    struct events *events = calloc(1, sizeof *events);
    if (!events)
        return -ENOMEM;
    struct fm_pubsub_config config = FM_PUBSUB_CONFIG_INIT;
    config.policy = FM_PUBSUB_SLIDING;
    config.capacity = UNREAD_MAX;
    int r = fm_pubsub_create(&config, &events->pubsub);
    if (r < 0) {
        free(events);
        return r;
    }
    *ret_events = events;
    return 0;
}

struct events *events_destroy(struct events *events)
{
    if (!events)
        return NULL;
    fm_pubsub_destroy(events->pubsub);
    free(events);
    return NULL;
}

bool events_wanted(struct events *events)
{
    /* relaxed: who begins to listen now may miss what happens now */
    return atomic_load_explicit(&events->listeners, memory_order_relaxed) > 0;
}

/* The event, its text and its key in one piece of memory; NULL: there is none. */
static struct event *event_create(const char *name, const char *key, const char *data)
{
    size_t key_size = strlen(key) + 1;
    size_t len = strlen("event: \ndata: \n\n") + strlen(name) + strlen(data);
    struct event *event = malloc(sizeof *event + key_size + len + 1);
    if (!event)
        return NULL;
    event->key = memcpy(event + 1, key, key_size);
    char *text = (char *)(event + 1) + key_size, *at = text;
    at = stpcpy(stpcpy(at, "event: "), name);
    at = stpcpy(stpcpy(at, "\ndata: "), data);
    stpcpy(at, "\n\n");
    event->text = text;
    event->len = len;
    return event;
}

void events_tell(struct events *events, const char *name, const char *key,
                 struct json_object *data)
{
    const char *text = data ? json_object_to_json_string_ext(data,
                                                             JSON_C_TO_STRING_PLAIN |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE)
                            : NULL;
    struct event *event = text ? event_create(name, key, text) : NULL;
    struct fm_value *value = NULL;
    if (event && fm_value_create(event, free, &value) < 0)
        free(event);
    if (value)
        fm_pubsub_try_publish(events->pubsub, value);
    fm_value_unref(value);
    json_object_put(data);
}

int events_listen(struct events *events, struct fm_subscriber **ret_subscriber)
{
    int r = fm_pubsub_subscribe(events->pubsub, NULL, ret_subscriber);
    if (r == 0)
        atomic_fetch_add_explicit(&events->listeners, 1, memory_order_relaxed);
    return r;
}

void events_leave(struct events *events, struct fm_subscriber *subscriber)
{
    fm_pubsub_unsubscribe(subscriber);
    atomic_fetch_sub_explicit(&events->listeners, 1, memory_order_relaxed);
}
