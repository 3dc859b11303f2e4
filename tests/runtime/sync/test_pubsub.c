/* SPDX-License-Identifier: Apache-2.0 */
/* test_pubsub.c - all hear the same in the same order; what a policy drops is counted */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

static struct fm_pubsub *make(uint32_t policy, uint32_t capacity)
{
    struct fm_pubsub_config config = FM_PUBSUB_CONFIG_INIT;
    struct fm_pubsub *pubsub;
    config.policy = policy;
    config.capacity = capacity;
    cr_assert_eq(fm_pubsub_create(&config, &pubsub), 0);
    return pubsub;
}

static struct fm_subscriber *subscribe(struct fm_pubsub *pubsub)
{
    struct fm_subscriber *subscriber;
    cr_assert_eq(fm_pubsub_subscribe(pubsub, NULL, &subscriber), 0);
    return subscriber;
}

static struct fm_subscriber *subscribe_as(struct fm_pubsub *pubsub, uint32_t policy,
                                          uint32_t capacity)
{
    struct fm_subscribe_options options = FM_SUBSCRIBE_OPTIONS_INIT;
    struct fm_subscriber *subscriber;
    options.policy = policy;
    options.capacity = capacity;
    cr_assert_eq(fm_pubsub_subscribe(pubsub, &options, &subscriber), 0);
    return subscriber;
}

/* Messages that are counted: none may be left, none dropped twice. */
static _Atomic int alive;

static void drop(void *message)
{
    atomic_fetch_sub(&alive, 1);
}

static int publish(struct fm_pubsub *pubsub, intptr_t n, int64_t deadline_ns)
{
    struct fm_value *value;
    cr_assert_eq(fm_value_create(number(n), drop, &value), 0);
    atomic_fetch_add(&alive, 1);
    int r = fm_pubsub_publish(pubsub, value, deadline_ns);
    fm_value_unref(value);
    return r;
}

/* The next message, or the error. */
static intptr_t hear(struct fm_subscriber *subscriber, int64_t deadline_ns)
{
    struct fm_value *value;
    int r = fm_subscriber_recv(subscriber, deadline_ns, &value);
    if (r < 0)
        return r;
    intptr_t n = (intptr_t)fm_value_pointer(value);
    fm_value_unref(value);
    return n;
}

TEST(pubsub, everyone_hears_everything_in_order)
{
    struct fm_pubsub *pubsub = make(FM_PUBSUB_BLOCK, 8);
    cr_assert_eq(publish(pubsub, 99, 0), 0, "to nobody");
    struct fm_subscriber *a = subscribe(pubsub), *b = subscribe(pubsub);
    cr_assert_eq(fm_subscriber_try_recv(a, NULL), -EAGAIN, "nothing of the past");
    for (int i = 1; i <= 8; i++)
        cr_assert_eq(publish(pubsub, i, 0), 0);
    struct fm_subscriber *late = subscribe(pubsub);
    for (int i = 1; i <= 8; i++) {
        cr_assert_eq(fm_subscriber_unread(a), 9 - i);
        cr_assert_eq(hear(a, 0), i);
    }
    for (int i = 1; i <= 8; i++)
        cr_assert_eq(hear(b, 0), i);
    cr_assert_eq(hear(a, 0), -ETIMEDOUT);
    cr_assert_eq(hear(late, 0), -ETIMEDOUT);
    fm_pubsub_unsubscribe(b);
    cr_assert_eq(publish(pubsub, 9, 0), 0);
    cr_assert_eq(hear(a, 0), 9);
    cr_assert_eq(hear(late, FM_NEVER), 9);
    fm_pubsub_unsubscribe(a);
    fm_pubsub_unsubscribe(late);
    cr_assert_eq(fm_pubsub_dropped(pubsub), 0);
    fm_pubsub_destroy(pubsub);
    cr_assert_eq(alive, 0);
}

struct publisher {
    struct fm_pubsub *pubsub;
    int n;
    int result; /* 1: not back yet */
};

