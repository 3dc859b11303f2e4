/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_blocking.c - the pool under everything at once
 *
 * Fibers hand in jobs with deadlines that race with their ends, are interrupted, and give up;
 * threads are idle for a moment only, so that leaving meets naming; now and then none can be
 * made; and the runtime is shut down with jobs queued. Each job runs at most once and leaves
 * its argument exactly once; who is told that it runs sees it run, unless the runtime ended
 * first. A third of the jobs work on their caller's stack: they have run when the call says so
 * and else never do.
 */
#include <errno.h>
#include <stdatomic.h>

#include "fm/fm.h"
#include "runtime/fiber/fiber.h"
#include "runtime/io/blocking.h"
#include "runtime/platform/memory.h"
#include "tests/support/stress.h"

enum { FIBERS = 24, RUNTIMES = 20 };

static _Atomic uint64_t lent, withdrawn, handed_in, accepted, ran, dropped, timed_out, canceled,
    refused, ended_unrun;
static uint64_t rounds;

struct work {
    _Atomic uint32_t refs; /* the waiter's, and the job's */
    _Atomic uint32_t runs;
    uint64_t spin;
};

static void work_unref(struct work *work)
{
    if (atomic_fetch_sub(&work->refs, 1) == 1)
        free(work);
}

static void drop(void *arg)
{
    atomic_fetch_add(&dropped, 1);
    work_unref(arg);
}

static struct fm_exit do_work(void *arg)
{
    struct work *work = arg;
    STRESS_CHECK(atomic_fetch_add(&work->runs, 1) == 0, "a job ran twice");
    for (volatile uint64_t i = work->spin; i; i--)
        ;
    atomic_fetch_add(&ran, 1);
    return fm_ok(work);
}

struct loan {
    _Atomic uint32_t runs;
    uint64_t spin;
};

static struct fm_exit use_loan(void *arg)
{
    struct loan *loan = arg;
    for (volatile uint64_t i = loan->spin; i; i--)
        ;
    atomic_fetch_add(&loan->runs, 1);
    return fm_ok(loan);
}

static int lend(uint64_t choice, int64_t deadline)
{
    struct loan loan = { .spin = choice >> 8 & 15 ? choice % 2000 : 100000 };
    struct fm_exit exit;
    int r = fm__blocking_run_lent(use_loan, &loan, deadline, &exit);
    bool has_run = r == 0 && exit.kind == FM_SUCCESS;
    STRESS_CHECK(atomic_exchange(&loan.runs, 99) == has_run, "%d: lent, and not given back", r);
    STRESS_CHECK(has_run || r == -ETIMEDOUT || r == -ECANCELED || r == -EAGAIN ||
                     r == -ESHUTDOWN || (r == 0 && exit.reason == FM_BY_SHUTDOWN),
                 "%d", r);
    atomic_fetch_add(&lent, 1);
    if (r == -ETIMEDOUT || r == -ECANCELED)
        atomic_fetch_add(&withdrawn, 1);
    return r;
}

static struct fm_exit hand_in(void *arg)
{
    uint64_t random = (stress_seed() ^ (uintptr_t)arg * UINT64_C(0x9E3779B97F4A7C15)) | 1;

    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t choice = stress_random(&random);
        int64_t deadline = choice >> 16 & 1 ? FM_NEVER
                                            : fm_after_ns((int64_t)(choice >> 20 & 3) * 10000);
        if ((choice >> 32) % 3 == 0) {
            if (lend(choice, deadline) == -ECANCELED)
                return fm_fail(-ECANCELED);
            continue;
        }
        struct work *work = calloc(1, sizeof *work);
        struct fm_exit exit;
        atomic_init(&work->refs, 2);
        work->spin = choice >> 8 & 15 ? choice % 2000 : 100000;
        atomic_fetch_add(&handed_in, 1);
        int r = fm__blocking_run(do_work, work, drop, deadline, &exit);
        if (r == 0 && exit.kind == FM_SUCCESS) {
            STRESS_CHECK(exit.value == work && atomic_load(&work->runs) == 1,
                         "its exit without its run");
            atomic_fetch_add(&accepted, 1);
        } else if (r == 0) {
            STRESS_CHECK(exit.kind == FM_INTERRUPTED && exit.reason == FM_BY_SHUTDOWN, "%d",
                         exit.kind);
            STRESS_CHECK(atomic_load(&work->runs) == 0, "refused, but ran");
            atomic_fetch_add(&ended_unrun, 1);
        } else if (r == -ETIMEDOUT || r == -ECANCELED) {
            atomic_fetch_add(&accepted, 1);
            atomic_fetch_add(r == -ETIMEDOUT ? &timed_out : &canceled, 1);
        } else {
            STRESS_CHECK(r == -EAGAIN || r == -ESHUTDOWN, "%d", r);
            STRESS_CHECK(atomic_load(&work->runs) == 0, "refused, but ran");
            atomic_fetch_add(&refused, 1);
        }
        work_unref(work);
        if (r == -ECANCELED)
            return fm_fail(r);
    }
    return fm_ok(NULL);
}

static struct fm_exit all(void *arg)
{
    uint64_t random = (stress_seed() + (uintptr_t)arg) | 1;
    struct fm_fiber *fibers[FIBERS];

    for (uintptr_t i = 0; i < FIBERS; i++)
        STRESS_CHECK(fm_fiber_spawn(hand_in, (void *)((uintptr_t)arg * FIBERS + i), NULL,
                                    &fibers[i]) == 0,
                     "spawn");
    for (int i = 0; i < FIBERS; i++) {
        if (stress_random(&random) % 4 == 0) {
            fm_sleep_ns((int64_t)(stress_random(&random) % 300000));
            fm_fiber_interrupt(fibers[i]);
        }
        if (stress_random(&random) % 4 == 0)
            fm__fault_set(FAULT_THREAD, 1 + stress_random(&random) % 3,
                          stress_random(&random) % 2);
        if (i < FIBERS / 2)
            STRESS_CHECK(fm_fiber_join(fibers[i], FM_NEVER, NULL) == 0, "join");
        fm_fiber_unref(fibers[i]);
        fm__fault_set(FAULT_THREAD, 0, false);
    }
    return fm_ok(NULL); /* its scope interrupts the others */
}

int main(void)
{
    stress_seed();
    rounds = stress_rounds(300);
    for (uintptr_t i = 0; i < RUNTIMES; i++) {
        struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
        struct fm_runtime *runtime;
        config.worker_count = 3;
        config.blocking_threads = 1 + (uint32_t)i % 5;
        config.flags = FM_RUNTIME_NO_STALL_REPORT;
        STRESS_CHECK(fm_runtime_create(&config, &runtime) == 0, "create");
        fm__blocking_set_idle_ns(runtime, 20000);
        STRESS_CHECK(fm_runtime_run(runtime, all, (void *)i, NULL) == 0, "run");
        fm_runtime_destroy(runtime);
        STRESS_CHECK(dropped == handed_in, "an argument was left lying");
    }
    STRESS_CHECK(ran <= accepted, "more runs than were told of");
    printf("%llu jobs: %llu ran; %llu waiters timed out, %llu were interrupted; %llu refused, "
           "%llu ended unrun; "
           "%llu lent, %llu of them withdrawn\n",
           (unsigned long long)handed_in, (unsigned long long)ran,
           (unsigned long long)timed_out, (unsigned long long)canceled,
           (unsigned long long)refused, (unsigned long long)ended_unrun,
           (unsigned long long)lent, (unsigned long long)withdrawn);
    return 0;
}
