/* SPDX-License-Identifier: Apache-2.0 */
/* test_dump.c - dumps with the calls that each fiber is in */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/platform/sanitizer.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

static char *dump(void)
{
    int fd = memfd_create("dump", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fm_runtime_dump_with(fm_runtime_current(), fd, FM_DUMP_BACKTRACE), 0);
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    cr_assert_eq(pread(fd, text, (size_t)size, 0), size);
    close(fd);
    return text;
}

/* What a dump says of one fiber, its line and its calls; to be freed. */
static char *dump_of(struct fm_fiber *fiber)
{
    char begin[32], *all = dump();
    snprintf(begin, sizeof begin, "fiber %llu ", (unsigned long long)fm_fiber_id(fiber));
    char *at = all;
    while (at && strncmp(at, begin, strlen(begin)) != 0)
        at = (at = strchr(at, '\n')) ? at + 1 : NULL;
    cr_assert(at, "%s not in:\n%s", begin, all);
    char *end = at;
    do
        end = (end = strchr(end, '\n')) ? end + 1 : NULL;
    while (end && end[0] == ' ');
    char *part = end ? strndup(at, (size_t)(end - at)) : strdup(at);
    free(all);
    return part;
}

static bool names(const char *text, uintptr_t pc)
{
    char place[32];
    snprintf(place, sizeof place, " 0x%llx ", (unsigned long long)pc);
    return strstr(text, place) != NULL;
}

static uintptr_t returns_to;
static _Atomic bool begun, stop;

static __attribute__((noinline)) void wait_deep(void)
{
    returns_to = (uintptr_t)__builtin_return_address(0);
    fm_never();
    __asm__ volatile("" ::: "memory");
}

static struct fm_exit park_deep(void *arg)
{
    wait_deep();
    return fm_ok(arg);
}

FIBER_TEST(dump, a_parked_fiber_is_told_with_its_calls)
{
    struct fm_fiber *fiber = start(park_deep, NULL);
    char *text = NULL;
    do {
        fm_yield();
        free(text);
        text = dump_of(fiber);
    } while (!strstr(text, "parked in never"));
    cr_assert(names(text, returns_to), "%s", text);
    cr_assert_not_null(strstr(text, "    #0 0x"), "%s", text);
    cr_assert_null(strstr(text, "missing"), "%s", text);
    cr_assert_null(strstr(text, "moves on"), "%s", text);
    free(text);
    fm_fiber_stop(fiber, FM_NEVER, NULL);
    fm_fiber_unref(fiber);
}

static __attribute__((noinline)) void spin_deep(void)
{
    returns_to = (uintptr_t)__builtin_return_address(0);
    atomic_store(&begun, true);
    while (!atomic_load(&stop))
        ;
}

static struct fm_exit spin(void *arg)
{
    spin_deep();
    return fm_ok(arg);
}

FIBER_TEST(dump, a_running_fiber_is_told_with_its_calls_while_it_runs)
{
    struct fm_fiber *fiber = start(spin, NULL);
    char *text = NULL;
    while (!atomic_load(&begun))
        fm_yield();
    /* where the machine is busy its thread may not get a processor in time */
    do {
        free(text);
        text = dump_of(fiber);
    } while (strstr(text, "does not answer"));
    cr_assert_not_null(strstr(text, " running"), "%s", text);
    if (FM_TSAN)
        cr_assert_not_null(strstr(text, "may not be sent a signal"), "%s", text);
    else
        cr_assert(names(text, returns_to), "%s", text);
    free(text);
    atomic_store(&stop, true);
    finish(fiber);
}

static int ends[2];

static __attribute__((noinline)) void read_deep(void)
{
    char byte;
    returns_to = (uintptr_t)__builtin_return_address(0);
    atomic_store(&begun, true);
    cr_assert_eq(read(ends[0], &byte, 1), 1);
}

static struct fm_exit read_pipe(void *arg)
{
    read_deep();
    return fm_ok(arg);
}

