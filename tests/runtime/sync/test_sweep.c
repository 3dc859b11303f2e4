/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sweep.c - every call that waits, left early at every step
 *
 * One table, a row for each waiting call. Two wait for something of which there is one; one of
 * them, the victim, is interrupted or times out at step k, and the thing is given at step j, for
 * all k and j, in both orders where they are the same. With one worker the steps are exact: not
 * begun, on its way, waiting, woken and not yet run, running again, passing the thing on, ended.
 * Whatever happened, the other gets it, and at the end there is one again: not two, not none.
 *
 * A new call is one row and the few functions that it names.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "runtime/fiber/fiber.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

#define INTERVAL_NS INT64_C(300000)

enum { WAITERS = 2, STEPS = 10 };

struct scene;

struct call {
    const char *name;
    void (*make)(struct scene *scene); /* the driver; who waits now, waits */
    /* what is swept: 0, then it is the caller's · -ECANCELED · -ETIMEDOUT */
    int (*wait)(struct scene *scene, int64_t deadline_ns);
    void (*give)(struct scene *scene); /* the driver, once: now it is there */
    void (*pass)(struct scene *scene); /* who got it passes it on; NULL: nothing to do */
    bool (*take)(struct scene *scene); /* at the end, by the driver, if it is there */
    void (*drop)(struct scene *scene);
    enum kind {
        ONE,    /* it goes from hand to hand */
        SHARED, /* it stays there for all: take finds it twice */
        TIMED,  /* time gives it again and again, and only time makes it late */
    } kind;
};

struct waiter {
    struct scene *scene;
    struct fm_fiber *fiber;
    int64_t deadline_ns;
    _Atomic int result; /* 1: not back yet */
};

struct scene {
    const struct call *call;
    void *object, *other;
    int tokens; /* of a condition */
    bool threads;
    struct waiter waiters[WAITERS];
};

#define OK(call) cr_assert_eq(call, 0)

/* ---- the calls ---- */

static void deferred_make(struct scene *s)
{
    OK(fm_deferred_create((struct fm_deferred **)&s->object));
}

static int deferred_wait(struct scene *s, int64_t deadline_ns)
{
    return fm_deferred_await(s->object, deadline_ns, NULL);
}

static void deferred_give(struct scene *s)
{
    OK(fm_deferred_succeed(s->object, NULL));
}

static bool deferred_take(struct scene *s)
{
    return fm_deferred_poll(s->object, NULL) == 0;
}

static void deferred_drop(struct scene *s)
{
    fm_deferred_destroy(s->object);
}

static void promise_make(struct scene *s)
{
    OK(fm_promise_create((struct fm_promise **)&s->object));
}

static int promise_wait(struct scene *s, int64_t deadline_ns)
{
    return fm_promise_await(s->object, deadline_ns, NULL);
}

static void promise_give(struct scene *s)
{
    OK(fm_promise_complete(s->object, fm_ok(NULL)));
}

static bool promise_take(struct scene *s)
{
    return fm_promise_poll(s->object, NULL) == 0;
}

static void promise_drop(struct scene *s)
{
    fm_promise_unref(s->object);
}

static void mutex_make(struct scene *s)
{
    OK(fm_mutex_create((struct fm_mutex **)&s->object));
    OK(fm_mutex_trylock(s->object));
}

static int mutex_wait(struct scene *s, int64_t deadline_ns)
{
    return fm_mutex_lock(s->object, deadline_ns);
}

static void mutex_unlock(struct scene *s)
{
    OK(fm_mutex_unlock(s->object));
}

static bool mutex_take(struct scene *s)
{
    int r = fm_mutex_trylock(s->object);
    cr_assert(r == 0 || r == -EDEADLK, "held by nobody else");
    return r == 0;
}

static void mutex_drop(struct scene *s)
{
    fm_mutex_destroy(s->object);
}

/* A token under a mutex; who waits for the condition takes it. */
static void cond_make(struct scene *s)
{
    OK(fm_cond_create((struct fm_cond **)&s->object));
    OK(fm_mutex_create((struct fm_mutex **)&s->other));
}

