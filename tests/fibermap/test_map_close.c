/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_close.c - closing by each policy, by a member, twice; scoped maps; destroying */
#include <signal.h>

#include "tests/fibermap/map_test.h"

static struct fm_close_policy policy(uint32_t kind, int64_t grace_ns, int64_t deadline_ns)
{
    struct fm_close_policy close = FM_CLOSE_POLICY_INIT;
    close.kind = kind;
    close.grace_ns = grace_ns;
    close.deadline_ns = deadline_ns;
    return close;
}

struct closer {
    struct fm_map *map;
    const struct fm_close_policy *policy;
    int result;
    bool pending, masked;
    atomic_bool *go; /* NULL: at once */
};

static struct fm_exit close_it(void *arg)
{
    struct closer *closer = arg;
    while (closer->go && !atomic_load(closer->go))
        fm_yield();
    if (closer->masked)
        fm_mask();
    closer->result = fm_map_close(closer->map, closer->policy, NULL);
    if (closer->masked)
        fm_unmask();
    closer->pending = fm_check() == -ECANCELED;
    return fm_ok(NULL);
}

FIBER_TEST(map_close, interrupts_and_awaits_all)
{
    struct fm_map *map = make_map();
    struct fm_close_report report;
    struct fm_fiber *one = run(map, "one", until_interrupted, NULL);
    for (uint64_t i = 0; i < 100; i++)
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), until_interrupted, NULL, NULL, NULL), 0);
    cr_expect_eq(fm_map_close(map, NULL, &report), 0);
    cr_expect_eq(report.awaited, 101);
    cr_expect_eq(report.failed, 0);
    cr_expect_eq(report.stuck, 0);
    fm_close_report_fini(&report);
    cr_expect_eq(finish(one).reason, FM_BY_CLOSE);
    cr_expect_eq(fm_map_close(map, NULL, NULL), 0, "again");
    fm_map_destroy(map);
}

/* T039, T234 */
TIMED_WORKER_TEST(map_close, closed_map_refuses_and_finds_nothing)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options keep = conflict(FM_KEEP);
    struct fm_fiber *fiber;
    atomic_bool go = false;
    struct fm_fiber *old = run(map, "a", stubborn, &go);
    struct fm_close_policy poll = policy(FM_CLOSE_CANCEL, 0, 1);
    settle();
    cr_expect_eq(fm_map_close(map, &poll, NULL), -ETIMEDOUT);
    cr_expect_eq(fm_map_run(map, KEY("b"), until_interrupted, NULL, NULL, &fiber), -ESHUTDOWN);
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &keep, &fiber), -ESHUTDOWN);
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, &keep, NULL), -ESHUTDOWN);
    cr_expect_eq(fm_map_get(map, KEY("a"), &fiber), -ENOENT);
    cr_expect_not(fm_map_has(map, KEY("a")));
    cr_expect_eq(fm_map_size(map), 0);
    cr_expect_eq(fm_map_remove(map, KEY("a"), 0), -ENOENT);
    cr_expect_eq(fm_map_detach(map, KEY("a"), NULL), -ENOENT);
    cr_expect_eq(fm_map_count(map, FM_MEMBER_ENDING), 1, "but shows what is ending");
    cr_expect_eq(fm_check(), 0, "the caller is not interrupted");
    atomic_store(&go, true);
    fm_map_destroy(map);
    fm_fiber_unref(old);
}

/* T043, F64 */
TIMED_WORKER_TEST(map_close, waits_for_zombies)
{
    struct fm_map *map = make_map();
    atomic_bool go = false;
    struct fm_fiber *old = run(map, "a", stubborn, &go);
    struct fm_close_policy poll = policy(FM_CLOSE_CANCEL, 0, fm_after_ms(2));
    struct fm_close_report report;
    settle();
    struct fm_fiber *new = run(map, "a", return_arg, NULL);
    cr_expect_eq(fm_map_close(map, &poll, &report), -ETIMEDOUT);
    cr_expect_eq(report.stuck, 1);
    cr_assert_eq(report.stuck_count, 1);
    cr_expect_eq(report.stuck_members[0].fiber, old);
    cr_expect_eq(report.stuck_members[0].state, FM_MEMBER_ZOMBIE);
    cr_expect_eq(report.stuck_members[0].key.len, 1);
    cr_expect_eq(*(const char *)report.stuck_members[0].key.data, 'a');
    fm_close_report_fini(&report);
    atomic_store(&go, true);
    cr_expect_eq(fm_map_close(map, NULL, NULL), 0, "close again to go on waiting");
    cr_expect_eq(fm_fiber_poll(old, NULL), 0);
    fm_fiber_unref(old);
    fm_fiber_unref(new);
    fm_map_destroy(map);
}