static struct fm_exit publish_it(void *arg)
{
    struct publisher *publisher = arg;
    publisher->result = publish(publisher->pubsub, publisher->n, FM_NEVER);
    return publisher->result < 0 ? fm_fail(publisher->result) : fm_ok(NULL);
}

WORKER_TEST(pubsub, publisher_waits_for_a_slow_reader_that_blocks)
{
    struct fm_pubsub *pubsub = make(FM_PUBSUB_BLOCK, 2);
    struct fm_subscriber *slow = subscribe(pubsub), *quick = subscribe_as(pubsub, 0, 100);
    struct publisher publishers[3];
    struct fm_fiber *fibers[3];
    cr_assert_eq(publish(pubsub, 1, 0), 0);
    cr_assert_eq(publish(pubsub, 2, 0), 0);
    for (int i = 0; i < 3; i++) {
        publishers[i] = (struct publisher) { pubsub, 3 + i, 1 };
        fibers[i] = start(publish_it, &publishers[i]);
        settle();
    }
    cr_assert_eq(publishers[0].result, 1, "it waits for the slow one");
    cr_assert_eq(fm_subscriber_unread(quick), 2, "and nobody has it yet");
    cr_assert_eq(publish(pubsub, 9, 0), -ETIMEDOUT);
    fm_fiber_interrupt(fibers[1]);
    cr_assert_eq(finish(fibers[1]).kind, FM_INTERRUPTED);
    cr_assert_eq(hear(slow, 0), 1);
    settle();
    cr_assert_eq(publishers[0].result, 0);
    cr_assert_eq(publishers[2].result, 1, "one for one");
    for (int i = 2; i <= 5; i++)
        if (i != 4)
            cr_assert_eq(hear(slow, 0), i);
    finish(fibers[0]);
    finish(fibers[2]);
    for (int i = 1; i <= 5; i++)
        if (i != 4)
            cr_assert_eq(hear(quick, 0), i, "the one that was interrupted was never said");
    cr_assert_eq(hear(quick, 0), -ETIMEDOUT);
    fm_pubsub_unsubscribe(slow);
    fm_pubsub_unsubscribe(quick);
    fm_pubsub_destroy(pubsub);
    cr_assert_eq(alive, 0);
}

TEST(pubsub, policies_drop_the_oldest_or_the_new_and_count)
{
    struct fm_pubsub *pubsub = make(FM_PUBSUB_SLIDING, 3);
    struct fm_subscriber *slides = subscribe(pubsub);
    struct fm_subscriber *keeps = subscribe_as(pubsub, FM_PUBSUB_DROP_NEW, 2);
    struct fm_subscriber *all = subscribe_as(pubsub, FM_PUBSUB_BLOCK, 10);
    for (int i = 1; i <= 10; i++)
        cr_assert_eq(publish(pubsub, i, 0), 0);
    cr_assert_eq(publish(pubsub, 11, 0), -ETIMEDOUT, "the third one blocks");
    cr_assert_eq(fm_subscriber_dropped(slides), 7, "and nothing was dropped for it");
    cr_assert_eq(fm_subscriber_dropped(keeps), 8);
    cr_assert_eq(fm_subscriber_dropped(all), 0);
    cr_assert_eq(fm_pubsub_dropped(pubsub), 15);
    for (int i = 8; i <= 10; i++)
        cr_assert_eq(hear(slides, 0), i);
    cr_assert_eq(hear(slides, 0), -ETIMEDOUT);
    cr_assert_eq(hear(keeps, 0), 1);
    cr_assert_eq(hear(keeps, 0), 2);
    cr_assert_eq(hear(keeps, 0), -ETIMEDOUT);
    for (int i = 1; i <= 10; i++)
        cr_assert_eq(hear(all, 0), i);
    cr_assert_eq(publish(pubsub, 12, 0), 0);
    cr_assert_eq(hear(keeps, 0), 12, "there is room again");
    fm_pubsub_unsubscribe(slides);
    fm_pubsub_unsubscribe(keeps);
    fm_pubsub_unsubscribe(all);
    fm_pubsub_destroy(pubsub);
    cr_assert_eq(alive, 0);
}

struct receiver {
    struct fm_subscriber *subscriber;
    intptr_t got;
};

