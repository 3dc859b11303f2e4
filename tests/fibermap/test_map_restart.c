/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_restart.c - fibers that the map runs again: after which ends, and what is one from
 * incarnation to incarnation and what is not
 *
 * On one worker and the virtual clock: pass_ms() returns when all that is due has happened.
 * By whom a lineage is ended: test_map_restart_end.c.
 */
#include <string.h>
#include <unistd.h>

#include "tests/fibermap/restart_test.h"

/* ---- which ends are followed by another incarnation: T249, T250, T231 ---- */

EXACT_TEST(map_restart, temporary_is_never_restarted)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_exit exit = finish(run_again(map, live, &life, policy(FM_TEMPORARY, 0)));
    cr_assert_eq(exit.code, -EIO);
    cr_assert_eq(exit.reason, 0);
    cr_assert_eq(life.bodies, 1);
    cr_assert(!has(map));
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, transient_is_restarted_after_failures_and_defects_alone)
{
    struct fm_map *map = new_map();
    struct life life = { .end = { fm_fail(-EIO), fm_defect(7), fm_ok(NULL) }, .ends = 3 };
    struct fm_exit exit = finish(run_again(map, live, &life, policy(FM_TRANSIENT, 0)));
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_eq(life.bodies, 3);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, transient_is_not_restarted_after_an_interruption_of_its_own_making)
{
    struct fm_map *map = new_map();
    struct life life = { .end = { fm_interrupted() }, .ends = 1 };
    expect_interruption(finish(run_again(map, live, &life, policy(FM_TRANSIENT, 0))),
                        FM_BY_NOBODY);
    cr_assert_eq(life.bodies, 1);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, permanent_is_restarted_after_every_end_of_its_own)
{
    struct fm_map *map = new_map();
    struct life life = { .end = { fm_ok(NULL), fm_fail(-EIO), fm_defect(7), fm_interrupted() },
                         .ends = 4 };
    struct fm_fiber *fiber = run_again(map, live, &life, policy(FM_PERMANENT, 10));
    pass_ms(100);
    cr_assert_eq(life.bodies, 11);
    cr_assert_eq(fm_fiber_incarnation(fiber), 10);
    cr_assert_eq(remove_key(map), 0);
    expect_interruption(finish(fiber), FM_BY_REMOVE);
    fm_map_destroy(map);
}

/* ---- one lineage, one fiber ---- */

static void count_end(struct fm_fiber *fiber, struct fm_exit exit, void *counter)
{
    (void)fiber;
    cr_assert_eq(exit.kind, FM_SUCCESS);
    ++*(int *)counter;
}

static struct fm_exit join_it(void *fiber)
{
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
    return fm_ok((void *)(intptr_t)exit.kind);
}

EXACT_TEST(map_restart, key_handle_joiners_and_observers_outlive_incarnations)
{
    struct fm_map *map = new_map();
    struct life life = { .end = { fm_fail(1), fm_fail(2), fm_ok(NULL) },
                         .ends = 3,
                         .lives_ms = 5 };
    int ends = 0;
    struct fm_observer observer = { .fn = count_end, .arg = &ends };
    struct fm_fiber *fiber = run_again(map, live, &life, policy(FM_TRANSIENT, 10)), *found;
    struct fm_fiber *joiner = start(join_it, fiber);
    uint64_t id = fm_fiber_id(fiber);

    cr_assert_eq(fm_fiber_observe(fiber, &observer), 0);
    for (int ms = 0; ms < 34; ms++) {
        pass_ms(1); /* bodies in 0..5, 15..20 and 30..35 */
        cr_assert_eq(fm_fiber_incarnation(fiber), (uint64_t)(ms + 1) / 15);
        cr_assert_eq(fm_map_get(map, fm_key_str("key"), &found), 0);
        cr_assert_eq(fm_fiber_id(found), id);
        fm_fiber_unref(found);
        cr_assert_eq(fm_map_size(map), 1);
        cr_assert(!has_ended(fiber) && !has_ended(joiner) && ends == 0);
    }
    pass_ms(1);
    cr_assert(has_ended(fiber) && has_ended(joiner) && ends == 1 && !has(map));
    cr_assert_eq(finish(joiner).value, (void *)(intptr_t)FM_SUCCESS);
    cr_assert_eq(fm_fiber_incarnation(fiber), 2, "valid after the end");
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, snapshot_and_dump_show_the_incarnation)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_snapshot *snapshot;
    char text[4096];
    int pipe_ends[2];

    fm_fiber_unref(run_again(map, live, &life, policy(FM_PERMANENT, 10)));
    pass_ms(35);
    cr_assert_eq(fm_map_snapshot(map, 0, &snapshot), 0);
    cr_assert_eq(fm_snapshot_at(snapshot, 0)->incarnation, 3);
    cr_assert_eq(fm_snapshot_at(snapshot, 0)->state, FM_MEMBER_BACKING_OFF);
    cr_assert_eq(fm_snapshot_at(snapshot, 0)->age_ns, 35 * MS);
    fm_snapshot_free(snapshot);
    cr_assert_eq(pipe(pipe_ends), 0);
    cr_assert_eq(fm_runtime_dump(fm_runtime_current(), pipe_ends[1]), 0);
    ssize_t n = read(pipe_ends[0], text, sizeof text - 1);
    cr_assert_gt(n, 0);
    text[n] = '\0';
    cr_assert(strstr(text, "in restart for"), "%s", text);
    cr_assert(strstr(text, "incarnation 3"), "%s", text);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    fm_map_destroy(map);
    cr_assert_eq(fm_fiber_incarnation(NULL), 0);
    cr_assert_eq(fm_fiber_incarnation(fm_fiber_self()), 0);
}

