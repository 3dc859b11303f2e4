/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_run.c - making a map; run with every conflict option; get, has, size; what is refused */
#include <stdlib.h>

#include "runtime/platform/memory.h"
#include "tests/fibermap/map_test.h"

WORKER_TEST(map_run, fiber_is_present_until_it_ends)
{
    struct fm_map *map = make_map();
    cr_expect_eq(fm_map_size(map), 0);
    cr_expect_not(fm_map_has(map, KEY("a")));
    struct fm_fiber *fiber = run(map, "a", return_arg, number(7));
    cr_expect_eq(fm_map_size(map), 1);
    cr_expect(fm_map_has(map, KEY("a")));
    cr_expect_eq(under(map, "a"), fm_fiber_id(fiber));
    cr_expect_eq(finish(fiber).value, number(7));
    cr_expect_eq(fm_map_size(map), 0);
    cr_expect_not(fm_map_has(map, KEY("a")));
    cr_expect_eq(under(map, "a"), 0);
    cr_expect_null(fm_map_destroy(map));
}

struct look {
    struct fm_map *map;
    const char *key;
    uint64_t found, own;
    int result;
};

static struct fm_exit look_at_own_key(void *arg)
{
    struct look *look = arg;
    look->found = under(look->map, look->key);
    look->own = fm_fiber_id(fm_fiber_self());
    struct fm_map_run_options keep = conflict(FM_KEEP);
    look->result = fm_map_run(look->map, KEY(look->key), until_interrupted, NULL, &keep, NULL);
    return fm_ok(NULL);
}

/* T079, T082 */
WORKER_TEST(map_run, body_finds_its_own_key_from_its_first_line)
{
    struct look look = { make_map(), "self", 1, 2, -1 };
    finish(run(look.map, "self", look_at_own_key, &look));
    cr_expect_eq(look.found, look.own);
    cr_expect_eq(look.result, FM_MAP_KEPT, "a nested only-if-missing starts nothing");
    fm_map_destroy(look.map);
}

WORKER_TEST(map_run, replace_swaps_then_interrupts)
{
    struct fm_map *map = make_map();
    struct fm_fiber *old = run(map, "a", until_interrupted, NULL), *new;
    settle();
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, &new),
                 FM_MAP_REPLACED);
    cr_expect_eq(under(map, "a"), fm_fiber_id(new));
    cr_expect_eq(fm_map_size(map), 1);
    cr_expect_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 1);
    struct fm_exit exit = finish(old);
    cr_expect_eq(exit.kind, FM_INTERRUPTED);
    cr_expect_eq(exit.reason, FM_BY_REPLACE);
    cr_expect_eq(exit.by, fm_fiber_id(fm_fiber_self()));
    cr_expect_eq(under(map, "a"), fm_fiber_id(new),
                 "the old one's end does not touch its successor");
    cr_expect_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 0);
    fm_map_destroy(map);
    exit = finish(new);
    cr_expect_eq(exit.kind, FM_INTERRUPTED);
    cr_expect_eq(exit.reason, FM_BY_CLOSE);
}

/* T087 */
FIBER_TEST(map_run, hundred_replacements_leave_one_fiber)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fibers[100];
    int interrupted = 0;
    for (int i = 0; i < 100; i++)
        fibers[i] = run(map, "a", until_interrupted, NULL);
    cr_expect_eq(fm_map_size(map), 1);
    for (int i = 0; i < 99; i++)
        interrupted += finish(fibers[i]).reason == FM_BY_REPLACE;
    cr_expect_eq(interrupted, 99);
    cr_expect_eq(fm_map_size(map), 1);
    cr_expect_eq(under(map, "a"), fm_fiber_id(fibers[99]));
    fm_fiber_unref(fibers[99]);
    fm_map_destroy(map);
}

static void count_drop(void *count)
{
    ++*(int *)count;
}

/* F28, X7 */
WORKER_TEST(map_run, fiber_replaced_before_its_first_step_never_runs)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *first;
    int drops = 0;
    options.arg_drop = count_drop;
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, &drops, &options, &first), 0);
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, NULL),
                 FM_MAP_REPLACED);
    cr_expect_eq(finish(first).reason, FM_BY_REPLACE);
    cr_expect_eq(drops, 1);
    cr_expect_eq(fm_map_size(map), 1);
    fm_map_destroy(map);
}

