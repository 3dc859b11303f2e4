/*
 * poller.h - what a runtime is given of io: the hooks that wait for it
 *
 * The functions of struct runtime_hooks (fiber/runtime.h) and what goes with them. The calls
 * themselves stand in fm/io.h.
 */
#ifndef FM_RUNTIME_IO_POLLER_H
#define FM_RUNTIME_IO_POLLER_H

#include <stdbool.h>
#include <stdint.h>

struct fm_runtime;
struct fm_runtime_stats;

/* 0 · -EMFILE (also: 64 runtimes live) · -ENFILE · -ENOMEM. On failure nothing is left. */
int fm__poller_init(struct fm_runtime *runtime);
/*
 * No fiber of the runtime is left. Descriptors that are still open are forgotten; other
 * runtimes go on using them.
 */
void fm__poller_fini(struct fm_runtime *runtime);

unsigned fm__poller_poll(struct fm_runtime *runtime, int64_t deadline_ns);
void fm__poller_wake(struct fm_runtime *runtime);
bool fm__poller_needed(struct fm_runtime *runtime);

/* Fills in polls and io_events. */
void fm__poller_stats(struct fm_runtime *runtime, struct fm_runtime_stats *stats);

#endif
