/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.h - scenes that use the whole of the API, while something is refused
 *
 * A scene is the body of a fiber. It goes on after a refusal as far as it can without what it
 * did not get, gives back whatever it has, and returns. Each result passes through OK: a
 * failure is one that the refusal explains, or the test fails.
 */
#ifndef TESTS_FAULTS_FAULTS_H
#define TESTS_FAULTS_FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <fm/fm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scene {
    const char *name;
    fm_entry_fn *play;
};

extern const struct scene fiber_scenes[], sync_scenes[], map_scenes[], io_scenes[];

/* Whether it got through. A failure that nothing explains ends the program. */
bool fault_passes(long result, const char *call, const char *file, int line);
/* The same for what must hold whatever is refused. */
void fault_holds(bool condition, const char *what, const char *file, int line);
#define OK(call) fault_passes((long)(call), #call, __FILE__, __LINE__)
#define HOLDS(condition) fault_holds(condition, #condition, __FILE__, __LINE__)

/* Whether anything has been refused in this play: then an outcome may differ. */
bool fault_met(void);

/* Opened by the scene itself, which is refused nothing. */
#define OPEN(path, flags) openat(AT_FDCWD, path, (flags) | O_CLOEXEC)

/* For a wait that ends unless something is lost. */
#define SOON fm_after_s(30)

/* ---- what scenes share ---- */

static inline struct fm_exit give(void *arg)
{
    return fm_ok(arg);
}

static inline struct fm_exit until_stopped(void *arg)
{
    (void)arg;
    fm_ready();
    return fm_fail(fm_never());
}

/* How a fiber ended: as it should, or for want of a stack. */
static inline bool ended_well(struct fm_exit exit)
{
    return OK(exit.kind == FM_FAILURE || exit.kind == FM_DEFECT ? exit.code : 0);
}

static inline void join_and_unref(struct fm_fiber *fiber)
{
    struct fm_exit exit;
    if (OK(fm_fiber_join(fiber, SOON, &exit)))
        ended_well(exit);
    fm_fiber_unref(fiber);
}

static inline void stop_and_unref(struct fm_fiber *fiber)
{
    struct fm_exit exit;
    if (OK(fm_fiber_stop(fiber, SOON, &exit)))
        ended_well(exit);
    fm_fiber_unref(fiber);
}

#endif
