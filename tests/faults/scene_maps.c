/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scene_maps.c - maps with every option, runners, sets, handles
 */
#include "tests/faults/faults.h"

#include <stdatomic.h>

static _Atomic int drops, bodies, told;

static void drop(void *pointer)
{
    (void)pointer;
    atomic_fetch_add(&drops, 1);
}

static struct fm_exit body(void *arg)
{
    atomic_fetch_add(&bodies, 1);
    fm_ready();
    (void)arg;
    return fm_fail(fm_never());
}

static struct fm_exit fail_at_once(void *arg)
{
    (void)arg;
    return fm_fail(-EPROTO);
}

static void put_in(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    (void)ctx, (void)key, (void)fiber;
    atomic_fetch_add(&told, 1);
}

static void taken_out(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit)
{
    (void)ctx, (void)key, (void)fiber, (void)exit;
    atomic_fetch_sub(&told, 1);
}

static bool all_of_them(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    (void)ctx, (void)key, (void)fiber;
    return true;
}

static int each_one(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    (void)key, (void)fiber;
    ++*(size_t *)ctx;
    return 0;
}

#define KEY(text) fm_key_str(text)

static int run_as(struct fm_map *map, const char *key, uint32_t conflict,
                  struct fm_fiber **fiber)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = conflict;
    options.arg_drop = drop;
    options.name = "of the map";
    return fm_map_run(map, KEY(key), body, map, &options, fiber);
}

/* Who is under a key, be it nobody. */
static void look(struct fm_map *map, const char *key)
{
    struct fm_snapshot *snapshot;
    struct fm_fiber *fiber;
    size_t seen = 0;
    if (fm_map_get(map, KEY(key), &fiber) == 0) {
        HOLDS(fm_fiber_incarnation(fiber) <= 1000);
        fm_fiber_unref(fiber);
    }
    fm_map_has(map, KEY(key));
    HOLDS(fm_map_count(map, FM_MEMBER_LIVE) <= fm_map_size(map));
    if (OK(fm_map_snapshot(map, FM_SNAPSHOT_CONSISTENT | FM_SNAPSHOT_ZOMBIES, &snapshot))) {
        for (size_t i = 0; i < fm_snapshot_count(snapshot); i++)
            HOLDS(fm_snapshot_at(snapshot, i)->fiber != NULL);
        fm_snapshot_free(snapshot);
    }
    OK(fm_map_each(map, each_one, &seen));
    fm_map_touch(map, KEY(key));
}

/* Every way to start, to look and to end; nobody is left. */
static void use(struct fm_map *map)
{
    struct fm_fiber *fiber = NULL, *other = NULL;
    struct fm_exit exit;
    char long_key[200] = "a long one";

    OK(run_as(map, "a", FM_REPLACE, NULL));
    OK(run_as(map, "a", FM_REPLACE, &fiber));
    OK(run_as(map, "b", FM_KEEP, NULL));
    OK(run_as(map, "c", FM_FAIL, NULL));
    OK(fm_map_run(map, fm_key_bytes(long_key, sizeof long_key), body, map, NULL, NULL));
    look(map, "a");
    if (fiber) {
        OK(fm_map_compare_and_replace(map, KEY("a"), fiber, body, map, NULL, &other));
        fm_fiber_unref(fiber);
        fm_fiber_unref(other);
    }
    /* which is not there if it could not be run, or had no stack */
    HOLDS(fm_map_interrupt(map, KEY("c")) == 0 || fault_met());
    HOLDS(fm_map_move(map, KEY("b"), KEY("d")) >= 0 || fault_met());
    HOLDS(fm_map_remove(map, KEY("d"), SOON) >= 0 || fault_met());
    if (OK(fm_fiber_spawn(until_stopped, NULL, NULL, &fiber))) {
        OK(fm_map_set(map, KEY("e"), fiber, NULL));
        if (fm_map_detach(map, KEY("e"), &other) == 0) {
            HOLDS(other == fiber);
            atomic_fetch_sub(&told, 1); /* of a detached one no end is told */
            fm_fiber_unref(other);
        }
        stop_and_unref(fiber);
    }
    if (OK(fm_map_run_wait(map, KEY("f"), give, map, NULL, SOON, &exit)))
        ended_well(exit);
    if (fm_map_has(map, KEY("a")))
        HOLDS(fm_map_await_key(map, KEY("a"), fm_now_ns(), &exit) >= -ETIMEDOUT);
    if (OK(fm_map_clear_matching(map, all_of_them, NULL, SOON)) &&
        OK(fm_map_await_quiescent(map, SOON)))
        HOLDS(fm_map_size(map) == 0);
}

