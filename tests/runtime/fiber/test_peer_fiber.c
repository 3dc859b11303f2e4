/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peer_fiber.c - what Effect's own tests of fibers, interruption, finalizers and scopes
 * promise
 *
 * On the virtual clock, so that each knows when what happened. The T-numbers are those of the
 * list of peers' cases. Races and timeouts among them: tests/runtime/flow.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/support/fibers.h"

static struct {
    char text[64];
    _Atomic int length;
} trace;

static void note(char c)
{
    trace.text[atomic_fetch_add(&trace.length, 1)] = c;
}

/* Finalizers: the argument is a text whose first character is noted. */
#define TEXT(literal) ((void *)(literal))

static int noted(void *arg, struct fm_exit exit)
{
    (void)exit;
    note(*(const char *)arg);
    return 0;
}

static int noted_and_failed(void *arg, struct fm_exit exit)
{
    noted(arg, exit);
    return -EPROTO;
}

static int noted_after_ten_ms(void *arg, struct fm_exit exit)
{
    cr_assert_eq(fm_sleep_ms(10), 0);
    return noted(arg, exit);
}

static struct fm_exit interrupt_and_finish(struct fm_fiber *fiber)
{
    cr_assert_eq(fm_fiber_interrupt(fiber), 0);
    return finish(fiber);
}

/* ---- interruption reaches every kind of wait ---- */

static struct fm_exit busy_loop(void *arg)
{
    (void)arg;
    for (;;)
        if (fm_yield() < 0)
            return fm_interrupted();
}

static struct fm_exit wait_for_ever(void *arg)
{
    (void)arg;
    return fm_fail(fm_never());
}

static struct fm_exit wait_for_a_deferred(void *arg)
{
    return fm_fail(fm_deferred_await(arg, FM_NEVER, NULL));
}

static struct fm_exit wait_for_a_long_sleep(void *arg)
{
    (void)arg;
    return fm_fail(fm_sleep_ms(1000000));
}

VIRTUAL_TEST(peer_fiber, loop_never_and_wait_end_as_interruptions_and_nothing_else) /* T108 */
{
    static fm_entry_fn *const bodies[] = { busy_loop, wait_for_ever, wait_for_a_deferred,
                                           wait_for_a_long_sleep };
    struct fm_deferred *never_done;
    cr_assert_eq(fm_deferred_create(&never_done), 0);
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct fm_fiber *fiber = start(bodies[i], never_done);
        for (int step = 0; step < 20; step++)
            fm_yield();
        expect_interruption(interrupt_and_finish(fiber), FM_BY_USER);
    }
    fm_deferred_destroy(never_done);
}