static int cond_wait(struct scene *s, int64_t deadline_ns)
{
    int r = fm_mutex_lock(s->other, FM_NEVER);
    if (r < 0)
        return r;
    while (r == 0 && s->tokens == 0)
        r = fm_cond_wait(s->object, s->other, deadline_ns);
    if (s->tokens > 0)
        r = 0; /* late, and there all the same */
    s->tokens -= r == 0;
    OK(fm_mutex_unlock(s->other));
    return r;
}

static void cond_put(struct scene *s, int (*tell)(struct fm_cond *cond), bool under)
{
    OK(fm_mutex_lock(s->other, FM_NEVER));
    s->tokens++;
    if (under)
        cr_assert_geq(tell(s->object), 0);
    OK(fm_mutex_unlock(s->other));
    if (!under)
        cr_assert_geq(tell(s->object), 0);
}

static void cond_give_signal(struct scene *s)
{
    cond_put(s, fm_cond_signal, false);
}

static void cond_give_broadcast(struct scene *s)
{
    cond_put(s, fm_cond_broadcast, true);
}

static bool cond_take(struct scene *s)
{
    OK(fm_mutex_trylock(s->other));
    bool there = s->tokens > 0;
    s->tokens -= there;
    OK(fm_mutex_unlock(s->other));
    return there;
}

static void cond_drop(struct scene *s)
{
    fm_cond_destroy(s->object);
    fm_mutex_destroy(s->other);
}

static void semaphore_make(struct scene *s)
{
    OK(fm_semaphore_create(0, (struct fm_semaphore **)&s->object));
}

static int semaphore_wait(struct scene *s, int64_t deadline_ns)
{
    return fm_semaphore_acquire(s->object, 2, deadline_ns);
}

static void semaphore_give(struct scene *s)
{
    OK(fm_semaphore_release(s->object, 2));
}

static struct fm_exit yield_inside(void *arg)
{
    if (fm_fiber_self())
        fm_yield(); /* an interruption is seen by the body's own waits, not here */
    return fm_ok(arg);
}

static int semaphore_with(struct scene *s, int64_t deadline_ns)
{
    struct fm_exit exit;
    return fm_semaphore_with(s->object, 2, yield_inside, NULL, deadline_ns, &exit);
}

static bool semaphore_take(struct scene *s)
{
    int64_t there = fm_semaphore_free(s->object);
    cr_assert(there == 0 || there == 2, "%ld free", (long)there);
    return fm_semaphore_try_acquire(s->object, 2) == 0;
}

static void semaphore_drop(struct scene *s)
{
    fm_semaphore_destroy(s->object);
}

static void rwlock_make(struct scene *s)
{
    OK(fm_rwlock_create((struct fm_rwlock **)&s->object));
    OK(fm_rwlock_trylock_write(s->object));
}

static int rwlock_read(struct scene *s, int64_t deadline_ns)
{
    return fm_rwlock_lock_read(s->object, deadline_ns);
}

static int rwlock_write(struct scene *s, int64_t deadline_ns)
{
    return fm_rwlock_lock_write(s->object, deadline_ns);
}

static void rwlock_unlock(struct scene *s)
{
    OK(fm_rwlock_unlock(s->object));
}

static bool rwlock_take(struct scene *s)
{
    int r = fm_rwlock_trylock_write(s->object);
    cr_assert(r == 0 || r == -EDEADLK, "held by nobody else");
    return r == 0;
}

static void rwlock_drop(struct scene *s)
{
    fm_rwlock_destroy(s->object);
}

static void latch_make(struct scene *s)
{
    OK(fm_latch_create(3, (struct fm_latch **)&s->object));
}

static int latch_wait(struct scene *s, int64_t deadline_ns)
{
    return fm_latch_wait(s->object, deadline_ns);
}

static void latch_give(struct scene *s)
{
    for (int i = 0; i < 3; i++)
        OK(fm_latch_count_down(s->object, 1));
}

static bool latch_take(struct scene *s)
{
    return fm_latch_wait(s->object, 0) == 0;
}

