/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/sync.h - waiting for one another: deferred, mutex, condition, semaphore
 *
 * The same calls from fibers and threads. Every wait takes a deadline and is interruptible; a
 * waiter that leaves early leaves no trace and loses no permit and no wake-up. Waiters are
 * served first come, first served.
 */
#ifndef FM_SYNC_H
#define FM_SYNC_H

#include "fm/fiber.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_deferred;
struct fm_promise;
struct fm_mutex;
struct fm_cond;
struct fm_semaphore;

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

/* Not recursive. Owned by a fiber or a thread. */
FM_API int fm_mutex_create(struct fm_mutex **ret_mutex);
FM_API struct fm_mutex *fm_mutex_destroy(struct fm_mutex *mutex);
/* 0 · -ECANCELED · -ETIMEDOUT · -EDEADLK held by the caller · -EINVAL */
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

#ifdef __cplusplus
}
#endif
#endif