static struct fm_exit join_it(void *arg)
{
    struct fm_exit exit;
    int r = fm_fiber_join(arg, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

EXACT_TEST(peer_fiber, joiner_may_end_as_the_interruption_it_joined) /* T102 */
{
    struct fm_fiber *fiber = start(wait_for_ever, NULL), *joiner = start(join_it, fiber);
    pass_ms(1);
    fm_fiber_interrupt(fiber);
    struct fm_exit own = finish(fiber), joined = finish(joiner);
    expect_interruption(joined, FM_BY_USER);
    cr_assert_eq(joined.by, own.by);
}

/* ---- masks ---- */

static struct fm_exit masked_parent(void *arg)
{
    fm_mask();
    *(struct fm_fiber **)arg = start(wait_for_ever, NULL);
    cr_assert_eq(fm_sleep_ms(5), 0);
    fm_unmask();
    return fm_ok(NULL);
}

EXACT_TEST(peer_fiber, child_of_a_masked_parent_is_unmasked_and_ends_with_it) /* T103 */
{
    struct fm_fiber *child = NULL, *parent = start(masked_parent, &child);
    pass_ms(4);
    cr_assert_not(has_ended(child));
    pass_ms(1);
    cr_assert_eq(finish(parent).kind, FM_SUCCESS);
    expect_interruption(finish(child), FM_BY_PARENT);
}

static int acquire_in_a_second(void *arg, void **ret_resource)
{
    cr_assert_eq(fm_sleep_ms(1000), 0, "acquire is not interruptible");
    note('a');
    *ret_resource = arg;
    return 0;
}

static struct fm_exit acquire_then_wait(void *arg)
{
    int r = fm_acquire(acquire_in_a_second, arg, noted, NULL);
    return fm_fail(r < 0 ? r : fm_never());
}

static struct fm_exit stop_within_half_a_second(void *arg)
{
    return fm_fail(fm_fiber_stop(arg, fm_after_ms(500), NULL));
}

EXACT_TEST(peer_fiber, who_stops_a_fiber_in_its_acquire_gets_his_timeout) /* T109 */
{
    struct fm_fiber *fiber = start(acquire_then_wait, TEXT("r"));
    struct fm_fiber *stopper = (fm_yield(), start(stop_within_half_a_second, fiber));
    pass_ms(500);
    cr_assert_eq(finish(stopper).code, -ETIMEDOUT);
    cr_assert_not(has_ended(fiber));
    pass_ms(500);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_str_eq(trace.text, "ar", "acquired, then released");
}

EXACT_TEST(peer_fiber, interrupting_does_not_wait_for_a_slow_release) /* T111 */
{
    struct fm_fiber *fiber = start(acquire_then_wait, TEXT("r"));
    pass_ms(200);
    fm_fiber_interrupt(fiber);
    cr_assert_eq(now_ms(), 200, "signalled, not awaited");
    cr_assert_str_eq(trace.text, "");
    pass_ms(800);
    finish(fiber);
    cr_assert_str_eq(trace.text, "ar");
}

static struct fm_exit catch_all(void *arg)
{
    (void)arg;
    fm_defer(noted, TEXT("e"));
    struct fm_exit exit = fm_fail(fm_never());
    if (exit.kind == FM_FAILURE && exit.code != -ECANCELED)
        return fm_ok(NULL); /* any failure is handled; an interruption is none */
    return exit;
}

EXACT_TEST(peer_fiber, handler_of_failures_does_not_swallow_an_interruption) /* T112 */
{
    struct fm_fiber *fiber = start(catch_all, NULL);
    pass_ms(1);
    expect_interruption(interrupt_and_finish(fiber), FM_BY_USER);
    cr_assert_str_eq(trace.text, "e");
}

static struct fm_exit caught_inside(void *arg)
{
    struct fm_exit *seen = arg;
    fm_mask();
    cr_assert_eq(fm_sleep_ms(5), 0);
    fm_unmask();
    /* inside: caught and forgotten; outside: it is there again */
    seen[0] = fm_scoped(wait_for_ever, NULL);
    seen[1] = fm_scoped(wait_for_ever, NULL);
    return seen[1];
}

EXACT_TEST(peer_fiber, interruption_caught_inside_is_seen_again_outside) /* T114 */
{
    struct fm_exit seen[2];
    struct fm_fiber *fiber = start(caught_inside, seen);
    pass_ms(1);
    fm_fiber_interrupt(fiber);
    pass_ms(4);
    expect_interruption(finish(fiber), FM_BY_USER);
    expect_interruption(seen[0], FM_BY_USER);
    expect_interruption(seen[1], FM_BY_USER);
}

static struct fm_exit island(void *arg)
{
    _Atomic int *counter = arg;
    fm_mask();
    fm_unmask();
    cr_assert_eq(fm_never(), -ECANCELED, "the island sees it");
    fm_mask();
    cr_assert_eq(fm_sleep_ms(3), 0, "the code after it runs");
    atomic_fetch_add(counter, 1);
    fm_unmask();
    return fm_ok(NULL);
}

EXACT_TEST(peer_fiber, code_after_an_unmasked_island_runs) /* T117 */
{
    _Atomic int counter = 0;
    struct fm_fiber *fiber = start(island, (void *)&counter);
    pass_ms(1);
    fm_fiber_interrupt(fiber);
    pass_ms(3);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    cr_assert_eq(counter, 1);
}

static struct fm_exit alternating(void *arg)
{
    _Atomic int *counter = arg;
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0)
            fm_mask();
        if (fm_sleep_ms(1) == 0)
            atomic_fetch_add(counter, 1);
        if (i % 2 == 0)
            fm_unmask();
    }
    return fm_fail(fm_check());
}

