/* SPDX-License-Identifier: Apache-2.0 */
/* test_trace.c - rings, starts and stops; what is written is looked at by trace_test.py */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/fiber/runtime.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

static struct sched *sched(void)
{
    return &fm_runtime_current()->sched;
}

enum { EVENTS = 256 };
static struct trace_event events[EVENTS];

/* The events of this kind that worker 0 has recorded. */
static uint32_t read_kind(enum trace_kind kind, uint64_t *dropped)
{
    uint32_t all = fm__trace_read(sched(), 0, events, dropped), count = 0;
    for (uint32_t i = 0; i < all; i++)
        if (events[i].kind == kind)
            events[count++] = events[i];
    return count;
}

WORKER_TEST(trace, starts_and_stops_in_turns)
{
    struct fm_runtime *runtime = fm_runtime_current();
    struct fm_trace_options options = FM_TRACE_OPTIONS_INIT;
    cr_assert_eq(fm_trace_stop(runtime, -1), -ENOENT);
    cr_assert_eq(fm_trace_start(runtime, NULL), 0);
    cr_assert_eq(fm_trace_start(runtime, NULL), -EALREADY);
    cr_assert_eq(fm_trace_stop(runtime, -2), -EINVAL);
    cr_assert_eq(fm_trace_stop(runtime, -1), 0);
    cr_assert_eq(fm_trace_stop(runtime, -1), -ENOENT);
    /* a smaller one, a larger one, and one that its file refuses */
    for (options.events = 16; options.events <= 65536; options.events *= 64) {
        cr_assert_eq(fm_trace_start(runtime, &options), 0);
        fm_yield();
        int full = open("/dev/full", O_WRONLY);
        cr_assert_eq(fm_trace_stop(runtime, full), -ENOSPC);
        close(full);
    }
    options.events = (1u << 24) + 1;
    cr_assert_eq(fm_trace_start(runtime, &options), -EINVAL);
    cr_assert_eq(fm_trace_start(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_trace_stop(NULL, -1), -EINVAL);
}

static struct fm_exit yield_often(void *arg)
{
    for (intptr_t i = 0; i < (intptr_t)arg; i++)
        fm_yield();
    return fm_ok(NULL);
}

WORKER_TEST(trace, every_run_is_recorded_from_the_start_to_the_stop)
{
    enum { YIELDS = 20 };
    uint64_t dropped = 0, mine = 0;
    cr_assert_eq(fm__trace_start(sched(), EVENTS), 0);
    struct fm_fiber *one = start(yield_often, (void *)YIELDS);
    uint64_t id = fm_fiber_id(one);
    finish(one);
    cr_assert_eq(fm__trace_stop(sched()), 0);
    uint32_t runs = read_kind(TRACE_RUN, &dropped);
    cr_assert_eq(dropped, 0);
    for (uint32_t i = 0; i < runs; i++) {
        cr_assert_leq(events[i].begin_ns, events[i].end_ns);
        if (i)
            cr_assert_leq(events[i - 1].end_ns, events[i].begin_ns,
                          "runs on one worker overlap");
        if (events[i].fiber != id)
            continue;
        mine++;
        cr_assert_eq(events[i].how, i == runs - 2 ? TRACE_ENDED : TRACE_YIELDED);
    }
    cr_assert_eq(mine, YIELDS + 1);
    cr_assert_eq(events[runs - 1].how, TRACE_CUT, "the caller's own run");
    fm__trace_forget(sched());
}

WORKER_TEST(trace, the_newest_events_are_kept_and_the_others_counted)
{
    uint64_t dropped = 0;
    cr_assert_eq(fm__trace_start(sched(), 16), 0);
    struct fm_fiber *one = start(yield_often, (void *)200);
    struct fm_fiber *other = start(yield_often, (void *)200);
    uint64_t last = fm_fiber_id(other);
    finish(one);
    finish(other);
    cr_assert_eq(fm__trace_stop(sched()), 0);
    uint32_t count = fm__trace_read(sched(), 0, events, &dropped);
    cr_assert_leq(count, 16);
    cr_assert_geq(count, 15); /* the oldest may be where the next would be written */
    cr_assert_geq(dropped, 380);
    bool seen = false;
    for (uint32_t i = 0; i < count; i++)
        seen = seen || events[i].fiber == last;
    cr_assert(seen);
    fm__trace_forget(sched());
}

static _Atomic bool stop;

static struct fm_exit churn(void *arg)
{
    while (!atomic_load(&stop)) {
        struct fm_fiber *fiber = start(yield_often, (void *)3);
        if ((uintptr_t)arg % 2)
            fm_sleep_ns(100000);
        finish(fiber);
    }
    return fm_ok(NULL);
}

/*
 * Rings are read while workers that have not seen the stop yet write to them. In real time:
 * timers fire while fibers run.
 */
FIBER_TEST_ON(trace, starts_and_stops_under_load_do_no_harm, 4, REAL_TIME)
{
    struct fm_runtime *runtime = fm_runtime_current();
    struct fm_trace_options options = FM_TRACE_OPTIONS_INIT;
    struct fm_fiber *fibers[8];
    for (uintptr_t i = 0; i < 8; i++)
        fibers[i] = start(churn, (void *)i);
    for (uint32_t round = 0; round < 40; round++) {
        options.events = 8u << round % 8;
        cr_assert_eq(fm_trace_start(runtime, &options), 0);
        fm_sleep_ns(500000);
        if (round % 4 == 1)
            cr_assert_eq(fm_runtime_resize(runtime, 1 + round % 6), 0);
        int fd = memfd_create("trace", MFD_CLOEXEC);
        cr_assert_eq(fm_trace_stop(runtime, round % 5 ? fd : -1), 0);
        if (round % 5)
            cr_assert_gt(lseek(fd, 0, SEEK_CUR), 100);
        close(fd);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 8; i++)
        finish(fibers[i]);
}

/* ---- stopped by a thread ---- */

static _Atomic bool spins;

static struct fm_exit spin_until_the_stop(void *arg)
{
    struct sched *in = arg;
    atomic_store(&spins, true);
    while (atomic_load(&in->trace.state) == TRACE_ON)
        ;
    return fm_ok(NULL);
}

static struct fm_exit spin_until_told(void *arg)
{
    atomic_store(&spins, true);
    while (!atomic_load(&stop))
        ;
    return fm_ok(arg);
}

/* A trace that has the fiber's run from its beginning on. */
static struct fm_fiber *start_traced(struct fm_runtime *runtime, fm_entry_fn *entry)
{
    struct fm_runtime_stats stats;
    struct fm_fiber *fiber;
    do /* one that is awake begins at its next tick */
        fm_runtime_stats(runtime, &stats);
    while (stats.workers_awake);
    atomic_store(&spins, false);
    cr_assert_eq(fm__trace_start(&runtime->sched, EVENTS), 0);
    cr_assert_eq(fm_runtime_spawn(runtime, entry, &runtime->sched, NULL, &fiber), 0);
    while (!atomic_load(&spins))
        sched_yield();
    return fiber;
}

static struct fm_runtime *one_worker(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime = NULL;
    config.worker_count = 1;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    return runtime;
}

TEST(trace, a_run_that_ends_at_the_stop_is_recorded)
{
    enum { ROUNDS = 20 };
    struct fm_runtime *runtime = one_worker();
    int told = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t dropped = 0;
        struct fm_fiber *fiber = start_traced(runtime, spin_until_the_stop);
        int64_t before = fm__clock_ns();
        cr_assert_eq(fm__trace_stop(&runtime->sched), 0);
        bool in_time = fm__clock_ns() - before < TRACE_STOP_NS;
        uint32_t count = fm__trace_read(&runtime->sched, 0, events, &dropped);
        bool found = false;
        for (uint32_t i = 0; i < count; i++)
            found = found || (events[i].kind == TRACE_RUN && events[i].how == TRACE_ENDED &&
                              events[i].fiber == fm_fiber_id(fiber));
        /* where the machine kept the worker from going on, it need not be */
        cr_assert(found || !in_time);
        told += found;
        fm__trace_forget(&runtime->sched);
        fm_fiber_join(fiber, FM_NEVER, NULL);
        fm_fiber_unref(fiber);
    }
    cr_assert_gt(told, 0);
    fm_runtime_destroy(runtime);
}