static struct fm_exit play_map(void *arg)
{
    struct fm_close_report report = { 0 };
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    struct fm_exit exit;
    struct fm_map *map;
    (void)arg;
    if (!OK(fm_map_create(NULL, &map)))
        return fm_ok(NULL);
    use(map);
    OK(run_as(map, "z", FM_REPLACE, NULL));
    if (OK(fm_map_clear(map, SOON)))
        OK(fm_map_await_empty(map, SOON));
    policy.kind = FM_CLOSE_CANCEL_AFTER;
    policy.deadline_ns = SOON;
    OK(fm_map_close(map, &policy, &report));
    fm_close_report_fini(&report);
    if (OK(fm_map_join(map, SOON, &exit)))
        ended_well(exit);
    fm_map_destroy(map);
    if (OK(fm_map_create_scoped(NULL, &map)))
        OK(run_as(map, "y", FM_REPLACE, NULL));
    return fm_ok(NULL);
}

static struct fm_exit play_watched_map(void *arg)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_completion *completion;
    struct fm_exit exit;
    struct fm_map *map;
    (void)arg;
    hooks.on_start = put_in;
    hooks.on_exit = taken_out;
    config.hooks = &hooks;
    config.completions = 4;
    config.retain_count = 2;
    config.retain_ns = 1000000000;
    config.max_live = 100;
    config.max_starts = 1000;
    config.interval_ns = 1000000;
    config.idle_ttl_ns = 50000000000;
    config.stripe_count = 1;
    config.name = "watched";
    atomic_store(&told, 0);
    if (!OK(fm_map_create(&config, &map)))
        return fm_ok(NULL);
    use(map);
    while (fm_map_try_next(map, &completion) == 0)
        fm_completion_free(completion);
    HOLDS(fm_map_completions_dropped(map) < 100);
    if (OK(fm_map_run(map, KEY("last"), give, map, NULL, NULL)) &&
        OK(fm_map_next(map, SOON, &completion))) {
        ended_well(completion->exit);
        fm_completion_free(completion);
        if (fm_map_last_exit(map, KEY("last"), &exit) == 0)
            ended_well(exit);
        HOLDS(fm_map_forget(map, KEY("last")) == 0 || fault_met());
    }
    fm_map_destroy(map);
    HOLDS(atomic_load(&told) == 0);
    return fm_ok(NULL);
}

/* ---- turns, restarts, groups, trees ---- */

static struct fm_exit play_turns(void *arg)
{
    struct fm_map *map;
    (void)arg;
    if (!OK(fm_map_create(NULL, &map)))
        return fm_ok(NULL);
    atomic_store(&bodies, 0);
    atomic_store(&drops, 0);
    int runs = OK(run_as(map, "a", FM_REPLACE, NULL));
    runs += OK(run_as(map, "a", FM_REPLACE_AWAIT, NULL));
    runs += OK(run_as(map, "b", FM_QUEUE, NULL));
    runs += OK(run_as(map, "b", FM_QUEUE, NULL));
    OK(fm_map_interrupt(map, KEY("a")) == 0 || fault_met() ? 0 : -EPROTO);
    fm_yield();
    if (OK(fm_map_clear(map, SOON)))
        OK(fm_map_await_quiescent(map, SOON));
    fm_map_destroy(map);
    HOLDS(atomic_load(&bodies) + atomic_load(&drops) == runs);
    return fm_ok(NULL);
}