EXACT_TEST(peer_fiber, of_alternating_stretches_the_masked_ones_run) /* T117 */
{
    _Atomic int counter = 0;
    struct fm_fiber *fiber = start(alternating, (void *)&counter);
    fm_yield();
    fm_fiber_interrupt(fiber);
    pass_ms(2);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_eq(counter, 2);
}

static struct fm_exit defective(void *arg)
{
    (void)arg;
    return fm_defect(1);
}

struct after_defect {
    bool busy;
};

static struct fm_exit defect_then_work(void *arg)
{
    struct after_defect *how = arg;
    fm_defer(noted, TEXT("e"));
    cr_assert_eq(fm_scoped(defective, NULL).kind, FM_DEFECT); /* caught */
    return how->busy ? busy_loop(NULL) : wait_for_ever(NULL);
}

EXACT_TEST(peer_fiber, interruption_after_a_caught_defect_runs_the_finalizer) /* T118 */
{
    for (int busy = 0; busy < 2; busy++) {
        struct after_defect how = { .busy = busy };
        struct fm_fiber *fiber = start(defect_then_work, &how);
        for (int i = 0; i < 20; i++)
            fm_yield();
        expect_interruption(interrupt_and_finish(fiber), FM_BY_USER);
    }
    cr_assert_str_eq(trace.text, "ee");
}

static int acquire_at_once(void *arg, void **ret_resource)
{
    note('a');
    *ret_resource = arg;
    return 0;
}

static struct fm_exit use_under_a_mask(void *arg)
{
    bool sleeps = arg != NULL;
    fm_mask();
    cr_assert_eq(fm_acquire(acquire_at_once, TEXT("r"), noted, NULL), 0);
    if (sleeps)
        cr_assert_eq(fm_sleep_ms(10), 0);
    else
        for (int i = 0; i < 50; i++)
            cr_assert_eq(fm_yield(), 0);
    note('u');
    return fm_ok(NULL);
}

EXACT_TEST(peer_fiber, masked_use_of_a_resource_runs_to_its_end) /* T120 */
{
    for (int sleeps = 0; sleeps < 2; sleeps++) {
        struct fm_fiber *fiber = start(use_under_a_mask, sleeps ? &trace : NULL);
        fm_yield();
        fm_fiber_interrupt(fiber);
        pass_ms(10);
        cr_assert_eq(finish(fiber).kind, FM_SUCCESS);
    }
    cr_assert_str_eq(trace.text, "auraur");
}

static struct fm_exit masked_sleeper(void *arg)
{
    (void)arg;
    fm_mask();
    cr_assert_eq(fm_sleep_ms(10), 0);
    note('s');
    return fm_ok(NULL);
}

static struct fm_exit parent_of_a_sleeper(void *arg)
{
    (void)arg;
    fm_fiber_unref(start(masked_sleeper, NULL));
    return fm_fail(fm_never());
}

EXACT_TEST(peer_fiber, parent_is_done_when_its_masked_child_is) /* T121 */
{
    struct fm_fiber *parent = start(parent_of_a_sleeper, NULL);
    pass_ms(4);
    fm_fiber_interrupt(parent);
    pass_ms(5);
    cr_assert_not(has_ended(parent));
    pass_ms(1);
    cr_assert_str_eq(trace.text, "s");
    expect_interruption(finish(parent), FM_BY_USER);
}

static struct fm_exit interrupts_itself(void *arg)
{
    fm_fiber_interrupt(fm_fiber_self());
    struct fm_exit caught = fm_scoped(wait_for_ever, NULL);
    expect_interruption(caught, FM_BY_USER);
    return fm_ok(arg);
}

EXACT_TEST(peer_fiber, self_interruption_caught_lets_the_code_go_on) /* T124 */
{
    cr_assert_eq(finish(start(interrupts_itself, (void *)42)).value, (void *)42);
}

/* ---- finalizers ---- */

static struct fm_exit inner_with_a_bad_finalizer(void *arg)
{
    (void)arg;
    fm_defer(noted_and_failed, TEXT("i"));
    return fm_fail(fm_never());
}

