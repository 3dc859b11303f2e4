/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sample.c - the signal that asks a running fiber for its calls: who has it, who cannot be asked,
 * and calls that are too many
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/platform/sanitizer.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

static char *dump_from(struct fm_runtime *runtime)
{
    int fd = memfd_create("dump", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fm_runtime_dump_with(runtime, fd, FM_DUMP_BACKTRACE), 0);
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    cr_assert_eq(pread(fd, text, (size_t)size, 0), size);
    close(fd);
    return text;
}

static _Atomic bool begun, stop;

/* Runs, and holds no signals back but the one in `arg`, if there is one. */
static struct fm_exit spin(void *arg)
{
    sigset_t set, before;
    sigemptyset(&set);
    if (arg)
        sigaddset(&set, (int)(intptr_t)arg);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    atomic_store(&begun, true);
    while (!atomic_load(&stop))
        ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return fm_ok(NULL);
}

/* A runtime with one worker, on which a fiber spins. */
struct scene {
    struct fm_runtime *runtime;
    struct fm_fiber *fiber;
};

static struct scene begin(int signal_number, bool blocks_it)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct scene scene = { 0 };
    config.worker_count = 1;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    config.backtrace_signal = signal_number;
    cr_assert_eq(fm_runtime_create(&config, &scene.runtime), 0);
    cr_assert_eq(fm_runtime_spawn(scene.runtime, spin, number(blocks_it ? signal_number : 0),
                                  NULL, &scene.fiber),
                 0);
    while (!atomic_load(&begun))
        sched_yield();
    return scene;
}

static void end(struct scene *scene)
{
    atomic_store(&stop, true);
    finish(scene->fiber);
    fm_runtime_destroy(scene->runtime);
}

static void expect_told(struct scene *scene, const char *words)
{
    char *text = dump_from(scene->runtime);
    cr_assert_not_null(strstr(text, words), "%s", text);
    free(text);
}

static const char no_signal[] = "    it runs, and may not be sent a signal\n";

TEST(sample, without_a_signal_who_runs_is_not_asked)
{
    struct scene scene = begin(-1, false);
    expect_told(&scene, no_signal);
    end(&scene);
}

TEST(sample, a_signal_that_somebody_took_from_us_is_not_sent)
{
    struct scene scene = begin(SIGRTMIN + 6, false);
    signal(SIGRTMIN + 6, SIG_IGN);
    expect_told(&scene, no_signal);
    signal(SIGRTMIN + 6, SIG_DFL); /* it would end the program */
    expect_told(&scene, no_signal);
    end(&scene);
}

TEST(sample, where_others_have_every_signal_there_is_none_for_us)
{
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        signal(number, SIG_IGN);
    struct scene scene = begin(0, false);
    expect_told(&scene, no_signal);
    end(&scene);
}

TEST(sample, a_number_beyond_the_signals_is_refused)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    if (FM_TSAN)
        cr_skip_test("no signal is taken");
    config.worker_count = 1;
    config.backtrace_signal = SIGRTMAX + 1;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -EINVAL);
    config.backtrace_signal = SIGKILL;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -EINVAL);
}

TEST(sample, a_thread_that_holds_the_signal_back_does_not_answer)
{
    if (FM_TSAN)
        cr_skip_test("no signal is taken");
    struct scene scene = begin(SIGRTMIN + 6, true);
    for (int i = 0; i < 2; i++) /* what was not answered is taken back */
        expect_told(&scene, "    it runs, and its thread does not answer\n");
    end(&scene);
}

static struct fm_runtime *asked;
static _Atomic bool busy_seen;

static void *dump_until_busy(void *arg)
{
    while (!atomic_load(&busy_seen)) {
        char *text = dump_from(asked);
        if (strstr(text, "    it runs, and is being asked already\n"))
            atomic_store(&busy_seen, true);
        free(text);
    }
    return arg;
}

TEST(sample, one_at_a_time_asks)
{
    pthread_t threads[2];
    if (FM_TSAN)
        cr_skip_test("no signal is taken");
    struct scene scene = begin(SIGRTMIN + 6, true);
    asked = scene.runtime;
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, dump_until_busy, NULL), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    end(&scene);
}

/* ---- calls that are too many ---- */

static int ends[2];

static __attribute__((noinline)) int deeper(int levels)
{
    char byte;
    int r;
    if (levels)
        r = deeper(levels - 1) + 1;
    else if (ends[0])
        r = read(ends[0], &byte, 1) == 1;
    else
        r = -fm_never();
    __asm__ volatile("" : "+r"(r)); /* nothing becomes a jump */
    return r;
}

static struct fm_exit go_deep(void *arg)
{
    atomic_store(&begun, true);
    deeper(200);
    return fm_ok(arg);
}

static const char cut[] = "    ... and more\n";

FIBER_TEST(sample, of_two_hundred_calls_of_one_who_waits_the_innermost_are_told)
{
    struct fm_fiber *fiber = start(go_deep, NULL);
    await_wait(fiber);
    char *text = dump_from(fm_runtime_current());
    cr_assert_not_null(strstr(text, cut), "%s", text);
    free(text);
    fm_fiber_interrupt(fiber);
    finish(fiber);
}

FIBER_TEST(sample, of_two_hundred_calls_of_one_in_the_kernel_the_innermost_are_told)
{
    if (FM_ASAN || FM_TSAN)
        cr_skip_test("the frames around the call are a sanitizer's");
    cr_assert_eq(pipe(ends), 0);
    struct fm_fiber *fiber = start(go_deep, NULL);
    while (!atomic_load(&begun))
        fm_yield();
    bool told = false;
    while (!told) { /* until its thread sleeps in the call */
        char *text = dump_from(fm_runtime_current());
        told = strstr(text, cut) != NULL;
        free(text);
    }
    cr_assert_eq(write(ends[1], "x", 1), 1);
    finish(fiber);
    close(ends[0]);
    close(ends[1]);
}
