/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_sync_mix.c - fibers and threads over one set of objects, interrupted and timed out at
 * random
 *
 * Each actor draws an operation: the mutex with a plain counter inside, the semaphore with its
 * accounts, a token passed through the condition. An interrupter picks fibers of the present
 * round. At the end of a round all permits are back, the mutex is free, the counter and the
 * tokens add up. F75, F76, F78, F79.
 */
#include <errno.h>
#include <fm/fm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/stress.h"

enum { FIBERS = 12, THREADS = 2, STEPS = 24, PERMITS = 5 };

struct round {
    struct fm_mutex *mutex;
    struct fm_cond *cond;
    struct fm_semaphore *semaphore;
    struct fm_deferred *over;
    uint64_t number;
    long counter; /* under the mutex */
    long tokens;  /* under the mutex; taken only by those who saw one */
    _Atomic long adds, puts, takes;
    _Atomic long inside; /* permits held */
};

struct actor {
    struct round *round;
    uint64_t random;
    int64_t permits; /* of its present with */
};

static void check_result(struct round *round, int r)
{
    STRESS_CHECK(r == 0 || r == -ECANCELED || r == -ETIMEDOUT, "round %" PRIu64 ": result %d",
                 round->number, r);
}

static int64_t some_deadline(uint64_t *random)
{
    switch (stress_random(random) % 4) {
    case 0: return 0;
    case 1: return fm_after_us((int64_t)(stress_random(random) % 50));
    default: return fm_after_us(300);
    }
}

static void unlock(struct round *round)
{
    int r = fm_mutex_unlock(round->mutex);
    STRESS_CHECK(r == 0, "round %" PRIu64 ": unlock gave %d", round->number, r);
}

static void add(struct actor *actor)
{
    struct round *round = actor->round;
    int r = fm_mutex_lock(round->mutex, some_deadline(&actor->random));
    check_result(round, r);
    if (r < 0)
        return;
    long before = round->counter;
    if (stress_random(&actor->random) % 8 == 0)
        fm_yield();
    round->counter = before + 1;
    atomic_fetch_add(&round->adds, 1);
    unlock(round);
}

static struct fm_exit hold(void *arg)
{
    struct actor *actor = arg;
    long n = (long)actor->permits;
    long inside = atomic_fetch_add(&actor->round->inside, n) + n;
    STRESS_CHECK(inside <= PERMITS, "round %" PRIu64 ": %ld inside", actor->round->number,
                 inside);
    if (stress_random(&actor->random) % 4 == 0)
        fm_yield();
    atomic_fetch_sub(&actor->round->inside, n);
    return fm_ok(NULL);
}

static void with(struct actor *actor)
{
    struct fm_exit exit;
    actor->permits = (int64_t)(stress_random(&actor->random) % (PERMITS + 1));
    check_result(actor->round, fm_semaphore_with(actor->round->semaphore, actor->permits, hold,
                                                 actor, some_deadline(&actor->random), &exit));
}

static void put(struct actor *actor)
{
    struct round *round = actor->round;
    int r = fm_mutex_lock(round->mutex, FM_NEVER);
    check_result(round, r);
    if (r < 0)
        return;
    round->tokens++;
    atomic_fetch_add(&round->puts, 1);
    bool under = stress_random(&actor->random) & 1;
    bool all = stress_random(&actor->random) % 8 == 0;
    if (!under)
        unlock(round);
    if (all)
        fm_cond_broadcast(round->cond);
    else
        fm_cond_signal(round->cond);
    if (under)
        unlock(round);
}

static void take(struct actor *actor)
{
    struct round *round = actor->round;
    int64_t deadline = some_deadline(&actor->random);
    int r = fm_mutex_lock(round->mutex, FM_NEVER);
    check_result(round, r);
    if (r < 0)
        return;
    while (round->tokens == 0 && r == 0)
        r = fm_cond_wait(round->cond, round->mutex, deadline);
    check_result(round, r);
    if (round->tokens > 0) {
        round->tokens--;
        atomic_fetch_add(&round->takes, 1);
    }
    unlock(round);
}

