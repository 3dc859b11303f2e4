/*
 * launch.h - makes a child process that runs a program
 *
 * A clone that shares our memory until it execs, as posix_spawn makes one, and for what that
 * cannot do: the pidfd comes with the child, so that nobody can take its place before there is
 * one; the parent-death signal; every descriptor closed.
 *
 * Knows not   fibers, pipes, who waits.
 */
#ifndef FM_RUNTIME_IO_LAUNCH_H
#define FM_RUNTIME_IO_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fm/process.h"

struct launch {
    const char *const *files; /* tried in turn until one can be executed; NULL-terminated */
    const char *const *argv;
    const char *const *env;
    const char *directory; /* NULL: ours */
    int fds[3];            /* what becomes 0, 1, 2; -1: as it is here */
    bool leads_group;
    /* 0: none. It comes when the thread that called fm__launch ends, as prctl(2) says. */
    int death_signal;
    const struct fm_process_limit *limits;
    uint32_t limit_count;

    pid_t pid; /* written by fm__launch */
    int pidfd;
};

/*
 * The thread stands still until the child runs the program or has failed. The child has default
 * dispositions, an empty signal mask, and no descriptors but 0, 1, 2.
 *
 * Returns   0 · -errno of clone(2) · -errno of the step that failed in the child: chdir(2),
 *           prlimit(2), execve(2) ...; no child is left then.
 */
int fm__launch(struct launch *launch);

#endif
