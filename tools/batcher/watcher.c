/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watcher.c - the process that sees to it when the program is killed
 *
 * It has a session of its own, so that who kills the program's group or closes its terminal
 * does not reach it, and holds nothing that somebody might wait for: no output, no folder.
 */
#include "tools/batcher/watcher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tools/batcher/cgroup.h"
#include "tools/batcher/orphans.h"

enum { PIPE = 3, ROUNDS = 500, CLOSED_BY_HAND = 1024, CLOSE_RANGE = 436 };

/* 0, 1, 2 lead nowhere, 3 is the pipe. */
static void let_go(int pipe)
{
    if (pipe != PIPE)
        dup2(pipe, PIPE); /* first: it may be one of the others */
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < PIPE && null >= 0; fd++)
        dup2(null, fd);
    if (syscall(CLOSE_RANGE, PIPE + 1, ~0u, 0) < 0)
        for (int fd = PIPE + 1; fd < CLOSED_BY_HAND; fd++)
            close(fd);
    setsid();
    prctl(PR_SET_NAME, "batch-watcher", 0, 0, 0);
    if (chdir("/") < 0)
        return; /* it stands where we stood: nobody is hurt */
}

/* Kill all that have the mark, once; was there one? */
static bool kill_marked(const char *mark)
{
    bool found = false;
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    while (processes && (entry = readdir(processes))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || pid == getpid() || !environment_has(pid, mark))
            continue;
        found = true;
        kill(pid, SIGKILL);
    }
    if (processes)
        closedir(processes);
    return found;
}

/* One that is being forked is found the next time: until twice there was none. */
static void kill_all(const char *mark)
{
    const struct timespec pause = { 0, 10000000 };
    int quiet = 0;
    for (int round = 0; round < ROUNDS && quiet < 2; round++) {
        quiet = kill_marked(mark) ? 0 : quiet + 1;
        nanosleep(&pause, NULL);
    }
}

_Noreturn void watcher_run(int pipe, const char *mark, const char *cgroup)
{
    char byte;
    ssize_t n;
    let_go(pipe);
    while ((n = read(PIPE, &byte, 1)) < 0 && errno == EINTR)
        ;
    if (n == 0)
        kill_all(mark);
    if (n == 0 && *cgroup)
        cgroup_kill(cgroup);
    _exit(0);
}
