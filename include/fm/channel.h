/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/channel.h - handing values from one to another, and waiting for the first of many things
 *
 * A channel carries pointers from senders to receivers, as many of each as there are, fibers
 * and threads alike. It holds `capacity` values; with capacity 0 a send and a receive meet: the
 * value goes from hand to hand. Each value goes to exactly one receiver, or stays with its
 * sender. Waiters are served first come, first served, and nobody overtakes them.
 *
 * fm_select waits for several sends, receives, timers and deferreds at once, and exactly one of
 * them happens.
 *
 * No call allocates but create (and a thread's first wait in its life).
 */
#ifndef FM_CHANNEL_H
#define FM_CHANNEL_H

#include "fm/fiber.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_channel;
struct fm_deferred;

struct fm_channel_options {
    uint32_t size;     /* set by FM_CHANNEL_OPTIONS_INIT */
    uint32_t reserved; /* 0 */
    fm_drop_fn *drop;  /* called on each value that nobody will receive; must not wait */
};
#define FM_CHANNEL_OPTIONS_INIT \
    { \
        .size = sizeof(struct fm_channel_options) \
    }

/*
 * fm_channel_create - a channel that holds up to `capacity` values
 *
 * capacity   0: a rendezvous, a send ends when a receiver has taken its value.
 * options    NULL for the defaults.
 *
 * Returns    0 · -ENOMEM · -EINVAL · -E2BIG
 */
FM_API int fm_channel_create(size_t capacity, const struct fm_channel_options *options,
                             struct fm_channel **ret_channel);

/*
 * fm_channel_destroy - the end of a channel that nobody waits on any more
 *
 * What is still in it goes to options.drop, oldest first. Whoever was woken by the last send,
 * receive or close of another may destroy the channel at once, while that call is returning.
 * NULL-safe; returns NULL. A channel that is waited on stops the program.
 */
FM_API struct fm_channel *fm_channel_destroy(struct fm_channel *channel);

/*
 * fm_channel_send - hand over a value, waiting for room or a receiver
 *
 * value      any pointer, NULL too; the receiver's from the moment this returns 0, the
 *            caller's still on any other result.
 *
 * Returns    0 · -EPIPE the channel is closed · -ECANCELED · -ETIMEDOUT · -EINVAL · -ENOMEM (a
 *            thread's first wait)
 *
 * Callers    any fiber, any thread. Suspends while the channel is full and no receiver waits.
 * Order      what the sender did before happens before the receiver goes on; and what the
 *            receiver of the value `capacity` places earlier did before it received happens
 *            before this returns.
 * Cost       one short lock. A receiver that waits gets the value in its hand and is made
 *            runnable; nothing passes through the buffer.
 */
FM_API int fm_channel_send(struct fm_channel *channel, void *value, int64_t deadline_ns);

/*
 * fm_channel_recv - take the oldest value, waiting for one
 *
 * ret_value  NULL where the value is not wanted: it goes to options.drop.
 *
 * Returns    0 · -EPIPE closed, and all that was in it has been received · -ECANCELED ·
 *            -ETIMEDOUT · -EINVAL · -ENOMEM (a thread's first wait)
 *
 * Callers    any fiber, any thread. Suspends while the channel is empty and no sender waits.
 * Order      see fm_channel_send.
 * Cost       one short lock. Where a sender waits its value takes the place that became free.
 */
FM_API int fm_channel_recv(struct fm_channel *channel, int64_t deadline_ns, void **ret_value);

/* The same without waiting: as above with -EAGAIN in place of -ECANCELED and -ETIMEDOUT. */
FM_API int fm_channel_try_send(struct fm_channel *channel, void *value);
FM_API int fm_channel_try_recv(struct fm_channel *channel, void **ret_value);

/*
 * fm_channel_close - no value will be sent any more
 *
 * All who wait are woken with -EPIPE; a sender that waited keeps its value. Values that are in
 * the channel stay there to be received. 0 · FM_ALREADY_DONE it was closed · -EINVAL.
 */
FM_API int fm_channel_close(struct fm_channel *channel);

/* How many values are in it: a number for the eye, it may be old when it is read. */
FM_API size_t fm_channel_length(const struct fm_channel *channel);
FM_API bool fm_channel_closed(const struct fm_channel *channel);

/* ---- select ---- */

enum fm_case_kind {
    FM_CASE_NONE = 0,     /* never happens: a case that is switched off for now */
    FM_CASE_SEND = 1,     /* channel, value */
    FM_CASE_RECV = 2,     /* channel; value is written */
    FM_CASE_TIMER = 3,    /* time_ns */
    FM_CASE_DEFERRED = 4, /* deferred; exit is written */
};

/*
 * One of the things to wait for; the caller's storage. Make it with a function below, or set
 * kind and the members named there. May be used again as it stands; nothing outside a call
 * refers to it.
 */
struct fm_case {
    uint32_t kind;  /* enum fm_case_kind */
    int32_t result; /* written in the case that happened: 0, or -EPIPE: its channel is closed */
    union {
        struct fm_channel *channel;
        struct fm_deferred *deferred;
        int64_t time_ns; /* as a deadline: absolute, FM_NEVER for none */
    };
    void *value; /* a send's; a receive writes it, NULL with -EPIPE */
    struct fm_exit exit;
    void *private_[10];
};

FM_API struct fm_case fm_case_none(void);
FM_API struct fm_case fm_case_send(struct fm_channel *channel, void *value);
FM_API struct fm_case fm_case_recv(struct fm_channel *channel);
FM_API struct fm_case fm_case_timer(int64_t time_ns);
FM_API struct fm_case fm_case_deferred(struct fm_deferred *deferred);

/*
 * fm_select - wait until one of several things can happen, and let exactly that one happen
 *
 * If several can at once, one of them is drawn, each as likely as the others; the draw follows
 * the runtime's seed. The value of a send that did not happen is still the caller's. The same
 * channel may stand in several cases, as sender and receiver too; a select never meets itself.
 * A closed channel's cases can happen at once: their result is -EPIPE.
 *
 * cases      the caller's, `count` of them. Written: result, and value or exit, of the one that
 *            happened, and what is private of all.
 * count      0: nothing but the deadline, or an interruption, ends the wait.
 * ret_index  which case happened.
 *
 * Returns    0 a case has happened: see its result · -ETIMEDOUT · -ECANCELED · -EINVAL (a kind
 *            that is none, no channel, no deferred) · -ENOMEM (a thread's first wait)
 *
 * Callers    any fiber, any thread. Suspends unless deadline_ns has passed.
 * Order      as the call of that case: fm_channel_send, fm_channel_recv, fm_deferred_await.
 * Cost       where something can happen already, usually that one's lock; else all their locks,
 *            in one order, once to wait and once more to go. The order is found by insertion:
 *            meant for tens of cases.
 */
FM_API int fm_select(struct fm_case cases[], size_t count, int64_t deadline_ns,
                     size_t *ret_index);

#ifdef __cplusplus
}
#endif
#endif
