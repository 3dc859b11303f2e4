/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_group_late.c - groups of fibers: who would begin, or is taken away, while others end
 *
 * On one worker and the virtual clock; what happened is one text (group_test.h).
 */
#include "tests/fibermap/group_test.h"

/* Once a stop has begun no incarnation does, though it takes its time (T229). */
EXACT_TEST(map_group_late, in_a_group_that_stops_nobody_begins_anew)
{
    for (uint32_t strategy = FM_ONE_FOR_ONE; strategy <= FM_REST_FOR_ONE; strategy++) {
        struct scene *scene = open_scene((struct fm_map_group_config) { .strategy = strategy });
        struct child *first = add_backing_off(scene, 0, 5);
        add_child(scene, 1, FM_PERMANENT)->stop_ms = 10;
        crash(first);
        EXPECT_TEXT(scene, "+a+b-a");
        cr_assert_eq(fm_map_group_stop(scene->group, 0), -ETIMEDOUT);
        pass_ms(9);
        EXPECT_TEXT(scene, "");
        pass_ms(1);
        EXPECT_TEXT(scene, "-b");
        cr_assert_eq(fm_map_group_stop(scene->group, 0), 0);
        expect_interruption(finish(fm_fiber_ref(first->fiber)), FM_BY_GROUP);
        cr_assert_eq(fm_fiber_incarnation(first->fiber), 0);
        cr_assert_eq(fm_map_join(scene->map, 0, NULL), -ETIMEDOUT, "no verdict");
        close_scene(scene);
    }
}

/* ... and no first one either: it waits to be ended in its turn, and its argument is dropped. */
EXACT_TEST(map_group_late, in_a_group_that_stops_nobody_begins)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct child *late = &scene->child[3];
    options.group = scene->group;
    options.conflict = FM_QUEUE;
    options.arg_drop = child_dropped;
    run(scene->map, "d", until_interrupted, NULL);
    cr_assert_eq(fm_map_run(scene->map, fm_key_str("d"), child_lives, late, &options,
                            &late->fiber),
                 FM_MAP_QUEUED);
    add_child(scene, 0, FM_PERMANENT)->stop_ms = 10;
    cr_assert_eq(fm_map_group_stop(scene->group, 0), -ETIMEDOUT);
    cr_assert_eq(remove_child(late), 0, "who was before it");
    pass_ms(9);
    cr_assert(is_in(late), "it has the key, and waits");
    cr_assert_eq(late->dropped, 0);
    pass_ms(1);
    EXPECT_TEXT(scene, "+a-a");
    expect_interruption(finish(fm_fiber_ref(late->fiber)), FM_BY_GROUP);
    cr_assert_eq(late->dropped, 1);
    cr_assert_eq(fm_map_group_stop(scene->group, 0), 0);
    close_scene(scene);
}

static struct fm_exit acquire_one(void *semaphore)
{
    return fm_fail(fm_semaphore_acquire(semaphore, 1, FM_NEVER));
}

/* When it is run again it stops the group, and lets others run in between. */
static struct fm_exit stops_when_run_again(void *arg)
{
    struct child *child = arg;
    if (fm_fiber_incarnation(fm_fiber_self()) == 1) {
        cr_assert_eq(fm_map_group_stop(child->scene->group, 0), FM_MAP_SELF);
        cr_assert_eq(fm_semaphore_release(child->scene->child[7].crash, 1), 0);
    }
    return child_lives(child);
}

/* It has been let run, and is on its way: it does not begin if the stop comes before that. */
EXACT_TEST(map_group_late, one_that_has_been_let_run_does_not_begin_after_a_stop)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = of_type(FM_PERMANENT);
    /* woken last by the stopper, it runs first: then the one that was let run, then the last */
    struct fm_fiber *between = start(acquire_one, scene->child[7].crash);
    options.restart = &restart;
    options.group = scene->group;
    cr_assert_eq(fm_map_run(scene->map, fm_key_str("a"), stops_when_run_again,
                            &scene->child[0], &options, NULL),
                 0);
    pass_ms(0);
    add_child(scene, 1, FM_PERMANENT);
    add_child(scene, 2, FM_PERMANENT);
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "+a+b+c-b-c-a+a-a");
    for (int i = 1; i < 3; i++)
        cr_assert_eq(fm_fiber_incarnation(scene->child[i].fiber), 0);
    cr_assert_eq(finish(between).code, 0);
    close_scene(scene);
}

