/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mutex.c - one holder at a time; test_mutex_passing.c has who comes first. F-numbers are
 * the faults of the catalogue that a test covers
 */
#include <errno.h>
#include <pthread.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

static struct fm_mutex *make(void)
{
    struct fm_mutex *mutex;
    cr_assert_eq(fm_mutex_create(&mutex), 0);
    return mutex;
}

struct order {
    struct fm_mutex *mutex;
    int arrived[8], arrivals;
    int served[8], serves;
};

struct visitor {
    struct order *order;
    int name;
    int result;
};

static struct fm_exit visit(void *arg)
{
    struct visitor *visitor = arg;
    struct order *order = visitor->order;
    order->arrived[order->arrivals++] = visitor->name;
    visitor->result = fm_mutex_lock(order->mutex, FM_NEVER);
    if (visitor->result < 0)
        return fm_fail(visitor->result);
    order->served[order->serves++] = visitor->name;
    fm_yield(); /* held across a switch */
    cr_assert_eq(fm_mutex_unlock(order->mutex), 0);
    return fm_ok(NULL);
}

WORKER_TEST(mutex, waiters_are_served_in_the_order_they_came)
{
    struct order order = { .mutex = make() };
    struct visitor visitors[8];
    struct fm_fiber *fibers[8];
    cr_assert_eq(fm_mutex_lock(order.mutex, FM_NEVER), 0);
    for (int i = 0; i < 8; i++) {
        visitors[i] = (struct visitor) { &order, i, 1 };
        fibers[i] = start(visit, &visitors[i]);
    }
    settle();
    cr_assert_eq(order.serves, 0);
    cr_assert_eq(order.arrivals, 8);
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    for (int i = 0; i < 8; i++)
        finish(fibers[i]);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(order.served[i], order.arrived[i], "place %d", i);
    fm_mutex_destroy(order.mutex);
}

/* The table of misuse, from a fiber and from a thread. */
static struct fm_exit unlock_it(void *arg)
{
    return fm_fail(fm_mutex_unlock(arg));
}

static struct fm_exit lock_it(void *arg)
{
    return fm_fail(fm_mutex_lock(arg, fm_after_ms(1)));
}

static void *unlock_thread(void *arg)
{
    return number(fm_mutex_unlock(arg));
}

static void *trylock_thread(void *arg)
{
    return number(fm_mutex_trylock(arg));
}

static void *in_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, fn, arg), 0);
    pthread_join(thread, &result);
    return result;
}

static struct fm_exit misuse_body(void *arg)
{
    bool fiber = fm_fiber_self() != NULL;
    struct fm_mutex *mutex = make();
    cr_assert_eq(fm_mutex_unlock(mutex), -EPERM, "free");
    cr_assert_eq(fm_mutex_lock(mutex, FM_NEVER), 0);
    cr_assert_eq(fm_mutex_lock(mutex, FM_NEVER), -EDEADLK);
    cr_assert_eq(fm_mutex_lock(mutex, 0), -EDEADLK);
    cr_assert_eq(fm_mutex_trylock(mutex), -EDEADLK);
    if (fiber) {
        cr_assert_eq(finish(start(unlock_it, mutex)).code, -EPERM, "another fiber's");
        cr_assert_eq(finish(start(lock_it, mutex)).code, -ETIMEDOUT);
    }
    cr_assert_eq(in_thread(unlock_thread, mutex), number(-EPERM), "another thread's");
    cr_assert_eq(in_thread(trylock_thread, mutex), number(-EBUSY));
    cr_assert_eq(fm_mutex_unlock(mutex), 0);
    cr_assert_eq(fm_mutex_unlock(mutex), -EPERM, "twice");
    fm_mutex_destroy(mutex);
    return fm_ok(NULL);
}

/* F78 */
TEST(mutex, misuse_is_refused)
{
    run_in_fibers(misuse_body, 1, PASSING_CLOCK);
    misuse_body(NULL);
}

/*
 * Who ends while holding it keeps it; a later fiber in the same descriptor is somebody
 * else.
 */
