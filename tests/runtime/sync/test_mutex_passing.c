/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mutex_passing.c - who comes may pass the first of those who wait, once; what then holds
 * for the one that was passed. F-numbers are the faults of the catalogue that a test covers
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/fibers.h"

static struct fm_mutex *make(void)
{
    struct fm_mutex *mutex;
    cr_assert_eq(fm_mutex_create(&mutex), 0);
    return mutex;
}

/* Nobody holds it any more, or waits. */
static void drop(struct fm_mutex *mutex)
{
    cr_assert_eq(fm_mutex_trylock(mutex), 0);
    cr_assert_eq(fm_mutex_unlock(mutex), 0);
    fm_mutex_destroy(mutex);
}

struct order {
    struct fm_mutex *mutex;
    int served[8], serves;
};

struct visitor {
    struct order *order;
    int name;
    int result;
    int64_t deadline_ns;
};

static struct fm_exit visit(void *arg)
{
    struct visitor *visitor = arg;
    struct order *order = visitor->order;
    visitor->result = fm_mutex_lock(order->mutex, visitor->deadline_ns);
    if (visitor->result < 0)
        return fm_fail(visitor->result);
    order->served[order->serves++] = visitor->name;
    cr_assert_eq(fm_mutex_unlock(order->mutex), 0);
    return fm_ok(NULL);
}

/*
 * The mutex of `order` is the caller's, who passes the one that waits for it: that one was
 * woken and has queued up once more.
 */
static void pass(struct order *order)
{
    cr_assert_eq(fm_mutex_unlock(order->mutex), 0);
    cr_assert_eq(fm_mutex_trylock(order->mutex), 0, "free, while the first is on its way");
    settle();
}

WORKER_TEST(mutex_passing, who_comes_may_pass_the_first_once_and_then_it_is_handed_over)
{
    struct order order = { .mutex = make() };
    struct visitor visitor = { &order, 0, 1, FM_NEVER };
    cr_assert_eq(fm_mutex_lock(order.mutex, FM_NEVER), 0);
    struct fm_fiber *fiber = start(visit, &visitor);
    settle();
    pass(&order);
    cr_assert_eq(order.serves, 0);
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    /* the waiter has not run yet, and it is the holder all the same */
    cr_assert_eq(fm_mutex_trylock(order.mutex), -EBUSY);
    cr_assert_eq(fm_mutex_lock(order.mutex, 0), -ETIMEDOUT);
    cr_assert_eq(fm_mutex_unlock(order.mutex), -EPERM);
    finish(fiber);
    drop(order.mutex);
}

WORKER_TEST(mutex_passing, who_was_passed_stays_in_front_of_those_behind)
{
    struct order order = { .mutex = make() };
    struct visitor visitors[4];
    struct fm_fiber *fibers[4];
    cr_assert_eq(fm_mutex_lock(order.mutex, FM_NEVER), 0);
    for (int i = 0; i < 4; i++) {
        visitors[i] = (struct visitor) { &order, i, 1, FM_NEVER };
        fibers[i] = start(visit, &visitors[i]);
        settle();
    }
    pass(&order);
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    for (int i = 0; i < 4; i++)
        finish(fibers[i]);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(order.served[i], i);
    drop(order.mutex);
}

/*
 * Those who hold it across a switch and want it again at once would keep it among themselves:
 * each time it is free they run, and who was woken has yet to.
 */
enum { HOGS = 3, HOG_TURNS = 2000, HOG_VISITS = 20 };

struct crowd {
    struct fm_mutex *mutex;
    _Atomic int turns; /* of all, written under the mutex */
    int most;          /* that others had while the one waited */
    _Atomic bool over;
};

static struct fm_exit hog(void *arg)
{
    struct crowd *crowd = arg;
    for (int i = 0; i < HOG_TURNS && !crowd->over; i++) {
        cr_assert_eq(fm_mutex_lock(crowd->mutex, FM_NEVER), 0);
        crowd->turns++;
        fm_yield();
        cr_assert_eq(fm_mutex_unlock(crowd->mutex), 0);
    }
    return fm_ok(NULL);
}

