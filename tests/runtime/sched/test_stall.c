/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stall.c - fibers that keep their workers are told by name, cause and place, and do not
 * keep others from running where workers sleep
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/platform/sanitizer.h"
#include "runtime/platform/thread.h"
#include "runtime/sched/idle.h"
#include "tests/support/child.h"
#include "tests/support/fibers.h"

enum { SEEN = 64 };

static struct seen {
    struct fm_stall stall;
    char name[32], key[32], channel[64];
    void *frames[64];
} seen[SEEN];
static _Atomic int seen_count;
static _Atomic bool enough;
static int ends[2];
static _Atomic uint64_t expected; /* the id of the fiber that stalls on purpose */

/* The fiber that is meant; others may stall where the machine is busy. */
static void note(void *arg, const struct fm_stall *stall)
{
    int at = atomic_load(&seen_count);
    if (stall->fiber != atomic_load(&expected) || at == SEEN || atomic_load(&enough))
        return; /* after enough it is on its way out, and may have left its map */
    struct seen *now = &seen[at];
    now->stall = *stall;
    snprintf(now->name, sizeof now->name, "%s", stall->name);
    snprintf(now->key, sizeof now->key, "%s", stall->key);
    snprintf(now->channel, sizeof now->channel, "%s", stall->wait_channel);
    memcpy(now->frames, stall->frames, stall->frame_count * sizeof *now->frames);
    atomic_store(&seen_count, at + 1);
    uint32_t causes = *(uint32_t *)arg;
    /* there are no calls as long as a busy machine has no processor for the thread */
    if (causes >> stall->cause & 1 && stall->ms >= 40 && (stall->frame_count || FM_TSAN) &&
        !atomic_exchange(&enough, true))
        cr_assert_eq(write(ends[1], "x", 1), 1);
}

/* What a loop may be told as: on a busy machine it waits for a processor most of the time. */
static uint32_t looping = 1u << FM_STALL_RUNNING | 1u << FM_STALL_QUEUED |
                          1u << FM_STALL_THROTTLED;
static uint32_t blocked = 1u << FM_STALL_KERNEL;

static struct fm_runtime *watched_runtime(uint32_t *causes)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime = NULL;
    config.worker_count = 2;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    config.on_stall = note;
    config.on_stall_arg = causes;
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    return runtime;
}

static uintptr_t spins_from; /* where the endless loop will return to */

static __attribute__((noinline)) void spin(void)
{
    spins_from = (uintptr_t)__builtin_return_address(0);
    while (!atomic_load(&enough))
        ;
}

static struct fm_exit never_wait(void *arg)
{
    atomic_store(&expected, fm_fiber_id(fm_fiber_self()));
    spin();
    return fm_ok(arg);
}

static bool has_frame(const struct seen *at, uintptr_t pc)
{
    for (uint32_t i = 0; i < at->stall.frame_count; i++)
        if (at->frames[i] == (void *)pc)
            return true;
    return false;
}

static const struct seen *last_seen(void)
{
    return &seen[atomic_load(&seen_count) - 1];
}

/* F15 */
TEST(stall, an_endless_loop_is_told_at_10_20_40_ms_with_name_and_calls)
{
    struct fm_runtime *runtime = watched_runtime(&looping);
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_runtime_stats stats;
    struct fm_fiber *fiber;
    options.name = "spinner";
    cr_assert_eq(fm_runtime_spawn(runtime, never_wait, NULL, &options, &fiber), 0);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    const struct seen *last = last_seen();
    cr_assert_str_eq(last->name, "spinner");
    cr_assert_str_eq(last->key, "");
    cr_assert_eq(last->stall.fiber, fm_fiber_id(fiber));
    cr_assert_eq(last->stall.system_call, -1);
    cr_assert_gt(last->stall.ran_ns, 0);
    if (!FM_TSAN)
        cr_assert(has_frame(last, spins_from), "%u frames", last->stall.frame_count);
    /* each step once, twice as long as the one before; and the moment when it begins to count */
    int counts = 0;
    for (int i = 0; i < atomic_load(&seen_count); i++) {
        const struct fm_stall *stall = &seen[i].stall;
        counts += stall->counts;
        cr_assert_geq(stall->ms, 10);
        if (i)
            cr_assert_gt(stall->ms, seen[i - 1].stall.ms);
        for (uint32_t step = 10; i && step <= seen[i - 1].stall.ms; step *= 2)
            cr_assert(stall->ms >= 2 * step || stall->counts, "%u after %u", stall->ms,
                      seen[i - 1].stall.ms);
    }
    cr_assert_leq(counts, 1);
    fm_runtime_stats(runtime, &stats);
    cr_assert_geq(stats.stalls, counts);
    fm_fiber_unref(fiber);
    fm_runtime_destroy(runtime);
}

