/*
 * channel.h - a channel under its lock: what select needs of it
 */
#ifndef FM_RUNTIME_SYNC_CHANNEL_H
#define FM_RUNTIME_SYNC_CHANNEL_H

#include "fm/channel.h"
#include "runtime/sync/word.h"

/* word: length << 5 and these; what it says is true between locked sections */
#define CHANNEL_CLOSED UINT64_C(2)
#define CHANNEL_CLOSING UINT64_C(4)   /* close has yet to come back for more of the waiters */
#define CHANNEL_RECEIVERS UINT64_C(8) /* the list of receivers is not empty */
#define CHANNEL_SENDERS UINT64_C(16)
#define CHANNEL_LENGTH_SHIFT 5

/* What node->amount says of one who waits. */
enum channel_waiter {
    WAITER_ALONE,     /* on this channel only: node is not touched once its wake is won */
    WAITER_IN_SELECT, /* stays until its owner has had the channel's lock again */
    WAITER_CHOSEN,    /* in a select, its wake won by this node's case */
    WAITER_CLOSED,    /* the same, by the close */
};

struct fm_channel {
    struct word word;
    /* under word's lock; node->item: a sender's value, or where a receiver finds its own */
    struct waitlist receivers, senders;
    size_t first, length; /* of the ring: the oldest value, and how many */
    size_t capacity;      /* does not change, like drop */
    fm_drop_fn *drop;
    uint64_t closed; /* CHANNEL_CLOSED, CHANNEL_CLOSING */
    void *ring[];
};

/* Unlock with the word that follows from the rest. The last access to the channel. */
void fm__channel_unlock(struct fm_channel *channel);

/*
 * Send, or receive, if that can be done at once: 0 · -EPIPE · -EAGAIN. *ret_owed, NULL before:
 * whose wake was won and has to be released (fm__wake_release) when all locks are free.
 */
int fm__channel_send_locked(struct fm_channel *channel, void *value,
                            struct fm_fiber **ret_owed);
int fm__channel_recv_locked(struct fm_channel *channel, void **ret_value,
                            struct fm_fiber **ret_owed);

/*
 * Without the lock: false where the call above would say -EAGAIN. A guess that may be wrong
 * either way by the time it is used.
 */
static inline bool fm__channel_may_send(const struct fm_channel *channel)
{
    /* relaxed: a guess */
    uint64_t word = atomic_load_explicit(&channel->word.value, memory_order_relaxed);
    return (word & (LOCKED | CHANNEL_CLOSED | CHANNEL_RECEIVERS)) ||
           (word >> CHANNEL_LENGTH_SHIFT) < channel->capacity;
}

static inline bool fm__channel_may_recv(const struct fm_channel *channel)
{
    /* relaxed: a guess */
    uint64_t word = atomic_load_explicit(&channel->word.value, memory_order_relaxed);
    return (word & (LOCKED | CHANNEL_CLOSED | CHANNEL_SENDERS)) ||
           (word >> CHANNEL_LENGTH_SHIFT) > 0;
}

#endif
