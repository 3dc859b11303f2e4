/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.c - each scene again and again, each time with another call refused
 *
 *     stress_faults [scene]        all scenes, or one
 *
 * A scene is played once as it is, which counts its calls of each kind; then with every second
 * call interrupted, with bytes that come and go one by one, with a clock that steps back: of
 * these nothing may be seen. Then the nth call of each kind fails, once and from there on, for
 * some n, with FM_LONG=1 for every n; and at last it is played as it is again. After each play
 * no fiber, timer, descriptor or child is left; memory is the leak checker's. Who hangs is told
 * by an alarm.
 *
 * F50, F51, F70, F74, F84, F85, F86, F87, F88, F89, F98
 */
#include "tests/faults/faults.h"

#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/platform/memory.h"
#include "runtime/platform/sanitizer.h"
#include "tests/faults/calls.h"

enum { PATIENCE_S = 120, SOME = FM_ASAN || FM_TSAN ? 2 : 4 };

/* What is refused, and the results that it explains. */
struct refusal {
    const char *name;
    bool call; /* a system call of calls.h, else a fault of the library's own counter */
    uint32_t kind;
    int error; /* of a call */
    bool once; /* for ever it never comes: the library tries again and again */
    int explains[4];
};

static const struct refusal refusals[] = {
    { "memory", false, FAULT_MALLOC, 0, false, { ENOMEM } },
    { "mappings", false, FAULT_MAP, 0, false, { ENOMEM } },
    { "guards", false, FAULT_PROTECT, 0, false, { ENOMEM } },
    { "threads", false, FAULT_THREAD, 0, false, { EAGAIN, ENOMEM } },
    { "descriptors", false, FAULT_FD, 0, false, { EMFILE } },
    { "registrations", false, FAULT_EPOLL, 0, false, { ENOSPC } },
    { "children", false, FAULT_PROCESS, 0, false, { EAGAIN } },
    { "closing", false, FAULT_CLOSE, 0, false, { 0 } },
    { "reads", true, CALL_READ, EIO, false, { EIO } },
    { "writes", true, CALL_WRITE, ENOSPC, false, { ENOSPC } },
    { "accepts, no descriptor", true, CALL_ACCEPT, EMFILE, false, { EMFILE } },
    { "accepts, no buffer", true, CALL_ACCEPT, ENOBUFS, false, { ENOBUFS } },
    { "connections that are given up", true, CALL_ACCEPT, ECONNABORTED, true, { 0 } },
    { "connections", true, CALL_CONNECT, ECONNREFUSED, false, { ECONNREFUSED } },
    { "opens", true, CALL_OPEN, ENFILE, false, { ENFILE } },
    { "registrations by the kernel", true, CALL_EPOLL, ENOMEM, false, { ENOMEM } },
    { "advice", true, CALL_ADVISE, EAGAIN, false, { EAGAIN, ENOMEM } },
    { "syncs", true, CALL_SYNC, EIO, false, { EIO } },
};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

/* ---- this play ---- */

static struct {
    const struct scene *scene;
    const struct refusal *refusal; /* NULL: none */
    const char *mode;
    uint64_t nth;
    bool for_ever;
    struct fm_runtime *runtime;
    unsigned plays, met; /* so far */
} play;

static void tell_play(void)
{
    fprintf(stderr, "%s, %s", play.scene->name, play.mode);
    if (play.refusal)
        fprintf(stderr, ": %s, number %llu%s", play.refusal->name, (unsigned long long)play.nth,
                play.for_ever ? " and all after it" : "");
    fputs(": ", stderr);
}

static void hangs(int signal_number)
{
    (void)signal_number;
    tell_play();
    fputs("hangs\n", stderr);
    fm_runtime_dump(play.runtime, STDERR_FILENO);
    abort();
}

bool fault_met(void)
{
    if (!play.refusal)
        return false;
    return play.refusal->call ? call_refused() != 0
                              : fm__fault_hits((enum fault_kind)play.refusal->kind) != 0;
}

bool fault_passes(long result, const char *call, const char *file, int line)
{
    if (result >= 0)
        return true;
    for (size_t i = 0; fault_met() && i < 4 && play.refusal->explains[i]; i++)
        if (result == -play.refusal->explains[i])
            return false;
    tell_play();
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, call, fm_strerror((int)result));
    abort();
}

