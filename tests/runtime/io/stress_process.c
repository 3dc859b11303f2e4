/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_process.c - short processes in a row, four rows side by side, leave nothing behind
 *
 * Each round ends by itself, by a signal, by destroy or by stop, at a moment that chance
 * chooses. At the end: no child, no descriptor, no memory more than after the first rounds.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fm/fm.h"
#include "tests/support/stress.h"

enum { ROWS = 4, WARM_UP = 40, SLACK_PAGES = 512 };

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR *all = opendir("/proc/self/fd");
    while (all && readdir(all))
        count++;
    if (all)
        closedir(all);
    return count;
}

static long count_pages(void)
{
    long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        STRESS_CHECK(fscanf(file, "%ld %ld", &size, &resident) == 2, "statm");
        fclose(file);
    }
    return resident;
}

static void one(uint64_t *random)
{
    static const char *const commands[] = { "exit 3", "exec sleep 100", "echo hello",
                                            "kill -9 $$" };
    unsigned which = (unsigned)(stress_random(random) % 4);
    unsigned how = (unsigned)(stress_random(random) % 3);
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process_status status;
    struct fm_process *process;

    spec.shell = commands[which];
    spec.flags = stress_random(random) % 2 ? FM_PROCESS_GROUP : 0;
    spec.in.kind = FM_STDIO_NULL;
    spec.out.kind = FM_STDIO_PIPE;
    int r = fm_process_spawn(&spec, &process);
    STRESS_CHECK(r == 0, "spawn: %s", fm_strerror(r));
    stress_jitter(random);
    if (which != 1 && how == 0) {
        r = fm_process_wait(process, FM_NEVER, &status);
        STRESS_CHECK(r == 0, "wait: %s", fm_strerror(r));
        int expected = which == 0 ? 3 : which == 2 ? 0 : SIGKILL;
        STRESS_CHECK(status.code == expected, "%s gave %d", spec.shell, status.code);
    } else if (how == 1) {
        r = fm_process_stop(process, FM_NEVER, &status);
        STRESS_CHECK(r == 0, "stop: %s", fm_strerror(r));
    }
    fm_process_destroy(process);
}

static struct fm_exit row(void *arg)
{
    uint64_t random = stress_seed() + (uintptr_t)arg + 1;
    for (uint64_t left = (uintptr_t)arg; left; left--)
        one(&random);
    return fm_ok(NULL);
}

static void run_rows(uint64_t rounds)
{
    struct fm_fiber *rows[ROWS];
    for (uint64_t i = 0; i < ROWS; i++)
        if (fm_fiber_spawn(row, (void *)(uintptr_t)(rounds / ROWS + i), NULL, &rows[i]) < 0)
            abort();
    for (int i = 0; i < ROWS; i++) {
        fm_fiber_join(rows[i], FM_NEVER, NULL);
        fm_fiber_unref(rows[i]);
    }
}

/* Those that were destroyed are reaped behind the scenes, each by a fiber. */
static void await_quiet(void)
{
    struct fm_runtime_stats stats;
    siginfo_t info;
    do {
        fm_yield();
        fm_runtime_stats(fm_runtime_current(), &stats);
    } while (stats.fibers_live > 1);
    STRESS_CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0, "a child is left");
}

static struct fm_exit body(void *arg)
{
    uint64_t rounds = stress_rounds(300);
    (void)arg;

    run_rows(WARM_UP);
    await_quiet();
    unsigned descriptors = count_descriptors();
    long pages = count_pages();
    run_rows(rounds < 30000 ? rounds : 10000);
    await_quiet();
    STRESS_CHECK(count_descriptors() == descriptors, "%u descriptors, %u before",
                 count_descriptors(), descriptors);
    long grown = count_pages() - pages;
    STRESS_CHECK(FM_ASAN || FM_TSAN || grown < SLACK_PAGES, "%ld pages more", grown);
    return fm_ok(NULL);
}

int main(void)
{
    struct fm_exit exit;
    stress_seed();
    return fm_run(body, NULL, &exit) < 0 || exit.kind != FM_SUCCESS;
}
