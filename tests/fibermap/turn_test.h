/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turn_test.h - bodies that tell in which order they begin and end
 *
 * Each has a letter. It writes that when it begins, and the small one when its last finalizer is done; a dropped argument
 * writes '-' and the letter. "AaBb" is one after the other, "AB" at once.
 */
#ifndef TESTS_FIBERMAP_TURN_TEST_H
#define TESTS_FIBERMAP_TURN_TEST_H

#include <string.h>

#include "tests/support/maps.h"

struct told {
    char text[128];
    _Atomic size_t length;
};

struct act {
    struct told *told;
    char letter;
    int64_t ms;     /* how long the body takes; below 0: until interrupted */
    int64_t end_ms; /* how long its finalizer does */
    int code;       /* of a failure at its end; 0: a success */
};

enum { SLOW = 20 }; /* ms that the old one takes to end */

/* One that is under way and ends slowly. */
#define OLD(told) \
    (struct act) \
    { \
        (told), 'A', -1, SLOW, 0 \
    }

static inline void tell(struct told *told, char c)
{
    told->text[atomic_fetch_add(&told->length, 1)] = c;
}

static inline int act_ends(void *arg, struct fm_exit exit)
{
    struct act *act = arg;
    (void)exit;
    if (act->end_ms)
        fm_sleep_ms(act->end_ms);
    tell(act->told, (char)(act->letter + 'a' - 'A'));
    return 0;
}

static inline struct fm_exit act_body(void *arg)
{
    struct act *act = arg;
    tell(act->told, act->letter);
    fm_defer(act_ends, act);
    int r = act->ms < 0 ? fm_never() : fm_sleep_ms(act->ms);
    return r < 0 ? fm_fail(r) : act->code ? fm_fail(act->code) : fm_ok(act);
}

static inline void act_drop(void *arg)
{
    struct act *act = arg;
    tell(act->told, '-');
    tell(act->told, act->letter);
}

static inline struct fm_map_run_options act_options(uint32_t conflict)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = conflict;
    options.arg_drop = act_drop;
    return options;
}

static inline int act_run_as(struct fm_map *map, struct act *act,
                             struct fm_map_run_options options, struct fm_fiber **ret_fiber)
{
    return fm_map_run(map, fm_key_str("key"), act_body, act, &options, ret_fiber);
}

static inline int act_run(struct fm_map *map, struct act *act, uint32_t conflict,
                          struct fm_fiber **ret_fiber)
{
    return act_run_as(map, act, act_options(conflict), ret_fiber);
}

/* The same, and whoever can begin has begun. */
static inline struct fm_fiber *act_started(struct fm_map *map, struct act *act,
                                           uint32_t conflict, int outcome)
{
    struct fm_fiber *fiber = NULL;
    int r = act_run(map, act, conflict, &fiber);
    cr_assert_eq(r, outcome, "run %c: %d", act->letter, r);
    pass_ms(0);
    return fiber;
}

static inline void told_is(struct told *told, const char *text)
{
    cr_assert_str_eq(told->text, text);
}

#endif
