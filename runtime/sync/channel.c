/*
 * channel.c - values from senders to receivers, first come, first served
 *
 * Owns        the values in the ring, and the lists of those who wait. A value that waits in a
 *             sender's node is the sender's until its wake is won.
 * Knows not   select: it finds nodes on its lists that say WAITER_IN_SELECT.
 * Invariant   word is length << 5 | SENDERS | RECEIVERS | CLOSING | CLOSED | LOCKED (word.h).
 *             At the end of each locked section: where a receiver can still be woken the ring
 *             is empty and no sender of another select or call waits; where a sender can, the
 *             ring is full; closed, nobody joins a list any more.
 * Callers     any fiber, any thread. Only send and recv suspend.
 *
 *   send                                       recv
 *     lock                          (A)          lock                          (A)
 *     closed: -EPIPE                             a value in the ring: take the oldest,
 *     a receiver waits: hand it over               fill its place from the first sender
 *     room in the ring: put it there             a sender waits: take its value
 *     else join the senders                      closed: -EPIPE, else join the receivers
 *     unlock                        (B)          unlock                        (B)
 *     let the receiver go, or wait               let the sender go, or wait
 *
 * B to A: what a sender did happens before the receiver of its value goes on. A hand-over is
 * ordered by the wake (state.h: C release, D acquire) instead.
 *
 * The hand-over against a waiter that leaves, under the lock:
 *
 *   take the first waiter off                  its wait ends by one CAS: ours, or that of its
 *   a receiver: its node gets the value        deadline or interruption, or of another case of
 *   win its wake --- won: done                 its select
 *              \--- lost: on with the next     .
 *   unlock                                     lost to us: goes on, does not look back
 *   let the winner go                          else: lock (waits for us), leave the list if
 *                                              still on it
 *
 * Won, the value has changed hands, even if an interruption comes a moment later. Lost, the
 * value is where it was: what was written to a receiver's node counts for nothing, and a sender
 * that leaves has its value still. The value is in the node before the CAS, since a receiver
 * that has not left its stack yet goes on by itself at once. A node is memory as long as the
 * lock is held, since who lost to another needs the lock to leave; after the CAS is won a node
 * of WAITER_ALONE may be gone. A select looks through all its channels under their locks before
 * it goes (select.c), so there WAITER_CHOSEN may be written after the CAS: how it learns which
 * of its cases it was.
 *
 * Who is woken may destroy the channel at once: unlock is our last access, and destroy takes
 * the lock once. A close that wakes many gives the lock up now and then; CLOSING keeps destroy
 * waiting until it has come back for the last time.
 */
#include "runtime/sync/channel.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"

#ifdef NDEBUG
enum { CLOSE_BATCH = 32 };
#else
enum { CLOSE_BATCH = 1 }; /* the rare case made common */
#endif

#define CAPACITY_MAX ((size_t)UINT32_MAX)

int fm_channel_create(size_t capacity, const struct fm_channel_options *options,
                      struct fm_channel **ret_channel)
{
    struct fm_channel_options read;

    if (!ret_channel || capacity > CAPACITY_MAX)
        return -EINVAL;
    int r = fm__config_read(&read, sizeof read, options);
    if (r < 0)
        return r;
    if (read.reserved)
        return -EINVAL;
    struct fm_channel *channel = fm__zalloc_aligned(FM_CACHE_LINE,
                                                    sizeof *channel +
                                                        capacity * sizeof channel->ring[0]);
    if (!channel)
        return -ENOMEM;
    fm__word_init(&channel->word, 0);
    channel->capacity = capacity;
    channel->drop = read.drop;
    *ret_channel = channel;
    return 0;
}

void fm__channel_unlock(struct fm_channel *channel)
{
    FM_ASSERT(fm__lock_held(&channel->word.rank) && channel->length <= channel->capacity);
    uint64_t word = (uint64_t)channel->length << CHANNEL_LENGTH_SHIFT | channel->closed;
    if (!fm__waitlist_empty(&channel->receivers))
        word |= CHANNEL_RECEIVERS;
    if (!fm__waitlist_empty(&channel->senders))
        word |= CHANNEL_SENDERS;
    fm__word_unlock(&channel->word, word);
}

