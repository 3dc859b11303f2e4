/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scene_sync.c - what fibers use together: deferreds to pub/sub
 */
#include "tests/faults/faults.h"

#include <unistd.h>

static int dropped;

static void drop(void *pointer)
{
    (void)pointer;
    dropped++;
}

/* ---- once ---- */

static struct fm_exit complete(void *deferred)
{
    OK(fm_deferred_succeed(deferred, deferred));
    return fm_ok(NULL);
}

static struct fm_exit play_deferred(void *arg)
{
    struct fm_deferred *deferred;
    struct fm_fiber *fiber;
    struct fm_exit exit;
    (void)arg;
    if (OK(fm_deferred_create(&deferred))) {
        HOLDS(fm_deferred_poll(deferred, &exit) == -EAGAIN);
        if (OK(fm_fiber_spawn(complete, deferred, NULL, &fiber))) {
            int r = fm_deferred_await(deferred, fault_met() ? fm_after_ms(5) : SOON, &exit);
            HOLDS(r == 0 ? exit.value == deferred : r == -ETIMEDOUT && fault_met());
            join_and_unref(fiber);
        }
        HOLDS(fm_deferred_fail(deferred, -EIO) >= 0);
        fm_deferred_destroy(deferred);
    }
    if (OK(fm_deferred_create(&deferred))) {
        OK(fm_deferred_complete(deferred, fm_defect(3)));
        fm_deferred_destroy(deferred);
    }
    return fm_ok(NULL);
}

static struct fm_exit play_promise(void *arg)
{
    struct fm_promise *promise;
    struct fm_exit exit;
    (void)arg;
    if (!OK(fm_promise_create(&promise)))
        return fm_ok(NULL);
    fm_promise_unref(fm_promise_ref(promise));
    dropped = 0;
    int fd = fm_promise_eventfd(promise);
    OK(fd);
    HOLDS(fm_promise_poll(promise, &exit) == -EAGAIN);
    OK(fm_promise_keep(promise, drop, &dropped));
    OK(fm_promise_complete(promise, fm_ok(promise)));
    OK(fm_promise_await(promise, SOON, &exit));
    HOLDS(exit.value == promise);
    if (fd >= 0) {
        uint64_t count;
        HOLDS(read(fd, &count, sizeof count) == sizeof count);
    }
    fm_promise_unref(promise);
    HOLDS(dropped == 1);
    return fm_ok(NULL);
}

/* ---- locks ---- */

struct room {
    struct fm_mutex *mutex;
    struct fm_cond *cond;
    int came;
};

static struct fm_exit come(void *arg)
{
    struct room *room = arg;
    if (OK(fm_mutex_lock(room->mutex, SOON))) {
        room->came++;
        OK(fm_cond_broadcast(room->cond));
        OK(fm_cond_signal(room->cond));
        OK(fm_mutex_unlock(room->mutex));
    }
    return fm_ok(NULL);
}

static struct fm_exit play_mutex(void *arg)
{
    struct room room = { 0 };
    struct fm_fiber *fibers[2] = { NULL };
    (void)arg;
    if (OK(fm_mutex_create(&room.mutex)) && OK(fm_cond_create(&room.cond))) {
        OK(fm_mutex_lock(room.mutex, SOON));
        HOLDS(fm_mutex_trylock(room.mutex) < 0);
        for (int i = 0; i < 2; i++)
            OK(fm_fiber_spawn(come, &room, NULL, &fibers[i]));
        /* who never had a stack does not come */
        for (int turn = 0; room.came < 2 && turn < (fault_met() ? 3 : 30000); turn++)
            HOLDS(fm_cond_wait(room.cond, room.mutex, fm_after_ms(2)) >= -ETIMEDOUT);
        HOLDS(room.came == 2 || fault_met());
        OK(fm_mutex_unlock(room.mutex));
        for (int i = 0; i < 2; i++)
            if (fibers[i])
                join_and_unref(fibers[i]);
    }
    fm_cond_destroy(room.cond);
    fm_mutex_destroy(room.mutex);
    return fm_ok(NULL);
}

static struct fm_exit read_under(void *rwlock)
{
    if (OK(fm_rwlock_lock_read(rwlock, SOON)))
        OK(fm_rwlock_unlock(rwlock));
    return fm_ok(NULL);
}

static struct fm_exit play_rwlock(void *arg)
{
    struct fm_rwlock *rwlock;
    struct fm_fiber *fiber = NULL;
    (void)arg;
    if (!OK(fm_rwlock_create(&rwlock)))
        return fm_ok(NULL);
    OK(fm_rwlock_lock_write(rwlock, SOON));
    OK(fm_fiber_spawn(read_under, rwlock, NULL, &fiber));
    fm_yield();
    HOLDS(fm_rwlock_trylock_read(rwlock) < 0);
    OK(fm_rwlock_unlock(rwlock));
    if (fiber)
        join_and_unref(fiber);
    OK(fm_rwlock_trylock_write(rwlock));
    OK(fm_rwlock_unlock(rwlock));
    fm_rwlock_destroy(rwlock);
    return fm_ok(NULL);
}

