/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waits.h - see a wait begin, and end one at this very step
 *
 * So that a test that needs somebody to wait meets a waiter, and not one who is on his way,
 * however long that takes.
 */
#ifndef TESTS_SUPPORT_WAITS_H
#define TESTS_SUPPORT_WAITS_H

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/fiber/fiber.h"
#include "runtime/time/clock.h"
#include "runtime/time/timers.h"
#include "tests/support/test.h"

/* Until the fiber waits for something that it says, and has left its stack. */
static inline void await_wait(struct fm_fiber *fiber)
{
    while (!atomic_load(&fiber->waits_for) ||
           fm__state_life(fm__state_read(&fiber->state)) != LIFE_PARKED)
        fm_yield();
}

/*
 * The deadline of its wait passes, whatever the clock says. False: it is in no wait that has
 * one, or something else has ended it; no clock ends a wait without a deadline. Whoever runs
 * beside the fiber does not know in which of its waits it is.
 */
static inline bool time_out(struct fm_fiber *fiber)
{
    struct fm_runtime *runtime = fiber->runtime;
    struct wait wait = { .who = NULL };
    uint32_t number = atomic_load(&fiber->timer.wheel);

    if (number == TIMER_NOT_ARMED)
        return false;
    struct lock *lock = number == TIMER_IN_HEAP
                            ? &runtime->clock->lock
                            : &atomic_load(&runtime->timers->wheels[number - 1])->lock;
    fm__lock(lock); /* as who fires finds it */
    if (atomic_load(&fiber->timer.wheel) == number)
        wait = (struct wait) { fiber, fiber->timer.epoch };
    fm__unlock(lock);
    return wait.who && fm__wake(wait, WAKE_TIMEOUT);
}

static inline int thread_id(void)
{
    return (int)syscall(SYS_gettid);
}

/*
 * Until the thread with this id, 0 at first, is asleep in the kernel. It writes the id down just
 * before the call that waits; from then on it sleeps nowhere else for long.
 */
static inline void await_asleep(const _Atomic int *id)
{
    char path[64], text[128];
    for (const char *state = NULL; !state || state[2] != 'S'; sched_yield()) {
        if (atomic_load(id) == 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(id));
        FILE *file = fopen(path, "r");
        cr_assert_not_null(file, "%s", path);
        size_t length = fread(text, 1, sizeof text - 1, file);
        fclose(file);
        text[length] = '\0';
        state = strrchr(text, ')'); /* "id (name) state ..." */
        cr_assert_not_null(state, "%s", text);
    }
}

#endif