/* ---- one incarnation is over before the next begins ---- */

static _Atomic int at_once;
static fm_local_key local;

static void local_drop(void *value)
{
    atomic_fetch_sub((_Atomic int *)value, 1);
}

static int slow_finalizer(void *arg, struct fm_exit exit)
{
    (void)exit;
    fm_sleep_ms(3);
    atomic_fetch_sub((_Atomic int *)arg, 1);
    return 0;
}

static struct fm_exit lingering_child(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    fm_never();
    fm_mask();
    fm_sleep_ms(3);
    atomic_fetch_sub((_Atomic int *)arg, 1);
    return fm_ok(NULL);
}

/* Leaves behind all that a body can: a child, a finalizer, a local, a mask, a pin, a scope. */
static struct fm_exit untidy(void *arg)
{
    struct life *life = arg;
    struct fm_scope *scope;
    cr_assert_eq(atomic_load(&at_once), 0, "something of the last incarnation is left");
    cr_assert(!fm_masked());
    cr_assert_eq(fm_unpin(), -EINVAL, "pinned");
    cr_assert_null(fm_local_get(local));
    atomic_fetch_add(&life->bodies, 1);
    atomic_fetch_add(&at_once, 2);
    cr_assert_eq(fm_local_set(local, &at_once), 0);
    cr_assert_eq(fm_defer(slow_finalizer, &at_once), 0);
    cr_assert_eq(fm_scope_open(&scope), 0);
    cr_assert_eq(fm_fiber_spawn(lingering_child, &at_once, NULL, NULL), 0);
    cr_assert_eq(fm_yield(), 0);
    cr_assert_eq(fm_mask(), 0);
    cr_assert_eq(fm_pin(), 0);
    return fm_fail(-EIO);
}

EXACT_TEST(map_restart, an_incarnation_ends_whole_before_the_next_begins)
{
    struct fm_map *map = new_map();
    struct life life = { 0 };
    cr_assert_eq(fm_local_key_create(&local, local_drop), 0);
    fm_fiber_unref(run_again(map, untidy, &life, policy(FM_PERMANENT, 10)));
    for (int i = 0; i < 108; i++)
        pass_ms(1);
    cr_assert_eq(life.bodies, 7, "each 3 ms, 3 ms and the back-off: %d", life.bodies);
    cr_assert_eq(remove_key(map), 0);
    cr_assert_eq(at_once, 0);
    fm_map_destroy(map);
}

static bool masks(void *arg, struct fm_exit exit)
{
    (void)arg, (void)exit;
    return fm_mask() == 0;
}

static void masks_and_drops(void *arg)
{
    fm_mask();
    drop_value(arg);
}

static struct fm_exit fails_unmasked(void *arg)
{
    cr_assert(!fm_masked());
    atomic_fetch_add(&((struct life *)arg)->bodies, 1);
    return fm_fail_with(-EIO, arg);
}

/* A back-off that was masked would hold the remove up until it is over, which is never here. */
EXACT_TEST(map_restart, masks_that_functions_of_the_user_forget_end_with_them)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = policy(FM_PERMANENT, 10);
    struct fm_map *map = new_map();
    struct life life = { 0 };
    restart.schedule = fm_schedule_while(restart.schedule, masks, NULL);
    options.restart = &restart;
    options.value_drop = masks_and_drops;
    cr_assert_eq(fm_map_run(map, fm_key_str("key"), fails_unmasked, &life, &options, NULL), 0);
    fm_schedule_unref(restart.schedule);
    pass_ms(25);
    cr_assert_eq(life.bodies, 3);
    cr_assert_eq(life.values, 2);
    int64_t began_ms = now_ms();
    cr_assert_eq(remove_key(map), 0);
    cr_assert_eq(now_ms(), began_ms);
    fm_map_destroy(map);
}