void fault_holds(bool condition, const char *what, const char *file, int line)
{
    if (condition)
        return;
    tell_play();
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

/* ---- what is left ---- */

static unsigned descriptors_now(void)
{
    unsigned count = 0;
    DIR *all = opendir("/proc/self/fd");
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}

static void expect_nothing_left(unsigned descriptors)
{
    siginfo_t info;
    fault_holds(descriptors_now() == descriptors, "no descriptor is left", __FILE__, __LINE__);
    fault_holds(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0, "no child is left",
                __FILE__, __LINE__);
}

/* ---- refusing ---- */

static void refuse(const struct refusal *refusal, uint64_t nth, bool for_ever)
{
    if (refusal->call)
        call_refuse((enum call_kind)refusal->kind, nth, refusal->error, for_ever);
    else
        fm__fault_set((enum fault_kind)refusal->kind, nth, for_ever);
}

static uint64_t made[REFUSALS];

/* The calls of the library's own counter are counted by one that never comes. */
static void count_begin(void)
{
    for (int i = 0; i < REFUSALS; i++)
        refuse(&refusals[i], refusals[i].call ? 0 : UINT64_MAX, false);
}

static void count_end(void)
{
    for (int i = 0; i < REFUSALS; i++) {
        enum fault_kind kind = (enum fault_kind)refusals[i].kind;
        made[i] = refusals[i].call ? call_made((enum call_kind)refusals[i].kind)
                                   : fm__fault_seen(kind);
        refuse(&refusals[i], 0, false);
    }
}

static struct fm_exit play_scene(void *counting)
{
    if (play.refusal)
        refuse(play.refusal, play.nth, play.for_ever);
    else if (counting)
        count_begin();
    struct fm_exit exit = fm_scoped(play.scene->play, NULL);
    if (!play.refusal && counting)
        count_end();
    return exit;
}

static void play_once(const char *mode, const struct refusal *refusal, uint64_t nth,
                      bool for_ever)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime_stats stats;
    struct fm_exit exit;
    unsigned descriptors = descriptors_now();

    play.mode = mode;
    play.refusal = NULL;
    config.worker_count = 2;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    fault_holds(fm_runtime_create(&config, &play.runtime) == 0, "there is a runtime", __FILE__,
                __LINE__);
    play.refusal = refusal;
    play.nth = nth;
    play.for_ever = for_ever;
    alarm(PATIENCE_S);
    int r = fm_runtime_run(play.runtime, play_scene, refusal ? NULL : &play, &exit);
    fault_holds(r == 0, "the scene began", __FILE__, __LINE__);
    /* refused to the last: to leave needs nothing */
    fault_holds(fm_runtime_shutdown(play.runtime, FM_NEVER) == 0, "it ends", __FILE__,
                __LINE__);
    fault_holds(fm_runtime_stats(play.runtime, &stats) == 0, "it counts", __FILE__, __LINE__);
    fault_holds(stats.fibers_live == 0 && stats.timers_armed == 0, "nobody is left", __FILE__,
                __LINE__);
    fm_runtime_destroy(play.runtime);
    alarm(0);
    play.plays++;
    play.met += fault_met();
    if (refusal)
        refuse(refusal, 0, false);
    expect_nothing_left(descriptors);
}

static void sweep(const struct scene *scene)
{
    uint64_t counts[REFUSALS];
    bool all = getenv("FM_LONG") != NULL;

    play.scene = scene;
    play_once("as it is", NULL, 0, false);
    memcpy(counts, made, sizeof counts);
    call_interrupt(true);
    play_once("every second call interrupted", NULL, 0, false);
    call_interrupt(false);
    call_shorten(true);
    play_once("byte by byte", NULL, 0, false);
    call_shorten(false);
    call_step_back(true);
    play_once("a clock that steps back", NULL, 0, false);
    call_step_back(false);
    for (int i = 0; i < REFUSALS; i++) {
        uint64_t step = all || counts[i] <= SOME ? 1 : (counts[i] + SOME - 1) / SOME;
        /* begins elsewhere in each scene, so that all of them together meet more */
        for (uint64_t n = 1 + (uintptr_t)strlen(scene->name) % step; n <= counts[i];
             n += step) {
            play_once("refused", &refusals[i], n, false);
            if ((all || n <= step) && !refusals[i].once)
                play_once("refused", &refusals[i], n, true);
        }
    }
    play_once("as it is again", NULL, 0, false);
    fault_holds(call_times_of_day() == 0, "nobody asks for the time of day", __FILE__,
                __LINE__);
}

int main(int argc, char **argv)
{
    static const struct scene *const scenes[] = { fiber_scenes, sync_scenes, map_scenes,
                                                  io_scenes };
    unsigned played = 0;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2); /* a scene waits for it */
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGALRM, hangs);
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        for (const struct scene *scene = scenes[i]; scene->name; scene++) {
            if (argc > 1 && strcmp(scene->name, argv[1]) != 0)
                continue;
            sweep(scene);
            played++;
        }
    }
    fprintf(stderr, "%u scenes, %u plays, in %u of them something was refused\n", played,
            play.plays, play.met);
    return played ? 0 : 2;
}
