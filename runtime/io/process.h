/*
 * process.h - the handle of a child process
 *
 * Made by spawn.c; from then on process.c's.
 */
#ifndef FM_RUNTIME_IO_PROCESS_H
#define FM_RUNTIME_IO_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "fm/process.h"
#include "runtime/platform/lock.h"

enum {
    PROCESS_SIGNAL_MAX = 64,
    PROCESS_WAIT_PIDFD = 3, /* P_PIDFD, which headers older than glibc 2.36 do not name */
};

struct fm_process {
    struct lock lock; /* LOCK_SYNC: from here to status */
    bool ended;       /* collected: pid may be anybody's */
    bool lost;        /* by somebody else: there is no status */
    bool killed;      /* it will end at once */
    bool sweeps;      /* what is left of the group is killed when the leader ends */
    struct fm_process_status status;

    uint32_t flags;
    pid_t pid;
    int pidfd;
    int fds[3];              /* our ends; -1: none */
    struct fm_process *next; /* on the list of the left */
};

/* fm_process_spawn, or -ETIMEDOUT: no thread was free to start it by then, nothing was done. */
int fm__process_spawn(const struct fm_process_spec *spec, int64_t deadline_ns,
                      struct fm_process **ret_process);

/* Our ends, those that have not been taken. */
void fm__process_close_pipes(struct fm_process *process);

/*
 * Reap those that have ended of the processes that were let go while they ran. Returns how many
 * still run.
 */
size_t fm__process_sweep(void);

#endif
