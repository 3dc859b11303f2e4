/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_sample.c - programs whose traces trace_test.py looks at
 *
 *     trace_sample real|virtual|flood|stall        writes the trace to stdout
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fm/fm.h"

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "trace_sample: %s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

static struct fm_semaphore *turns[2];

static struct fm_exit ping(void *arg)
{
    int me = (int)(intptr_t)arg;
    for (int i = 0; i < 100; i++) {
        CHECK(fm_semaphore_acquire(turns[me], 1, FM_NEVER) == 0);
        CHECK(fm_semaphore_release(turns[!me], 1) == 0);
    }
    return fm_ok(NULL);
}

static struct fm_exit nap(void *arg)
{
    CHECK(fm_sleep_ms(5) == 0);
    return fm_ok(arg);
}

static struct fm_exit yield(void *arg)
{
    for (int i = 0; i < 200; i++)
        fm_yield();
    return fm_ok(arg);
}

static struct fm_fiber *spawn(fm_entry_fn *entry, void *arg, const char *name, uint32_t flags)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.name = name;
    options.flags = flags;
    CHECK(fm_fiber_spawn(entry, arg, &options, &fiber) == 0);
    return fiber;
}

static void finish(struct fm_fiber *fiber)
{
    CHECK(fm_fiber_join(fiber, FM_NEVER, NULL) == 0);
    fm_fiber_unref(fiber);
}

static struct fm_exit mixed(void *arg)
{
    struct fm_map *map;
    struct fm_fiber *keyed, *sleepers[4], *yielders[8];
    CHECK(fm_semaphore_create(1, &turns[0]) == 0);
    CHECK(fm_semaphore_create(1, &turns[1]) == 0);
    CHECK(fm_semaphore_acquire(turns[1], 1, FM_NEVER) == 0);
    CHECK(fm_map_create(NULL, &map) == 0);
    struct fm_fiber *zero = spawn(ping, (void *)0, "ping \"zero\"", 0);
    struct fm_fiber *one = spawn(ping, (void *)1, "ping one", FM_SPAWN_FIRST);
    CHECK(fm_map_run(map, fm_key_str("user\\7"), nap, NULL, NULL, &keyed) == 0);
    for (int i = 0; i < 8; i++)
        yielders[i] = spawn(yield, NULL, NULL, 0);
    for (int i = 0; i < 4; i++)
        sleepers[i] = spawn(nap, NULL, "sleeper", 0);
    finish(zero);
    finish(one);
    finish(keyed);
    for (int i = 0; i < 8; i++)
        finish(yielders[i]);
    for (int i = 0; i < 4; i++)
        finish(sleepers[i]);
    fm_map_destroy(map);
    fm_semaphore_destroy(turns[0]);
    fm_semaphore_destroy(turns[1]);
    return fm_ok(arg);
}

static struct fm_exit flood(void *arg)
{
    for (int i = 0; i < 2000; i++)
        finish(spawn(nap, NULL, NULL, 0));
    return fm_ok(arg);
}

static _Atomic bool stalled;

static void on_stall(void *arg, const struct fm_stall *stall)
{
    (void)arg, (void)stall;
    atomic_store(&stalled, true);
}

static struct fm_exit spin(void *arg)
{
    while (!atomic_load(&stalled))
        ;
    /* its run is recorded when it parks */
    CHECK(fm_sleep_ms(1) == 0);
    return fm_ok(arg);
}

int main(int argc, char **argv)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_trace_options options = FM_TRACE_OPTIONS_INIT;
    struct fm_runtime *runtime;
    fm_entry_fn *body = mixed;
    CHECK(argc == 2);
    config.worker_count = 2;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    config.on_stall = on_stall;
    if (strcmp(argv[1], "virtual") == 0) {
        config.clock = FM_CLOCK_VIRTUAL;
    } else if (strcmp(argv[1], "flood") == 0) {
        body = flood;
        config.clock = FM_CLOCK_VIRTUAL;
        options.events = 60; /* 64 */
    } else if (strcmp(argv[1], "stall") == 0) {
        body = spin;
    }
    CHECK(fm_runtime_create(&config, &runtime) == 0);
    CHECK(fm_trace_start(runtime, &options) == 0);
    struct fm_fiber *fiber;
    CHECK(fm_runtime_spawn(runtime, body, NULL, NULL, &fiber) == 0);
    while (config.clock == FM_CLOCK_VIRTUAL && fm_fiber_poll(fiber, NULL) != 0)
        CHECK(fm_clock_advance_ns(runtime, 1000000) == 0);
    CHECK(fm_fiber_join(fiber, FM_NEVER, NULL) == 0);
    fm_fiber_unref(fiber);
    /* quiet again: the last runs are recorded */
    CHECK(config.clock != FM_CLOCK_VIRTUAL || fm_clock_advance_ns(runtime, 1) == 0);
    CHECK(fm_trace_stop(runtime, STDOUT_FILENO) == 0);
    fm_runtime_destroy(runtime);
    return 0;
}
