/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/sync.h - waiting for one another: deferred, promise, mutex, condition, read/write lock,
 * semaphore, latch, wait group
 *
 * The same calls from fibers and threads. Every wait takes a deadline and is interruptible; a
 * waiter that leaves early leaves no trace and loses no permit and no wake-up. Waiters are
 * served first come, first served; but who comes to a mutex may pass them, as is said there.
 *
 * For all of them:
 *
 * Callers    any fiber, any thread. A call suspends only where it takes a deadline: while what
 *            it waits for is not there, or now and then to let others run.
 * Returns    a call that waits may also return -ENOMEM (a thread's first wait) or -EPERM (a
 *            child process that was forked while a runtime lived); it has done nothing then.
 *            -EINVAL, of any call: a pointer that must not be NULL is.
 * Memory     create allocates, and destroy frees; no other call does either, but for the last
 *            unref of a promise. Nobody may use what is destroyed, or begin to; the one who was
 *            woken last may destroy it at once, while the call that woke him is returning.
 *            Destroying what is waited for stops the program. destroy takes NULL, returns NULL.
 */
#ifndef FM_SYNC_H
#define FM_SYNC_H

#include "fm/channel.h"
#include "fm/fiber.h"
#include "fm/pubsub.h"
#include "fm/ratelimit.h"
#include "fm/ref.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_deferred;
struct fm_promise;
struct fm_mutex;
struct fm_cond;
struct fm_rwlock;
struct fm_semaphore;
struct fm_latch;
struct fm_waitgroup;

/*
 * A deferred: a cell for one exit, empty at first. The first completion fills it and lets all
 * go who wait for it; it stays filled. What the exit's value points to stays whose it was.
 *
 * Order      what was done before the completion happens before an await or poll returns 0.
 * Cost       a poll, or an await of a filled cell, is one load.
 */
/* 0 · -ENOMEM · -EINVAL */
FM_API int fm_deferred_create(struct fm_deferred **ret_deferred);
FM_API struct fm_deferred *fm_deferred_destroy(struct fm_deferred *deferred);
/*
 * Fill it with success(value), failure(code), any exit. 0 · FM_ALREADY_DONE it was filled, and
 * is as it was · -EINVAL. Never suspends.
 */
FM_API int fm_deferred_succeed(struct fm_deferred *deferred, void *value);
FM_API int fm_deferred_fail(struct fm_deferred *deferred, int code);
FM_API int fm_deferred_complete(struct fm_deferred *deferred, struct fm_exit exit);
/* Wait until it is filled. 0, ret_exit written · -ECANCELED · -ETIMEDOUT · -EINVAL */
FM_API int fm_deferred_await(struct fm_deferred *deferred, int64_t deadline_ns,
                             struct fm_exit *ret_exit);
/* The same without waiting. 0, ret_exit written · -EAGAIN it is empty · -EINVAL */
FM_API int fm_deferred_poll(struct fm_deferred *deferred, struct fm_exit *ret_exit);

/*
 * A promise: a deferred that a foreign event loop can wait for, too. Reference-counted, since a
 * fiber may complete it after its maker has gone. Order and cost as of a deferred.
 */
/* With one reference, the caller's. 0 · -ENOMEM · -EINVAL */
FM_API int fm_promise_create(struct fm_promise **ret_promise);
/* One more; returns the promise. NULL-safe. */
FM_API struct fm_promise *fm_promise_ref(struct fm_promise *promise);
/* One less; NULL-safe, returns NULL. The last closes the eventfd and drops what was kept. */
FM_API struct fm_promise *fm_promise_unref(struct fm_promise *promise);
/*
 * As fm_deferred_complete; and makes the eventfd readable, if it has been asked for, by one
 * system call. 0 · FM_ALREADY_DONE · -EINVAL. Never suspends.
 */
FM_API int fm_promise_complete(struct fm_promise *promise, struct fm_exit exit);
/*
 * What the exit's value needs: drop(what) is called when the promise is freed. Once for a
 * promise, by a holder of a reference, before he hands the promise to others. 0 · -EINVAL drop
 * is NULL, or something is kept already
 */
FM_API int fm_promise_keep(struct fm_promise *promise, fm_drop_fn *drop, void *what);
/* As fm_deferred_await and fm_deferred_poll. */
FM_API int fm_promise_await(struct fm_promise *promise, int64_t deadline_ns,
                            struct fm_exit *ret_exit);
FM_API int fm_promise_poll(struct fm_promise *promise, struct fm_exit *ret_exit);
/*
 * A descriptor that becomes readable when the promise is complete and stays so. It is made at
 * the first request and belongs to the promise: not to be read, written or closed, and good as
 * long as the caller's reference. The descriptor · -EMFILE · -ENFILE · -ENOMEM · -EINVAL
 */
FM_API int fm_promise_eventfd(struct fm_promise *promise);

