/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_budget.c - a fiber whose waits always complete at once lets others run all the same
 *
 * On one worker: each kind of wait is repeated until another fiber has run, which is so after
 * no more than 128 of them, and after fewer if the fiber computes for long in between.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/platform/memory.h"
#include "runtime/platform/thread.h"
#include "tests/support/fibers.h"

enum { BUDGET = 128 };

static bool other_ran;

static struct fm_exit run(void *arg)
{
    other_ran = true;
    return fm_ok(arg);
}

typedef void wait_fn(void *arg);

static void expect_turn(wait_fn *wait, void *arg)
{
    fm_yield(); /* a new budget */
    other_ran = false;
    struct fm_fiber *other = start(run, NULL);
    int waits = 0;
    while (!other_ran && waits <= 2 * BUDGET) {
        wait(arg);
        waits++;
    }
    cr_assert(other_ran, "the other never ran");
    cr_assert_leq(waits, BUDGET + 1, "after %d waits", waits);
    cr_assert_geq(waits, BUDGET / 4, "after %d waits: not worth it", waits);
    finish(other);
}

static void join(void *fiber)
{
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
}

static void join_with_deadline(void *fiber)
{
    cr_assert_eq(fm_fiber_join(fiber, fm_after_s(60), NULL), 0);
}

WORKER_TEST(budget, joins_of_ended_fibers_yield)
{
    struct fm_fiber *fiber = start(return_arg, NULL);
    join(fiber);
    expect_turn(join, fiber);
    expect_turn(join_with_deadline, fiber);
    fm_fiber_unref(fiber);
}

static void join_often(void *fiber)
{
    for (int i = 0; i < 3 * BUDGET; i++)
        join(fiber);
}

static struct fm_exit yield_always(void *arg)
{
    while (fm_yield() == 0)
        ;
    return fm_ok(arg);
}

/* Its end has the worker's own stack, which nobody can leave and come back to. */
WORKER_TEST(budget, end_of_a_fiber_without_a_stack_does_not_yield)
{
    struct fm_spawn_options options = { .size = sizeof options,
                                        .stack_bytes = 1 << 20,
                                        .arg_drop = join_often };
    struct fm_fiber *ended = start(return_arg, NULL), *fiber;
    struct fm_fiber *other = start(yield_always, NULL);
    join(ended);
    cr_assert_eq(fm_fiber_spawn(return_arg, ended, &options, &fiber), 0);
    fm__fault_set(FAULT_MAP, 1, true);
    struct fm_exit exit = finish(fiber);
    fm__fault_set(FAULT_MAP, 0, false);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -ENOMEM);
    fm_fiber_stop(other, FM_NEVER, NULL);
    fm_fiber_unref(other);
    fm_fiber_unref(ended);
}

static struct fm_exit be_ready(void *arg)
{
    fm_ready();
    return until_interrupted(arg);
}

static void await_ready(void *fiber)
{
    cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), 0);
}

WORKER_TEST(budget, awaits_of_ready_fibers_yield)
{
    struct fm_fiber *fiber = start(be_ready, NULL);
    await_ready(fiber);
    expect_turn(await_ready, fiber);
    fm_fiber_stop(fiber, FM_NEVER, NULL);
    fm_fiber_unref(fiber);
}

static void lock(void *mutex)
{
    cr_assert_eq(fm_mutex_lock(mutex, FM_NEVER), 0);
    cr_assert_eq(fm_mutex_unlock(mutex), 0);
}

WORKER_TEST(budget, free_mutexes_yield)
{
    struct fm_mutex *mutex;
    cr_assert_eq(fm_mutex_create(&mutex), 0);
    expect_turn(lock, mutex);
    fm_mutex_destroy(mutex);
}

static void read_lock(void *rwlock)
{
    cr_assert_eq(fm_rwlock_lock_read(rwlock, FM_NEVER), 0);
    cr_assert_eq(fm_rwlock_unlock(rwlock), 0);
}

static void write_lock(void *rwlock)
{
    cr_assert_eq(fm_rwlock_lock_write(rwlock, FM_NEVER), 0);
    cr_assert_eq(fm_rwlock_unlock(rwlock), 0);
}

WORKER_TEST(budget, free_read_write_locks_yield)
{
    struct fm_rwlock *rwlock;
    cr_assert_eq(fm_rwlock_create(&rwlock), 0);
    expect_turn(read_lock, rwlock);
    expect_turn(write_lock, rwlock);
    fm_rwlock_destroy(rwlock);
}

