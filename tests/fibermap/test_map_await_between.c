/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_await_between.c - FM_REPLACE_AWAIT when something comes between: the old one is
 * stuck, the map closes, they wait for each other, either is run again
 *
 * On one worker and the virtual clock: pass_ms() returns when all that is due has happened.
 */
#include "fibermap/line.h"
#include "fibermap/map.h"
#include "tests/fibermap/turn_test.h"

/* ---- the old one is stuck ---- */

/* F60 */
EXACT_TEST(map_await, a_late_one_fails_without_its_body)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 }, c = { &told, 'C', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_map_run_options options = act_options(FM_REPLACE_AWAIT);
    struct fm_fiber *fiber;
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    options.deadline_ns = fm_after_ms(5);
    options.flags = FM_MAP_ISOLATE_FAILURE;
    cr_assert_eq(act_run_as(map, &b, options, &fiber), FM_MAP_REPLACED);
    pass_ms(4);
    cr_assert(!has_ended(fiber));
    pass_ms(1);
    struct fm_exit exit = finish(fiber);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -ETIMEDOUT);
    told_is(&told, "A-B");
    cr_assert(!fm_map_has(map, fm_key_str("key")));
    fm_fiber_unref(act_started(map, &c, FM_REPLACE_AWAIT, 0));
    pass_ms(SLOW - 5);
    told_is(&told, "A-BaCc");
    fm_map_destroy(map);
}

EXACT_TEST(map_await, a_deadline_in_time_changes_nothing)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', SLOW, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_map_run_options options = act_options(FM_REPLACE_AWAIT);
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    options.deadline_ns = fm_after_ms(SLOW + 1);
    cr_assert_eq(act_run_as(map, &b, options, NULL), FM_MAP_REPLACED);
    pass_ms(3 * SLOW);
    told_is(&told, "AaBb");
    fm_map_destroy(map);
}

/* FM_AWAIT_PROCEED: then two bodies are under way, and the next one waits for both. */
EXACT_TEST(map_await, a_late_one_may_proceed_and_the_next_waits_for_both)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', -1, 2 * SLOW, 0 }, c = { &told, 'C', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_map_run_options options = act_options(FM_REPLACE_AWAIT);
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    options.deadline_ns = fm_after_ms(5);
    options.flags = FM_AWAIT_PROCEED;
    cr_assert_eq(act_run_as(map, &b, options, NULL), FM_MAP_REPLACED);
    pass_ms(4);
    told_is(&told, "A");
    pass_ms(1);
    told_is(&told, "AB");
    fm_fiber_unref(act_started(map, &c, FM_REPLACE_AWAIT, FM_MAP_REPLACED));
    pass_ms(SLOW - 5);
    told_is(&told, "ABa");
    pass_ms(2 * SLOW);
    told_is(&told, "ABabCc");
    fm_map_destroy(map);
}

/* ---- many keys ---- */

enum { KEYS = 200, PARTS = 4 }; /* in one stripe, whose table of lines grows twice */

struct part {
    struct told told;
    struct act acts[PARTS];
};

static void act_on(struct fm_map *map, struct part *parts, int key, int part, uint32_t conflict,
                   int outcome, struct fm_fiber **ret_fiber)
{
    struct fm_map_run_options options = act_options(conflict);
    struct act *act = &parts[key].acts[part];
    *act = (struct act) { &parts[key].told, (char)('A' + part), part ? 0 : -1, SLOW, 0 };
    cr_assert_eq(fm_map_run(map, fm_key_bytes(&key, sizeof key), act_body, act, &options,
                            ret_fiber),
                 outcome);
}

