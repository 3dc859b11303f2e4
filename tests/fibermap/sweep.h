/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweep.h - a call whose nth allocation fails, for each n
 */
#ifndef TESTS_FIBERMAP_SWEEP_H
#define TESTS_FIBERMAP_SWEEP_H

#include "runtime/platform/memory.h"
#include "tests/support/test.h"

/*
 * act(arg, armed): one call in a scene of its own. armed(true) just before the call, armed(false) just after it. The result is the
 * call's; act itself checks what it left behind.
 */
static enum fault_kind sweep_kind;
static uint64_t sweep_n;
static bool sweep_for_ever, sweep_hit;

static inline void armed(bool on)
{
    if (!on)
        sweep_hit = fm__fault_hits(sweep_kind) != 0;
    fm__fault_set(sweep_kind, on ? sweep_n : 0, sweep_for_ever);
}

/* Returns how many failures were met. */
static inline unsigned sweep(int (*act)(void *arg), void *arg)
{
    static const enum fault_kind kinds[] = { FAULT_MALLOC, FAULT_MAP };
    unsigned met = 0;
    for (size_t kind = 0; kind < 2; kind++) {
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            sweep_kind = kinds[kind];
            sweep_for_ever = for_ever;
            sweep_hit = true;
            for (sweep_n = 1; sweep_hit; sweep_n++) {
                cr_assert_lt(sweep_n, 1000);
                int r = act(arg);
                cr_assert(r >= 0 || r == -ENOMEM, "kind %zu, call %llu: %d", kind,
                          (unsigned long long)sweep_n, r);
                cr_assert(r >= 0 || sweep_hit, "-ENOMEM out of nothing");
                met += sweep_hit;
            }
        }
    }
    return met;
}

#endif
