/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_child.c - maps that belong to fibers of maps: made once, closed with their fiber
 *
 * On one worker and the virtual clock; what happened is one text.
 */
#include <errno.h>
#include <string.h>

#include "fm/map_child.h"
#include "tests/fibermap/sweep.h"
#include "tests/support/maps.h"

#define KEY(text) fm_key_str(text)
#define MS INT64_C(1000000)
#define NAME(text) ((void *)(text))

static char text[256];

static void write_down(const char *what)
{
    cr_assert_lt(strlen(text) + strlen(what), sizeof text);
    strcat(text, what);
}

#define EXPECT_TEXT(expected)                                                                  \
    do {                                                                                       \
        cr_assert_str_eq(text, expected, "%s, not %s", text, expected);                        \
        text[0] = '\0';                                                                        \
    } while (0)

static int says_goodbye(void *name, struct fm_exit exit)
{
    (void)exit;
    fm_sleep_ms(1);
    write_down(name);
    return 0;
}

/* Until interrupted; writes its name a millisecond later, in a finalizer. */
static struct fm_exit lives(void *name)
{
    cr_assert_eq(fm_defer(says_goodbye, name), 0);
    fm_ready();
    return fm_fail(fm_never());
}

/* The same, and writes in capitals when it begins. */
static struct fm_exit lives_aloud(void *name)
{
    const char aloud[] = { (char)(((const char *)name)[0] - 'a' + 'A'), '\0' };
    write_down(aloud);
    return lives(name);
}

static int run_parent(struct fm_map *map, const char *key, fm_entry_fn *entry, void *arg,
                      uint32_t conflict, struct fm_fiber **ret_fiber)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.own_map = 1;
    options.conflict = conflict;
    return fm_map_run(map, KEY(key), entry, arg, &options, ret_fiber);
}

/* The map of the fiber under the key, which has begun; the reference is the caller's. */
static struct fm_map *child_of(struct fm_map *map, const char *key)
{
    struct fm_map *child = NULL;
    int r = fm_map_child(map, KEY(key), NULL, FM_NEVER, &child);
    cr_assert(r == 0 || r == FM_MAP_KEPT, "%d", r);
    return child;
}

/* ---- made once ---- */

EXACT_TEST(map_child, who_asks_first_makes_it_and_all_get_the_same)
{
    struct fm_map *map = new_map(), *first, *second;
    cr_assert_eq(run_parent(map, "p", until_interrupted, NULL, FM_REPLACE, NULL), 0);
    cr_assert_eq(run_parent(map, "q", until_interrupted, NULL, FM_REPLACE, NULL), 0);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &first), 0);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &second), FM_MAP_KEPT);
    cr_assert_eq(first, second);
    fm_map_unref(second);
    cr_assert_eq(fm_map_child(map, KEY("q"), NULL, FM_NEVER, &second), 0);
    cr_assert_neq(first, second);
    run(first, "w", until_interrupted, NULL);
    cr_assert(fm_map_has(first, KEY("w")) && !fm_map_has(second, KEY("w")));
    fm_map_unref(first);
    fm_map_unref(second);
    fm_map_destroy(map);
}

static struct fm_exit asks_for_it(void *map)
{
    struct fm_map *child = NULL;
    int r = fm_map_child(map, KEY("p"), NULL, FM_NEVER, &child);
    return r < 0 ? fm_fail(r) : fm_ok(child);
}

FIBER_TEST(map_child, of_many_who_ask_at_once_one_makes_it)
{
    for (int round = 0; round < 200; round++) {
        struct fm_map *map = new_map(), *child = NULL;
        struct fm_fiber *asker[8];
        for (int i = 0; i < 8; i++)
            asker[i] = i == 3 ? NULL : start(asks_for_it, map);
        int r = run_parent(map, "p", never_counting, NULL, FM_REPLACE, &asker[3]);
        cr_assert_eq(r, 0);
        for (int i = 0; i < 8; i++) {
            if (i == 3)
                continue;
            struct fm_exit exit = finish(asker[i]);
            if (exit.kind == FM_FAILURE) {
                cr_assert_eq(exit.code, -ENOENT, "it came before the fiber");
                continue;
            }
            cr_assert(!child || child == exit.value);
            child = exit.value;
            fm_map_unref(child);
        }
        fm_fiber_unref(asker[3]);
        fm_map_destroy(map);
    }
}

/* ---- closed with its fiber ---- */

