/* SPDX-License-Identifier: Apache-2.0 */
/*
 * duration.h - lengths of time as people write them
 */
#ifndef BATCH_DURATION_H
#define BATCH_DURATION_H

#include <stdint.h>

/*
 * "30", "1.5" (seconds), "250ms", "90s", "1m30s", "2h", "1d": numbers with ms, s, m, h or d, in
 * any order, added up. 0 · -EINVAL (nothing, a sign, another unit) · -ERANGE (above ten years)
 */
int duration_read(const char *text, int64_t *ret_ns);
/* The same of a number of seconds. */
int duration_of_seconds(double seconds, int64_t *ret_ns);

#endif