/* Under each key one ends slowly, the next waits for it and gives up, two come after both. */
EXACT_TEST(map_await, lines_are_apart_however_many_keys_have_one)
{
    struct part *parts = calloc(KEYS, sizeof *parts);
    struct fm_fiber *given_up[KEYS];
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.stripe_count = 1;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    for (int i = 0; i < KEYS; i++)
        act_on(map, parts, i, 0, FM_REPLACE, 0, NULL);
    pass_ms(0);
    for (int i = 0; i < KEYS; i++)
        act_on(map, parts, i, 1, FM_REPLACE_AWAIT, FM_MAP_REPLACED, &given_up[i]);
    pass_ms(0);
    for (int i = 0; i < KEYS; i++)
        act_on(map, parts, i, 2, FM_QUEUE, FM_MAP_QUEUED, NULL);
    for (int i = 0; i < KEYS; i++) {
        fm_fiber_interrupt(given_up[i]);
        fm_fiber_unref(given_up[i]);
    }
    pass_ms(0);
    for (int i = 0; i < KEYS; i++)
        act_on(map, parts, i, 3, FM_QUEUE, FM_MAP_QUEUED, NULL);
    pass_ms(0);
    for (int i = 0; i < KEYS; i++)
        told_is(&parts[i].told, "A-B");
    pass_ms(3 * SLOW);
    for (int i = 0; i < KEYS; i++)
        told_is(&parts[i].told, "A-BaCcDd");
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
    free(parts);
}

enum { WAVES = 24 };

static bool has_line(struct fm_map *map, int given)
{
    struct stripe *stripe = map->stripes;
    struct map_key key;
    cr_assert(fm__key_read(&key, &map->seed, fm_key_bytes(&given, sizeof given)));
    fm__lock(&stripe->lock);
    bool has = fm__line_of(stripe, &key) != NULL;
    fm__unlock(&stripe->lock);
    return has;
}

/* Each key comes once: nobody looks at its line again, but for those that want a new one. */
EXACT_TEST(map_await, what_was_given_up_does_not_gather_under_keys_that_never_come_again)
{
    struct part *parts = calloc((size_t)WAVES * KEYS, sizeof *parts);
    struct fm_fiber *given_up[KEYS];
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    int lines = 0;
    config.stripe_count = 1;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    for (int first = 0; first < WAVES * KEYS; first += KEYS) {
        for (int i = 0; i < KEYS; i++)
            act_on(map, parts, first + i, 0, FM_REPLACE, 0, NULL);
        pass_ms(0);
        for (int i = 0; i < KEYS; i++)
            act_on(map, parts, first + i, 1, FM_REPLACE_AWAIT, FM_MAP_REPLACED, &given_up[i]);
        pass_ms(0);
        for (int i = 0; i < KEYS; i++) {
            fm_fiber_interrupt(given_up[i]);
            fm_fiber_unref(given_up[i]);
        }
        pass_ms(SLOW);
    }
    for (int key = 0; key < WAVES * KEYS; key++) {
        told_is(&parts[key].told, "A-Ba");
        lines += has_line(map, key);
    }
    cr_assert_leq(lines, 4 * KEYS, "%d lines of nobody", lines);
    fm_map_destroy(map);
    free(parts);
}

/* ---- closing ---- */

EXACT_TEST(map_await, close_ends_one_that_waits)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    struct fm_fiber *fiber = act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED);
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    pass_ms(1);
    policy.deadline_ns = fm_now_ns();
    struct fm_close_report report;
    cr_assert_eq(fm_map_close(map, &policy, &report), -ETIMEDOUT);
    fm_close_report_fini(&report);
    pass_ms(0);
    expect_interruption(finish(fiber), FM_BY_CLOSE);
    pass_ms(SLOW);
    told_is(&told, "A-Ba");
    fm_map_destroy(map);
}

static struct fm_exit drain(void *map)
{
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    policy.kind = FM_CLOSE_DRAIN;
    return fm_fail(fm_map_close(map, &policy, NULL));
}

EXACT_TEST(map_await, a_drain_lets_one_that_waits_run)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 5, 0, 0 };
    struct fm_map *map = new_map();
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    fm_fiber_unref(act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED));
    struct fm_fiber *drainer = start(drain, map);
    pass_ms(SLOW + 4);
    cr_assert(!has_ended(drainer));
    pass_ms(1);
    cr_assert_eq(finish(drainer).code, 0);
    told_is(&told, "AaBb");
    fm_map_destroy(map);
}

