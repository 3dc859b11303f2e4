/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_set.c - FiberSet and FiberHandle: the map without keys, and with one (T017 to T035)
 */
#include "tests/fibermap/map_test.h"

static struct fm_set *make_set(void)
{
    struct fm_set *set;
    cr_assert_eq(fm_set_create(NULL, &set), 0);
    return set;
}

static struct fm_handle *make_handle(void)
{
    struct fm_handle *handle;
    cr_assert_eq(fm_handle_create(NULL, &handle), 0);
    return handle;
}

static int count_one(void *counter, struct fm_exit exit)
{
    atomic_fetch_add((_Atomic int *)counter, 1);
    return 0;
}

static struct fm_exit never_counting(void *counter)
{
    fm_defer_on_interrupt(count_one, counter);
    return fm_fail(fm_never());
}

static struct fm_exit sleep_ms(void *ms)
{
    int r = fm_sleep_ms((intptr_t)ms);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* ---- sets ---- */

struct counted {
    _Atomic int interrupted;
};

static struct fm_exit ten_in_a_scope(void *arg)
{
    struct counted *counted = arg;
    struct fm_set *set;
    cr_assert_eq(fm_set_create_scoped(NULL, &set), 0);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(fm_set_run(set, never_counting, &counted->interrupted, NULL, NULL), 0);
    settle();
    cr_assert_eq(fm_set_size(set), 10);
    return fm_ok(NULL);
}

/* T017 */
WORKER_TEST(set, a_scope_ends_all_of_its_set)
{
    struct counted counted = { 0 };
    cr_assert_eq(fm_scoped(ten_in_a_scope, &counted).kind, FM_SUCCESS);
    cr_assert_eq(atomic_load(&counted.interrupted), 10);
}

/* T019 */
WORKER_TEST(set, join_tells_the_first_failure)
{
    struct fm_set *set = make_set();
    struct fm_exit exit;
    cr_assert_eq(fm_set_run(set, return_arg, NULL, NULL, NULL), 0);
    cr_assert_eq(fm_set_run(set, return_arg, NULL, NULL, NULL), 0);
    settle();
    cr_assert_eq(fm_set_run(set, fail_with, number(-EIO), NULL, NULL), 0);
    settle();
    cr_assert_eq(fm_set_run(set, fail_with, number(-EPIPE), NULL, NULL), 0);
    cr_assert_eq(fm_set_join(set, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.code, -EIO);
    fm_set_destroy(set);
}

/* T020 */
WORKER_TEST(set, closing_empties_it_and_refuses)
{
    struct fm_set *set = make_set();
    cr_assert_eq(fm_set_run(set, until_interrupted, NULL, NULL, NULL), 0);
    cr_assert_eq(fm_set_run(set, until_interrupted, NULL, NULL, NULL), 0);
    cr_assert_eq(fm_set_size(set), 2);
    cr_assert_eq(fm_set_close(set, NULL, NULL), 0);
    cr_assert_eq(fm_set_size(set), 0);
    cr_assert_eq(fm_set_run(set, until_interrupted, NULL, NULL, NULL), -ESHUTDOWN);
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    cr_assert_eq(fm_set_add(set, fiber, NULL), -ESHUTDOWN);
    cr_assert_eq(finish(fiber).reason, FM_BY_REJECT);
    fm_set_destroy(set);
}

/* T021 */
WORKER_TEST(set, an_interruption_from_outside_is_no_verdict)
{
    struct fm_set *set = make_set();
    struct fm_fiber *fiber;
    cr_assert_eq(fm_set_run(set, until_interrupted, NULL, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_set_join(set, 0, NULL), -ETIMEDOUT);
    fm_fiber_unref(fiber);
    fm_set_destroy(set);
}

static struct fm_exit await_set(void *set)
{
    return fm_fail(fm_set_await_empty(set, FM_NEVER));
}

/* T023 */
EXACT_TEST(set, await_empty_waits_for_the_last)
{
    struct fm_set *set = make_set();
    for (int i = 0; i < 4; i++)
        cr_assert_eq(fm_set_run(set, sleep_ms, number(1000), NULL, NULL), 0);
    struct fm_fiber *waiter = start(await_set, set);
    pass_ms(500);
    cr_assert_eq(fm_fiber_poll(waiter, NULL), -EAGAIN);
    pass_ms(500);
    cr_assert_eq(fm_fiber_poll(waiter, NULL), 0);
    fm_fiber_unref(waiter);
    fm_set_destroy(set);
}

WORKER_TEST(set, a_fiber_is_in_it_once)
{
    struct fm_set *set = make_set();
    struct fm_fiber *added = start(until_interrupted, NULL), *ran;
    cr_assert_eq(fm_set_add(set, added, NULL), 0);
    cr_assert_eq(fm_set_add(set, added, NULL), FM_MAP_SAME);
    cr_assert_eq(fm_set_run(set, until_interrupted, NULL, NULL, &ran), 0);
    cr_assert_eq(fm_set_add(set, ran, NULL), FM_MAP_SAME);
    cr_assert_eq(fm_set_size(set), 2);
    cr_assert_eq(fm_set_clear(set, FM_NEVER), 0);
    cr_assert_eq(finish(added).reason, FM_BY_CLEAR);
    cr_assert_eq(finish(ran).reason, FM_BY_CLEAR);
    cr_assert_eq(fm_set_size(set), 0);
    fm_set_destroy(set);
}

WORKER_TEST(set, nothing_of_it_is_asked_for_without_a_set)
{
    struct fm_set *set = make_set();
    struct fm_map_run_options keep = conflict(FM_KEEP);
    cr_assert_eq(fm_set_run(set, until_interrupted, NULL, &keep, NULL), -EINVAL);
    cr_assert_eq(fm_set_run(NULL, until_interrupted, NULL, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_set_add(set, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_set_create(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_set_size(NULL), 0);
    cr_assert_null(fm_set_map(NULL));
    cr_assert_null(fm_set_destroy(NULL));
    fm_set_destroy(set);
}

/* ---- handles ---- */

static struct fm_exit one_in_a_scope(void *arg)
{
    struct counted *counted = arg;
    struct fm_handle *handle;
    cr_assert_eq(fm_handle_create_scoped(NULL, &handle), 0);
    cr_assert_eq(fm_handle_run(handle, never_counting, &counted->interrupted, NULL, NULL), 0);
    settle();
    return fm_ok(NULL);
}

/* T026 */
WORKER_TEST(handle, a_scope_ends_the_fiber_of_its_handle)
{
    struct counted counted = { 0 };
    cr_assert_eq(fm_scoped(one_in_a_scope, &counted).kind, FM_SUCCESS);
    cr_assert_eq(atomic_load(&counted.interrupted), 1);
}

/* T027, T030 */
WORKER_TEST(handle, a_run_replaces_and_keep_does_not)
{
    struct fm_handle *handle = make_handle();
    struct fm_map_run_options keep = conflict(FM_ONLY_IF_MISSING);
    struct counted counted = { 0 };
    struct fm_fiber *second, *holder;
    cr_assert_eq(fm_handle_run(handle, never_counting, &counted.interrupted, NULL, NULL), 0);
    settle();
    cr_assert_eq(fm_handle_run(handle, never_counting, &counted.interrupted, NULL, &second),
                 FM_MAP_REPLACED);
    settle();
    cr_assert_eq(fm_handle_run(handle, never_counting, &counted.interrupted, &keep, &holder),
                 FM_MAP_KEPT);
    cr_assert(holder == second && atomic_load(&counted.interrupted) == 1);
    fm_fiber_unref(holder);
    cr_assert_eq(fm_handle_get(handle, &holder), 0);
    cr_assert_eq(holder, second);
    fm_fiber_unref(holder);
    fm_handle_destroy(handle);
    cr_assert_eq(atomic_load(&counted.interrupted), 2);
    cr_assert_eq(finish(second).reason, FM_BY_CLOSE);
}

/* T029 */
WORKER_TEST(handle, join_tells_a_failure_but_no_replacement)
{
    struct fm_handle *handle = make_handle();
    struct fm_fiber *good = start(return_arg, NULL), *bad = start(fail_with, number(-EIO));
    struct fm_exit exit;
    cr_assert_eq(fm_handle_run(handle, until_interrupted, NULL, NULL, NULL), 0);
    settle();
    cr_assert_eq(fm_handle_set(handle, good, NULL), FM_MAP_REPLACED);
    settle();
    cr_assert_eq(fm_handle_join(handle, 0, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_handle_set(handle, bad, NULL), 0);
    cr_assert_eq(fm_handle_join(handle, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.code, -EIO);
    fm_fiber_unref(good);
    fm_fiber_unref(bad);
    fm_handle_destroy(handle);
}

static struct fm_exit clear_it(void *handle)
{
    return fm_fail(fm_handle_clear(handle, FM_NEVER));
}

static struct fm_exit masked_sleep(void *ms)
{
    fm_mask();
    fm_sleep_ms((intptr_t)ms);
    fm_unmask();
    return fm_fail(fm_check());
}

/* T032 */
EXACT_TEST(handle, clearing_leaves_who_is_run_meanwhile)
{
    struct fm_handle *handle = make_handle();
    struct fm_fiber *fresh;
    cr_assert_eq(fm_handle_run(handle, masked_sleep, number(200), NULL, NULL), 0);
    settle();
    struct fm_fiber *clearer = start(clear_it, handle);
    pass_ms(50);
    cr_assert_eq(fm_fiber_poll(clearer, NULL), -EAGAIN);
    cr_assert_eq(fm_handle_run(handle, until_interrupted, NULL, NULL, &fresh), FM_MAP_REPLACED);
    pass_ms(200);
    cr_assert_eq(finish(clearer).code, 0);
    cr_assert_eq(fm_fiber_poll(fresh, NULL), -EAGAIN);
    cr_assert_eq(under(fm_handle_map(handle), "handle"), fm_fiber_id(fresh));
    fm_fiber_unref(fresh);
    cr_assert_eq(fm_handle_clear(handle, FM_NEVER), 0);
    cr_assert_eq(fm_handle_clear(handle, FM_NEVER), 0, "an empty one is clear");
    fm_handle_destroy(handle);
}

/* T033, T035 */
EXACT_TEST(handle, await_empty_waits_and_an_interruption_is_no_verdict)
{
    struct fm_handle *handle = make_handle();
    struct fm_fiber *fiber;
    cr_assert_eq(fm_handle_run(handle, sleep_ms, number(1000), NULL, NULL), 0);
    cr_assert_eq(fm_handle_await_empty(handle, 0), -ETIMEDOUT);
    pass_ms(500);
    cr_assert_eq(fm_handle_await_empty(handle, 0), -ETIMEDOUT);
    pass_ms(500);
    cr_assert_eq(fm_handle_await_empty(handle, 0), 0);
    cr_assert_eq(fm_handle_run(handle, until_interrupted, NULL, NULL, &fiber), 0);
    cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_handle_join(handle, 0, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_handle_get(handle, &fiber), -ENOENT);
    fm_fiber_unref(fiber);
    cr_assert_eq(fm_handle_close(handle, NULL, NULL), 0);
    cr_assert_eq(fm_handle_run(handle, until_interrupted, NULL, NULL, NULL), -ESHUTDOWN);
    fm_handle_destroy(handle);
    cr_assert_null(fm_handle_destroy(NULL));
    cr_assert_eq(fm_handle_get(NULL, &fiber), -EINVAL);
}