static struct fm_exit release_soon(void *arg)
{
    fm_sleep_ms(2);
    atomic_store((atomic_bool *)arg, true);
    return fm_ok(NULL);
}

static struct fm_exit wait_until(void *arg)
{
    while (!atomic_load((atomic_bool *)arg))
        if (fm_sleep_ms(1) < 0)
            return fm_interrupted();
    return fm_ok(NULL);
}

TIMED_WORKER_TEST(map_close, drain_waits_and_does_not_interrupt)
{
    struct fm_map *map = make_map();
    atomic_bool go = false;
    struct fm_fiber *fiber = run(map, "a", wait_until, &go), *releaser;
    struct fm_close_policy drain = policy(FM_CLOSE_DRAIN, 0, 0);
    cr_assert_eq(fm_fiber_spawn(release_soon, &go, NULL, &releaser), 0);
    cr_expect_eq(fm_map_close(map, &drain, NULL), 0);
    cr_expect_eq(finish(fiber).kind, FM_SUCCESS);
    finish(releaser);
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_close, drain_has_a_deadline)
{
    struct fm_map *map = make_map();
    struct fm_fiber *fiber = run(map, "a", until_interrupted, NULL);
    struct fm_close_policy drain = policy(FM_CLOSE_DRAIN, 0, fm_after_ms(2));
    struct fm_close_report report;
    settle();
    cr_expect_eq(fm_map_close(map, &drain, &report), -ETIMEDOUT);
    cr_expect_eq(report.stuck, 1);
    cr_expect_eq(report.stuck_members[0].state, FM_MEMBER_LIVE);
    fm_close_report_fini(&report);
    cr_expect_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    fm_map_destroy(map);
    cr_expect_eq(finish(fiber).reason, FM_BY_CLOSE);
}

EXACT_TEST(map_close, cancel_after_gives_a_grace)
{
    struct fm_close_policy after = policy(FM_CLOSE_CANCEL_AFTER, 20 * 1000 * 1000, 0);
    struct closer closer = { .map = make_map(), .policy = &after };
    atomic_bool go = false;
    struct fm_fiber *quick = run(closer.map, "quick", wait_until, &go);
    struct fm_fiber *slow = run(closer.map, "slow", until_interrupted, NULL), *fiber;
    cr_assert_eq(fm_fiber_spawn(close_it, &closer, NULL, &fiber), 0);
    settle();
    atomic_store(&go, true);
    pass_ms(19);
    cr_expect_eq(finish(quick).kind, FM_SUCCESS);
    cr_expect_eq(fm_fiber_poll(slow, NULL), -EAGAIN);
    pass_ms(1);
    finish(fiber);
    cr_expect_eq(closer.result, 0);
    cr_expect_eq(finish(slow).reason, FM_BY_CLOSE);
    fm_map_destroy(closer.map);
}

static struct fm_exit fail_when_interrupted(void *arg)
{
    fm_never();
    return fm_fail((int)(intptr_t)arg);
}

WORKER_TEST(map_close, report_lists_the_failures_seen_while_closing)
{
    struct fm_map *map = make_map();
    struct fm_close_report report;
    char longer[100];
    memset(longer, 'z', sizeof longer);
    cr_assert_eq(fm_map_run(map, KEY("a"), fail_when_interrupted, number(-3), NULL, NULL), 0);
    cr_assert_eq(fm_map_run(map, fm_key_bytes(longer, sizeof longer), fail_when_interrupted,
                            number(-4), NULL, NULL),
                 0);
    cr_assert_eq(fm_map_run(map, KEY("c"), until_interrupted, NULL, NULL, NULL), 0);
    settle();
    cr_expect_eq(fm_map_close(map, NULL, &report), 0);
    cr_expect_eq(report.awaited, 3);
    cr_expect_eq(report.failed, 2);
    cr_assert_eq(report.failure_count, 2);
    for (int i = 0; i < 2; i++) {
        const struct fm_close_failure *failure = &report.failures[i];
        if (failure->exit.code == -3) {
            cr_expect(failure->key.len == 1 && *(const char *)failure->key.data == 'a');
        } else {
            cr_expect_eq(failure->exit.code, -4);
            cr_assert_eq(failure->key.len, sizeof longer);
            cr_expect_arr_eq(failure->key.data, longer, sizeof longer);
        }
    }
    fm_close_report_fini(&report);
    fm_close_report_fini(&report);
    fm_close_report_fini(NULL);
    struct fm_exit verdict;
    cr_expect_eq(fm_map_join(map, 0, &verdict), 0);
    cr_expect_eq(verdict.kind, FM_SUCCESS, "the close had decided before");
    fm_map_destroy(map);
}

