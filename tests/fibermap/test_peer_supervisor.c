/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peer_supervisor.c - what the tests of other supervisors promise
 *
 * cats-effect's Supervisor, Elixir's Registry and DynamicSupervisor, OTP's supervisor. The
 * T-numbers are those of the list of peers' cases; those of restarting stand in
 * test_map_restart.c, test_map_restart_end.c and test_map_restart_limit.c.
 */
#include <time.h>

#include "runtime/platform/memory.h"
#include "tests/fibermap/restart_test.h"

#define KEY(text) fm_key_str(text)

static struct fm_close_policy closing(uint32_t kind, int64_t deadline_ns)
{
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    policy.kind = kind;
    policy.deadline_ns = deadline_ns;
    return policy;
}

/* ---- ends ---- */

static struct fm_exit interrupt_myself(void *arg)
{
    (void)arg;
    fm_fiber_interrupt(fm_fiber_self());
    return fm_fail(fm_check());
}

static struct fm_exit defect_with(void *code)
{
    return fm_defect((int)(intptr_t)code);
}

/* T226 */
WORKER_TEST(peer_supervisor, a_join_shows_exactly_how_a_member_ended)
{
    struct fm_map *map = new_map();
    struct fm_fiber *member = run_started(map, "waits", never_counting, NULL, NULL);
    struct fm_fiber *fiber[4];
    cr_assert_eq(fm_map_run(map, KEY("a"), return_arg, number(7), NULL, &fiber[0]), 0);
    cr_assert_eq(fm_map_run(map, KEY("b"), fail_with, number(-EIO), NULL, &fiber[1]), 0);
    cr_assert_eq(fm_map_run(map, KEY("c"), defect_with, number(9), NULL, &fiber[2]), 0);
    cr_assert_eq(fm_map_run(map, KEY("d"), interrupt_myself, NULL, NULL, &fiber[3]), 0);
    uint64_t id = fm_fiber_id(fiber[3]);
    struct fm_exit exit = finish(fiber[0]);
    cr_assert(exit.kind == FM_SUCCESS && exit.value == number(7));
    exit = finish(fiber[1]);
    cr_assert(exit.kind == FM_FAILURE && exit.code == -EIO);
    exit = finish(fiber[2]);
    cr_assert(exit.kind == FM_DEFECT && exit.code == 9);
    exit = finish(fiber[3]);
    expect_interruption(exit, FM_BY_USER);
    cr_assert_eq(exit.by, id);
    cr_assert(!has_ended(member));
    fm_fiber_unref(member);
    fm_map_destroy(map);
}

/* T237: whether they end before or after the call that puts them in has returned. */
FIBER_TEST(peer_supervisor, of_bodies_that_end_at_once_nothing_is_kept)
{
    struct fm_map *map = new_map();
    struct fm_snapshot *snapshot;
    for (uint64_t i = 0; i < 5000; i++) {
        struct fm_fiber *fiber = start(return_arg, NULL);
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(2 * i), return_arg, NULL, NULL, NULL), 0);
        cr_assert_eq(fm_map_set(map, FM_KEY_U64(2 * i + 1), fiber, NULL), 0);
        fm_fiber_unref(fiber);
    }
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_size(map), 0);
    cr_assert_eq(fm_map_snapshot(map, FM_SNAPSHOT_ZOMBIES, &snapshot), 0);
    cr_assert_eq(fm_snapshot_count(snapshot), 0);
    fm_snapshot_free(snapshot);
    fm_map_destroy(map);
}

struct start {
    fm_entry_fn *entry;
    enum fm_exit_kind kind;
};

static struct fm_exit ready_then_fail(void *arg)
{
    (void)arg;
    fm_ready();
    return fm_fail(-EIO);
}

