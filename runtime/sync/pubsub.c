/*
 * pubsub.c - one says it, all who listen hear it
 *
 * Owns        the subscriptions' buffers with a reference to each message in them; the list of
 *             publishers that wait, and each subscription's list of receivers that do.
 * Invariant   receivers wait only where the buffer is empty, publishers only while blockers is
 *             above 0: the number of subscriptions that block and are full. All of it is under
 *             one lock, so all subscribers hear in one order.
 * Callers     any fiber, any thread. Only publish and recv suspend.
 *
 * A message that can be given is given by who finds that: to a receiver that waits, else into
 * the buffer. A publisher that waits leaves its message in its node; whoever makes room wins
 * its wake and gives the message in its name. Each grant is one CAS on the waiter's wait: lost,
 * the waiter has left with nothing given or taken, and the next is looked at. What a node holds
 * is read, and what it is to hold is written, before that CAS: after it the waiter may go.
 *
 * Neither wakes nor drops happen under the lock: those whose wakes are won stand still until it
 * is free, and values whose last reference went are put on a list (value.h). What a locked
 * section leaves to be done is its `after`.
 *
 * The last access of whoever gives, takes or closes is the unlock; destroy takes the lock once
 * to let that pass.
 */
#include <errno.h>
#include <stdlib.h>

#include "fm/sync.h"
#include "runtime/platform/check.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"
#include "runtime/sync/value.h"
#include "runtime/sync/word.h"

enum { CAPACITY_DEFAULT = 64, CAPACITY_MAX = 1 << 24 };

struct fm_subscriber {
    struct fm_pubsub *pubsub;
    struct fm_subscriber *next, **link;
    enum fm_pubsub_policy policy;
    uint32_t capacity, first, count; /* the oldest stands at first */
    uint64_t dropped;
    struct waitlist receivers; /* node->item: the message, once given */
    struct fm_value *buffer[];
};

struct fm_pubsub {
    enum fm_pubsub_policy policy; /* what subscribers have who ask for nothing else */
    uint32_t capacity;
    struct lock lock; /* LOCK_SYNC: all below, and in the subscriptions */
    bool closed;
    struct fm_subscriber *subscribers, **subscribers_end; /* in the order they came */
    uint32_t blockers;
    uint64_t dropped;
    struct waitlist publishers; /* node->item: the message */
};

/* What is to be done when the lock is free. */
struct after {
    struct waitlist won;
    struct fm_value *dead;
};

static void unlock(struct fm_pubsub *pubsub, struct after *after)
{
    fm__unlock(&pubsub->lock);
    fm__waitlist_release(&after->won);
    fm__value_bury(after->dead);
}

/* Policy and capacity as asked for, or else the others. 0 · -EINVAL */
static int settings(uint32_t policy, uint32_t capacity, enum fm_pubsub_policy *policy_out,
                    uint32_t *capacity_out)
{
    FM_ASSERT(policy_out && capacity_out);
    if (policy > FM_PUBSUB_DROP_NEW || capacity > CAPACITY_MAX)
        return -EINVAL;
    if (policy)
        *policy_out = (enum fm_pubsub_policy)policy;
    if (capacity)
        *capacity_out = capacity;
    return 0;
}

int fm_pubsub_create(const struct fm_pubsub_config *given, struct fm_pubsub **ret_pubsub)
{
    struct fm_pubsub_config config = FM_PUBSUB_CONFIG_INIT;

    if (!ret_pubsub)
        return -EINVAL;
    int r = fm__config_read(&config, sizeof config, given);
    if (r < 0)
        return r;
    enum fm_pubsub_policy policy = FM_PUBSUB_BLOCK;
    uint32_t capacity = CAPACITY_DEFAULT;
    r = settings(config.policy, config.capacity, &policy, &capacity);
    if (r < 0)
        return r;
    struct fm_pubsub *pubsub = fm__zalloc_aligned(FM_CACHE_LINE, sizeof *pubsub);
    if (!pubsub)
        return -ENOMEM;
    fm__lock_init(&pubsub->lock, LOCK_SYNC);
    pubsub->policy = policy;
    pubsub->capacity = capacity;
    pubsub->subscribers_end = &pubsub->subscribers;
    *ret_pubsub = pubsub;
    return 0;
}

