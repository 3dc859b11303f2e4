/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_collide.c - keys of one hash: each call tells them apart by their bytes
 *
 * The fast hash multiplies words of the key, each under a word of the map's secret. Who knows
 * the secret makes one factor zero, and then the other does not matter.
 */
#include "fibermap/map.h"
#include "tests/fibermap/map_test.h"

enum { TWINS = 3 };

struct scene {
    struct fm_map *map;
    uint64_t word[TWINS][3];
    struct fm_key key[TWINS];
};

static void scene_with(struct scene *scene, uint32_t retain_count)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct map_key first, read;
    config.hash = FM_HASH_FAST;
    config.retain_count = retain_count;
    cr_assert_eq(fm_map_create(&config, &scene->map), 0);
    for (int i = 0; i < TWINS; i++) {
        scene->word[i][0] = scene->map->seed.k0;
        scene->word[i][1] = (uint64_t)i;
        scene->word[i][2] = 7;
        scene->key[i] = fm_key_bytes(scene->word[i], sizeof scene->word[i]);
        cr_assert(fm__key_read(i ? &read : &first, &scene->map->seed, scene->key[i]));
        cr_assert(i == 0 || read.head == first.head, "no twins");
    }
}

static int run_twin(struct scene *scene, int i, uint32_t kind)
{
    struct fm_map_run_options options = conflict(kind);
    return fm_map_run(scene->map, scene->key[i], until_interrupted, NULL, &options, NULL);
}

static uint64_t id_under(struct scene *scene, int i)
{
    struct fm_fiber *fiber;
    if (fm_map_get(scene->map, scene->key[i], &fiber) < 0)
        return 0;
    uint64_t id = fm_fiber_id(fiber);
    fm_fiber_unref(fiber);
    return id;
}

WORKER_TEST(map_collide, who_stands_under_one_is_not_found_under_another)
{
    struct scene scene;
    scene_with(&scene, 0);
    cr_assert_eq(run_twin(&scene, 0, FM_FAIL), 0);
    cr_assert_eq(run_twin(&scene, 1, FM_FAIL), 0);
    cr_assert_eq(run_twin(&scene, 1, FM_FAIL), -EEXIST);
    uint64_t a = id_under(&scene, 0), b = id_under(&scene, 1);
    cr_assert(a && b && a != b && !id_under(&scene, 2));
    settle();
    cr_assert_eq(run_twin(&scene, 1, FM_REPLACE), FM_MAP_REPLACED);
    cr_assert(id_under(&scene, 0) == a && id_under(&scene, 1) != b);
    cr_assert_eq(fm_map_remove(scene.map, scene.key[2], FM_NEVER), -ENOENT);
    cr_assert_eq(fm_map_remove(scene.map, scene.key[1], FM_NEVER), 0);
    cr_assert(id_under(&scene, 0) == a && !id_under(&scene, 1));
    fm_map_destroy(scene.map);
}

WORKER_TEST(map_collide, a_fiber_moves_from_one_to_another)
{
    struct scene scene;
    scene_with(&scene, 0);
    cr_assert_eq(run_twin(&scene, 0, FM_FAIL), 0);
    uint64_t id = id_under(&scene, 0);
    cr_assert_eq(fm_map_move(scene.map, scene.key[0], scene.key[0]), 0, "the same key");
    cr_assert_eq(id_under(&scene, 0), id);
    cr_assert_eq(fm_map_move(scene.map, scene.key[0], scene.key[1]), 0);
    cr_assert(!id_under(&scene, 0) && id_under(&scene, 1) == id);
    cr_assert_eq(run_twin(&scene, 0, FM_FAIL), 0);
    cr_assert_eq(fm_map_move(scene.map, scene.key[0], scene.key[1]), -EEXIST);
    cr_assert_eq(fm_map_size(scene.map), 2);
    fm_map_destroy(scene.map);
}

WORKER_TEST(map_collide, several_come_at_one_instant_and_only_the_same_key_is_twice)
{
    struct scene scene;
    scene_with(&scene, 0);
    struct fm_map_run_item runs[TWINS + 1];
    for (int i = 0; i <= TWINS; i++)
        runs[i] = (struct fm_map_run_item) { .key = scene.key[i % TWINS],
                                             .entry = until_interrupted };
    cr_assert_eq(fm_map_run_many(scene.map, runs, TWINS + 1, FM_MAP_ALL_OR_NOTHING), -EEXIST);
    for (int i = 0; i <= TWINS; i++)
        cr_assert_eq(runs[i].result, i < TWINS ? -ECANCELED : -EEXIST, "run %d", i);
    cr_assert_eq(fm_map_size(scene.map), 0);
    cr_assert_eq(fm_map_run_many(scene.map, runs, TWINS, FM_MAP_ALL_OR_NOTHING), 0);
    cr_assert_eq(fm_map_size(scene.map), TWINS);
    cr_assert(id_under(&scene, 0) && id_under(&scene, 1) && id_under(&scene, 2));
    fm_map_destroy(scene.map);
}

WORKER_TEST(map_collide, each_retains_an_exit_of_its_own)
{
    struct fm_exit exit;
    struct scene scene;
    scene_with(&scene, 8);
    for (int i = 0; i < TWINS; i++) {
        struct fm_fiber *fiber;
        cr_assert_eq(fm_map_run(scene.map, scene.key[i], return_arg, number(i), NULL, &fiber),
                     0);
        finish(fiber);
    }
    cr_assert_eq(fm_map_forget(scene.map, scene.key[1]), 0);
    for (int i = 0; i < TWINS; i++) {
        cr_assert_eq(fm_map_last_exit(scene.map, scene.key[i], &exit), i == 1 ? -ENOENT : 0);
        cr_assert(i == 1 || exit.value == number(i));
    }
    fm_map_destroy(scene.map);
}

WORKER_TEST(map_collide, each_has_a_queue_of_its_own)
{
    struct scene scene;
    scene_with(&scene, 0);
    for (int i = 0; i < TWINS; i++)
        cr_assert_eq(run_twin(&scene, i, FM_QUEUE), 0, "nobody is before it");
    for (int i = 0; i < TWINS; i++)
        cr_assert_eq(run_twin(&scene, i, FM_QUEUE), FM_MAP_QUEUED);
    settle();
    uint64_t first = id_under(&scene, 0), second = id_under(&scene, 1);
    cr_assert_eq(fm_map_remove(scene.map, scene.key[1], FM_NEVER), 0);
    settle();
    cr_assert(id_under(&scene, 1) && id_under(&scene, 1) != second, "the next has come");
    cr_assert_eq(id_under(&scene, 0), first);
    cr_assert_eq(fm_map_count(scene.map, FM_MEMBER_QUEUED), 2);
    fm_map_destroy(scene.map);
}
