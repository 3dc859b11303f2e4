/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/runtime.h - worker threads that run fibers
 *
 * Several runtimes may live in one process; they share nothing but the pool of descriptors, so
 * that fiber ids stay unique in the process.
 *
 * fork(2): the child has none of the workers. If a runtime lived, the child may exec or _exit,
 * and close(2) what it does not need; every call that would need a worker, wait, or touch a
 * descriptor or a process returns -EPERM there, and fm_runtime_destroy() and
 * fm_process_destroy() do nothing. A fiber whose body returns in the child stops it. The parent
 * notices nothing. To start a program, fm_process_spawn() needs no fork. Without a live runtime
 * the child is a process like any other.
 */
#ifndef FM_RUNTIME_H
#define FM_RUNTIME_H

#include "fm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_fiber;
struct fm_runtime;

enum fm_clock {
    FM_CLOCK_REAL = 0,    /* CLOCK_MONOTONIC */
    /* starts at 0, moves only by fm_clock_advance_ns() and fm_clock_set_ns() */
    FM_CLOCK_VIRTUAL = 1,
};

/* What guards the stacks; FM_GUARD_AUTO takes the first that the machine offers. */
enum fm_guard {
    FM_GUARD_AUTO = 0,
    FM_GUARD_INSTALL = 1,  /* MADV_GUARD_INSTALL: no mapping is split */
    FM_GUARD_MPROTECT = 2, /* within a budget taken from vm.max_map_count, then canaries */
    FM_GUARD_CANARY = 3,   /* a word checked at each switch */
};

/* runtime_config.flags */
#define FM_RUNTIME_NO_STALL_REPORT 1u /* count stalls, print nothing */
/*
 * The calling thread and the workers take turns, in an order that `seed` alone decides, until
 * fm_runtime_destroy() by the same thread: libfibermap-explore only (fm/explore.h), else
 * -ENOTSUP. One such runtime at a time in a process: else -EBUSY. Inside fm_explore() every
 * runtime is one.
 */
#define FM_RUNTIME_SEEDED 2u

/* What a fiber's thread was doing for most of a stall. */
enum fm_stall_cause {
    FM_STALL_UNKNOWN = 0,
    FM_STALL_RUNNING = 1,   /* on a processor: a long computation, or an endless loop */
    FM_STALL_KERNEL = 2,    /* in a system call that waits, a page fault, a lock of libc */
    FM_STALL_QUEUED = 3,    /* runnable, waiting for a processor: the machine is busy */
    FM_STALL_THROTTLED = 4, /* kept from running by the cpu quota of a control group */
    FM_STALL_STOPPED = 5,   /* by a signal or a debugger */
};

/*
 * A fiber that has kept its worker for long without a wait. Times are of its thread, since
 * some milliseconds after its begin. Everything here is valid during the call only.
 */
struct fm_stall {
    uint32_t size;
    uint32_t ms;             /* so far */
    uint32_t cause;          /* enum fm_stall_cause */
    uint32_t worker;
    uint64_t fiber;          /* its id */
    const char *name;        /* "" if it has none */
    const char *key;         /* as in a dump, in quotes; "" if it has none */
    const void *spawn_site;
    int64_t ran_ns;          /* on processors */
    int64_t queued_ns;       /* runnable, waiting for one */
    int64_t throttled_ns;    /* of the control groups, summed over processors */
    int32_t thread_id;
    int32_t system_call;     /* it is blocked in; -1: none, or not known */
    const char *wait_channel; /* kernel function it sleeps in, "" if not known */
    void *const *frames;     /* return addresses, innermost first */
    uint32_t frame_count;    /* 0: none could be had */
    bool counts;             /* it has reached stall_ms: said once for each stall */
};

/*
 * Called at 10, 20, 40 ms of a stall and so on, each time that it has become twice as long, and
 * once when it reaches stall_ms. On the thread that watches the workers: it must not wait, and
 * while it runs nothing is watched. It may interrupt the fiber, by its id's map key or a
 * handle.
 */
typedef void fm_stall_fn(void *arg, const struct fm_stall *stall);