static struct fm_exit starve(void *arg)
{
    struct crowd *crowd = arg;
    for (int i = 0; i < HOG_VISITS; i++) {
        int before = crowd->turns;
        cr_assert_eq(fm_mutex_lock(crowd->mutex, FM_NEVER), 0);
        if (crowd->turns - before > crowd->most)
            crowd->most = crowd->turns - before;
        cr_assert_eq(fm_mutex_unlock(crowd->mutex), 0);
        fm_yield();
    }
    crowd->over = true;
    return fm_ok(NULL);
}

WORKER_TEST(mutex_passing, nobody_waits_for_more_than_some_turns_of_each_other)
{
    struct crowd crowd = { .mutex = make() };
    struct fm_fiber *hogs[HOGS];
    for (int i = 0; i < HOGS; i++)
        hogs[i] = start(hog, &crowd);
    finish(start(starve, &crowd));
    for (int i = 0; i < HOGS; i++)
        finish(hogs[i]);
    cr_assert_gt(crowd.most, 0);
    /*
     * Two a place in the queue: one who passes, one who holds. Twice that, as one turn of the
     * queue may come between a wake and the run.
     */
    cr_assert_leq(crowd.most, 4 * (HOGS + 1), "%d", crowd.most);
    drop(crowd.mutex);
}

/*
 * A fiber and a thread that want it again and again, until another fiber and another thread
 * have had it as often as they wanted: this ends, and more cannot be said of real threads.
 */
enum { MODEST_VISITS = 200 };

struct greedy {
    struct fm_mutex *mutex;
    _Atomic int served; /* of the other two */
};

static void *keep_locking(void *arg)
{
    struct greedy *greedy = arg;
    while (atomic_load(&greedy->served) < 2) {
        cr_assert_eq(fm_mutex_lock(greedy->mutex, FM_NEVER), 0);
        cr_assert_eq(fm_mutex_unlock(greedy->mutex), 0);
    }
    return NULL;
}

static struct fm_exit keep_locking_here(void *arg)
{
    keep_locking(arg);
    return fm_ok(NULL);
}

static void *lock_some_times(void *arg)
{
    struct greedy *greedy = arg;
    for (int i = 0; i < MODEST_VISITS; i++) {
        cr_assert_eq(fm_mutex_lock(greedy->mutex, FM_NEVER), 0);
        cr_assert_eq(fm_mutex_unlock(greedy->mutex), 0);
    }
    atomic_fetch_add(&greedy->served, 1);
    return NULL;
}

FIBER_TEST(mutex_passing, neither_fibers_nor_threads_are_starved_by_the_greedy)
{
    struct greedy greedy = { .mutex = make() };
    struct fm_fiber *fiber = start(keep_locking_here, &greedy);
    pthread_t threads[2];
    cr_assert_eq(pthread_create(&threads[0], NULL, keep_locking, &greedy), 0);
    cr_assert_eq(pthread_create(&threads[1], NULL, lock_some_times, &greedy), 0);
    lock_some_times(&greedy);
    finish(fiber);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    drop(greedy.mutex);
}

/* Each way to end a wait, for one who was passed: before it has looked, and after. */
enum ending { NONE, INTERRUPTED, LATE };

static void end_wait(struct fm_fiber *fiber, enum ending ending)
{
    if (ending == INTERRUPTED)
        fm_fiber_interrupt(fiber);
    else if (ending == LATE)
        pass_ms(11);
}