static struct fm_exit outer_with_a_handler(void *arg)
{
    fm_defer_on_interrupt(noted, TEXT("o"));
    return fm_scoped(inner_with_a_bad_finalizer, arg);
}

EXACT_TEST(peer_fiber, outer_handler_runs_though_an_inner_finalizer_failed) /* T126 */
{
    struct fm_fiber *fiber = start(outer_with_a_handler, NULL);
    pass_ms(1);
    struct fm_exit exit = interrupt_and_finish(fiber);
    expect_interruption(exit, FM_BY_USER);
    cr_assert(exit.flags & FM_EXIT_FINALIZER_FAILED);
    cr_assert_str_eq(trace.text, "io");
}

static struct fm_exit success_with_a_bad_finalizer(void *arg)
{
    (void)arg;
    fm_defer(noted_and_failed, TEXT("f"));
    return fm_ok((void *)42);
}

EXACT_TEST(peer_fiber, success_whose_finalizer_fails_is_a_failure) /* T127 */
{
    struct fm_exit exit = finish(start(success_with_a_bad_finalizer, NULL));
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -EPROTO);
}

static int acquire_fails(void *arg, void **ret_resource)
{
    (void)arg, (void)ret_resource;
    note('a');
    return -EBUSY;
}

struct resource {
    fm_acquire_fn *acquire;
    fm_finalizer_fn *release;
    int use; /* result */
};

static struct fm_exit acquire_use_release(void *arg)
{
    struct resource *how = arg;
    int r = fm_acquire(how->acquire, TEXT("r"), how->release, NULL);
    if (r < 0)
        return fm_fail(r);
    note('u');
    return how->use ? fm_fail(how->use) : fm_ok(NULL);
}

EXACT_TEST(peer_fiber, each_failure_around_a_resource_is_told) /* T128 */
{
    struct resource no_acquire = { .acquire = acquire_fails, .release = noted };
    struct fm_exit exit = finish(start(acquire_use_release, &no_acquire));
    cr_assert_eq(exit.code, -EBUSY);
    cr_assert_str_eq(trace.text, "a", "neither used nor released");

    struct resource bad_release = { .acquire = acquire_at_once, .release = noted_and_failed };
    exit = finish(start(acquire_use_release, &bad_release));
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -EPROTO);

    struct resource both = { acquire_at_once, noted_and_failed, -EIO };
    struct fm_fiber *fiber = start(acquire_use_release, &both);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.code, -EIO);
    cr_assert(exit.flags & FM_EXIT_FINALIZER_FAILED);
    cr_assert_eq(fm_fiber_finalizer_exit(fiber, &exit), 0);
    cr_assert_eq(exit.code, -EPROTO);
    fm_fiber_unref(fiber);
}

static struct fm_exit releases_one_early(void *arg)
{
    struct fm_scope *scope;
    (void)arg;
    fm_defer(noted_after_ten_ms, TEXT("1"));
    cr_assert_eq(fm_scope_open(&scope), 0);
    fm_defer(noted, TEXT("2"));
    fm_scope_close(scope, fm_ok(NULL));
    note('-');
    return fm_ok(NULL);
}

EXACT_TEST(peer_fiber, resource_released_early_is_not_released_again) /* T136 */
{
    struct fm_fiber *fiber = start(releases_one_early, NULL);
    pass_ms(10);
    finish(fiber);
    cr_assert_str_eq(trace.text, "2-1");
}

/* ---- fork and join ---- */

static struct fm_exit fib(void *arg)
{
    uintptr_t n = (uintptr_t)arg;
    if (n < 2)
        return fm_ok((void *)n);
    struct fm_fiber *left = start(fib, (void *)(n - 1)), *right = start(fib, (void *)(n - 2));
    uintptr_t a = (uintptr_t)finish(left).value, b = (uintptr_t)finish(right).value;
    return fm_ok((void *)(a + b));
}

VIRTUAL_TEST(peer_fiber, recursion_by_fork_and_join_gives_what_recursion_gives) /* T130 */
{
    cr_assert_eq(finish(start(return_arg, &trace)).value, &trace);
    cr_assert_eq(finish(start(fib, (void *)20)).value, (void *)6765);
}
