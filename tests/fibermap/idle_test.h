/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle_test.h - runs with an idle time, and when they ended
 */
#ifndef TESTS_FIBERMAP_IDLE_TEST_H
#define TESTS_FIBERMAP_IDLE_TEST_H

#include "tests/fibermap/map_test.h"

#define MS INT64_C(1000000)

/* Of one run: how often its body began, and when it was interrupted. */
struct stay_of {
    int begun;
    int64_t begun_ms, ended_ms;
    int64_t ends_ms; /* how long it takes to end */
};

static inline int note_end(void *arg, struct fm_exit exit)
{
    struct stay_of *stay = arg;
    stay->ended_ms = now_ms();
    if (stay->ends_ms)
        fm_sleep_ms(stay->ends_ms);
    return 0;
}

static inline struct fm_exit stay_body(void *arg)
{
    struct stay_of *stay = arg;
    stay->begun++;
    stay->begun_ms = now_ms();
    fm_defer(note_end, stay);
    return fm_fail(fm_never());
}

static inline struct fm_map_run_options idle_options(uint32_t conflict, int64_t ttl_ms)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = conflict;
    options.idle_ttl_ns = ttl_ms * MS;
    return options;
}

static inline int run_stay(struct fm_map *map, const char *key, struct stay_of *stay,
                           uint32_t conflict, int64_t ttl_ms, struct fm_fiber **ret_fiber)
{
    struct fm_map_run_options options = idle_options(conflict, ttl_ms);
    return fm_map_run(map, KEY(key), stay_body, stay, &options, ret_fiber);
}

static inline struct fm_fiber *run_idle(struct fm_map *map, const char *key,
                                        struct stay_of *stay, int64_t ttl_ms)
{
    struct fm_fiber *fiber = NULL;
    *stay = (struct stay_of) { .ends_ms = stay->ends_ms };
    cr_assert_geq(run_stay(map, key, stay, FM_REPLACE, ttl_ms, &fiber), 0);
    settle();
    return fiber;
}

/* Nothing runs but the caller, and nobody sleeps. */
static inline void expect_nothing_left(void)
{
    struct fm_runtime_stats stats;
    settle();
    cr_assert_eq(fm_runtime_stats(fm_runtime_current(), &stats), 0);
    cr_assert_eq(stats.fibers_live, 1);
    cr_assert_eq(stats.timers_armed, 0);
}

#endif