static struct fm_exit recv_it(void *arg)
{
    struct receiver *receiver = arg;
    receiver->got = hear(receiver->subscriber, FM_NEVER);
    return receiver->got < 0 ? fm_fail((int)receiver->got) : fm_ok(NULL);
}

WORKER_TEST(pubsub, message_goes_to_the_first_receiver_that_has_not_left)
{
    struct fm_pubsub *pubsub = make(FM_PUBSUB_BLOCK, 1);
    struct fm_subscriber *subscriber = subscribe(pubsub);
    struct receiver receivers[3];
    struct fm_fiber *fibers[3];
    for (int i = 0; i < 3; i++) {
        receivers[i] = (struct receiver) { subscriber, 0 };
        fibers[i] = start(recv_it, &receivers[i]);
        settle();
    }
    fm_fiber_interrupt(fibers[0]); /* not run yet when we publish: passed over */
    cr_assert_eq(publish(pubsub, 1, 0), 0);
    fm_fiber_interrupt(fibers[1]); /* too late: the message is in its hand */
    cr_assert_eq(publish(pubsub, 2, 0), 0);
    cr_assert_eq(finish(fibers[0]).kind, FM_INTERRUPTED);
    cr_assert_eq(finish(fibers[1]).kind, FM_SUCCESS);
    cr_assert_eq(finish(fibers[2]).kind, FM_SUCCESS);
    cr_assert_eq(receivers[1].got, 1);
    cr_assert_eq(receivers[2].got, 2);
    cr_assert_eq(fm_subscriber_unread(subscriber), 0);
    fm_pubsub_unsubscribe(subscriber);
    fm_pubsub_destroy(pubsub);
    cr_assert_eq(alive, 0);
}

WORKER_TEST(pubsub, close_turns_waiters_away_and_lets_readers_drain)
{
    struct fm_pubsub *pubsub = make(FM_PUBSUB_BLOCK, 2);
    struct fm_subscriber *full = subscribe(pubsub), *empty = subscribe_as(pubsub, 0, 9);
    struct publisher publisher = { pubsub, 3, 1 };
    struct receiver receiver = { empty, 0 };
    publish(pubsub, 1, 0);
    publish(pubsub, 2, 0);
    hear(empty, 0);
    hear(empty, 0);
    struct fm_fiber *says = start(publish_it, &publisher);
    struct fm_fiber *hears = start(recv_it, &receiver);
    settle();
    cr_assert_eq(fm_pubsub_close(pubsub), 0);
    cr_assert_eq(fm_pubsub_close(pubsub), FM_ALREADY_DONE);
    cr_assert_eq(finish(says).code, -EPIPE);
    cr_assert_eq(finish(hears).code, -EPIPE);
    cr_assert_eq(publish(pubsub, 4, 0), -EPIPE);
    cr_assert_eq(publish(pubsub, 4, FM_NEVER), -EPIPE);
    cr_assert_eq(fm_pubsub_subscribe(pubsub, NULL, &empty), -EPIPE);
    cr_assert_eq(hear(full, FM_NEVER), 1, "what was said before is heard");
    cr_assert_eq(hear(full, 0), 2);
    cr_assert_eq(hear(full, FM_NEVER), -EPIPE);
    cr_assert_eq(fm_subscriber_try_recv(full, NULL), -EPIPE);
    fm_pubsub_unsubscribe(full);
    fm_pubsub_unsubscribe(receiver.subscriber);
    fm_pubsub_destroy(pubsub);
    cr_assert_eq(alive, 0);
}

