/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_resize.c - workers come and go under everything at once (F16, X20)
 *
 * While fibers spawn and join, sleep, hand bytes through sockets, replace each other in a map and
 * are pinned for a while, the number of workers goes up and down between 1 and 8, to random
 * numbers. Each load counts what it did and waited for; whatever a worker that leaves held in
 * its hands - a task, a timer, the poller, an inbox - would be missing here, or hang.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fm/fm.h"
#include "tests/support/stress.h"

enum { SPAWNERS = 4, SLEEPERS = 32, SOCKETS = 4, MAPPERS = 4, PINNED = 4, KEYS = 16, MOST = 8 };

static _Atomic bool stop;
static _Atomic uint64_t leaves, sleeps, bytes, runs, replaced, ended;
static struct fm_map *map;

static bool goes_on(void)
{
    return !atomic_load_explicit(&stop, memory_order_relaxed);
}

static struct fm_fiber *spawn(fm_entry_fn *entry, void *arg)
{
    struct fm_fiber *fiber;
    int r = fm_fiber_spawn(entry, arg, NULL, &fiber);
    STRESS_CHECK(r == 0, "%d", r);
    return fiber;
}

static void finish(struct fm_fiber *fiber)
{
    int r = fm_fiber_join(fiber, FM_NEVER, NULL);
    STRESS_CHECK(r == 0, "%d", r);
    fm_fiber_unref(fiber);
}

/* A tree of spawns and joins; every leaf is counted. */
static struct fm_exit tree(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    if (depth == 0) {
        atomic_fetch_add(&leaves, 1);
        return fm_ok(NULL);
    }
    struct fm_fiber *left = spawn(tree, (void *)(depth - 1));
    struct fm_fiber *right = spawn(tree, (void *)(depth - 1));
    finish(left);
    finish(right);
    return fm_ok(NULL);
}

static struct fm_exit spawn_trees(void *arg)
{
    enum { DEPTH = 6 };
    uint64_t *trees = arg;
    while (goes_on()) {
        finish(spawn(tree, (void *)DEPTH));
        *trees += 1;
    }
    return fm_ok(NULL);
}

static struct fm_exit sleep_often(void *arg)
{
    uint64_t random = (stress_seed() ^ (uintptr_t)arg) | 1;
    while (goes_on()) {
        int64_t ns = (int64_t)(stress_random(&random) % 3000000), before = fm_now_ns();
        STRESS_CHECK(fm_sleep_ns(ns) == 0, "a sleep was cut short");
        STRESS_CHECK(fm_now_ns() - before >= ns, "woken early");
        atomic_fetch_add(&sleeps, 1);
    }
    return fm_ok(NULL);
}

struct pair {
    int ends[2];
    uint64_t sent, received;
};

static struct fm_exit send_bytes(void *arg)
{
    struct pair *pair = arg;
    for (; goes_on(); pair->sent++) {
        unsigned char byte = (unsigned char)pair->sent;
        STRESS_CHECK(fm_write(pair->ends[0], &byte, 1, FM_NEVER) == 1, "write");
        if (pair->sent % 8 == 0)
            fm_sleep_ns(20000); /* so that the receiver waits */
    }
    fm_close(pair->ends[0]);
    return fm_ok(NULL);
}

static struct fm_exit receive_bytes(void *arg)
{
    struct pair *pair = arg;
    unsigned char byte;
    ssize_t n;
    while ((n = fm_read(pair->ends[1], &byte, 1, FM_NEVER)) == 1) {
        STRESS_CHECK(byte == (unsigned char)pair->received, "byte %" PRIu64, pair->received);
        pair->received++;
    }
    STRESS_CHECK(n == 0, "read %zd", n);
    fm_close(pair->ends[1]);
    atomic_fetch_add(&bytes, pair->received);
    return fm_ok(NULL);
}

static struct fm_exit keyed(void *arg)
{
    fm_sleep_ns((int64_t)(uintptr_t)arg % 200000);
    atomic_fetch_add(&ended, 1);
    return fm_ok(NULL);
}

static void never_ran(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ended, 1);
}

static struct fm_exit replace_often(void *arg)
{
    uint64_t random = (stress_seed() ^ (uintptr_t)arg * 77) | 1;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.arg_drop = never_ran;
    while (goes_on()) {
        uint64_t choice = stress_random(&random);
        int r = fm_map_run(map, FM_KEY_U64(choice % KEYS), keyed,
                           (void *)(uintptr_t)(choice >> 8), &options, NULL);
        STRESS_CHECK(r == 0 || r == FM_MAP_REPLACED, "%d", r);
        atomic_fetch_add(&runs, 1);
        atomic_fetch_add(&replaced, r == FM_MAP_REPLACED);
        fm_yield();
    }
    return fm_ok(NULL);
}

