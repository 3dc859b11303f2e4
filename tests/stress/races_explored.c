/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_explored.c - the races again, one slot a schedule, under an arbiter that decides who
 * goes on
 *
 *     explore_races [--schedules=n] [name ...]      without names: all
 *
 * Fibers and foreign threads take part as in races.c; how many, and which role each has, the
 * schedule's own random numbers say. Some two thousand schedules a race, 120,000 with FM_LONG=1,
 * fewer under sanitizers; FM_SEED=... begins elsewhere. A failing one prints how to repeat it.
 */
#include <pthread.h>

#include "tests/stress/race.h"

enum { SCHEDULES = 2340, SCHEDULES_LONG = 120000, TOGETHER = 40, WORKERS = 3, TIME_JUMPS = 400 };
/* There one costs twenty times as much. */
enum { SANITIZED = 30, SANITIZED_LONG = 3000 };

static struct slot stage;
static const struct race *on_stage;
static struct part parts[RACE_PARTS_MAX];
static struct fm_deferred *left[RACE_PARTS_MAX];

static void take_part(void *arg)
{
    struct part *part = arg;
    on_stage->act(&stage, part);
    fm_deferred_succeed(left[part->index], NULL);
}

static struct fm_exit fiber_takes_part(void *arg)
{
    take_part(arg);
    return fm_ok(NULL);
}

static void make_maps(struct slot *slot)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.runtime = slot->runtime;
    config.stripe_count = 1;
    int r = fm_map_create(&config, &slot->map);
    RACE_CHECK(slot, r == 0, "map_create: %d", r);
    r = fm_map_create(&config, &slot->other);
    RACE_CHECK(slot, r == 0, "map_create: %d", r);
}

/* Two fibers and a thread, or two of each, or a fiber and two threads. */
static void start_all(struct slot *slot, uint64_t random)
{
    uint32_t fibers = 1 + random % 2, threads = 3 - fibers + (fibers == 2 && random % 4 == 3);
    uint64_t turn = random >> 8;

    slot->parts = fibers + threads;
    for (uint32_t i = 0; i < slot->parts; i++) {
        parts[i] = (struct part) { .index = i,
                                   .role = (uint32_t)((i + turn) % slot->parts),
                                   .random = fm_explore_random() | 1,
                                   .runtime = slot->runtime };
        int r = fm_deferred_create(&left[i]);
        RACE_CHECK(slot, r == 0, "deferred_create: %d", r);
    }
    on_stage->begin(slot);
    for (uint32_t i = 0; i < slot->parts; i++) {
        int r = i < fibers
                    ? fm_runtime_spawn(slot->runtime, fiber_takes_part, &parts[i], NULL, NULL)
                    : fm_explore_thread(take_part, &parts[i]);
        RACE_CHECK(slot, r == 0, "a participant does not start: %d", r);
    }
}

static struct fm_exit play(void *arg)
{
    struct slot *slot = &stage;

    *slot = (struct slot) { .round = fm_explore_random() % 1000,
                            .choice = fm_explore_random(),
                            .runtime = fm_runtime_current(),
                            .key = fm_key_str("key"),
                            .key2 = fm_key_str("another key") };
    make_maps(slot);
    start_all(slot, fm_explore_random());
    for (uint32_t i = 0; i < slot->parts; i++) {
        int r = fm_deferred_await(left[i], FM_NEVER, NULL);
        RACE_CHECK(slot, r == 0, "await: %d", r);
    }
    on_stage->end(slot);
    fm_map_destroy(slot->map);
    fm_map_destroy(slot->other);
    for (uint32_t i = 0; i < slot->parts; i++)
        fm_deferred_destroy(left[i]);
    return fm_ok(NULL);
}

/* FM_EXPLORE=name=... is about one exploration: the others need not be run. */
static bool left_out(const char *name)
{
    const char *again = getenv("FM_EXPLORE");
    size_t length = strlen(name);
    return again && !(strncmp(again, name, length) == 0 && again[length] == '=');
}

static int explore(const struct race *race, uint32_t strategy, uint32_t workers,
                   uint64_t schedules)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_explore_options options = FM_EXPLORE_OPTIONS_INIT;
    struct fm_explore_report report;
    char name[64];

    snprintf(name, sizeof name, "%s/%u/%s", race->name, workers,
             strategy == FM_EXPLORE_RANDOM ? "random" : "pct");
    if (left_out(name))
        return 0;
    config.worker_count = workers;
    options.config = &config;
    options.name = name;
    options.strategy = strategy;
    options.schedules = stress_fewer(schedules);
    options.time_jumps = TIME_JUMPS;
    options.together = TOGETHER;
    options.flags = FM_EXPLORE_LIGHT;
    on_stage = race;
    int r = fm_explore(play, NULL, &options, &report);
    if (r == 0)
        fprintf(stderr,
                "%-26s %6" PRIu64 " schedules, %6" PRIu64 " distinct, %" PRIu64 " steps\n",
                name, report.schedules, report.distinct, report.steps);
    else if (r < 0)
        fprintf(stderr, "%s: %s\n", name, fm_strerror(r));
    return r;
}

static uint64_t schedules_wanted;

static int explore_all(const struct race *race)
{
    bool is_long = getenv("FM_LONG");
    uint64_t schedules = is_long ? SCHEDULES_LONG : SCHEDULES;
    int r = 0;

    if (FM_ASAN || FM_TSAN)
        schedules = is_long ? SANITIZED_LONG : SANITIZED;
    if (schedules_wanted)
        schedules = schedules_wanted;
    for (uint32_t workers = 1; workers <= WORKERS && r == 0; workers++) {
        r = explore(race, FM_EXPLORE_RANDOM, workers, schedules * 3 / 5 / WORKERS);
        if (r == 0)
            r = explore(race, FM_EXPLORE_PCT, workers, schedules * 2 / 5 / WORKERS);
    }
    return r;
}

static bool wanted(const char *name, int count, char *names[])
{
    for (int i = 1; i < count; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return count < 2;
}

int main(int count, char *names[])
{
    const struct race *const rooms[] = { watch_races, replace_races, close_races,
                                         exit_races,  reenter_races, wait_races,
                                         flow_races,  restart_races, group_races, share_races,
                                         turn_races,  cut_races,     order_races,
                                         idle_races,    many_races,   late_races,
                                         meet_races };
    int played = 0;

    if (count > 1 && strncmp(names[1], "--schedules=", 12) == 0) {
        schedules_wanted = strtoull(names[1] + 12, NULL, 0);
        names++, count--;
    }
    for (size_t room = 0; room < sizeof rooms / sizeof *rooms; room++) {
        for (const struct race *race = rooms[room]; race->name; race++) {
            if (!wanted(race->name, count, names))
                continue;
            played++;
            if (explore_all(race) != 0)
                return 1;
        }
    }
    if (!played)
        fprintf(stderr, "no race of that name\n");
    return played ? 0 : 2;
}