static struct fm_exit yield_alone(void *arg)
{
    int64_t end = fm__thread_ran_ns(0) + 60 * 1000000;
    atomic_store(&expected, fm_fiber_id(fm_fiber_self()));
    while (fm__thread_ran_ns(0) < end)
        fm_yield();
    return fm_ok(arg);
}

/* Told is only a run that a busy machine has interrupted. */
TEST(stall, a_fiber_that_yields_to_nobody_does_not_stall)
{
    struct fm_runtime *runtime = watched_runtime(&looping);
    struct fm_fiber *fiber;
    cr_assert_eq(fm_runtime_spawn(runtime, yield_alone, NULL, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    for (int i = 0; i < atomic_load(&seen_count); i++)
        cr_assert_lt(seen[i].stall.ran_ns, 5000000);
    fm_fiber_unref(fiber);
    fm_runtime_destroy(runtime);
}

static __attribute__((noinline)) void block(void)
{
    char byte;
    spins_from = (uintptr_t)__builtin_return_address(0);
    cr_assert_eq(read(ends[0], &byte, 1), 1, "%s", strerror(errno));
}

static struct fm_exit read_pipe(void *arg)
{
    atomic_store(&expected, fm_fiber_id(fm_fiber_self()));
    block();
    return fm_ok(arg);
}

TEST(stall, a_call_that_blocks_is_told_by_its_number_and_is_not_cut_short)
{
    struct fm_runtime *runtime = watched_runtime(&blocked);
    struct fm_fiber *fiber;
    struct fm_exit exit;
    cr_assert_eq(fm_runtime_spawn(runtime, read_pipe, NULL, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    const struct seen *last = last_seen();
    cr_assert_eq(last->stall.system_call, SYS_read);
    cr_assert_lt(last->stall.ran_ns, (int64_t)last->stall.ms * 1000000 / 2);
    cr_assert(has_frame(last, spins_from), "%u frames", last->stall.frame_count);
    fm_fiber_unref(fiber);
    fm_runtime_destroy(runtime);
}

TEST(stall, a_keyed_fiber_is_told_by_its_key)
{
    struct fm_runtime *runtime = watched_runtime(&looping);
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    struct fm_fiber *fiber;
    config.runtime = runtime;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    cr_assert_eq(fm_map_run(map, fm_key_str("user-7"), never_wait, NULL, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    fm_fiber_unref(fiber);
    cr_assert_str_eq(last_seen()->key, "\"user-7\"");
    fm_map_destroy(map);
    fm_runtime_destroy(runtime);
}

static void print_one(void *arg)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_runtime *runtime;
    config.worker_count = 1;
    config.stall_ms = 20;
    config.on_stall = note;
    config.on_stall_arg = &blocked;
    options.name = "printed";
    if (pipe(ends) != 0 || fm_runtime_create(&config, &runtime) != 0)
        _exit(2);
    struct fm_fiber *fiber;
    fm_runtime_spawn(runtime, read_pipe, NULL, &options, &fiber);
    fm_fiber_join(fiber, FM_NEVER, NULL);
    fm_fiber_unref(fiber);
    fm_runtime_destroy(runtime);
    (void)arg;
}

/* F15 */
TEST(stall, it_is_printed_once_with_place_and_cause)
{
    struct child child;
    if (FM_TSAN)
        cr_skip_test("a child of its has no threads");
    child_run(&child, print_one, NULL);
    cr_assert_eq(child.exit_code, 0, "%s", child.said);
    cr_assert_eq(child_said(&child, " \"printed\" spawned at 0x"), 1, "%s", child.said);
    cr_assert_eq(child_said(&child, "has not let others run for "), 1, "%s", child.said);
    cr_assert_geq(child_said(&child, "fibermap:   #"), 2, "%s", child.said);
}

/* ---- the signal ---- */

static void ignore(int number)
{
    (void)number;
}

TEST(stall, a_signal_that_somebody_has_is_not_taken)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime = NULL;
    if (FM_TSAN)
        cr_skip_test("no signal is taken");
    config.worker_count = 1;
    signal(SIGRTMIN + 3, ignore);
    config.backtrace_signal = SIGRTMIN + 3;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -EBUSY);
    config.backtrace_signal = SIGUSR1;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -EINVAL);
    cr_assert_null(runtime);
    config.backtrace_signal = SIGRTMIN + 4;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    fm_runtime_destroy(runtime);
    config.backtrace_signal = SIGRTMIN + 5;
    cr_assert_eq(fm_runtime_create(&config, &runtime), -EBUSY);
}

/* Where the runtime's maker has blocked all signals its workers answer all the same. */
TEST(stall, blocked_signals_do_not_hide_a_running_fiber)
{
    struct fm_fiber *fiber;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    struct fm_runtime *runtime = watched_runtime(&looping);
    cr_assert_eq(fm_runtime_spawn(runtime, never_wait, NULL, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    if (!FM_TSAN)
        cr_assert(has_frame(last_seen(), spins_from));
    fm_fiber_unref(fiber);
    fm_runtime_destroy(runtime);
}

/* ---- more workers than processors ---- */

TEST(spare, as_many_awake_as_there_are_processors_are_enough)
{
    static struct idle idle;
    fm__idle_init(&idle, 2);
    for (int i = 0; i < 4; i++)
        fm__idle_join(&idle);
    for (uint32_t i = 1; i < 4; i++)
        cr_assert(!fm__idle_sleep(&idle, i, false));
    cr_assert(!fm__idle_no_need(&idle), "one is awake");
    cr_assert_eq(fm__idle_wake(&idle, false, -1), 3);
    cr_assert(fm__idle_found(&idle));
    cr_assert(fm__idle_no_need(&idle), "two are awake");
    cr_assert_eq(fm__idle_wake(&idle, false, -1), -1);

    fm__idle_away(&idle, 1);
    cr_assert(!fm__idle_no_need(&idle), "two are awake, one of them is away");
    cr_assert_eq(fm__idle_wake(&idle, false, -1), 2);
    cr_assert(fm__idle_found(&idle));
    cr_assert_eq(fm__idle_wake(&idle, false, -1), -1);
    cr_assert_eq(fm__idle_wake(&idle, true, -1), 1);

    fm__idle_away(&idle, 7);
    cr_assert(fm__idle_found(&idle));
    cr_assert(fm__idle_no_need(&idle), "there are no more");
}

/* On one processor: so many workers, of which one is enough. */
static void run_on_one_processor(uint32_t workers, fm_entry_fn *entry)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime = NULL;
    cpu_set_t set;
    int cpu = 0;
    cr_assert_eq(sched_getaffinity(0, sizeof set, &set), 0);
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    cr_assert_eq(sched_setaffinity(0, sizeof set, &set), 0);
    config.worker_count = workers;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, entry, NULL, NULL), 0);
    fm_runtime_destroy(runtime);
}

/* The other workers have nothing to do, and have seen it. */
static void let_them_sleep(void)
{
    struct fm_runtime_stats stats;
    do {
        fm_yield();
        cr_assert_eq(fm_runtime_stats(fm_runtime_current(), &stats), 0);
    } while (stats.workers_awake > 1);
}

static void spawn_and_await(fm_entry_fn *entry, void *arg, int count)
{
    let_them_sleep();
    for (int i = 0; i < count; i++)
        cr_assert_eq(fm_fiber_spawn(entry, arg, NULL, NULL), 0);
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
}

static struct fm_exit meet(void *barrier)
{
    pthread_barrier_wait(barrier);
    return fm_ok(NULL);
}

static struct fm_exit all_meet(void *arg)
{
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 4);
    spawn_and_await(meet, &barrier, 4);
    pthread_barrier_destroy(&barrier);
    return fm_ok(arg);
}

