/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ring.c - who would wait for himself by way of others is told, who would not is not; and a
 * dump names who holds what is waited for
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/fibers.h"
#include "tests/support/waits.h"

enum { MOST = 6 };

/* Each takes its own, and when all have theirs, the next one's. */
struct table {
    struct fm_mutex *mutexes[MOST];
    int count;
    _Atomic int seated;
    _Atomic int told;
};

struct diner {
    struct table *table;
    int place;
    int64_t deadline_ns;
};

static void wait_for_all(struct table *table)
{
    atomic_fetch_add(&table->seated, 1);
    while (atomic_load(&table->seated) < table->count) {
        if (fm_fiber_self())
            fm_yield();
        else
            sched_yield();
    }
}

static struct fm_exit dine(void *arg)
{
    struct diner *diner = arg;
    struct table *table = diner->table;
    struct fm_mutex *own = table->mutexes[diner->place];
    struct fm_mutex *next = table->mutexes[(diner->place + 1) % table->count];
    cr_assert_eq(fm_mutex_lock(own, FM_NEVER), 0);
    wait_for_all(table);
    int r = fm_mutex_lock(next, diner->deadline_ns);
    if (r == 0)
        cr_assert_eq(fm_mutex_unlock(next), 0);
    else
        atomic_fetch_add(&table->told, 1);
    cr_assert_eq(fm_mutex_unlock(own), 0, "what it held it still holds");
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static void *dine_thread(void *arg)
{
    dine(arg);
    return NULL;
}

static void lay(struct table *table, int count)
{
    *table = (struct table) { .count = count };
    for (int i = 0; i < count; i++)
        cr_assert_eq(fm_mutex_create(&table->mutexes[i]), 0);
}

static void clear(struct table *table)
{
    for (int i = 0; i < table->count; i++) {
        cr_assert_eq(fm_mutex_trylock(table->mutexes[i]), 0, "free, and nobody waits");
        cr_assert_eq(fm_mutex_unlock(table->mutexes[i]), 0);
        fm_mutex_destroy(table->mutexes[i]);
    }
}

static struct fm_exit rings_body(void *arg)
{
    for (int round = 0; round < 300; round++) {
        struct table table;
        struct diner diners[MOST];
        struct fm_fiber *fibers[MOST];
        lay(&table, 2 + round % (MOST - 1));
        for (int i = 0; i < table.count; i++) {
            diners[i] = (struct diner) { &table, i, FM_NEVER };
            fibers[i] = start(dine, &diners[i]);
        }
        for (int i = 0; i < table.count; i++) {
            struct fm_exit exit = finish(fibers[i]);
            cr_assert(exit.kind == FM_SUCCESS || exit.code == -EDEADLK);
        }
        cr_assert_geq(table.told, 1);
        clear(&table);
    }
    return fm_ok(NULL);
}

TEST_WITH(ring, of_mutexes_is_told_to_who_closes_it, .timeout = 30)
{
    run_in_fibers(rings_body, 1, FM_CLOCK_REAL);
    run_in_fibers(rings_body, 2, FM_CLOCK_REAL);
}

WORKER_TEST(ring, is_told_to_one_where_they_come_one_after_the_other)
{
    struct table table;
    struct diner diners[3];
    struct fm_fiber *fibers[3];
    lay(&table, 3);
    for (int i = 0; i < 3; i++) {
        diners[i] = (struct diner) { &table, i, FM_NEVER };
        fibers[i] = start(dine, &diners[i]);
    }
    for (int i = 0; i < 3; i++)
        finish(fibers[i]);
    cr_assert_eq(table.told, 1, "with one worker only the last one closes it");
    clear(&table);
}

/* A deadline ends a ring by itself: nobody is refused. */
TIMED_WORKER_TEST(ring, that_a_deadline_ends_is_none)
{
    struct table table;
    struct diner diners[2];
    lay(&table, 2);
    diners[0] = (struct diner) { &table, 0, FM_NEVER };
    diners[1] = (struct diner) { &table, 1, fm_after_ms(20) };
    struct fm_fiber *waits = start(dine, &diners[0]), *late = start(dine, &diners[1]);
    cr_assert_eq(finish(late).code, -ETIMEDOUT);
    cr_assert_eq(finish(waits).kind, FM_SUCCESS, "it got what the late one gave up");
    clear(&table);
}

static struct fm_exit threads_body(void *arg)
{
    for (int round = 0; round < 100; round++) {
        struct table table;
        struct diner diners[3];
        pthread_t threads[2];
        lay(&table, 3);
        for (int i = 0; i < 3; i++)
            diners[i] = (struct diner) { &table, i, FM_NEVER };
        for (int i = 0; i < 2; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, dine_thread, &diners[i]), 0);
        struct fm_fiber *fiber = start(dine, &diners[2]);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        finish(fiber);
        cr_assert_geq(table.told, 1);
        clear(&table);
    }
    return fm_ok(NULL);
}

