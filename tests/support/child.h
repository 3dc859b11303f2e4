/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h - run a function that may crash in a child process, and see how it ended and what it
 * said
 *
 *     struct child child;
 *     child_run(&child, body, arg);
 *     cr_assert_eq(child.signal, SIGSEGV);
 *     cr_assert(strstr(child.said, "stack overflow"));
 *
 * The child is a fork: it has the caller's memory, the default handlers of SIGSEGV, SIGBUS and
 * SIGABRT, no core dump, and ends with exit code 0 when the body returns.
 */
#ifndef TESTS_SUPPORT_CHILD_H
#define TESTS_SUPPORT_CHILD_H

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    int signal;       /* that ended it; 0: none */
    int exit_code;    /* -1 after a signal */
    char said[16384]; /* on stderr, as much as there is room for */
};

static inline void child_run(struct child *child, void (*body)(void *arg), void *arg)
{
    int ends[2];
    if (pipe(ends) != 0)
        abort();
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        body(arg);
        _exit(0);
    }
    close(ends[1]);
    size_t size = 0;
    char more[512];
    for (;;) {
        ssize_t n = read(ends[0], more, sizeof more);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        size_t room = sizeof child->said - 1 - size;
        size_t part = (size_t)n < room ? (size_t)n : room;
        memcpy(child->said + size, more, part);
        size += part;
    }
    child->said[size] = '\0';
    close(ends[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    child->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    child->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* How often the child said it. */
static inline unsigned child_said(const struct child *child, const char *words)
{
    unsigned count = 0;
    for (const char *at = child->said; (at = strstr(at, words)); at++)
        count++;
    return count;
}

#endif
