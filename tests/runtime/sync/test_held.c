/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_held.c - a debug build names the fiber that leaves its thread with a pthread mutex held
 *
 * This program is linked with libfibermap-locks. Each case is a process of its own, whose stderr
 * is read.
 */
#include <errno.h>
#include <pthread.h>

#include "fm/locks.h"
#include "runtime/platform/sanitizer.h"
#include "tests/support/fibers.h"
#include "tests/support/child.h"

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER, two = PTHREAD_MUTEX_INITIALIZER;

static const char said[] = "holds the pthread mutex";

static void as_main_fiber(void *arg)
{
    fm_entry_fn **entry = arg;
    run_in_fibers(*entry, 1, PASSING_CLOCK);
}

/* How often the child said it, whose main fiber was this. */
static unsigned said_by(struct child *child, fm_entry_fn *entry)
{
    child_run(child, as_main_fiber, &entry);
    cr_assert_eq(child->signal, 0, "%s", child->said);
    cr_assert_eq(child->exit_code, 0, "%s", child->said);
    return child_said(child, said);
}

static struct fm_exit careless(void *arg)
{
    pthread_mutex_lock(&one);
    fm_sleep_ms(1);
    pthread_mutex_unlock(&one);
    return fm_ok(NULL);
}

static struct fm_exit start_careless(void *arg)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.name = "careless";
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(fm_fiber_spawn(careless, NULL, &options, &fiber), 0);
        finish(fiber);
    }
    return fm_ok(NULL);
}

/* ThreadSanitizer does not let a child of fork start threads; the count itself is tested. */
#define NEEDS_A_CHILD() \
    do { \
        if (FM_TSAN) \
            cr_skip("no threads after fork"); \
    } while (0)

#ifdef NDEBUG
#define IN_DEBUG_BUILDS(n) 0u
#else
#define IN_DEBUG_BUILDS(n) (n)
#endif

TEST(held, fiber_that_sleeps_with_a_pthread_mutex_is_named_once)
{
    struct child child;
    NEEDS_A_CHILD();
    cr_assert_eq(said_by(&child, start_careless), IN_DEBUG_BUILDS(1u), "%s", child.said);
    cr_assert_eq(child_said(&child, "\"careless\""), IN_DEBUG_BUILDS(1u), "%s", child.said);
}

static struct fm_exit try_and_yield(void *arg)
{
    struct fm_fiber *fiber = start(careless, NULL); /* so that there is somebody to yield to */
    pthread_mutex_lock(&one);
    cr_assert_eq(pthread_mutex_trylock(&two), 0);
    pthread_mutex_unlock(&one);
    fm_yield();
    pthread_mutex_unlock(&two);
    finish(fiber);
    return fm_ok(NULL);
}

TEST(held, every_way_to_lock_and_to_leave_is_seen)
{
    struct child child;
    NEEDS_A_CHILD();
    cr_assert_eq(said_by(&child, try_and_yield), IN_DEBUG_BUILDS(2u), "%s", child.said);
}

static struct fm_exit careful(void *arg)
{
    struct timespec past = { 0, 0 };
    for (int i = 0; i < 3; i++) {
        pthread_mutex_lock(&one);
        cr_assert_eq(pthread_mutex_trylock(&one), EBUSY);
        cr_assert_eq(pthread_mutex_timedlock(&one, &past), ETIMEDOUT);
        pthread_mutex_lock(&two);
        pthread_mutex_unlock(&one);
        pthread_mutex_unlock(&two);
        fm_sleep_ms(1);
    }
    return fm_ok(NULL);
}

TEST(held, who_unlocks_before_is_not_blamed)
{
    struct child child;
    NEEDS_A_CHILD();
    cr_assert_eq(said_by(&child, careful), 0, "%s", child.said);
}

TEST(held, mutexes_are_counted_for_each_thread)
{
    enum { MANY = 20 };
    static pthread_mutex_t many[MANY];
    struct fm_thread_lock last;
    unsigned before = fm_thread_locks(NULL);
    for (int i = 0; i < MANY; i++) {
        pthread_mutex_init(&many[i], NULL);
        pthread_mutex_lock(&many[i]);
    }
    cr_assert_eq(fm_thread_locks(&last), before + MANY);
    for (int i = 1; i < MANY; i++)
        pthread_mutex_unlock(&many[i]); /* in any order, more than are kept */
    cr_assert_eq(fm_thread_locks(&last), before + 1);
    cr_assert_eq(last.mutex, &many[0]);
    pthread_mutex_unlock(&many[0]);
    cr_assert_eq(fm_thread_locks(NULL), before);
    pthread_mutex_lock(&one);
    fm_thread_locks_forget();
    cr_assert_eq(fm_thread_locks(NULL), 0);
    pthread_mutex_unlock(&one);
    cr_assert_eq(fm_thread_locks(NULL), 0);
}