WORKER_TEST(map_run, keep_gives_the_incumbent_and_starts_nothing)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options keep = conflict(FM_KEEP);
    struct fm_fiber *holder, *found = NULL;
    int drops = 0;
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &keep, &holder), 0);
    keep.arg_drop = count_drop;
    cr_expect_eq(fm_map_run(map, KEY("a"), return_arg, &drops, &keep, &found), FM_MAP_KEPT);
    cr_expect_eq(found, holder);
    cr_expect_eq(fm_map_run(map, KEY("a"), return_arg, &drops, &keep, NULL), FM_MAP_KEPT);
    cr_expect_eq(drops, 0, "arg stays the caller's");
    fm_fiber_unref(found);
    fm_map_remove(map, KEY("a"), FM_NEVER);
    cr_expect_eq(fm_map_run(map, KEY("a"), return_arg, &drops, &keep, NULL), 0);
    fm_fiber_unref(holder);
    fm_map_destroy(map);
}

/* T046, T081, F42 */
TIMED_WORKER_TEST(map_run, incumbent_that_is_ending_counts_as_present)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options keep = conflict(FM_KEEP);
    atomic_bool go = false;
    struct fm_fiber *holder = run(map, "a", stubborn, &go);
    settle();
    fm_fiber_interrupt(holder);
    cr_expect_eq(fm_map_run(map, KEY("a"), return_arg, NULL, &keep, NULL), FM_MAP_KEPT);
    cr_expect_eq(fm_map_count(map, FM_MEMBER_ENDING), 1);
    cr_expect_eq(fm_map_count(map, FM_MEMBER_LIVE), 0);
    cr_expect_eq(fm_map_size(map), 1);
    atomic_store(&go, true);
    finish(holder);
    cr_expect_not(fm_map_has(map, KEY("a")));
    fm_map_destroy(map);
}

/* T240 */
WORKER_TEST(map_run, fail_refuses_a_held_key)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options fail = conflict(FM_FAIL);
    struct fm_fiber *untouched = (struct fm_fiber *)&fail;
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &fail, NULL), 0);
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &fail, NULL), -EEXIST);
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &fail, &untouched),
                 -EEXIST);
    cr_expect_eq(untouched, (struct fm_fiber *)&fail);
    cr_expect_eq(fm_map_size(map), 1);
    fm_map_destroy(map);
}

static struct fm_exit run_parker(void *arg)
{
    cr_assert_eq(fm_map_run(arg, KEY("child"), until_interrupted, NULL, NULL, NULL), 0);
    return fm_ok(NULL);
}

/* T084 */
WORKER_TEST(map_run, keyed_fiber_outlives_the_fiber_that_ran_it)
{
    struct fm_map *map = make_map();
    struct fm_fiber *caller;
    cr_assert_eq(fm_fiber_spawn(run_parker, map, NULL, &caller), 0);
    finish(caller);
    settle();
    cr_expect(fm_map_has(map, KEY("child")));
    fm_map_destroy(map);
}

static struct fm_exit replace_self(void *arg)
{
    struct look *look = arg;
    look->result = fm_map_run(look->map, KEY(look->key), until_interrupted, NULL, NULL, NULL);
    return fm_fail(fm_check());
}

/* T067 */
WORKER_TEST(map_run, fiber_that_replaces_itself_is_interrupted)
{
    struct look look = { make_map(), "a", 0, 0, 0 };
    struct fm_fiber *fiber = run(look.map, "a", replace_self, &look);
    uint64_t id = fm_fiber_id(fiber);
    struct fm_exit exit = finish(fiber);
    cr_expect_eq(look.result, FM_MAP_REPLACED);
    cr_expect_eq(exit.kind, FM_INTERRUPTED);
    cr_expect_eq(exit.by, id);
    cr_expect(fm_map_has(look.map, KEY("a")));
    fm_map_destroy(look.map);
}

