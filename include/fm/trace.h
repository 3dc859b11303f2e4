/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/trace.h - what every worker did, to be looked at in a browser
 *
 * A trace is a flight recorder: each worker keeps its newest events in a ring, and when the
 * trace is stopped they are written out as Chrome's trace event JSON, which ui.perfetto.dev and
 * chrome://tracing open. One row for each worker; on it
 *
 *     runs      of fibers, under their key or name, with how the run ended: what the fiber
 *               waits for, a yield, its end
 *     arrows    from who woke or spawned a fiber to the run that followed
 *     wake, spawn, steal, asleep, stall
 *
 * Off, a trace costs nothing. On, some hundred nanoseconds an event; no lock, no allocation.
 */
#ifndef FM_TRACE_H
#define FM_TRACE_H

#include "fm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_runtime;

struct fm_trace_options {
    uint32_t size;   /* set by FM_TRACE_OPTIONS_INIT */
    uint32_t events; /* kept for each worker, rounded up to a power of two, of 96 bytes each; at
                        most 2^24; 0: 16384 */
};
#define FM_TRACE_OPTIONS_INIT {.size = sizeof(struct fm_trace_options)}

/*
 * fm_trace_start - begin to record
 *
 * A worker that is busy begins at its next tick, within some hundred microseconds of switching;
 * the caller's own at once.
 *
 * options    NULL for the defaults.
 *
 * Returns    0 · -EALREADY a trace runs, or is being written · -EINVAL · -E2BIG · -ENOMEM. The
 *            rings stay until the runtime is destroyed and serve the traces to come.
 * Callers    any thread, any fiber.
 */
FM_API int fm_trace_start(struct fm_runtime *runtime, const struct fm_trace_options *options);

/*
 * fm_trace_stop - stop, and write what was recorded
 *
 * Events that were overwritten are counted as `dropped` in the file's otherData. Runs that have
 * not ended, but for the caller's own, are not in it. Times are in microseconds since the
 * start; on the virtual clock they are virtual, and each event is a nanosecond later than the
 * one before it. Waits until every worker has seen the stop, at its next tick, but for at most
 * 5 ms: a run that lasts longer than that has not ended.
 *
 * fd         where to; -1: nowhere, what was recorded is forgotten.
 *
 * Returns    0 · -ENOENT no trace runs · -EINVAL · -ENOMEM, -errno of write(2): it has stopped,
 *            and what is written is not whole
 * Callers    any thread, any fiber. Writes to fd as it is: a blocking one blocks the thread.
 */
FM_API int fm_trace_stop(struct fm_runtime *runtime, int fd);

#ifdef __cplusplus
}
#endif
#endif
