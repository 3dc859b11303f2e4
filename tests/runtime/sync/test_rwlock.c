/* SPDX-License-Identifier: Apache-2.0 */
/* test_rwlock.c - many readers or one writer, in the order they came */
#include <errno.h>
#include <pthread.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

static struct fm_rwlock *make(void)
{
    struct fm_rwlock *rwlock;
    cr_assert_eq(fm_rwlock_create(&rwlock), 0);
    return rwlock;
}

/* One who comes, goes in, stays until told to leave, and says when it was in. */
struct visitor {
    struct fm_rwlock *rwlock;
    bool writes;
    int64_t deadline_ns;
    _Atomic bool in, leave;
};

static struct visitor reader(struct fm_rwlock *rwlock)
{
    return (struct visitor) { rwlock, false, FM_NEVER, false, false };
}

static struct visitor writer(struct fm_rwlock *rwlock)
{
    return (struct visitor) { rwlock, true, FM_NEVER, false, false };
}

static struct fm_exit visit(void *arg)
{
    struct visitor *visitor = arg;
    int r = visitor->writes ? fm_rwlock_lock_write(visitor->rwlock, visitor->deadline_ns)
                            : fm_rwlock_lock_read(visitor->rwlock, visitor->deadline_ns);
    if (r < 0)
        return fm_fail(r);
    visitor->in = true;
    while (!visitor->leave)
        fm_yield();
    visitor->in = false;
    cr_assert_eq(fm_rwlock_unlock(visitor->rwlock), 0);
    return fm_ok(NULL);
}

static struct fm_fiber *come(struct visitor *visitor)
{
    struct fm_fiber *fiber = start(visit, visitor);
    settle();
    return fiber;
}

static struct fm_exit leave(struct visitor *visitor, struct fm_fiber *fiber)
{
    visitor->leave = true;
    struct fm_exit exit = finish(fiber);
    settle();
    return exit;
}

WORKER_TEST(rwlock, readers_share_and_a_writer_is_alone)
{
    struct fm_rwlock *rwlock = make();
    struct visitor readers[3] = { reader(rwlock), reader(rwlock), reader(rwlock) };
    struct visitor alone = writer(rwlock);
    struct fm_fiber *fibers[3];
    for (int i = 0; i < 3; i++)
        fibers[i] = come(&readers[i]);
    cr_assert(readers[0].in && readers[1].in && readers[2].in);
    struct fm_fiber *fiber = come(&alone);
    for (int i = 0; i < 3; i++) {
        cr_assert_not(alone.in);
        leave(&readers[i], fibers[i]);
    }
    cr_assert(alone.in);
    cr_assert_eq(fm_rwlock_trylock_read(rwlock), -EBUSY);
    cr_assert_eq(fm_rwlock_trylock_write(rwlock), -EBUSY);
    leave(&alone, fiber);
    cr_assert_eq(fm_rwlock_trylock_write(rwlock), 0);
    cr_assert_eq(fm_rwlock_unlock(rwlock), 0);
    fm_rwlock_destroy(rwlock);
}

WORKER_TEST(rwlock, all_are_served_in_the_order_they_came)
{
    struct fm_rwlock *rwlock = make();
    struct visitor all[6] = { reader(rwlock), writer(rwlock), reader(rwlock),
                              reader(rwlock), writer(rwlock), reader(rwlock) };
    struct fm_fiber *fibers[6];
    for (int i = 0; i < 6; i++)
        fibers[i] = come(&all[i]);
    cr_assert(all[0].in && !all[1].in && !all[2].in && !all[3].in, "behind the writer");
    cr_assert_eq(fm_rwlock_trylock_read(rwlock), -EBUSY, "a newcomer does not overtake");
    cr_assert_eq(fm_rwlock_lock_read(rwlock, 0), -ETIMEDOUT);
    leave(&all[0], fibers[0]);
    cr_assert(all[1].in && !all[2].in);
    leave(&all[1], fibers[1]);
    cr_assert(all[2].in && all[3].in && !all[4].in && !all[5].in, "neighbours go in together");
    leave(&all[2], fibers[2]);
    cr_assert_not(all[4].in);
    leave(&all[3], fibers[3]);
    cr_assert(all[4].in && !all[5].in);
    leave(&all[4], fibers[4]);
    cr_assert(all[5].in);
    leave(&all[5], fibers[5]);
    fm_rwlock_destroy(rwlock);
}

