/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/base.h - what every call shares: results, exits, keys to a fiber's end, time
 *
 * Conventions, for all headers of the library:
 *   - 0 is success, a negative errno value a failure, a positive value a named outcome of that
 *     call.
 *   - ret_ parameters come last, may be NULL, and are written on success only.
 *   - Config and option structs start with `uint32_t size`; NULL or all-zero means the
 *     defaults. A shorter struct reads as zero-filled, a longer one with a non-zero tail gives
 *     -E2BIG.
 *   - Times are int64_t nanoseconds. A name ending in deadline_ns is an absolute time on the
 *     runtime's monotonic clock; FM_NEVER waits for ever, a time in the past (0) polls.
 *   - A call works from a fiber and from any OS thread unless its contract says "fiber only";
 *     then a thread gets -EPERM. A thread that waits sleeps in the kernel, it does not spin.
 *   - An interrupted wait returns -ECANCELED. The interruption stays pending: the next
 *     interruptible wait returns -ECANCELED at once.
 *   - No call may be made from a signal handler.
 *   - errno is never set: a fiber may go on in another thread, where errno is another variable.
 */
#ifndef FM_BASE_H
#define FM_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef FM_API
#define FM_API __attribute__((visibility("default")))
#endif

#define FM_NEVER INT64_MAX

/* How a fiber ended. */
enum fm_exit_kind {
    FM_SUCCESS = 0,     /* exit.value is the fiber's result */
    /* exit.code is the negative errno or the program's own code, exit.value more of it */
    FM_FAILURE = 1,
    FM_INTERRUPTED = 2, /* exit.reason and exit.by say why and by whom */
    FM_DEFECT = 3,      /* a fault of the program: exit.code */
};

/* Why a fiber was interrupted. */
enum fm_reason {
    /* interrupted without a recorded interrupter: fm_interrupted() on its own account */
    FM_BY_NOBODY = 0,
    FM_BY_USER = 1,
    FM_BY_PARENT = 2,
    FM_BY_REPLACE = 3,
    FM_BY_REMOVE = 4,
    FM_BY_CLEAR = 5,
    FM_BY_CLOSE = 6,
    FM_BY_REJECT = 7,
    FM_BY_LAST_WAITER = 8,
    FM_BY_RESTART_LIMIT = 9,
    FM_BY_DEADLINE = 10,
    FM_BY_SHUTDOWN = 11,
    FM_BY_GROUP = 12, /* fm/map_group.h */
    FM_BY_IDLE = 13,  /* fm/map_limit.h */
};

/*
 * exit.flags: a finalizer failed although the body had failed already; see
 * fm_fiber_finalizer_exit().
 */
#define FM_EXIT_FINALIZER_FAILED 1u

/*
 * The end of a fiber, by value. For FM_INTERRUPTED `by` is the id of the interrupting fiber (0:
 * a thread); for every other kind `value` is valid, NULL where none was given. A value stays
 * owned by the fiber that ended: it lives until the last reference to the fiber is dropped.
 */
struct fm_exit {
    uint8_t kind;   /* enum fm_exit_kind */
    /*
     * enum fm_reason, of an interruption; FM_BY_RESTART_LIMIT also of the last failure of a
     * fiber that failed too often (struct fm_restart)
     */
    uint8_t reason;
    uint16_t flags;
    int32_t code;
    union {
        void *value;
        uint64_t by;
    };
};

/*
 * The first function of a fiber or of a blocking job, and what releases a pointer that nobody
 * else will. The first returns: pthread_exit in it stops the program, which would wait for ever
 * for the thread that has gone.
 */
typedef struct fm_exit fm_entry_fn(void *arg);
typedef void fm_drop_fn(void *pointer);

/*
 * The five ways to end. fm_interrupted(), and fm_fail(-ECANCELED), returned by a fiber that has
 * an interrupt pending become that interruption, with its interrupter and reason.
 */
FM_API struct fm_exit fm_ok(void *value);
FM_API struct fm_exit fm_fail(int code);
FM_API struct fm_exit fm_fail_with(int code, void *value);
FM_API struct fm_exit fm_interrupted(void);
FM_API struct fm_exit fm_defect(int code);

/* Text for a result or errno of either sign; static, never NULL. */
FM_API const char *fm_strerror(int result);
/* "success", "failure", "interrupted", "defect"; static. */
FM_API const char *fm_exit_kind_name(int kind);
/* "user", "parent", "replace" ...; static. */
FM_API const char *fm_reason_name(int reason);
/* "0.1.0"; static. */
FM_API const char *fm_version(void);

/*
 * The present time: of the calling fiber's runtime (virtual where that clock is), of
 * CLOCK_MONOTONIC in a thread. fm_after_* make a deadline that far ahead; they saturate at
 * FM_NEVER, and a negative distance gives a time that has passed.
 */
FM_API int64_t fm_now_ns(void);
FM_API int64_t fm_after_ns(int64_t n);
FM_API int64_t fm_after_us(int64_t n);
FM_API int64_t fm_after_ms(int64_t n);
FM_API int64_t fm_after_s(int64_t n);

#ifdef __cplusplus
}
#endif
#endif
