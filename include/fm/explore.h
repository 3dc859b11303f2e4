/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/explore.h - run a concurrent test under many schedules, and repeat the one that fails
 *
 * Programs that call this are linked with libfibermap-explore (pkg-config: fibermap-explore) in
 * place of libfibermap: the same sources, with a point before each atomic operation at which an
 * arbiter may let another thread go on. One thread runs at a time; a seed, or a list of
 * choices, decides which. Time is the arbiter's too: it stands still while anybody can run (but
 * for FM_EXPLORE_STEP_NS a step) and else goes to the next deadline at once. libfibermap has
 * none of this and pays nothing for it. docs/testing.md is the guide.
 *
 * What a schedule repeats: everything that happens in the library, in fibers and in threads
 * made with fm_explore_thread(). What it cannot: other threads, other processes, the outside of
 * sockets, and a program's own use of clocks, addresses and random numbers.
 */
#ifndef FM_EXPLORE_H
#define FM_EXPLORE_H

#include "fm/base.h"
#include "fm/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FM_EXPLORE_STEP_NS 100

enum fm_explore_strategy {
    /*
     * at each point stay, or go to any other, with odds that are drawn for each schedule; a few
     * times somebody is held up for long
     */
    FM_EXPLORE_RANDOM = 0,
    /*
     * probabilistic concurrency testing: random priorities, which change at depth - 1 random
     * steps. Finds a bug that needs d orderings among n threads and k steps with a probability
     * of at least 1 / (n k^(d-1)) a schedule.
     */
    FM_EXPLORE_PCT = 1,
    /*
     * all schedules of the test with at most so many preemptions: those that are one unusual
     * choice away from the plainest first, then those that are two away ... The making of the
     * runtime and its end are run in the plainest way.
     */
    FM_EXPLORE_EXHAUSTIVE = 2,
};

enum fm_explore_kind {
    FM_EXPLORE_PASSED = 0,
    FM_EXPLORE_FAILED = 1,     /* the test's exit was no success, or check() returned below 0 */
    FM_EXPLORE_DEADLOCK = 2,   /* nobody can run, nothing is timed, no end */
    FM_EXPLORE_STEP_LIMIT = 3, /* a livelock, or a test that is too long */
    FM_EXPLORE_CRASHED = 4,    /* a signal, an abort, an exit in the middle */
    FM_EXPLORE_STUCK = 5,      /* no end in patience_s: a thread waits for something outside */
    FM_EXPLORE_DIVERGED = 6,   /* the same choices made another trace */
};

/* explore_options.flags */
#define FM_EXPLORE_FINE 1u  /* points at relaxed operations as well */
#define FM_EXPLORE_QUIET 2u /* print nothing about a failing schedule */
/*
 * The threads of a schedule are coroutines of one thread of the system, which is all of them by
 * turns: the same steps for less. Thread-locals of the program and of this library, and errno,
 * are each thread's own; what other libraries and the system know of a thread (pthread_self(),
 * keys, signal masks) is one for all, and pthread_exit() is not to be called. Under sanitizers,
 * and in a program with libc inside, the flag changes nothing.
 */
#define FM_EXPLORE_LIGHT 4u

typedef int fm_explore_check_fn(void *arg);

struct fm_explore_options {
    uint32_t size;         /* set by FM_EXPLORE_OPTIONS_INIT */
    uint32_t strategy;     /* enum fm_explore_strategy */
    const char *name;      /* for messages and FM_EXPLORE in the environment; NULL: "test" */
    uint64_t seed;         /* of the first schedule; the others follow from it. 0: 1 */
    uint64_t schedules;    /* at most; 0: 1000, or all there are if exhaustive */
    uint64_t step_limit;   /* of a schedule; 0: 100,000 */
    uint32_t depth;        /* of FM_EXPLORE_PCT, 1 to 16; 0: 3 */
    uint32_t preemptions;  /* bound of FM_EXPLORE_EXHAUSTIVE; 0: 2 */
    uint32_t deviations;   /* its bound of unusual choices, preemptions included; 0: none */
    uint32_t time_jumps;   /* one step in so many, a deadline passes early; 0: never */
    uint32_t patience_s;   /* of real time for a schedule; 0: 60 */
    uint32_t flags;
    int trace_fd;          /* where the trace of a failing schedule is written; 0: nowhere */
    const char *replay;    /* run this one schedule: a report's replay */
    fm_explore_check_fn *check; /* check(arg) after each schedule, the runtime gone; or NULL */
    const struct fm_runtime_config *config; /* NULL: two workers; its seed is the schedule's */
    /*
     * schedules that share a process, one after the other, at most 1,000; 0: 1, and no other
     * number if exhaustive. Each begins with the memory that those before it have left: the
     * test and check() set what they use, and give back what they take
     */
    uint32_t together;
};
#define FM_EXPLORE_OPTIONS_INIT {.size = sizeof(struct fm_explore_options)}