static struct fm_exit play_restarts(void *arg)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_exit exit;
    struct fm_map *map;
    (void)arg;
    config.restart_intensity = 100;
    config.restart_period_ns = 1000000000;
    if (!OK(fm_map_create(&config, &map)))
        return fm_ok(NULL);
    restart.type = FM_TRANSIENT;
    restart.intensity = 3;
    restart.on_limit = FM_LIMIT_REMOVE;
    restart.schedule = fm_schedule_spaced_ns(1000);
    HOLDS(restart.schedule || fault_met());
    options.restart = &restart;
    /* its last failure is its exit, or -ENOMEM if one of its incarnations had no stack */
    if (OK(fm_map_run_wait(map, KEY("a"), fail_at_once, map, &options, SOON, &exit)))
        HOLDS(exit.code == -EPROTO || (exit.code == -ENOMEM && fault_met()));
    OK(fm_map_clear(map, SOON));
    fm_map_destroy(map);
    fm_schedule_unref(restart.schedule);
    return fm_ok(NULL);
}

static struct fm_exit play_group(void *arg)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map_group_config config = FM_MAP_GROUP_CONFIG_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_map_group *group;
    struct fm_map *map;
    (void)arg;
    if (!OK(fm_map_create(NULL, &map)))
        return fm_ok(NULL);
    config.strategy = FM_ONE_FOR_ALL;
    config.intensity = 5;
    config.on_limit = FM_LIMIT_REMOVE;
    if (OK(fm_map_group_create(map, &config, &group))) {
        restart.type = FM_PERMANENT;
        options.restart = &restart;
        options.group = group;
        int members = OK(fm_map_run(map, KEY("a"), body, map, &options, NULL));
        members += OK(fm_map_run(map, KEY("b"), body, map, &options, NULL));
        HOLDS(fm_map_group_size(group) <= (size_t)members);
        OK(fm_map_interrupt(map, KEY("a")) == 0 || fault_met() ? 0 : -EPROTO);
        fm_yield();
        fm_map_group_unref(fm_map_group_ref(group));
        OK(fm_map_group_stop(group, SOON));
        HOLDS(fm_map_group_size(group) == 0);
        fm_map_group_unref(group);
    }
    fm_map_destroy(map);
    return fm_ok(NULL);
}

static struct fm_exit play_tree(void *arg)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map, *child;
    (void)arg;
    if (!OK(fm_map_create(NULL, &map)))
        return fm_ok(NULL);
    options.own_map = 1;
    if (OK(fm_map_run(map, KEY("a"), body, map, &options, NULL))) {
        int r = fm_map_child(map, KEY("a"), NULL, SOON, &child);
        HOLDS(r == 0 || fault_met());
        if (r == 0) {
            OK(run_as(child, "below", FM_REPLACE, NULL));
            fm_map_unref(child);
        }
    }
    options.own_map = 0;
    options.idle_ttl_ns = 1000;
    if (OK(fm_map_run(map, KEY("idle"), body, map, &options, NULL)))
        HOLDS(fm_map_await_key(map, KEY("idle"), SOON, NULL) != -ETIMEDOUT);
    OK(fm_map_clear(map, SOON));
    fm_map_destroy(map);
    return fm_ok(NULL);
}

/* ---- many at once ---- */

static struct fm_exit play_many(void *arg)
{
    struct fm_map_run_item runs[3];
    struct fm_key keys[] = { KEY("a"), KEY("b"), KEY("c") };
    struct fm_map *map;
    (void)arg;
    if (!OK(fm_map_create(NULL, &map)))
        return fm_ok(NULL);
    for (uint32_t flags = 0; flags <= FM_MAP_ALL_OR_NOTHING; flags++) {
        for (int i = 0; i < 3; i++)
            runs[i] = (struct fm_map_run_item) { .key = keys[i], .entry = body, .arg = map };
        if (!OK(fm_map_run_many(map, runs, 3, flags)) && flags)
            HOLDS(fm_map_size(map) == 0);
        int r = fm_map_remove_many(map, keys, 3, SOON);
        if (r != -ENOENT && !OK(r))
            break;
        HOLDS(fm_map_size(map) == 0 && (r == 0 || fault_met()));
    }
    fm_map_destroy(map);
    return fm_ok(NULL);
}