static void act(struct actor *actor)
{
    for (int i = 0; i < STEPS; i++) {
        switch (stress_random(&actor->random) % 5) {
        case 0: add(actor); break;
        case 1: with(actor); break;
        case 2: put(actor); break;
        case 3: take(actor); break;
        default: stress_jitter(&actor->random);
        }
    }
}

static struct fm_exit act_fiber(void *arg)
{
    struct actor *actor = arg;
    act(actor);
    if (stress_random(&actor->random) % 2)
        check_result(actor->round, fm_deferred_await(actor->round->over, FM_NEVER, NULL));
    return fm_ok(NULL);
}

static void *act_thread(void *arg)
{
    struct actor *actor = arg;
    act(actor);
    check_result(actor->round, fm_deferred_await(actor->round->over, FM_NEVER, NULL));
    return NULL;
}

static void play(struct fm_runtime *runtime, uint64_t number, uint64_t *random)
{
    struct round round = { .number = number };
    struct actor actors[FIBERS + THREADS];
    struct fm_fiber *fibers[FIBERS];
    pthread_t threads[THREADS];
    bool with_threads = number % 8 == 0;

    STRESS_CHECK(fm_mutex_create(&round.mutex) == 0 && fm_cond_create(&round.cond) == 0 &&
                     fm_semaphore_create(PERMITS, &round.semaphore) == 0 &&
                     fm_deferred_create(&round.over) == 0,
                 "no memory");
    for (int i = 0; i < FIBERS + THREADS; i++)
        actors[i] = (struct actor) { &round, stress_random(random) | 1, 0 };
    for (int i = 0; i < FIBERS; i++) {
        int r = fm_runtime_spawn(runtime, act_fiber, &actors[i], NULL, &fibers[i]);
        STRESS_CHECK(r == 0, "spawn gave %d", r);
    }
    for (int i = 0; i < THREADS && with_threads; i++)
        pthread_create(&threads[i], NULL, act_thread, &actors[FIBERS + i]);
    for (int i = 0; i < FIBERS / 3; i++) {
        stress_jitter(random);
        fm_fiber_interrupt(fibers[stress_random(random) % FIBERS]);
    }
    STRESS_CHECK(fm_deferred_succeed(round.over, NULL) == 0, "completed twice");
    for (int i = 0; i < FIBERS; i++) {
        STRESS_CHECK(fm_fiber_join(fibers[i], FM_NEVER, NULL) == 0, "join");
        fm_fiber_unref(fibers[i]);
    }
    for (int i = 0; i < THREADS && with_threads; i++)
        pthread_join(threads[i], NULL);

    STRESS_CHECK(round.counter == round.adds, "round %" PRIu64 ": %ld of %ld", number,
                 round.counter, round.adds);
    STRESS_CHECK(round.tokens == round.puts - round.takes, "round %" PRIu64, number);
    STRESS_CHECK(fm_semaphore_free(round.semaphore) == PERMITS,
                 "round %" PRIu64 ": %" PRId64 " free", number,
                 fm_semaphore_free(round.semaphore));
    STRESS_CHECK(fm_semaphore_try_acquire(round.semaphore, PERMITS) == 0, "round %" PRIu64,
                 number);
    STRESS_CHECK(fm_mutex_trylock(round.mutex) == 0, "round %" PRIu64 ": mutex not free",
                 number);
    unlock(&round);
    fm_deferred_destroy(round.over);
    fm_semaphore_destroy(round.semaphore);
    fm_cond_destroy(round.cond);
    fm_mutex_destroy(round.mutex);
}

int main(void)
{
    uint64_t random = stress_seed();
    for (uint32_t workers = 1; workers <= 4; workers *= 2) {
        struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
        struct fm_runtime *runtime;
        config.worker_count = workers;
        STRESS_CHECK(fm_runtime_create(&config, &runtime) == 0, "runtime");
        for (uint64_t round = 0; round < stress_rounds(3000); round++)
            play(runtime, round, &random);
        fm_runtime_destroy(runtime);
    }
    return 0;
}
