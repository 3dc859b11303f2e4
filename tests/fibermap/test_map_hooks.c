/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_hooks.c - what hooks are told, where, and in which order
 *
 * The hooks write down what they are told as text: +a start, -a exit, ~a replace, ^a restart.
 */
#include <sched.h>

#include "tests/fibermap/map_test.h"

struct told {
    struct fm_map *map;
    char text[256];
    size_t length;
    bool within; /* a hook is being called */
    bool calls_the_map;
    struct fm_exit exit;
    uint64_t incarnation;
};

static void note(struct told *told, char sign, struct fm_key key)
{
    cr_assert_not(told->within, "two hooks at once");
    told->text[told->length++] = sign;
    memcpy(told->text + told->length, key.data, key.len);
    told->length += key.len;
}

static void started(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    struct told *told = ctx;
    note(told, '+', key);
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    if (!told->calls_the_map || key.len != 1)
        return;
    /* What a hook does on the map is told when it has returned. */
    told->within = true;
    cr_assert_eq(fm_map_run(told->map, KEY("inner"), return_arg, NULL, NULL, NULL), 0);
    told->within = false;
}

static void exited(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit)
{
    struct told *told = ctx;
    note(told, '-', key);
    told->exit = exit;
    if (told->map && exit.reason != FM_BY_REPLACE)
        cr_assert_not(fm_map_has(told->map, key));
}

static void replaced(void *ctx, struct fm_key key, struct fm_fiber *old, struct fm_fiber *fiber)
{
    cr_assert_neq(old, fiber);
    cr_assert_eq(fm_fiber_poll(old, NULL), -EAGAIN);
    note(ctx, '~', key);
}

static void restarted(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit)
{
    struct told *told = ctx;
    note(told, '^', key);
    told->exit = exit;
    told->incarnation = fm_fiber_incarnation(fiber);
}

static struct fm_map_hooks hooks_of(struct told *told)
{
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    hooks.ctx = told;
    hooks.on_start = started;
    hooks.on_exit = exited;
    hooks.on_replace = replaced;
    hooks.on_restart = restarted;
    return hooks;
}

static struct fm_map *make_told(struct told *told)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = hooks_of(told);
    config.hooks = &hooks;
    config.stripe_count = 1;
    cr_assert_eq(fm_map_create(&config, &told->map), 0);
    return told->map;
}

static void is_told(struct told *told, const char *text)
{
    told->text[told->length] = '\0';
    cr_assert_str_eq(told->text, text);
}

WORKER_TEST(map_hooks, start_and_exit_are_told_by_the_call_and_by_the_end)
{
    struct told told = { 0 };
    struct fm_map *map = make_told(&told);
    struct fm_fiber *fiber = run(map, "a", fail_with, number(-EIO));
    is_told(&told, "+a");
    finish(fiber);
    is_told(&told, "+a-a");
    cr_assert_eq(told.exit.code, -EIO);
    fm_map_destroy(map);
}

/* The body itself sees that its start was told. */
static struct fm_exit body_after_start(void *arg)
{
    is_told(arg, "+a");
    return fm_ok(NULL);
}

FIBER_TEST(map_hooks, start_is_told_before_the_bodys_first_line)
{
    struct told told = { 0 };
    struct fm_map *map = make_told(&told);
    cr_assert_eq(finish(run(map, "a", body_after_start, &told)).kind, FM_SUCCESS);
    fm_map_destroy(map);
}

WORKER_TEST(map_hooks, a_replacement_is_told_before_the_new_start_and_the_old_exit)
{
    struct told told = { 0 };
    struct fm_map *map = make_told(&told);
    struct fm_fiber *old = run(map, "a", until_interrupted, NULL);
    settle();
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    is_told(&told, "+a~a+a");
    finish(old);
    is_told(&told, "+a~a+a-a");
    cr_assert_eq(told.exit.reason, FM_BY_REPLACE);
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    is_told(&told, "+a~a+a-a-a");
    fm_map_destroy(map);
}

/* F: a fiber that never ran is told of like any other. */
WORKER_TEST(map_hooks, one_who_is_replaced_before_his_first_step_is_told_whole)
{
    struct told told = { 0 };
    struct fm_map *map = make_told(&told);
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    fm_fiber_unref(run(map, "b", until_interrupted, NULL));
    fm_map_destroy(map);
    told.text[told.length] = '\0';
    cr_assert_eq(strncmp(told.text, "+a~a+a+b", 8), 0, "%s", told.text);
    cr_assert_eq(told.length, 14);
}

WORKER_TEST(map_hooks, a_refused_or_kept_run_is_not_told)
{
    struct told told = { 0 };
    struct fm_map *map = make_told(&told);
    struct fm_map_run_options keep = conflict(FM_KEEP), fail = conflict(FM_FAIL);
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &keep, NULL), FM_MAP_KEPT);
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &fail, NULL), -EEXIST);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, NULL), -ESHUTDOWN);
    is_told(&told, "+a-a");
    fm_map_destroy(map);
}