static struct fm_exit lock_and_end(void *arg)
{
    cr_assert_eq(fm_mutex_lock(arg, FM_NEVER), 0);
    return fm_ok(NULL);
}

static struct fm_exit heir(void *arg)
{
    cr_assert_eq(fm_mutex_unlock(arg), -EPERM);
    cr_assert_eq(fm_mutex_trylock(arg), -EBUSY);
    return fm_ok(NULL);
}

/* F78 */
TIMED_WORKER_TEST(mutex, holder_that_ended_is_not_taken_for_a_later_fiber)
{
    struct fm_mutex *mutex = make();
    finish(start(lock_and_end, mutex));
    for (int i = 0; i < 100; i++)
        finish(start(heir, mutex));
    cr_assert_eq(fm_mutex_lock(mutex, fm_after_ms(1)), -ETIMEDOUT);
    fm_mutex_destroy(mutex);
}

WORKER_TEST(mutex, interrupted_waiter_is_passed_over)
{
    struct order order = { .mutex = make() };
    struct visitor visitors[4];
    struct fm_fiber *fibers[4];
    cr_assert_eq(fm_mutex_lock(order.mutex, FM_NEVER), 0);
    for (int i = 0; i < 4; i++) {
        visitors[i] = (struct visitor) { &order, i, 1 };
        fibers[i] = start(visit, &visitors[i]);
        settle();
    }
    fm_fiber_interrupt(
        fibers[0]); /* at the head of the queue, and not run yet when we unlock */
    fm_fiber_interrupt(fibers[2]);
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(finish(fibers[i]).kind, i % 2 ? FM_SUCCESS : FM_INTERRUPTED);
    cr_assert_eq(order.serves, 2);
    cr_assert_eq(order.served[0], 1);
    cr_assert_eq(order.served[1], 3);
    cr_assert_eq(fm_mutex_trylock(order.mutex), 0, "and it is free at the end");
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    fm_mutex_destroy(order.mutex);
}

struct holding {
    struct fm_mutex *mutex;
    struct fm_deferred *go;
    struct fm_exit exit;
};

static int give_up(void *mutex, struct fm_exit exit)
{
    (void)exit;
    return fm_mutex_unlock(mutex);
}

/* Holds the mutex, in a scope that gives it back, until it may end. */
static struct fm_exit hold_in_a_scope(void *arg)
{
    struct holding *holding = arg;
    int r = fm_mutex_lock(holding->mutex, FM_NEVER);
    if (r == 0)
        r = fm_defer(give_up, holding->mutex);
    if (r == 0)
        r = fm_deferred_await(holding->go, FM_NEVER, NULL);
    return r < 0 ? fm_fail(r) : holding->exit;
}

/* T246 */
WORKER_TEST(mutex, holder_that_fails_or_is_interrupted_gives_it_to_the_next_who_still_waits)
{
    struct fm_exit exits[] = { fm_ok(NULL), fm_fail(-EIO), fm_defect(3), fm_interrupted() };
    for (int i = 0; i < 4; i++) {
        struct holding holding = { .mutex = make(), .exit = exits[i] };
        struct fm_mutex *other = make();
        struct fm_fiber *fiber[3];
        cr_assert_eq(fm_deferred_create(&holding.go), 0);
        for (int n = 0; n < 3; n++) {
            fiber[n] = start(hold_in_a_scope, &holding);
            settle();
        }
        cr_assert_eq(fm_mutex_trylock(other), 0, "another key is another lock");
        cr_assert_eq(fm_mutex_unlock(other), 0);
        cr_assert_eq(fm_fiber_stop(fiber[1], FM_NEVER, NULL), 0);
        if (exits[i].kind == FM_INTERRUPTED)
            fm_fiber_interrupt(fiber[0]);
        else
            fm_deferred_succeed(holding.go, NULL);
        cr_assert_eq(finish(fiber[0]).kind, exits[i].kind);
        settle();
        fm_deferred_succeed(holding.go, NULL);
        cr_assert_eq(finish(fiber[2]).kind, exits[i].kind, "it had its turn");
        cr_assert_eq(finish(fiber[1]).kind, FM_INTERRUPTED);
        cr_assert_eq(fm_mutex_trylock(holding.mutex), 0);
        cr_assert_eq(fm_mutex_unlock(holding.mutex), 0);
        fm_deferred_destroy(holding.go);
        fm_mutex_destroy(holding.mutex);
        fm_mutex_destroy(other);
    }
}