struct fm_pubsub *fm_pubsub_destroy(struct fm_pubsub *pubsub)
{
    if (pubsub) {
        fm__lock(&pubsub->lock);
        FM_BUG_IF(pubsub->subscribers, "a pubsub is destroyed while subscribed to");
        FM_BUG_IF(!fm__waitlist_empty(&pubsub->publishers),
                  "a pubsub is destroyed while waited for");
        fm__unlock(&pubsub->lock);
        free(pubsub);
    }
    return NULL;
}

/* ---- buffers ---- */

static bool is_blocking(const struct fm_subscriber *subscriber)
{
    FM_ASSERT(subscriber->count <= subscriber->capacity);
    return subscriber->policy == FM_PUBSUB_BLOCK && subscriber->count == subscriber->capacity;
}

/* The oldest message; there is one. The reference goes to the caller. */
static struct fm_value *take_locked(struct fm_subscriber *subscriber)
{
    FM_ASSERT(fm__lock_held(&subscriber->pubsub->lock) && subscriber->count);
    subscriber->pubsub->blockers -= is_blocking(subscriber);
    struct fm_value *value = subscriber->buffer[subscriber->first];
    subscriber->first = subscriber->first + 1 < subscriber->capacity ? subscriber->first + 1
                                                                     : 0;
    subscriber->count--;
    FM_ASSERT(subscriber->first < subscriber->capacity);
    return value;
}

/* There is room. */
static void put_locked(struct fm_subscriber *subscriber, struct fm_value *value)
{
    FM_ASSERT(fm__lock_held(&subscriber->pubsub->lock));
    FM_ASSERT(subscriber->count < subscriber->capacity);
    uint64_t place = (uint64_t)subscriber->first + subscriber->count;
    subscriber->buffer[place % subscriber->capacity] = fm_value_ref(value);
    subscriber->count++;
    subscriber->pubsub->blockers += is_blocking(subscriber);
}

static void drop_one_locked(struct fm_subscriber *subscriber)
{
    FM_ASSERT(fm__lock_held(&subscriber->pubsub->lock));
    subscriber->dropped++;
    subscriber->pubsub->dropped++;
}

/* The caller holds a reference to the value. */
static void give_locked(struct fm_subscriber *subscriber, struct fm_value *value,
                        struct after *after)
{
    FM_ASSERT(fm__lock_held(&subscriber->pubsub->lock));
    while (!fm__waitlist_empty(&subscriber->receivers)) {
        struct wait_node *node = fm__waitlist_shift_locked(&subscriber->receivers);
        node->item = fm_value_ref(value);
        enum wake wake = fm__wake_win(node->wait, WAKE_VALUE);
        if (wake == WAKE_QUEUE)
            fm__waitlist_push_locked(&after->won, node);
        if (wake != WAKE_LOST)
            return;
        fm__value_add(value, -1); /* it has left; not the last reference */
    }
    if (subscriber->count < subscriber->capacity) {
        put_locked(subscriber, value);
        return;
    }
    drop_one_locked(subscriber);
    if (subscriber->policy == FM_PUBSUB_DROP_OLDEST) {
        fm__value_unref_locked(take_locked(subscriber), &after->dead);
        put_locked(subscriber, value);
    }
}

static void give_all_locked(struct fm_pubsub *pubsub, struct fm_value *value,
                            struct after *after)
{
    FM_ASSERT(fm__lock_held(&pubsub->lock));
    for (struct fm_subscriber *s = pubsub->subscribers; s; s = s->next)
        give_locked(s, value, after);
}