static void leave_passed(enum ending before, enum ending after, int result)
{
    struct order order = { .mutex = make() };
    struct visitor first = { &order, 0, 1, fm_after_ms(10) };
    struct visitor second = { &order, 1, 1, FM_NEVER };
    cr_assert_eq(fm_mutex_lock(order.mutex, FM_NEVER), 0);
    struct fm_fiber *leaver = start(visit, &first);
    settle();
    struct fm_fiber *other = start(visit, &second);
    settle();
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    cr_assert_eq(fm_mutex_trylock(order.mutex), 0);
    end_wait(leaver, before);
    settle();
    end_wait(leaver, after);
    settle();
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    finish(leaver);
    cr_assert_eq(first.result, result);
    finish(other);
    cr_assert_eq(second.result, 0, "the next is not forgotten");
    cr_assert_eq(order.serves, result == 0 ? 2 : 1);
    drop(order.mutex);
}

/* F76 */
EXACT_TEST(mutex_passing, who_was_passed_may_be_interrupted_or_too_late_and_leaves_no_trace)
{
    leave_passed(NONE, NONE, 0);
    leave_passed(INTERRUPTED, NONE, -ECANCELED);
    leave_passed(NONE, INTERRUPTED, -ECANCELED);
    leave_passed(LATE, NONE, -ETIMEDOUT);
    leave_passed(NONE, LATE, -ETIMEDOUT);
}

/* Woken, and then interrupted or too late: the mutex is free when it looks, so it has it. */
static void leave_woken(enum ending ending)
{
    struct order order = { .mutex = make() };
    struct visitor visitor = { &order, 0, 1, fm_after_ms(10) };
    cr_assert_eq(fm_mutex_lock(order.mutex, FM_NEVER), 0);
    struct fm_fiber *fiber = start(visit, &visitor);
    settle();
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    end_wait(fiber, ending);
    finish(fiber);
    cr_assert_eq(visitor.result, 0);
    drop(order.mutex);
}

EXACT_TEST(mutex_passing, who_was_woken_takes_a_free_one_whatever_came_after)
{
    leave_woken(INTERRUPTED);
    leave_woken(LATE);
}

/*
 * The hand-over came first, the interruption after: the mutex is the waiter's and it must give
 * it up.
 */
WORKER_TEST(mutex_passing, interruption_after_the_hand_over_does_not_lose_it)
{
    struct order order = { .mutex = make() };
    struct visitor visitor = { &order, 0, 1, FM_NEVER };
    cr_assert_eq(fm_mutex_lock(order.mutex, FM_NEVER), 0);
    struct fm_fiber *fiber = start(visit, &visitor);
    settle();
    pass(&order);
    cr_assert_eq(fm_mutex_unlock(order.mutex), 0);
    fm_fiber_interrupt(fiber);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    cr_assert_eq(visitor.result, 0);
    drop(order.mutex);
}

/* Who passes, and then waits for something of the one that was passed, closes a ring. */
static struct fm_exit hold_one_await_other(void *arg)
{
    struct fm_mutex **mutexes = arg;
    cr_assert_eq(fm_mutex_lock(mutexes[1], FM_NEVER), 0);
    int r = fm_mutex_lock(mutexes[0], FM_NEVER);
    cr_assert_eq(fm_mutex_unlock(mutexes[1]), 0);
    return fm_fail(r);
}

WORKER_TEST(mutex_passing, ring_that_is_closed_by_passing_is_told)
{
    struct fm_mutex *mutexes[2] = { make(), make() };
    cr_assert_eq(fm_mutex_lock(mutexes[0], FM_NEVER), 0);
    struct fm_fiber *fiber = start(hold_one_await_other, mutexes);
    settle();
    cr_assert_eq(fm_mutex_unlock(mutexes[0]), 0);
    cr_assert_eq(fm_mutex_trylock(mutexes[0]), 0);
    cr_assert_eq(fm_mutex_lock(mutexes[1], FM_NEVER), 0, "the other was told, and gave way");
    cr_assert_eq(finish(fiber).code, -EDEADLK);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(fm_mutex_unlock(mutexes[i]), 0);
        fm_mutex_destroy(mutexes[i]);
    }
}