struct fm_channel *fm_channel_destroy(struct fm_channel *channel)
{
    if (channel) {
        /* lock: lets out who has woken the last one and is about to unlock */
        for (unsigned spins = 0; fm__word_lock(&channel->word) & CHANNEL_CLOSING; spins++) {
            fm__channel_unlock(channel);
            fm__spin(spins);
        }
        FM_BUG_IF(!fm__waitlist_empty(&channel->receivers) ||
                      !fm__waitlist_empty(&channel->senders),
                  "a channel is destroyed while waited on");
        fm__channel_unlock(channel);
        for (size_t i = 0; i < channel->length && channel->drop; i++)
            channel->drop(channel->ring[(channel->first + i) % channel->capacity]);
        free(channel);
    }
    return NULL;
}

/* ---- the ring ---- */

static void ring_put(struct fm_channel *channel, void *value)
{
    FM_ASSERT(channel->length < channel->capacity);
    size_t at = channel->first + channel->length++;
    channel->ring[at < channel->capacity ? at : at - channel->capacity] = value;
}

static void *ring_take(struct fm_channel *channel)
{
    FM_ASSERT(channel->length && channel->first < channel->capacity);
    void *value = channel->ring[channel->first];
    if (++channel->first == channel->capacity)
        channel->first = 0;
    channel->length--;
    return value;
}

/* ---- those who wait ---- */

/* End the wait of a node that was taken off its list; what it needs has been written to it. */
static bool win_locked(struct wait_node *node, enum wake_reason reason,
                       struct fm_fiber **ret_owed)
{
    FM_ASSERT(node->wait.who);
    struct fm_fiber *who = node->wait.who;
    bool alone = node->amount == WAITER_ALONE; /* read before: it may be gone after */
    enum wake won = fm__wake_win(node->wait, reason);

    if (won == WAKE_LOST)
        return false;
    if (!alone)
        node->amount = reason == WAKE_CLOSED ? WAITER_CLOSED : WAITER_CHOSEN;
    if (won == WAKE_QUEUE)
        *ret_owed = who;
    return true;
}

static bool give_to_receiver(struct fm_channel *channel, void *value,
                             struct fm_fiber **ret_owed)
{
    FM_ASSERT(fm__lock_held(&channel->word.rank));
    while (!fm__waitlist_empty(&channel->receivers)) {
        struct wait_node *node = fm__waitlist_shift_locked(&channel->receivers);
        node->item = value;
        if (win_locked(node, WAKE_VALUE, ret_owed))
            return true;
    }
    return false;
}

