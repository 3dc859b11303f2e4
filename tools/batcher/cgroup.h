/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - a cgroup (version 2) that this program and all that it starts are in
 *
 * Who is in it stays in it, whatever it does with its group, its parent and its environment.
 */
#ifndef BATCH_CGROUP_H
#define BATCH_CGROUP_H

#include <stddef.h>
#include <sys/types.h>

enum { CGROUP_PATH = 1024 };

/*
 * Where the one of this process would be: a folder in the cgroup that it is in now. 0 · -ENOENT
 * there is no such hierarchy · -ENAMETOOLONG
 */
int cgroup_name(pid_t pid, char path[CGROUP_PATH]);
/* Make it, and be in it with all threads: 0 · -errno of mkdir(2) and so on, it is not there */
int cgroup_enter(const char *path);
/* Back to where we were; whoever is left is killed, and it is removed. */
void cgroup_leave(const char *path);
/* Kill all in it, and remove it. Waits until they are gone, but not for ever. */
void cgroup_kill(const char *path);

#endif