EXACT_TEST(map_child, it_closes_before_the_exit_of_its_fiber_is_public)
{
    struct fm_map *map = new_map(), *child;
    struct fm_fiber *parent;
    cr_assert_eq(run_parent(map, "p", lives, NAME("p"), FM_REPLACE, &parent), 0);
    child = child_of(map, "p");
    run(child, "a", lives, NAME("a"));
    run(child, "b", lives, NAME("b"));
    pass_ms(0);
    cr_assert_eq(fm_map_interrupt(map, KEY("p")), 0);
    pass_ms(0);
    cr_assert_eq(fm_map_run(child, KEY("c"), return_arg, NULL, NULL, NULL), -ESHUTDOWN);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &(struct fm_map *) { NULL }),
                 -ESHUTDOWN);
    cr_assert(!has_ended(parent) && fm_map_has(map, KEY("p")));
    pass_ms(1);
    cr_assert(strcmp(text, "ab") == 0 || strcmp(text, "ba") == 0, "%s", text);
    cr_assert(!has_ended(parent), "its finalizers come after that");
    text[0] = '\0';
    pass_ms(1);
    EXPECT_TEXT("p");
    expect_interruption(finish(parent), FM_BY_REMOVE);
    cr_assert_eq(fm_map_count(child, FM_MEMBER_LIVE), 0);
    fm_map_unref(child);
    fm_map_destroy(map);
}

EXACT_TEST(map_child, a_fiber_that_returns_keeps_its_exit)
{
    struct fm_map *map = new_map(), *child;
    struct fm_fiber *parent;
    cr_assert_eq(run_parent(map, "p", sleep_then_succeed, number(5), FM_REPLACE, &parent), 0);
    child = child_of(map, "p");
    run(child, "a", lives, NAME("a"));
    fm_map_unref(child);
    pass_ms(5);
    cr_assert(!has_ended(parent));
    cr_assert_eq(fm_fiber_interrupt(parent), 0, "which does not shorten that");
    EXPECT_TEXT("");
    pass_ms(1);
    EXPECT_TEXT("a");
    cr_assert_eq(finish(parent).kind, FM_SUCCESS);
    fm_map_destroy(map);
}

EXACT_TEST(map_child, a_successor_that_awaits_begins_when_the_tree_below_has_ended)
{
    struct fm_map *map = new_map(), *child, *next;
    cr_assert_eq(run_parent(map, "p", lives_aloud, NAME("p"), FM_REPLACE, NULL), 0);
    child = child_of(map, "p");
    run(child, "w", lives, NAME("w"));
    pass_ms(0);
    cr_assert_eq(run_parent(map, "p", lives_aloud, NAME("q"), FM_REPLACE_AWAIT, NULL),
                 FM_MAP_REPLACED);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, 0, &next), -ETIMEDOUT, "not yet");
    struct fm_fiber *asker = start(asks_for_it, map);
    pass_ms(1);
    EXPECT_TEXT("Pw");
    cr_assert(!has_ended(asker));
    pass_ms(1);
    EXPECT_TEXT("pQ");
    next = finish(asker).value;
    cr_assert_neq(next, child);
    cr_assert_eq(fm_map_run(next, KEY("w"), return_arg, NULL, NULL, NULL), 0);
    fm_map_unref(child);
    fm_map_unref(next);
    fm_map_interrupt(map, KEY("p"));
    pass_ms(1);
    EXPECT_TEXT("q");
    fm_map_destroy(map);
}

/* Each level is run in the map of the one above: their names are written from below. */
EXACT_TEST(map_child, closing_the_map_ends_the_whole_tree_from_below)
{
    struct fm_map *map[5] = { new_map() };
    struct fm_close_policy now = FM_CLOSE_POLICY_INIT;
    static const char *const name[] = { "a", "b", "c", "d" };
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(run_parent(map[i], "p", lives, NAME(name[i]), FM_REPLACE, NULL), 0);
        map[i + 1] = child_of(map[i], "p");
    }
    pass_ms(1);
    now.deadline_ns = 1;
    cr_assert_eq(fm_map_close(map[0], &now, NULL), -ETIMEDOUT);
    pass_ms(3);
    EXPECT_TEXT("dcb");
    pass_ms(1);
    EXPECT_TEXT("a");
    cr_assert_eq(fm_map_close(map[0], NULL, NULL), 0);
    for (int i = 1; i < 5; i++) {
        cr_assert_eq(fm_map_run(map[i], KEY("x"), return_arg, NULL, NULL, NULL), -ESHUTDOWN);
        fm_map_unref(map[i]);
    }
    fm_map_destroy(map[0]);
}

