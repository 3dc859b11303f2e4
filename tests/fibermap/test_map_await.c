/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_await.c - FM_REPLACE_AWAIT, and FM_MAP_DYING_IS_ABSENT, which leads to it
 *
 * On one worker and the virtual clock: pass_ms() returns when all that is due has happened.
 */
#include "tests/fibermap/turn_test.h"

enum { SLOW = 20 }; /* ms that the old one takes to end */

/* An incumbent that is under way and ends slowly. */
#define OLD(told) \
    (struct act) \
    { \
        (told), 'A', -1, SLOW, 0 \
    }

EXACT_TEST(map_await, body_begins_when_the_old_one_has_ended_finalizers_included)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', -1, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_fiber *old = act_started(map, &a, FM_REPLACE_AWAIT, 0);
    struct fm_fiber *fiber = act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED);
    pass_ms(SLOW - 1);
    told_is(&told, "A");
    pass_ms(1);
    told_is(&told, "AaB");
    expect_interruption(finish(old), FM_BY_REPLACE);
    cr_assert(!has_ended(fiber));
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static struct fm_exit child_that_ends_slowly(void *arg)
{
    return act_body(arg);
}

static struct fm_exit parent(void *arg)
{
    start(child_that_ends_slowly, arg);
    return fm_fail(fm_never());
}

EXACT_TEST(map_await, body_begins_when_the_children_of_the_old_one_have_ended)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    run(map, "key", parent, &a);
    pass_ms(0);
    fm_fiber_unref(act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED));
    pass_ms(SLOW);
    told_is(&told, "AaBb");
    fm_map_destroy(map);
}

EXACT_TEST(map_await, new_one_is_there_at_once)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_fiber *old = act_started(map, &a, FM_REPLACE, 0), *found;
    struct fm_fiber *fiber = act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED);
    cr_assert_eq(fm_map_get(map, fm_key_str("key"), &found), 0);
    cr_assert_eq(found, fiber);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_LIVE), 1);
    struct fm_fiber *kept;
    cr_assert_eq(act_run(map, &b, FM_KEEP, &kept), FM_MAP_KEPT);
    cr_assert_eq(kept, fiber);
    fm_fiber_unref(kept);
    fm_fiber_unref(found);
    fm_fiber_unref(fiber);
    fm_fiber_unref(old);
    pass_ms(SLOW);
    fm_map_destroy(map);
}

EXACT_TEST(map_await, nobody_under_the_key_is_not_waited_for)
{
    struct told told = { 0 };
    struct act a = { &told, 'A', 0, 0, 0 };
    struct fm_map *map = new_map();
    fm_fiber_unref(act_started(map, &a, FM_REPLACE_AWAIT, 0));
    told_is(&told, "Aa");
    fm_map_destroy(map);
}

EXACT_TEST(map_await, a_fiber_that_was_set_is_waited_for_like_any_other)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_fiber *old = start(act_body, &a);
    cr_assert_eq(fm_map_set(map, fm_key_str("key"), old, NULL), 0);
    pass_ms(0);
    fm_fiber_unref(act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED));
    told_is(&told, "A");
    pass_ms(SLOW);
    told_is(&told, "AaBb");
    expect_interruption(finish(old), FM_BY_REPLACE);
    fm_map_destroy(map);
}

/* ---- ending one that waits ---- */

static void interrupt_fiber(struct fm_map *map, struct fm_fiber *fiber)
{
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
}

static void remove_key(struct fm_map *map, struct fm_fiber *fiber)
{
    cr_assert_eq(fm_map_remove(map, fm_key_str("key"), FM_NEVER), 0);
}

static void clear_map(struct fm_map *map, struct fm_fiber *fiber)
{
    cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
}

/* Nobody waits for the old one that long; and it is waited for all the same by who comes next. */
EXACT_TEST(map_await, one_that_waits_ends_at_once_and_leaves_the_old_one_to_the_next)
{
    static const struct {
        void (*end)(struct fm_map *map, struct fm_fiber *fiber);
        int reason;
    } ways[] = { { interrupt_fiber, FM_BY_USER },
                 { remove_key, FM_BY_REMOVE },
                 { clear_map, FM_BY_CLEAR } };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct told told = { 0 };
        struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 }, c = { &told, 'C', 0, 0, 0 };
        struct fm_map *map = new_map();
        fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
        struct fm_fiber *fiber = act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED);
        ways[i].end(map, fiber);
        expect_interruption(finish(fiber), ways[i].reason);
        told_is(&told, "A-B");
        cr_assert(!fm_map_has(map, fm_key_str("key")));
        fm_fiber_unref(act_started(map, &c, FM_REPLACE_AWAIT, 0));
        told_is(&told, "A-B");
        pass_ms(SLOW);
        told_is(&told, "A-BaCc");
        fm_map_destroy(map);
    }
}