/* F56 */
WORKER_TEST(map_run, keys_are_bytes_and_are_copied)
{
    struct fm_map *map = make_map();
    char key[FM_KEY_MAX];
    static const size_t lengths[] = { 1, 2, 8, 55, 56, 57, 64, 1000, FM_KEY_MAX };
    memset(key, 0xff, sizeof key);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        cr_assert_eq(fm_map_run(map, fm_key_bytes(key, lengths[i]), until_interrupted, NULL,
                                NULL, NULL),
                     0, "%zu bytes", lengths[i]);
    }
    memset(key, 0, sizeof key);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        cr_expect_not(fm_map_has(map, fm_key_bytes(key, lengths[i])));
    memset(key, 0xff, sizeof key);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        cr_expect(fm_map_has(map, fm_key_bytes(key, lengths[i])));
    key[40] = 0;
    cr_expect_not(fm_map_has(map, fm_key_bytes(key, 55)), "a NUL is a byte");
    cr_expect_eq(fm_map_run(map, FM_KEY_U64(12), until_interrupted, NULL, NULL, NULL), 0);
    cr_expect(fm_map_has(map, FM_KEY_U64(12)));
    cr_expect_not(fm_map_has(map, FM_KEY_U64(13)));
    fm_map_destroy(map);
}

WORKER_TEST(map_run, both_hashes_and_one_stripe_do_the_same)
{
    for (uint32_t hash = FM_HASH_KEYED; hash <= FM_HASH_FAST; hash++) {
        struct fm_map_config config = FM_MAP_CONFIG_INIT;
        struct fm_map *map;
        config.hash = hash;
        config.stripe_count = 1;
        config.name = "small";
        cr_assert_eq(fm_map_create(&config, &map), 0);
        for (uint64_t i = 0; i < 1000; i++)
            cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), until_interrupted, NULL, NULL, NULL),
                         0);
        for (uint64_t i = 0; i < 1000; i++)
            cr_assert(fm_map_has(map, FM_KEY_U64(i)));
        cr_expect_not(fm_map_has(map, FM_KEY_U64(1000)));
        cr_expect_eq(fm_map_size(map), 1000);
        fm_map_destroy(map);
    }
}

/* T061 */
WORKER_TEST(map_run, name_stack_and_drops_are_the_fibers)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    int drops = 0;
    options.name = "worker";
    options.stack_bytes = 16384;
    options.value_drop = count_drop;
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, &drops, &options, &fiber), 0);
    cr_expect_str_eq(fm_fiber_name(fiber), "worker");
    finish(fiber);
    cr_expect_eq(drops, 1);
    fm_map_destroy(map);
}

WORKER_TEST(map_run, what_is_wrong_is_refused)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = NULL;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct {
        struct fm_map_run_options options;
        uint64_t tail;
    } longer = { .options = { .size = sizeof longer } };

    cr_expect_eq(fm_map_run(NULL, KEY("a"), until_interrupted, NULL, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_map_run(map, KEY("a"), NULL, NULL, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_map_run(map, KEY(""), until_interrupted, NULL, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_map_run(map, KEY(NULL), until_interrupted, NULL, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_map_run(map, fm_key_bytes("a", FM_KEY_MAX + 1), until_interrupted, NULL,
                            NULL, NULL),
                 -EINVAL);
    options.conflict = 77;
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, NULL), -EINVAL);
    options = flags(64);
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, NULL), -EINVAL);
    options = flags(0);
    options.stack_bytes = 2 << 20;
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &options, NULL), -EINVAL);
    longer.tail = 1;
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &longer.options, NULL),
                 -E2BIG);
    longer.tail = 0;
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &longer.options, NULL), 0);

    cr_expect_eq(fm_map_get(NULL, KEY("a"), &fiber), -EINVAL);
    cr_expect_eq(fm_map_get(map, KEY(""), &fiber), -EINVAL);
    cr_expect_eq(fm_map_get(map, KEY("b"), &fiber), -ENOENT);
    cr_expect_eq(fm_map_get(map, KEY("b"), NULL), -ENOENT);
    cr_expect_eq(fm_map_get(map, KEY("a"), NULL), 0);
    cr_expect_null(fiber);
    cr_expect_not(fm_map_has(NULL, KEY("a")));
    cr_expect_not(fm_map_has(map, KEY("")));
    cr_expect_eq(fm_map_size(NULL), 0);
    cr_expect_eq(fm_map_count(NULL, 0), 0);
    cr_expect_eq(fm_map_count(map, 9), 0);
    fm_map_destroy(map);
    cr_expect_null(fm_map_destroy(NULL));
}

