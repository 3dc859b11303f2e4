/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rounds.c - short histories on real workers, one after the other, each judged at once
 *
 *     map_rounds --calls=10000000 --workers=4 [--seed=N]
 *
 * What scene.h says, with the calls that tests/stress/map_history cannot judge key by key:
 * moves, runs of two keys, snapshots of one instant. The times are those of the clock. A round
 * that fails is shown whole; it depends on the machine's schedule, so nothing repeats it.
 */
#include <getopt.h>
#include <sched.h>

#include "tests/fuzz/map/scene.h"
#include "tests/support/stress.h"

enum { BYTES = 2 + 3 * CALLS_MAX };

static void give_way(void)
{
    sched_yield();
}

/* The number of calls, or 0 with *undecided counted. */
static uint64_t play_round(struct fm_runtime *runtime, uint64_t *random, uint64_t *undecided)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    uint8_t bytes[BYTES];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(stress_random(random) >> 32);
    bytes[0] = 2; /* all clients; in half of the rounds as many calls as may be */
    if (bytes[1] & 1)
        bytes[1] = CALLS_MAX;
    scene_read(bytes, sizeof bytes);
    scene.runtime = config.runtime = runtime;
    scene.pause = give_way;
    scene.real_from_ns = fm_now_ns();
    config.stripe_count = 2;
    int r = fm_map_create(&config, &scene.map);
    FUZZ_CHECK(r == 0, "map_create: %d", r);
    scene_play();
    fm_map_destroy(scene.map);
    *undecided += scene_judge() == UNDECIDED;
    return scene.call_count;
}

int main(int count, char *words[])
{
    static const struct option known[] = { { "calls", 1, NULL, 'n' },
                                           { "workers", 1, NULL, 'w' },
                                           { "seed", 1, NULL, 's' },
                                           { NULL, 0, NULL, 0 } };
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    uint64_t wanted = 10000, calls = 0, rounds = 0, undecided = 0;
    int option;

    config.worker_count = 2;
    while ((option = getopt_long(count, words, "", known, NULL)) >= 0) {
        switch (option) {
        case 'n': wanted = strtoull(optarg, NULL, 0); break;
        case 'w': config.worker_count = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 's': setenv("FM_SEED", optarg, 1); break;
        default: return 2;
        }
    }
    uint64_t random = stress_seed();
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    FUZZ_CHECK(fm_runtime_create(&config, &runtime) == 0, "runtime_create");
    for (; calls < wanted; rounds++)
        calls += play_round(runtime, &random, &undecided);
    fm_runtime_destroy(runtime);
    printf("%" PRIu64 " calls in %" PRIu64 " rounds are linearizable, %" PRIu64
           " rounds undecided\n",
           calls, rounds, undecided);
    return undecided ? 1 : 0;
}
