/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_group_end.c - groups of fibers: stopping them, their limit, and who leaves them
 *
 * On one worker and the virtual clock; what happened is one text (group_test.h).
 */
#include "tests/fibermap/group_test.h"
#include "tests/fibermap/sweep.h"

/* ---- stopping ---- */

static struct fm_exit stop_it(void *group)
{
    return fm_fail(fm_map_group_stop(group, FM_NEVER));
}

EXACT_TEST(map_group_end, stop_ends_them_in_reverse_one_by_one)
{
    struct scene *scene = scene_of_three((struct fm_map_group_config) { 0 });
    for (int i = 0; i < 3; i++)
        scene->child[i].stop_ms = 10;
    struct fm_fiber *stopper = start(stop_it, scene->group);
    static const char *const each_ms[] = { "", "-c", "", "-b", "", "-a" };
    pass_ms(0);
    for (int i = 0; i < 6; i++) {
        pass_ms(i % 2 ? 1 : 9);
        EXPECT_TEXT(scene, each_ms[i]);
        cr_assert_eq(has_ended(stopper), i == 5);
    }
    cr_assert_eq(finish(stopper).code, 0);
    cr_assert_eq(fm_map_size(scene->map), 0);
    for (int i = 0; i < 3; i++) {
        expect_interruption(finish(fm_fiber_ref(scene->child[i].fiber)), FM_BY_GROUP);
        cr_assert_eq(fm_fiber_incarnation(scene->child[i].fiber), 0);
    }
    cr_assert_eq(fm_map_group_stop(scene->group, 0), 0, "again: there is nobody");
    cr_assert_eq(fm_map_join(scene->map, 0, NULL), -ETIMEDOUT, "no verdict");
    close_scene(scene);
}

EXACT_TEST(map_group_end, a_stopped_group_takes_nobody)
{
    struct scene *scene = open_scene(ONE_FOR_ALL);
    struct fm_restart restart = of_type(FM_PERMANENT);
    cr_assert_eq(fm_map_group_stop(scene->group, FM_NEVER), 0);
    cr_assert_eq(try_child(scene, 0, &restart), -ESHUTDOWN);
    cr_assert_eq(scene->child[0].dropped, 0, "arg stays the caller's");
    cr_assert(!is_in(&scene->child[0]));
    close_scene(scene);
}

EXACT_TEST(map_group_end, a_caller_who_leaves_stops_only_his_waiting)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    scene->child[2].stop_ms = 10;
    cr_assert_eq(fm_map_group_stop(scene->group, 0), -ETIMEDOUT);
    struct fm_fiber *stopper = start(stop_it, scene->group);
    pass_ms(5);
    cr_assert_eq(fm_fiber_stop(stopper, FM_NEVER, NULL), 0);
    expect_interruption(finish(stopper), FM_BY_USER);
    EXPECT_TEXT(scene, "");
    pass_ms(5);
    EXPECT_TEXT(scene, "-c-b-a");
    cr_assert_eq(fm_map_group_size(scene->group), 0);
    close_scene(scene);
}

/* In the back-off, waiting for the round, told to end for the round: all end, in order. */
EXACT_TEST(map_group_end, a_stop_in_the_middle_of_a_round_ends_it)
{
    for (int after = 0; after < 2; after++) {
        struct scene *scene = open_scene(ONE_FOR_ALL);
        struct fm_restart restart = of_type(FM_PERMANENT);
        add_child(scene, 0, FM_PERMANENT);
        add_child(scene, 1, FM_PERMANENT)->stop_ms = 10;
        restart.schedule = fm_schedule_spaced_ns(1000 * MS);
        cr_assert_eq(try_child(scene, 2, &restart), 0);
        fm_schedule_unref(restart.schedule);
        pass_ms(0);
        crash(&scene->child[2]);
        pass_ms(after ? 20 : 5);
        EXPECT_TEXT(scene, after ? "+a+b+c-c-b-a" : "+a+b+c-c");
        cr_assert_eq(fm_map_group_stop(scene->group, 0), -ETIMEDOUT);
        pass_ms(5);
        EXPECT_TEXT(scene, after ? "" : "-b-a");
        cr_assert_eq(fm_map_group_stop(scene->group, 0), 0);
        for (int i = 0; i < 3; i++)
            cr_assert_eq(fm_fiber_incarnation(scene->child[i].fiber), 0);
        close_scene(scene);
    }
}

static struct fm_exit stops_its_own_group(void *arg)
{
    struct child *child = arg;
    cr_assert_eq(fm_map_group_stop(child->scene->group, FM_NEVER), FM_MAP_SELF);
    return child_lives(child);
}