static struct fm_exit pin_often(void *arg)
{
    while (goes_on()) {
        fm_pin();
        for (int i = 0; i < 20; i++)
            i % 4 ? fm_yield() : fm_sleep_ns(50000);
        fm_unpin();
        fm_yield();
    }
    return fm_ok(arg);
}

static uint64_t trees[SPAWNERS];
static struct pair pairs[SOCKETS];

static struct fm_exit load(void *arg)
{
    struct fm_fiber *fibers[SPAWNERS + SLEEPERS + 2 * SOCKETS + MAPPERS + PINNED];
    int count = 0;
    STRESS_CHECK(fm_map_create(NULL, &map) == 0, "map");
    for (int i = 0; i < SPAWNERS; i++)
        fibers[count++] = spawn(spawn_trees, &trees[i]);
    for (intptr_t i = 0; i < SLEEPERS; i++)
        fibers[count++] = spawn(sleep_often, (void *)(i + 1));
    for (int i = 0; i < SOCKETS; i++) {
        STRESS_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i].ends) == 0,
                     "%s", strerror(errno));
        fibers[count++] = spawn(send_bytes, &pairs[i]);
        fibers[count++] = spawn(receive_bytes, &pairs[i]);
    }
    for (intptr_t i = 0; i < MAPPERS; i++)
        fibers[count++] = spawn(replace_often, (void *)(i + 1));
    for (int i = 0; i < PINNED; i++)
        fibers[count++] = spawn(pin_often, NULL);
    for (int i = 0; i < count; i++)
        finish(fibers[i]);
    STRESS_CHECK(fm_map_await_quiescent(map, FM_NEVER) == 0, "map");
    fm_map_destroy(map);
    return fm_ok(arg);
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    uint64_t random = stress_seed(), rounds = stress_rounds(1500), grown = 0, all_trees = 0;
    struct fm_runtime_stats stats;
    struct fm_runtime *runtime;
    struct fm_fiber *fiber;

    config.worker_count = 2;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    STRESS_CHECK(fm_runtime_create(&config, &runtime) == 0, "runtime");
    STRESS_CHECK(fm_runtime_spawn(runtime, load, NULL, NULL, &fiber) == 0, "spawn");
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t choice = stress_random(&random);
        /* mostly small steps, now and then all the way */
        uint32_t count = 1 + (uint32_t)(choice % (choice >> 8 & 3 ? 3 : MOST));
        struct timespec pause = { .tv_nsec = (long)(choice >> 16 & 0xfffff) };
        STRESS_CHECK(fm_runtime_resize(runtime, count) == 0, "resize to %u", count);
        fm_runtime_stats(runtime, &stats);
        STRESS_CHECK(stats.worker_count == count, "%u, not %u", stats.worker_count, count);
        grown += count > 2;
        if (choice >> 40 & 1)
            nanosleep(&pause, NULL); /* up to 1 ms: the load runs on as many workers */
    }
    atomic_store(&stop, true);
    STRESS_CHECK(fm_fiber_join(fiber, FM_NEVER, NULL) == 0, "join");
    fm_fiber_unref(fiber);
    for (int i = 0; i < SPAWNERS; i++)
        all_trees += trees[i];
    STRESS_CHECK(atomic_load(&leaves) == 64 * all_trees,
                 "%" PRIu64 " leaves of %" PRIu64 " trees", atomic_load(&leaves), all_trees);
    for (int i = 0; i < SOCKETS; i++)
        STRESS_CHECK(pairs[i].sent == pairs[i].received, "%" PRIu64 " of %" PRIu64 " bytes",
                     pairs[i].received, pairs[i].sent);
    STRESS_CHECK(atomic_load(&ended) == atomic_load(&runs), "%" PRIu64 " of %" PRIu64 " ended",
                 atomic_load(&ended), atomic_load(&runs));
    STRESS_CHECK(atomic_load(&sleeps) && grown, "nothing happened");
    STRESS_CHECK(fm_runtime_shutdown(runtime, FM_NEVER) == 0, "shutdown");
    fm_runtime_stats(runtime, &stats);
    STRESS_CHECK(stats.fibers_live == 0 && stats.timers_armed == 0, "left behind");
    fm_runtime_destroy(runtime);
    printf("%" PRIu64 " resizes; %" PRIu64 " leaves, %" PRIu64 " sleeps, %" PRIu64
           " bytes, %" PRIu64 " runs of which %" PRIu64 " replaced another\n",
           rounds, atomic_load(&leaves), atomic_load(&sleeps), atomic_load(&bytes),
           atomic_load(&runs), atomic_load(&replaced));
    return 0;
}
