/*
 * blocking.h - threads for what would block a worker
 *
 * Each runtime has a pool: threads are made when a job finds no idle one, up to
 * config.blocking_threads, and go when they have been idle for five seconds. Workers are not
 * among them.
 */
#ifndef FM_RUNTIME_IO_BLOCKING_H
#define FM_RUNTIME_IO_BLOCKING_H

#include "fm/fiber.h"
#include "fm/runtime.h"

struct blocking;

/* runtime->config.blocking_threads is the bound, 0: 64. No thread is made yet. 0 · -ENOMEM */
int fm__blocking_init(struct fm_runtime *runtime);
/*
 * Refuse new jobs (-ESHUTDOWN), end the queued ones as interrupted (FM_BY_SHUTDOWN) without
 * running them, wait for the running ones. 0 no thread is left · -ETIMEDOUT some still run; a
 * later call goes on waiting, fm__blocking_dump names them
 */
int fm__blocking_shutdown(struct fm_runtime *runtime, int64_t deadline_ns);
/* fm__blocking_shutdown for ever, then give all back. */
void fm__blocking_fini(struct fm_runtime *runtime);

/* How many fibers wait for a job: what a virtual clock must not step over. */
uint32_t fm__blocking_busy(struct fm_runtime *runtime);

/* Fills in the fields named blocking_. */
void fm__blocking_stats(struct fm_runtime *runtime, struct fm_runtime_stats *stats);
/*
 * One line a running job: which function, for which fiber, since when; at most 64. 0 · -errno
 * of write(2)
 */
int fm__blocking_dump(struct fm_runtime *runtime, int fd);

/*
 * fm__blocking_run - fm_blocking with the question who owns arg answered
 *
 * drop       NULL, or called on arg exactly once, when fn will not touch it any more: after it
 *            ran, or when it never will. The caller may still be reading arg then: count
 *            references.
 *
 * Returns    as fm_blocking. -ECANCELED and -ETIMEDOUT say that fn runs or will run (unless the
 *            runtime shuts down first): also for an interruption that was pending. With any
 *            other failure it will not.
 */
int fm__blocking_run(fm_entry_fn *fn, void *arg, fm_drop_fn *drop, int64_t deadline_ns,
                     struct fm_exit *ret_exit);

/*
 * fm__blocking_run_lent - the same for an arg that stays the caller's: his stack, his buffers
 *
 * When it returns fn has returned, or is never called: a job that no thread has begun is
 * withdrawn at the deadline or by an interruption, one that has begun is awaited.
 *
 * Returns    0 fn has returned, or the runtime shuts down (ret_exit: FM_INTERRUPTED) · anything
 *            else: fn was not called. -ECANCELED · -ETIMEDOUT, also for a deadline that is over
 *            when called · -ENOMEM · -EAGAIN · -ESHUTDOWN
 */
int fm__blocking_run_lent(fm_entry_fn *fn, void *arg, int64_t deadline_ns,
                          struct fm_exit *ret_exit);

/*
 * As fm__blocking_run_lent, on the one thread that, once made, stays until the runtime goes:
 * for what is tied to the thread that does it.
 */
int fm__blocking_run_kept(fm_entry_fn *fn, void *arg, int64_t deadline_ns,
                          struct fm_exit *ret_exit);

/* Tests: how long a thread may be idle. */
void fm__blocking_set_idle_ns(struct fm_runtime *runtime, int64_t idle_ns);

#endif
