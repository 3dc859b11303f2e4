/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/schedule.h - when to do a thing again: after which delay, and when no more
 *
 * A schedule is an immutable value, made of small ones by combinators. It drives fm_repeat and
 * fm_retry (fm/flow.h), or a loop of the program's own through a struct fm_schedule_run. One
 * schedule may drive any number of runs at once, on any threads: what changes lives in the run.
 *
 * Words      A schedule is asked at each step, and the first step is taken when the first
 *            execution has ended: a schedule counts what comes after the first time. It answers
 *            with the delay until the next execution begins, or that there is none.
 * Ownership  Each constructor returns a schedule that the caller owns, or NULL: no memory, or
 *            an argument out of range. A combinator takes over the schedules it is given,
 *            whatever comes of it: where it returns NULL it has released them, and a NULL among
 *            them makes NULL. So a whole expression needs one check at the end.
 * Limits     64 combinators deep, 4096 schedules in all (one that stands in two places counts
 *            twice); beyond that: NULL. Delays are nanoseconds from 0 to INT64_MAX, where they
 *            stay when they overflow: then the next execution never comes.
 * Callers    any fiber, any thread; nothing here waits. Two threads must not step one run at
 *            once.
 */
#ifndef FM_SCHEDULE_H
#define FM_SCHEDULE_H

#include "fm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_schedule;

/* ---- simple ones; i is 0 at the first step, 1 at the second ---- */

/* n times, without delay: n + 1 executions. Below 0 counts as 0. */
FM_API struct fm_schedule *fm_schedule_recurs(int64_t n);
/* fm_schedule_recurs(1): two executions. */
FM_API struct fm_schedule *fm_schedule_once(void);
/* Without delay and without end. */
FM_API struct fm_schedule *fm_schedule_forever(void);
/*
 * At the times T + k * interval_ns, T being the end of the first execution. If one is due while
 * the last is still running, it comes at once after it, and only once, however many were
 * missed. For ever.
 */
FM_API struct fm_schedule *fm_schedule_fixed_ns(int64_t interval_ns);
/* delay_ns after each end. For ever. */
FM_API struct fm_schedule *fm_schedule_spaced_ns(int64_t delay_ns);
/* At the next of the times T + k * interval_ns: what was missed is left out. For ever. */
FM_API struct fm_schedule *fm_schedule_windowed_ns(int64_t interval_ns);
/* base_ns * factor^i, to the nearest nanosecond; factor finite and above 0. For ever. */
FM_API struct fm_schedule *fm_schedule_exponential(int64_t base_ns, double factor);
/* base_ns * (i + 1). For ever. */
FM_API struct fm_schedule *fm_schedule_linear(int64_t base_ns);
/* base_ns times 1, 1, 2, 3, 5, 8 ... For ever. */
FM_API struct fm_schedule *fm_schedule_fibonacci(int64_t base_ns);
/* delays_ns[i], copied; count times. */
FM_API struct fm_schedule *fm_schedule_delays(const int64_t delays_ns[], size_t count);

/* ---- of two ---- */

/* Goes on while both do, after the longer of their delays. Both are asked at each step. */
FM_API struct fm_schedule *fm_schedule_intersect(struct fm_schedule *a, struct fm_schedule *b);
/* Goes on while either does, after the shorter delay of those that do. */
FM_API struct fm_schedule *fm_schedule_union(struct fm_schedule *a, struct fm_schedule *b);
/* b on top of a: as intersect, but b is asked only where a goes on. */
FM_API struct fm_schedule *fm_schedule_compose(struct fm_schedule *a, struct fm_schedule *b);
/* a to its end, then b; b's first step is the one at which a has ended. */
FM_API struct fm_schedule *fm_schedule_and_then(struct fm_schedule *a, struct fm_schedule *b);

/* ---- of one ---- */

/*
 * Each delay times a random number, evenly from 0.8 up to but not including 1.2. Random numbers
 * follow from the seed of the run: see fm_schedule_run_init().
 */
FM_API struct fm_schedule *fm_schedule_jittered(struct fm_schedule *schedule);
/* Goes on while less than limit_ns has passed since its own first step. */
FM_API struct fm_schedule *fm_schedule_up_to_ns(struct fm_schedule *schedule, int64_t limit_ns);
/* No delay above max_delay_ns. */
FM_API struct fm_schedule *fm_schedule_cap_ns(struct fm_schedule *schedule,
                                              int64_t max_delay_ns);
/*
 * Begins anew, as if never asked before, where the last execution went well for healthy_ns or
 * longer: as much time has passed since it was to begin.
 */