/*
 * A mutex: one holder at a time, a fiber or a thread, who alone may unlock it. Not recursive.
 * Whoever would close a ring of those who wait for one another without deadlines, by way of
 * mutexes, read/write locks that are held to write, and joins, is told so instead of waiting.
 *
 * Turns      Those who wait stand in the order in which they came. Where it is given up, the
 *            first of them is woken and tries for it; until it has, whoever comes may take it,
 *            also the one that has just unlocked. If the first finds it taken it stays the
 *            first, and the next unlock hands the mutex to it. So each who waits is passed for
 *            the time between its wake-up and its next step, and once only: nobody starves.
 * Order      what a holder did before it unlocked happens before the next one goes on.
 * Cost       uncontended one compare-and-swap to lock and one to unlock. The same where others
 *            wait and the first of them has been woken.
 */
/* 0 · -ENOMEM · -EINVAL */
FM_API int fm_mutex_create(struct fm_mutex **ret_mutex);
FM_API struct fm_mutex *fm_mutex_destroy(struct fm_mutex *mutex);
/*
 * Wait until nobody holds it, and be the holder. 0 · -ECANCELED · -ETIMEDOUT · -EDEADLK the
 * caller holds it, or would wait for itself by way of others · -EINVAL
 */
FM_API int fm_mutex_lock(struct fm_mutex *mutex, int64_t deadline_ns);
/* The same without waiting. 0 · -EBUSY another holds it · -EDEADLK the caller does · -EINVAL */
FM_API int fm_mutex_trylock(struct fm_mutex *mutex);
/*
 * Give it up; of those who wait the first is woken, or is the holder if it has been passed. 0 ·
 * -EPERM not the holder · -EINVAL
 */
FM_API int fm_mutex_unlock(struct fm_mutex *mutex);

/*
 * A condition: a place to wait for a change of what a mutex guards. Whoever makes the change
 * holds the mutex for it and signals then or later: nobody who has looked and waits is missed.
 */
/* 0 · -ENOMEM · -EINVAL */
FM_API int fm_cond_create(struct fm_cond **ret_cond);
FM_API struct fm_cond *fm_cond_destroy(struct fm_cond *cond);
/*
 * fm_cond_wait - give up the mutex, wait for a signal, take the mutex again
 *
 * The mutex is taken again whatever ended the wait; no deadline and no interruption ends that.
 * No spurious wake-ups: 0 means a signal that was spent on this wait.
 *
 * Returns    0 · -ECANCELED · -ETIMEDOUT · -EPERM the caller does not hold the mutex · -EINVAL.
 *            Whoever held the mutex holds it after any result.
 */
FM_API int fm_cond_wait(struct fm_cond *cond, struct fm_mutex *mutex, int64_t deadline_ns);
/*
 * End the wait of the one who waits longest, or of all who wait now; with the mutex or without
 * it. A waiter whose mutex the caller holds goes on when he gives that up. How many were woken,
 * 0 and more · -EINVAL. Never suspends.
 */
FM_API int fm_cond_signal(struct fm_cond *cond);
FM_API int fm_cond_broadcast(struct fm_cond *cond);

/*
 * A lock that many may hold to read, or one to write. First come, first served: readers who
 * come while a writer waits stand behind it, so neither side starves; readers who stand next to
 * each other in the queue go in together. Owned by fibers and threads. Who reads may lock to
 * read again while nobody waits, and unlocks as often.
 *
 * Misuse is told as follows. A writer is always known. Readers are known one by one as long as
 * no more than six hold or await the lock to read; beyond that some are only counted: then a
 * wait for oneself lasts until its deadline, and an unlock by a stranger may be believed.
 */
/* 0 · -ENOMEM · -EINVAL */
FM_API int fm_rwlock_create(struct fm_rwlock **ret_rwlock);
FM_API struct fm_rwlock *fm_rwlock_destroy(struct fm_rwlock *rwlock);
/*
 * fm_rwlock_lock_read, fm_rwlock_lock_write - wait until the caller may read, or write alone
 *
 * Returns    0 · -ECANCELED · -ETIMEDOUT (the caller holds what it held before)
 *            -EDEADLK  the caller would wait for itself: it writes; or it reads, and wants to
 *                      write or to read once more behind a writer that waits; or a ring, as
 *                      with a mutex
 *            -EINVAL
 *
 * Order      what a writer did before it unlocked happens before any later holder goes on, what
 *            a reader did before any later writer does.
 * Cost       uncontended one compare-and-swap to write, two to read, on one line.
 */
FM_API int fm_rwlock_lock_read(struct fm_rwlock *rwlock, int64_t deadline_ns);
FM_API int fm_rwlock_lock_write(struct fm_rwlock *rwlock, int64_t deadline_ns);
/* 0 · -EBUSY held, or others wait in front · -EDEADLK the caller is in the way · -EINVAL */
FM_API int fm_rwlock_trylock_read(struct fm_rwlock *rwlock);
FM_API int fm_rwlock_trylock_write(struct fm_rwlock *rwlock);
/* Either kind. 0 · -EPERM not a holder · -EINVAL. Never suspends. */
FM_API int fm_rwlock_unlock(struct fm_rwlock *rwlock);

