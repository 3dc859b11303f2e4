/*
 * quiet.h - for tests: write to pipes as on a kernel without RWF_NOSIGNAL (before 6.18)
 */
#ifndef FM_RUNTIME_IO_QUIET_H
#define FM_RUNTIME_IO_QUIET_H

#include <stdatomic.h>
#include <stdbool.h>

extern _Atomic bool fm__quiet_by_mask;

#endif