/* ---- incarnations ---- */

static struct fm_exit fails_in_10_ms(void *arg)
{
    (void)arg;
    int r = fm_sleep_ms(10);
    return fm_fail(r < 0 ? r : -EIO);
}

EXACT_TEST(map_child, each_incarnation_has_a_map_of_its_own)
{
    struct fm_map *map = new_map(), *first = NULL, *second;
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    restart.type = FM_PERMANENT;
    restart.schedule = fm_schedule_spaced_ns(10 * MS);
    options.restart = &restart;
    options.own_map = 1;
    cr_assert_eq(fm_map_run(map, KEY("p"), fails_in_10_ms, NULL, &options, NULL), 0);
    fm_schedule_unref(restart.schedule);
    first = child_of(map, "p");
    run(first, "w", lives, NAME("w"));
    pass_ms(10);
    EXPECT_TEXT("");
    pass_ms(1);
    EXPECT_TEXT("w");
    struct fm_fiber *asker = start(asks_for_it, map);
    pass_ms(9);
    cr_assert(!has_ended(asker), "it backs off, from the end of its map on");
    pass_ms(1);
    second = finish(asker).value;
    cr_assert_neq(first, second);
    cr_assert_eq(fm_map_run(first, KEY("w"), return_arg, NULL, NULL, NULL), -ESHUTDOWN);
    cr_assert_eq(fm_map_run(second, KEY("w"), return_arg, NULL, NULL, NULL), 0);
    fm_map_unref(first);
    fm_map_unref(second);
    fm_map_destroy(map);
}

/* ---- waiting for the body ---- */

EXACT_TEST(map_child, who_asks_before_the_body_begins_waits_for_it)
{
    struct fm_map *map = new_map(), *child = NULL;
    struct fm_fiber *asker;
    cr_assert_eq(run_parent(map, "p", lives, NAME("p"), FM_REPLACE, NULL), 0);
    pass_ms(0);
    cr_assert_eq(run_parent(map, "p", lives, NAME("q"), FM_REPLACE_AWAIT, NULL),
                 FM_MAP_REPLACED);

    asker = start(asks_for_it, map);
    pass_ms(0);
    cr_assert_eq(fm_fiber_interrupt(asker), 0);
    expect_interruption(finish(asker), FM_BY_USER);

    asker = start(asks_for_it, map);
    cr_assert_eq(fm_map_remove(map, KEY("p"), FM_NEVER), 0, "it never begins");
    cr_assert_eq(finish(asker).code, -ENOENT);

    /* the one that it waits for is replaced: it gets the map of the successor */
    cr_assert_eq(run_parent(map, "p", lives, NAME("r"), FM_REPLACE_AWAIT, NULL), 0);
    asker = start(asks_for_it, map);
    pass_ms(0);
    cr_assert_eq(run_parent(map, "p", lives, NAME("s"), FM_REPLACE, NULL), FM_MAP_REPLACED);
    child = finish(asker).value;
    cr_assert_not_null(child);
    fm_map_unref(child);
    pass_ms(1);
    cr_assert_eq(fm_map_interrupt(map, KEY("p")), 0);
    pass_ms(1);
    fm_map_destroy(map);
}

/* ---- the fiber itself ---- */

static int asks_in_its_finalizer(void *map, struct fm_exit exit)
{
    struct fm_map *child;
    (void)exit;
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &child), -ESHUTDOWN);
    write_down("f");
    return 0;
}

static struct fm_exit opens_its_own(void *map)
{
    struct fm_map *child = NULL;
    cr_assert_eq(fm_defer(asks_in_its_finalizer, map), 0);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, 0, &child), 0);
    run(child, "w", lives, NAME("w"));
    fm_map_unref(child);
    return fm_ok(NULL);
}

TIMED_WORKER_TEST(map_child, a_fiber_may_ask_for_its_own_as_long_as_its_body_runs)
{
    struct fm_map *map = new_map();
    struct fm_fiber *parent;
    cr_assert_eq(run_parent(map, "p", opens_its_own, map, FM_REPLACE, &parent), 0);
    cr_assert_eq(finish(parent).kind, FM_SUCCESS);
    cr_assert_eq(text[strlen(text) - 1], 'f');
    fm_map_destroy(map);
}

/* ---- a reference ---- */