/*
 * A semaphore: so many permits. Acquired and released in any number, by anybody. First come,
 * first served: a small later request does not overtake a large earlier one.
 *
 * Order      what a releaser did before happens before whoever acquires its permits goes on.
 * Cost       while nobody waits one compare-and-swap each.
 */
/* 0 · -ENOMEM · -EINVAL (permits < 0 or above 2^60 - 1) */
FM_API int fm_semaphore_create(int64_t permits, struct fm_semaphore **ret_semaphore);
FM_API struct fm_semaphore *fm_semaphore_destroy(struct fm_semaphore *semaphore);
/*
 * Wait until nobody waits in front and n are free, and take them. n = 0 is always there; more
 * than there are waits for a resize. 0 · -ECANCELED · -ETIMEDOUT (nothing taken) · -EINVAL
 * (n < 0)
 */
FM_API int fm_semaphore_acquire(struct fm_semaphore *semaphore, int64_t n, int64_t deadline_ns);
/* The same without waiting. 0 · -EAGAIN not so many, or others in front · -EINVAL (n < 0) */
FM_API int fm_semaphore_try_acquire(struct fm_semaphore *semaphore, int64_t n);
/*
 * n more are free; those who wait get theirs in order. 0 · -EINVAL (n < 0) · -EOVERFLOW more
 * than 2^60 - 1 would be: nothing changed. Never suspends.
 */
FM_API int fm_semaphore_release(struct fm_semaphore *semaphore, int64_t n);
/*
 * Change the total; permits that are out stay out, so fewer may be free than none. Never
 * suspends. 0 · -EINVAL (permits < 0, or more than 2^60 - 1 would be free): nothing changed
 */
FM_API int fm_semaphore_resize(struct fm_semaphore *semaphore, int64_t permits);
/* How many are free, a number for the eye; below 0 after a resize maybe. 0 for NULL. */
FM_API int64_t fm_semaphore_free(struct fm_semaphore *semaphore);
/*
 * Acquire n, run entry(arg) in the caller, release. No interruption comes between. 0, ret_exit
 * written with what entry returned · as acquire, entry not run · -EOVERFLOW as release
 */
FM_API int fm_semaphore_with(struct fm_semaphore *semaphore, int64_t n, fm_entry_fn *entry,
                             void *arg, int64_t deadline_ns, struct fm_exit *ret_exit);

/*
 * A latch: a count that only falls. At 0 it lets everybody through, for ever.
 *
 * Order      what was done before each count-down happens before a wait returns 0.
 * Cost       a count-down is one compare-and-swap, but for the last one where somebody waits;
 *            a wait at 0 is one load. A wait group's the same.
 */
/* count may be 0: open from the start. 0 · -ENOMEM · -EINVAL (count < 0 or above 2^60) */
FM_API int fm_latch_create(int64_t count, struct fm_latch **ret_latch);
FM_API struct fm_latch *fm_latch_destroy(struct fm_latch *latch);
/* Take n off. 0 · -EINVAL n < 0, or more than is left: nothing changed. Never suspends. */
FM_API int fm_latch_count_down(struct fm_latch *latch, int64_t n);
/* Wait until the count is 0. 0 · -ECANCELED · -ETIMEDOUT · -EINVAL */
FM_API int fm_latch_wait(struct fm_latch *latch, int64_t deadline_ns);
/* What is left; a number for the eye, -EINVAL for NULL. */
FM_API int64_t fm_latch_count(struct fm_latch *latch);

/*
 * A wait group: counts work that is under way, and lets those go who wait for none. It may rise
 * again and be waited for again. Whoever waited when the count met 0 goes on, however soon it
 * rises again. Starts at 0. Order and cost as of a latch.
 */
/* 0 · -ENOMEM · -EINVAL */
FM_API int fm_waitgroup_create(struct fm_waitgroup **ret_waitgroup);
FM_API struct fm_waitgroup *fm_waitgroup_destroy(struct fm_waitgroup *waitgroup);
/*
 * n more pieces of work, or fewer where n < 0. 0 · -EINVAL it would fall below 0 · -EOVERFLOW
 * it would pass 2^60: nothing changed in either case. Never suspends.
 */
FM_API int fm_waitgroup_add(struct fm_waitgroup *waitgroup, int64_t n);
/* One piece less: fm_waitgroup_add(waitgroup, -1). */
FM_API int fm_waitgroup_done(struct fm_waitgroup *waitgroup);
/* Wait until the count is 0. 0 · -ECANCELED · -ETIMEDOUT · -EINVAL */
FM_API int fm_waitgroup_wait(struct fm_waitgroup *waitgroup, int64_t deadline_ns);
/* What is under way; a number for the eye, -EINVAL for NULL. */
FM_API int64_t fm_waitgroup_count(struct fm_waitgroup *waitgroup);

#ifdef __cplusplus
}
#endif
#endif