WORKER_TEST(map_close, no_more_than_64_failures_are_listed)
{
    struct fm_map *map = make_map();
    struct fm_close_report report;
    for (uint64_t i = 0; i < 100; i++)
        cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), fail_when_interrupted, number(-3), NULL,
                                NULL),
                     0);
    settle();
    cr_expect_eq(fm_map_close(map, NULL, &report), 0);
    cr_expect_eq(report.failed, 100);
    cr_expect_eq(report.failure_count, 64);
    fm_close_report_fini(&report);
    fm_map_destroy(map);
}

WORKER_TEST(map_close, member_is_left_out_of_its_own_wait)
{
    struct closer closer = { .map = make_map() };
    struct fm_fiber *other = run(closer.map, "other", until_interrupted, NULL),
                    *self = run(closer.map, "self", close_it, &closer);
    finish(self);
    cr_expect_eq(closer.result, FM_MAP_SELF);
    cr_expect(closer.pending, "and is signalled last");
    cr_expect_eq(fm_fiber_poll(other, NULL), 0);
    fm_fiber_unref(other);
    fm_map_destroy(closer.map);
}

static struct fm_exit end_soon(void *arg)
{
    settle();
    return fm_ok(arg);
}

/* Nobody is interrupted, not even he who asks for it. */
WORKER_TEST(map_close, member_that_drains_its_map_awaits_the_others_and_goes_on)
{
    struct fm_close_policy drain = policy(FM_CLOSE_DRAIN, 0, 0);
    struct closer closer = { .map = make_map(), .policy = &drain };
    struct fm_fiber *other = run(closer.map, "other", end_soon, number(5)),
                    *self = run(closer.map, "self", close_it, &closer);
    finish(self);
    cr_expect_eq(closer.result, FM_MAP_SELF);
    cr_expect_not(closer.pending);
    cr_expect_eq(finish(other).value, number(5));
    fm_map_destroy(closer.map);
}

WORKER_TEST(map_close, member_by_set_is_left_out_too)
{
    struct closer closer = { .map = make_map() };
    struct fm_fiber *self;
    cr_assert_eq(fm_fiber_spawn(close_it, &closer, NULL, &self), 0);
    cr_assert_eq(fm_map_set(closer.map, KEY("a"), self, NULL), 0);
    cr_assert_eq(fm_map_set(closer.map, KEY("b"), self, NULL), 0);
    finish(self);
    cr_expect_eq(closer.result, FM_MAP_SELF);
    fm_map_destroy(closer.map);
}

/* X18, F46 */
FIBER_TEST(map_close, several_closers_among_them_members_all_return)
{
    for (int masked = 0; masked < 2; masked++) {
        struct fm_map *map = make_map();
        struct closer closers[4];
        struct fm_fiber *fibers[4];
        atomic_bool go = false;
        for (int i = 0; i < 4; i++)
            closers[i] = (struct closer) {
                .map = map, .result = 99, .masked = masked, .go = &go
            };
        cr_assert_eq(fm_map_run(map, KEY("parked"), until_interrupted, NULL, NULL, NULL), 0);
        cr_assert_eq(fm_map_run(map, KEY("a"), close_it, &closers[0], NULL, &fibers[0]), 0);
        cr_assert_eq(fm_map_run(map, KEY("b"), close_it, &closers[1], NULL, &fibers[1]), 0);
        cr_assert_eq(fm_fiber_spawn(close_it, &closers[2], NULL, &fibers[2]), 0);
        cr_assert_eq(fm_fiber_spawn(close_it, &closers[3], NULL, &fibers[3]), 0);
        settle();
        atomic_store(&go, true);
        for (int i = 0; i < 4; i++)
            finish(fibers[i]);
        cr_expect_eq(closers[2].result, 0);
        cr_expect_eq(closers[3].result, 0);
        for (int i = 0; i < 2; i++) /* 99: interrupted before its first step */
            cr_expect(closers[i].result == FM_MAP_SELF || closers[i].result == -ECANCELED ||
                          closers[i].result == 99,
                      "member %d: %d", i, closers[i].result);
        fm_map_destroy(map);
    }
}