/* ---- counts ---- */

static struct fm_exit take_and_give(void *semaphore)
{
    if (OK(fm_semaphore_acquire(semaphore, 2, SOON)))
        OK(fm_semaphore_release(semaphore, 2));
    return fm_ok(NULL);
}

static struct fm_exit play_semaphore(void *arg)
{
    struct fm_semaphore *semaphore;
    struct fm_fiber *fiber = NULL;
    struct fm_exit exit;
    (void)arg;
    if (!OK(fm_semaphore_create(2, &semaphore)))
        return fm_ok(NULL);
    OK(fm_semaphore_try_acquire(semaphore, 1));
    OK(fm_fiber_spawn(take_and_give, semaphore, NULL, &fiber));
    fm_yield();
    OK(fm_semaphore_resize(semaphore, 3));
    OK(fm_semaphore_release(semaphore, 1));
    if (fiber)
        join_and_unref(fiber);
    OK(fm_semaphore_with(semaphore, 3, give, semaphore, SOON, &exit));
    HOLDS(fm_semaphore_free(semaphore) == 3);
    fm_semaphore_destroy(semaphore);
    return fm_ok(NULL);
}

static struct fm_exit count_down(void *latch)
{
    OK(fm_latch_count_down(latch, 1));
    return fm_ok(NULL);
}

static struct fm_exit be_done(void *waitgroup)
{
    OK(fm_waitgroup_done(waitgroup));
    return fm_ok(NULL);
}

static struct fm_exit play_latch(void *arg)
{
    struct fm_latch *latch;
    struct fm_waitgroup *waitgroup;
    struct fm_fiber *fiber;
    (void)arg;
    if (OK(fm_latch_create(1, &latch))) {
        if (OK(fm_fiber_spawn(count_down, latch, NULL, &fiber)))
            join_and_unref(fiber);
        if (fm_latch_count(latch) > 0) {
            HOLDS(fault_met());
            OK(fm_latch_count_down(latch, 1));
        }
        OK(fm_latch_wait(latch, SOON));
        fm_latch_destroy(latch);
    }
    if (OK(fm_waitgroup_create(&waitgroup))) {
        OK(fm_waitgroup_add(waitgroup, 1));
        if (OK(fm_fiber_spawn(be_done, waitgroup, NULL, &fiber)))
            join_and_unref(fiber);
        if (fm_waitgroup_count(waitgroup) > 0) {
            HOLDS(fault_met());
            OK(fm_waitgroup_done(waitgroup));
        }
        OK(fm_waitgroup_wait(waitgroup, SOON));
        fm_waitgroup_destroy(waitgroup);
    }
    return fm_ok(NULL);
}

static struct fm_exit play_rate_limiter(void *arg)
{
    struct fm_rate_limiter_config config = FM_RATE_LIMITER_CONFIG_INIT;
    struct fm_rate_limiter *limiter;
    (void)arg;
    config.algorithm = FM_RATE_FIXED_WINDOW;
    config.limit = 2;
    config.interval_ns = 1000000;
    if (!OK(fm_rate_limiter_create(&config, &limiter)))
        return fm_ok(NULL);
    for (int i = 0; i < 4; i++)
        OK(fm_rate_limiter_acquire(limiter, 1, SOON));
    HOLDS(fm_rate_limiter_try_acquire(limiter, 1) >= -EAGAIN);
    HOLDS(fm_rate_limiter_free(limiter) >= 0);
    fm_rate_limiter_destroy(limiter);
    return fm_ok(NULL);
}

/* ---- messages ---- */

static struct fm_exit send_three(void *channel)
{
    int r = 0;
    for (intptr_t i = 1; i <= 3 && r == 0; i++)
        r = fm_channel_send(channel, (void *)i, SOON);
    HOLDS(r == 0 || (r == -ECANCELED && fault_met()));
    return fm_ok(NULL);
}