/* T247 */
WORKER_TEST(peer_supervisor, a_start_that_fails_is_told_and_leaves_the_key_free)
{
    static const struct start starts[] = { { fail_with, FM_FAILURE },
                                           { defect_with, FM_DEFECT },
                                           { interrupt_myself, FM_INTERRUPTED },
                                           { return_arg, FM_SUCCESS } };
    struct fm_map *map = new_map();
    struct fm_fiber *fiber;
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(fm_map_run(map, KEY("a"), starts[i].entry, number(-EIO), NULL, &fiber), 0);
        cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), -ESRCH);
        cr_assert_eq(finish(fiber).kind, starts[i].kind);
        cr_assert(!fm_map_has(map, KEY("a")));
    }
    fiber = run_started(map, "a", never_counting, NULL, NULL);
    cr_assert(fm_map_has(map, KEY("a")));
    fm_fiber_unref(fiber);
    cr_assert_eq(fm_map_run(map, KEY("b"), ready_then_fail, NULL, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_await_ready(fiber, FM_NEVER), 0, "it failed later than that");
    cr_assert_eq(finish(fiber).code, -EIO);
    fm_map_destroy(map);
}

/* ---- registration ---- */

/* T240: it takes no memory, that is; of a refused run nothing can be left. */
WORKER_TEST(peer_supervisor, who_comes_to_a_held_key_is_told_the_holder_and_costs_nothing)
{
    struct fm_map *map = new_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *holder = run_started(map, "key", never_counting, NULL, NULL);
    struct fm_runtime_stats before, after;
    struct life life = { 0 };
    options.arg_drop = drop_arg;
    cr_assert_eq(fm_runtime_stats(fm_runtime_current(), &before), 0);
    fm__fault_set(FAULT_MALLOC, 1, true);
    for (int i = 0; i < 1000; i++) {
        struct fm_fiber *found = NULL;
        options.conflict = FM_FAIL;
        cr_assert_eq(fm_map_run(map, KEY("key"), live, &life, &options, NULL), -EEXIST);
        options.conflict = FM_KEEP;
        cr_assert_eq(fm_map_run(map, KEY("key"), live, &life, &options, &found), FM_MAP_KEPT);
        cr_assert_eq(found, holder);
        fm_fiber_unref(found);
    }
    cr_assert_eq(fm__fault_hits(FAULT_MALLOC), 0);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(fm_runtime_stats(fm_runtime_current(), &after), 0);
    cr_assert_eq(after.fibers_live, before.fibers_live);
    cr_assert(life.bodies == 0 && life.dropped == 0);
    cr_assert_eq(fm_map_size(map), 1);
    cr_assert(!has_ended(holder));
    fm_fiber_unref(holder);
    fm_map_destroy(map);
}

/* T244 */
WORKER_TEST(peer_supervisor, taking_one_of_two_keys_away_keeps_the_other)
{
    struct fm_map *map = new_map();
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_assert_eq(fm_map_set(map, KEY("a"), fiber, NULL), 0);
    cr_assert_eq(fm_map_set(map, KEY("b"), fiber, NULL), 0);
    cr_assert_eq(fm_map_detach(map, KEY("absent"), NULL), -ENOENT);
    cr_assert_eq(fm_map_remove(map, KEY("absent"), FM_NEVER), -ENOENT);
    cr_assert_eq(fm_map_size(map), 2);
    cr_assert_eq(fm_map_detach(map, KEY("a"), NULL), 0);
    settle();
    cr_assert(!has_ended(fiber));
    cr_assert(!fm_map_has(map, KEY("a")) && fm_map_has(map, KEY("b")));
    fm_map_destroy(map);
    expect_interruption(finish(fiber), FM_BY_CLOSE);
}

/* ---- shutting down ---- */

static struct fm_exit drain(void *map)
{
    struct fm_close_policy policy = closing(FM_CLOSE_DRAIN, 0);
    return fm_fail(fm_map_close(map, &policy, NULL));
}

/* T228: also where it would be restarted. */
EXACT_TEST(peer_supervisor, a_draining_map_waits_for_ever_for_one_who_never_ends)
{
    for (int restarts = 0; restarts < 2; restarts++) {
        struct fm_map *map = new_map();
        struct life life = { 0 };
        fm_fiber_unref(run_again(map, live_for_ever, &life,
                                 policy(restarts ? FM_PERMANENT : FM_TEMPORARY, 0)));
        settle();
        struct fm_fiber *closer = start(drain, map);
        pass_ms(3600 * 1000);
        cr_assert(!has_ended(closer));
        cr_assert_eq(life.bodies, 1);
        cr_assert_eq(fm_map_close(map, NULL, NULL), 0, "which ends it");
        cr_assert_eq(finish(closer).code, 0);
        cr_assert_eq(life.bodies, 1);
        fm_map_destroy(map);
    }
}

