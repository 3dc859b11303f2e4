/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit_test.h - maps with so many places, or so many starts in a tenth of a second
 */
#ifndef TESTS_FIBERMAP_LIMIT_TEST_H
#define TESTS_FIBERMAP_LIMIT_TEST_H

#include "tests/fibermap/map_test.h"

static inline struct fm_map *make_limited(uint32_t max_live, uint32_t max_starts,
                                          uint32_t on_excess)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.max_live = max_live;
    config.max_starts = max_starts;
    config.interval_ns = max_starts ? 100 * 1000000 : 0;
    config.on_excess = on_excess;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    return map;
}

static inline int try_run(struct fm_map *map, const char *key)
{
    return fm_map_run(map, KEY(key), until_interrupted, NULL, NULL, NULL);
}

#endif