struct fm_runtime_config {
    uint32_t size;             /* set by FM_RUNTIME_CONFIG_INIT */
    uint32_t worker_count;     /* 0: the least of affinity and cgroup quota, at least 1 */
    uint32_t stack_bytes;      /* default class: 16, 64 or 256 KiB or 1 MiB; 0: 64 KiB */
    uint32_t blocking_threads; /* bound of the blocking pool; 0: 64 */
    uint32_t clock;            /* enum fm_clock */
    uint32_t stall_ms;         /* print a fiber that runs for so long without waiting; 0: 40 */
    uint64_t seed;             /* of victims and hashes; 0: from the system */
    uint32_t flags;
    uint32_t guard;            /* enum fm_guard: force a rung of the ladder */
    uint32_t max_fibers;       /* bound of live fibers; 0: the 16 million that ids allow */
    uint32_t queue_size;       /* slots of a worker's own queue, a power of two; 0: 2048 */
    fm_stall_fn *on_stall;     /* NULL: none; FM_RUNTIME_NO_STALL_REPORT does not concern it */
    void *on_stall_arg;
    /*
     * the real-time signal that backtraces of running fibers are had with: 0 a free one, chosen
     * once a process; negative: none. Code of yours that a worker is in the midst of may see
     * EINTR.
     */
    int32_t backtrace_signal;
};
#define FM_RUNTIME_CONFIG_INIT {.size = sizeof(struct fm_runtime_config)}

/*
 * fm_runtime_create - start the workers
 *
 * config       NULL for the defaults.
 * ret_runtime  required; owned by the caller, to be given back with fm_runtime_destroy().
 *
 * Returns    0 · -EINVAL · -E2BIG · -ENOMEM · -EPERM (in a child of fork, see above) ·
 *            -EAGAIN (a thread could not be made) · -EMFILE,
 *            -ENFILE (the poller needs descriptors) · -EBUSY (backtrace_signal has a handler,
 *            or another runtime uses another; FM_RUNTIME_SEEDED: somebody takes turns) ·
 *            -ENOTSUP (FM_RUNTIME_SEEDED). On failure nothing is left behind.
 * Callers    any thread, any fiber.
 */
FM_API int fm_runtime_create(const struct fm_runtime_config *config,
                             struct fm_runtime **ret_runtime);

/*
 * fm_runtime_run - run a main fiber and wait for its end
 *
 * Returns    0, ret_exit written · -EPERM from a fiber · -EINVAL · -ENOMEM · -ESHUTDOWN
 */
FM_API int fm_runtime_run(struct fm_runtime *runtime, fm_entry_fn *entry, void *arg,
                          struct fm_exit *ret_exit);

/*
 * fm_runtime_shutdown - interrupt every fiber (FM_BY_SHUTDOWN) and wait for their ends
 *
 * New spawns from threads are refused with -ESHUTDOWN from here on; finalizers may still spawn.
 *
 * Returns    0 none is left · -ETIMEDOUT some remain at the deadline (a later call goes on
 *            waiting) · -EPERM from a fiber of this runtime · -EINVAL
 */
FM_API int fm_runtime_shutdown(struct fm_runtime *runtime, int64_t deadline_ns);

/*
 * fm_runtime_destroy - shut down without a deadline, end the workers, give everything back
 *
 * Handles of ended fibers stay valid (poll, join, unref). NULL-safe, returns NULL. From a fiber
 * of this runtime: a broken invariant, the program stops.
 */
FM_API struct fm_runtime *fm_runtime_destroy(struct fm_runtime *runtime);

/* Create with the defaults, run, shut down, destroy. Results as those. Thread only. */
FM_API int fm_run(fm_entry_fn *entry, void *arg, struct fm_exit *ret_exit);

/* The runtime of the calling fiber, borrowed; NULL outside a worker. */
FM_API struct fm_runtime *fm_runtime_current(void);

/*
 * fm_runtime_resize - change the number of workers while they run
 *
 * Fibers, timers and descriptors of a worker that goes are taken over by the others. A worker
 * goes at the next wait or yield of the fiber that it is running; one with pinned fibers works
 * on until they unpin or end.
 *
 * Returns    0 · -EINVAL (0 or above 256) · -EAGAIN (a thread could not be made; fewer were
 *            added)
 */
FM_API int fm_runtime_resize(struct fm_runtime *runtime, uint32_t worker_count);

/*
 * Powers of two: bucket i counts values in [2^i, 2^(i+1)) nanoseconds; bucket 0 also takes 0.
 */
struct fm_histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t bucket[48];
};

/*
 * fm_histogram_percentile - the value that `percent` of all values do not exceed
 *
 * At most twice the true one, never below it, and never above max. percent is held to 0 to 100.
 * 0 for an empty histogram or NULL.
 */
FM_API uint64_t fm_histogram_percentile(const struct fm_histogram *histogram, double percent);

