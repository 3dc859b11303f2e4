/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_flow.c - trees of for_each, all, race, timeout and retry, failing and interrupted at
 * random
 *
 * A thread starts some callers, interrupts some of them at some moment, and joins all. Each
 * call in a tree counts the bodies that run under it: when it returns there must be none, and
 * its outcome must be one that its bodies can have given. X19.
 */
#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>

#include "tests/support/stress.h"

enum { CALLERS = 6, DEPTH = 3, WIDTH = 6 };

/* One call, and what each of its bodies gets. */
struct call {
    _Atomic int running;
    _Atomic int begun;
    uint64_t round;
    int depth; /* of calls that may stand under it */
    _Atomic uint64_t random;
};

static uint64_t fork_random(struct call *call)
{
    /* each body goes on from somewhere else */
    uint64_t state = atomic_fetch_add(&call->random, UINT64_C(0x9e3779b97f4a7c15));
    state |= 1;
    stress_random(&state);
    return state;
}

static int body_over(void *arg, struct fm_exit exit)
{
    struct call *call = arg;
    uint64_t random = fork_random(call);
    (void)exit;
    if (stress_random(&random) % 4 == 0)
        fm_yield(); /* a finalizer that waits, masked */
    atomic_fetch_sub(&call->running, 1);
    return 0;
}

static struct fm_exit leaf(uint64_t *random)
{
    int r = 0;
    bool deaf = stress_random(random) % 8 == 0;
    if (deaf)
        fm_mask();
    switch (stress_random(random) % 5) {
    case 0: break;
    case 1: r = fm_yield(); break;
    case 2: r = fm_sleep_ns((int64_t)(stress_random(random) % 50000)); break;
    case 3: r = deaf ? 0 : fm_never(); break;
    case 4: stress_jitter(random); break;
    }
    if (deaf)
        fm_unmask();
    if (r < 0)
        return fm_fail(r);
    return stress_random(random) % 3 ? fm_ok(NULL) : fm_fail(-EIO);
}

static struct fm_exit one_call(struct call *call);

static struct fm_exit body(void *arg)
{
    struct call *above = arg;
    uint64_t random = fork_random(above);

    atomic_fetch_add(&above->running, 1);
    atomic_fetch_add(&above->begun, 1);
    STRESS_CHECK(fm_defer(body_over, above) == 0, "no finalizer");
    STRESS_CHECK(!fm_masked(), "a body begins masked");
    if (above->depth == 0 || stress_random(&random) % 3 == 0)
        return leaf(&random);
    struct call call = { .round = above->round, .depth = above->depth - 1, .random = random };
    return one_call(&call);
}

static struct fm_exit indexed_body(void *arg, size_t index)
{
    (void)index;
    return body(arg);
}

static void check_result(struct call *call, int r, bool deadline)
{
    STRESS_CHECK(r == 0 || r == -ECANCELED || (deadline && r == -ETIMEDOUT) ||
                     r == FM_ALL_FAILED,
                 "round %" PRIu64 ": result %d", call->round, r);
    STRESS_CHECK(atomic_load(&call->running) == 0, "round %" PRIu64 ": %d bodies run on",
                 call->round, atomic_load(&call->running));
}

static struct fm_exit one_call(struct call *call)
{
    uint64_t random = fork_random(call);
    size_t count = 1 + stress_random(&random) % WIDTH, winner = WIDTH;
    size_t concurrency = stress_random(&random) % (WIDTH + 1);
    struct fm_task tasks[WIDTH];
    struct fm_exit exit = fm_ok(NULL), exits[WIDTH];
    struct fm_schedule *schedule;
    int r;

    for (size_t i = 0; i < count; i++)
        tasks[i] = (struct fm_task) { body, call };
    switch (stress_random(&random) % 6) {
    case 0:
        r = fm_for_each(count, concurrency, indexed_body, call, &exit);
        check_result(call, r, false);
        STRESS_CHECK(r < 0 || exit.kind != FM_SUCCESS ||
                         atomic_load(&call->begun) == (int)count,
                     "round %" PRIu64 ": %d of %zu", call->round, call->begun, count);
        break;
    case 1:
        r = fm_all(tasks, count, concurrency, exits);
        check_result(call, r, false);
        for (size_t i = 0; i < count; i++)
            STRESS_CHECK(r != 0 || exits[i].kind == FM_SUCCESS, "round %" PRIu64, call->round);
        exit = r == FM_ALL_FAILED ? fm_fail(-EIO) : exit;
        break;
    case 2:
    case 3:
        r = concurrency % 2 ? fm_race(tasks, count, &winner, &exit)
                            : fm_race_first(tasks, count, &winner, &exit);
        check_result(call, r, false);
        STRESS_CHECK(r < 0 || winner < count, "round %" PRIu64 ": nobody won", call->round);
        break;
    case 4:
        r = fm_timeout(body, call, fm_after_ns((int64_t)(stress_random(&random) % 60000)),
                       &exit);
        check_result(call, r, true);
        break;
    default:
        schedule = fm_schedule_intersect(fm_schedule_spaced_ns(1000), fm_schedule_recurs(2));
        r = fm_retry(body, call, schedule, &exit);
        fm_schedule_unref(schedule);
        check_result(call, r, false);
        STRESS_CHECK(atomic_load(&call->begun) <= 3, "round %" PRIu64, call->round);
    }
    return r < 0 ? fm_fail(r) : exit;
}

static struct fm_exit caller(void *arg)
{
    return one_call(arg);
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_runtime_stats stats;
    uint64_t random = stress_seed(), interrupted = 0;

    config.worker_count = 4;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    STRESS_CHECK(fm_runtime_create(&config, &runtime) == 0, "no runtime");
    for (uint64_t round = 0; round < stress_rounds(4000); round++) {
        struct call calls[CALLERS];
        struct fm_fiber *callers[CALLERS];
        for (int i = 0; i < CALLERS; i++) {
            calls[i] = (struct call) { .round = round,
                                       .depth = DEPTH,
                                       .random = stress_random(&random) };
            STRESS_CHECK(fm_runtime_spawn(runtime, caller, &calls[i], NULL, &callers[i]) == 0,
                         "no fiber");
        }
        /* at once, or some way into the tree: who waits for ever is interrupted in the end */
        uint64_t patience = stress_random(&random) % (round % 8 ? 400 : 10000);
        for (int i = 0; i < CALLERS; i++) {
            for (uint64_t n = 0; n < patience && fm_fiber_poll(callers[i], NULL) < 0; n++)
                stress_jitter(&random);
            interrupted += fm_fiber_interrupt(callers[i]) == 0;
        }
        for (int i = 0; i < CALLERS; i++) {
            STRESS_CHECK(fm_fiber_join(callers[i], FM_NEVER, NULL) == 0, "no end");
            fm_fiber_unref(callers[i]);
        }
    }
    STRESS_CHECK(interrupted, "nobody was interrupted");
    STRESS_CHECK(fm_runtime_shutdown(runtime, FM_NEVER) == 0, "no shutdown");
    fm_runtime_stats(runtime, &stats);
    STRESS_CHECK(stats.fibers_live == 0, "%" PRIu64 " fibers live", stats.fibers_live);
    fm_runtime_destroy(runtime);
    return 0;
}
