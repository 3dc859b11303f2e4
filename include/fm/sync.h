/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/sync.h - waiting for one another: deferred, promise, mutex, condition, read/write lock,
 * semaphore, latch, wait group
 *
 * The same calls from fibers and threads. Every wait takes a deadline and is interruptible; a
 * waiter that leaves early leaves no trace and loses no permit and no wake-up. Waiters are
 * served first come, first served.
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

/* A one-shot cell of an exit. The first completion wins. */
/* 0 · -ENOMEM · -EINVAL */
FM_API int fm_deferred_create(struct fm_deferred **ret_deferred);
/* nobody may be waiting; NULL-safe */
FM_API struct fm_deferred *fm_deferred_destroy(struct fm_deferred *deferred);
/* 0 · FM_ALREADY_DONE · -EINVAL */
FM_API int fm_deferred_succeed(struct fm_deferred *deferred, void *value);
/* 0 · FM_ALREADY_DONE · -EINVAL */
FM_API int fm_deferred_fail(struct fm_deferred *deferred, int code);
FM_API int fm_deferred_complete(struct fm_deferred *deferred, struct fm_exit exit);
/* 0, ret_exit written · -ECANCELED · -ETIMEDOUT · -EINVAL */
FM_API int fm_deferred_await(struct fm_deferred *deferred, int64_t deadline_ns,
                             struct fm_exit *ret_exit);
/* 0 · -EAGAIN · -EINVAL */
FM_API int fm_deferred_poll(struct fm_deferred *deferred, struct fm_exit *ret_exit);

/*
 * A promise: a deferred that a foreign event loop can wait for. The eventfd becomes readable
 * when the promise is complete and stays so; it is made at the first request, belongs to the
 * promise, and must not be closed or read. Reference-counted, since a fiber may complete it
 * after its maker has gone.
 */
FM_API int fm_promise_create(struct fm_promise **ret_promise);
FM_API struct fm_promise *fm_promise_ref(struct fm_promise *promise);
FM_API struct fm_promise *fm_promise_unref(struct fm_promise *promise);
/* 0 · FM_ALREADY_DONE · -EINVAL */
FM_API int fm_promise_complete(struct fm_promise *promise, struct fm_exit exit);
/*
 * What the exit's value needs: drop(what) is called when the promise is freed. Once for a
 * promise, by a holder of a reference, before he hands the promise to others. 0 · -EINVAL
 */
FM_API int fm_promise_keep(struct fm_promise *promise, fm_drop_fn *drop, void *what);
FM_API int fm_promise_await(struct fm_promise *promise, int64_t deadline_ns,
                            struct fm_exit *ret_exit);
FM_API int fm_promise_poll(struct fm_promise *promise, struct fm_exit *ret_exit);
/* the descriptor · -EMFILE · -ENFILE · -ENOMEM · -EINVAL */
FM_API int fm_promise_eventfd(struct fm_promise *promise);

/*
 * Not recursive. Owned by a fiber or a thread. Whoever would close a ring of those who wait for
 * one another without deadlines, by way of mutexes, read/write locks that are held to write,
 * and joins, is told so instead of waiting.
 */
FM_API int fm_mutex_create(struct fm_mutex **ret_mutex);
FM_API struct fm_mutex *fm_mutex_destroy(struct fm_mutex *mutex);
/*
 * 0 · -ECANCELED · -ETIMEDOUT · -EDEADLK the caller holds it, or would wait for itself by way of
 * others · -EINVAL · -ENOMEM (a thread's first wait)
 */
FM_API int fm_mutex_lock(struct fm_mutex *mutex, int64_t deadline_ns);
FM_API int fm_mutex_trylock(struct fm_mutex *mutex); /* 0 · -EBUSY · -EDEADLK · -EINVAL */
FM_API int fm_mutex_unlock(struct fm_mutex *mutex);  /* 0 · -EPERM not the holder · -EINVAL */

FM_API int fm_cond_create(struct fm_cond **ret_cond);
FM_API struct fm_cond *fm_cond_destroy(struct fm_cond *cond);
/*
 * Give up the mutex, wait for a signal, take the mutex again (masked: the caller always holds
 * it on return but for -EPERM and -EINVAL). 0 · -ECANCELED · -ETIMEDOUT · -EPERM the caller
 * does not hold the mutex · -EINVAL. No spurious wake-ups.
 */