/* It is the map's no more, and not the group's: it begins, and is let alone. */
EXACT_TEST(map_group_late, one_that_waits_to_begin_and_is_detached_begins_without_the_group)
{
    for (int stops = 0; stops < 2; stops++) {
        struct scene *scene = scene_of_three(ONE_FOR_ALL);
        struct fm_restart restart = of_type(FM_PERMANENT);
        scene->child[1].stop_ms = 10;
        crash(&scene->child[0]);
        cr_assert_eq(try_child(scene, 3, &restart), 0);
        pass_ms(0);
        EXPECT_TEXT(scene, "-a-c");
        cr_assert_eq(fm_map_detach(scene->map, fm_key_str("d"), NULL), 0);
        if (stops)
            cr_assert_eq(fm_map_group_stop(scene->group, 0), -ETIMEDOUT);
        pass_ms(0);
        EXPECT_TEXT(scene, stops ? "+d" : "");
        pass_ms(10);
        EXPECT_TEXT(scene, stops ? "-b" : "-b+a+b+c+d");
        if (!stops) {
            crash(&scene->child[0]);
            pass_ms(10);
            EXPECT_TEXT(scene, "-a-c-b+a+b+c");
        }
        cr_assert_eq(fm_map_group_size(scene->group), stops ? 0 : 3);
        crash(&scene->child[3]);
        EXPECT_TEXT(scene, "-d");
        close_scene(scene);
    }
}

/* Whoever takes the key of one that waits for the round is no member, and begins at once. */
/* The same for the first time; of who is not run again after it, no body ever runs. */
EXACT_TEST(map_group_late, an_interruption_ends_one_that_waits_to_begin_unless_permanent)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    struct fm_restart permanent = of_type(FM_PERMANENT), transient = of_type(FM_TRANSIENT);
    add_child(scene, 0, FM_PERMANENT);
    add_child(scene, 1, FM_PERMANENT)->stop_ms = 10;
    crash(&scene->child[0]);
    cr_assert_eq(try_child(scene, 2, &permanent), 0); /* in the middle of the round */
    cr_assert_eq(try_child(scene, 3, &transient), 0);
    pass_ms(0);
    for (int i = 2; i < 4; i++)
        cr_assert_eq(fm_fiber_interrupt(scene->child[i].fiber), 0);
    pass_ms(5);
    expect_interruption(finish(fm_fiber_ref(scene->child[3].fiber)), FM_BY_USER);
    cr_assert(scene->child[3].dropped == 1 && scene->child[2].dropped == 0);
    pass_ms(5);
    EXPECT_TEXT(scene, "+a+b-a-b+a+b+c");
    cr_assert_eq(fm_fiber_incarnation(scene->child[2].fiber), 0);
    close_scene(scene);
}

EXACT_TEST(map_group_late, a_stranger_in_place_of_a_member_is_not_of_the_round)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct child *stranger = &scene->child[5];
    scene->child[0].stop_ms = 10;
    crash(&scene->child[1]);
    EXPECT_TEXT(scene, "-b-c");
    cr_assert_eq(fm_map_run(scene->map, fm_key_str("c"), child_lives, stranger, NULL, NULL),
                 FM_MAP_REPLACED);
    pass_ms(0);
    EXPECT_TEXT(scene, "+f");
    expect_interruption(finish(fm_fiber_ref(scene->child[2].fiber)), FM_BY_REPLACE);
    cr_assert_eq(fm_fiber_incarnation(scene->child[2].fiber), 0);
    pass_ms(10);
    EXPECT_TEXT(scene, "-a+a+b");
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "");
    pass_ms(10);
    EXPECT_TEXT(scene, "-a-b+a+b");
    close_scene(scene);
}