static struct fm_exit play_channel(void *arg)
{
    struct fm_channel_options options = FM_CHANNEL_OPTIONS_INIT;
    struct fm_channel *channel, *other = NULL;
    struct fm_deferred *deferred = NULL;
    struct fm_fiber *fiber;
    void *value;
    (void)arg;
    options.drop = drop;
    if (!OK(fm_channel_create(1, &options, &channel)))
        return fm_ok(NULL);
    if (OK(fm_fiber_spawn(send_three, channel, NULL, &fiber))) {
        int64_t deadline_ns = fault_met() ? fm_after_ms(5) : SOON;
        int r = 0;
        for (intptr_t i = 1; i <= 3 && r == 0; i++) {
            r = fm_channel_recv(channel, deadline_ns, &value);
            HOLDS(r == 0 ? value == (void *)i : r == -ETIMEDOUT && fault_met());
        }
        stop_and_unref(fiber);
    }
    while (fm_channel_try_recv(channel, &value) == 0)
        HOLDS(fault_met());
    if (OK(fm_channel_create(0, NULL, &other)) && OK(fm_deferred_create(&deferred))) {
        struct fm_case cases[] = { fm_case_none(), fm_case_send(channel, &options),
                                   fm_case_recv(other), fm_case_timer(FM_NEVER),
                                   fm_case_deferred(deferred) };
        size_t index = 9;
        OK(fm_select(cases, 5, SOON, &index));
        HOLDS(index == 1 && fm_channel_length(channel) == 1);
        OK(fm_deferred_fail(deferred, -EIO));
        OK(fm_select(cases + 2, 3, SOON, &index));
        HOLDS(index == 2);
    } else {
        OK(fm_channel_try_send(channel, &options));
    }
    dropped = 0;
    OK(fm_channel_close(channel));
    HOLDS(fm_channel_closed(channel));
    fm_channel_destroy(channel);
    HOLDS(dropped == 1);
    fm_channel_destroy(other);
    fm_deferred_destroy(deferred);
    return fm_ok(NULL);
}

static int next_value(void *ctx, struct fm_value *present, struct fm_value **ret_next)
{
    (void)present;
    return fm_value_create(ctx, drop, ret_next);
}

static struct fm_exit play_ref(void *arg)
{
    struct fm_value *value, *before = NULL, *after = NULL;
    struct fm_ref *ref;
    (void)arg;
    dropped = 0;
    if (!OK(fm_value_create(&dropped, drop, &value)))
        return fm_ok(NULL);
    int made = 1;
    if (OK(fm_ref_create(value, &ref))) {
        struct fm_value *got = fm_ref_get(ref);
        HOLDS(fm_value_pointer(got) == &dropped);
        fm_value_unref(got);
        OK(fm_ref_set(ref, value));
        made += OK(fm_ref_update(ref, next_value, &made));
        made += OK(fm_ref_modify(ref, next_value, &made, &before, &after));
        fm_value_unref(before);
        fm_value_unref(after);
        fm_ref_destroy(ref);
    }
    fm_value_unref(fm_value_ref(value));
    fm_value_unref(value);
    HOLDS(dropped == made);
    return fm_ok(NULL);
}

static struct fm_exit play_pubsub(void *arg)
{
    struct fm_subscribe_options options = FM_SUBSCRIBE_OPTIONS_INIT;
    struct fm_pubsub_config config = FM_PUBSUB_CONFIG_INIT;
    struct fm_pubsub *pubsub;
    struct fm_subscriber *subscriber = NULL, *slow = NULL;
    struct fm_value *value = NULL, *got;
    (void)arg;
    config.capacity = 2;
    options.policy = FM_PUBSUB_DROP_OLDEST;
    options.capacity = 1;
    if (!OK(fm_pubsub_create(&config, &pubsub)))
        return fm_ok(NULL);
    OK(fm_pubsub_subscribe(pubsub, &options, &slow));
    dropped = 0;
    if (OK(fm_value_create(&dropped, drop, &value)) &&
        OK(fm_pubsub_subscribe(pubsub, NULL, &subscriber))) {
        int told = OK(fm_pubsub_publish(pubsub, value, SOON));
        told += OK(fm_pubsub_try_publish(pubsub, value));
        HOLDS(fm_subscriber_unread(subscriber) == (uint32_t)told);
        if (told > 0 && OK(fm_subscriber_recv(subscriber, SOON, &got)))
            fm_value_unref(got);
        if (told > 1 && OK(fm_subscriber_try_recv(subscriber, &got)))
            fm_value_unref(got);
        HOLDS(fm_subscriber_dropped(subscriber) == 0);
        HOLDS(fm_pubsub_dropped(pubsub) == (slow && told > 1));
    }
    OK(fm_pubsub_close(pubsub));
    fm_pubsub_unsubscribe(slow);
    fm_pubsub_unsubscribe(subscriber);
    fm_pubsub_destroy(pubsub);
    if (value) {
        HOLDS(dropped == 0);
        fm_value_unref(value);
        HOLDS(dropped == 1);
    }
    return fm_ok(NULL);
}

const struct scene sync_scenes[] = {
    { "deferred", play_deferred },
    { "promise", play_promise },
    { "mutex", play_mutex },
    { "rwlock", play_rwlock },
    { "semaphore", play_semaphore },
    { "latch", play_latch },
    { "rate_limiter", play_rate_limiter },
    { "channel", play_channel },
    { "ref", play_ref },
    { "pubsub", play_pubsub },
    { NULL, NULL },
};
