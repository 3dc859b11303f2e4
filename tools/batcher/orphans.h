/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orphans.h - find the processes that jobs have left behind
 *
 * Each call reads /proc: a few system calls for each orphan, so threads only but for
 * orphans_any().
 */
#ifndef BATCH_ORPHANS_H
#define BATCH_ORPHANS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The name in the environment of all that a batch starts. */
#define ORPHANS_MARK "BATCH_RUN"

struct orphan {
    pid_t pid;
    int pidfd; /* to be closed */
    bool dying;
    bool reached; /* the finder's to use */
};

/* Whose they are. */
struct orphans_of {
    const char *key;
    unsigned attempt;
};

/* Does this kernel list children? */
bool orphans_are_listed(void);
/* Has the thread children but for this one? A quick look. */
bool orphans_any(pid_t parent, pid_t besides);
/*
 * Children of the thread besides that one, and not more than `most`.
 *
 * of   NULL: all. Otherwise those with this job's key and attempt in their environment, and
 *      those that are in their last moments, whose environment is gone and whose children are
 *      soon to be found.
 */
size_t orphans_find(pid_t parent, pid_t besides, const struct orphans_of *of,
                    struct orphan *orphans, size_t most);
/* 0 · -ESRCH · -EPERM */
int orphan_signal(const struct orphan *orphan, int signo);
/* Does the environment of this process have this "NAME=value"? */
bool environment_has(pid_t pid, const char *entry);

#endif