static bool take_from_sender(struct fm_channel *channel, void **ret_value,
                             struct fm_fiber **ret_owed)
{
    FM_ASSERT(fm__lock_held(&channel->word.rank));
    while (!fm__waitlist_empty(&channel->senders)) {
        struct wait_node *node = fm__waitlist_shift_locked(&channel->senders);
        void *value = node->item;
        if (win_locked(node, WAKE_VALUE, ret_owed)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

int fm__channel_send_locked(struct fm_channel *channel, void *value, struct fm_fiber **ret_owed)
{
    FM_ASSERT(fm__lock_held(&channel->word.rank));
    if (channel->closed)
        return -EPIPE;
    if (give_to_receiver(channel, value, ret_owed))
        return 0;
    if (channel->length == channel->capacity)
        return -EAGAIN;
    ring_put(channel, value);
    return 0;
}

int fm__channel_recv_locked(struct fm_channel *channel, void **ret_value,
                            struct fm_fiber **ret_owed)
{
    FM_ASSERT(fm__lock_held(&channel->word.rank));
    if (channel->length > 0) {
        void *next;
        *ret_value = ring_take(channel);
        if (take_from_sender(channel, &next, ret_owed))
            ring_put(channel, next);
        return 0;
    }
    if (take_from_sender(channel, ret_value, ret_owed))
        return 0;
    return channel->closed ? -EPIPE : -EAGAIN;
}

/*
 * Wait on one of the lists; the channel is locked before and not after. 0 · -EPIPE ·
 * -ECANCELED · -ETIMEDOUT · -ENOMEM
 */
static int wait_and_unlock(struct fm_channel *channel, struct waitlist *list,
                           struct wait_node *node, int64_t deadline_ns, const char *what)
{
    FM_ASSERT(fm__lock_held(&channel->word.rank) && !node->listed);
    int r = fm__wait_begin(&node->wait, 0, what);
    if (r == 0)
        fm__waitlist_push_locked(list, node);
    fm__channel_unlock(channel);
    if (r < 0)
        return r;

    enum wake_reason reason = fm__wait_end(node->wait, deadline_ns);
    if (reason == WAKE_TIMEOUT || reason == WAKE_INTERRUPT) {
        fm__word_lock(&channel->word);
        if (node->listed)
            fm__waitlist_remove_locked(list, node);
        fm__channel_unlock(channel);
    }
    return reason == WAKE_CLOSED ? -EPIPE : fm__wake_result(reason);
}

/* ---- the calls ---- */

static int send_until(struct fm_channel *channel, void *value, int64_t deadline_ns)
{
    struct fm_fiber *owed = NULL;

    fm__word_lock(&channel->word);
    int r = fm__channel_send_locked(channel, value, &owed);
    if (r == -EAGAIN && deadline_ns > 0) {
        struct wait_node node = { .amount = WAITER_ALONE, .item = value };
        return wait_and_unlock(channel, &channel->senders, &node, deadline_ns, "channel send");
    }
    fm__channel_unlock(channel);
    if (owed)
        fm__wake_release(owed);
    return r;
}

int fm_channel_send(struct fm_channel *channel, void *value, int64_t deadline_ns)
{
    if (!channel)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend(); /* before: a fiber that yields here has done nothing yet */
    int r = send_until(channel, value, deadline_ns);
    return r == -EAGAIN ? -ETIMEDOUT : r;
}

int fm_channel_try_send(struct fm_channel *channel, void *value)
{
    return channel ? send_until(channel, value, 0) : -EINVAL;
}

static int recv_until(struct fm_channel *channel, int64_t deadline_ns, void **ret_value)
{
    struct fm_fiber *owed = NULL;
    fm_drop_fn *drop = channel->drop; /* read before: a sender may be the last to use it */
    void *value = NULL;

    fm__word_lock(&channel->word);
    int r = fm__channel_recv_locked(channel, &value, &owed);
    if (r == -EAGAIN && deadline_ns > 0) {
        struct wait_node node = { .amount = WAITER_ALONE };
        r = wait_and_unlock(channel, &channel->receivers, &node, deadline_ns, "channel recv");
        value = node.item;
    } else {
        fm__channel_unlock(channel);
        if (owed)
            fm__wake_release(owed);
    }
    if (r == 0 && ret_value)
        *ret_value = value;
    else if (r == 0 && drop)
        drop(value);
    return r;
}

int fm_channel_recv(struct fm_channel *channel, int64_t deadline_ns, void **ret_value)
{
    if (!channel)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend(); /* before: a fiber that yields here has done nothing yet */
    int r = recv_until(channel, deadline_ns, ret_value);
    return r == -EAGAIN ? -ETIMEDOUT : r;
}

int fm_channel_try_recv(struct fm_channel *channel, void **ret_value)
{
    return channel ? recv_until(channel, 0, ret_value) : -EINVAL;
}

/* Win the wakes of up to a batch of those who wait. True if more do. */
static bool end_waits_locked(struct fm_channel *channel, struct waitlist *won)
{
    FM_ASSERT(fm__lock_held(&channel->word.rank));
    for (int i = 0; i < CLOSE_BATCH; i++) {
        struct waitlist *list = fm__waitlist_empty(&channel->receivers) ? &channel->senders
                                                                        : &channel->receivers;
        if (fm__waitlist_empty(list))
            return false;
        struct wait_node *node = fm__waitlist_shift_locked(list);
        struct fm_fiber *owed = NULL;
        if (win_locked(node, WAKE_CLOSED, &owed) && owed) {
            fm__waitlist_push_locked(won, node); /* it stands still until it is released */
            node->listed = false;                /* on no list that its select should look at */
        }
    }
    return !fm__waitlist_empty(&channel->receivers) || !fm__waitlist_empty(&channel->senders);
}

int fm_channel_close(struct fm_channel *channel)
{
    if (!channel)
        return -EINVAL;
    fm__word_lock(&channel->word);
    if (channel->closed) {
        fm__channel_unlock(channel);
        return FM_ALREADY_DONE;
    }
    for (bool more = true; more;) {
        struct waitlist won = { .first = NULL };
        more = end_waits_locked(channel, &won);
        channel->closed = CHANNEL_CLOSED | (more ? CHANNEL_CLOSING : 0);
        fm__channel_unlock(channel);
        fm__waitlist_release(&won);
        if (more)
            fm__word_lock(&channel->word);
    }
    return 0;
}

size_t fm_channel_length(const struct fm_channel *channel)
{
    if (!channel)
        return 0;
    /* relaxed: a number for the eye */
    return atomic_load_explicit(&channel->word.value, memory_order_relaxed) >>
           CHANNEL_LENGTH_SHIFT;
}

bool fm_channel_closed(const struct fm_channel *channel)
{
    /* relaxed: the same */
    return channel &&
           atomic_load_explicit(&channel->word.value, memory_order_relaxed) & CHANNEL_CLOSED;
}