/* There may be room: publishers that wait go on, in order. */
static void serve_locked(struct fm_pubsub *pubsub, struct after *after)
{
    FM_ASSERT(fm__lock_held(&pubsub->lock));
    while (!pubsub->blockers && !fm__waitlist_empty(&pubsub->publishers)) {
        struct wait_node *node = fm__waitlist_shift_locked(&pubsub->publishers);
        struct fm_value *value = fm_value_ref(node->item);
        enum wake wake = fm__wake_win(node->wait, WAKE_VALUE);
        if (wake == WAKE_QUEUE)
            fm__waitlist_push_locked(&after->won, node);
        if (wake != WAKE_LOST)
            give_all_locked(pubsub, value, after);
        fm__value_unref_locked(value, &after->dead);
    }
}

/* All on the list get -EPIPE. */
static void turn_away_locked(struct waitlist *list, struct after *after)
{
    while (!fm__waitlist_empty(list)) {
        struct wait_node *node = fm__waitlist_shift_locked(list);
        if (fm__wake_win(node->wait, WAKE_CLOSED) == WAKE_QUEUE)
            fm__waitlist_push_locked(&after->won, node);
    }
}

/*
 * Wait on one of the lists, with the lock; returns without it. 0 · -EPIPE · -ECANCELED ·
 * -ETIMEDOUT · -ENOMEM
 */
static int wait_locked(struct fm_pubsub *pubsub, struct waitlist *list, struct wait_node *node,
                       int64_t deadline_ns, const char *what)
{
    FM_ASSERT(fm__lock_held(&pubsub->lock));
    int r = fm__waitlist_wait(list, &pubsub->lock, node, deadline_ns, 0, what);
    return r == -EBADF ? -EPIPE : r;
}

/* ---- the publishers' side ---- */

int fm_pubsub_publish(struct fm_pubsub *pubsub, struct fm_value *value, int64_t deadline_ns)
{
    struct after after = { .dead = NULL };

    if (!pubsub || !value)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend();
    fm__lock(&pubsub->lock);
    if (pubsub->closed) {
        fm__unlock(&pubsub->lock);
        return -EPIPE;
    }
    if (pubsub->blockers || !fm__waitlist_empty(&pubsub->publishers)) {
        struct wait_node node = { .item = value };
        return wait_locked(pubsub, &pubsub->publishers, &node, deadline_ns, "publish");
    }
    give_all_locked(pubsub, value, &after);
    unlock(pubsub, &after);
    return 0;
}

int fm_pubsub_try_publish(struct fm_pubsub *pubsub, struct fm_value *value)
{
    int r = fm_pubsub_publish(pubsub, value, 0);
    return r == -ETIMEDOUT ? -EAGAIN : r;
}

int fm_pubsub_close(struct fm_pubsub *pubsub)
{
    struct after after = { .dead = NULL };

    if (!pubsub)
        return -EINVAL;
    fm__lock(&pubsub->lock);
    bool was_closed = pubsub->closed;
    pubsub->closed = true;
    turn_away_locked(&pubsub->publishers, &after);
    for (struct fm_subscriber *s = pubsub->subscribers; s; s = s->next)
        turn_away_locked(&s->receivers, &after);
    unlock(pubsub, &after);
    return was_closed ? FM_ALREADY_DONE : 0;
}

/* ---- the subscribers' side ---- */

int fm_pubsub_subscribe(struct fm_pubsub *pubsub, const struct fm_subscribe_options *given,
                        struct fm_subscriber **ret_subscriber)
{
    struct fm_subscribe_options options = FM_SUBSCRIBE_OPTIONS_INIT;

    if (!pubsub || !ret_subscriber)
        return -EINVAL;
    int r = fm__config_read(&options, sizeof options, given);
    if (r < 0)
        return r;
    enum fm_pubsub_policy policy = pubsub->policy;
    uint32_t capacity = pubsub->capacity;
    r = settings(options.policy, options.capacity, &policy, &capacity);
    if (r < 0)
        return r;
    struct fm_subscriber *subscriber =
        fm__calloc(1, sizeof *subscriber + (size_t)capacity * sizeof subscriber->buffer[0]);
    if (!subscriber)
        return -ENOMEM;
    subscriber->pubsub = pubsub;
    subscriber->policy = policy;
    subscriber->capacity = capacity;

