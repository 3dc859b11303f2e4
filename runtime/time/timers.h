/*
 * timers.h - deadlines of fibers: a wheel for each worker, or the heap of the virtual clock
 */
#ifndef FM_RUNTIME_TIME_TIMERS_H
#define FM_RUNTIME_TIME_TIMERS_H

#include "runtime/fiber/runtime.h"
#include "runtime/time/wheel.h"

struct timers {
    /* Made when the worker of that index first arms; [0] from the start. Freed by fini only. */
    struct wheel *_Atomic wheels[WORKERS_MAX];
    _Atomic uint32_t wheel_end; /* one past the last that was made */
    /*
     * The earliest deadline of one wheel has become earlier, it is deadline_ns now: a poller
     * that sleeps past it must be woken. Set by the runtime before the first arm, NULL: nobody
     * need be told. Called with no lock held, after the new time can be seen by fm__timer_next.
     */
    void (*moved)(struct fm_runtime *runtime, int64_t deadline_ns);
};

/*
 * Sets runtime->timers, and runtime->clock if runtime->virtual_clock is set. fini takes both
 * back; NULL-safe. No worker runs.
 * 0 · -ENOMEM
 */
int fm__timers_init(struct fm_runtime *runtime);
void fm__timers_fini(struct fm_runtime *runtime);

/* The hooks of runtime/fiber/runtime.h. */
void fm__timer_arm(struct fm_runtime *runtime, struct fm_fiber *fiber, uint64_t epoch,
                    int64_t deadline_ns);
void fm__timer_disarm(struct fm_runtime *runtime, struct fm_fiber *fiber);
/*
 * INT64_MAX with the virtual clock: no worker sleeps until a time that does not come by itself.
 */
int64_t fm__timer_next(struct fm_runtime *runtime);
/*
 * Fires as many as fm__sched_room says, so that what they woke can run in between;
 * fm__timer_next then still tells a time that has passed. The caller's own wheel comes first,
 * unless one is far behind.
 */
unsigned fm__timer_fire(struct fm_runtime *runtime, int64_t now_ns);

/* Fills timers_armed, _fired and _cancelled. Racy sums, exact at rest. */
void fm__timers_stats(struct fm_runtime *runtime, struct fm_runtime_stats *stats);

#endif
