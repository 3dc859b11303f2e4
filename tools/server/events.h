/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - what happens to jobs, told to whoever listens, and to who comes back
 */
#ifndef SERVER_EVENTS_H
#define SERVER_EVENTS_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stdint.h>

#include "fm/pubsub.h"

struct events;

/*
 * What is told: a text, ready to be sent as one server-sent event with an id, and of which key
 * it is.
 */
struct event {
    const char *key; /* empty: it concerns all */
    const char *text;
    size_t len;
};

/* What one who comes back has not heard. All-zero: he has never been here. */
struct events_missed {
    bool came_back;
    bool known;     /* where he had been; else nobody knows what he has not heard */
    uint64_t lost;  /* so many are not kept any more; the others are */
    size_t count;
    struct fm_value **values; /* in their order; pointers as those of a subscription */
};

/* 0 · -errno */
int events_create(struct events **ret_events);
/* Nobody may listen any more. NULL-safe, returns NULL. */
struct events *events_destroy(struct events *events);

/* Whether it is worth making an event: nobody may listen, nor have listened of late. */
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

/*
 * Listen from now on.
 *
 * last_id         of the last event that the caller has heard; NULL: of none
 * ret_missed      what came between that and the first that the subscription brings; the
 *                 caller's, for events_missed_fini
 * ret_subscriber  the caller's, for events_leave: values whose pointer is a struct event
 * Returns    0 · -ENOMEM
 */
int events_listen(struct events *events, const char *last_id, struct events_missed *ret_missed,
                  struct fm_subscriber **ret_subscriber);
void events_missed_fini(struct events_missed *missed);
void events_leave(struct events *events, struct fm_subscriber *subscriber);

#endif
