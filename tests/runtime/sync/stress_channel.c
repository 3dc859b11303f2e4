/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_channel.c - many values through few channels, and each arrives once
 *
 * Fibers and threads send, receive and select over three channels (a rendezvous, one place,
 * three places), with deadlines that pass; an interrupter picks fibers; in every other round
 * the channels are closed in the midst of it. Each value is sent once: whoever is told that it has
 * been sent counts it, whoever receives it too. At the end of a round, when the channels have
 * been drained, both counts agree for every value. F77.
 */
#include <errno.h>
#include <fm/fm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/stress.h"

enum { FIBERS = 8, THREADS = 2, STEPS = 30, CHANNELS = 3, CASES = 6 };
enum { ACTORS = FIBERS + THREADS, VALUES = ACTORS * STEPS * CASES };

struct round {
    struct fm_channel *channels[CHANNELS];
    struct fm_deferred *over;
    uint64_t number;
    _Atomic unsigned char sent[VALUES], received[VALUES];
};

struct actor {
    struct round *round;
    uint64_t random;
    intptr_t next_value;
};

static int64_t some_deadline(uint64_t *random)
{
    switch (stress_random(random) % 4) {
    case 0: return 0;
    case 1: return fm_after_us((int64_t)(stress_random(random) % 50));
    default: return fm_after_us(300);
    }
}

static void count(struct round *round, _Atomic unsigned char *counts, void *value)
{
    intptr_t n = (intptr_t)value;
    STRESS_CHECK(n >= 0 && n < VALUES, "round %" PRIu64 ": value %ld", round->number, (long)n);
    unsigned char before = atomic_fetch_add(&counts[n], 1);
    STRESS_CHECK(before == 0, "round %" PRIu64 ": value %ld twice", round->number, (long)n);
}

static void check_result(struct round *round, int r)
{
    STRESS_CHECK(r == 0 || r == -ECANCELED || r == -ETIMEDOUT || r == -EPIPE || r == -EAGAIN,
                 "round %" PRIu64 ": result %d", round->number, r);
}

static struct fm_channel *some_channel(struct actor *actor)
{
    return actor->round->channels[stress_random(&actor->random) % CHANNELS];
}

static void send_one(struct actor *actor, bool try)
{
    void *value = (void *)actor->next_value++;
    struct fm_channel *channel = some_channel(actor);
    int r = try ? fm_channel_try_send(channel, value)
                : fm_channel_send(channel, value, some_deadline(&actor->random));
    check_result(actor->round, r);
    if (r == 0)
        count(actor->round, actor->round->sent, value);
}

static void recv_one(struct actor *actor, bool try)
{
    void *value;
    struct fm_channel *channel = some_channel(actor);
    int r = try ? fm_channel_try_recv(channel, &value)
                : fm_channel_recv(channel, some_deadline(&actor->random), &value);
    check_result(actor->round, r);
    if (r == 0)
        count(actor->round, actor->round->received, value);
}

static void select_some(struct actor *actor)
{
    struct round *round = actor->round;
    struct fm_case cases[CASES];
    size_t n = 1 + stress_random(&actor->random) % CASES, index;
    for (size_t i = 0; i < n; i++) {
        switch (stress_random(&actor->random) % 8) {
        case 0: cases[i] = fm_case_none(); break;
        case 1: cases[i] = fm_case_timer(some_deadline(&actor->random)); break;
        case 2: cases[i] = fm_case_deferred(round->over); break;
        case 3:
        case 4:
            cases[i] = fm_case_send(some_channel(actor), (void *)actor->next_value++);
            break;
        default: cases[i] = fm_case_recv(some_channel(actor)); break;
        }
    }
    int r = fm_select(cases, n, some_deadline(&actor->random), &index);
    check_result(round, r);
    if (r < 0)
        return;
    struct fm_case *c = &cases[index];
    check_result(round, c->result);
    if (c->result == 0 && c->kind == FM_CASE_SEND)
        count(round, round->sent, c->value);
    if (c->result == 0 && c->kind == FM_CASE_RECV)
        count(round, round->received, c->value);
    if (c->kind == FM_CASE_DEFERRED)
        STRESS_CHECK(c->exit.code == 5, "round %" PRIu64 ": half an exit", round->number);
}

