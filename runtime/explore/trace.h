/*
 * trace.h - what happened, as text
 */
#ifndef FM_RUNTIME_EXPLORE_TRACE_H
#define FM_RUNTIME_EXPLORE_TRACE_H

#include "runtime/explore/log.h"

/*
 * One line a step: its number, the thread, what it is about to do and where, and, if it is
 * another, the thread that goes on. 0 · -errno of write(2)
 */
int fm__trace_write(const struct arbiter_log *log, int fd);
/* One line a thread: where it is and whether it can go on. */
int fm__trace_seats(const struct arbiter_log *log, int fd);

#endif
