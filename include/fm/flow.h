/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/flow.h - many at once, the first of several, no longer than this, and again
 *
 * Structured   What a call starts ends with it: whatever comes first, a result, a failure, the
 *              deadline or an interruption of the caller, the others are interrupted, and the
 *              call returns when they have ended, their children and finalizers included. A
 *              body that ignores its interruption is waited for.
 * Fibers       Each body has a fiber of its own: unmasked whatever the caller's mask, with the
 *              caller's inherited locals, and with a stack of the size of the caller's. What
 *              ends it early is FM_BY_PARENT, at a deadline FM_BY_DEADLINE. (fm_repeat and
 *              fm_retry run theirs in the caller.)
 * Interrupted  A caller who is not masked gets -ECANCELED once all have ended; nothing is
 *              started if the interruption is pending when the call is made. Where the outcome
 *              had been decided before, that is returned, and the next wait tells of the
 *              interruption.
 * Results      A call returns 0 where there is an outcome, and ret_exit says what it is, also
 *              where it is a failure. exit.value is not dropped by any of these calls: what a
 *              loser must give back, it keeps under its arg.
 * Memory       -ENOMEM and -EAGAIN (max_fibers): a fiber could not be had, and no body has run.
 *              If it turns out later, it is that body's exit: fm_fail(-ENOMEM).
 * Order        All before the call happens before each body's first line, and all that the
 *              bodies and their finalizers did happens before the call returns.
 * Callers      Fiber only (a thread gets -EPERM), but for fm_repeat and fm_retry. Each waits.
 */
#ifndef FM_FLOW_H
#define FM_FLOW_H

#include "fm/fiber.h"
#include "fm/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * fm_for_each - call fn(arg, index) for each index below count
 *
 * Begun in the order of their indices, at most `concurrency` at a time; 0: all at once. The
 * first that ends otherwise than with success stops the rest. Results are what fn keeps under
 * its index; the values of its exits go nowhere.
 *
 * ret_exit   fm_ok(NULL), or the exit that stopped the rest, the first in time.
 *
 * Returns    0 · -ECANCELED · -EINVAL · -EPERM · -ENOMEM · -EAGAIN
 * Cost       memory for min(count, concurrency) fibers. One that has done its piece takes the
 *            next, unless somebody could tell: then that one gets a new fiber.
 */
typedef struct fm_exit fm_index_fn(void *arg, size_t index);
FM_API int fm_for_each(size_t count, size_t concurrency, fm_index_fn *fn, void *arg,
                       struct fm_exit *ret_exit);

struct fm_task {
    fm_entry_fn *entry;
    void *arg;
};

/*
 * fm_all - run all tasks and hand back each one's exit
 *
 * As fm_for_each. ret_exits, if not NULL, takes count exits in the order of the tasks; one that
 * was never begun is an interruption, FM_BY_PARENT. They are written with -ECANCELED too, so
 * that no value is lost; not with any other failure.
 *
 * Returns    0 all succeeded · FM_ALL_FAILED one did not, and the rest were stopped ·
 *            -ECANCELED · -EINVAL · -EPERM · -ENOMEM · -EAGAIN
 */
#define FM_ALL_FAILED 1
FM_API int fm_all(const struct fm_task tasks[], size_t count, size_t concurrency,
                  struct fm_exit ret_exits[]);

/*
 * fm_race - the first task that succeeds
 *
 * All run at once. If none succeeds: the exit of the one that ended last, whatever its kind.
 *
 * ret_winner  its index.
 *
 * Returns    0 · -ECANCELED · -EINVAL (also: no task) · -EPERM · -ENOMEM · -EAGAIN
 */
FM_API int fm_race(const struct fm_task tasks[], size_t count, size_t *ret_winner,
                   struct fm_exit *ret_exit);
/* The same for the first task that ends, however it ends. */
FM_API int fm_race_first(const struct fm_task tasks[], size_t count, size_t *ret_winner,
                         struct fm_exit *ret_exit);

/*
 * fm_timeout - run entry(arg), but not past a deadline
 *
 * At the deadline the body is interrupted and its end awaited; how it ended then is not told.
 * A deadline that has passed already: it does not run.
 *
 * Returns    0, ret_exit written: it ended before · -ETIMEDOUT · -ECANCELED · -EINVAL · -EPERM
 *            · -ENOMEM · -EAGAIN
 */
FM_API int fm_timeout(fm_entry_fn *entry, void *arg, int64_t deadline_ns,
                      struct fm_exit *ret_exit);

/*
 * fm_repeat, fm_retry - run entry(arg), and again as the schedule says
 *
 * Each execution runs in the caller, in a scope of its own: its children and finalizers end
 * before the schedule is asked. repeat goes on after a success, retry after a failure; anything
 * else is final, a defect and an interruption always. Between executions others run, even
 * without a delay.
 *
 * ret_exit   the last execution's exit.
 *
 * Returns    0 · -ECANCELED interrupted between two executions · -EINVAL · -ENOMEM (a run of a
 *            large schedule: nothing was executed)
 * Callers    any fiber, any thread. In a thread there are no scopes, and delays are real time.
 */
FM_API int fm_repeat(fm_entry_fn *entry, void *arg, struct fm_schedule *schedule,
                     struct fm_exit *ret_exit);
FM_API int fm_retry(fm_entry_fn *entry, void *arg, struct fm_schedule *schedule,
                    struct fm_exit *ret_exit);

/*
 * fm_schedule_current - in the body of a running repeat or retry: which time is this?
 *
 * recurrence 0 in the first execution, with all else zero; then what the step before this
 * execution saw. Of nested ones the innermost. A fiber that the body starts is none of them.
 *
 * Returns    0, ret_info written · -ENOENT in none · -EINVAL
 */
FM_API int fm_schedule_current(struct fm_schedule_info *ret_info);

#ifdef __cplusplus
}
#endif
#endif