static void latch_drop(struct scene *s)
{
    fm_latch_destroy(s->object);
}

static void waitgroup_make(struct scene *s)
{
    OK(fm_waitgroup_create((struct fm_waitgroup **)&s->object));
    OK(fm_waitgroup_add(s->object, 2));
}

static int waitgroup_wait(struct scene *s, int64_t deadline_ns)
{
    return fm_waitgroup_wait(s->object, deadline_ns);
}

static void waitgroup_give(struct scene *s)
{
    OK(fm_waitgroup_add(s->object, -2));
}

static bool waitgroup_take(struct scene *s)
{
    return fm_waitgroup_wait(s->object, 0) == 0;
}

static void waitgroup_drop(struct scene *s)
{
    fm_waitgroup_destroy(s->object);
}

static void limiter_make(struct scene *s, uint32_t algorithm)
{
    struct fm_rate_limiter_config config = FM_RATE_LIMITER_CONFIG_INIT;
    config.algorithm = algorithm;
    config.limit = 2;
    config.interval_ns = INTERVAL_NS;
    if (s->threads)
        config.interval_ns /= 4;
    OK(fm_rate_limiter_create(&config, (struct fm_rate_limiter **)&s->object));
    OK(fm_rate_limiter_try_acquire(s->object, 2));
}

static void bucket_make(struct scene *s)
{
    limiter_make(s, FM_RATE_TOKEN_BUCKET);
}

static void window_make(struct scene *s)
{
    limiter_make(s, FM_RATE_FIXED_WINDOW);
}

static int limiter_wait(struct scene *s, int64_t deadline_ns)
{
    return fm_rate_limiter_acquire(s->object, 2, deadline_ns);
}

static void pass_time(struct scene *s, int64_t n)
{
    if (s->threads)
        OK(fm_sleep_ns(n));
    else
        OK(fm_clock_advance_ns(fm_runtime_current(), n));
}

static void limiter_give(struct scene *s)
{
    pass_time(s, INTERVAL_NS);
}

static bool limiter_take(struct scene *s)
{
    return fm_rate_limiter_try_acquire(s->object, 2) == 0;
}

static void limiter_drop(struct scene *s)
{
    fm_rate_limiter_destroy(s->object);
}

static void say(struct scene *s)
{
    struct fm_value *value;
    OK(fm_value_create(s, NULL, &value));
    OK(fm_pubsub_try_publish(s->object, value));
    fm_value_unref(value);
}

static void pubsub_make(struct scene *s)
{
    struct fm_pubsub_config config = FM_PUBSUB_CONFIG_INIT;
    config.capacity = 1;
    OK(fm_pubsub_create(&config, (struct fm_pubsub **)&s->object));
    OK(fm_pubsub_subscribe(s->object, NULL, (struct fm_subscriber **)&s->other));
}

static void pubsub_make_full(struct scene *s)
{
    pubsub_make(s);
    say(s);
}

static int pubsub_recv(struct scene *s, int64_t deadline_ns)
{
    struct fm_value *value;
    int r = fm_subscriber_recv(s->other, deadline_ns, &value);
    if (r == 0) {
        cr_assert_eq(fm_value_pointer(value), s);
        fm_value_unref(value);
    }
    return r;
}

static int pubsub_publish(struct scene *s, int64_t deadline_ns)
{
    struct fm_value *value;
    OK(fm_value_create(s, NULL, &value));
    int r = fm_pubsub_publish(s->object, value, deadline_ns);
    fm_value_unref(value);
    return r;
}

static void hear(struct scene *s)
{
    OK(fm_subscriber_try_recv(s->other, NULL));
}

static bool pubsub_take_message(struct scene *s)
{
    return fm_subscriber_try_recv(s->other, NULL) == 0;
}

static bool pubsub_take_room(struct scene *s)
{
    return pubsub_publish(s, 0) == 0;
}

static void pubsub_drop(struct scene *s)
{
    fm_pubsub_unsubscribe(s->other);
    fm_pubsub_destroy(s->object);
}

