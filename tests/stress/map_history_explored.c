/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_history_explored.c - short histories, one a schedule, under an arbiter that decides who goes on
 *
 *     map_history_explored --schedules=200 [--seed=N] >histories.jsonl
 *     history_check histories.jsonl
 *
 * Two or three fibers and a thread call one map of a single stripe, with one key or two, from the first call to the close. Time is the
 * arbiter's, a step each, so the intervals are as narrow as they can be. What a schedule's own numbers say: who takes
 * part, whether the map is watched or retains exits, whether it is closed meanwhile. Histories are told apart by the first of these numbers.
 */
#include <getopt.h>

#include "fm/explore.h"
#include "tests/stress/history.h"

enum { WORKERS = 3, OPERATIONS = 12, STEP_LIMIT = 400000, TOGETHER = 40 };

static struct history h;
static struct fm_deferred *left[CLIENTS_MAX];

static void give_way(void)
{
    fm_explore_wait("another client");
}

static void play(void *arg)
{
    struct client *client = arg;
    history_play(client);
    fm_deferred_succeed(left[client->number], NULL);
}

static struct fm_exit fiber_plays(void *arg)
{
    play(arg);
    return fm_ok(NULL);
}

static struct fm_exit explored(void *arg)
{
    uint64_t draw = fm_explore_random(), random = fm_explore_random() | 1;
    char title[64];

    h = (struct history) { .keys = 1 + draw % 3 / 2,
                           .hot = 1,
                           .clients = 2 + (draw >> 8) % 2,
                           .foreign = 1,
                           .operations = OPERATIONS,
                           .rare = 60,
                           .close = (draw >> 16) % 4 == 0,
                           .watched = (draw >> 24) % 4 == 0,
                           .retains = (draw >> 32) % 3 == 0,
                           .runtime = fm_runtime_current(),
                           .pause = give_way };
    history_init(&h, &random);
    for (uint32_t i = 0; i < h.clients + h.foreign; i++) {
        STRESS_CHECK(fm_deferred_create(&left[i]) == 0, "deferred_create");
        int r = i < h.clients
                    ? fm_runtime_spawn(h.runtime, fiber_plays, &h.client[i], NULL, NULL)
                    : fm_explore_thread(play, &h.client[i]);
        STRESS_CHECK(r == 0, "a client does not start: %d", r);
    }
    for (uint64_t i = h.close ? random % (OPERATIONS * 3) : 0; i--;)
        fm_yield();
    if (h.close)
        history_close(&h);
    for (uint32_t i = 0; i < h.clients + h.foreign; i++)
        STRESS_CHECK(fm_deferred_await(left[i], FM_NEVER, NULL) == 0, "await");
    history_close(&h);
    history_end(&h);
    history_resolve(&h);
    fm_map_destroy(h.map);
    for (uint32_t i = 0; i < h.clients + h.foreign; i++)
        fm_deferred_destroy(left[i]);
    snprintf(title, sizeof title, "schedule 0x%" PRIx64 "%s%s%s", draw, h.close ? " close" : "",
             h.watched ? " watched" : "", h.retains ? " retains" : "");
    history_write(&h, stdout, title);
    history_fini(&h);
    return fm_ok(NULL);
}

static int explore(uint32_t strategy, uint32_t workers, uint64_t schedules, uint64_t seed)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_explore_options options = FM_EXPLORE_OPTIONS_INIT;
    char name[64];

    snprintf(name, sizeof name, "map_history/%u/%s", workers,
             strategy == FM_EXPLORE_RANDOM ? "random" : "pct");
    config.worker_count = workers;
    options.config = &config;
    options.name = name;
    options.strategy = strategy;
    options.schedules = schedules;
    options.seed = seed;
    options.step_limit = STEP_LIMIT;
    options.together = TOGETHER;
    options.flags = FM_EXPLORE_LIGHT;
    return fm_explore(explored, NULL, &options, NULL);
}

int main(int count, char *words[])
{
    static const struct option known[] = { { "schedules", 1, NULL, 'n' },
                                           { "seed", 1, NULL, 's' },
                                           { NULL, 0, NULL, 0 } };
    uint64_t schedules = 300, seed = 1;
    int option, r = 0;

    while ((option = getopt_long(count, words, "", known, NULL)) >= 0) {
        if (option != 'n' && option != 's')
            return 2;
        *(option == 'n' ? &schedules : &seed) = strtoull(optarg, NULL, 0);
    }
    for (uint32_t workers = 1; workers <= WORKERS && r == 0; workers++) {
        r = explore(FM_EXPLORE_RANDOM, workers, schedules * 3 / 5 / WORKERS, seed);
        if (r == 0)
            r = explore(FM_EXPLORE_PCT, workers, schedules * 2 / 5 / WORKERS, seed);
    }
    return r ? 1 : 0;
}
