/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.c - a cgroup (version 2) that this program and all that it starts are in
 *
 * No controller is asked for, so nothing is limited and nobody above need permit one: a folder
 * that can be made is enough.
 */
#include "tools/batcher/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 500, PAUSE_NS = 10000000 };

/* Where the hierarchy is mounted, and which of its cgroups is seen there as the root. */
static bool find_mount(char point[CGROUP_PATH], char root[CGROUP_PATH])
{
    char line[4 * CGROUP_PATH];
    bool found = false;
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    while (mounts && !found && fgets(line, sizeof line, mounts))
        found = strstr(line, " - cgroup2 ") &&
                sscanf(line, "%*d %*d %*s %1023s %1023s", root, point) == 2;
    if (mounts)
        fclose(mounts);
    return found;
}

/* The cgroup that we are in, from the root of the hierarchy. */
static bool find_own(char own[CGROUP_PATH])
{
    char line[CGROUP_PATH];
    bool found = false;
    FILE *cgroups = fopen("/proc/self/cgroup", "re");
    while (cgroups && !found && fgets(line, sizeof line, cgroups))
        found = sscanf(line, "0::%1023s", own) == 1;
    if (cgroups)
        fclose(cgroups);
    return found;
}

int cgroup_name(pid_t pid, char path[CGROUP_PATH])
{
    char point[CGROUP_PATH], root[CGROUP_PATH], own[CGROUP_PATH];
    if (!find_mount(point, root) || !find_own(own))
        return -ENOENT;
    size_t above = strcmp(root, "/") ? strlen(root) : 0;
    if (strncmp(own, root, above) != 0)
        return -ENOENT; /* we are outside of what is mounted */
    const char *below = own + above;
    int n = snprintf(path, CGROUP_PATH, "%s%s/fibermap-batch-%d", point,
                     strcmp(below, "/") ? below : "", (int)pid);
    return n < 0 || n >= CGROUP_PATH ? -ENAMETOOLONG : 0;
}

/* 0 · -errno */
static int put(const char *folder, const char *name, const char *text)
{
    char path[CGROUP_PATH + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int r = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return r;
}

int cgroup_enter(const char *path)
{
    if (mkdir(path, 0755) < 0)
        return -errno;
    int r = put(path, "cgroup.procs", "0");
    if (r < 0)
        rmdir(path);
    return r;
}

/* Before Linux 5.14 there is no file for it. */
static void kill_one_by_one(const char *path)
{
    char name[CGROUP_PATH + 32];
    int pid;
    snprintf(name, sizeof name, "%s/cgroup.procs", path);
    FILE *list = fopen(name, "re");
    while (list && fscanf(list, "%d", &pid) == 1)
        kill(pid, SIGKILL);
    if (list)
        fclose(list);
}

void cgroup_kill(const char *path)
{
    const struct timespec pause = { 0, PAUSE_NS };
    for (int round = 0; round < ROUNDS && rmdir(path) < 0 && errno == EBUSY; round++) {
        if (put(path, "cgroup.kill", "1") < 0)
            kill_one_by_one(path);
        nanosleep(&pause, NULL);
    }
}

void cgroup_leave(const char *path)
{
    char above[CGROUP_PATH];
    snprintf(above, sizeof above, "%s", path);
    *strrchr(above, '/') = '\0';
    if (put(above, "cgroup.procs", "0") == 0) /* otherwise it would kill us */
        cgroup_kill(path);
}