/* A value, or the place for one, in either of two channels. */
static void channel_make(struct scene *s)
{
    OK(fm_channel_create(1, NULL, (struct fm_channel **)&s->object));
    OK(fm_channel_create(1, NULL, (struct fm_channel **)&s->other));
}

static void channel_put(struct scene *s)
{
    OK(fm_channel_try_send(s->object, s));
}

static void channel_put_other(struct scene *s)
{
    OK(fm_channel_try_send(s->other, s));
}

static void channel_make_full(struct scene *s)
{
    channel_make(s);
    channel_put(s);
    channel_put_other(s);
}

static int channel_recv(struct scene *s, int64_t deadline_ns)
{
    void *value = s;
    int r = fm_channel_recv(s->object, deadline_ns, &value);
    cr_assert_eq(value, s);
    return r;
}

static int channel_send(struct scene *s, int64_t deadline_ns)
{
    return fm_channel_send(s->object, s, deadline_ns);
}

static void channel_get(struct scene *s)
{
    OK(fm_channel_try_recv(s->object, NULL));
}

static void channel_get_other(struct scene *s)
{
    OK(fm_channel_try_recv(s->other, NULL));
}

static bool channel_take_value(struct scene *s)
{
    return fm_channel_try_recv(s->object, NULL) == 0 ||
           fm_channel_try_recv(s->other, NULL) == 0;
}

static bool channel_take_place(struct scene *s)
{
    return fm_channel_try_send(s->object, s) == 0 || fm_channel_try_send(s->other, s) == 0;
}

static int select_recv(struct scene *s, int64_t deadline_ns)
{
    struct fm_case cases[] = { fm_case_recv(s->object), fm_case_recv(s->other) };
    size_t index;
    int r = fm_select(cases, 2, deadline_ns, &index);
    if (r == 0)
        cr_assert_eq(cases[index].value, s);
    return r;
}

static int select_send(struct scene *s, int64_t deadline_ns)
{
    struct fm_case cases[] = { fm_case_send(s->object, s), fm_case_send(s->other, s) };
    return fm_select(cases, 2, deadline_ns, NULL);
}

static void channel_drop(struct scene *s)
{
    fm_channel_destroy(s->object);
    fm_channel_destroy(s->other);
}

static const struct call calls[] = {
    { "deferred", deferred_make, deferred_wait, deferred_give, NULL, deferred_take,
      deferred_drop, SHARED },
    { "promise", promise_make, promise_wait, promise_give, NULL, promise_take, promise_drop,
      SHARED },
    { "mutex", mutex_make, mutex_wait, mutex_unlock, mutex_unlock, mutex_take, mutex_drop,
      ONE },
    { "condition, signal", cond_make, cond_wait, cond_give_signal, cond_give_signal, cond_take,
      cond_drop, ONE },
    { "condition, broadcast", cond_make, cond_wait, cond_give_broadcast, cond_give_broadcast,
      cond_take, cond_drop, ONE },
    { "semaphore", semaphore_make, semaphore_wait, semaphore_give, semaphore_give,
      semaphore_take, semaphore_drop, ONE },
    { "semaphore, with", semaphore_make, semaphore_with, semaphore_give, NULL, semaphore_take,
      semaphore_drop, ONE },
    { "lock to read", rwlock_make, rwlock_read, rwlock_unlock, rwlock_unlock, rwlock_take,
      rwlock_drop, ONE },
    { "lock to write", rwlock_make, rwlock_write, rwlock_unlock, rwlock_unlock, rwlock_take,
      rwlock_drop, ONE },
    { "latch", latch_make, latch_wait, latch_give, NULL, latch_take, latch_drop, SHARED },
    { "wait group", waitgroup_make, waitgroup_wait, waitgroup_give, NULL, waitgroup_take,
      waitgroup_drop, SHARED },
    { "rate limiter, bucket", bucket_make, limiter_wait, limiter_give, NULL, limiter_take,
      limiter_drop, TIMED },
    { "rate limiter, window", window_make, limiter_wait, limiter_give, NULL, limiter_take,
      limiter_drop, TIMED },
    { "subscription", pubsub_make, pubsub_recv, say, say, pubsub_take_message, pubsub_drop,
      ONE },
    { "publish", pubsub_make_full, pubsub_publish, hear, hear, pubsub_take_room, pubsub_drop,
      ONE },
    { "channel, receive", channel_make, channel_recv, channel_put, channel_put,
      channel_take_value, channel_drop, ONE },
    { "channel, send", channel_make_full, channel_send, channel_get, channel_get,
      channel_take_place, channel_drop, ONE },
    { "select, receive", channel_make, select_recv, channel_put, channel_put_other,
      channel_take_value, channel_drop, ONE },
    { "select, send", channel_make_full, select_send, channel_get, channel_get_other,
      channel_take_place, channel_drop, ONE },
};

