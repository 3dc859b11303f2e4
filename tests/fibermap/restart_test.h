/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restart_test.h - a lineage under the key "key", and what has been seen of its bodies
 */
#ifndef TESTS_FIBERMAP_RESTART_TEST_H
#define TESTS_FIBERMAP_RESTART_TEST_H

#include "tests/support/maps.h"

#define MS INT64_C(1000000)

/* What the bodies of one lineage do, and what has been seen of them. */
struct life {
    _Atomic int bodies, inside, dropped, values;
    int64_t began_ms[32];
    int64_t lives_ms;      /* each, in front of its end; 0: ends at once */
    struct fm_exit end[8]; /* of the first ones; the last of these goes on and on */
    int ends;
};

static inline struct fm_exit live(void *arg)
{
    struct life *life = arg;
    int n = atomic_fetch_add(&life->bodies, 1);
    if (n < 32)
        life->began_ms[n] = now_ms();
    cr_assert_eq(atomic_fetch_add(&life->inside, 1), 0, "two incarnations at once");
    int r = life->lives_ms ? fm_sleep_ms(life->lives_ms) : 0;
    atomic_fetch_sub(&life->inside, 1);
    return r < 0 ? fm_fail(r) : life->end[n < life->ends ? n : life->ends - 1];
}

static inline struct life failing(void)
{
    return (struct life) { .end = { fm_fail(-EIO) }, .ends = 1 };
}

static inline struct fm_exit live_for_ever(void *arg)
{
    struct life *life = arg;
    atomic_fetch_add(&life->bodies, 1);
    return fm_fail(fm_never());
}

static inline void drop_arg(void *arg)
{
    atomic_fetch_add(&((struct life *)arg)->dropped, 1);
}

static inline void drop_value(void *arg)
{
    atomic_fetch_add(&((struct life *)arg)->values, 1);
}

static inline struct fm_restart policy(uint32_t type, int64_t delay_ms)
{
    struct fm_restart restart = FM_RESTART_INIT;
    restart.type = type;
    restart.schedule = delay_ms ? fm_schedule_spaced_ns(delay_ms * MS) : NULL;
    return restart;
}

/* Run under the key "key"; the policy's schedule is given away. */
static inline struct fm_fiber *run_again(struct fm_map *map, fm_entry_fn *entry,
                                         struct life *life, struct fm_restart restart)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = NULL;
    options.restart = &restart;
    options.arg_drop = drop_arg;
    options.value_drop = drop_value;
    int r = fm_map_run(map, fm_key_str("key"), entry, life, &options, &fiber);
    cr_assert(r == 0 || r == FM_MAP_REPLACED, "run: %d", r);
    fm_schedule_unref(restart.schedule);
    return fiber;
}

static inline bool has(struct fm_map *map)
{
    return fm_map_has(map, fm_key_str("key"));
}

static inline int remove_key(struct fm_map *map)
{
    return fm_map_remove(map, fm_key_str("key"), FM_NEVER);
}

#endif
