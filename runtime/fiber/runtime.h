/*
 * runtime.h - what one runtime is made of, as the fiber layer sees it
 *
 * The rooms above (time, io) hand down what the fiber layer and the scheduler need of them: the
 * hooks. runtime/runtime.c, which may see all rooms, puts a runtime together.
 */
#ifndef FM_RUNTIME_FIBER_RUNTIME_H
#define FM_RUNTIME_FIBER_RUNTIME_H

#include "fm/runtime.h"
#include "runtime/fiber/fiber.h"
#include "runtime/fiber/waitlist.h"
#include "runtime/platform/lock.h"
#include "runtime/sched/sched.h"

/*
 * Time and io, handed down. Those that fire or poll wake fibers with fm__wake, with no lock of
 * theirs held.
 */
struct runtime_hooks {
    /*
     * Arm fiber->timer for the wait `epoch`. Caller: the waiting fiber, on a worker, or a
     * thread (virtual clock).
     */
    void (*timer_arm)(struct fm_runtime *runtime, struct fm_fiber *fiber, uint64_t epoch,
                      int64_t deadline_ns);
    /*
     * After the wait: take it off if it has not fired. Returns with nobody touching
     * fiber->timer any more.
     */
    void (*timer_disarm)(struct fm_runtime *runtime, struct fm_fiber *fiber);
    /*
     * The earliest armed deadline (rounded to when it would be fired), INT64_MAX if none. Racy,
     * cheap: no lock.
     */
    int64_t (*timer_next)(struct fm_runtime *runtime);
    /*
     * Fire what is due at now_ns, of every worker's wheel, a bounded number at a time:
     * timer_next tells if more is due. A wheel that another thread is firing is skipped.
     * Returns how many woke.
     */
    unsigned (*timer_fire)(struct fm_runtime *runtime, int64_t now_ns);
    /*
     * Wait for io at most until deadline_ns (0: look only; INT64_MAX: for ever), wake who is
     * ready. One caller at a time (the token). Returns how many fibers woke.
     */
    unsigned (*poll)(struct fm_runtime *runtime, int64_t deadline_ns);
    /* Make a poll that is waiting return. Any thread. */
    void (*poll_wake)(struct fm_runtime *runtime);
    /* Whether anything is registered at all: else idle workers need not poll. Racy. */
    bool (*poll_needed)(struct fm_runtime *runtime);
};

struct fm_runtime {
    struct sched sched; /* first: the scheduler's hooks get it and cast back */
    struct fm_runtime_config config;
    const struct runtime_hooks *hooks;
    struct timers *timers;
    struct poller *poller;
    struct blocking *blocking;
    struct blocking *keeper; /* a pool of one thread that lives as long as the runtime */
    int default_stack_class;
    bool virtual_clock;
    bool quota; /* of processor time, when it was made */
    bool seeded; /* it began the turns that its threads take */
    _Atomic bool stopping; /* shutdown has begun: spawns from outside are refused */
    _Atomic int64_t virtual_now_ns;
    _Atomic int64_t trace_stamp_ns; /* of the virtual clock: the last that a trace was given */
    struct clock_control *clock;      /* of the virtual clock */
    _Atomic uint64_t foreign_spawned; /* fibers created by threads; workers count their own */
    _Atomic uint64_t random_runs;     /* runs of schedules that drew: each has its seed */
    struct lock end_lock;             /* shutdown's waiters */
    struct waitlist end_waiters;
};

#endif