enum { CALLS = sizeof calls / sizeof *calls };

/* ---- the sweep ---- */

static void wait_once(struct waiter *waiter)
{
    struct scene *scene = waiter->scene;
    int r = scene->call->wait(scene, waiter->deadline_ns);
    if (r == 0) {
        fm_mask();
        if (fm_fiber_self())
            fm_yield(); /* in hand */
        if (scene->call->pass)
            scene->call->pass(scene);
        fm_unmask();
    }
    waiter->result = r;
}

static struct fm_exit waiter_body(void *arg)
{
    fm_mask();
    fm_yield(); /* a step before the call, whatever is pending */
    fm_unmask();
    wait_once(arg);
    return fm_ok(NULL);
}

enum end { BY_INTERRUPT, BY_DEADLINE };

static void end_wait(struct waiter *victim, enum end end)
{
    if (end == BY_INTERRUPT)
        fm_fiber_interrupt(victim->fiber);
    else if (victim->scene->call->kind == TIMED)
        pass_time(victim->scene, INTERVAL_NS / 3);
    else
        time_out(victim->fiber); /* if it has come to a wait that has one */
}

/* What was given once is there once. */
static void check_left(struct scene *scene, const char *when)
{
    const struct call *call = scene->call;
    if (call->kind == TIMED)
        pass_time(scene, INTERVAL_NS);
    cr_assert(call->take(scene), "%s: lost %s", call->name, when);
    if (!scene->threads || call->kind != TIMED)
        cr_assert_eq(call->take(scene), call->kind == SHARED, "%s: made out of nothing %s",
                     call->name, when);
    /* what was locked is unlocked for the drop; a permit may go with its object */
    if (call->take == mutex_take || call->take == rwlock_take)
        call->give(scene);
}

static void play(const struct call *call, int victim, enum end end, int at, int given_at,
                 bool end_first, int outcomes[2])
{
    struct scene scene = { .call = call };
    char when[96];
    snprintf(when, sizeof when, "(waiter %d, %s at %d, given at %d, %s first)", victim,
             end == BY_INTERRUPT ? "interrupted" : "late", at, given_at,
             end_first ? "that" : "the gift");
    call->make(&scene);
    for (int i = 0; i < WAITERS; i++) {
        bool may_be_late = i == victim && end == BY_DEADLINE;
        scene.waiters[i] = (struct waiter) {
            .scene = &scene,
            .deadline_ns = !may_be_late ? FM_NEVER
                           : call->kind == TIMED
                               ? fm_after_ns(at % 2 ? INTERVAL_NS / 3 : 5 * INTERVAL_NS)
                               : fm_after_s(1000),
            .result = 1,
        };
        scene.waiters[i].fiber = start(waiter_body, &scene.waiters[i]);
    }
    for (int step = 0; step <= STEPS; step++) {
        if (step == at && end_first)
            end_wait(&scene.waiters[victim], end);
        if (step == given_at)
            call->give(&scene);
        if (step == at && !end_first)
            end_wait(&scene.waiters[victim], end);
        fm_yield();
    }
    if (call->kind == TIMED)
        pass_time(&scene, 2 * INTERVAL_NS);
    for (int i = 0; i < WAITERS; i++) {
        struct fm_exit exit = finish(scene.waiters[i].fiber);
        int early = end == BY_INTERRUPT ? -ECANCELED : -ETIMEDOUT;
        bool began = exit.kind == FM_SUCCESS; /* else it was interrupted before it ran */
        int r = began ? scene.waiters[i].result : early;
        cr_assert(r == 0 || (r == early && i == victim), "%s: waiter %d got %d %s", call->name,
                  i, r, when);
        if (i == victim)
            outcomes[r == 0]++;
    }
    check_left(&scene, when);
    call->drop(&scene);
}