static struct fm_exit interrupts_itself(void *arg)
{
    atomic_fetch_add(&((struct life *)arg)->bodies, 1);
    return interrupt_myself(NULL);
}

static struct fm_exit owns_one_that_interrupts_itself(void *life)
{
    struct fm_map *map = NULL;
    cr_assert_eq(fm_map_create_scoped(NULL, &map), 0);
    fm_fiber_unref(run_again(map, interrupts_itself, life, policy(FM_PERMANENT, 0)));
    return fm_fail(fm_never());
}

/* T232 */
WORKER_TEST(peer_supervisor, an_owner_that_is_interrupted_ends_who_is_restarted_and_restarted)
{
    struct life life = { 0 };
    struct fm_fiber *owner = start(owns_one_that_interrupts_itself, &life);
    while (life.bodies < 5)
        fm_yield();
    cr_assert_eq(fm_fiber_interrupt(owner), 0);
    expect_interruption(finish(owner), FM_BY_USER);
    int bodies = life.bodies;
    settle();
    cr_assert_eq(life.bodies, bodies);
}

static struct fm_exit fail_when_interrupted(void *code)
{
    fm_ready();
    fm_never();
    return fm_fail((int)(intptr_t)code);
}

/*
 * T252, T256: one ends at once, one takes its time, one has an end of its own, and one outlasts
 * the deadline: nobody is killed here, he is named.
 */
TIMED_WORKER_TEST(peer_supervisor, a_close_tells_how_each_ended_and_who_did_not_in_time)
{
    struct fm_map *map = new_map();
    struct fm_close_report report;
    struct fm_fiber *at_once = run_started(map, "at once", never_counting, NULL, NULL);
    struct fm_fiber *graceful = run_started(map, "graceful", never_with_slow_finalizer,
                                            number(10), NULL);
    struct fm_fiber *own = run_started(map, "own", fail_when_interrupted, number(-EIO), NULL);
    struct fm_fiber *late = run_started(map, "late", never_with_slow_finalizer, number(1000),
                                        NULL);
    struct fm_close_policy in_time = closing(FM_CLOSE_CANCEL, fm_after_ms(100));

    cr_assert_eq(fm_map_close(map, &in_time, &report), -ETIMEDOUT);
    cr_assert_eq(now_ms(), 100);
    cr_assert(report.awaited == 3 && report.failed == 1 && report.stuck == 1);
    cr_assert(report.failure_count == 1 && report.stuck_count == 1);
    cr_assert_eq(report.failures[0].exit.code, -EIO);
    cr_assert_eq(report.stuck_members[0].fiber, late);
    fm_close_report_fini(&report);
    expect_interruption(finish(at_once), FM_BY_CLOSE);
    expect_interruption(finish(graceful), FM_BY_CLOSE);
    cr_assert_eq(finish(own).code, -EIO, "its own end is not taken away");
    cr_assert(!has_ended(late));
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_assert_eq(now_ms(), 1000);
    expect_interruption(finish(late), FM_BY_CLOSE);
    fm_map_destroy(map);
}

/* T265: two take a second each, the third too long. */
TIMED_WORKER_TEST(peer_supervisor, members_end_side_by_side_and_the_slow_one_costs_the_deadline)
{
    struct fm_map *map = new_map();
    struct fm_close_report report;
    static const intptr_t takes_ms[] = { 1000, 1000, 60000 };
    for (uint64_t i = 0; i < 3; i++)
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), never_with_slow_finalizer,
                                number(takes_ms[i]), NULL, NULL),
                     0);
    settle();
    struct fm_close_policy in_time = closing(FM_CLOSE_CANCEL, fm_after_ms(2000));
    cr_assert_eq(fm_map_close(map, &in_time, &report), -ETIMEDOUT);
    cr_assert_eq(now_ms(), 2000);
    cr_assert(report.awaited == 2 && report.stuck == 1);
    fm_close_report_fini(&report);
    fm_map_destroy(map);
}

/* ---- trees ---- */