TIMED_WORKER_TEST(map_close, interrupted_closer_leaves_the_map_closing)
{
    struct closer closer = { .map = make_map() };
    atomic_bool go = false;
    struct fm_fiber *old = run(closer.map, "a", stubborn, &go), *fiber;
    settle();
    cr_assert_eq(fm_fiber_spawn(close_it, &closer, NULL, &fiber), 0);
    settle();
    fm_fiber_interrupt(fiber);
    finish(fiber);
    cr_expect_eq(closer.result, -ECANCELED);
    cr_expect_eq(fm_map_run(closer.map, KEY("b"), until_interrupted, NULL, NULL, NULL),
                 -ESHUTDOWN);
    atomic_store(&go, true);
    fm_map_destroy(closer.map);
    fm_fiber_unref(old);
}

WORKER_TEST(map_close, what_is_wrong_is_refused)
{
    struct fm_map *map = make_map();
    struct fm_close_policy wrong = policy(3, 0, 0);
    struct {
        struct fm_close_policy policy;
        uint64_t tail;
    } longer = { .policy = { .size = sizeof longer }, .tail = 1 };
    cr_expect_eq(fm_map_close(NULL, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_map_close(map, &wrong, NULL), -EINVAL);
    wrong = policy(FM_CLOSE_CANCEL_AFTER, -1, 0);
    cr_expect_eq(fm_map_close(map, &wrong, NULL), -EINVAL);
    wrong = policy(FM_CLOSE_CANCEL, 0, -1);
    cr_expect_eq(fm_map_close(map, &wrong, NULL), -EINVAL);
    cr_expect_eq(fm_map_close(map, &longer.policy, NULL), -E2BIG);
    cr_expect_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, NULL), 0,
                 "it is still open");
    fm_map_destroy(map);
}

/* ---- scoped ---- */

struct scoped {
    struct fm_fiber *fibers[2];
    int result;
};

static struct fm_exit two_maps(void *arg)
{
    struct scoped *scoped = arg;
    struct fm_map *first, *second;
    cr_assert_eq(fm_map_create_scoped(NULL, &first), 0);
    cr_assert_eq(fm_map_create_scoped(NULL, &second), 0);
    scoped->fibers[0] = run(first, "a", until_interrupted, NULL);
    scoped->fibers[1] = run(second, "a", until_interrupted, NULL);
    return fm_ok(NULL);
}

/* T085 */
WORKER_TEST(map_scoped, closes_with_its_scope)
{
    struct scoped scoped = { 0 };
    cr_expect_eq(fm_scoped(two_maps, &scoped).kind, FM_SUCCESS);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(fm_fiber_poll(scoped.fibers[i], NULL), 0);
        cr_expect_eq(finish(scoped.fibers[i]).reason, FM_BY_CLOSE);
    }
}

static int make_one_late(void *arg, struct fm_exit exit)
{
    struct scoped *scoped = arg;
    struct fm_map *map;
    scoped->result = fm_map_create_scoped(NULL, &map);
    scoped->fibers[0] = run(map, "late", until_interrupted, NULL);
    return 0;
}

static struct fm_exit defer_make(void *arg)
{
    fm_defer(make_one_late, arg);
    return fm_ok(NULL);
}

WORKER_TEST(map_scoped, map_made_by_a_finalizer_closes_right_after_it)
{
    struct scoped scoped = { .result = 9 };
    fm_scoped(defer_make, &scoped);
    cr_expect_eq(scoped.result, 0);
    cr_expect_eq(finish(scoped.fibers[0]).reason, FM_BY_CLOSE);
}

/* ---- destroying ---- */

static struct fm_exit destroy_own(void *arg)
{
    fm_map_destroy(arg);
    return fm_ok(NULL);
}

static struct fm_exit run_destroyer(void *arg)
{
    struct fm_map *map;
    fm_map_create(NULL, &map);
    fm_map_run(map, KEY("a"), destroy_own, map, NULL, NULL);
    fm_never();
    return fm_ok(NULL);
}

/* F66 */
TEST_WITH(map_destroy, by_a_member_stops_the_program, .signal = SIGABRT)
{
    fm_run(run_destroyer, NULL, NULL);
}

TIMED_WORKER_TEST(map_destroy, interrupted_caller_still_waits_for_all)
{
    struct fm_map *map = make_map();
    atomic_bool go = false;
    struct fm_fiber *old = run(map, "a", stubborn, &go), *releaser;
    cr_assert_eq(fm_fiber_spawn(release_soon, &go, NULL, &releaser), 0);
    settle();
    fm_fiber_interrupt(fm_fiber_self());
    fm_map_destroy(map);
    cr_expect_eq(fm_fiber_poll(old, NULL), 0);
    fm_fiber_unref(old);
    fm_fiber_unref(releaser);
}
