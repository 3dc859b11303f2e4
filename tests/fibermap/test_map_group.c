/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_group.c - fibers of a map that are restarted together: who, in which order, when
 *
 * On one worker and the virtual clock; what happened is one text (group_test.h).
 */
#include "tests/fibermap/group_test.h"

/* ---- who begins anew ---- */

EXACT_TEST(map_group, one_for_one_restarts_nobody_else)
{
    struct scene *scene = scene_of_three((struct fm_map_group_config) { 0 });
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b+b");
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "-a+a");
    close_scene(scene);
}

/* T262, its first half: all others are ended, the last first, and all run again. */
EXACT_TEST(map_group, one_for_all_ends_in_reverse_and_runs_again_in_order)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b-c-a+a+b+c");
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "-a-c-b+a+b+c");
    crash(&scene->child[2]);
    EXPECT_TEXT(scene, "-c-b-a+a+b+c");
    cr_assert_eq(scene->inside, 3);
    cr_assert_eq(fm_map_group_size(scene->group), 3);
    close_scene(scene);
}

/* T264 */
EXACT_TEST(map_group, rest_for_one_restarts_those_that_were_run_after_it)
{
    struct scene *scene = scene_of_three(REST_FOR_ONE);
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b-c+b+c");
    crash(&scene->child[2]);
    EXPECT_TEXT(scene, "-c+c");
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "-a-c-b+a+b+c");
    close_scene(scene);
}

/* T258: it is gone, and its key is free. */
EXACT_TEST(map_group, a_temporary_sibling_that_is_ended_so_is_gone)
{
    for (int rest = 0; rest < 2; rest++) {
        struct scene *scene = open_scene(rest ? REST_FOR_ONE : ONE_FOR_ALL);
        add_child(scene, 0, FM_PERMANENT);
        add_child(scene, 1, FM_TEMPORARY);
        add_child(scene, 2, FM_TRANSIENT);
        scene->text[0] = '\0';
        crash(&scene->child[0]);
        EXPECT_TEXT(scene, "-a-c-b+a+c");
        cr_assert(!is_in(&scene->child[1]));
        expect_interruption(finish(scene->child[1].fiber), FM_BY_GROUP);
        scene->child[1].fiber = NULL;
        cr_assert_eq(fm_map_group_size(scene->group), 2);
        close_scene(scene);
    }
}

/* Without a policy a member is temporary; its own failure restarts nobody. */
EXACT_TEST(map_group, who_is_not_to_be_run_again_leaves_and_nobody_begins_anew)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    cr_assert_eq(try_child(scene, 3, NULL), 0);
    pass_ms(0);
    crash(&scene->child[3]);
    EXPECT_TEXT(scene, "+d-d");
    scene->child[4].fails_at_once = 1;
    add_child(scene, 4, FM_TEMPORARY);
    EXPECT_TEXT(scene, "+e-e");
    struct child *transient = add_child(scene, 5, FM_TRANSIENT);
    cr_assert_eq(fm_fiber_interrupt(transient->fiber), 0);
    pass_ms(0);
    EXPECT_TEXT(scene, "+f-f");
    cr_assert_eq(fm_map_group_size(scene->group), 3);
    close_scene(scene);
}

/* ... and of a permanent one that is interrupted from outside all do. */
EXACT_TEST(map_group, an_end_that_the_policy_restarts_is_the_groups_whatever_kind_it_is)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    cr_assert_eq(fm_fiber_interrupt(scene->child[1].fiber), 0);
    pass_ms(0);
    EXPECT_TEXT(scene, "-b-c-a+a+b+c");
    close_scene(scene);
}

/* ---- one after the other ---- */

EXACT_TEST(map_group, each_has_ended_whole_before_the_next_is_ended)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    for (int i = 0; i < 3; i++)
        scene->child[i].stop_ms = 10;
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "");
    static const char *const after_ms[] = { "", "-a", "", "-c", "", "-b+a+b+c" };
    for (int i = 0; i < 6; i++) {
        pass_ms(i % 2 ? 1 : 9);
        EXPECT_TEXT(scene, after_ms[i]);
    }
    close_scene(scene);
}

EXACT_TEST(map_group, a_member_that_does_not_end_holds_the_round_up)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    add_child(scene, 0, FM_PERMANENT);
    scene->child[1].stubborn = true;
    add_child(scene, 1, FM_PERMANENT);
    add_child(scene, 2, FM_PERMANENT);
    scene->text[0] = '\0';
    crash(&scene->child[2]);
    pass_ms(100000);
    EXPECT_TEXT(scene, "-c");
    /* one that waits for the round is removed at once, and its count is what it was */
    cr_assert_eq(remove_child(&scene->child[2]), 0);
    cr_assert_eq(fm_fiber_incarnation(scene->child[2].fiber), 0);
    cr_assert(is_in(&scene->child[1]));
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b-a+a+b");
    scene->child[1].stubborn = false;
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b-a+a+b");
    close_scene(scene);
}

