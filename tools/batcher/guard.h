/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.h - what jobs leave behind does not outlive the batch
 *
 * Processes that leave the group of their job, or that it leaves behind when it ends, become
 * children of this program, as those of a subreaper (prctl(2)). It reaps them, and ends them
 * with their job when that is stopped, and with the batch. Should the program be killed, a
 * watcher, a small process of its own, kills all that have our name in their environment.
 *
 * Where the kernel has no subreaper, or refuses, all of it does nothing.
 */
#ifndef BATCH_GUARD_H
#define BATCH_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guard;

/*
 * The main thread's, before there is another; what it starts from then on has BATCH_RUN in its
 * environment.
 *
 * in_cgroup  all of it is in a cgroup of its own, if that can be had; ret_why says whether, and
 *            is 0 or -errno.
 *
 * NULL: no guard can be had.
 */
struct guard *guard_create(bool in_cgroup, int *ret_why);
/* Reap them, in the main thread, until it is dismissed. NULL-safe. */
void guard_reap(struct guard *guard);
/* Any thread, once: the program ends by itself. NULL-safe. */
void guard_dismiss(struct guard *guard);
/* NULL-safe, returns NULL. */
struct guard *guard_destroy(struct guard *guard);

/*
 * End those that this attempt of a job has left behind; key NULL: those of all. SIGTERM, and
 * SIGKILL after the grace. NULL-safe.
 *
 * Returns    how many there were
 * Waits      until they are gone, whatever interrupts the fiber; not for who runs as somebody
 *            else and may not be killed.
 */
size_t guard_end(struct guard *guard, const char *key, unsigned attempt, int64_t grace_ns);
/* SIGKILL to all of them: whoever waits for an end has it soon. NULL-safe; never waits. */
void guard_hurry(struct guard *guard);

#endif
