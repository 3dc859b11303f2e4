/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gdb_sample.c - fibers in known places, for gdb_test.py to find
 *
 *     gdb_sample [abort]       calls look_here() when all are there; and there ends with a core
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "fm/fm.h"

static _Atomic bool spinning, stop;

void look_here(void);

__attribute__((noinline)) void look_here(void)
{
    __asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) int sleep_deep(int depth)
{
    int r = depth > 0 ? sleep_deep(depth - 1) : fm_never();
    __asm__ volatile("" : : "r"(depth) : "memory"); /* the call is not the last thing it does */
    return r;
}

static struct fm_exit sleeper(void *arg)
{
    fm_ready();
    sleep_deep(3);
    return fm_ok(arg);
}

static __attribute__((noinline)) void spin_deep(void)
{
    atomic_store(&spinning, true);
    while (!atomic_load(&stop))
        ;
}

static struct fm_exit spinner(void *arg)
{
    spin_deep();
    return fm_ok(arg);
}

static void spawn(struct fm_runtime *runtime, fm_entry_fn *entry, const char *name,
                  struct fm_fiber **ret_fiber)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.name = name;
    if (fm_runtime_spawn(runtime, entry, NULL, &options, ret_fiber) != 0)
        abort();
}

/* Keys of all shapes: one word, a last word that overlaps, what an entry does not hold itself. */
static const char *const keys[] = {
    "key-1", "user-1234\x01", "a key of more bytes than an entry holds: it stands in a blob, 60"
};

static void run_keyed(struct fm_map *map)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct fm_fiber *fiber;
        if (fm_map_run(map, fm_key_str(keys[i]), sleeper, NULL, NULL, &fiber) != 0)
            abort();
        fm_fiber_await_ready(fiber, FM_NEVER);
        fm_fiber_unref(fiber);
    }
}

int main(int argc, char **argv)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_map_config map_config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    struct fm_fiber *asleep, *awake;
    config.worker_count = 2;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    if (fm_runtime_create(&config, &runtime) != 0)
        return 1;
    map_config.runtime = runtime;
    if (fm_map_create(&map_config, &map) != 0)
        return 1;
    run_keyed(map);
    spawn(runtime, sleeper, "sleeper", &asleep);
    fm_fiber_await_ready(asleep, FM_NEVER);
    spawn(runtime, spinner, "spinner", &awake);
    /* the sleeper parks while the spinner is started; both are where they stay */
    struct fm_runtime_stats stats;
    do
        fm_runtime_stats(runtime, &stats);
    while (!atomic_load(&spinning) || stats.workers_awake != 1);
    look_here();
    if (argc > 1)
        abort();
    (void)argv;
    atomic_store(&stop, true);
    fm_fiber_join(awake, FM_NEVER, NULL);
    fm_fiber_stop(asleep, FM_NEVER, NULL);
    fm_fiber_unref(asleep);
    fm_fiber_unref(awake);
    fm_map_destroy(map);
    fm_runtime_destroy(runtime);
    return 0;
}