static int replace_by_await(struct fm_map *map, struct act *act)
{
    return act_run(map, act, FM_REPLACE_AWAIT, NULL);
}

EXACT_TEST(map_await, further_replaces_drop_those_between_and_the_latest_wins)
{
    struct told told = { 0 };
    struct act a = OLD(&told), middle[3], last = { &told, 'Z', 0, 0, 0 };
    struct fm_fiber *fibers[3];
    struct fm_map *map = new_map();
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    for (int i = 0; i < 3; i++) {
        middle[i] = (struct act) { &told, (char)('B' + i), 0, 0, 0 };
        fibers[i] = act_started(map, &middle[i], FM_REPLACE_AWAIT, FM_MAP_REPLACED);
    }
    cr_assert_eq(replace_by_await(map, &last), FM_MAP_REPLACED);
    pass_ms(0);
    told_is(&told, "A-B-C-D");
    for (int i = 0; i < 3; i++)
        expect_interruption(finish(fibers[i]), FM_BY_REPLACE);
    pass_ms(SLOW);
    told_is(&told, "A-B-C-DaZz");
    fm_map_destroy(map);
}

EXACT_TEST(map_await, a_plain_replace_drops_one_that_waits_and_begins_at_once)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 }, c = { &told, 'C', -1, 0, 0 };
    struct act d = { &told, 'D', 0, 0, 0 };
    struct fm_map *map = new_map();
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    struct fm_fiber *fiber = act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED);
    fm_fiber_unref(act_started(map, &c, FM_REPLACE, FM_MAP_REPLACED));
    expect_interruption(finish(fiber), FM_BY_REPLACE);
    cr_assert_not_null(strchr(told.text, 'C'));
    cr_assert_not_null(strstr(told.text, "-B"));
    fm_fiber_unref(act_started(map, &d, FM_REPLACE_AWAIT, FM_MAP_REPLACED));
    cr_assert_null(strchr(told.text, 'D'), "whom B waited for has not ended: %s", told.text);
    pass_ms(SLOW);
    cr_assert_not_null(strstr(told.text, "aDd"), "%s", told.text);
    fm_map_destroy(map);
}

EXACT_TEST(map_await, set_drops_one_that_waits)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    struct fm_fiber *fiber = act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED);
    struct fm_fiber *other = start(until_interrupted, NULL);
    cr_assert_eq(fm_map_set(map, fm_key_str("key"), other, NULL), FM_MAP_REPLACED);
    expect_interruption(finish(fiber), FM_BY_REPLACE);
    pass_ms(SLOW);
    told_is(&told, "A-Ba");
    fm_fiber_unref(other);
    fm_map_destroy(map);
}

EXACT_TEST(map_await, one_that_has_begun_is_waited_for_in_its_turn)
{
    struct told told = { 0 };
    struct act acts[4];
    struct fm_map *map = new_map();
    for (int i = 0; i < 4; i++) {
        acts[i] = (struct act) { &told, (char)('A' + i), -1, i < 3 ? SLOW : 0, 0 };
        fm_fiber_unref(act_started(map, &acts[i], FM_REPLACE_AWAIT, i ? FM_MAP_REPLACED : 0));
        pass_ms(SLOW);
    }
    told_is(&told, "AaBbCcD");
    fm_map_destroy(map);
}

EXACT_TEST(map_await, detached_while_it_waits_it_begins_in_its_time)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    fm_fiber_unref(act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED));
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_detach(map, fm_key_str("key"), &fiber), 0);
    cr_assert_eq(fm_map_size(map), 0);
    pass_ms(SLOW);
    told_is(&told, "AaBb");
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    fm_map_destroy(map);
}

/* ---- the old one is stuck ---- */

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

/* ---- FM_MAP_DYING_IS_ABSENT ---- */

/* An incumbent that has been interrupted and takes SLOW ms to end. */
static struct fm_fiber *dying(struct fm_map *map, struct act *act)
{
    struct fm_fiber *fiber = act_started(map, act, FM_REPLACE, 0);
    cr_assert_eq(fm_map_interrupt(map, fm_key_str("key")), 0);
    pass_ms(0);
    return fiber;
}