TEST(trace, a_stop_does_not_wait_for_a_fiber_that_goes_on)
{
    struct fm_runtime *runtime = one_worker();
    atomic_store(&stop, false);
    struct fm_fiber *fiber = start_traced(runtime, spin_until_told);
    int64_t before = fm__clock_ns();
    cr_assert_eq(fm_trace_stop(runtime, -1), 0);
    cr_assert_geq(fm__clock_ns() - before, TRACE_STOP_NS);
    atomic_store(&stop, true);
    fm_fiber_join(fiber, FM_NEVER, NULL);
    fm_fiber_unref(fiber);
    fm_runtime_destroy(runtime);
}

WORKER_TEST(trace, without_memory_nothing_starts)
{
    for (uint64_t n = 1; n <= 2; n++) {
        fm__fault_set(FAULT_MALLOC, n, true);
        int r = fm_trace_start(fm_runtime_current(), NULL);
        fm__fault_set(FAULT_MALLOC, 0, false);
        cr_assert_eq(r, -ENOMEM);
        cr_assert_eq(fm_trace_stop(fm_runtime_current(), -1), -ENOENT);
    }
    cr_assert_eq(fm_trace_start(fm_runtime_current(), NULL), 0);
    fm__fault_set(FAULT_MALLOC, 1, true);
    int r = fm_trace_stop(fm_runtime_current(), STDERR_FILENO);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(r, -ENOMEM);
    cr_assert_eq(fm_trace_start(fm_runtime_current(), NULL), 0);
    cr_assert_eq(fm_trace_stop(fm_runtime_current(), -1), 0);
}