WORKER_TEST(map_create, what_is_wrong_is_refused)
{
    struct fm_map *map = NULL;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct {
        struct fm_map_config config;
        uint64_t tail;
    } longer = { .config = { .size = sizeof longer }, .tail = 1 };

    cr_expect_eq(fm_map_create(NULL, NULL), -EINVAL);
    config.hash = 2;
    cr_expect_eq(fm_map_create(&config, &map), -EINVAL);
    config.hash = 0;
    config.on_failure = 3;
    cr_expect_eq(fm_map_create(&config, &map), -EINVAL);
    config.on_failure = 0;
    config.flags = 1;
    cr_expect_eq(fm_map_create(&config, &map), -EINVAL);
    config.flags = 0;
    config.reserved = 1;
    cr_expect_eq(fm_map_create(&config, &map), -EINVAL);
    cr_expect_eq(fm_map_create(&longer.config, &map), -E2BIG);
    cr_expect_eq(fm_map_create_scoped(NULL, NULL), -EINVAL);
    cr_expect_null(map);
}

TEST(map_create, thread_must_name_a_runtime)
{
    struct fm_runtime *runtime;
    struct fm_map *map;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    cr_expect_eq(fm_map_create(NULL, &map), -EINVAL);
    cr_expect_eq(fm_map_create_scoped(NULL, &map), -EPERM);
    cr_assert_eq(fm_runtime_create(NULL, &runtime), 0);
    config.runtime = runtime;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    struct fm_fiber *fiber = run(map, "a", return_arg, number(3));
    cr_expect_eq(finish(fiber).value, number(3));
    cr_expect_eq(fm_map_run(map, KEY("b"), until_interrupted, NULL, NULL, NULL), 0);
    cr_expect_null(fm_map_destroy(map));
    fm_runtime_destroy(runtime);
}

/* F50: every allocation of a run fails once; the old fiber and the argument stay as they were. */
WORKER_TEST(map_run, no_memory_changes_nothing)
{
    char key[100];
    memset(key, 'x', sizeof key);
    for (uint64_t nth = 1;; nth++) {
        struct fm_map *map = make_map();
        struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
        int drops = 0;
        options.name = "named";
        options.arg_drop = count_drop;
        fm__fault_set(FAULT_MALLOC, nth, false);
        int r = fm_map_run(map, fm_key_bytes(key, sizeof key), until_interrupted, &drops,
                           &options, NULL);
        bool hit = fm__fault_hits(FAULT_MALLOC) != 0;
        fm__fault_set(FAULT_MALLOC, 0, false);
        if (r < 0) {
            cr_expect_eq(r, -ENOMEM, "allocation %lu", (unsigned long)nth);
            cr_expect_eq(fm_map_size(map), 0);
            cr_expect_eq(drops, 0);
            cr_expect_eq(fm_map_run(map, fm_key_bytes(key, sizeof key), until_interrupted, NULL,
                                    NULL, NULL),
                         0);
        }
        cr_expect_eq(fm_map_size(map), 1);
        fm_map_destroy(map);
        if (!hit)
            break;
        cr_assert_lt(nth, 20);
    }
}

WORKER_TEST(map_create, no_memory_leaves_nothing)
{
    for (uint64_t nth = 1;; nth++) {
        struct fm_map *map = NULL;
        struct fm_map_config config = FM_MAP_CONFIG_INIT;
        config.name = "named";
        fm__fault_set(FAULT_MALLOC, nth, false);
        int r = fm_map_create(&config, &map);
        fm__fault_set(FAULT_MALLOC, 0, false);
        if (r == 0) {
            cr_expect_gt(nth, 3);
            fm_map_destroy(map);
            break;
        }
        cr_expect_eq(r, -ENOMEM);
    }
}