EXACT_TEST(map_dying, an_incumbent_that_ends_is_awaited_and_not_kept_if_told_so)
{
    static const uint32_t conflicts[] = { FM_KEEP, FM_FAIL, FM_JOIN };
    for (int i = 0; i < 3; i++) {
        struct told told = { 0 };
        struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
        struct fm_map *map = new_map();
        struct fm_fiber *old = dying(map, &a), *fiber;
        struct fm_map_run_options options = act_options(conflicts[i]);
        options.flags = FM_MAP_DYING_IS_ABSENT;
        cr_assert_eq(act_run_as(map, &b, options, &fiber), FM_MAP_REPLACED);
        pass_ms(0);
        told_is(&told, "A");
        pass_ms(SLOW);
        told_is(&told, "AaBb");
        expect_interruption(finish(old), FM_BY_REMOVE);
        cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
        fm_map_destroy(map);
    }
}

EXACT_TEST(map_dying, an_incumbent_that_ends_counts_as_present_otherwise)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_fiber *old = dying(map, &a), *kept;
    cr_assert_eq(act_run(map, &b, FM_KEEP, &kept), FM_MAP_KEPT);
    cr_assert_eq(kept, old);
    cr_assert_eq(act_run(map, &b, FM_FAIL, NULL), -EEXIST);
    fm_fiber_unref(kept);
    fm_fiber_unref(old);
    pass_ms(SLOW);
    told_is(&told, "Aa");
    fm_map_destroy(map);
}

EXACT_TEST(map_dying, an_incumbent_that_lives_is_kept)
{
    struct told told = { 0 };
    struct act a = { &told, 'A', -1, 0, 0 }, b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_fiber *old = act_started(map, &a, FM_REPLACE, 0), *kept;
    struct fm_map_run_options options = act_options(FM_KEEP);
    options.flags = FM_MAP_DYING_IS_ABSENT;
    cr_assert_eq(act_run_as(map, &b, options, &kept), FM_MAP_KEPT);
    cr_assert_eq(kept, old);
    cr_assert_eq(act_run_as(map, &b, options, NULL), FM_MAP_KEPT);
    fm_fiber_unref(kept);
    fm_fiber_unref(old);
    told_is(&told, "A");
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_dying, run_wait_awaits_what_ends_and_then_its_own)
{
    struct told told = { 0 };
    struct act a = OLD(&told), b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    run(map, "key", act_body, &a);
    fm_sleep_ms(1);
    cr_assert_eq(fm_map_interrupt(map, fm_key_str("key")), 0);
    struct fm_map_run_options options = act_options(FM_JOIN);
    struct fm_exit exit;
    options.flags = FM_MAP_DYING_IS_ABSENT;
    cr_assert_eq(fm_map_run_wait(map, fm_key_str("key"), act_body, &b, &options, FM_NEVER,
                                 &exit),
                 0);
    cr_assert_eq(exit.value, &b);
    told_is(&told, "AaBb");
    fm_map_destroy(map);
}

/* ---- refusals ---- */

EXACT_TEST(map_await, bad_arguments_change_nothing)
{
    struct told told = { 0 };
    struct act a = OLD(&told);
    struct fm_map *map = new_map();
    struct fm_map_run_options options = act_options(FM_REPLACE_AWAIT);
    options.deadline_ns = -1;
    cr_assert_eq(act_run_as(map, &a, options, NULL), -EINVAL);
    options = act_options(FM_QUEUE);
    options.flags = FM_AWAIT_PROCEED;
    cr_assert_eq(act_run_as(map, &a, options, NULL), -EINVAL, "two bodies in a queue");
    options = act_options(FM_QUEUE);
    options.own_map = 2;
    cr_assert_eq(act_run_as(map, &a, options, NULL), -EINVAL);
    for (uint32_t conflict = FM_REPLACE_AWAIT; conflict <= FM_QUEUE; conflict++) {
        options = act_options(conflict);
        cr_assert_eq(fm_map_set(map, fm_key_str("key"), fm_fiber_self(), &options), -EINVAL);
    }
    options = act_options(FM_KEEP);
    options.flags = FM_MAP_DYING_IS_ABSENT;
    cr_assert_eq(fm_map_set(map, fm_key_str("key"), fm_fiber_self(), &options), -EINVAL);
    cr_assert_eq(fm_map_size(map), 0);
    told_is(&told, "");
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(act_run(map, &a, FM_REPLACE_AWAIT, NULL), -ESHUTDOWN);
    cr_assert_eq(act_run(map, &a, FM_QUEUE, NULL), -ESHUTDOWN);
    told_is(&told, "");
    fm_map_destroy(map);
}
