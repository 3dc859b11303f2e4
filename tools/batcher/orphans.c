/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orphans.c - find the processes that jobs have left behind
 *
 * A number that was read may be another process's by the time it is used. A pidfd is not: it is
 * opened, then the list is read again, then it is asked whether its process is still there.
 * Between those the number cannot have changed hands.
 */
#include "tools/batcher/orphans.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LIST_BYTES = 16 << 10, ENVIRON_BYTES = 2 << 20, PF_EXITING = 4, PIDFD_OPEN = 434 };

/* The whole file, as far as it fits, and a NUL: its length · -errno */
static ssize_t read_file(const char *path, char *text, size_t size)
{
    size_t length = 0;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = '\0';
    close(fd);
    return n < 0 ? -1 : (ssize_t)length;
}

static ssize_t read_children(pid_t parent, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)parent);
    return read_file(path, text, size);
}

bool orphans_are_listed(void)
{
    char text[64];
    return read_children(getpid(), text, sizeof text) >= 0;
}

bool orphans_any(pid_t parent, pid_t besides)
{
    char text[64], *end;
    if (read_children(parent, text, sizeof text) <= 0)
        return false;
    long first = strtol(text, &end, 10);
    return first != besides || strtol(end, NULL, 10);
}

/* ---- what a process is ---- */

bool environment_has(pid_t pid, const char *entry)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    char *text = malloc(ENVIRON_BYTES);
    ssize_t length = text ? read_file(path, text, ENVIRON_BYTES) : -1;
    bool has = false;
    for (ssize_t at = 0; at < length && !has; at += (ssize_t)strlen(text + at) + 1)
        has = !strcmp(text + at, entry);
    free(text);
    return has;
}

static bool is_dying(pid_t pid)
{
    char path[64], text[512];
    unsigned flags;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    const char *rest = read_file(path, text, sizeof text) > 0 ? strrchr(text, ')') : NULL;
    return rest && sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
           flags & PF_EXITING;
}

/* Both have a key of at most 4096 bytes. */
static bool is_of(pid_t pid, const struct orphans_of *of)
{
    char entry[4200];
    snprintf(entry, sizeof entry, "BATCH_KEY=%s", of->key);
    if (!environment_has(pid, entry))
        return false;
    snprintf(entry, sizeof entry, "BATCH_ATTEMPT=%u", of->attempt);
    return environment_has(pid, entry);
}

/* ---- finding ---- */

int orphan_signal(const struct orphan *orphan, int signo)
{
    return syscall(SYS_pidfd_send_signal, orphan->pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

static bool is_listed(const char *list, pid_t pid)
{
    for (char *end; *list; list = end) {
        long number = strtol(list, &end, 10);
        if (end == list)
            return false;
        if (number == pid)
            return true;
    }
    return false;
}

/* Ended, and not reaped yet: no thread of it runs any more. */
static bool has_ended(const struct orphan *orphan)
{
    struct pollfd end = { .fd = orphan->pidfd, .events = POLLIN };
    return poll(&end, 1, 0) == 1;
}

size_t orphans_find(pid_t parent, pid_t besides, const struct orphans_of *of,
                    struct orphan *orphans, size_t most)
{
    size_t opened = 0, count = 0;
    char *list = malloc(LIST_BYTES), *end;
    if (!list || read_children(parent, list, LIST_BYTES) <= 0) {
        free(list);
        return 0;
    }
    for (const char *at = list; opened < most; at = end) {
        pid_t pid = (pid_t)strtol(at, &end, 10);
        if (end == at)
            break;
        int pidfd = pid == besides ? -1 : (int)syscall(PIDFD_OPEN, pid, 0);
        if (pidfd >= 0)
            orphans[opened++] = (struct orphan) { .pid = pid, .pidfd = pidfd };
    }
    bool read_again = read_children(parent, list, LIST_BYTES) > 0;
    for (size_t i = 0; i < opened; i++) {
        struct orphan *orphan = &orphans[i];
        orphan->dying = of && is_dying(orphan->pid);
        if (read_again && is_listed(list, orphan->pid) && !has_ended(orphan) &&
            (!of || orphan->dying || is_of(orphan->pid, of)) && orphan_signal(orphan, 0) == 0)
            orphans[count++] = *orphan;
        else
            close(orphan->pidfd);
    }
    free(list);
    return count;
}
