/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.c - what jobs leave behind does not outlive the batch
 *
 * The kernel gives orphans to the main thread, which starts no process itself but the watcher.
 * So its children, and its alone (__WNOTHREAD), are orphans: to reap them takes no status from
 * anybody, and /proc lists them. While the watcher lives there is a child to wait for:
 *
 *     main thread                       watcher
 *       waits for children that end       reads the pipe
 *         an orphan: reaped                 a byte: dismissed, it ends
 *         the watcher: dismissed            its end: we were killed; kills, and ends
 */
#include "tools/batcher/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fm/fm.h"
#include "tools/batcher/cgroup.h"
#include "tools/batcher/orphans.h"
#include "tools/batcher/watcher.h"

/* Found at a time; what else there is is found the next time. */
enum { TOGETHER = 64 };

struct guard {
    pid_t watcher;
    int pipe;                 /* to it */
    pid_t parent;             /* of orphans: our main thread */
    char cgroup[CGROUP_PATH]; /* empty: we are in none of our own */
};

static int start_watcher(struct guard *guard, const char *mark)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    guard->watcher = fork();
    if (guard->watcher == 0)
        watcher_run(ends[0], mark, guard->cgroup);
    int r = guard->watcher < 0 ? -errno : 0;
    close(ends[0]);
    guard->pipe = ends[1];
    if (r < 0)
        close(guard->pipe);
    return r;
}

struct guard *guard_create(bool in_cgroup, int *ret_why)
{
    char mark[80];
    struct timespec now;
    *ret_why = -ENOSYS;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 || !orphans_are_listed())
        return NULL;
    struct guard *guard = calloc(1, sizeof *guard);
    if (!guard)
        return NULL;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(mark, sizeof mark, ORPHANS_MARK "=%d-%lld.%09ld", (int)getpid(),
             (long long)now.tv_sec, now.tv_nsec);
    guard->parent = getpid();
    int r = in_cgroup ? cgroup_name(getpid(), guard->cgroup) : 0;
    if (setenv(ORPHANS_MARK, strchr(mark, '=') + 1, 1) < 0 || start_watcher(guard, mark) < 0) {
        free(guard);
        return NULL;
    }
    if (in_cgroup && r == 0) /* after the watcher, which is in none */
        r = cgroup_enter(guard->cgroup);
    if (r < 0)
        guard->cgroup[0] = '\0';
    *ret_why = r;
    return guard;
}

void guard_reap(struct guard *guard)
{
    siginfo_t info = { 0 };
    while (guard && info.si_pid != guard->watcher)
        if (waitid(P_ALL, 0, &info, WEXITED | __WNOTHREAD) < 0 && errno != EINTR)
            return;
}

void guard_dismiss(struct guard *guard)
{
    if (!guard)
        return;
    while (write(guard->pipe, "", 1) < 0 && errno == EINTR)
        ;
    close(guard->pipe);
}

struct guard *guard_destroy(struct guard *guard)
{
    if (guard && guard->cgroup[0])
        cgroup_leave(guard->cgroup);
    free(guard);
    return NULL;
}

/* ---- ending ---- */

struct hunt {
    struct guard *guard;
    const struct orphans_of *of;
    struct orphan orphans[TOGETHER];
    size_t count;
};

static struct fm_exit find_entry(void *arg)
{
    struct hunt *hunt = arg;
    hunt->count = orphans_find(hunt->guard->parent, hunt->guard->watcher, hunt->of,
                               hunt->orphans, TOGETHER);
    return fm_ok(NULL);
}

/* How many could be signalled, and are gone then or still there at the deadline. */
static size_t end_some(struct hunt *hunt, int64_t deadline_ns, size_t *ended)
{
    size_t reached = 0;
    bool kills = fm_now_ns() >= deadline_ns;
    for (size_t i = 0; i < hunt->count; i++) {
        struct orphan *orphan = &hunt->orphans[i];
        orphan->reached = orphan_signal(orphan, kills ? SIGKILL : SIGTERM) == 0;
        orphan_signal(orphan, SIGCONT); /* one that was stopped would not hear of it */
        reached += orphan->reached;
    }
    for (size_t i = 0; i < hunt->count; i++) {
        struct orphan *orphan = &hunt->orphans[i];
        if (orphan->reached &&
            fm_io_wait(orphan->pidfd, FM_IO_READ, kills ? FM_NEVER : deadline_ns) > 0)
            *ended += !orphan->dying;
        fm_close(orphan->pidfd);
    }
    return reached;
}

size_t guard_end(struct guard *guard, const char *key, unsigned attempt, int64_t grace_ns)
{
    size_t ended = 0;
    if (!guard || !orphans_any(guard->parent, guard->watcher))
        return 0;
    struct orphans_of of = { key, attempt };
    struct hunt *hunt = calloc(1, sizeof *hunt);
    if (!hunt)
        return 0;
    *hunt = (struct hunt) { .guard = guard, .of = key ? &of : NULL };
    int64_t deadline_ns = fm_after_ns(grace_ns);
    fm_mask();
    do
        fm_blocking(find_entry, hunt, FM_NEVER, NULL);
    while (hunt->count && end_some(hunt, deadline_ns, &ended));
    fm_unmask();
    free(hunt);
    return ended;
}

void guard_hurry(struct guard *guard)
{
    struct orphan orphans[TOGETHER];
    size_t count = guard ? orphans_find(guard->parent, guard->watcher, NULL, orphans, TOGETHER)
                         : 0;
    for (size_t i = 0; i < count; i++) {
        orphan_signal(&orphans[i], SIGKILL);
        close(orphans[i].pidfd);
    }
}
