/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_await.c - FM_REPLACE_AWAIT: who waits for whom, and who takes the place of one that
 * waits
 *
 * On one worker and the virtual clock: pass_ms() returns when all that is due has happened.
 * What else may come between: test_map_await_between.c.
 */
#include "tests/fibermap/turn_test.h"

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

/* Nobody waits for the old one that long; and it is waited for all the same by the next. */
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

/* F60 */
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

/* Each takes the place of one that waits, and the last gives up: the next waits for the first. */
EXACT_TEST(map_await, whoever_drops_one_that_waits_waits_for_whom_that_one_waited_for)
{
    for (int dispatched = 0; dispatched < 2; dispatched++) {
        struct told told = { 0 };
        struct act a = OLD(&told), last = { &told, 'Z', 0, 0, 0 }, middle[3];
        struct fm_map *map = new_map();
        struct fm_fiber *fiber = NULL;
        fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
        for (int i = 0; i < 3; i++) {
            middle[i] = (struct act) { &told, (char)('B' + i), 0, 0, 0 };
            fm_fiber_unref(fiber);
            cr_assert_eq(act_run(map, &middle[i], FM_REPLACE_AWAIT, &fiber), FM_MAP_REPLACED);
            if (dispatched)
                pass_ms(0);
        }
        fm_fiber_interrupt(fiber);
        pass_ms(0);
        cr_assert(has_ended(fiber));
        fm_fiber_unref(fiber);
        fm_fiber_unref(act_started(map, &last, FM_REPLACE_AWAIT, 0));
        cr_assert_null(strchr(told.text, 'Z'), "the first has not ended: %s", told.text);
        pass_ms(SLOW);
        cr_assert_not_null(strstr(told.text, "aZz"), "%s", told.text);
        fm_map_destroy(map);
    }
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