EXACT_TEST(map_group_end, a_member_that_stops_its_group_is_ended_in_its_turn)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.group = scene->group;
    scene->child[2].stop_ms = 10;
    cr_assert_eq(fm_map_run(scene->map, fm_key_str("d"), stops_its_own_group, &scene->child[3],
                            &options, NULL),
                 0);
    pass_ms(0);
    EXPECT_TEXT(scene, "+d-d");
    pass_ms(10);
    EXPECT_TEXT(scene, "-c-b-a");
    close_scene(scene);
}

TEST(map_group_end, a_thread_may_stop_a_group)
{
    struct fm_runtime_config runtime_config = FM_RUNTIME_CONFIG_INIT;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = of_type(FM_PERMANENT);
    _Atomic int ended = 0;
    struct fm_map *map;

    runtime_config.worker_count = 2;
    cr_assert_eq(fm_runtime_create(&runtime_config, &config.runtime), 0);
    cr_assert_eq(fm_map_create(&config, &map), 0);
    cr_assert_eq(fm_map_group_create(map, NULL, &options.group), 0);
    options.restart = &restart;
    for (uint64_t key = 0; key < 100; key++) {
        struct fm_fiber *fiber;
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(key), never_counting, &ended, &options, &fiber),
                     0);
        cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), 0);
        fm_fiber_unref(fiber);
    }
    cr_assert_eq(fm_map_group_stop(options.group, FM_NEVER), 0);
    cr_assert_eq(atomic_load(&ended), 100);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_group_unref(options.group);
    fm_map_destroy(map);
    fm_runtime_destroy(config.runtime);
}

/* ---- the limit ---- */

/* T262: the third crash ends the group, and no incarnation of it remains. */
EXACT_TEST(map_group_end, one_round_too_many_ends_the_group)
{
    for (uint32_t strategy = FM_ONE_FOR_ONE; strategy <= FM_REST_FOR_ONE; strategy++) {
        struct scene *scene = scene_of_three(
            (struct fm_map_group_config) { .strategy = strategy, .intensity = 2 });
        struct fm_exit verdict, exit;
        crash(&scene->child[1]);
        crash(&scene->child[1]);
        cr_assert_eq(scene->inside, 3);
        scene->text[0] = '\0';
        crash(&scene->child[1]);
        EXPECT_TEXT(scene, "-b-c-a");
        cr_assert_eq(fm_map_size(scene->map), 0);
        exit = finish(fm_fiber_ref(scene->child[1].fiber));
        cr_assert_eq(exit.code, -EIO);
        cr_assert_eq(exit.reason, FM_BY_RESTART_LIMIT);
        expect_interruption(finish(fm_fiber_ref(scene->child[0].fiber)), FM_BY_GROUP);
        cr_assert_eq(fm_map_join(scene->map, 0, &verdict), 0);
        cr_assert_eq(verdict.reason, FM_BY_RESTART_LIMIT);
        struct fm_restart restart = of_type(FM_PERMANENT);
        cr_assert_eq(try_child(scene, 0, &restart), -ESHUTDOWN);
        close_scene(scene);
    }
}

/* Both ends of the period count, and it slides. */
EXACT_TEST(map_group_end, rounds_are_counted_within_a_sliding_period)
{
    struct scene *scene = scene_of_three((struct fm_map_group_config) {
        .strategy = FM_ONE_FOR_ALL, .intensity = 2, .period_ns = 1000 * MS });
    for (int i = 0; i < 20; i++) {
        crash(&scene->child[i % 3]);
        pass_ms(i % 2 ? 700 : 301);
        scene->text[0] = '\0';
    }
    cr_assert_eq(scene->inside, 3);
    crash(&scene->child[0]); /* at 10010, after 9309 and 9009: the next one in 10009 */
    pass_ms(299);
    cr_assert_eq(scene->inside, 3);
    crash(&scene->child[0]);
    cr_assert_eq(scene->inside, 0);
    close_scene(scene);
}