FIBER_TEST(dump, a_fiber_in_a_system_call_is_told_and_not_disturbed)
{
    char *text = NULL;
    cr_assert_eq(pipe(ends), 0);
    struct fm_fiber *fiber = start(read_pipe, NULL);
    while (!atomic_load(&begun))
        fm_yield();
    for (int tries = 0; tries < 1000 && !(text && names(text, returns_to)); tries++) {
        free(text);
        text = dump_of(fiber);
    }
    cr_assert(names(text, returns_to), "%s", text);
    free(text);
    cr_assert_eq(write(ends[1], "x", 1), 1);
    finish(fiber);
    close(ends[0]);
    close(ends[1]);
}

WORKER_TEST(dump, who_asks_and_who_has_not_begun_are_told_too)
{
    struct fm_fiber *fiber = start(return_arg, NULL);
    char *text = dump_of(fiber);
    cr_assert_not_null(strstr(text, "has not begun"), "%s", text);
    free(text);
    text = dump_of(fm_fiber_self());
    cr_assert_not_null(strstr(text, " running"), "%s", text);
    /* as far up as this function: more than the library's own two or three */
    cr_assert_not_null(strstr(text, "    #3 0x"), "%s", text);
    free(text);
    finish(fiber);
}

/* A stack that only just wakes up and goes on must not be told as if it stood still. */
static __attribute__((noinline)) void nap(int depth)
{
    if (depth > 0)
        nap(depth - 1);
    else
        fm_yield();
    __asm__ volatile("" ::: "memory");
}

static struct fm_exit nap_often(void *arg)
{
    for (int i = 0; !atomic_load(&stop); i++) {
        nap(i % 10);
        if (i % 100 == 0)
            fm_sleep_ns(1000);
    }
    return fm_ok(arg);
}

/* In real time: timers fire while fibers run. */
FIBER_TEST_ON(dump, fibers_that_never_rest_are_told_without_harm, 4, REAL_TIME)
{
    enum { FIBERS = 32, DUMPS = 40 };
    struct fm_fiber *fibers[FIBERS];
    for (int i = 0; i < FIBERS; i++)
        fibers[i] = start(nap_often, NULL);
    for (int i = 0; i < DUMPS; i++) {
        char *text = dump();
        char *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            cr_assert(strncmp(line, "fiber ", 6) == 0 || strncmp(line, "    ", 4) == 0, "%s",
                      line);
        free(text);
        fm_yield();
    }
    atomic_store(&stop, true);
    for (int i = 0; i < FIBERS; i++)
        finish(fibers[i]);
}

static struct fm_mutex *mutex;
static _Atomic bool held, let_go;

static void *hold_mutex(void *arg)
{
    cr_assert_eq(fm_mutex_lock(mutex, FM_NEVER), 0);
    atomic_store(&held, true);
    while (!atomic_load(&let_go))
        sched_yield();
    cr_assert_eq(fm_mutex_unlock(mutex), 0);
    return arg;
}

static struct fm_exit want_mutex(void *arg)
{
    int r = fm_mutex_lock(mutex, FM_NEVER);
    if (r == 0)
        fm_mutex_unlock(mutex);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

FIBER_TEST(dump, a_thread_that_holds_what_is_waited_for_is_told)
{
    pthread_t thread;
    cr_assert_eq(fm_mutex_create(&mutex), 0);
    cr_assert_eq(pthread_create(&thread, NULL, hold_mutex, NULL), 0);
    while (!atomic_load(&held))
        fm_yield();
    struct fm_fiber *fiber = start(want_mutex, NULL);
    await_wait(fiber);
    char *text = dump_of(fiber);
    cr_assert_not_null(strstr(text, " held by thread "), "%s", text);
    free(text);
    atomic_store(&let_go, true);
    pthread_join(thread, NULL);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    fm_mutex_destroy(mutex);
}

WORKER_TEST(dump, flags_that_are_none_are_refused)
{
    cr_assert_eq(fm_runtime_dump_with(fm_runtime_current(), 1, 2), -EINVAL);
    cr_assert_eq(fm_runtime_dump_with(NULL, 1, 0), -EINVAL);
    cr_assert_eq(fm_runtime_dump_with(fm_runtime_current(), -1, 0), -EINVAL);
}
