/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.h - how many processors this process may really use
 *
 * The least of the affinity mask and the tightest CPU quota of its control groups, from its own
 * up to the root that it can see, version 2 (cpu.max) and version 1 (cpu.cfs_quota_us) alike.
 * Read anew at each call: some files, for start-up and for a look now and then.
 */
#ifndef FM_RUNTIME_PLATFORM_CPU_H
#define FM_RUNTIME_PLATFORM_CPU_H

#include <stdbool.h>
#include <stdint.h>

/* At least 1; a quota of 1.5 processors counts as 2. */
unsigned fm__cpu_count(void);
/* There is a quota: what is spun away is missing later. */
bool fm__cpu_quota(void);

/*
 * The tightest quota in processors, rounded up; 0 if there is none. `root` stands before every
 * path that is read (/proc/self/..., the mount points): "" on a real system.
 */
unsigned fm__cpu_quota_under(const char *root);

/*
 * For how long those groups have been kept from running because a quota was used up, in all
 * since they were made, one after the other and each processor for itself; 0 where that is not
 * counted. `root` as above.
 */
int64_t fm__cpu_throttled_under(const char *root);

#endif
