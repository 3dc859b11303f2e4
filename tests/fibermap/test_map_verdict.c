/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_verdict.c - which interruptions complete fm_map_join, and how many can wait for the map
 *
 * Under FM_MAP_PROPAGATE_INTERRUPT an interruption counts, but never one that the map has issued.
 */
#include "tests/fibermap/map_test.h"

/* ---- who issued it ---- */

static struct fm_map *make_one_idle(void)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.idle_ttl_ns = INT64_C(50000000);
    cr_assert_eq(fm_map_create(&config, &map), 0);
    return map;
}

static void by_replace(struct fm_map *map)
{
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, NULL),
                 FM_MAP_REPLACED);
}

static void by_remove(struct fm_map *map)
{
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
}

static void by_interrupt(struct fm_map *map)
{
    cr_assert_eq(fm_map_interrupt(map, KEY("a")), 0);
}

static void by_clear(struct fm_map *map)
{
    cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
}

static void by_idle(struct fm_map *map)
{
    pass_ms(50);
}

static const struct {
    void (*end)(struct fm_map *map);
    uint8_t reason;
} issued[] = {
    { by_replace, FM_BY_REPLACE }, { by_remove, FM_BY_REMOVE }, { by_interrupt, FM_BY_REMOVE },
    { by_clear, FM_BY_CLEAR },     { by_idle, FM_BY_IDLE },
};

EXACT_TEST(map_verdict, an_interruption_that_the_map_issued_is_none)
{
    for (size_t i = 0; i < sizeof issued / sizeof *issued; i++) {
        struct fm_map *map = make_one_idle();
        struct fm_map_run_options options = flags(FM_MAP_PROPAGATE_INTERRUPT);
        struct fm_fiber *fiber;
        cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, &fiber), 0);
        settle();
        issued[i].end(map);
        settle();
        expect_interruption(finish(fiber), issued[i].reason);
        cr_assert_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT, "%s",
                     fm_reason_name(issued[i].reason));
        fm_map_destroy(map);
    }
}

WORKER_TEST(map_verdict, a_stop_of_its_group_is_none)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options options = flags(FM_MAP_PROPAGATE_INTERRUPT);
    struct fm_map_group *group;
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_group_create(map, NULL, &group), 0);
    options.group = group;
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, &fiber), 0);
    settle();
    cr_assert_eq(fm_map_group_stop(group, FM_NEVER), 0);
    expect_interruption(finish(fiber), FM_BY_GROUP);
    cr_assert_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    fm_map_group_unref(group);
    fm_map_destroy(map);
}

WORKER_TEST(map_verdict, that_its_last_waiter_has_gone_is_none)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options options = flags(FM_MAP_PROPAGATE_INTERRUPT |
                                              FM_MAP_STOP_WITH_LAST_WAITER);
    cr_assert_eq(fm_map_run_wait(map, KEY("a"), until_interrupted, NULL, &options, 0, NULL),
                 -ETIMEDOUT);
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_join(map, 0, NULL), -ETIMEDOUT);
    fm_map_destroy(map);
}

WORKER_TEST(map_verdict, an_interruption_from_outside_is_one_if_it_propagates)
{
    for (uint32_t bits = 0; bits <= FM_MAP_PROPAGATE_INTERRUPT; bits++) {
        struct fm_map *map = make_map();
        struct fm_map_run_options options = flags(bits);
        struct fm_fiber *fiber;
        struct fm_exit exit;
        cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, &fiber), 0);
        settle();
        cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
        fm_fiber_unref(fiber);
        cr_assert_eq(fm_map_join(map, 0, &exit), bits ? 0 : -ETIMEDOUT);
        if (bits)
            expect_interruption(exit, FM_BY_USER);
        fm_map_destroy(map);
    }
}

/* ---- many who wait ---- */

enum { MANY = 100, KINDS = 4 };

struct waiters {
    struct fm_map *map;
    int kind;
    int returned;
};

static struct fm_exit wait_for_it(void *arg)
{
    struct waiters *waiters = arg;
    int r = waiters->kind == 0   ? fm_map_await_empty(waiters->map, FM_NEVER)
            : waiters->kind == 1 ? fm_map_await_quiescent(waiters->map, FM_NEVER)
            : waiters->kind == 2 ? fm_map_join(waiters->map, FM_NEVER, NULL)
                                 : fm_map_next(waiters->map, FM_NEVER, NULL);
    waiters->returned++;
    return fm_fail(r);
}

/* More than are woken in one hold of the map's lock. */
WORKER_TEST(map_verdict, all_of_many_who_wait_return)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct fm_map_config config = FM_MAP_CONFIG_INIT;
        struct waiters waiters = { .kind = kind };
        struct fm_fiber *fibers[MANY];
        config.completions = 4;
        cr_assert_eq(fm_map_create(&config, &waiters.map), 0);
        cr_assert_eq(fm_map_run(waiters.map, KEY("a"), until_interrupted, NULL, NULL, NULL), 0);
        for (int i = 0; i < MANY; i++)
            fibers[i] = start(wait_for_it, &waiters);
        settle();
        cr_assert_eq(waiters.returned, 0);
        if (kind == 2)
            cr_assert_eq(fm_map_close(waiters.map, NULL, NULL), 0);
        else
            cr_assert_eq(fm_map_remove(waiters.map, KEY("a"), FM_NEVER), 0);
        int without = 0; /* one end is handed to one of them; there is none for the others */
        for (int i = 0; i < MANY; i++) {
            int code = finish(fibers[i]).code;
            cr_assert(code == 0 || (kind == 3 && code == -ENOENT), "kind %d: %d", kind, code);
            without += code == -ENOENT;
        }
        cr_assert_eq(without, kind == 3 ? MANY - 1 : 0);
        cr_assert_eq(waiters.returned, MANY);
        fm_map_destroy(waiters.map);
    }
}