static void sweep(const struct call *call)
{
    for (int end = BY_INTERRUPT; end <= BY_DEADLINE; end++) {
        int outcomes[2] = { 0, 0 };
        for (int i = 0; i < WAITERS * STEPS * STEPS; i++) {
            int victim = i % WAITERS, at = i / WAITERS % STEPS, given_at = i / WAITERS / STEPS;
            play(call, victim, end, at, given_at, true, outcomes);
            if (at == given_at)
                play(call, victim, end, at, given_at, false, outcomes);
        }
        cr_assert(outcomes[0] > 0 && outcomes[1] > 0, "%s: the sweep met both ends: %d, %d",
                  call->name, outcomes[0], outcomes[1]);
    }
}

static struct fm_exit sweep_all(void *arg)
{
    for (int i = 0; i < CALLS; i++)
        sweep(&calls[i]);
    return fm_ok(NULL);
}

/* F75, F76, F77, F79, F80, T147 */
TEST_WITH(sweep, whoever_leaves_a_wait_at_any_step_takes_nothing_along, .timeout = 120)
{
    run_in_fibers(sweep_all, 1, FM_CLOCK_VIRTUAL);
}

TEST_WITH(sweep, the_same_with_two_workers, .timeout = 120)
{
    run_in_fibers(sweep_all, 2, FM_CLOCK_VIRTUAL);
}

/* ---- threads: these are never interrupted, but late; their clock is the real one ---- */

static void *waiter_thread(void *arg)
{
    wait_once(arg);
    return NULL;
}

/* given_in_ns FM_NEVER: when the first has gone. */
static void play_threads(const struct call *call, int64_t in_ns, int64_t given_in_ns,
                         int outcomes[2])
{
    struct scene scene = { .call = call, .threads = true };
    pthread_t threads[WAITERS];
    call->make(&scene);
    for (int i = 0; i < WAITERS; i++) {
        scene.waiters[i] = (struct waiter) {
            .scene = &scene,
            .deadline_ns = i == 0 ? fm_after_ns(in_ns) : FM_NEVER,
            .result = 1,
        };
        OK(pthread_create(&threads[i], NULL, waiter_thread, &scene.waiters[i]));
    }
    for (int64_t until_ns = fm_after_ns(given_in_ns);
         given_in_ns == FM_NEVER ? scene.waiters[0].result == 1 : fm_now_ns() < until_ns;)
        sched_yield();
    call->give(&scene);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
        int r = scene.waiters[i].result;
        cr_assert(r == 0 || (r == -ETIMEDOUT && i == 0), "%s: thread %d got %d", call->name, i,
                  r);
        if (i == 0)
            outcomes[r == 0]++;
    }
    check_left(&scene, "(threads)");
    call->drop(&scene);
}

/* The driver is a fiber: the other side of each hand-off. */
static struct fm_exit sweep_threads(void *arg)
{
    enum { ROUNDS = 40 };
    for (int i = 0; i < CALLS; i++) {
        int outcomes[2] = { 0, 0 };
        for (int round = 0; round < ROUNDS; round++)
            play_threads(&calls[i], round * 10000, 100000 + round % 7 * 15000, outcomes);
        play_threads(&calls[i], 1000, FM_NEVER, outcomes);
        if (calls[i].kind != TIMED) /* a permit may be there before the thread is */
            cr_assert_gt(outcomes[0], 0, "%s", calls[i].name);
    }
    return fm_ok(NULL);
}

TEST_WITH(sweep, threads_that_are_late_take_nothing_along, .timeout = 120)
{
    run_in_fibers(sweep_threads, 2, REAL_TIME);
}