TEST(spare, threads_that_block_are_not_counted_on)
{
    run_on_one_processor(4, all_meet);
}

static _Atomic int inside;
static _Atomic bool met;

/* Too short to be seen as one task that lasts. */
static struct fm_exit block_for_a_moment(void *arg)
{
    while (!atomic_load(&met)) {
        if (atomic_fetch_add(&inside, 1) == 2)
            atomic_store(&met, true);
        usleep(500);
        atomic_fetch_sub(&inside, 1);
        fm_yield();
    }
    return fm_ok(arg);
}

static struct fm_exit all_block_for_moments(void *arg)
{
    spawn_and_await(block_for_a_moment, NULL, 6);
    return fm_ok(arg);
}

TEST(spare, threads_that_block_again_and_again_are_not_counted_on)
{
    run_on_one_processor(4, all_block_for_moments);
}

static struct fm_exit come(void *count)
{
    atomic_fetch_add((_Atomic int *)count, 1);
    return fm_ok(NULL);
}

static struct fm_exit compute_until_others_have_run(void *arg)
{
    _Atomic int came = 0;
    let_them_sleep();
    cr_assert_eq(fm_fiber_spawn(come, &came, NULL, NULL), 0);
    cr_assert_eq(fm_fiber_spawn(come, &came, NULL, NULL), 0);
    while (atomic_load(&came) < 2)
        continue;
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
    return fm_ok(arg);
}

TEST(spare, one_that_computes_holds_nobody_up)
{
    run_on_one_processor(2, compute_until_others_have_run);
}
