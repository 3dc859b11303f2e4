/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edge_test.h - what the rooms of the edges share: a fiber that ends slowly and says so, and
 * fibers that call a map and wait
 */
#ifndef TESTS_FIBERMAP_EDGE_TEST_H
#define TESTS_FIBERMAP_EDGE_TEST_H

#include <stdio.h>
#include <string.h>

#include "tests/support/maps.h"

/* What bodies have in common: each test is a process of its own. */
static _Atomic int counter;
static struct fm_map *the_map;
static char trace[256];

static inline int note_old_fin(void *ms, struct fm_exit exit)
{
    (void)exit;
    fm_sleep_ms((intptr_t)ms);
    strcat(trace, "old fin;");
    return 0;
}

static inline struct fm_exit old_body(void *ms)
{
    fm_defer(note_old_fin, ms);
    fm_ready();
    return fm_fail(fm_never());
}

static inline struct fm_exit close_map(void *map)
{
    fm_ready();
    return fm_fail(fm_map_close(map, NULL, NULL));
}

static inline struct fm_exit remove_k(void *map)
{
    fm_ready();
    return fm_fail(fm_map_remove(map, fm_key_str("k"), FM_NEVER));
}

static inline struct fm_exit await_empty_of(void *map)
{
    fm_ready();
    return fm_fail(fm_map_await_empty(map, FM_NEVER));
}

#endif