static struct fm_exit lingering_child(void *child)
{
    fm_never();
    fm_mask();
    fm_sleep_ms(5);
    write_down(child, "*");
    return fm_ok(NULL);
}

static struct fm_exit has_a_child(void *child)
{
    cr_assert_eq(fm_fiber_spawn(lingering_child, child, NULL, NULL), 0);
    return child_lives(child);
}

EXACT_TEST(map_group, children_of_an_incarnation_end_with_it)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = of_type(FM_PERMANENT);
    options.restart = &restart;
    options.group = scene->group;
    cr_assert_eq(fm_map_run(scene->map, fm_key_str("d"), has_a_child, &scene->child[3],
                            &options, NULL),
                 0);
    pass_ms(0);
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "+d-a");
    pass_ms(5);
    EXPECT_TEXT(scene, "*d-d-c-b+a+b+c+d");
    close_scene(scene);
}

static fm_local_key forgetful;

static void masks_and_pins(void *member)
{
    (void)member;
    cr_assert_eq(fm_mask(), 0);
    cr_assert_eq(fm_pin(), 0);
}

static struct fm_exit has_a_forgetful_local(void *member)
{
    cr_assert(!fm_masked());
    cr_assert_eq(fm_unpin(), -EINVAL, "pinned");
    cr_assert_eq(fm_local_set(forgetful, member), 0);
    return child_lives(member);
}

/* Who waits for the others of a round can be removed, and who begins again is not masked. */
EXACT_TEST(map_group, a_mask_and_a_pin_that_a_drop_forgets_end_with_the_incarnation)
{
    cr_assert_eq(fm_local_key_create(&forgetful, masks_and_pins), 0);
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = of_type(FM_PERMANENT);
    options.restart = &restart;
    options.group = scene->group;
    cr_assert_eq(fm_map_run(scene->map, fm_key_str("d"), has_a_forgetful_local,
                            &scene->child[3], &options, &scene->child[3].fiber),
                 0);
    pass_ms(0);
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "+d-a-d-c-b+a+b+c+d");
    scene->child[1].stubborn = true;
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b-d-c-a+a+b+c+d");
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "-a-d-c");
    cr_assert_eq(remove_child(&scene->child[3]), 0);
    scene->child[1].stubborn = false;
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b+a+b+c");
    close_scene(scene);
}

/* ---- back-off ---- */

EXACT_TEST(map_group, all_wait_for_the_back_off_of_the_one_that_failed)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct child *slow = add_backing_off(scene, 3, 50);
    EXPECT_TEXT(scene, "+d");
    scene->child[1].stop_ms = 20; /* meanwhile */
    crash(slow);
    EXPECT_TEXT(scene, "-d-c");
    pass_ms(20);
    EXPECT_TEXT(scene, "-b-a");
    pass_ms(29);
    EXPECT_TEXT(scene, "");
    pass_ms(1);
    EXPECT_TEXT(scene, "+a+b+c+d");
    /* only who fails backs off */
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "-a-d-c");
    pass_ms(20);
    EXPECT_TEXT(scene, "-b+a+b+c+d");
    close_scene(scene);
}

EXACT_TEST(map_group, who_is_removed_in_its_back_off_is_waited_for_no_more)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct child *slow = add_backing_off(scene, 3, 3600000);
    crash(slow);
    EXPECT_TEXT(scene, "+d-d-c-b-a");
    pass_ms(1000);
    cr_assert_eq(remove_child(slow), 0);
    pass_ms(0);
    EXPECT_TEXT(scene, "+a+b+c");
    cr_assert_eq(fm_fiber_incarnation(slow->fiber), 0);
    close_scene(scene);
}

/* ---- more than one ---- */

EXACT_TEST(map_group, two_that_fail_at_once_begin_one_round)
{
    struct fm_map_group_config once = ONE_FOR_ALL;
    once.intensity = 1;
    struct scene *scene = scene_of_three(once);
    cr_assert_eq(fm_semaphore_release(scene->child[0].crash, 1), 0);
    cr_assert_eq(fm_semaphore_release(scene->child[2].crash, 1), 0);
    pass_ms(0);
    cr_assert_eq(strlen(scene->text), strlen("-c-b-a+a+b+c"), "%s", scene->text);
    cr_assert_eq(scene->inside, 3);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_fiber_incarnation(scene->child[i].fiber), 1);
    close_scene(scene);
}

