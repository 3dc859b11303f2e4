/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_map.c - any calls on a map, under any schedule: are the answers those of a map?
 *
 * The bytes are a scene, and behind it the schedule, which libfibermap-explore's arbiter reads
 * (runtime/explore/strategy.c). The times of the calls are numbers from one counter, since one
 * thread runs at a time: the intervals are exact. A deadlock and too many steps stop the
 * program, as does whatever a sanitizer sees.
 */
#include "runtime/explore/platform.h"
#include "runtime/explore/seeded.h"
#include "tests/fuzz/map/scene.h"

enum { STEP_LIMIT = 400000, WORKERS_MAX = 3 };

static uint64_t undecided;

uint64_t fuzz_undecided(void)
{
    return undecided;
}

static void give_way(void)
{
    fm_explore_wait("an end");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static bool stays;
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_map_config map_config = FM_MAP_CONFIG_INIT;

    if (!stays)
        fm__turn_stay();
    stays = true;
    size_t at = scene_read(bytes, size);
    fm__seeded_spell(bytes + at, size - at, STEP_LIMIT);
    config.worker_count = 1 + (size ? bytes[0] / CLIENTS % WORKERS_MAX : 0);
    config.seed = 1;
    config.flags = FM_RUNTIME_SEEDED | FM_RUNTIME_NO_STALL_REPORT;
    int r = fm_runtime_create(&config, &scene.runtime);
    FUZZ_CHECK(r == 0, "runtime_create: %d", r);
    map_config.runtime = scene.runtime;
    map_config.stripe_count = 2; /* some moves are within one */
    r = fm_map_create(&map_config, &scene.map);
    FUZZ_CHECK(r == 0, "map_create: %d", r);
    scene.pause = give_way;
    scene_play();
    fm_map_destroy(scene.map);
    undecided += scene_judge() == UNDECIDED;
    fm_runtime_destroy(scene.runtime);
    return 0;
}