struct tree {
    struct fm_map *inner; /* of the incarnation that runs */
    struct fm_deferred *crash[2];
    struct fm_fiber *child[2];
    _Atomic int bodies;
};

/* A supervisor under a supervisor: two members of its own, and others that are added. */
static struct fm_exit supervise(void *arg)
{
    struct tree *tree = arg;
    int n = tree->bodies++;
    cr_assert_eq(fm_map_create_scoped(NULL, &tree->inner), 0);
    tree->child[n] = run_started(tree->inner, "a", never_counting, NULL, NULL);
    run(tree->inner, "b", never_counting, NULL);
    int r = fm_deferred_await(tree->crash[n], FM_NEVER, NULL);
    return fm_fail(r < 0 ? r : -EIO);
}

/* T267 */
EXACT_TEST(peer_supervisor, a_supervisor_that_crashes_comes_back_with_its_own_members_alone)
{
    struct fm_map *outer = new_map();
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = policy(FM_PERMANENT, 0);
    struct tree tree = { 0 };
    for (int i = 0; i < 2; i++)
        cr_assert_eq(fm_deferred_create(&tree.crash[i]), 0);
    struct fm_fiber *sibling = run_started(outer, "sibling", never_counting, NULL, NULL);
    options.restart = &restart;
    cr_assert_eq(fm_map_run(outer, KEY("inner"), supervise, &tree, &options, NULL), 0);
    pass_ms(0);
    struct fm_fiber *added = run_started(tree.inner, "added", never_counting, NULL, NULL);
    cr_assert_eq(fm_map_size(tree.inner), 3);

    cr_assert_eq(fm_deferred_succeed(tree.crash[0], NULL), 0);
    pass_ms(0);
    cr_assert_eq(tree.bodies, 2);
    expect_interruption(finish(tree.child[0]), FM_BY_CLOSE);
    expect_interruption(finish(added), FM_BY_CLOSE);
    cr_assert_eq(fm_map_size(tree.inner), 2);
    cr_assert(fm_map_has(tree.inner, KEY("a")) && fm_map_has(tree.inner, KEY("b")));
    cr_assert(!has_ended(tree.child[1]) && !has_ended(sibling));

    cr_assert_eq(fm_map_remove(outer, KEY("inner"), FM_NEVER), 0);
    expect_interruption(finish(tree.child[1]), FM_BY_CLOSE);
    cr_assert_eq(fm_map_size(outer), 1);
    fm_fiber_unref(sibling);
    fm_map_destroy(outer);
    for (int i = 0; i < 2; i++)
        fm_deferred_destroy(tree.crash[i]);
}

/* ---- many ---- */

static void run_up_to(struct fm_map *map, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), until_interrupted, NULL, NULL, NULL), 0);
}

/* T268 */
FIBER_TEST(peer_supervisor, counts_of_thousands_are_exact)
{
    struct fm_map *map = new_map();
    run_up_to(map, 0, 1000);
    cr_assert_eq(fm_map_size(map), 1000);
    run_up_to(map, 1000, 3000);
    cr_assert_eq(fm_map_size(map), 3000);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_LIVE), 3000);
    cr_assert_eq(fm_map_clear(map, FM_NEVER), 0);
    cr_assert_eq(fm_map_size(map), 0);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_LIVE), 0);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ENDING), 0);
    fm_map_destroy(map);
}

/* Of all our threads, so that the time of others does not count. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* The least that it takes to end so many, of three times. */
static int64_t ending_ns(uint64_t count)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        struct fm_map *map = new_map();
        run_up_to(map, 0, count);
        int64_t began = cpu_ns();
        cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
        int64_t took = cpu_ns() - began;
        least = took < least ? took : least;
        fm_map_destroy(map);
    }
    return least;
}

/* T268: ten times as many may take fifty times as long; were it quadratic, a hundred times. */
WORKER_TEST(peer_supervisor, the_work_of_ending_all_grows_with_their_number_alone)
{
    int64_t few = ending_ns(2000), many = ending_ns(20000);
    cr_assert_lt(many, 50 * few, "%lld us for 2000, %lld us for 20000", (long long)few / 1000,
                 (long long)many / 1000);
}