struct fm_explore_report {
    uint64_t schedules; /* that were run */
    uint64_t steps;     /* of all of them */
    uint64_t steps_max;
    uint64_t distinct;  /* traces that were not seen before */
    /* of the first schedule in the last process: of the last schedule if each has its own */
    uint64_t seed;
    uint64_t trace;     /* a hash of the last schedule's, which is the failing one if there is one */
    uint32_t kind;      /* enum fm_explore_kind, of the last schedule */
    /* check()'s result, why no runtime could be made, a signal, an exit status; else 0 */
    int32_t code;
    struct fm_exit exit; /* the test's; a value was the schedule's own and has gone */
    bool complete;      /* an exhaustive search has tried all within its bound */
    /*
     * "0x5eed" · "0x5eed+12": after the twelve that came before it in its process · choices
     * "12.3-40.1"; empty if too long
     */
    char replay[256];
};

#define FM_EXPLORE_FOUND 1

/*
 * fm_explore - run test(arg) as main fiber of a new runtime, under one schedule after the other
 *
 * Each schedule runs in a child process of its own (several in one: options.together), so each
 * begins with the same memory, a crash is a result, and what the test writes to memory is gone
 * afterwards: it says what it found by its exit, by check(), or by aborting. The search ends
 * with the first schedule that fails. Unless FM_EXPLORE_QUIET, a failure is told on stderr with the environment that repeats
 * it:
 *
 *     FM_EXPLORE='name=0x5eed' ./program   that schedule of the test `name` alone, with a trace
 *     FM_SEED=0x5eed ./program             all tests, with this seed for the first schedule
 *
 * One process in 50 is run twice; a trace that differs is FM_EXPLORE_DIVERGED.
 *
 * test, arg   runs on a worker; its threads come from fm_explore_thread().
 * options     NULL for the defaults.
 * ret_report  NULL, or where to write what was done, on 0 and FM_EXPLORE_FOUND.
 *
 * Returns    0 no schedule failed · FM_EXPLORE_FOUND (ret_report says what) · -EINVAL · -E2BIG
 *            · -EPERM from a fiber or from inside a test · -ENOMEM · -EAGAIN (no process to be
 *            had)
 * Callers    a thread of a process without a runtime and, as for any fork, best without other
 *            threads.
 * Cost       about a millisecond and 20 ns a step for a schedule, 0.4 ms where many share a
 *            process, 0.1 ms where its threads are light as well; more under sanitizers.
 */
FM_API int fm_explore(fm_entry_fn *test, void *arg, const struct fm_explore_options *options,
                      struct fm_explore_report *ret_report);

/*
 * fm_explore_thread - a foreign thread that takes part in the schedule
 *
 * Joined when the test has ended, before the runtime is destroyed.
 *
 * Returns    0 · -EINVAL · -EPERM outside a test · -EAGAIN (at most 60 threads, workers
 *            included)
 * Callers    the test: its fibers and threads.
 */
FM_API int fm_explore_thread(void (*fn)(void *arg), void *arg);

/*
 * fm_explore_point - a point of the test's own, before it touches what others touch
 *
 * what   stands in the trace; a string that stays.
 *
 * Callers    anybody; nothing happens outside a test.
 */
FM_API void fm_explore_point(const char *what);

/* As fm_explore_point, for a loop that waits: others go on first. */
FM_API void fm_explore_wait(const char *what);

/*
 * fm_explore_random - a number that belongs to the schedule: the same each time it is repeated
 *
 * For what a test chooses by itself, so that the seeds try that as well. Under
 * FM_EXPLORE_EXHAUSTIVE all schedules get the same numbers. 0 outside a test.
 */
FM_API uint64_t fm_explore_random(void);

/* "passed", "failed", "deadlock", "step limit", "crashed", "stuck", "diverged"; static. */
FM_API const char *fm_explore_kind_name(int kind);

#ifdef __cplusplus
}
#endif
#endif