WORKER_TEST(pubsub, who_leaves_holds_nobody_up)
{
    struct fm_pubsub *pubsub = make(FM_PUBSUB_BLOCK, 1);
    struct fm_subscriber *slow = subscribe(pubsub), *quick = subscribe_as(pubsub, 0, 9);
    struct publisher publishers[2] = { { pubsub, 2, 1 }, { pubsub, 3, 1 } };
    struct fm_fiber *fibers[2];
    publish(pubsub, 1, 0);
    for (int i = 0; i < 2; i++) {
        fibers[i] = start(publish_it, &publishers[i]);
        settle();
    }
    cr_assert_eq(publishers[0].result, 1);
    fm_pubsub_unsubscribe(slow);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    for (int i = 1; i <= 3; i++)
        cr_assert_eq(hear(quick, 0), i);

    struct receiver receiver = { quick, 0 };
    struct fm_fiber *fiber = start(recv_it, &receiver);
    settle();
    fm_pubsub_unsubscribe(quick);
    cr_assert_eq(finish(fiber).code, -EPIPE);
    fm_pubsub_destroy(pubsub);
    cr_assert_eq(alive, 0);
}

/* A drop may publish, or anything else: no lock is held. */
static void drop_and_publish(void *arg)
{
    publish(arg, 7, 0);
}

TEST(pubsub, messages_are_dropped_with_no_lock_held)
{
    struct fm_pubsub *pubsub = make(FM_PUBSUB_SLIDING, 1);
    struct fm_subscriber *subscriber = subscribe(pubsub);
    struct fm_value *value;
    cr_assert_eq(fm_value_create(pubsub, drop_and_publish, &value), 0);
    cr_assert_eq(fm_pubsub_publish(pubsub, value, 0), 0);
    fm_value_unref(value);
    cr_assert_eq(publish(pubsub, 1, 0), 0);
    cr_assert_eq(hear(subscriber, 0), 7);
    cr_assert_eq(fm_subscriber_dropped(subscriber), 2);
    fm_pubsub_unsubscribe(subscriber);
    fm_pubsub_destroy(pubsub);
    cr_assert_eq(alive, 0);
}

/*
 * Many say, many hear, some come and go: who blocks hears all, in one order with the others. On
 * the real clock, the threads' own.
 */
enum { SAYERS = 4, WORDS = 500, HEARERS = 3 };

struct hall {
    struct fm_pubsub *pubsub;
    _Atomic int sayers;
    _Atomic int next_sayer;
    intptr_t heard[HEARERS][SAYERS * WORDS];
};

struct hearer {
    struct hall *hall;
    struct fm_subscriber *subscriber;
    int count;
    intptr_t *heard;
};

static struct fm_exit say_many(void *arg)
{
    struct hall *hall = arg;
    intptr_t base = (intptr_t)atomic_fetch_add(&hall->next_sayer, 1) * WORDS;
    for (int i = 0; i < WORDS; i++) {
        int r;
        do
            r = publish(hall->pubsub, base + i, i % 5 ? FM_NEVER : fm_after_us(20));
        while (r == -ETIMEDOUT);
        cr_assert_eq(r, 0);
    }
    if (atomic_fetch_sub(&hall->sayers, 1) == 1)
        fm_pubsub_close(hall->pubsub);
    return fm_ok(NULL);
}

static void *say_thread(void *arg)
{
    say_many(arg);
    return NULL;
}

static struct fm_exit hear_all(void *arg)
{
    struct hearer *hearer = arg;
    for (;;) {
        intptr_t n = hear(hearer->subscriber, hearer->count % 3 ? FM_NEVER : fm_after_us(20));
        if (n == -EPIPE)
            return fm_ok(NULL);
        if (n >= 0)
            hearer->heard[hearer->count++] = n;
    }
}

static void *hear_thread(void *arg)
{
    hear_all(arg);
    return NULL;
}

static struct fm_exit come_and_go(void *arg)
{
    struct hall *hall = arg;
    struct fm_subscriber *subscriber;
    for (int i = 0; fm_pubsub_subscribe(hall->pubsub, NULL, &subscriber) == 0; i++) {
        hear(subscriber, i % 2 ? 0 : fm_after_us(50));
        fm_pubsub_unsubscribe(subscriber);
        fm_yield();
    }
    return fm_ok(NULL);
}

