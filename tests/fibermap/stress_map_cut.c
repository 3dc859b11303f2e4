/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_map_cut.c - a consistent snapshot is one instant (X10)
 *
 * A chain of fibers, each of which ends only after the one before it has ended: so at every instant those that are present are k .. last
 * for some k. A thread takes consistent snapshots meanwhile and wants to see just that; and k never falls from one snapshot to the
 * next. Another fiber replaces one key again and again: each snapshot shows it once, and never an older fiber than the last did.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <fm/fm.h>

#include "tests/support/stress.h"

enum { CHAIN = 64 };

struct round {
    struct fm_map *map;
    struct fm_fiber *fibers[CHAIN];
    struct fm_fiber *replacer;
    _Atomic bool go, done;
};

static struct round *round_now;
static uint64_t snapshots;

static struct fm_exit link_of_chain(void *arg)
{
    struct round *round = round_now;
    intptr_t i = (intptr_t)arg;
    if (i == 0) {
        while (!atomic_load(&round->go))
            fm_yield();
        return fm_ok(NULL);
    }
    int r = fm_fiber_join(round->fibers[i - 1], FM_NEVER, NULL);
    STRESS_CHECK(r == 0, "join: %d", r);
    return fm_ok(NULL);
}

static struct fm_exit never(void *arg)
{
    return fm_fail(fm_never());
}

static struct fm_exit replace_again_and_again(void *arg)
{
    struct round *round = arg;
    while (!atomic_load(&round->done)) {
        int r = fm_map_run(round->map, fm_key_str("one key"), never, NULL, NULL, NULL);
        STRESS_CHECK(r == FM_MAP_REPLACED, "run: %d", r);
        fm_yield();
    }
    return fm_ok(NULL);
}

static void *take_snapshots(void *arg)
{
    struct round *round = arg;
    intptr_t first_before = 0;

    while (!atomic_load(&round->done)) {
        struct fm_snapshot *snapshot;
        bool there[CHAIN] = { false };
        int replaced = 0;
        int r = fm_map_snapshot(round->map, FM_SNAPSHOT_CONSISTENT, &snapshot);
        STRESS_CHECK(r == 0, "snapshot: %d", r);
        for (size_t i = 0; i < fm_snapshot_count(snapshot); i++) {
            const struct fm_member *member = fm_snapshot_at(snapshot, i);
            uint64_t n;
            if (member->key.len != sizeof n) {
                replaced++;
                continue;
            }
            memcpy(&n, member->key.data, sizeof n);
            STRESS_CHECK(n < CHAIN && !there[n], "key %" PRIu64 " twice", n);
            there[n] = true;
        }
        STRESS_CHECK(replaced == 1, "the replaced key %d times", replaced);
        intptr_t first = 0;
        while (first < CHAIN && !there[first])
            first++;
        for (intptr_t i = first; i < CHAIN; i++)
            STRESS_CHECK(there[i], "%ld is there and %ld is not", (long)first, (long)i);
        STRESS_CHECK(first >= first_before, "%ld came back", (long)first);
        first_before = first;
        fm_snapshot_free(snapshot);
        snapshots++;
    }
    return NULL;
}

static struct fm_exit rounds(void *arg)
{
    uint64_t count = stress_rounds(2000), random = stress_seed();

    for (uint64_t n = 0; n < count; n++) {
        struct round round = { 0 };
        struct fm_map_config config = FM_MAP_CONFIG_INIT;
        pthread_t thread;
        config.stripe_count = 8;
        round_now = &round;
        int r = fm_map_create(&config, &round.map);
        STRESS_CHECK(r == 0, "map: %d", r);
        r = fm_map_run(round.map, fm_key_str("one key"), never, NULL, NULL, NULL);
        STRESS_CHECK(r == 0, "run: %d", r);
        for (intptr_t i = 0; i < CHAIN; i++) {
            r = fm_map_run(round.map, FM_KEY_U64((uint64_t)i), link_of_chain, (void *)i, NULL,
                           &round.fibers[i]);
            STRESS_CHECK(r == 0, "run: %d", r);
        }
        r = fm_fiber_spawn(replace_again_and_again, &round, NULL, &round.replacer);
        STRESS_CHECK(r == 0, "spawn: %d", r);
        pthread_create(&thread, NULL, take_snapshots, &round);
        stress_jitter(&random);
        atomic_store(&round.go, true);
        r = fm_fiber_join(round.fibers[CHAIN - 1], FM_NEVER, NULL);
        STRESS_CHECK(r == 0, "join: %d", r);
        atomic_store(&round.done, true);
        fm_fiber_join(round.replacer, FM_NEVER, NULL);
        pthread_join(thread, NULL);
        fm_fiber_unref(round.replacer);
        for (intptr_t i = 0; i < CHAIN; i++)
            fm_fiber_unref(round.fibers[i]);
        fm_map_destroy(round.map);
    }
    return fm_ok(NULL);
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;

    config.worker_count = 2;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    int r = fm_runtime_create(&config, &runtime);
    STRESS_CHECK(r == 0, "runtime: %d", r);
    fm_runtime_run(runtime, rounds, NULL, NULL);
    fm_runtime_destroy(runtime);
    printf("%" PRIu64 " snapshots\n", snapshots);
    return 0;
}