EXACT_TEST(map_group_end, the_limit_says_what_the_map_hears)
{
    for (uint32_t on_limit = FM_LIMIT_ESCALATE; on_limit <= FM_LIMIT_CLOSE_MAP; on_limit++) {
        struct scene *scene = scene_of_three((struct fm_map_group_config) {
            .strategy = FM_ONE_FOR_ALL, .intensity = 1, .on_limit = on_limit });
        struct fm_exit verdict;
        run(scene->map, "stranger", until_interrupted, NULL);
        crash(&scene->child[0]);
        crash(&scene->child[0]);
        cr_assert_eq(scene->inside, 0);
        cr_assert_eq(fm_map_has(scene->map, fm_key_str("stranger")),
                     on_limit != FM_LIMIT_CLOSE_MAP);
        cr_assert_eq(fm_map_join(scene->map, 0, &verdict),
                     on_limit == FM_LIMIT_REMOVE ? -ETIMEDOUT : 0);
        cr_assert_eq(fm_map_run(scene->map, fm_key_str("x"), return_arg, NULL, NULL, NULL),
                     on_limit == FM_LIMIT_CLOSE_MAP ? -ESHUTDOWN : 0);
        close_scene(scene);
    }
}

/* A limit of its own takes one member out, and the others go on. */
EXACT_TEST(map_group_end, a_limit_of_its_own_takes_one_member_out)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct fm_restart once = of_type(FM_PERMANENT);
    once.intensity = 1;
    once.on_limit = FM_LIMIT_REMOVE;
    cr_assert_eq(try_child(scene, 3, &once), 0);
    pass_ms(0);
    crash(&scene->child[3]);
    EXPECT_TEXT(scene, "+d-d-c-b-a+a+b+c+d");
    crash(&scene->child[3]);
    EXPECT_TEXT(scene, "-d");
    cr_assert_eq(fm_map_group_size(scene->group), 3);
    close_scene(scene);
}

/* ---- leaving ---- */

EXACT_TEST(map_group_end, no_group_begins_anew_for_a_member_that_the_map_ends)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    cr_assert_eq(remove_child(&scene->child[1]), 0);
    pass_ms(0);
    EXPECT_TEXT(scene, "-b");
    add_child(scene, 0, FM_PERMANENT); /* in place of the old one: now it is the last */
    EXPECT_TEXT(scene, "+a-a");
    cr_assert_eq(fm_map_group_size(scene->group), 2);
    crash(&scene->child[2]);
    EXPECT_TEXT(scene, "-c-a+c+a");
    cr_assert_eq(fm_map_clear(scene->map, FM_NEVER), 0);
    cr_assert_eq(scene->inside, 0);
    cr_assert_eq(fm_map_group_size(scene->group), 0);
    close_scene(scene);
}

EXACT_TEST(map_group_end, a_detached_member_is_let_alone)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    cr_assert_eq(fm_map_detach(scene->map, fm_key_str("c"), NULL), 0);
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "-a-b+a+b");
    cr_assert_eq(fm_map_detach(scene->map, fm_key_str("b"), NULL), 0);
    cr_assert_eq(fm_map_group_stop(scene->group, 0), -ETIMEDOUT);
    pass_ms(0);
    EXPECT_TEXT(scene, "-a");
    cr_assert_eq(fm_map_group_stop(scene->group, 0), 0);
    cr_assert_eq(scene->inside, 2);
    crash(&scene->child[1]);
    crash(&scene->child[2]);
    EXPECT_TEXT(scene, "-b-c");
    close_scene(scene);
}

EXACT_TEST(map_group_end, closing_the_map_ends_a_round)
{
    static const uint32_t kinds[] = { FM_CLOSE_CANCEL, FM_CLOSE_DRAIN };
    for (int i = 0; i < 2; i++) {
        struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
        struct scene *scene = scene_of_three(ONE_FOR_ALL);
        policy.kind = kinds[i];
        policy.deadline_ns = 1;
        scene->child[1].stop_ms = 10;
        pass_ms(1); /* past the deadline */
        crash(&scene->child[2]); /* c waits, b ends, a still runs */
        EXPECT_TEXT(scene, "-c");
        cr_assert_eq(fm_map_close(scene->map, &policy, NULL), -ETIMEDOUT);
        pass_ms(0);
        cr_assert(has_ended(scene->child[2].fiber), "waits no more");
        pass_ms(10);
        EXPECT_TEXT(scene, "-b-a");
        cr_assert_eq(fm_map_close(scene->map, NULL, NULL), 0);
        for (int n = 0; n < 3; n++)
            cr_assert_eq(fm_fiber_incarnation(scene->child[n].fiber), 0);
        close_scene(scene);
    }
}

/* ---- those whose bodies have not begun ---- */

