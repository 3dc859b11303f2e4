/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_group_close.c - groups of fibers when their map closes, and members that are detached
 *
 * On one worker and the virtual clock; what happened is one text (group_test.h).
 */
#include "tests/fibermap/group_test.h"

/* Returns at once; how it goes on is seen as time passes. */
static int close_now(struct fm_map *map, uint32_t kind)
{
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    policy.kind = kind;
    policy.deadline_ns = 1;
    pass_ms(1);
    return fm_map_close(map, &policy, NULL);
}

EXACT_TEST(map_group_close, members_end_in_reverse_one_by_one)
{
    static const uint32_t kinds[] = { FM_CLOSE_CANCEL, FM_CLOSE_CANCEL_AFTER };
    for (int i = 0; i < 2; i++) {
        struct scene *scene = scene_of_three((struct fm_map_group_config) { 0 });
        static const char *const each_ms[] = { "", "-c", "", "-b", "", "-a" };
        for (int n = 0; n < 3; n++)
            scene->child[n].stop_ms = 10;
        cr_assert_eq(close_now(scene->map, kinds[i]), -ETIMEDOUT);
        for (int n = 0; n < 6; n++) {
            pass_ms(n % 2 ? 1 : 9);
            EXPECT_TEXT(scene, each_ms[n]);
        }
        for (int n = 0; n < 3; n++)
            expect_interruption(finish(fm_fiber_ref(scene->child[n].fiber)), FM_BY_CLOSE);
        cr_assert_eq(fm_map_close(scene->map, NULL, NULL), 0);
        close_scene(scene);
    }
}

/* A second group, and one fiber of none. */
EXACT_TEST(map_group_close, groups_and_others_do_not_wait_for_each_other)
{
    struct scene *scene = scene_of_three((struct fm_map_group_config) { 0 });
    struct fm_map_group *first = scene->group;
    cr_assert_eq(fm_map_group_create(scene->map, NULL, &scene->group), 0);
    add_child(scene, 3, FM_PERMANENT);
    add_child(scene, 4, FM_PERMANENT);
    cr_assert_eq(fm_map_run(scene->map, fm_key_str("f"), child_lives, &scene->child[5], NULL,
                            NULL),
                 0);
    settle();
    scene->text[0] = '\0';
    scene->child[2].stop_ms = scene->child[4].stop_ms = 10;
    cr_assert_eq(close_now(scene->map, FM_CLOSE_CANCEL), -ETIMEDOUT);
    pass_ms(0);
    EXPECT_TEXT(scene, "-f");
    pass_ms(10);
    cr_assert_eq(strlen(scene->text), 10, "%s", scene->text);
    cr_assert(strstr(scene->text, "-b") < strstr(scene->text, "-a"), "%s", scene->text);
    cr_assert(strstr(scene->text, "-e") < strstr(scene->text, "-d"), "%s", scene->text);
    fm_map_group_unref(first);
    close_scene(scene);
}

/* At a permit; then it goes on, and ends when it is told to. */
static struct fm_exit closes_its_map(void *arg)
{
    struct child *child = arg;
    cr_assert_eq(fm_semaphore_acquire(child->crash, 1, FM_NEVER), 0);
    cr_assert_eq(fm_map_close(child->scene->map, NULL, NULL), FM_MAP_SELF);
    return child_lives(child);
}

static void add_closer(struct scene *scene, int i)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct child *child = &scene->child[i];
    options.group = scene->group;
    cr_assert_eq(fm_map_run(scene->map, fm_key_str(child->name), closes_its_map, child,
                            &options, &child->fiber),
                 0);
}

/* It is in the middle: those before it end without waiting for it, which waits for them. */
EXACT_TEST(map_group_close, a_member_that_closes_its_map_is_left_out_and_comes_last)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    add_child(scene, 0, FM_PERMANENT);
    add_closer(scene, 1);
    add_child(scene, 2, FM_PERMANENT)->stop_ms = 10;
    add_child(scene, 3, FM_PERMANENT);
    scene->text[0] = '\0';
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-d");
    pass_ms(10);
    EXPECT_TEXT(scene, "-c-a+b-b");
    expect_interruption(finish(fm_fiber_ref(scene->child[1].fiber)), FM_BY_CLOSE);
    close_scene(scene);
}

EXACT_TEST(map_group_close, two_members_that_close_their_map_do_not_wait_for_each_other)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    add_child(scene, 0, FM_PERMANENT);
    add_closer(scene, 1);
    add_closer(scene, 2);
    add_child(scene, 3, FM_PERMANENT)->stop_ms = 10;
    scene->text[0] = '\0';
    crash(&scene->child[1]);
    crash(&scene->child[2]);
    EXPECT_TEXT(scene, "");
    pass_ms(10);
    for (int i = 1; i < 3; i++)
        expect_interruption(finish(fm_fiber_ref(scene->child[i].fiber)), FM_BY_CLOSE);
    cr_assert(strncmp(scene->text, "-d-a", 4) == 0 && strlen(scene->text) == 12, "%s",
              scene->text);
    close_scene(scene);
}

