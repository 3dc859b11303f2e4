/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watcher.h - the process that sees to it when the program is killed
 */
#ifndef BATCH_WATCHER_H
#define BATCH_WATCHER_H

/*
 * In the child after fork(2): read the pipe. A byte ends it. The end of the pipe means that the
 * program has died: all processes with this "NAME=value" in their environment are killed, and
 * all that are in this cgroup, which is removed. cgroup: "" for none.
 */
_Noreturn void watcher_run(int pipe, const char *mark, const char *cgroup);

#endif