static struct fm_exit hall_body(void *arg)
{
    static struct hall hall;
    struct hearer hearers[HEARERS];
    struct fm_fiber *fibers[SAYERS + HEARERS];
    pthread_t says, hears;
    int n = 0;
    hall = (struct hall) { .pubsub = make(FM_PUBSUB_BLOCK, 4), .sayers = SAYERS };
    for (int i = 0; i < HEARERS; i++)
        hearers[i] = (struct hearer) { &hall, subscribe_as(hall.pubsub, 0, 1 + 3 * i), 0,
                                       hall.heard[i] };
    for (int i = 1; i < SAYERS; i++)
        fibers[n++] = start(say_many, &hall);
    for (int i = 1; i < HEARERS; i++)
        fibers[n++] = start(hear_all, &hearers[i]);
    fibers[n++] = start(come_and_go, &hall);
    cr_assert_eq(pthread_create(&says, NULL, say_thread, &hall), 0);
    cr_assert_eq(pthread_create(&hears, NULL, hear_thread, &hearers[0]), 0);
    while (n)
        finish(fibers[--n]);
    pthread_join(says, NULL);
    pthread_join(hears, NULL);
    int next[SAYERS] = { 0 };
    for (int i = 0; i < SAYERS * WORDS; i++) {
        intptr_t word = hearers[0].heard[i];
        cr_assert_eq(word, word / WORDS * WORDS + next[word / WORDS]++, "each in its order");
        for (int h = 1; h < HEARERS; h++)
            cr_assert_eq(hearers[h].heard[i], word, "all in one order");
    }
    for (int h = 0; h < HEARERS; h++) {
        cr_assert_eq(hearers[h].count, SAYERS * WORDS);
        fm_pubsub_unsubscribe(hearers[h].subscriber);
    }
    fm_pubsub_destroy(hall.pubsub);
    cr_assert_eq(alive, 0);
    return fm_ok(NULL);
}

TEST_WITH(pubsub, fibers_and_threads_hear_all_in_one_order, .timeout = 60)
{
    run_in_fibers(hall_body, 2, REAL_TIME);
}

TEST(pubsub, wrong_arguments_and_no_memory_are_refused)
{
    struct fm_pubsub_config config = FM_PUBSUB_CONFIG_INIT;
    struct fm_subscribe_options options = FM_SUBSCRIBE_OPTIONS_INIT;
    struct fm_pubsub *pubsub = NULL;
    struct fm_subscriber *subscriber = NULL;
    struct fm_value *value;
    cr_assert_eq(fm_pubsub_create(NULL, NULL), -EINVAL);
    config.policy = 4;
    cr_assert_eq(fm_pubsub_create(&config, &pubsub), -EINVAL);
    config.policy = 0;
    config.capacity = UINT32_MAX;
    cr_assert_eq(fm_pubsub_create(&config, &pubsub), -EINVAL);
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_pubsub_create(NULL, &pubsub), -ENOMEM);
    cr_assert_null(pubsub);
    cr_assert_eq(fm_pubsub_create(NULL, &pubsub), 0);
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_pubsub_subscribe(pubsub, NULL, &subscriber), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    options.policy = 4;
    cr_assert_eq(fm_pubsub_subscribe(pubsub, &options, &subscriber), -EINVAL);
    cr_assert_null(subscriber);
    cr_assert_eq(fm_pubsub_subscribe(pubsub, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_pubsub_subscribe(NULL, NULL, &subscriber), -EINVAL);
    cr_assert_eq(fm_value_create(NULL, NULL, &value), 0);
    cr_assert_eq(fm_pubsub_publish(NULL, value, 0), -EINVAL);
    cr_assert_eq(fm_pubsub_publish(pubsub, NULL, 0), -EINVAL);
    cr_assert_eq(fm_pubsub_try_publish(pubsub, value), 0);
    fm_value_unref(value);
    cr_assert_eq(fm_pubsub_close(NULL), -EINVAL);
    cr_assert_eq(fm_subscriber_recv(NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_subscriber_try_recv(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_subscriber_unread(NULL), 0);
    cr_assert_eq(fm_subscriber_dropped(NULL), 0);
    cr_assert_eq(fm_pubsub_dropped(NULL), 0);
    cr_assert_null(fm_pubsub_unsubscribe(NULL));
    cr_assert_null(fm_pubsub_destroy(NULL));
    fm_pubsub_destroy(pubsub);
}
