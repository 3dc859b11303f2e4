/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - what happens to jobs, told to whoever listens
 */
#ifndef SERVER_EVENTS_H
#define SERVER_EVENTS_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stdint.h>

#include "fm/pubsub.h"

struct events;

/* What is told: a text, ready to be sent as one server-sent event, and of which key it is. */
struct event {
    const char *key; /* empty: it concerns all */
    const char *text;
    size_t len;
};

/* 0 · -errno */
int events_create(struct events **ret_events);
/* Nobody may listen any more. NULL-safe, returns NULL. */
struct events *events_destroy(struct events *events);

/* Whether it is worth making an event: nobody may listen. */
bool events_wanted(struct events *events);
/*
 * Tell all who listen; who reads too slowly loses the oldest. Without memory it is lost to all.
 * Never waits.
 *
 * name   a word, as EventSource knows it
 * data   taken over; NULL: there was no memory
 */
void events_tell(struct events *events, const char *name, const char *key,
                 struct json_object *data);

/* 0, with the caller's subscription to values whose pointer is a struct event · -ENOMEM */
int events_listen(struct events *events, struct fm_subscriber **ret_subscriber);
void events_leave(struct events *events, struct fm_subscriber *subscriber);

#endif