WORKER_TEST(mutex, free_when_all_who_waited_have_left)
{
    struct order order = { .mutex = make() };
    struct visitor visitor = { &order, 0, 1 };
    cr_assert_eq(fm_mutex_lock(order.mutex, FM_NEVER), 0);
    struct fm_fiber *fiber = start(visit, &visitor);
    settle();
    fm_fiber_interrupt(fiber);
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0, "to nobody");
    cr_assert_eq(fm_mutex_trylock(order.mutex), 0, "so it is free");
    cr_assert_eq(finish(fiber).kind, FM_INTERRUPTED);
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    fm_mutex_destroy(order.mutex);
}

/* A pending interruption stops a wait, not a lock that is free. */
static struct fm_exit pending_visit(void *arg)
{
    struct fm_mutex **mutexes = arg;
    cr_assert_eq(fm_never(), -ECANCELED);
    cr_assert_eq(fm_mutex_lock(mutexes[0], FM_NEVER), 0);
    cr_assert_eq(fm_mutex_lock(mutexes[1], FM_NEVER), -ECANCELED);
    fm_mask();
    cr_assert_eq(fm_mutex_lock(mutexes[1], FM_NEVER), 0);
    fm_unmask();
    cr_assert_eq(fm_mutex_unlock(mutexes[1]), 0);
    cr_assert_eq(fm_mutex_unlock(mutexes[0]), 0);
    return fm_ok(NULL);
}

WORKER_TEST(mutex, pending_interruption_ends_a_wait_unless_masked)
{
    struct fm_mutex *mutexes[2] = { make(), make() };
    cr_assert_eq(fm_mutex_lock(mutexes[1], FM_NEVER), 0);
    struct fm_fiber *fiber = start(pending_visit, mutexes);
    settle();
    fm_fiber_interrupt(fiber);
    settle();
    cr_assert_eq(fm_mutex_unlock(mutexes[1]), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    fm_mutex_destroy(mutexes[0]);
    fm_mutex_destroy(mutexes[1]);
}

/* Both sides: a plain counter under the mutex is exact. */
struct counter {
    struct fm_mutex *mutex;
    long n;
};

enum { ADDS = 2000 };

static struct fm_exit add_many(void *arg)
{
    struct counter *counter = arg;
    for (int i = 0; i < ADDS; i++) {
        cr_assert_eq(fm_mutex_lock(counter->mutex, FM_NEVER), 0);
        long n = counter->n;
        if (i % 64 == 0 && fm_fiber_self())
            fm_yield();
        counter->n = n + 1;
        cr_assert_eq(fm_mutex_unlock(counter->mutex), 0);
    }
    return fm_ok(NULL);
}

static void *add_thread(void *arg)
{
    add_many(arg);
    return NULL;
}

FIBER_TEST(mutex, fibers_and_threads_exclude_one_another)
{
    struct counter counter = { .mutex = make() };
    struct fm_fiber *fibers[6];
    pthread_t threads[2];
    for (int i = 0; i < 6; i++)
        fibers[i] = start(add_many, &counter);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, add_thread, &counter), 0);
    for (int i = 0; i < 6; i++)
        finish(fibers[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(counter.n, 8 * ADDS);
    fm_mutex_destroy(counter.mutex);
}

TEST(mutex, wrong_arguments_and_no_memory_are_refused)
{
    struct fm_mutex *mutex = NULL;
    cr_assert_eq(fm_mutex_create(NULL), -EINVAL);
    cr_assert_eq(fm_mutex_lock(NULL, 0), -EINVAL);
    cr_assert_eq(fm_mutex_trylock(NULL), -EINVAL);
    cr_assert_eq(fm_mutex_unlock(NULL), -EINVAL);
    cr_assert_null(fm_mutex_destroy(NULL));
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_mutex_create(&mutex), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_null(mutex);
}