FM_API struct fm_schedule *fm_schedule_reset_after_ns(struct fm_schedule *schedule,
                                                      int64_t healthy_ns);

/*
 * Goes on while pred(ctx, exit) says true (until: false) of the exit of the last execution. It
 * is asked only where the schedule itself goes on; it must not wait, and runs in as many
 * threads at once as there are runs. ctx must live as long as the schedule.
 */
typedef bool fm_schedule_pred_fn(void *ctx, struct fm_exit exit);
FM_API struct fm_schedule *fm_schedule_while(struct fm_schedule *schedule,
                                             fm_schedule_pred_fn *pred, void *ctx);
FM_API struct fm_schedule *fm_schedule_until(struct fm_schedule *schedule,
                                             fm_schedule_pred_fn *pred, void *ctx);

/*
 * Tells of each decision: the exit of the last execution, and the delay the schedule answered
 * with, or FM_SCHEDULE_STOPS where it ends. For logs and counters. As pred, it must not wait.
 */
#define FM_SCHEDULE_STOPS (-1)
typedef void fm_schedule_decision_fn(void *ctx, struct fm_exit exit, int64_t delay_ns);
FM_API struct fm_schedule *fm_schedule_on_decision(struct fm_schedule *schedule,
                                                   fm_schedule_decision_fn *fn, void *ctx);

/* One more reference, to use it twice; returns it. NULL-safe. Any thread. */
FM_API struct fm_schedule *fm_schedule_ref(struct fm_schedule *schedule);
/* Drop a reference; NULL-safe, returns NULL. A run holds one of its own. */
FM_API struct fm_schedule *fm_schedule_unref(struct fm_schedule *schedule);

/* ---- a run ---- */

/* What has come to pass in a run, as its last step left it; all zero before the first. */
struct fm_schedule_info {
    uint64_t recurrence;       /* of the execution that follows: 0 the first, then 1, 2 ... */
    int64_t start_ns;          /* when the first step was taken */
    int64_t step_ns;           /* when the last step was taken */
    int64_t elapsed_ns;        /* from the first step to the last */
    int64_t since_previous_ns; /* from the step before the last to the last */
    int64_t delay_ns;          /* that the last step answered with; 0 if it ended the run */
    struct fm_exit input;      /* what it was given: how the last execution ended */
};

/* What one part of a schedule remembers between two steps of a run. Private. */
struct fm_schedule_cell {
    int64_t n;
    union {
        int64_t ns;
        double delay;
    };
};

/*
 * One walk through a schedule, in the caller's storage, which stays where it is. `info` may be
 * read between steps; the rest is private.
 */
struct fm_schedule_run {
    struct fm_schedule_info info;
    struct fm_schedule *schedule_;
    struct fm_schedule_cell *more_; /* NULL: few_ is enough */
    uint64_t random_;
    bool begun_, over_, seeded_;
    struct fm_schedule_cell few_[8];
};

#define FM_SCHEDULE_DONE 1

/*
 * fm_schedule_run_init - begin a run
 *
 * Takes a reference to the schedule. The random numbers of a jittered one follow from the seed
 * of the runtime in whose fiber the run draws its first, and from how many runs did so there
 * before; in a thread they are different each time. fm_schedule_run_seed() sets where they
 * begin.
 *
 * Returns    0 · -EINVAL · -ENOMEM (only for a schedule of more than eight parts that remember
 *            something)
 */
FM_API int fm_schedule_run_init(struct fm_schedule_run *run, struct fm_schedule *schedule);
/* Give back what init took; NULL-safe. */
FM_API void fm_schedule_run_fini(struct fm_schedule_run *run);
/* Before the first step. 0 · -EINVAL */
FM_API int fm_schedule_run_seed(struct fm_schedule_run *run, uint64_t seed);

/*
 * fm_schedule_next - an execution has ended: what now?
 *
 * _at is the same at a time that the caller gives, for clocks of one's own. A time before that
 * of the last step counts as that time.
 *
 * exit          how it ended; kept in run->info.
 * ret_delay_ns  how long to wait from now on before the next one begins.
 *
 * Returns    0 go on, ret_delay_ns written · FM_SCHEDULE_DONE no more, now and at each further
 *            call · -EINVAL (a run that was not begun, a negative time)
 * Cost       one walk over the schedule's parts; no lock, no allocation, no system call but for
 *            the clock.
 */
FM_API int fm_schedule_next(struct fm_schedule_run *run, struct fm_exit exit,
                            int64_t *ret_delay_ns);
FM_API int fm_schedule_next_at(struct fm_schedule_run *run, int64_t now_ns, struct fm_exit exit,
                               int64_t *ret_delay_ns);

#ifdef __cplusplus
}
#endif
#endif