FM_API int fm_cond_wait(struct fm_cond *cond, struct fm_mutex *mutex, int64_t deadline_ns);
FM_API int fm_cond_signal(struct fm_cond *cond);    /* the number woken, 0 or 1 · -EINVAL */
FM_API int fm_cond_broadcast(struct fm_cond *cond); /* the number woken · -EINVAL */

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
FM_API int fm_rwlock_create(struct fm_rwlock **ret_rwlock);
/* nobody may hold it or wait for it; NULL-safe, returns NULL */
FM_API struct fm_rwlock *fm_rwlock_destroy(struct fm_rwlock *rwlock);
/*
 * fm_rwlock_lock_read, fm_rwlock_lock_write - wait until the caller may read, or write alone
 *
 * Returns    0 · -ECANCELED · -ETIMEDOUT (the caller holds what it held before)
 *            -EDEADLK  the caller would wait for itself: it writes; or it reads, and wants to
 *                      write or to read once more behind a writer that waits; or a ring, as
 *                      with a mutex
 *            -EINVAL · -ENOMEM (a thread's first wait)
 *
 * Callers    any fiber, any thread. Suspend while others are in the way.
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

/* First in, first out: a small later request does not overtake a large earlier one. */
FM_API int fm_semaphore_create(int64_t permits, struct fm_semaphore **ret_semaphore);
FM_API struct fm_semaphore *fm_semaphore_destroy(struct fm_semaphore *semaphore);
/* 0 · -ECANCELED · -ETIMEDOUT (nothing taken) · -EINVAL (n < 0) */
FM_API int fm_semaphore_acquire(struct fm_semaphore *semaphore, int64_t n, int64_t deadline_ns);
/* 0 · -EAGAIN · -EINVAL */
FM_API int fm_semaphore_try_acquire(struct fm_semaphore *semaphore, int64_t n);
/* 0 · -EINVAL · -EOVERFLOW */
FM_API int fm_semaphore_release(struct fm_semaphore *semaphore, int64_t n);
/*
 * Change the total; permits that are out stay out, so fewer may be free than none. 0 · -EINVAL
 */
FM_API int fm_semaphore_resize(struct fm_semaphore *semaphore, int64_t permits);
/* may be below 0 after a resize */
FM_API int64_t fm_semaphore_free(struct fm_semaphore *semaphore);
/*
 * Acquire n, run entry(arg), release, whatever happens in between. 0, ret_exit written · as
 * acquire
 */
FM_API int fm_semaphore_with(struct fm_semaphore *semaphore, int64_t n, fm_entry_fn *entry,
                             void *arg, int64_t deadline_ns, struct fm_exit *ret_exit);

/*
 * A latch: a count that only falls. At 0 it lets everybody through, for ever. Whoever comes
 * through may destroy it at once.
 */
/* count may be 0: open from the start. 0 · -ENOMEM · -EINVAL (count < 0) */
FM_API int fm_latch_create(int64_t count, struct fm_latch **ret_latch);
/* nobody may be waiting; NULL-safe, returns NULL */
FM_API struct fm_latch *fm_latch_destroy(struct fm_latch *latch);
/* Take n off. 0 · -EINVAL n < 0, or more than is left: nothing changed. Never suspends. */
FM_API int fm_latch_count_down(struct fm_latch *latch, int64_t n);
/*
 * Wait until the count is 0. What was done before each count-down happens before this returns
 * 0. 0 · -ECANCELED · -ETIMEDOUT · -EINVAL · -ENOMEM (a thread's first wait)
 */
FM_API int fm_latch_wait(struct fm_latch *latch, int64_t deadline_ns);
/* What is left; a number for the eye, -EINVAL for NULL. */
FM_API int64_t fm_latch_count(struct fm_latch *latch);

/*
 * A wait group: counts work that is under way, and lets those go who wait for none. It may rise
 * again and be waited for again. Whoever waited when the count met 0 goes on, however soon it
 * rises again. Starts at 0.
 */
FM_API int fm_waitgroup_create(struct fm_waitgroup **ret_waitgroup);
/* nobody may be waiting; NULL-safe, returns NULL */
FM_API struct fm_waitgroup *fm_waitgroup_destroy(struct fm_waitgroup *waitgroup);
/*
 * n more pieces of work, or fewer where n < 0. 0 · -EINVAL it would fall below 0 · -EOVERFLOW
 * it would pass 2^60: nothing changed in either case. Never suspends.
 */
FM_API int fm_waitgroup_add(struct fm_waitgroup *waitgroup, int64_t n);
/* add(-1) */
FM_API int fm_waitgroup_done(struct fm_waitgroup *waitgroup);
/* As fm_latch_wait. */
FM_API int fm_waitgroup_wait(struct fm_waitgroup *waitgroup, int64_t deadline_ns);
FM_API int64_t fm_waitgroup_count(struct fm_waitgroup *waitgroup);

#ifdef __cplusplus
}
#endif
#endif
