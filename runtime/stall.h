/*
 * stall.h - a fiber that keeps its worker: what its thread does, who it is, where it is
 */
#ifndef FM_RUNTIME_STALL_H
#define FM_RUNTIME_STALL_H

#include "runtime/fiber/runtime.h"

/* Tell the runtime's user, and print what counts. Monitor thread. */
void fm__stall_report(struct fm_runtime *runtime, const struct sched_stall *stall);

/* What its thread was doing for most of the time; `state` as in ps, just now. */
enum fm_stall_cause fm__stall_cause(const struct sched_stall *stall, char state);

/*
 * What is printed of a stall of the fiber `who`, after a line that tells how many were left out
 * before it, cut to size - 1 bytes, at least 1024. Returns its length.
 */
size_t fm__stall_text(char *text, size_t size, const struct fm_stall *stall, const char *who,
                      uint64_t left_out);

/* How many lines may be printed in a second, all runtimes together. */
enum { STALLS_A_SECOND = 5 };
/*
 * True if one more may be printed at this time; *ret_left_out: how many were not since the
 * last.
 */
bool fm__stall_may_print(int64_t now_ns, uint64_t *ret_left_out);

#endif