EXACT_TEST(rwlock, readers_go_on_when_the_writer_in_front_leaves) /* F76 */
{
    for (int by_deadline = 0; by_deadline < 2; by_deadline++) {
        struct fm_rwlock *rwlock = make();
        struct visitor first = reader(rwlock), head = writer(rwlock), behind = reader(rwlock);
        if (by_deadline)
            head.deadline_ns = fm_after_ms(20);
        struct fm_fiber *fibers[3] = { come(&first), come(&head), come(&behind) };
        cr_assert(first.in && !head.in && !behind.in);
        if (by_deadline) /* a reader that stays in keeps the clock from moving */
            cr_assert(time_out(fibers[1]));
        else
            fm_fiber_interrupt(fibers[1]);
        cr_assert_eq(finish(fibers[1]).kind, by_deadline ? FM_FAILURE : FM_INTERRUPTED);
        settle();
        cr_assert(behind.in, "nobody is in front any more");
        leave(&first, fibers[0]);
        leave(&behind, fibers[2]);
        cr_assert_eq(fm_rwlock_trylock_write(rwlock), 0, "no trace");
        cr_assert_eq(fm_rwlock_unlock(rwlock), 0);
        fm_rwlock_destroy(rwlock);
    }
}

WORKER_TEST(rwlock, grant_and_interruption_the_first_decides)
{
    struct fm_rwlock *rwlock = make();
    struct visitor late = writer(rwlock);
    cr_assert_eq(fm_rwlock_lock_write(rwlock, FM_NEVER), 0);
    struct fm_fiber *fiber = come(&late);
    cr_assert_eq(fm_rwlock_unlock(rwlock), 0);
    cr_assert_eq(fm_rwlock_unlock(rwlock), -EPERM, "it is the other's, who has not run yet");
    fm_fiber_interrupt(fiber);
    cr_assert_eq(leave(&late, fiber).kind, FM_SUCCESS);

    late = writer(rwlock);
    cr_assert_eq(fm_rwlock_lock_read(rwlock, FM_NEVER), 0);
    fiber = come(&late);
    fm_fiber_interrupt(fiber);
    cr_assert_eq(fm_rwlock_unlock(rwlock), 0, "to nobody: its wait has ended");
    cr_assert_eq(fm_rwlock_trylock_write(rwlock), 0);
    cr_assert_eq(fm_rwlock_unlock(rwlock), 0);
    cr_assert_eq(finish(fiber).kind, FM_INTERRUPTED);
    fm_rwlock_destroy(rwlock);
}

/* The table of misuse, from a fiber and from a thread. */
static void *unlock_thread(void *arg)
{
    return number(fm_rwlock_unlock(arg));
}

static int unlock_elsewhere(struct fm_rwlock *rwlock)
{
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, unlock_thread, rwlock), 0);
    pthread_join(thread, &result);
    return (int)(intptr_t)result;
}

static void *write_thread(void *arg)
{
    int r = fm_rwlock_lock_write(arg, FM_NEVER);
    return number(r < 0 ? r : fm_rwlock_unlock(arg));
}

static struct fm_exit misuse_body(void *arg)
{
    struct fm_rwlock *rwlock = make();
    pthread_t thread;
    void *result;
    cr_assert_eq(fm_rwlock_unlock(rwlock), -EPERM, "free");
    cr_assert_eq(fm_rwlock_lock_write(rwlock, FM_NEVER), 0);
    cr_assert_eq(fm_rwlock_lock_write(rwlock, FM_NEVER), -EDEADLK);
    cr_assert_eq(fm_rwlock_lock_read(rwlock, FM_NEVER), -EDEADLK);
    cr_assert_eq(fm_rwlock_trylock_write(rwlock), -EDEADLK);
    cr_assert_eq(fm_rwlock_trylock_read(rwlock), -EDEADLK);
    cr_assert_eq(unlock_elsewhere(rwlock), -EPERM);
    cr_assert_eq(fm_rwlock_unlock(rwlock), 0);