    fm__lock(&pubsub->lock);
    bool closed = pubsub->closed;
    if (!closed) {
        subscriber->link = pubsub->subscribers_end;
        *subscriber->link = subscriber;
        pubsub->subscribers_end = &subscriber->next;
    }
    fm__unlock(&pubsub->lock);
    if (closed) {
        free(subscriber);
        return -EPIPE;
    }
    *ret_subscriber = subscriber;
    return 0;
}

struct fm_subscriber *fm_pubsub_unsubscribe(struct fm_subscriber *subscriber)
{
    struct after after = { .dead = NULL };

    if (!subscriber)
        return NULL;
    struct fm_pubsub *pubsub = subscriber->pubsub;
    fm__lock(&pubsub->lock);
    *subscriber->link = subscriber->next;
    if (subscriber->next)
        subscriber->next->link = subscriber->link;
    else
        pubsub->subscribers_end = subscriber->link;
    while (subscriber->count)
        fm__value_unref_locked(take_locked(subscriber), &after.dead);
    turn_away_locked(&subscriber->receivers, &after);
    serve_locked(pubsub, &after);
    unlock(pubsub, &after);
    free(subscriber);
    return NULL;
}

/* The next message, with a reference. */
static int recv_one(struct fm_subscriber *subscriber, int64_t deadline_ns,
                    struct fm_value **ret_value)
{
    struct fm_pubsub *pubsub = subscriber->pubsub;
    struct after after = { .dead = NULL };

    fm__lock(&pubsub->lock);
    if (subscriber->count) {
        *ret_value = take_locked(subscriber);
        serve_locked(pubsub, &after);
        unlock(pubsub, &after);
        return 0;
    }
    if (pubsub->closed) {
        fm__unlock(&pubsub->lock);
        return -EPIPE;
    }
    struct wait_node node = { .item = NULL };
    int r = wait_locked(pubsub, &subscriber->receivers, &node, deadline_ns, "subscription");
    if (r == 0)
        *ret_value = node.item;
    return r;
}

int fm_subscriber_recv(struct fm_subscriber *subscriber, int64_t deadline_ns,
                       struct fm_value **ret_value)
{
    struct fm_value *value;

    if (!subscriber)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend();
    int r = recv_one(subscriber, deadline_ns, &value);
    if (r == 0 && ret_value)
        *ret_value = value;
    else if (r == 0)
        fm_value_unref(value);
    return r;
}

int fm_subscriber_try_recv(struct fm_subscriber *subscriber, struct fm_value **ret_value)
{
    int r = fm_subscriber_recv(subscriber, 0, ret_value);
    return r == -ETIMEDOUT ? -EAGAIN : r;
}

/* ---- numbers ---- */

uint32_t fm_subscriber_unread(struct fm_subscriber *subscriber)
{
    if (!subscriber)
        return 0;
    fm__lock(&subscriber->pubsub->lock);
    uint32_t count = subscriber->count;
    fm__unlock(&subscriber->pubsub->lock);
    return count;
}

uint64_t fm_subscriber_dropped(struct fm_subscriber *subscriber)
{
    if (!subscriber)
        return 0;
    fm__lock(&subscriber->pubsub->lock);
    uint64_t dropped = subscriber->dropped;
    fm__unlock(&subscriber->pubsub->lock);
    return dropped;
}

uint64_t fm_pubsub_dropped(struct fm_pubsub *pubsub)
{
    if (!pubsub)
        return 0;
    fm__lock(&pubsub->lock);
    uint64_t dropped = pubsub->dropped;
    fm__unlock(&pubsub->lock);
    return dropped;
}