static int fails_once(void *arg, struct fm_exit exit)
{
    (void)exit;
    return ((struct life *)arg)->bodies == 1 ? -EBADMSG : 0;
}

static struct fm_exit fails_with_a_finalizer(void *arg)
{
    atomic_fetch_add(&((struct life *)arg)->bodies, 1);
    fm_defer(fails_once, arg);
    return ((struct life *)arg)->bodies < 3 ? fm_fail(-EIO) : fm_interrupted();
}

EXACT_TEST(map_restart, failed_finalizers_of_earlier_incarnations_are_forgotten)
{
    struct fm_map *map = new_map();
    struct life life = { 0 };
    struct fm_exit exit;
    struct fm_fiber *fiber = run_again(map, fails_with_a_finalizer, &life,
                                       policy(FM_TRANSIENT, 0));
    exit = finish(fm_fiber_ref(fiber));
    cr_assert_eq(exit.kind, FM_INTERRUPTED);
    cr_assert_eq(life.bodies, 3);
    cr_assert_eq(fm_fiber_finalizer_exit(fiber, &exit), -ENOENT);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

/* ---- what is dropped ---- */

EXACT_TEST(map_restart, values_of_incarnations_that_are_followed_are_dropped)
{
    struct fm_map *map = new_map();
    struct life life = { .ends = 3 };
    life.end[0] = fm_fail_with(-EIO, &life);
    life.end[1] = fm_fail_with(-EIO, &life);
    life.end[2] = fm_ok(&life);
    struct fm_fiber *fiber = run_again(map, live, &life, policy(FM_TRANSIENT, 10));
    pass_ms(15);
    cr_assert_eq(life.values, 1, "the second's is kept while it may still be the last");
    pass_ms(15);
    cr_assert(has_ended(fiber));
    cr_assert_eq(life.values, 2);
    fm_fiber_unref(fiber);
    cr_assert_eq(life.values, 3);

    /* the one before an interruption in the back-off, and before the limit */
    life = (struct life) { .ends = 1 };
    life.end[0] = fm_ok(&life);
    fm_fiber_unref(run_again(map, live, &life, policy(FM_PERMANENT, 10)));
    pass_ms(5);
    cr_assert_eq(remove_key(map), 0);
    cr_assert_eq(life.values, 1);
    struct fm_restart once = policy(FM_PERMANENT, 10);
    once.intensity = 1;
    once.on_limit = FM_LIMIT_REMOVE;
    fm_fiber_unref(run_again(map, live, &life, once));
    pass_ms(50);
    cr_assert_eq(life.bodies, 3);
    cr_assert_eq(life.values, 3);
    cr_assert_eq(life.dropped, 0);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, arg_is_dropped_if_no_body_ever_ran)
{
    struct fm_map *map = new_map();
    struct life life = { 0 };
    for (uint32_t type = FM_TEMPORARY; type <= FM_PERMANENT; type++) {
        struct fm_fiber *fiber = run_again(map, live_for_ever, &life, policy(type, 1));
        cr_assert_eq(fm_map_interrupt(map, fm_key_str("key")), 0);
        expect_interruption(finish(fiber), FM_BY_REMOVE);
        cr_assert_eq(life.dropped, (int)type + 1);
    }
    /* interrupted before its first step from outside, then removed in the back-off */
    struct fm_fiber *fiber = run_again(map, live_for_ever, &life, policy(FM_PERMANENT, 10));
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    pass_ms(5);
    cr_assert(!has_ended(fiber));
    cr_assert_eq(life.dropped, 3);
    cr_assert_eq(remove_key(map), 0);
    cr_assert_eq(life.dropped, 4);
    cr_assert_eq(life.bodies, 0);
    fm_fiber_unref(fiber);
    /* not started: it stays the caller's */
    struct fm_restart restart = policy(FM_PERMANENT, 0);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.restart = &restart;
    options.arg_drop = drop_arg;
    options.conflict = FM_FAIL;
    run(map, "key", until_interrupted, NULL);
    cr_assert_eq(fm_map_run(map, fm_key_str("key"), live, &life, &options, NULL), -EEXIST);
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(fm_map_run(map, fm_key_str("key"), live, &life, &options, NULL), -ESHUTDOWN);
    cr_assert_eq(life.dropped, 4);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, permanent_outlives_an_interruption_before_its_first_step)
{
    struct fm_map *map = new_map();
    struct life life = { 0 };
    struct fm_fiber *fiber = run_again(map, live_for_ever, &life, policy(FM_PERMANENT, 0));
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    pass_ms(1);
    cr_assert_eq(life.bodies, 1);
    cr_assert_eq(fm_fiber_incarnation(fiber), 1);
    cr_assert_eq(remove_key(map), 0);
    cr_assert_eq(life.dropped, 0);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}