static struct fm_exit fail_until_third(void *arg)
{
    struct told *told = arg;
    uint64_t incarnation = fm_fiber_incarnation(fm_fiber_self());
    is_told(told, incarnation == 0 ? "+a" : incarnation == 1 ? "+a^a" : "+a^a^a");
    return incarnation < 2 ? fm_fail(-EIO) : fm_ok(NULL);
}

FIBER_TEST(map_hooks, a_restart_is_told_before_the_next_incarnation)
{
    struct told told = { 0 };
    struct fm_map *map = make_told(&told);
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    restart.type = FM_TRANSIENT;
    options.restart = &restart;
    cr_assert_eq(fm_map_run(map, KEY("a"), fail_until_third, &told, &options, &fiber), 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    cr_assert_eq(told.incarnation, 2);
    fm_map_destroy(map);
    is_told(&told, "+a^a^a-a");
}

/* The hook of a lineage that is detached meanwhile, so that its map does not wait for it. */
struct last_hook {
    _Atomic bool within, destroying, destroyed;
};

static void restarts_while_destroyed(void *ctx, struct fm_key key, struct fm_fiber *fiber,
                                     struct fm_exit exit)
{
    struct last_hook *last = ctx;
    atomic_store(&last->within, true);
    while (!atomic_load(&last->destroying))
        sched_yield();
    for (int i = 0; i < 1000; i++)
        sched_yield();
    cr_assert_not(atomic_load(&last->destroyed));
}

/* F66 */
FIBER_TEST(map_hooks, destroy_returns_after_the_last_one)
{
    struct last_hook last = { 0 };
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    struct fm_map *map;

    hooks.ctx = &last;
    hooks.on_restart = restarts_while_destroyed;
    config.hooks = &hooks;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    restart.type = FM_TRANSIENT;
    restart.intensity = 1;
    options.restart = &restart;
    cr_assert_eq(fm_map_run(map, KEY("a"), fail_with, number(-EIO), &options, NULL), 0);
    while (!atomic_load(&last.within))
        fm_yield();
    cr_assert_eq(fm_map_detach(map, KEY("a"), &fiber), 0);
    atomic_store(&last.destroying, true);
    fm_map_destroy(map);
    atomic_store(&last.destroyed, true);
    cr_assert_eq(finish(fiber).code, -EIO);
}

/* F54 */
WORKER_TEST(map_hooks, a_hook_may_call_the_map_and_is_told_of_it_afterwards)
{
    struct told told = { .calls_the_map = true };
    struct fm_map *map = make_told(&told);
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    is_told(&told, "+a+inner");
    cr_assert(fm_map_has(map, KEY("inner")), "it has started when the hook's caller returns");
    settle();
    is_told(&told, "+a+inner-inner");
    fm_map_destroy(map);
}

WORKER_TEST(map_hooks, set_is_told_and_a_fiber_that_had_ended_too)
{
    struct told told = { 0 };
    struct fm_map *map = make_told(&told);
    struct fm_fiber *fiber;
    cr_assert_eq(fm_fiber_spawn(until_interrupted, NULL, NULL, &fiber), 0);
    cr_assert_eq(fm_map_set(map, KEY("a"), fiber, NULL), 0);
    cr_assert_eq(fm_map_set(map, KEY("a"), fiber, NULL), FM_MAP_SAME);
    is_told(&told, "+a");
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    is_told(&told, "+a-a");
    told.length = 0;
    told.map = NULL;
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static void ended_start(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    note(ctx, '+', key);
    cr_assert_eq(fm_fiber_poll(fiber, NULL), 0);
}

WORKER_TEST(map_hooks, a_fiber_that_had_ended_comes_and_goes)
{
    struct told told = { 0 };
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = hooks_of(&told);
    struct fm_fiber *fiber;
    hooks.on_start = ended_start;
    config.hooks = &hooks;
    cr_assert_eq(fm_map_create(&config, &told.map), 0);
    cr_assert_eq(fm_fiber_spawn(fail_with, number(-EIO), NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_map_set(told.map, KEY("a"), fiber, NULL), 0);
    is_told(&told, "+a-a");
    cr_assert_eq(told.exit.code, -EIO);
    fm_fiber_unref(fiber);
    fm_map_destroy(told.map);
}

WORKER_TEST(map_hooks, a_detached_fiber_is_told_of_no_more)
{
    struct told told = { 0 };
    struct fm_map *map = make_told(&told);
    struct fm_fiber *fiber;
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    cr_assert_eq(fm_map_detach(map, KEY("a"), &fiber), 0);
    fm_map_destroy(map);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    fm_fiber_unref(fiber);
    is_told(&told, "+a");
}

WORKER_TEST(map_hooks, none_need_be_given)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_map *map;
    config.hooks = &hooks;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    fm_fiber_unref(run(map, "a", until_interrupted, NULL));
    fm_fiber_unref(run(map, "a", return_arg, NULL));
    fm_map_destroy(map);
    hooks.reserved = 1;
    cr_assert_eq(fm_map_create(&config, &map), -EINVAL);
}