static void acquire(void *semaphore)
{
    cr_assert_eq(fm_semaphore_acquire(semaphore, 1, FM_NEVER), 0);
    cr_assert_eq(fm_semaphore_release(semaphore, 1), 0);
}

WORKER_TEST(budget, semaphores_with_permits_yield)
{
    struct fm_semaphore *semaphore;
    cr_assert_eq(fm_semaphore_create(3, &semaphore), 0);
    expect_turn(acquire, semaphore);
    fm_semaphore_destroy(semaphore);
}

static void await(void *deferred)
{
    cr_assert_eq(fm_deferred_await(deferred, FM_NEVER, NULL), 0);
}

WORKER_TEST(budget, completed_deferreds_yield)
{
    struct fm_deferred *deferred;
    cr_assert_eq(fm_deferred_create(&deferred), 0);
    cr_assert_eq(fm_deferred_succeed(deferred, NULL), 0);
    expect_turn(await, deferred);
    fm_deferred_destroy(deferred);
}

static void wait_latch(void *latch)
{
    cr_assert_eq(fm_latch_wait(latch, FM_NEVER), 0);
}

static void wait_group(void *waitgroup)
{
    cr_assert_eq(fm_waitgroup_wait(waitgroup, FM_NEVER), 0);
}

WORKER_TEST(budget, open_latches_and_empty_wait_groups_yield)
{
    struct fm_latch *latch;
    struct fm_waitgroup *waitgroup;
    cr_assert_eq(fm_latch_create(0, &latch), 0);
    cr_assert_eq(fm_waitgroup_create(&waitgroup), 0);
    expect_turn(wait_latch, latch);
    expect_turn(wait_group, waitgroup);
    fm_latch_destroy(latch);
    fm_waitgroup_destroy(waitgroup);
}

static void send_and_receive(void *channel)
{
    cr_assert_eq(fm_channel_send(channel, NULL, FM_NEVER), 0);
    cr_assert_eq(fm_channel_recv(channel, FM_NEVER, NULL), 0);
}

static void choose(void *channel)
{
    struct fm_case cases[] = { fm_case_send(channel, NULL), fm_case_recv(channel) };
    size_t chosen;
    cr_assert_eq(fm_select(cases, 2, FM_NEVER, &chosen), 0);
}

WORKER_TEST(budget, channels_that_are_neither_full_nor_empty_yield)
{
    struct fm_channel *channel;
    cr_assert_eq(fm_channel_create(1000, NULL, &channel), 0);
    expect_turn(send_and_receive, channel);
    cr_assert_eq(fm_channel_send(channel, NULL, FM_NEVER), 0);
    expect_turn(choose, channel);
    while (fm_channel_try_recv(channel, NULL) == 0)
        ;
    fm_channel_destroy(channel);
}

static void write_and_read(void *arg)
{
    int *ends = arg;
    char byte = 'x';
    cr_assert_eq(fm_write(ends[0], &byte, 1, FM_NEVER), 1);
    cr_assert_eq(fm_read(ends[1], &byte, 1, FM_NEVER), 1);
}

static void wait_writable(void *arg)
{
    int *ends = arg;
    cr_assert_geq(fm_io_wait(ends[0], FM_IO_WRITE, FM_NEVER), 0);
}

WORKER_TEST(budget, ready_sockets_yield)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    expect_turn(write_and_read, ends);
    expect_turn(wait_writable, ends);
    fm_close(ends[0]);
    fm_close(ends[1]);
}

static void await_empty(void *map)
{
    cr_assert_eq(fm_map_await_empty(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
}

static void await_children(void *arg)
{
    (void)arg;
    /* the other fiber is no child of this scope */
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
}

static struct fm_exit in_a_scope(void *arg)
{
    other_ran = false;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.flags = FM_SPAWN_DETACHED;
    cr_assert_eq(fm_fiber_spawn(run, NULL, &options, NULL), 0);
    int waits = 0;
    while (!other_ran && waits++ <= 2 * BUDGET)
        await_children(arg);
    cr_assert_leq(waits, BUDGET + 1);
    return fm_ok(NULL);
}

static void take_completion(void *map)
{
    cr_assert_eq(fm_map_next(map, FM_NEVER, NULL), 0);
}

/* T190: a thousand have ended; who takes one after the other lets others run in between. */
WORKER_TEST(budget, completions_that_are_there_yield)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.completions = 1000;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    for (uint64_t i = 0; i < 1000; i++)
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), return_arg, NULL, NULL, NULL), 0);
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    expect_turn(take_completion, map);
    while (fm_map_try_next(map, NULL) == 0)
        ;
    cr_assert_eq(fm_map_next(map, FM_NEVER, NULL), -ENOENT);
    cr_assert_eq(fm_map_completions_dropped(map), 0);
    fm_map_destroy(map);
}

