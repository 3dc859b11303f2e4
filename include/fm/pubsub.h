/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/pubsub.h - one says it, all who listen hear it
 *
 * What is published goes to everyone who is subscribed at that moment, to all in the same
 * order. Each subscriber has a buffer of its own, bounded, and a policy for the case that it
 * reads too slowly. Messages are counted values (fm/ref.h), shared by all who hear them.
 */
#ifndef FM_PUBSUB_H
#define FM_PUBSUB_H

#include "fm/ref.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_pubsub;
struct fm_subscriber;

/* What happens to a message for a subscriber whose buffer is full. */
enum fm_pubsub_policy {
    FM_PUBSUB_DEFAULT = 0,                     /* block; for a subscriber: as the pubsub says */
    FM_PUBSUB_BLOCK = 1,                       /* the publisher waits for room */
    FM_PUBSUB_DROP_OLDEST = 2,                 /* the oldest unread one makes room */
    FM_PUBSUB_SLIDING = FM_PUBSUB_DROP_OLDEST, /* the same: a window that slides */
    FM_PUBSUB_DROP_NEW = 3,                    /* this subscriber does not get the new one */
};

struct fm_pubsub_config {
    uint32_t size;     /* set by FM_PUBSUB_CONFIG_INIT */
    uint32_t policy;   /* enum fm_pubsub_policy */
    uint32_t capacity; /* messages in the buffer of a subscriber; 0: 64 */
};
#define FM_PUBSUB_CONFIG_INIT \
    { \
        .size = sizeof(struct fm_pubsub_config) \
    }

struct fm_subscribe_options {
    uint32_t size;     /* set by FM_SUBSCRIBE_OPTIONS_INIT */
    uint32_t policy;   /* enum fm_pubsub_policy; 0: as the pubsub's */
    uint32_t capacity; /* 0: as the pubsub's */
};
#define FM_SUBSCRIBE_OPTIONS_INIT \
    { \
        .size = sizeof(struct fm_subscribe_options) \
    }

/* config NULL: the defaults. 0 · -ENOMEM · -EINVAL · -E2BIG */
FM_API int fm_pubsub_create(const struct fm_pubsub_config *config,
                            struct fm_pubsub **ret_pubsub);
/* Nobody may be subscribed or wait. NULL-safe, returns NULL. */
FM_API struct fm_pubsub *fm_pubsub_destroy(struct fm_pubsub *pubsub);

/*
 * fm_pubsub_publish - give a message to all subscribers
 *
 * value      each subscriber that gets it takes a reference of its own; the caller keeps his.
 *
 * It is for all or for none: while one subscriber that blocks is full, nobody gets it yet.
 * Publishers that wait go on first come, first served. Without subscribers it goes nowhere.
 *
 * Returns    0 given to all, save those whose policy dropped it
 *            -EPIPE closed · -ECANCELED · -ETIMEDOUT: nobody gets it
 *            -EINVAL · -ENOMEM (a thread's first wait)
 *
 * Callers    any fiber, any thread. Suspends while a subscriber that blocks is full: a fiber
 *            must not wait for itself to read.
 * Order      what the publisher did before happens before the message is received.
 * Cost       one short lock, and a step for each subscriber.
 */
FM_API int fm_pubsub_publish(struct fm_pubsub *pubsub, struct fm_value *value,
                             int64_t deadline_ns);
/* The same without waiting. 0 · -EAGAIN · -EPIPE · -EINVAL */
FM_API int fm_pubsub_try_publish(struct fm_pubsub *pubsub, struct fm_value *value);

/*
 * No more messages: publishers, waiting ones too, get -EPIPE; subscribers read what they have
 * and then get -EPIPE. 0 · FM_ALREADY_DONE · -EINVAL
 */
FM_API int fm_pubsub_close(struct fm_pubsub *pubsub);

/*
 * Hear all that is published from now on. options NULL: the pubsub's own policy and capacity.
 * 0 · -EPIPE closed · -ENOMEM · -EINVAL · -E2BIG
 */
FM_API int fm_pubsub_subscribe(struct fm_pubsub *pubsub,
                               const struct fm_subscribe_options *options,
                               struct fm_subscriber **ret_subscriber);
/*
 * The end of a subscription: what it has not read is dropped, publishers that waited for it go
 * on, its own receivers get -EPIPE, none may come any more. NULL-safe, returns NULL.
 */
FM_API struct fm_subscriber *fm_pubsub_unsubscribe(struct fm_subscriber *subscriber);

/*
 * fm_subscriber_recv - the next message of this subscription
 *
 * ret_value  a reference for the caller; NULL where the message is not wanted.
 *
 * Several may receive from one subscription: each message goes to one of them, in the order in
 * which they came.
 *
 * Returns    0 · -EPIPE closed and all has been read · -ECANCELED · -ETIMEDOUT · -EINVAL ·
 *            -ENOMEM (a thread's first wait). No message is lost to a receiver that leaves.
 *
 * Callers    any fiber, any thread. Suspends while there is none.
 */
FM_API int fm_subscriber_recv(struct fm_subscriber *subscriber, int64_t deadline_ns,
                              struct fm_value **ret_value);
/* 0 · -EAGAIN · -EPIPE · -EINVAL */
FM_API int fm_subscriber_try_recv(struct fm_subscriber *subscriber,
                                  struct fm_value **ret_value);

/* How many messages wait to be read. */
FM_API uint32_t fm_subscriber_unread(struct fm_subscriber *subscriber);
/* How many this subscription has lost to its policy, and all that ever were. */
FM_API uint64_t fm_subscriber_dropped(struct fm_subscriber *subscriber);
FM_API uint64_t fm_pubsub_dropped(struct fm_pubsub *pubsub);

#ifdef __cplusplus
}
#endif
#endif