/* Of the rest: one before it that fails meanwhile widens the round, and is charged. */
EXACT_TEST(map_group, one_that_fails_before_the_rest_widens_the_round)
{
    struct fm_map_group_config twice = REST_FOR_ONE;
    twice.intensity = 2;
    struct scene *scene = scene_of_three(twice);
    scene->child[2].stop_ms = 10;
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b");
    pass_ms(5);
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "-a");
    pass_ms(5);
    EXPECT_TEXT(scene, "-c+a+b+c");
    crash(&scene->child[2]);
    pass_ms(10);
    EXPECT_TEXT(scene, "-c-b-a"); /* the third round in one period ends the group */
    cr_assert_eq(fm_map_size(scene->map), 0);
    close_scene(scene);
}

EXACT_TEST(map_group, whatever_exit_a_member_has_when_its_group_ends_it_it_runs_again)
{
    static const int codes[] = { -EIO, 0 };
    for (int i = 0; i < 2; i++) {
        struct fm_map_group_config once = ONE_FOR_ALL;
        once.intensity = 1;
        struct scene *scene = open_scene(once);
        add_child(scene, 0, FM_PERMANENT);
        scene->child[1].exit = codes[i] ? fm_fail(codes[i]) : fm_ok(scene);
        if (!codes[i])
            scene->child[1].exit.code = 1; /* to tell it from none */
        add_child(scene, 1, FM_TRANSIENT);
        scene->text[0] = '\0';
        crash(&scene->child[0]);
        EXPECT_TEXT(scene, "-a-b+a+b");
        cr_assert_eq(fm_map_join(scene->map, 0, NULL), -ETIMEDOUT, "no verdict");
        close_scene(scene);
    }
}

/* It fails when it begins: those after it have not begun, those before it begin once more. */
EXACT_TEST(map_group, one_that_fails_at_its_start_begins_another_round)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    scene->child[1].fails_at_once = 2;
    crash(&scene->child[2]);
    pass_ms(0);
    cr_assert_eq(scene->inside, 3);
    cr_assert_eq(fm_fiber_incarnation(scene->child[1].fiber), 3);
    size_t length = strlen(scene->text);
    cr_assert(length >= 6 && strcmp(scene->text + length - 6, "+a+b+c") == 0, "%s",
              scene->text);
    close_scene(scene);
}

/* Interrupted from outside while it waits for the round: no incarnation ends, so none is counted. */
EXACT_TEST(map_group, an_interruption_of_one_that_waits_for_the_round_ends_nothing)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    struct child *first = add_child(scene, 0, FM_PERMANENT);
    struct child *transient = add_child(scene, 1, FM_TRANSIENT);
    struct child *permanent = add_child(scene, 2, FM_PERMANENT);
    scene->text[0] = '\0';
    first->stop_ms = 10;
    crash(permanent);
    EXPECT_TEXT(scene, "-c-b");
    cr_assert_eq(fm_fiber_interrupt(permanent->fiber), 0);
    cr_assert_eq(fm_fiber_interrupt(transient->fiber), 0);
    pass_ms(0);
    cr_assert(!has_ended(permanent->fiber));
    expect_interruption(finish(transient->fiber), FM_BY_USER);
    transient->fiber = NULL;
    pass_ms(10);
    EXPECT_TEXT(scene, "-a+a+c");
    cr_assert_eq(fm_fiber_incarnation(permanent->fiber), 1);
    close_scene(scene);
}

/* ---- one fiber all the same ---- */

static struct fm_exit join_it(void *fiber)
{
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
    return exit;
}

EXACT_TEST(map_group, key_handle_and_joiners_outlive_rounds)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct child *child = &scene->child[0];
    struct fm_fiber *joiner = start(join_it, child->fiber), *found;
    for (uint64_t round = 1; round < 5; round++) {
        crash(&scene->child[round % 3]);
        cr_assert_eq(fm_map_get(scene->map, fm_key_str("a"), &found), 0);
        cr_assert_eq(found, child->fiber);
        fm_fiber_unref(found);
        cr_assert_eq(fm_fiber_incarnation(child->fiber), round);
        cr_assert(!has_ended(joiner));
    }
    cr_assert_eq(remove_child(child), 0);
    expect_interruption(finish(joiner), FM_BY_REMOVE);
    cr_assert_eq(fm_fiber_incarnation(child->fiber), 4);
    close_scene(scene);
}