/* ---- rings, bodies that replace themselves, lineages ---- */

struct ring {
    struct fm_map *map;
    struct told told;
    struct act act;
    int result;
};

/* Masked, so that its being replaced does not end its wait. */
static struct fm_exit replace_and_await_successor(void *arg)
{
    struct ring *ring = arg;
    struct fm_fiber *successor;
    fm_mask();
    cr_assert_eq(act_run(ring->map, &ring->act, FM_REPLACE_AWAIT, &successor), FM_MAP_REPLACED);
    ring->result = fm_fiber_join(successor, FM_NEVER, NULL);
    struct fm_exit exit = { 0 };
    if (ring->result == 0)
        cr_assert_eq(fm_fiber_poll(successor, &exit), 0);
    fm_fiber_unref(successor);
    fm_unmask();
    return exit;
}

EXACT_TEST(map_await, one_that_waits_for_its_successor_is_told_not_hung)
{
    struct ring ring = { .map = new_map() };
    ring.act = (struct act) { &ring.told, 'B', 0, 0, 0 };
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_run(ring.map, fm_key_str("key"), replace_and_await_successor, &ring,
                            NULL, &fiber),
                 0);
    struct fm_exit exit = finish(fiber);
    cr_assert(ring.result == -EDEADLK || exit.code == -EDEADLK, "result %d, code %d",
              ring.result, exit.code);
    told_is(&ring.told, ring.result == 0 ? "-B" : "Bb");
    fm_map_destroy(ring.map);
}

static struct fm_exit replace_myself(void *arg)
{
    struct ring *ring = arg;
    cr_assert_eq(act_run(ring->map, &ring->act, FM_REPLACE_AWAIT, NULL), FM_MAP_REPLACED);
    cr_assert_eq(fm_sleep_ms(SLOW), -ECANCELED);
    tell(&ring->told, '.');
    return fm_ok(NULL);
}

EXACT_TEST(map_await, a_body_may_hand_its_key_to_the_next)
{
    struct ring ring = { .map = new_map() };
    ring.act = (struct act) { &ring.told, 'B', 0, 0, 0 };
    run(ring.map, "key", replace_myself, &ring);
    pass_ms(0);
    told_is(&ring.told, ".Bb");
    fm_map_destroy(ring.map);
}

static struct fm_map_run_options permanent(struct fm_restart *restart, uint32_t conflict)
{
    struct fm_map_run_options options = act_options(conflict);
    *restart = (struct fm_restart)FM_RESTART_INIT;
    restart->type = FM_PERMANENT;
    restart->intensity = 2;
    restart->on_limit = FM_LIMIT_REMOVE;
    options.restart = restart;
    return options;
}

EXACT_TEST(map_await, a_lineage_waits_before_its_first_incarnation_alone)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_restart restart;
    struct fm_fiber *fiber;
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    cr_assert_eq(act_run_as(map, &b, permanent(&restart, FM_REPLACE_AWAIT), &fiber),
                 FM_MAP_REPLACED);
    pass_ms(SLOW);
    told_is(&told, "AaBbBbBb");
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

EXACT_TEST(map_await, a_lineage_that_never_began_drops_its_argument_once)
{
    for (int before_its_first_step = 0; before_its_first_step < 2; before_its_first_step++) {
        struct told told = { 0 };
        struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
        struct fm_map *map = new_map();
        struct fm_restart restart;
        struct fm_fiber *fiber;
        fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
        cr_assert_eq(act_run_as(map, &b, permanent(&restart, FM_REPLACE_AWAIT), &fiber),
                     FM_MAP_REPLACED);
        if (!before_its_first_step)
            pass_ms(0);
        cr_assert_eq(fm_map_remove(map, fm_key_str("key"), FM_NEVER), 0);
        expect_interruption(finish(fiber), FM_BY_REMOVE);
        pass_ms(SLOW);
        cr_assert(strcmp(told.text, "A-Ba") == 0, "%s", told.text);
        fm_map_destroy(map);
    }
}