struct fm_runtime_stats {
    uint32_t worker_count;
    uint32_t workers_awake;
    uint32_t guard;                /* enum fm_guard in force */
    uint32_t blocking_threads;     /* now alive */
    uint64_t fibers_spawned;
    uint64_t fibers_ended;
    uint64_t fibers_live;          /* exact whenever nothing is being spawned or ends */
    uint64_t switches;
    uint64_t steals;
    uint64_t injected;             /* tasks that came through the inject lists */
    uint64_t overflows;            /* times a full queue was spilled */
    uint64_t parks;                /* times a worker went to sleep */
    uint64_t wakes;                /* times a sleeping worker was woken */
    uint64_t polls;
    uint64_t io_events;
    uint64_t timers_fired;
    uint64_t timers_cancelled;
    uint64_t timers_armed;         /* now */
    uint64_t stalls;
    uint64_t stacks_live;
    uint64_t stacks_pooled;
    uint64_t stack_bytes_mapped;
    uint64_t blocking_jobs;
    uint64_t blocking_queued;      /* now */
    uint64_t shared_queued;        /* now: fibers in the lists that all workers take from */
    struct fm_histogram blocking_wait; /* from hand-in to start */
    struct fm_histogram schedule_latency; /* from runnable to running, sampled */
    struct fm_histogram run_length;       /* from running to waiting, sampled */
};

/* Copy the counters; racy sums, exact when the runtime rests. Returns 0 · -EINVAL. */
FM_API int fm_runtime_stats(struct fm_runtime *runtime, struct fm_runtime_stats *ret_stats);

struct fm_worker_stats {
    uint64_t running;  /* id of the fiber that it runs; 0: none, it looks for one or sleeps */
    uint64_t queued;   /* fibers in its own queue; others may take them */
    uint64_t pinned;   /* fibers that wait for it because they may run nowhere else */
    uint64_t switches; /* the counters of fm_runtime_stats, of this worker alone */
    uint64_t steals;
    uint64_t parks;
};

/*
 * fm_runtime_workers - what each worker does
 *
 * Racy: each number was true at some moment of the call, exact when the runtime rests.
 *
 * ret_workers  of the first `capacity` workers; may be NULL if capacity is 0.
 *
 * Returns    how many workers there are · -EINVAL · -EPERM (in a child of fork)
 * Cost       no lock; some loads for each worker told.
 */
FM_API int fm_runtime_workers(struct fm_runtime *runtime, struct fm_worker_stats *ret_workers,
                              size_t capacity);

/*
 * fm_runtime_dump - write one line per live fiber, and one per job that a thread of the
 * blocking pool runs
 *
 * id, name, key, state, what it waits for and since when, where it was spawned, mask and
 * interrupt, the high-water mark of its stack. Racy by nature: a fiber may move on while its
 * line is made.
 *
 * Returns    0 · -EINVAL · -errno of write(2)
 */
FM_API int fm_runtime_dump(struct fm_runtime *runtime, int fd);

/* dump flags */
/*
 * The calls that each fiber is in, innermost first: address, module+offset for addr2line, and
 * the function where its name is exported.
 */
#define FM_DUMP_BACKTRACE 1u

/*
 * fm_runtime_dump_with - the same, with more to it
 *
 * Nothing is stopped. A parked fiber's calls are read from its stack, and believed only if it
 * did not run meanwhile; a running one's thread walks its own stack when it is sent a signal
 * (not under ThreadSanitizer), or is left alone where it is blocked in the kernel. Where the
 * calls are not to be had the dump says why. They are followed along frame pointers: code that
 * was compiled without leaves gaps.
 *
 * flags      FM_DUMP_...
 *
 * Returns    as fm_runtime_dump
 */
FM_API int fm_runtime_dump_with(struct fm_runtime *runtime, int fd, uint32_t flags);

/*
 * The virtual clock. fm_clock_advance_ns waits until nothing is runnable on any worker, steps
 * to the earliest deadline that is not past the target, wakes its sleepers first come first
 * served, and so on until the target is reached and all is quiet again. fm_clock_set_ns does
 * the same up to an absolute time. fm_clock_next_ns: the earliest armed deadline once all is
 * quiet, FM_NEVER if there is none.
 *
 * Returns    0 · -EINVAL (negative, or a time before now) · -ENOTSUP (the real clock) ·
 *            -ECANCELED
 * Callers    a thread, or a fiber of this runtime (which then does not count as runnable).
 */
FM_API int fm_clock_advance_ns(struct fm_runtime *runtime, int64_t n);
FM_API int fm_clock_set_ns(struct fm_runtime *runtime, int64_t time_ns);
FM_API int fm_clock_next_ns(struct fm_runtime *runtime, int64_t *ret_next_ns);

#ifdef __cplusplus
}
#endif
#endif
