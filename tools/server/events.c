/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - what happens to jobs, told to whoever listens, and to who comes back
 *
 * An event is made once, as text, and shared by all who hear it. The last KEPT stay, for those
 * who come back and say by its id which they have heard last. Events are made while somebody
 * listens, and for COMES_BACK_MS after the last has left; who comes later finds another era.
 *
 * Owns        the pubsub, the events that are kept.
 * Knows not   jobs, connections.
 * Invariant   events are published in the order of their numbers, without a gap: of an era
 *             number n stands in kept[n % KEPT] until n + KEPT takes its place.
 */
#include "tools/server/events.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fm/fm.h"

enum {
    UNREAD_MAX = 256, /* for one who listens */
    KEPT = 1024,
    COMES_BACK_MS = 60000,
    ID_BYTES = 48,
};

struct events {
    struct fm_pubsub *pubsub;
    _Atomic int64_t wanted_until_ns; /* written under lock */
    pthread_mutex_t lock;            /* held for a copy, never across a switch */
    unsigned listeners;
    uint64_t era; /* when it began; another one in each process */
    uint64_t next; /* number of the next event; the first of an era is 1 */
    struct fm_value *kept[KEPT]; /* NULL: there was no memory for it */
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
    pthread_mutex_init(&events->lock, NULL);
    events->next = 1;
    *ret_events = events;
    return 0;
}

static void forget_kept(struct events *events)
{
    for (size_t i = 0; i < KEPT; i++)
        events->kept[i] = fm_value_unref(events->kept[i]);
}

struct events *events_destroy(struct events *events)
{
    if (!events)
        return NULL;
    forget_kept(events);
    fm_pubsub_destroy(events->pubsub);
    pthread_mutex_destroy(&events->lock);
    free(events);
    return NULL;
}

/* ---- telling ---- */

bool events_wanted(struct events *events)
{
    /* relaxed: who begins to listen now may miss what happens now */
    int64_t until_ns = atomic_load_explicit(&events->wanted_until_ns, memory_order_relaxed);
    return until_ns == FM_NEVER || (until_ns && fm_now_ns() < until_ns);
}

/* The event, its text and its key in one piece of memory; NULL: there is none. */
static struct event *event_create(const char *id, const char *name, const char *key,
                                  const char *data)
{
    size_t key_size = strlen(key) + 1;
    size_t len = strlen("id: \nevent: \ndata: \n\n") + strlen(id) + strlen(name) + strlen(data);
    struct event *event = malloc(sizeof *event + key_size + len + 1);
    if (!event)
        return NULL;
    event->key = memcpy(event + 1, key, key_size);
    char *text = (char *)(event + 1) + key_size, *at = text;
    at = stpcpy(stpcpy(at, "id: "), id);
    at = stpcpy(stpcpy(at, "\nevent: "), name);
    at = stpcpy(stpcpy(at, "\ndata: "), data);
    stpcpy(at, "\n\n");
    event->text = text;
    event->len = len;
    return event;
}

/* What the ids of this era begin with: its length. */
static size_t id_begin_locked(const struct events *events, char id[ID_BYTES])
{
    return (size_t)snprintf(id, ID_BYTES, "%llx-", (unsigned long long)events->era);
}

static void tell_locked(struct events *events, const char *name, const char *key,
                        const char *data)
{
    char id[ID_BYTES];
    size_t len = id_begin_locked(events, id);
    uint64_t number = events->next++;
    snprintf(id + len, sizeof id - len, "%llu", (unsigned long long)number);
    struct event *event = event_create(id, name, key, data);
    struct fm_value *value = NULL;
    if (event && fm_value_create(event, free, &value) < 0)
        free(event);
    if (value)
        fm_pubsub_try_publish(events->pubsub, value);
    fm_value_unref(events->kept[number % KEPT]);
    events->kept[number % KEPT] = value;
}

void events_tell(struct events *events, const char *name, const char *key,
                 struct json_object *data)
{
    const char *text = data ? json_object_to_json_string_ext(data,
                                                             JSON_C_TO_STRING_PLAIN |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE)
                            : NULL;
    if (text) {
        pthread_mutex_lock(&events->lock);
        tell_locked(events, name, key, text);
        pthread_mutex_unlock(&events->lock);
    }
    json_object_put(data);
}

/* ---- coming back ---- */

/* The number in an id of this era: 0 if it is none that has been given out. */
static uint64_t number_of_locked(const struct events *events, const char *id)
{
    char begin[ID_BYTES];
    size_t len = id_begin_locked(events, begin);
    if (strncmp(id, begin, len))
        return 0;
    size_t digits = strspn(id + len, "0123456789");
    if (digits == 0 || digits > 18 || id[len + digits])
        return 0;
    uint64_t number = strtoull(id + len, NULL, 10);
    return number < events->next ? number : 0;
}

/* 0 · -ENOMEM */
static int collect_missed_locked(struct events *events, const char *last_id,
                                 struct events_missed *missed)
{
    uint64_t last = number_of_locked(events, last_id);
    uint64_t oldest = events->next > KEPT ? events->next - KEPT : 1;
    missed->came_back = true;
    if (last == 0)
        return 0;
    missed->known = true;
    uint64_t from = last + 1 > oldest ? last + 1 : oldest;
    missed->lost = from - (last + 1);
    missed->values = calloc(events->next - from + 1, sizeof *missed->values);
    if (!missed->values)
        return -ENOMEM;
    for (uint64_t number = from; number < events->next; number++) {
        struct fm_value *value = events->kept[number % KEPT];
        if (value)
            missed->values[missed->count++] = fm_value_ref(value);
        else
            missed->lost++;
    }
    return 0;
}

void events_missed_fini(struct events_missed *missed)
{
    for (size_t i = 0; i < missed->count; i++)
        fm_value_unref(missed->values[i]);
    free(missed->values);
}

/* Nobody has listened for so long that events were not made: ids are those of another era. */
static void begin_era_locked(struct events *events)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    events->era = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    events->next = 1;
    forget_kept(events);
}

static int listen_locked(struct events *events, const char *last_id,
                         struct events_missed *missed, struct fm_subscriber **ret_subscriber)
{
    if (!events_wanted(events))
        begin_era_locked(events);
    int r = last_id ? collect_missed_locked(events, last_id, missed) : 0;
    r = r ? r : fm_pubsub_subscribe(events->pubsub, NULL, ret_subscriber);
    if (r < 0)
        return r;
    events->listeners++;
    atomic_store_explicit(&events->wanted_until_ns, FM_NEVER, memory_order_relaxed);
    return 0;
}

int events_listen(struct events *events, const char *last_id, struct events_missed *ret_missed,
                  struct fm_subscriber **ret_subscriber)
{
    struct events_missed missed = { 0 };
    pthread_mutex_lock(&events->lock);
    int r = listen_locked(events, last_id, &missed, ret_subscriber);
    pthread_mutex_unlock(&events->lock);
    if (r < 0)
        events_missed_fini(&missed);
    else
        *ret_missed = missed;
    return r;
}

void events_leave(struct events *events, struct fm_subscriber *subscriber)
{
    fm_pubsub_unsubscribe(subscriber);
    pthread_mutex_lock(&events->lock);
    if (--events->listeners == 0)
        atomic_store_explicit(&events->wanted_until_ns, fm_after_ms(COMES_BACK_MS),
                              memory_order_relaxed);
    pthread_mutex_unlock(&events->lock);
}
