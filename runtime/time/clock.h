/*
 * clock.h - the virtual clock
 *
 * All timers of a runtime with that clock stand in one heap. Time moves only while every worker
 * is idle, by one step at a time, and only because somebody has asked for it:
 * fm_clock_advance_ns, fm_clock_set_ns, fm_clock_next_ns.
 */
#ifndef FM_RUNTIME_TIME_CLOCK_H
#define FM_RUNTIME_TIME_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/fiber/runtime.h"
#include "runtime/platform/atomic.h"
#include "runtime/platform/lock.h"
#include "runtime/time/heap.h"

struct clock_request;

struct clock_control {
    struct lock lock;
    struct timer_heap heap;
    struct clock_request *first, **tail; /* in order of arrival; the first is being served */
    _Atomic uint64_t armed, fired, cancelled;
    /*
     * Wakes one worker, which then finds that all are idle: a request has come from outside the
     * runtime. Set by the runtime before any request. Called with no lock held.
     */
    void (*kick)(struct fm_runtime *runtime);
};

/* 0 · -ENOMEM. Sets runtime->clock. */
int fm__clock_init(struct fm_runtime *runtime);
/* NULL-safe. No timer is armed and no request waits. */
void fm__clock_fini(struct fm_runtime *runtime);

/*
 * As timer_arm and timer_disarm of runtime.h. A deadline that is not after now fires here and
 * now.
 */
void fm__clock_arm(struct fm_runtime *runtime, struct fm_fiber *fiber, uint64_t epoch,
                   int64_t deadline_ns);
void fm__clock_disarm(struct fm_runtime *runtime, struct fm_fiber *fiber);

/*
 * fm__clock_all_idle - one step of the virtual clock
 *
 * Called when every worker of the runtime is idle, nothing is queued and no blocking job runs,
 * by the worker that was the last to go idle; again when all are idle again.
 *
 * Returns    true   something was woken: there is work, or a thread outside goes on
 *            false  nothing is asked for, or the clock is the real one
 */
bool fm__clock_all_idle(struct fm_runtime *runtime);

#endif