/* ---- runners, sets, handles ---- */

static struct fm_exit play_runner(void *arg)
{
    struct fm_runner *runner;
    struct fm_promise *promise;
    struct fm_exit exit;
    (void)arg;
    if (!OK(fm_runner_create(NULL, NULL, &runner)))
        return fm_ok(NULL);
    HOLDS(fm_map_size(fm_runner_map(runner)) == 0);
    OK(fm_runner_run(runner, KEY("a"), body, runner, NULL, NULL));
    if (OK(fm_runner_promise(runner, KEY("b"), give, runner, NULL, &promise))) {
        if (OK(fm_promise_await(promise, SOON, &exit)))
            ended_well(exit);
        fm_promise_unref(promise);
    }
    fm_runner_destroy(runner);
    return fm_ok(NULL);
}

static struct fm_exit play_set(void *arg)
{
    struct fm_set *set;
    struct fm_fiber *fiber;
    struct fm_exit exit;
    (void)arg;
    if (OK(fm_set_create(NULL, &set))) {
        OK(fm_set_run(set, body, set, NULL, NULL));
        if (OK(fm_fiber_spawn(until_stopped, NULL, NULL, &fiber))) {
            OK(fm_set_add(set, fiber, NULL));
            fm_fiber_unref(fiber);
        }
        HOLDS(fm_set_size(set) == fm_map_size(fm_set_map(set)) && fm_set_size(set) <= 2);
        if (OK(fm_set_clear(set, SOON)))
            OK(fm_set_await_empty(set, SOON));
        OK(fm_set_close(set, NULL, NULL));
        if (OK(fm_set_join(set, SOON, &exit)))
            ended_well(exit);
        fm_set_destroy(set);
    }
    if (OK(fm_set_create_scoped(NULL, &set)))
        OK(fm_set_run(set, body, set, NULL, NULL));
    return fm_ok(NULL);
}

static struct fm_exit play_handle(void *arg)
{
    struct fm_handle *handle;
    struct fm_fiber *fiber;
    struct fm_exit exit;
    (void)arg;
    if (OK(fm_handle_create(NULL, &handle))) {
        OK(fm_handle_run(handle, body, handle, NULL, NULL));
        if (OK(fm_fiber_spawn(until_stopped, NULL, NULL, &fiber))) {
            OK(fm_handle_set(handle, fiber, NULL));
            fm_fiber_unref(fiber);
        }
        if (fm_handle_get(handle, &fiber) == 0)
            fm_fiber_unref(fiber);
        HOLDS(fm_map_size(fm_handle_map(handle)) <= 1 && fm_handle_key().len > 0);
        if (OK(fm_handle_clear(handle, SOON)))
            OK(fm_handle_await_empty(handle, SOON));
        OK(fm_handle_close(handle, NULL, NULL));
        if (OK(fm_handle_join(handle, SOON, &exit)))
            ended_well(exit);
        fm_handle_destroy(handle);
    }
    if (OK(fm_handle_create_scoped(NULL, &handle)))
        OK(fm_handle_run(handle, body, handle, NULL, NULL));
    return fm_ok(NULL);
}

const struct scene map_scenes[] = {
    { "map", play_map },     { "watched_map", play_watched_map },
    { "turns", play_turns }, { "restarts", play_restarts },
    { "group", play_group }, { "tree", play_tree },
    { "many", play_many },   { "runner", play_runner },
    { "set", play_set },     { "handle", play_handle },
    { NULL, NULL },
};
