/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_sync_mix.c - fibers and threads over one set of objects, interrupted and timed out at
 * random
 *
 * Each actor draws an operation: the mutex with a plain counter inside, the semaphore with its
 * accounts, a token passed through the condition, two plain numbers under the read/write lock, a
 * count in a cell of values, a word to all who listen. An interrupter picks fibers of the present
 * round. At the end of a round all permits are back, the locks are free, the numbers, the tokens
 * and the words add up. F75, F76, F78, F79.
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
    struct fm_rwlock *rwlock;
    struct fm_ref *ref;
    struct fm_waitgroup *busy; /* actors that are at their steps */
    struct fm_pubsub *pubsub;
    struct fm_subscriber *subscriber;
    long left, right; /* under the read/write lock */
    _Atomic long writes, updates, said, heard;
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

static void read_or_write(struct actor *actor)
{
    struct round *round = actor->round;
    bool write = stress_random(&actor->random) % 4 == 0;
    int64_t deadline = some_deadline(&actor->random);
    int r = write ? fm_rwlock_lock_write(round->rwlock, deadline)
                  : fm_rwlock_lock_read(round->rwlock, deadline);
    check_result(round, r);
    if (r < 0)
        return;
    long left = round->left;
    if (stress_random(&actor->random) % 8 == 0)
        fm_yield();
    STRESS_CHECK(left == round->right, "round %" PRIu64 ": half a write", round->number);
    if (write) {
        round->left++;
        round->right++;
        atomic_fetch_add(&round->writes, 1);
    }
    r = fm_rwlock_unlock(round->rwlock);
    STRESS_CHECK(r == 0, "round %" PRIu64 ": unlock gave %d", round->number, r);
}

static int count_up(void *ctx, struct fm_value *present, struct fm_value **ret_next)
{
    (void)ctx;
    intptr_t next = (intptr_t)fm_value_pointer(present) + 1;
    return fm_value_create((void *)next, NULL, ret_next);
}

static void update(struct actor *actor)
{
    int r = fm_ref_update(actor->round->ref, count_up, NULL);
    STRESS_CHECK(r == 0, "round %" PRIu64 ": update gave %d", actor->round->number, r);
    atomic_fetch_add(&actor->round->updates, 1);
}

static void say_or_hear(struct actor *actor)
{
    struct round *round = actor->round;
    int64_t deadline = some_deadline(&actor->random);
    struct fm_value *value;
    int r;
    if (stress_random(&actor->random) & 1) {
        value = fm_ref_get(round->ref);
        r = fm_pubsub_publish(round->pubsub, value, deadline);
        atomic_fetch_add(&round->said, r == 0);
    } else {
        r = fm_subscriber_recv(round->subscriber, deadline, &value);
        atomic_fetch_add(&round->heard, r == 0);
        if (r < 0)
            value = NULL;
    }
    fm_value_unref(value);
    check_result(round, r);
}

static void act(struct actor *actor)
{
    STRESS_CHECK(fm_waitgroup_add(actor->round->busy, 1) == 0, "a round of more than 2^60");
    for (int i = 0; i < STEPS; i++) {
        switch (stress_random(&actor->random) % 8) {
        case 5: read_or_write(actor); break;
        case 6: update(actor); break;
        case 7: say_or_hear(actor); break;
        case 0: add(actor); break;
        case 1: with(actor); break;
        case 2: put(actor); break;
        case 3: take(actor); break;
        default: stress_jitter(&actor->random);
        }
    }
    STRESS_CHECK(fm_waitgroup_done(actor->round->busy) == 0, "one done too many");
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

static void make_more(struct round *round)
{
    struct fm_pubsub_config config = FM_PUBSUB_CONFIG_INIT;
    struct fm_value *value;
    config.capacity = 4;
    STRESS_CHECK(fm_rwlock_create(&round->rwlock) == 0 &&
                     fm_waitgroup_create(&round->busy) == 0 &&
                     fm_value_create(NULL, NULL, &value) == 0 &&
                     fm_ref_create(value, &round->ref) == 0 &&
                     fm_pubsub_create(&config, &round->pubsub) == 0 &&
                     fm_pubsub_subscribe(round->pubsub, NULL, &round->subscriber) == 0,
                 "no memory");
    fm_value_unref(value);
}

static void check_more(struct round *round)
{
    STRESS_CHECK(fm_waitgroup_wait(round->busy, 0) == 0, "round %" PRIu64, round->number);
    STRESS_CHECK(round->left == round->writes && round->right == round->writes,
                 "round %" PRIu64 ": %ld and %ld of %ld", round->number, round->left,
                 round->right, round->writes);
    STRESS_CHECK(fm_rwlock_trylock_write(round->rwlock) == 0, "round %" PRIu64 ": held",
                 round->number);
    struct fm_value *value = fm_ref_get(round->ref);
    STRESS_CHECK((intptr_t)fm_value_pointer(value) == round->updates, "round %" PRIu64,
                 round->number);
    fm_value_unref(value);
    while (fm_subscriber_try_recv(round->subscriber, NULL) == 0)
        round->heard++;
    STRESS_CHECK(round->said == round->heard, "round %" PRIu64 ": said %ld, heard %ld",
                 round->number, round->said, round->heard);
    fm_pubsub_unsubscribe(round->subscriber);
    fm_pubsub_destroy(round->pubsub);
    fm_ref_destroy(round->ref);
    fm_waitgroup_destroy(round->busy);
    fm_rwlock_destroy(round->rwlock);
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
    make_more(&round);
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
    STRESS_CHECK(fm_waitgroup_wait(round.busy, FM_NEVER) == 0, "wait");
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
    check_more(&round);
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