TEST_WITH(ring, goes_through_threads_too, .timeout = 30)
{
    run_in_fibers(threads_body, 2, FM_CLOCK_REAL);
}

/* ---- other ways to wait ---- */

struct pair {
    struct fm_mutex *mutex, *other;
    struct fm_rwlock *rwlock;
    struct fm_cond *cond;
    struct fm_fiber *whom;
    _Atomic int step;
};

static struct pair make(void)
{
    struct pair pair = { 0 };
    cr_assert_eq(fm_mutex_create(&pair.mutex), 0);
    cr_assert_eq(fm_mutex_create(&pair.other), 0);
    cr_assert_eq(fm_rwlock_create(&pair.rwlock), 0);
    cr_assert_eq(fm_cond_create(&pair.cond), 0);
    return pair;
}

static void drop(struct pair *pair)
{
    fm_cond_destroy(pair->cond);
    fm_rwlock_destroy(pair->rwlock);
    fm_mutex_destroy(pair->other);
    fm_mutex_destroy(pair->mutex);
}

static struct fm_exit lock_mutex(void *arg)
{
    struct pair *pair = arg;
    int r = fm_mutex_lock(pair->mutex, FM_NEVER);
    if (r == 0)
        cr_assert_eq(fm_mutex_unlock(pair->mutex), 0);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit join_body(void *arg)
{
    struct pair pair = make();
    cr_assert_eq(fm_mutex_lock(pair.mutex, FM_NEVER), 0);
    struct fm_fiber *fiber = start(lock_mutex, &pair);
    await_wait(fiber);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), -EDEADLK, "it waits for our mutex");
    cr_assert_eq(fm_fiber_join(fiber, fm_after_ms(1), NULL), -ETIMEDOUT);
    cr_assert_eq(fm_mutex_unlock(pair.mutex), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    drop(&pair);
    return fm_ok(NULL);
}

TEST(ring, of_a_join_and_a_mutex_is_told)
{
    run_in_fibers(join_body, 1, PASSING_CLOCK);
    run_in_fibers(join_body, 2, PASSING_CLOCK);
}