WORKER_TEST(budget, empty_maps_and_scopes_yield)
{
    struct fm_map *map;
    cr_assert_eq(fm_map_create(NULL, &map), 0);
    expect_turn(await_empty, map);
    fm_map_destroy(map);
    finish(start(in_a_scope, NULL));
}

/* As much work as `ms` of a processor does; what else the machine has to do does not count. */
static void compute_ms(int64_t ms)
{
    int64_t end = fm__thread_ran_ns(0) + ms * 1000000;
    while (fm__thread_ran_ns(0) < end)
        ;
}

/* Few waits and much work in between: until another has run, or a new budget would be used up. */
static int compute_and_wait(int most)
{
    struct fm_fiber *ended = start(return_arg, NULL);
    join(ended);
    fm_yield(); /* a new budget */
    other_ran = false;
    struct fm_fiber *other = start(run, NULL);
    int waits = 0;
    while (!other_ran && waits < most) {
        compute_ms(10);
        join(ended);
        waits++;
    }
    int ran_after = other_ran ? waits : -1;
    finish(other);
    fm_fiber_unref(ended);
    return ran_after;
}

WORKER_TEST(budget, a_time_slice_ends_it)
{
    cr_assert_geq(compute_and_wait(BUDGET), 1);
}

/* The order of things there is that of the program, however long they take. */
EXACT_TEST(budget, no_time_slice_ends_it_on_the_virtual_clock)
{
    cr_assert_eq(compute_and_wait(10), -1);
}

/* A budget is there for waits: who suspends has had its turn and begins anew. */
static struct fm_exit hand_back(void *arg)
{
    struct fm_channel **channels = arg;
    while (fm_channel_recv(channels[0], FM_NEVER, NULL) == 0)
        cr_assert_eq(fm_channel_send(channels[1], NULL, FM_NEVER), 0);
    return fm_ok(NULL);
}

WORKER_TEST(budget, a_wait_that_suspends_renews_it)
{
    struct fm_channel *channels[2];
    struct fm_runtime_stats before, after;
    cr_assert_eq(fm_channel_create(0, NULL, &channels[0]), 0);
    cr_assert_eq(fm_channel_create(0, NULL, &channels[1]), 0);
    struct fm_fiber *other = start(hand_back, channels);
    fm_yield();
    fm_runtime_stats(fm_runtime_current(), &before);
    enum { ROUNDS = 1000 };
    for (int i = 0; i < ROUNDS; i++) {
        cr_assert_eq(fm_channel_send(channels[0], NULL, FM_NEVER), 0);
        cr_assert_eq(fm_channel_recv(channels[1], FM_NEVER, NULL), 0);
    }
    fm_runtime_stats(fm_runtime_current(), &after);
    /* two switches a round, and hardly one more */
    cr_assert_leq(after.switches - before.switches, 2 * ROUNDS + 2 * ROUNDS / BUDGET + 8);
    fm_channel_close(channels[0]);
    finish(other);
    fm_channel_destroy(channels[0]);
    fm_channel_destroy(channels[1]);
}

/* ---- a queue that overflows ---- */

enum { YIELDERS = 16, TURNS = 1600 };
static int turns, turns_of[YIELDERS];

static struct fm_exit take_turns(void *arg)
{
    int *mine = arg;
    while (turns < TURNS) {
        turns++;
        ++*mine;
        fm_yield();
    }
    return fm_ok(NULL);
}

static struct fm_exit all_take_turns(void *arg)
{
    for (int i = 0; i < YIELDERS; i++)
        cr_assert_eq(fm_fiber_spawn(take_turns, &turns_of[i], NULL, NULL), 0);
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
    return fm_ok(arg);
}

/* What a full queue has given to the lists has its turn as well. */
TEST(budget, who_yields_passes_nobody_whom_the_queue_had_no_room_for)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    config.worker_count = 1;
    config.queue_size = 4;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, all_take_turns, NULL, NULL), 0);
    for (int i = 0; i < YIELDERS; i++)
        cr_assert_geq(turns_of[i], TURNS / YIELDERS / 5, "%d: %d", i, turns_of[i]);
    fm_runtime_destroy(runtime);
}