TEST(map_child, a_reference_outlives_the_fiber_and_the_parent)
{
    struct fm_runtime_config runtime_config = FM_RUNTIME_CONFIG_INIT;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map, *child;
    runtime_config.worker_count = 2;
    cr_assert_eq(fm_runtime_create(&runtime_config, &config.runtime), 0);
    cr_assert_eq(fm_map_create(&config, &map), 0);
    cr_assert_eq(run_parent(map, "p", never_counting, NULL, FM_REPLACE, NULL), 0);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &child), 0, "from a thread");
    cr_assert_eq(fm_map_run(child, KEY("w"), never_counting, NULL, NULL, NULL), 0);
    fm_map_destroy(map);
    cr_assert_eq(fm_map_size(child), 0);
    cr_assert(!fm_map_has(child, KEY("w")));
    cr_assert_eq(fm_map_run(child, KEY("w"), never_counting, NULL, NULL, NULL), -ESHUTDOWN);
    cr_assert_eq(fm_map_close(child, NULL, NULL), 0);
    cr_assert_null(fm_map_unref(child));
    cr_assert_null(fm_map_unref(NULL));
    fm_runtime_destroy(config.runtime);
}

/* ---- refusals ---- */

EXACT_TEST(map_child, refusals_change_nothing)
{
    struct fm_map_config bad = FM_MAP_CONFIG_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map = new_map(), *child = NULL;
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &child), -ENOENT);
    run(map, "plain", until_interrupted, NULL);
    cr_assert_eq(fm_map_child(map, KEY("plain"), NULL, FM_NEVER, &child), -ENOTSUP);
    cr_assert_eq(run_parent(map, "p", until_interrupted, NULL, FM_REPLACE, NULL), 0);
    bad.hash = 99;
    cr_assert_eq(fm_map_child(map, KEY("p"), &bad, FM_NEVER, &child), -EINVAL);
    cr_assert_eq(fm_map_child(NULL, KEY("p"), NULL, FM_NEVER, &child), -EINVAL);
    cr_assert_eq(fm_map_child(map, KEY(NULL), NULL, FM_NEVER, &child), -EINVAL);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, NULL), -EINVAL);
    cr_assert_null(child);
    options.own_map = 2;
    cr_assert_eq(fm_map_run(map, KEY("x"), return_arg, NULL, &options, NULL), -EINVAL);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &child), 0);
    fm_map_unref(child);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &child), -ENOENT);
    fm_map_destroy(map);
}

static int run_one(void *arg)
{
    struct fm_map *map = new_map(), *child = NULL;
    armed(true);
    int r = run_parent(map, "p", until_interrupted, NULL, FM_REPLACE, NULL);
    armed(false);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &child), r == 0 ? 0 : -ENOENT);
    fm_map_unref(child);
    fm_map_destroy(map);
    return r;
}

static int ask_once(void *arg)
{
    struct fm_map *map = new_map(), *child = NULL;
    cr_assert_eq(run_parent(map, "p", until_interrupted, NULL, FM_REPLACE, NULL), 0);
    settle();
    armed(true);
    int r = fm_map_child(map, KEY("p"), NULL, FM_NEVER, &child);
    armed(false);
    cr_assert_eq(r == 0, child != NULL);
    fm_map_unref(child);
    cr_assert_eq(fm_map_child(map, KEY("p"), NULL, FM_NEVER, &child), r == 0 ? FM_MAP_KEPT : 0);
    fm_map_unref(child);
    fm_map_destroy(map);
    return r;
}

/* F50 */
WORKER_TEST(map_child, without_memory_nothing_is_made)
{
    cr_assert_gt(sweep(run_one, NULL), 2);
    cr_assert_gt(sweep(ask_once, NULL), 1);
}

static struct fm_exit which_runtime(void *arg)
{
    return fm_ok(fm_runtime_current());
}

WORKER_TEST(map_child, it_runs_fibers_where_its_config_says)
{
    struct fm_runtime *other = runtime_with(1), *mine = fm_runtime_current();
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map = new_map();
    options.own_map = 1;
    for (int i = 0; i < 2; i++) {
        struct fm_map *child;
        struct fm_fiber *fiber;
        config.runtime = i ? other : NULL;
        cr_assert_geq(fm_map_run(map, KEY("p"), until_interrupted, NULL, &options, NULL), 0);
        cr_assert_eq(fm_map_child(map, KEY("p"), &config, FM_NEVER, &child), 0);
        cr_assert_eq(fm_map_run(child, KEY("w"), which_runtime, NULL, NULL, &fiber), 0);
        cr_assert_eq(finish(fiber).value, i ? other : mine);
        fm_map_unref(child);
    }
    fm_map_destroy(map);
    fm_runtime_destroy(other);
}
