/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_restart_end.c - fibers that the map runs again, and who ends them: interruptions,
 * removals, closes, a map that lets go of them
 *
 * Mostly on one worker and the virtual clock: pass_ms() returns when all that is due has
 * happened.
 */
#include "tests/fibermap/restart_test.h"

/* ---- interruptions ---- */

static void remove_it(struct fm_map *map)
{
    cr_assert_eq(remove_key(map), 0);
}

static void interrupt_it(struct fm_map *map)
{
    cr_assert_eq(fm_map_interrupt(map, fm_key_str("key")), 0);
}

static void replace_it(struct fm_map *map)
{
    run(map, "key", until_interrupted, NULL);
}

static void clear_it(struct fm_map *map)
{
    cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
}

static void close_it(struct fm_map *map)
{
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
}

/* F63, T235: in its body, or in a back-off. */
EXACT_TEST(map_restart, interruption_by_the_map_never_restarts)
{
    static const struct {
        void (*end)(struct fm_map *map);
        int reason;
    } ways[] = { { remove_it, FM_BY_REMOVE },
                 { interrupt_it, FM_BY_REMOVE },
                 { replace_it, FM_BY_REPLACE },
                 { clear_it, FM_BY_CLEAR },
                 { close_it, FM_BY_CLOSE } };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        for (int backing_off = 0; backing_off < 2; backing_off++) {
            struct fm_map *map = new_map();
            struct life life = failing();
            struct fm_fiber *fiber = run_again(map, backing_off ? live : live_for_ever, &life,
                                               policy(FM_PERMANENT, 10));
            pass_ms(5);
            cr_assert_eq(life.bodies, 1);
            int64_t before = fm_now_ns();
            ways[i].end(map);
            expect_interruption(finish(fm_fiber_ref(fiber)), ways[i].reason);
            cr_assert_eq(fm_now_ns(), before, "the back-off was waited out");
            pass_ms(100);
            cr_assert_eq(life.bodies, 1);
            cr_assert_eq(fm_fiber_incarnation(fiber), 0);
            fm_fiber_unref(fiber);
            fm_map_destroy(map);
        }
    }
}

/*
 * The body fails at once, again and again, beside who removes it: whatever it is doing then,
 * what has begun when the removal returns is all there will be.
 */
EXACT_TEST(map_restart, after_a_removal_at_any_step_no_incarnation_begins)
{
    for (int delay_ms = 0; delay_ms <= 1; delay_ms++) {
        for (int step = 0; step < 24; step++) {
            struct fm_map *map = new_map();
            struct life life = failing();
            struct fm_fiber *fiber = run_again(map, live, &life,
                                               policy(FM_PERMANENT, delay_ms));
            for (int i = 0; i < step; i++) {
                fm_yield();
                if (delay_ms && i % 3 == 2)
                    pass_ms(delay_ms);
            }
            cr_assert_eq(remove_key(map), 0);
            int bodies = life.bodies;
            cr_assert(step ? bodies > step / 4 : bodies == 0, "step %d: %d", step, bodies);
            uint64_t incarnation = fm_fiber_incarnation(fiber);
            cr_assert(has_ended(fiber) && !has(map), "step %d", step);
            pass_ms(100);
            cr_assert_eq(life.bodies, bodies, "step %d", step);
            cr_assert_eq(fm_fiber_incarnation(fiber), incarnation, "step %d", step);
            fm_fiber_unref(fiber);
            fm_map_destroy(map);
        }
    }
}

EXACT_TEST(map_restart, interruption_from_outside_restarts_permanent_alone)
{
    struct fm_map *map = new_map();
    struct life life = { 0 };
    struct fm_fiber *fiber = run_again(map, live_for_ever, &life, policy(FM_TRANSIENT, 0));
    pass_ms(1);
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_eq(life.bodies, 1);

    fiber = run_again(map, live_for_ever, &life, policy(FM_PERMANENT, 0));
    for (int i = 0; i < 5; i++) {
        pass_ms(1);
        cr_assert_eq(life.bodies, 2 + i);
        cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    }
    pass_ms(1);
    cr_assert_eq(fm_fiber_incarnation(fiber), 5);
    cr_assert(!has_ended(fiber));
    cr_assert_eq(remove_key(map), 0);
    expect_interruption(finish(fiber), FM_BY_REMOVE);
    fm_map_destroy(map);
}

/* The mark of one incarnation is not the next one's, though that one is interrupted anew. */
static struct fm_exit interrupts_itself(void *arg)
{
    struct life *life = arg;
    cr_assert_eq(fm_check(), 0);
    cr_assert_eq(fm_interrupt_info(NULL), -ENOENT);
    if (atomic_fetch_add(&life->bodies, 1) == 3)
        return fm_fail(fm_never());
    cr_assert_eq(fm_fiber_interrupt(fm_fiber_self()), 0);
    cr_assert_eq(fm_check(), -ECANCELED);
    return life->bodies == 2 ? fm_ok(NULL) : fm_fail(fm_never());
}