static void act(struct actor *actor)
{
    for (int i = 0; i < STEPS; i++) {
        switch (stress_random(&actor->random) % 8) {
        case 0: send_one(actor, true); break;
        case 1: recv_one(actor, true); break;
        case 2: send_one(actor, false); break;
        case 3: recv_one(actor, false); break;
        case 4: stress_jitter(&actor->random); break;
        default: select_some(actor); break;
        }
    }
}

static struct fm_exit act_fiber(void *arg)
{
    act(arg);
    return fm_ok(NULL);
}

static void *act_thread(void *arg)
{
    act(arg);
    return NULL;
}

static void play(struct fm_runtime *runtime, uint64_t number, uint64_t *random)
{
    static struct round round;
    struct actor actors[ACTORS];
    struct fm_fiber *fibers[FIBERS];
    pthread_t threads[THREADS];
    bool with_threads = number % 8 == 0;

    round.number = number;
    for (int i = 0; i < VALUES; i++)
        round.sent[i] = round.received[i] = 0;
    for (size_t i = 0; i < CHANNELS; i++)
        STRESS_CHECK(fm_channel_create(i + i / 2, NULL, &round.channels[i]) == 0, "no memory");
    STRESS_CHECK(fm_deferred_create(&round.over) == 0, "no memory");
    for (int i = 0; i < ACTORS; i++)
        actors[i] = (struct actor) { &round, stress_random(random) | 1, i * STEPS * CASES };
    for (int i = 0; i < FIBERS; i++) {
        int r = fm_runtime_spawn(runtime, act_fiber, &actors[i], NULL, &fibers[i]);
        STRESS_CHECK(r == 0, "spawn gave %d", r);
    }
    for (int i = 0; i < THREADS && with_threads; i++)
        pthread_create(&threads[i], NULL, act_thread, &actors[FIBERS + i]);
    for (int i = 0; i < FIBERS / 2; i++) {
        stress_jitter(random);
        fm_fiber_interrupt(fibers[stress_random(random) % FIBERS]);
    }
    for (int i = 0; i < CHANNELS && number % 2; i++) {
        stress_jitter(random);
        STRESS_CHECK(fm_channel_close(round.channels[i]) == 0, "closed twice");
    }
    STRESS_CHECK(fm_deferred_fail(round.over, 5) == 0, "completed twice");
    for (int i = 0; i < FIBERS; i++) {
        STRESS_CHECK(fm_fiber_join(fibers[i], FM_NEVER, NULL) == 0, "join");
        fm_fiber_unref(fibers[i]);
    }
    for (int i = 0; i < THREADS && with_threads; i++)
        pthread_join(threads[i], NULL);

    for (int i = 0; i < CHANNELS; i++) {
        void *value;
        int r;
        while ((r = fm_channel_try_recv(round.channels[i], &value)) == 0)
            count(&round, round.received, value);
        STRESS_CHECK(r == (number % 2 ? -EPIPE : -EAGAIN), "round %" PRIu64 ": %d", number, r);
        fm_channel_destroy(round.channels[i]);
    }
    fm_deferred_destroy(round.over);
    for (int i = 0; i < VALUES; i++)
        STRESS_CHECK(round.sent[i] == round.received[i],
                     "round %" PRIu64 ": value %d sent %d, received %d", number, i,
                     round.sent[i], round.received[i]);
}

int main(void)
{
    uint64_t random = stress_seed();
    for (uint32_t workers = 1; workers <= 4; workers *= 2) {
        struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
        struct fm_runtime *runtime;
        config.worker_count = workers;
        STRESS_CHECK(fm_runtime_create(&config, &runtime) == 0, "runtime");
        for (uint64_t round = 0; round < stress_rounds(1500); round++)
            play(runtime, round, &random);
        fm_runtime_destroy(runtime);
    }
    return 0;
}
