/* SPDX-License-Identifier: Apache-2.0 */
/* test_cond.c - no signal is lost, none wakes twice or for nothing */
#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

struct room {
    struct fm_mutex *mutex;
    struct fm_cond *cond;
    int waiting;
    int woken;
    int patience_ms;
    int tokens;
};

static struct room make(void)
{
    struct room room = { 0 };
    cr_assert_eq(fm_mutex_create(&room.mutex), 0);
    cr_assert_eq(fm_cond_create(&room.cond), 0);
    return room;
}

static void drop(struct room *room)
{
    cr_assert_eq(fm_mutex_trylock(room->mutex), 0, "nobody holds it at the end");
    cr_assert_eq(fm_mutex_unlock(room->mutex), 0);
    fm_cond_destroy(room->cond);
    fm_mutex_destroy(room->mutex);
}

/*
 * One wait, no loop: there are no spurious wake-ups. The mutex is held afterwards whatever the
 * result.
 */
static struct fm_exit wait_once(void *arg)
{
    struct room *room = arg;
    cr_assert_eq(fm_mutex_lock(room->mutex, FM_NEVER), 0);
    room->waiting++;
    int r = fm_cond_wait(room->cond, room->mutex, FM_NEVER);
    room->waiting--;
    cr_assert_eq(fm_mutex_trylock(room->mutex), -EDEADLK, "held on return");
    if (r == 0)
        room->woken++;
    cr_assert_eq(fm_mutex_unlock(room->mutex), 0);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

WORKER_TEST(cond, signal_wakes_one_and_broadcast_all)
{
    struct room room = make();
    struct fm_fiber *fibers[3];
    cr_assert_eq(fm_cond_signal(room.cond), 0, "nobody there, nothing kept");
    cr_assert_eq(fm_cond_broadcast(room.cond), 0);
    for (int i = 0; i < 3; i++)
        fibers[i] = start(wait_once, &room);
    settle();
    cr_assert_eq(room.waiting, 3);
    cr_assert_eq(fm_cond_signal(room.cond), 1);
    settle();
    cr_assert_eq(room.woken, 1, "one signal, one waiter");
    cr_assert_eq(fm_cond_broadcast(room.cond), 2);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    cr_assert_eq(room.woken, 3);
    cr_assert_eq(fm_cond_signal(room.cond), 0);
    drop(&room);
}

static struct fm_exit misuse_body(void *arg)
{
    struct room room = make();
    cr_assert_eq(fm_cond_wait(room.cond, room.mutex, FM_NEVER), -EPERM);
    cr_assert_eq(fm_cond_wait(NULL, room.mutex, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_cond_wait(room.cond, NULL, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_cond_signal(NULL), -EINVAL);
    cr_assert_eq(fm_cond_broadcast(NULL), -EINVAL);
    cr_assert_eq(fm_cond_create(NULL), -EINVAL);
    cr_assert_null(fm_cond_destroy(NULL));
    struct fm_cond *cond = NULL;
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_cond_create(&cond), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_null(cond);
    drop(&room);
    return fm_ok(NULL);
}

TEST(cond, misuse_is_refused)
{
    run_in_fibers(misuse_body, 1, FM_CLOCK_REAL);
    misuse_body(NULL);
}

static struct fm_exit deadline_body(void *arg)
{
    struct room room = make();
    cr_assert_eq(fm_mutex_lock(room.mutex, FM_NEVER), 0);
    cr_assert_eq(fm_cond_wait(room.cond, room.mutex, 0), -ETIMEDOUT);
    cr_assert_eq(fm_cond_wait(room.cond, room.mutex, fm_now_ns()), -ETIMEDOUT);
    cr_assert_eq(fm_cond_wait(room.cond, room.mutex, fm_after_ms(2)), -ETIMEDOUT);
    cr_assert_eq(fm_mutex_trylock(room.mutex), -EDEADLK, "held again");
    cr_assert_eq(fm_cond_signal(room.cond), 0, "nobody is left on the list");
    cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
    drop(&room);
    return fm_ok(NULL);
}

TEST(cond, deadline_returns_with_the_mutex_and_leaves_no_trace)
{
    run_in_fibers(deadline_body, 1, PASSING_CLOCK);
    deadline_body(NULL);
}

/* F79: the signal goes to the first who has not left. */
WORKER_TEST(cond, signal_meets_interruption_and_is_not_lost)
{
    struct room room = make();
    struct fm_fiber *first = start(wait_once, &room);
    settle();
    struct fm_fiber *second = start(wait_once, &room);
    settle();
    fm_fiber_interrupt(first); /* it has not run yet: still on the list when we signal */
    cr_assert_eq(fm_cond_signal(room.cond), 1);
    cr_assert_eq(finish(first).kind, FM_INTERRUPTED);
    cr_assert_eq(finish(second).kind, FM_SUCCESS);

    first = start(wait_once, &room);
    settle();
    fm_fiber_interrupt(first);
    cr_assert_eq(fm_cond_signal(room.cond), 0, "the only one has left");
    cr_assert_eq(finish(first).kind, FM_INTERRUPTED);

    first = start(wait_once, &room);
    settle();
    cr_assert_eq(fm_cond_signal(room.cond), 1);
    fm_fiber_interrupt(first);
    cr_assert_eq(finish(first).kind, FM_SUCCESS, "signalled first: woken by the signal");
    drop(&room);
}

WORKER_TEST(cond, broadcast_counts_only_whom_it_woke)
{
    struct room room = make();
    struct fm_fiber *fibers[6];
    for (int i = 0; i < 6; i++) {
        fibers[i] = start(wait_once, &room);
        settle();
    }
    fm_fiber_interrupt(fibers[0]);
    fm_fiber_interrupt(fibers[3]);
    cr_assert_eq(fm_cond_broadcast(room.cond), 4);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(finish(fibers[i]).kind, i % 3 ? FM_SUCCESS : FM_INTERRUPTED);
    drop(&room);
}

/* Interrupted while the mutex is held by another: the way back to it is masked. */
WORKER_TEST(cond, mutex_is_taken_again_masked)
{
    struct room room = make();
    struct fm_fiber *fiber = start(wait_once, &room);
    settle();
    cr_assert_eq(fm_mutex_lock(room.mutex, FM_NEVER), 0);
    fm_fiber_interrupt(fiber);
    settle();
    fm_fiber_interrupt(fiber);
    settle();
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_poll(fiber, &exit), -EAGAIN, "waits for the mutex");
    cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
    cr_assert_eq(finish(fiber).kind, FM_INTERRUPTED);
    drop(&room);
}

/*
 * Signalled by the holder: from then on neither an interruption nor the deadline ends the wait,
 * and the mutex comes with it.
 */
static struct fm_exit wait_briefly(void *arg)
{
    struct room *room = arg;
    cr_assert_eq(fm_mutex_lock(room->mutex, FM_NEVER), 0);
    room->waiting++;
    int r = fm_cond_wait(room->cond, room->mutex, fm_after_ms(room->patience_ms));
    cr_assert_eq(fm_mutex_trylock(room->mutex), -EDEADLK, "held on return");
    room->woken += r == 0;
    cr_assert_eq(fm_mutex_unlock(room->mutex), 0);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static void *wait_thread(void *arg)
{
    return number(wait_briefly(arg).code);
}

static struct fm_exit promise_body(void *arg)
{
    struct room room = make();
    struct fm_fiber *queued, *fibers[3];
    room.patience_ms = 300;
    for (int i = 0; i < 3; i++)
        fibers[i] = start(wait_briefly, &room);
    pass_ms(0);
    cr_assert_eq(fm_mutex_lock(room.mutex, FM_NEVER), 0);
    /* stands in line for the mutex, before those we promise it to */
    queued = start(wait_once, &room);
    pass_ms(0);
    cr_assert_eq(fm_cond_signal(room.cond), 1);
    cr_assert_eq(fm_cond_broadcast(room.cond), 2);
    for (int i = 0; i < 3; i++)
        fm_fiber_interrupt(fibers[i]);
    pass_ms(320);
    cr_assert_eq(room.woken, 0);
    cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    cr_assert_eq(room.woken, 3);
    fm_fiber_interrupt(queued);
    cr_assert_eq(finish(queued).kind, FM_INTERRUPTED);
    drop(&room);
    return fm_ok(NULL);
}

TEST(cond, signal_under_the_mutex_brings_the_mutex)
{
    run_in_fibers(promise_body, 1, FM_CLOCK_VIRTUAL);
    run_in_fibers(promise_body, 2, FM_CLOCK_VIRTUAL);
}

/* Who signals has the mutex again, if it wants, before whom it has signalled. */
WORKER_TEST(cond, signal_under_the_mutex_does_not_keep_it_from_who_signals)
{
    struct room room = make();
    struct fm_fiber *fibers[3];
    for (int i = 0; i < 3; i++)
        fibers[i] = start(wait_once, &room);
    settle();
    cr_assert_eq(fm_mutex_lock(room.mutex, FM_NEVER), 0);
    cr_assert_eq(fm_cond_signal(room.cond), 1);
    cr_assert_eq(fm_cond_broadcast(room.cond), 2);
    cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
    cr_assert_eq(fm_mutex_trylock(room.mutex), 0, "free, while they are on their way");
    settle();
    cr_assert_eq(room.woken, 0);
    cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    cr_assert_eq(room.woken, 3);
    drop(&room);
}

/* The same for a thread, whose deadline is one of the real clock: more of it, until we are in time. */
TEST(cond, signal_under_the_mutex_brings_a_thread_the_mutex)
{
    struct room room = make();
    int signalled = 0;
    for (room.patience_ms = 5; !signalled; room.patience_ms *= 2) {
        pthread_t thread;
        void *result;
        room.waiting = room.woken = 0;
        cr_assert_eq(pthread_create(&thread, NULL, wait_thread, &room), 0);
        cr_assert_eq(fm_mutex_lock(room.mutex, FM_NEVER), 0);
        while (room.waiting == 0) {
            cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
            sched_yield();
            cr_assert_eq(fm_mutex_lock(room.mutex, FM_NEVER), 0);
        }
        signalled = fm_cond_signal(room.cond);
        for (int64_t late_ns = fm_after_ms(room.patience_ms); fm_now_ns() < late_ns;)
            sched_yield();
        cr_assert_eq(room.woken, 0);
        cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
        pthread_join(thread, &result);
        cr_assert_eq(result, number(signalled ? 0 : -ETIMEDOUT));
        cr_assert_eq(room.woken, signalled);
    }
    drop(&room);
}

/* A broadcast to more than one batch wakes each once, and not him who waits again. */
static struct fm_exit wait_twice(void *arg)
{
    struct room *room = arg;
    cr_assert_eq(fm_mutex_lock(room->mutex, FM_NEVER), 0);
    for (int i = 0; i < 2; i++) {
        room->waiting++;
        cr_assert_eq(fm_cond_wait(room->cond, room->mutex, FM_NEVER), 0);
        room->waiting--;
        room->woken++;
    }
    cr_assert_eq(fm_mutex_unlock(room->mutex), 0);
    return fm_ok(NULL);
}

static struct fm_exit twice_body(void *arg)
{
    enum { N = 100 };
    struct room room = make();
    struct fm_fiber *fibers[N];
    for (int i = 0; i < N; i++)
        fibers[i] = start(wait_twice, &room);
    for (int round = 0; round < 2; round++) {
        for (bool all = false; !all;) {
            fm_yield();
            cr_assert_eq(fm_mutex_lock(room.mutex, FM_NEVER), 0);
            all = room.waiting == N && room.woken == round * N;
            cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
        }
        cr_assert_eq(fm_cond_broadcast(room.cond), N);
    }
    for (int i = 0; i < N; i++)
        finish(fibers[i]);
    cr_assert_eq(room.woken, 2 * N);
    drop(&room);
    return fm_ok(NULL);
}

/* F79 */
TEST(cond, broadcast_wakes_each_waiter_once)
{
    run_in_fibers(twice_body, 1, FM_CLOCK_REAL);
    run_in_fibers(twice_body, 2, FM_CLOCK_REAL);
}

/*
 * Signals without the mutex held, waiters with and without deadlines, fibers and threads, on
 * the real clock, the threads' own: tokens stay exact.
 */
enum { TOKENS = 3000 };

static int take_tokens(struct room *room)
{
    int taken = 0;
    cr_assert_eq(fm_mutex_lock(room->mutex, FM_NEVER), 0);
    for (;;) {
        while (room->tokens == 0) {
            int r = fm_cond_wait(room->cond, room->mutex,
                                 taken % 2 ? FM_NEVER : fm_after_us(taken % 300 + 1));
            cr_assert(r == 0 || r == -ETIMEDOUT, "%d", r);
        }
        if (room->tokens < 0)
            break;
        room->tokens--;
        taken++;
    }
    cr_assert_eq(fm_mutex_unlock(room->mutex), 0);
    return taken;
}

static struct fm_exit taker(void *arg)
{
    return fm_ok(number(take_tokens(arg)));
}

static void *taker_thread(void *arg)
{
    return number(take_tokens(arg));
}

static struct fm_exit tokens_body(void *arg)
{
    struct room room = make();
    struct fm_fiber *fibers[4];
    pthread_t thread;
    for (int i = 0; i < 4; i++)
        fibers[i] = start(taker, &room);
    cr_assert_eq(pthread_create(&thread, NULL, taker_thread, &room), 0);
    for (int i = 0; i < TOKENS; i++) {
        cr_assert_eq(fm_mutex_lock(room.mutex, FM_NEVER), 0);
        room.tokens++;
        cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
        fm_cond_signal(room.cond);
    }
    for (int left = 1; left;) {
        fm_yield();
        cr_assert_eq(fm_mutex_lock(room.mutex, FM_NEVER), 0);
        left = room.tokens;
        if (!left)
            room.tokens = -1;
        cr_assert_eq(fm_mutex_unlock(room.mutex), 0);
    }
    fm_cond_broadcast(room.cond);
    intptr_t sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (intptr_t)finish(fibers[i]).value;
    void *value;
    pthread_join(thread, &value);
    sum += (intptr_t)value;
    cr_assert_eq(sum, TOKENS);
    drop(&room);
    return fm_ok(NULL);
}

/* F79 */
TEST(cond, no_signal_is_lost_between_fibers_and_threads)
{
    run_in_fibers(tokens_body, 1, REAL_TIME);
    run_in_fibers(tokens_body, 2, REAL_TIME);
}