EXACT_TEST(map_restart, an_incarnation_begins_without_the_interruption_of_the_last)
{
    struct fm_map *map = new_map();
    struct life life = { 0 };
    struct fm_fiber *fiber = run_again(map, interrupts_itself, &life, policy(FM_PERMANENT, 1));
    pass_ms(10);
    cr_assert_eq(life.bodies, 4);
    cr_assert_eq(remove_key(map), 0);
    expect_interruption(finish(fiber), FM_BY_REMOVE);
    fm_map_destroy(map);
}

/* The first interrupter stays on record, but the map's order ends the lineage. */
EXACT_TEST(map_restart, removal_of_one_interrupted_from_outside_ends_it)
{
    struct fm_map *map = new_map();
    struct life life = { 0 };
    struct fm_fiber *fiber = run_again(map, live_for_ever, &life, policy(FM_PERMANENT, 0));
    pass_ms(1);
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    cr_assert_eq(remove_key(map), 0);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_eq(life.bodies, 1);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, a_transient_one_that_ignores_an_interruption_is_not_restarted)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_fiber *fiber = run_again(map, live, &life, policy(FM_TRANSIENT, 10));
    pass_ms(1);
    cr_assert_eq(fm_fiber_interrupt(fiber), 0); /* backing off */
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_eq(life.bodies, 1);
    cr_assert_eq(now_ms(), 1);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, interrupting_a_permanent_one_that_backs_off_begins_another_back_off)
{
    struct fm_map *map = new_map();
    struct life life = failing();
    struct fm_fiber *fiber = run_again(map, live, &life, policy(FM_PERMANENT, 10));
    pass_ms(6);
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    pass_ms(9);
    cr_assert_eq(life.bodies, 1);
    pass_ms(1);
    cr_assert_eq(life.bodies, 2);
    cr_assert_eq(remove_key(map), 0);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static struct fm_exit removes_itself(void *arg)
{
    struct life *life = arg;
    struct fm_map *map = (struct fm_map *)(uintptr_t)life->lives_ms;
    atomic_fetch_add(&life->bodies, 1);
    cr_assert_eq(fm_map_remove(map, fm_key_str("key"), FM_NEVER), FM_MAP_SELF);
    return fm_fail(-EIO);
}

EXACT_TEST(map_restart, a_body_that_removes_its_key_is_not_restarted)
{
    struct fm_map *map = new_map();
    struct life life = { .lives_ms = (intptr_t)map };
    struct fm_exit exit = finish(
        run_again(map, removes_itself, &life, policy(FM_PERMANENT, 0)));
    cr_assert_eq(exit.code, -EIO, "its own exit stays");
    cr_assert_eq(life.bodies, 1);
    fm_map_destroy(map);
}

TEST(map_restart, shutdown_ends_a_permanent_lineage)
{
    struct fm_runtime_config runtime_config = FM_RUNTIME_CONFIG_INIT;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct life waiting = { 0 }, backing_off = failing();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = policy(FM_PERMANENT, 0);
    struct fm_fiber *fiber[2];
    struct fm_runtime *runtime;
    struct fm_map *map;

    runtime_config.worker_count = 1;
    runtime_config.clock = FM_CLOCK_VIRTUAL;
    cr_assert_eq(fm_runtime_create(&runtime_config, &runtime), 0);
    config.runtime = runtime;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    options.restart = &restart;
    cr_assert_eq(fm_map_run(map, fm_key_str("waits"), live_for_ever, &waiting, &options,
                            &fiber[0]),
                 0);
    fiber[1] = run_again(map, live, &backing_off, policy(FM_PERMANENT, 3600000));
    cr_assert_eq(fm_clock_advance_ns(runtime, 0), 0, "until both wait");
    cr_assert_eq(waiting.bodies, 1);
    cr_assert_eq(backing_off.bodies, 1);
    cr_assert_eq(fm_runtime_shutdown(runtime, FM_NEVER), 0);
    expect_interruption(finish(fiber[0]), FM_BY_SHUTDOWN);
    expect_interruption(finish(fiber[1]), FM_BY_SHUTDOWN);
    cr_assert_eq(waiting.bodies, 1);
    cr_assert_eq(backing_off.bodies, 1);
    fm_map_destroy(map);
    fm_runtime_destroy(runtime);
}

/* T232: the outer scope closes while a fiber that interrupts itself is run again and again. */
static struct fm_exit owns_a_restarter(void *arg)
{
    struct fm_map *map = NULL;
    cr_assert_eq(fm_map_create_scoped(NULL, &map), 0);
    fm_fiber_unref(run_again(map, interrupts_itself, arg, policy(FM_PERMANENT, 0)));
    for (int i = 0; i < 20; i++)
        fm_yield();
    return fm_fail(-EIO);
}

EXACT_TEST(map_restart, scope_closes_over_one_that_interrupts_itself)
{
    struct life life = { 0 };
    struct fm_exit exit = finish(start(owns_a_restarter, &life));
    cr_assert_eq(exit.code, -EIO);
    cr_assert_gt(life.bodies, 1);
}

/* ---- closing, detaching ---- */

/* T229 */
TIMED_WORKER_TEST(map_restart, a_draining_map_awaits_what_runs_and_restarts_nothing)
{
    struct fm_close_policy drain = FM_CLOSE_POLICY_INIT;
    struct fm_map *map = new_map();
    struct life life = { .end = { fm_ok(NULL) }, .ends = 1, .lives_ms = 10 };
    drain.kind = FM_CLOSE_DRAIN;
    struct fm_fiber *fiber = run_again(map, live, &life, policy(FM_PERMANENT, 0));
    while (life.bodies < 3)
        fm_sleep_ms(1);
    cr_assert_eq(fm_map_close(map, &drain, NULL), 0);
    cr_assert_eq(life.bodies, 3);
    cr_assert_eq(life.inside, 0);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, a_draining_map_does_not_wait_for_back_offs)
{
    static const uint32_t kinds[] = { FM_CLOSE_DRAIN, FM_CLOSE_CANCEL_AFTER };
    for (int i = 0; i < 2; i++) {
        struct fm_close_policy drain = FM_CLOSE_POLICY_INIT;
        struct fm_map *map = new_map();
        struct life life = { .ends = 1 };
        life.end[0] = fm_fail_with(-EIO, &life);
        drain.kind = kinds[i];
        drain.grace_ns = 1000 * MS;
        struct fm_fiber *fiber = run_again(map, live, &life, policy(FM_PERMANENT, 3600000));
        pass_ms(10);
        int64_t before = fm_now_ns();
        cr_assert_eq(fm_map_close(map, &drain, NULL), 0);
        cr_assert_eq(fm_now_ns(), before);
        cr_assert_eq(life.values, 0);
        struct fm_exit exit = finish(fiber);
        cr_assert_eq(exit.code, -EIO, "the exit of the last incarnation");
        cr_assert_eq(life.values, 1);
        fm_map_destroy(map);
    }
}

/* Whether it goes on is asked of the map that runs it. */
EXACT_TEST(map_restart, another_maps_drain_waits_for_the_lineage_itself)
{
    struct fm_close_policy drain = FM_CLOSE_POLICY_INIT;
    struct fm_map *map = new_map(), *other = new_map();
    struct life life = failing();
    struct fm_fiber *fiber = run_again(map, live, &life, policy(FM_PERMANENT, 10));
    drain.kind = FM_CLOSE_DRAIN;
    cr_assert_eq(fm_map_set(other, fm_key_str("alias"), fiber, NULL), 0);
    pass_ms(1);
    drain.deadline_ns = fm_now_ns(); /* at once */
    cr_assert_eq(fm_map_close(other, &drain, NULL), -ETIMEDOUT);
    pass_ms(100);
    cr_assert_gt(life.bodies, 9, "it is restarted all the same");
    cr_assert_eq(remove_key(map), 0);
    drain.deadline_ns = 0;
    cr_assert_eq(fm_map_close(other, &drain, NULL), 0);
    fm_fiber_unref(fiber);
    fm_map_destroy(other);
    fm_map_destroy(map);
}

EXACT_TEST(map_restart, a_detached_lineage_is_not_restarted)
{
    for (int backing_off = 0; backing_off < 2; backing_off++) {
        struct fm_map *map = new_map();
        struct life life = failing();
        life.lives_ms = backing_off ? 0 : 10;
        struct fm_fiber *fiber = run_again(map, live, &life, policy(FM_PERMANENT, 50));
        pass_ms(5);
        cr_assert_eq(fm_map_detach(map, fm_key_str("key"), NULL), 0);
        fm_map_destroy(map);
        pass_ms(backing_off ? 0 : 5);
        cr_assert_eq(finish(fiber).code, -EIO);
        cr_assert_eq(now_ms(), backing_off ? 15 : 10);
        cr_assert_eq(life.bodies, 1);
    }
}

/* A lineage under a key of another map, too, is ended by either. */
EXACT_TEST(map_restart, removal_from_another_map_is_final)
{
    struct fm_map *map = new_map(), *other = new_map();
    struct life life = { 0 };
    struct fm_fiber *fiber = run_again(map, live_for_ever, &life, policy(FM_PERMANENT, 0));
    cr_assert_eq(fm_map_set(other, fm_key_str("alias"), fiber, NULL), 0);
    pass_ms(1);
    cr_assert_eq(fm_map_remove(other, fm_key_str("alias"), FM_NEVER), 0);
    cr_assert(!has(map));
    expect_interruption(finish(fiber), FM_BY_REMOVE);
    cr_assert_eq(life.bodies, 1);
    fm_map_destroy(other);
    fm_map_destroy(map);
}
