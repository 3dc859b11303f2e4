/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lock.c - the short lock excludes, and debug builds stop who takes locks against their ranks
 */
#include <pthread.h>
#include <signal.h>

#include "runtime/platform/lock.h"
#include "tests/support/fibers.h"

enum { THREADS = 4, ROUNDS = 20000 };

static struct lock counter_lock = LOCK_INIT(LOCK_SYNC);
static int counter;

static void *count_under_the_lock(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        fm__lock(&counter_lock);
        counter++;
        fm__unlock(&counter_lock);
    }
    return arg;
}

TEST(lock, excludes_threads)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, count_under_the_lock, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(counter, THREADS * ROUNDS);
    cr_assert(fm__lock_try(&counter_lock));
    cr_assert(!fm__lock_try(&counter_lock));
    fm__unlock(&counter_lock);
}

#ifndef NDEBUG
TEST_WITH(lock, a_lower_rank_under_a_higher_one_stops_the_program, .signal = SIGABRT)
{
    static struct lock low = LOCK_INIT(LOCK_MAP_STRIPE), high = LOCK_INIT(LOCK_TIMERS);
    fm__lock(&low);
    fm__lock(&high);
    fm__unlock(&low);
    fm__lock(&low);
}

TEST_WITH(lock, equal_ranks_nest_by_address_alone, .signal = SIGABRT)
{
    static struct lock pair[2] = { LOCK_INIT(LOCK_MAP_STRIPE), LOCK_INIT(LOCK_MAP_STRIPE) };
    fm__lock(&pair[0]);
    fm__lock(&pair[1]);
    fm__unlock(&pair[1]);
    fm__unlock(&pair[0]);
    fm__lock(&pair[1]);
    fm__lock(&pair[0]);
}

TEST_WITH(lock, unlocking_what_is_not_held_stops_the_program, .signal = SIGABRT)
{
    static struct lock lock = LOCK_INIT(LOCK_SYNC);
    fm__unlock(&lock);
}

static struct fm_exit park_under_a_lock(void *arg)
{
    static struct lock lock = LOCK_INIT(LOCK_SYNC);
    fm__lock(&lock);
    fm_never();
    return fm_ok(arg);
}

TEST_WITH(lock, a_fiber_that_parks_under_a_lock_stops_the_program, .signal = SIGABRT) /* F18 */
{
    fm_run(park_under_a_lock, NULL, NULL);
}
#endif