/* The map closes by itself, in the exit of a member. */
EXACT_TEST(map_group_close, a_failure_that_closes_the_map_ends_them_in_reverse)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct scene *scene = open_scene((struct fm_map_group_config) { 0 });
    fm_map_group_unref(scene->group);
    fm_map_destroy(scene->map);
    config.on_failure = FM_CLOSE_MAP;
    cr_assert_eq(fm_map_create(&config, &scene->map), 0);
    cr_assert_eq(fm_map_group_create(scene->map, NULL, &scene->group), 0);
    for (int i = 0; i < 4; i++)
        add_child(scene, i, i == 2 ? FM_TEMPORARY : FM_PERMANENT)->stop_ms = 10;
    scene->text[0] = '\0';
    crash(&scene->child[2]);
    pass_ms(10);
    EXPECT_TEXT(scene, "-c");
    pass_ms(10);
    EXPECT_TEXT(scene, "-d");
    pass_ms(9);
    EXPECT_TEXT(scene, "");
    pass_ms(1);
    EXPECT_TEXT(scene, "-b");
    pass_ms(10);
    EXPECT_TEXT(scene, "-a");
    close_scene(scene);
}

EXACT_TEST(map_group_close, a_map_that_is_cleared_ends_them_at_once)
{
    struct scene *scene = scene_of_three((struct fm_map_group_config) { 0 });
    for (int i = 0; i < 3; i++)
        scene->child[i].stop_ms = 10;
    pass_ms(1);
    cr_assert_eq(fm_map_clear(scene->map, 1), -ETIMEDOUT);
    pass_ms(10);
    cr_assert_eq(strlen(scene->text), 6, "%s", scene->text);
    close_scene(scene);
}

/* It is of a group, but not of one of this map. */
EXACT_TEST(map_group_close, a_member_that_was_set_in_another_map_ends_with_that)
{
    struct scene *scene = scene_of_three((struct fm_map_group_config) { 0 });
    struct fm_map *other = new_map();
    cr_assert_eq(fm_map_set(other, fm_key_str("x"), scene->child[0].fiber, NULL), 0);
    cr_assert_eq(fm_map_close(other, NULL, NULL), 0);
    EXPECT_TEXT(scene, "-a");
    expect_interruption(finish(fm_fiber_ref(scene->child[0].fiber)), FM_BY_CLOSE);
    fm_map_destroy(other);
    close_scene(scene);
}

/* A group that nobody has any more, with members and without. */
EXACT_TEST(map_group_close, groups_without_references_are_ended_too)
{
    struct scene *scene = open_scene((struct fm_map_group_config) { 0 });
    struct fm_map_group *groups[3] = { scene->group };
    for (int i = 1; i < 3; i++)
        cr_assert_eq(fm_map_group_create(scene->map, NULL, &groups[i]), 0);
    scene->group = groups[1];
    add_child(scene, 0, FM_PERMANENT);
    add_child(scene, 1, FM_PERMANENT)->stop_ms = 10;
    fm_map_group_unref(groups[1]);
    fm_map_group_unref(groups[2]);
    scene->group = groups[0];
    scene->text[0] = '\0';
    cr_assert_eq(close_now(scene->map, FM_CLOSE_CANCEL), -ETIMEDOUT);
    pass_ms(0);
    EXPECT_TEXT(scene, "");
    pass_ms(10);
    EXPECT_TEXT(scene, "-b-a");
    close_scene(scene);
}

/* ---- members that are detached ---- */

/* Told to end by the round, and it does not: who waits for it no longer need. */
EXACT_TEST(map_group_close, a_round_goes_on_when_the_one_that_holds_it_up_is_detached)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    add_child(scene, 0, FM_PERMANENT);
    scene->child[1].stubborn = true;
    add_child(scene, 1, FM_PERMANENT);
    add_child(scene, 2, FM_PERMANENT);
    scene->text[0] = '\0';
    crash(&scene->child[2]);
    EXPECT_TEXT(scene, "-c");
    cr_assert_eq(fm_map_detach(scene->map, fm_key_str("b"), NULL), 0);
    pass_ms(0);
    EXPECT_TEXT(scene, "-a+a+c");
    cr_assert_eq(fm_map_group_size(scene->group), 2);
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b");
    cr_assert_eq(fm_fiber_incarnation(scene->child[1].fiber), 0, "it is not run again");
    close_scene(scene);
}

EXACT_TEST(map_group_close, a_stop_goes_on_when_the_one_that_holds_it_up_is_detached)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    add_child(scene, 0, FM_PERMANENT);
    scene->child[1].stubborn = true;
    add_child(scene, 1, FM_PERMANENT);
    scene->text[0] = '\0';
    cr_assert_eq(fm_map_group_stop(scene->group, 0), -ETIMEDOUT);
    pass_ms(0);
    EXPECT_TEXT(scene, "");
    cr_assert_eq(fm_map_detach(scene->map, fm_key_str("b"), NULL), 0);
    pass_ms(0);
    EXPECT_TEXT(scene, "-a");
    cr_assert_eq(fm_map_group_stop(scene->group, 0), 0);
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b");
    close_scene(scene);
}
