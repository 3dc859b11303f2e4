/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lock.c - the short lock excludes and forgets no sleeper; debug builds stop who takes
 * locks against their ranks, and who does under one what is not done there
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "runtime/platform/lock.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/pages.h"
#include "runtime/platform/sanitizer.h"
#include "tests/support/child.h"
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

static void *pass_through(void *arg)
{
    fm__lock(arg);
    fm__unlock(arg);
    return NULL;
}

/*
 * The mark of the first came between the two halves of the unlock: the store alone is left of
 * it. The others rely on the first.
 */
TEST(lock, sleepers_that_the_unlock_overlooked_look_again)
{
    enum { SLEEPERS = 3 };
    static struct lock lock = LOCK_INIT(LOCK_SYNC);
    pthread_t threads[SLEEPERS];
    fm__lock(&lock);
    for (int i = 0; i < SLEEPERS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, pass_through, &lock), 0);
        while (atomic_load(&lock.word) != 2)
            sched_yield();
    }
    fm__lock_forget(&lock);
    atomic_store(&lock.word, 0);
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert(fm__lock_try(&lock));
    fm__unlock(&lock);
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

/* ---- under a lock of a map ---- */

static void drop_nothing(void *arg)
{
    (void)arg;
}

enum act { MALLOC, CALLOC, REALLOC, ALIGNED, PAGES, INTERRUPT, DROP };

static struct under {
    enum act act;
    struct lock lock;
} under;

static struct fm_exit interrupt_itself(void *arg)
{
    fm__lock(&under.lock);
    fm_fiber_interrupt(fm_fiber_self());
    fm__unlock(&under.lock);
    return fm_ok(arg);
}

/* On one worker: who has been joined has dropped his own reference, ours is the last. */
static struct fm_exit drop_a_value(void *arg)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.value_drop = drop_nothing;
    cr_assert_eq(fm_fiber_spawn(return_arg, &under, &options, &fiber), 0);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    fm__lock(&under.lock);
    fm_fiber_unref(fiber);
    fm__unlock(&under.lock);
    return fm_ok(arg);
}

static void act_under(void *arg)
{
    int error;

    if (under.act >= INTERRUPT) {
        run_in_fibers(under.act == DROP ? drop_a_value : interrupt_itself, 1, FM_CLOCK_VIRTUAL);
        return;
    }
    fm__lock(&under.lock);
    switch (under.act) {
    case MALLOC: free(fm__malloc(8)); break;
    case CALLOC: free(fm__calloc(1, 8)); break;
    case REALLOC: free(fm__realloc(NULL, 8)); break;
    case ALIGNED: free(fm__zalloc_aligned(64, 64)); break;
    default: fm__pages_reserve(fm__page_bytes(), fm__page_bytes(), NULL, "test", &error);
    }
    fm__unlock(&under.lock);
}

/* It is stopped, with these words on stderr; NULL: it is not. */
static void expect_under(enum lock_rank rank, enum act act, const char *words)
{
    static struct child child;
    under = (struct under) { act, LOCK_INIT(rank) };
    child_run(&child, act_under, NULL);
    cr_assert_eq(child.signal, words ? SIGABRT : 0, "rank %d, act %d: signal %d, %s", rank, act,
                 child.signal, child.said);
    cr_assert(!words || child_said(&child, words), "rank %d, act %d: %s", rank, act,
              child.said);
}

static void expect_no(enum act act, const char *what)
{
    char words[64];
    snprintf(words, sizeof words, "%s under the lock of a stripe", what);
    expect_under(LOCK_MAP_STRIPE, act, words);
    snprintf(words, sizeof words, "%s under the lock of a map's waiters", what);
    expect_under(LOCK_MAP_WAIT, act, words);
    expect_under(LOCK_MAP_GROUP, act, NULL);
}

TEST(lock, no_memory_is_asked_for_under_a_lock_of_a_map)
{
    for (enum act act = MALLOC; act <= ALIGNED; act++)
        expect_no(act, "an allocation");
    expect_no(PAGES, "a mapping");
}

TEST(lock, nobody_is_interrupted_and_nothing_dropped_under_a_lock_of_a_map)
{
    if (FM_TSAN)
        cr_skip_test("it lets no child of a process with threads start threads");
    expect_no(INTERRUPT, "an interruption");
    expect_no(DROP, "a drop");
}
#endif