    cr_assert_eq(fm_rwlock_lock_read(rwlock, FM_NEVER), 0);
    cr_assert_eq(fm_rwlock_lock_write(rwlock, FM_NEVER), -EDEADLK, "it would wait for itself");
    cr_assert_eq(fm_rwlock_trylock_write(rwlock), -EDEADLK);
    cr_assert_eq(unlock_elsewhere(rwlock), -EPERM, "who does not read");
    cr_assert_eq(fm_rwlock_lock_read(rwlock, FM_NEVER), 0, "nobody is in between");
    cr_assert_eq(fm_rwlock_unlock(rwlock), 0);
    cr_assert_eq(pthread_create(&thread, NULL, write_thread, rwlock), 0);
    while (fm_rwlock_trylock_read(rwlock) == 0) { /* until the writer waits */
        cr_assert_eq(fm_rwlock_unlock(rwlock), 0);
        sched_yield();
    }
    cr_assert_eq(fm_rwlock_lock_read(rwlock, FM_NEVER), -EDEADLK, "behind that writer");
    cr_assert_eq(fm_rwlock_unlock(rwlock), 0);
    pthread_join(thread, &result);
    cr_assert_eq(result, number(0));
    cr_assert_eq(fm_rwlock_unlock(rwlock), -EPERM, "twice");
    fm_rwlock_destroy(rwlock);
    return fm_ok(NULL);
}

/* F78 */
TEST_WITH(rwlock, misuse_is_refused, .timeout = 20)
{
    run_in_fibers(misuse_body, 1, FM_CLOCK_REAL);
    misuse_body(NULL);
}

/* More readers than are known one by one are still counted. */
WORKER_TEST(rwlock, a_crowd_of_readers_is_counted)
{
    enum { READERS = 20 };
    struct fm_rwlock *rwlock = make();
    struct visitor readers[READERS], last = writer(rwlock);
    struct fm_fiber *fibers[READERS];
    for (int i = 0; i < READERS; i++) {
        readers[i] = reader(rwlock);
        fibers[i] = come(&readers[i]);
        cr_assert(readers[i].in);
    }
    struct fm_fiber *fiber = come(&last);
    for (int i = 0; i < READERS; i++) {
        int who = i * 7 % READERS; /* not in the order they came */
        cr_assert_not(last.in);
        leave(&readers[who], fibers[who]);
    }
    cr_assert(last.in);
    leave(&last, fiber);
    cr_assert_eq(fm_rwlock_unlock(rwlock), -EPERM);
    fm_rwlock_destroy(rwlock);
}

/* Both sides: plain data under the lock is whole, whoever reads or writes it. */
struct pair {
    struct fm_rwlock *rwlock;
    long a, b;
};

enum { ROUNDS = 2000 };

static struct fm_exit mix(void *arg)
{
    struct pair *pair = arg;
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 4 == 0) {
            cr_assert_eq(fm_rwlock_lock_write(pair->rwlock, FM_NEVER), 0);
            pair->a++;
            if (i % 64 == 0 && fm_fiber_self())
                fm_yield();
            pair->b++;
        } else {
            cr_assert_eq(fm_rwlock_lock_read(pair->rwlock, FM_NEVER), 0);
            long a = pair->a;
            if (i % 64 == 1 && fm_fiber_self())
                fm_yield();
            cr_assert_eq(a, pair->b);
        }
        cr_assert_eq(fm_rwlock_unlock(pair->rwlock), 0);
    }
    return fm_ok(NULL);
}

static void *mix_thread(void *arg)
{
    mix(arg);
    return NULL;
}

static struct fm_exit mix_body(void *arg)
{
    struct pair pair = { .rwlock = make() };
    struct fm_fiber *fibers[8];
    pthread_t threads[2];
    for (int i = 0; i < 8; i++)
        fibers[i] = start(mix, &pair);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, mix_thread, &pair), 0);
    for (int i = 0; i < 8; i++)
        finish(fibers[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(pair.a, 10 * ROUNDS / 4);
    cr_assert_eq(pair.b, pair.a);
    fm_rwlock_destroy(pair.rwlock);
    return fm_ok(NULL);
}

TEST_WITH(rwlock, fibers_and_threads_exclude_one_another, .timeout = 60)
{
    run_in_fibers(mix_body, 2, FM_CLOCK_REAL);
}

TEST(rwlock, wrong_arguments_and_no_memory_are_refused)
{
    struct fm_rwlock *rwlock = NULL;
    cr_assert_eq(fm_rwlock_create(NULL), -EINVAL);
    cr_assert_eq(fm_rwlock_lock_read(NULL, 0), -EINVAL);
    cr_assert_eq(fm_rwlock_lock_write(NULL, 0), -EINVAL);
    cr_assert_eq(fm_rwlock_trylock_read(NULL), -EINVAL);
    cr_assert_eq(fm_rwlock_trylock_write(NULL), -EINVAL);
    cr_assert_eq(fm_rwlock_unlock(NULL), -EINVAL);
    cr_assert_null(fm_rwlock_destroy(NULL));
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_rwlock_create(&rwlock), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_null(rwlock);
}