EXACT_TEST(map_group_end, who_has_not_begun_begins_after_the_round)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct fm_restart restart = of_type(FM_TRANSIENT);
    scene->child[1].stop_ms = 10;
    crash(&scene->child[0]);
    cr_assert_eq(try_child(scene, 3, &restart), 0); /* in the middle of it */
    cr_assert_eq(try_child(scene, 4, NULL), 0);
    pass_ms(5);
    EXPECT_TEXT(scene, "-a-c");
    cr_assert_eq(remove_child(&scene->child[4]), 0);
    cr_assert_eq(scene->child[4].dropped, 1, "its body never ran");
    pass_ms(5);
    EXPECT_TEXT(scene, "-b+a+b+c+d");
    cr_assert_eq(fm_fiber_incarnation(scene->child[3].fiber), 0);
    close_scene(scene);
}

EXACT_TEST(map_group_end, who_waits_for_its_turn_is_not_ended_by_a_round)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.group = scene->group;
    options.conflict = FM_QUEUE;
    cr_assert_eq(fm_map_run(scene->map, fm_key_str("b"), child_lives, &scene->child[3],
                            &options, NULL),
                 FM_MAP_QUEUED);
    pass_ms(0);
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "-a-c-b+a+b+c");
    cr_assert_eq(remove_child(&scene->child[1]), 0);
    pass_ms(0);
    EXPECT_TEXT(scene, "-b+d");
    crash(&scene->child[2]);
    EXPECT_TEXT(scene, "-c-d-a+a+c");
    close_scene(scene);
}

/* ---- references, arguments, memory ---- */

EXACT_TEST(map_group_end, a_group_goes_on_without_its_maker)
{
    struct scene *scene = scene_of_three(ONE_FOR_ALL);
    fm_map_group_unref(scene->group);
    crash(&scene->child[0]);
    EXPECT_TEXT(scene, "-a-c-b+a+b+c");
    scene->group = NULL;
    close_scene(scene);
}

EXACT_TEST(map_group_end, senseless_groups_are_refused)
{
    struct fm_map *map = new_map(), *other = new_map();
    struct fm_map_group_config bad[4] = { { .strategy = 3 },
                                          { .on_limit = 3 },
                                          { .intensity = FM_RESTART_INTENSITY_MAX + 1 },
                                          { .period_ns = -1 } };
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map_group *group = NULL;
    struct {
        struct fm_map_group_config config;
        uint64_t newer;
    } longer = { .config = { .size = sizeof longer }, .newer = 1 };
    for (int i = 0; i < 4; i++) {
        bad[i].size = sizeof bad[i];
        cr_assert_eq(fm_map_group_create(map, &bad[i], &group), -EINVAL, "%d", i);
    }
    cr_assert_eq(fm_map_group_create(map, &longer.config, &group), -E2BIG);
    cr_assert_eq(fm_map_group_create(NULL, NULL, &group), -EINVAL);
    cr_assert_eq(fm_map_group_create(map, NULL, NULL), -EINVAL);
    cr_assert_null(group);
    cr_assert_eq(fm_map_group_create(map, NULL, &group), 0);
    options.group = group;
    cr_assert_eq(fm_map_run(other, fm_key_str("a"), return_arg, NULL, &options, NULL), -EINVAL);
    cr_assert(!fm_map_has(other, fm_key_str("a")));
    cr_assert_eq(fm_map_group_stop(NULL, 0), -EINVAL);
    cr_assert_eq(fm_map_group_size(NULL), 0);
    cr_assert_null(fm_map_group_ref(NULL));
    cr_assert_null(fm_map_group_unref(NULL));
    fm_map_destroy(map);
    cr_assert_null(fm_map_group_unref(group), "it may outlive its map");
    fm_map_destroy(other);
}

static int create_one(void *map)
{
    struct fm_map_group *group = NULL;
    armed(true);
    int r = fm_map_group_create(map, NULL, &group);
    armed(false);
    cr_assert_eq(r == 0, group != NULL);
    fm_map_group_unref(group);
    return r;
}

static int run_one(void *arg)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map = new_map();
    cr_assert_eq(fm_map_group_create(map, NULL, &options.group), 0);
    armed(true);
    int r = fm_map_run(map, fm_key_str("a"), until_interrupted, NULL, &options, NULL);
    armed(false);
    cr_assert_eq(fm_map_group_size(options.group), r == 0);
    fm_map_destroy(map);
    fm_map_group_unref(options.group);
    return r;
}

/* F50 */
WORKER_TEST(map_group_end, without_memory_nothing_is_made_and_nobody_joins)
{
    struct fm_map *map = new_map();
    cr_assert_gt(sweep(create_one, map), 0);
    fm_map_destroy(map);
    cr_assert_gt(sweep(run_one, NULL), 3);
}
