/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group_test.h - members of a group, and one text of all that has happened to them
 *
 * A member under the key "a" writes "+a" when an incarnation begins and "-a" when it has ended, its
 * finalizer included. On one worker the text is exact.
 */
#ifndef TESTS_FIBERMAP_GROUP_TEST_H
#define TESTS_FIBERMAP_GROUP_TEST_H

#include <string.h>

#include "tests/support/maps.h"

#define MS INT64_C(1000000)

enum { CHILDREN_MAX = 8 };

struct scene;

struct child {
    struct scene *scene;
    char name[2];
    struct fm_semaphore *crash; /* a permit ends one incarnation */
    struct fm_fiber *fiber;
    int64_t stop_ms;     /* what its finalizer takes */
    int fails_at_once;   /* so many incarnations, from the next one on */
    struct fm_exit exit; /* of who was interrupted, if not the interruption */
    bool stubborn;       /* hears of no interruption until it gets a permit */
    int dropped;
};

struct scene {
    struct fm_map *map;
    struct fm_map_group *group;
    struct child child[CHILDREN_MAX];
    int inside;
    char text[256];
};

static inline void write_down(struct child *child, const char *what)
{
    struct scene *scene = child->scene;
    size_t length = strlen(scene->text);
    cr_assert_lt(length + 3, sizeof scene->text);
    strcat(strcat(scene->text, what), child->name);
}

/* What has happened since it was last asked. */
#define EXPECT_TEXT(scene, expected)                                                           \
    do {                                                                                       \
        cr_assert_str_eq((scene)->text, expected, "%s, not %s", (scene)->text, expected);      \
        (scene)->text[0] = '\0';                                                               \
    } while (0)

static inline int child_ends(void *arg, struct fm_exit exit)
{
    struct child *child = arg;
    (void)exit;
    if (child->stop_ms)
        fm_sleep_ms(child->stop_ms);
    write_down(child, "-");
    child->scene->inside--;
    return 0;
}

static inline struct fm_exit child_lives(void *arg)
{
    struct child *child = arg;
    child->scene->inside++;
    write_down(child, "+");
    cr_assert_eq(fm_defer(child_ends, child), 0);
    if (child->fails_at_once && child->fails_at_once--)
        return fm_fail(-EIO);
    if (child->stubborn)
        fm_mask();
    int r = fm_semaphore_acquire(child->crash, 1, FM_NEVER);
    if (child->stubborn)
        fm_unmask();
    if (r < 0)
        return child->exit.kind || child->exit.code ? child->exit : fm_fail(r);
    return fm_fail(-EIO);
}

static inline void child_dropped(void *arg)
{
    ((struct child *)arg)->dropped++;
}

static inline struct fm_restart of_type(uint32_t type)
{
    struct fm_restart restart = FM_RESTART_INIT;
    restart.type = type;
    return restart;
}

static inline struct scene *open_scene(struct fm_map_group_config config)
{
    struct scene *scene = calloc(1, sizeof *scene);
    cr_assert_not_null(scene);
    scene->map = new_map();
    config.size = sizeof config;
    cr_assert_eq(fm_map_group_create(scene->map, &config, &scene->group), 0);
    for (int i = 0; i < CHILDREN_MAX; i++) {
        scene->child[i].scene = scene;
        scene->child[i].name[0] = (char)('a' + i);
        cr_assert_eq(fm_semaphore_create(0, &scene->child[i].crash), 0);
    }
    return scene;
}

static inline int try_child(struct scene *scene, int i, struct fm_restart *restart)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct child *child = &scene->child[i];
    fm_fiber_unref(child->fiber);
    child->fiber = NULL;
    options.restart = restart;
    options.group = scene->group;
    options.arg_drop = child_dropped;
    return fm_map_run(scene->map, fm_key_str(child->name), child_lives, child, &options,
                      &child->fiber);
}

/* The member i, under its letter, and let it begin. */
static inline struct child *add_child(struct scene *scene, int i, uint32_t type)
{
    struct fm_restart restart = of_type(type);
    int r = try_child(scene, i, &restart);
    cr_assert(r == 0 || r == FM_MAP_REPLACED, "%d", r);
    settle();
    return &scene->child[i];
}

/* A permanent one that waits so long before each incarnation but the first. */
static inline struct child *add_backing_off(struct scene *scene, int i, int64_t delay_ms)
{
    struct fm_restart restart = of_type(FM_PERMANENT);
    restart.schedule = fm_schedule_spaced_ns(delay_ms * MS);
    cr_assert_eq(try_child(scene, i, &restart), 0);
    fm_schedule_unref(restart.schedule);
    pass_ms(0);
    return &scene->child[i];
}

/* Three permanent ones. */
static inline struct scene *scene_of_three(struct fm_map_group_config config)
{
    struct scene *scene = open_scene(config);
    for (int i = 0; i < 3; i++)
        add_child(scene, i, FM_PERMANENT);
    EXPECT_TEXT(scene, "+a+b+c");
    return scene;
}

/* Its incarnation fails, and all that follows happens. */
static inline void crash(struct child *child)
{
    cr_assert_eq(fm_semaphore_release(child->crash, 1), 0);
    pass_ms(0);
}

static inline void close_scene(struct scene *scene)
{
    struct fm_close_policy now = FM_CLOSE_POLICY_INIT;
    now.deadline_ns = 1; /* time stands still until we let it pass */
    pass_ms(1);
    fm_map_close(scene->map, &now, NULL);
    pass_ms(1000);
    fm_map_destroy(scene->map);
    cr_assert_eq(scene->inside, 0);
    for (int i = 0; i < CHILDREN_MAX; i++) {
        fm_fiber_unref(scene->child[i].fiber);
        fm_semaphore_destroy(scene->child[i].crash);
    }
    cr_assert_eq(fm_map_group_size(scene->group), 0);
    fm_map_group_unref(scene->group);
    free(scene);
}

static inline bool is_in(struct child *child)
{
    return fm_map_has(child->scene->map, fm_key_str(child->name));
}

static inline int remove_child(struct child *child)
{
    return fm_map_remove(child->scene->map, fm_key_str(child->name), FM_NEVER);
}

#define ONE_FOR_ALL ((struct fm_map_group_config) { .strategy = FM_ONE_FOR_ALL })
#define REST_FOR_ONE ((struct fm_map_group_config) { .strategy = FM_REST_FOR_ONE })

#endif