static struct fm_exit write_then_lock(void *arg)
{
    struct pair *pair = arg;
    cr_assert_eq(fm_rwlock_lock_write(pair->rwlock, FM_NEVER), 0);
    int r = fm_mutex_lock(pair->mutex, FM_NEVER);
    if (r == 0)
        cr_assert_eq(fm_mutex_unlock(pair->mutex), 0);
    cr_assert_eq(fm_rwlock_unlock(pair->rwlock), 0);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit rwlock_body(void *arg)
{
    struct pair pair = make();
    cr_assert_eq(fm_mutex_lock(pair.mutex, FM_NEVER), 0);
    struct fm_fiber *fiber = start(write_then_lock, &pair);
    await_wait(fiber);
    cr_assert_eq(fm_rwlock_lock_read(pair.rwlock, FM_NEVER), -EDEADLK);
    cr_assert_eq(fm_rwlock_lock_write(pair.rwlock, FM_NEVER), -EDEADLK);
    cr_assert_eq(fm_mutex_unlock(pair.mutex), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    cr_assert_eq(fm_rwlock_trylock_write(pair.rwlock), 0, "no trace");
    cr_assert_eq(fm_rwlock_unlock(pair.rwlock), 0);
    drop(&pair);
    return fm_ok(NULL);
}

TEST(ring, of_a_read_write_lock_and_a_mutex_is_told)
{
    run_in_fibers(rwlock_body, 1, FM_CLOCK_REAL);
    run_in_fibers(rwlock_body, 2, FM_CLOCK_REAL);
}

/* Signalled under the mutex, a waiter waits for that mutex, though it has not run since. */
static struct fm_exit wait_holding(void *arg)
{
    struct pair *pair = arg;
    cr_assert_eq(fm_mutex_lock(pair->other, FM_NEVER), 0);
    cr_assert_eq(fm_mutex_lock(pair->mutex, FM_NEVER), 0);
    cr_assert_eq(fm_cond_wait(pair->cond, pair->mutex, FM_NEVER), 0);
    cr_assert_eq(fm_mutex_unlock(pair->mutex), 0);
    cr_assert_eq(fm_mutex_unlock(pair->other), 0);
    return fm_ok(NULL);
}

WORKER_TEST(ring, goes_through_a_condition_that_was_signalled)
{
    struct pair pair = make();
    struct fm_fiber *fiber = start(wait_holding, &pair);
    settle();
    cr_assert_eq(fm_mutex_lock(pair.mutex, FM_NEVER), 0);
    cr_assert_eq(fm_cond_signal(pair.cond), 1);
    cr_assert_eq(fm_mutex_lock(pair.other, FM_NEVER), -EDEADLK);
    cr_assert_eq(fm_mutex_unlock(pair.mutex), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    drop(&pair);
}

/* It was passed on its way back, and is passed again: it has yet to have that mutex. */
static void pass_who_returns(bool promised)
{
    struct pair pair = make();
    struct fm_fiber *fiber = start(wait_holding, &pair);
    settle();
    cr_assert_eq(fm_mutex_lock(pair.mutex, FM_NEVER), 0);
    if (promised)
        cr_assert_eq(fm_cond_signal(pair.cond), 1);
    cr_assert_eq(fm_mutex_unlock(pair.mutex), 0);
    if (!promised)
        cr_assert_eq(fm_cond_signal(pair.cond), 1);
    cr_assert_eq(fm_mutex_trylock(pair.mutex), 0, "free, while the waiter is on its way");
    if (promised)
        cr_assert_eq(fm_mutex_lock(pair.other, FM_NEVER), -EDEADLK, "it was let go");
    settle();
    cr_assert_eq(fm_mutex_lock(pair.other, FM_NEVER), -EDEADLK, "it has queued up");
    cr_assert_eq(fm_mutex_unlock(pair.mutex), 0);
    cr_assert_eq(fm_mutex_trylock(pair.mutex), 0, "free, while it is on its way again");
    cr_assert_eq(fm_mutex_lock(pair.other, FM_NEVER), -EDEADLK, "it was woken to try");
    settle();
    cr_assert_eq(fm_mutex_lock(pair.other, FM_NEVER), -EDEADLK, "it waits to be handed it");
    cr_assert_eq(fm_mutex_unlock(pair.mutex), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    drop(&pair);
}

WORKER_TEST(ring, goes_through_a_condition_whose_waiter_is_passed_for_its_mutex)
{
    pass_who_returns(true);
    pass_who_returns(false);
}

/* ---- no ring, and no harm ---- */

/*
 * Who takes locks in one order is never refused; who does not backs off when told, and all come
 * through. The locks of a round are freed while others of it may still be looked at.
 */
struct crowd {
    struct fm_mutex *mutexes[MOST];
    bool ordered;
    _Atomic long told, done;
    _Atomic uint64_t seed;
    long inside[MOST];
};

static struct fm_exit jostle(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t random = atomic_fetch_add(&crowd->seed, 0x9e3779b97f4a7c15u);
    for (int i = 0; i < 60; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int a = (int)(random >> 40) % MOST, b = (int)(random >> 50) % MOST;
        if (a == b)
            b = (b + 1) % MOST;
        if (crowd->ordered && a > b) {
            int c = a;
            a = b;
            b = c;
        }
        cr_assert_eq(fm_mutex_lock(crowd->mutexes[a], FM_NEVER), 0, "it holds none");
        if (random >> 63 && fm_fiber_self())
            fm_yield();
        int r = fm_mutex_lock(crowd->mutexes[b], FM_NEVER);
        if (r == 0) {
            crowd->inside[a]++;
            crowd->inside[b]++;
            atomic_fetch_add(&crowd->done, 1);
            cr_assert_eq(fm_mutex_unlock(crowd->mutexes[b]), 0);
        } else {
            cr_assert_eq(r, -EDEADLK);
            atomic_fetch_add(&crowd->told, 1);
        }
        cr_assert_eq(fm_mutex_unlock(crowd->mutexes[a]), 0);
    }
    return fm_ok(NULL);
}

static void *jostle_thread(void *arg)
{
    jostle(arg);
    return NULL;
}

static struct fm_exit crowd_body(void *arg)
{
    for (int round = 0; round < 60; round++) {
        struct crowd crowd = { .ordered = round % 2, .seed = (uint64_t)round + 1 };
        struct fm_fiber *fibers[8];
        pthread_t thread;
        for (int i = 0; i < MOST; i++)
            cr_assert_eq(fm_mutex_create(&crowd.mutexes[i]), 0);
        for (int i = 0; i < 8; i++)
            fibers[i] = start(jostle, &crowd);
        cr_assert_eq(pthread_create(&thread, NULL, jostle_thread, &crowd), 0);
        for (int i = 0; i < 8; i++)
            finish(fibers[i]);
        pthread_join(thread, NULL);
        long inside = 0;
        for (int i = 0; i < MOST; i++) {
            inside += crowd.inside[i];
            fm_mutex_destroy(crowd.mutexes[i]);
        }
        cr_assert_eq(inside, 2 * crowd.done);
        cr_assert_eq(crowd.done + crowd.told, 9 * 60);
        cr_assert(!crowd.ordered || crowd.told == 0, "%ld refused without a ring",
                  (long)crowd.told);
    }
    return fm_ok(NULL);
}

TEST_WITH(ring, none_is_seen_where_none_is_and_nobody_hangs, .timeout = 60)
{
    run_in_fibers(crowd_body, 2, FM_CLOCK_REAL);
    run_in_fibers(crowd_body, 3, FM_CLOCK_REAL);
}

/* Mutexes that come and go under the eyes of those who look for rings. */
static struct fm_exit brief(void *arg)
{
    struct fm_mutex *hub = arg;
    for (int i = 0; i < 200; i++) {
        struct pair pair = { 0 };
        cr_assert_eq(fm_mutex_create(&pair.mutex), 0);
        cr_assert_eq(fm_mutex_lock(pair.mutex, FM_NEVER), 0);
        struct fm_fiber *fiber = start(lock_mutex, &pair); /* waits for us, who wait for hub */
        fm_yield();
        cr_assert_eq(fm_mutex_lock(hub, FM_NEVER), 0);
        fm_yield();
        cr_assert_eq(fm_mutex_unlock(hub), 0);
        cr_assert_eq(fm_mutex_unlock(pair.mutex), 0);
        cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
        fm_mutex_destroy(pair.mutex);
    }
    return fm_ok(NULL);
}

static struct fm_exit brief_body(void *arg)
{
    struct fm_mutex *hub;
    struct fm_fiber *fibers[6];
    cr_assert_eq(fm_mutex_create(&hub), 0);
    for (int i = 0; i < 6; i++)
        fibers[i] = start(brief, hub);
    for (int i = 0; i < 6; i++)
        finish(fibers[i]);
    fm_mutex_destroy(hub);
    return fm_ok(NULL);
}

TEST_WITH(ring, mutexes_may_be_destroyed_while_others_look, .timeout = 60)
{
    run_in_fibers(brief_body, 2, FM_CLOCK_REAL);
}

/* ---- the dump ---- */

static char *dump(void)
{
    int fd = memfd_create("dump", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fm_runtime_dump(fm_runtime_current(), fd), 0);
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    cr_assert_eq(pread(fd, text, (size_t)size, 0), size);
    close(fd);
    return text;
}

static void expect_in_dump(const char *what)
{
    char *text = dump();
    cr_assert(strstr(text, what), "no \"%s\" in:\n%s", what, text);
    free(text);
}

static struct fm_exit lock_and_end(void *arg)
{
    cr_assert_eq(fm_mutex_lock(arg, FM_NEVER), 0);
    return fm_ok(NULL);
}

static struct fm_exit lock_and_stay(void *arg)
{
    cr_assert_eq(fm_mutex_lock(arg, FM_NEVER), 0);
    int r = fm_never();
    cr_assert_eq(fm_mutex_unlock(arg), 0);
    return fm_fail(r);
}

static struct fm_exit lock_it(void *arg)
{
    return fm_fail(fm_mutex_lock(arg, fm_after_s(1000)));
}

static void *lock_thread(void *arg)
{
    cr_assert_eq(fm_mutex_lock(arg, FM_NEVER), 0);
    return NULL;
}

WORKER_TEST(ring, dump_names_who_holds_what_is_waited_for) /* F78 */
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_mutex *mutexes[3];
    struct fm_fiber *holder, *waiters[3];
    pthread_t thread;
    char text[96];
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_mutex_create(&mutexes[i]), 0);
    options.name = "keeper";
    cr_assert_eq(fm_fiber_spawn(lock_and_stay, mutexes[0], &options, &holder), 0);
    struct fm_fiber *gone = start(lock_and_end, mutexes[1]);
    uint64_t gone_id = fm_fiber_id(gone);
    finish(gone);
    cr_assert_eq(pthread_create(&thread, NULL, lock_thread, mutexes[2]), 0);
    pthread_join(thread, NULL);
    settle();
    for (int i = 0; i < 3; i++)
        waiters[i] = start(lock_it, mutexes[i]);
    settle();

    snprintf(text, sizeof text, "held by fiber %lu \"keeper\"",
             (unsigned long)fm_fiber_id(holder));
    expect_in_dump(text);
    snprintf(text, sizeof text, "held by one that has ended, %lu", (unsigned long)gone_id);
    expect_in_dump(text);

    for (int i = 0; i < 3; i++) {
        fm_fiber_interrupt(waiters[i]);
        finish(waiters[i]);
    }
    fm_fiber_interrupt(holder);
    finish(holder);
    for (int i = 0; i < 3; i++)
        fm_mutex_destroy(mutexes[i]);
}
