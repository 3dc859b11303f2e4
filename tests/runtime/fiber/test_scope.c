/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_scope.c - children and finalizers end with their scope, in the promised order
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

/* A literal as the argument of a callback, which does not write to it. */
#define TEXT(literal) ((void *)(literal))

static char trace[256];

static int note(void *arg, struct fm_exit exit)
{
    (void)exit;
    strcat(trace, arg);
    return 0;
}

static int note_and_fail(void *arg, struct fm_exit exit)
{
    note(arg, exit);
    return -EIO;
}

static struct fm_exit three_finalizers(void *arg)
{
    (void)arg;
    cr_assert_eq(fm_defer(note, TEXT("a")), 0);
    cr_assert_eq(fm_defer(note, TEXT("b")), 0);
    cr_assert_eq(fm_defer(note, TEXT("c")), 0);
    strcat(trace, "-");
    return fm_ok(trace);
}

FIBER_TEST(scope, finalizers_run_last_first_at_the_end_of_the_body)
{
    struct fm_exit exit = finish(start(three_finalizers, NULL));
    cr_assert_eq(exit.value, trace);
    cr_assert_str_eq(trace, "-cba");
}

static struct fm_exit failing_finalizer(void *arg)
{
    fm_defer(note, TEXT("a"));
    fm_defer(note_and_fail, TEXT("b"));
    fm_defer(note, TEXT("c"));
    return arg ? fm_fail(-ENOENT) : fm_ok(NULL);
}

FIBER_TEST(scope, a_failing_finalizer_replaces_a_success_and_the_others_still_run) /* T127 */
{
    struct fm_exit exit = finish(start(failing_finalizer, NULL));
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -EIO);
    cr_assert_str_eq(trace, "cba");
}

FIBER_TEST(scope, after_a_failing_body_its_exit_stays_and_tells) /* T128 */
{
    struct fm_fiber *fiber = start(failing_finalizer, &fiber);
    struct fm_exit exit, finalizer;
    cr_assert_eq(fm_fiber_finalizer_exit(fiber, &finalizer), -EAGAIN);
    cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, &exit), 0);
    cr_assert_eq(exit.code, -ENOENT);
    cr_assert(exit.flags & FM_EXIT_FINALIZER_FAILED);
    cr_assert_eq(fm_fiber_finalizer_exit(fiber, &finalizer), 0);
    cr_assert_eq(finalizer.code, -EIO);
    fm_fiber_unref(fiber);
    fiber = start(return_arg, NULL);
    fm_fiber_join(fiber, FM_NEVER, NULL);
    cr_assert_eq(fm_fiber_finalizer_exit(fiber, NULL), -ENOENT);
    fm_fiber_unref(fiber);
}

static struct fm_exit interrupted_with_finalizers(void *arg)
{
    (void)arg;
    fm_defer_on_interrupt(note, TEXT("i"));
    fm_defer(note, TEXT("a"));
    return fm_fail(fm_never());
}

WORKER_TEST(scope, on_interrupt_runs_only_for_an_interruption) /* T126 */
{
    struct fm_fiber *fiber = start(interrupted_with_finalizers, NULL);
    fm_yield();
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_str_eq(trace, "ai");
}

static struct fm_exit no_interrupt_after_all(void *arg)
{
    (void)arg;
    fm_defer_on_interrupt(note, TEXT("i"));
    return fm_ok(NULL);
}

TIMED_TEST(scope, on_interrupt_stays_silent_for_a_success)
{
    finish(start(no_interrupt_after_all, NULL));
    cr_assert_str_eq(trace, "");
}

static int wait_in_finalizer(void *arg, struct fm_exit exit)
{
    cr_assert_eq(exit.kind, FM_INTERRUPTED);
    cr_assert(fm_masked());
    cr_assert_eq(fm_sleep_ms(3), 0);
    atomic_fetch_add((_Atomic int *)arg, 1);
    return 0;
}

static struct fm_exit with_waiting_finalizer(void *arg)
{
    fm_defer(wait_in_finalizer, arg);
    return fm_fail(fm_never());
}

TIMED_WORKER_TEST(scope, finalizers_wait_and_are_never_restarted) /* F31, T111 */
{
    _Atomic int count = 0;
    struct fm_fiber *fiber = start(with_waiting_finalizer, (void *)&count);
    fm_yield();
    fm_fiber_interrupt(fiber);
    for (int i = 0; i < 20; i++) {
        fm_fiber_interrupt(fiber);
        fm_yield();
    }
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_eq(atomic_load(&count), 1);
}

/* ---- children ---- */

static struct fm_exit note_interrupt(void *arg)
{
    int r = fm_never();
    strcat(trace, arg);
    return fm_fail(r);
}

static struct fm_exit leave_children(void *arg)
{
    (void)arg;
    fm_defer(note, TEXT("f"));
    fm_fiber_spawn(note_interrupt, TEXT("c"), NULL, NULL);
    fm_fiber_spawn(note_interrupt, TEXT("c"), NULL, NULL);
    fm_yield();
    return fm_ok(NULL);
}

TIMED_WORKER_TEST(scope, children_are_stopped_and_awaited_before_finalizers) /* T103 */
{
    finish(start(leave_children, NULL));
    cr_assert_str_eq(trace, "ccf");
}

static struct fm_exit masked_sleep(void *arg)
{
    fm_mask();
    fm_sleep_ms(5);
    fm_unmask();
    atomic_store((_Atomic int *)arg, 1);
    return fm_ok(NULL);
}

static struct fm_exit parent_of_masked(void *arg)
{
    fm_fiber_spawn(masked_sleep, arg, NULL, NULL);
    fm_yield();
    fm_sleep_ms(1);
    return fm_ok(NULL);
}

TIMED_WORKER_TEST(scope, a_parent_ends_after_its_masked_child) /* T121 */
{
    _Atomic int done = 0;
    finish(start(parent_of_masked, (void *)&done));
    cr_assert_eq(atomic_load(&done), 1);
}

static struct fm_exit spawn_detached(void *arg)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.flags = FM_SPAWN_DETACHED;
    cr_assert_eq(fm_fiber_spawn(until_interrupted, NULL, &options, arg), 0);
    return fm_ok(NULL);
}

FIBER_TEST(scope, a_detached_fiber_outlives_its_maker)
{
    struct fm_fiber *fiber = NULL;
    finish(start(spawn_detached, &fiber));
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    fm_fiber_stop(fiber, FM_NEVER, NULL);
    fm_fiber_unref(fiber);
}

FIBER_TEST(scope, scopes_nest_strictly) /* T279 */
{
    struct fm_scope *outer, *inner;
    cr_assert_eq(fm_scope_open(&outer), 0);
    fm_defer(note, TEXT("o"));
    cr_assert_eq(fm_scope_open(&inner), 0);
    fm_defer(note, TEXT("i"));
    cr_assert_eq(fm_scope_close(outer, fm_ok(NULL)).kind, FM_DEFECT);
    cr_assert_str_eq(trace, "");
    cr_assert_eq(fm_scope_close(inner, fm_ok(NULL)).kind, FM_SUCCESS);
    cr_assert_str_eq(trace, "i");
    cr_assert_eq(fm_scope_close(outer, fm_fail(5)).code, 5);
    cr_assert_str_eq(trace, "io");
    cr_assert_eq(fm_scope_open(NULL), -EINVAL);
    cr_assert_eq(fm_scope_open_with(8, &outer), -EINVAL);
    cr_assert_eq(fm_defer(NULL, NULL), -EINVAL);
}

static struct fm_exit leave_scope_open(void *arg)
{
    struct fm_scope *scope;
    (void)arg;
    fm_defer(note, TEXT("b"));
    fm_scope_open(&scope);
    fm_defer(note, TEXT("s"));
    fm_fiber_spawn(note_interrupt, TEXT("c"), NULL, NULL);
    fm_yield();
    return fm_fail(1);
}

WORKER_TEST(scope, a_scope_left_open_closes_with_the_body)
{
    cr_assert_eq(finish(start(leave_scope_open, NULL)).code, 1);
    cr_assert_str_eq(trace, "csb");
}

static struct fm_exit scoped_body(void *arg)
{
    fm_defer(note, arg);
    return fm_ok(arg);
}

FIBER_TEST(scope, scoped_closes_what_it_opened)
{
    struct fm_exit exit = fm_scoped(scoped_body, TEXT("x"));
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_str_eq(trace, "x");
}

static int register_more(void *arg, struct fm_exit exit)
{
    note(TEXT("1"), exit);
    fm_defer(note, arg);
    return 0;
}

static struct fm_exit finalizer_that_defers(void *arg)
{
    fm_defer(note, TEXT("z"));
    fm_defer(register_more, arg);
    return fm_ok(NULL);
}

TIMED_TEST(scope, what_a_finalizer_registers_runs_next)
{
    finish(start(finalizer_that_defers, TEXT("2")));
    cr_assert_str_eq(trace, "12z");
}

/* ---- acquire ---- */

static int acquire_slowly(void *arg, void **ret_resource)
{
    cr_assert(fm_masked());
    cr_assert_eq(fm_sleep_ms(3), 0);
    *ret_resource = arg;
    return 0;
}

static int refuse(void *arg, void **ret_resource)
{
    (void)arg, (void)ret_resource;
    return -EBUSY;
}

static int release(void *resource, struct fm_exit exit)
{
    (void)exit;
    strcat(trace, resource);
    return 0;
}

static struct fm_exit acquire_and_go_on(void *arg)
{
    void *resource = NULL;
    (void)arg;
    cr_assert_eq(fm_acquire(refuse, NULL, release, &resource), -EBUSY);
    cr_assert_null(resource);
    cr_assert_eq(fm_acquire(acquire_slowly, TEXT("r"), release, &resource), 0);
    cr_assert_str_eq(resource, "r");
    return fm_fail(fm_never());
}

TIMED_WORKER_TEST(scope, acquire_is_masked_and_its_release_certain) /* T109, T128 */
{
    struct fm_fiber *fiber = start(acquire_and_go_on, NULL);
    fm_yield();
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_str_eq(trace, "r");
}

/* ---- waiting for children, fail fast ---- */

static struct fm_exit nap(void *arg)
{
    (void)arg;
    fm_sleep_ms(2);
    return fm_ok(NULL);
}

TIMED_TEST(scope, wait_returns_when_the_children_have_ended)
{
    cr_assert_eq(fm_scope_wait(0), 0);
    for (int i = 0; i < 10; i++)
        fm_fiber_spawn(nap, NULL, NULL, NULL);
    cr_assert_eq(fm_scope_wait(0), -ETIMEDOUT);
    cr_assert_eq(fm_scope_wait(fm_after_us(10)), -ETIMEDOUT);
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
}

static struct fm_exit fail_soon(void *arg)
{
    (void)arg;
    fm_sleep_ms(1);
    return fm_fail(-EPROTO);
}

TIMED_TEST(scope, fail_fast_interrupts_siblings_and_becomes_the_exit) /* T221 */
{
    struct fm_scope *scope;
    struct fm_fiber *siblings[5];
    cr_assert_eq(fm_scope_open_with(FM_SCOPE_FAIL_FAST, &scope), 0);
    for (int i = 0; i < 5; i++)
        siblings[i] = start(until_interrupted, NULL);
    fm_fiber_spawn(fail_soon, NULL, NULL, NULL);
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
    struct fm_exit exit = fm_scope_close(scope, fm_ok(NULL));
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -EPROTO);
    for (int i = 0; i < 5; i++)
        expect_interruption(finish(siblings[i]), FM_BY_PARENT);
}

struct attempt {
    int one, many;
    _Atomic int started, freed;
};

static void count_freed(void *arg)
{
    atomic_fetch_add(&((struct attempt *)arg)->freed, 1);
}

static struct fm_exit count_start(void *arg)
{
    atomic_fetch_add(&((struct attempt *)arg)->started, 1);
    return fm_ok(NULL);
}

static int try_to_spawn(void *arg, struct fm_exit exit)
{
    struct attempt *attempt = arg;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    void *args[] = { attempt, attempt, attempt };
    struct fm_fiber *fibers[3];
    (void)exit;
    options.arg_drop = count_freed;
    attempt->one = fm_fiber_spawn(count_start, attempt, &options, NULL);
    attempt->many = fm_fiber_spawn_many(count_start, args, 3, &options, fibers);
    return 0;
}

static struct fm_exit spawn_in_finalizer(void *arg)
{
    fm_defer(try_to_spawn, arg);
    return fm_ok(NULL);
}

FIBER_TEST(scope, a_closing_scope_takes_no_child)
{
    struct attempt attempt = { 0 };
    finish(start(spawn_in_finalizer, &attempt));
    cr_assert_eq(attempt.one, -ESHUTDOWN);
    cr_assert_eq(attempt.many, -ESHUTDOWN);
    cr_assert_eq(attempt.started, 0);
    cr_assert_eq(attempt.freed, 0, "the arguments stay the caller's");
}

FIBER_TEST(scope, no_memory_is_an_error_and_nothing_else)
{
    struct fm_scope *scope = NULL;
    void *resource = NULL;
    fm__fault_set(FAULT_MALLOC, 1, true);
    cr_assert_eq(fm_scope_open(&scope), -ENOMEM);
    cr_assert_eq(fm_defer(note, TEXT("x")), -ENOMEM);
    cr_assert_eq(fm_acquire(acquire_slowly, TEXT("r"), release, &resource), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_null(scope);
    cr_assert_eq(fm_scope_open(&scope), 0);
    fm_scope_close(scope, fm_ok(NULL));
    cr_assert_str_eq(trace, "");
}

/* ---- what is left when something else takes the place of an exit ---- */

static int values_dropped;

static void drop_value(void *value)
{
    (void)value;
    values_dropped++;
}

static struct fm_exit fail_with_value(void *arg)
{
    return fm_fail_with(-EPROTO, arg);
}

static struct fm_exit fail_fast_over_a_value(void *arg)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_scope *scope;
    options.value_drop = drop_value;
    cr_assert_eq(fm_scope_open_with(FM_SCOPE_FAIL_FAST, &scope), 0);
    cr_assert_eq(fm_fiber_spawn(fail_with_value, arg, &options, NULL), 0);
    cr_assert_eq(fm_scope_wait(FM_NEVER), 0);
    return fm_scope_close(scope, fm_ok(NULL));
}

static struct fm_exit value_under_a_failing_finalizer(void *arg)
{
    cr_assert_eq(fm_defer(note_and_fail, TEXT("")), 0);
    return fm_ok(arg);
}

static struct fm_exit exit_of_dropping(fm_entry_fn *entry)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.value_drop = drop_value;
    values_dropped = 0;
    cr_assert_eq(fm_fiber_spawn(entry, trace, &options, &fiber), 0);
    return finish(fiber);
}

WORKER_TEST(scope, a_childs_value_is_dropped_with_the_child_alone)
{
    struct fm_exit exit = exit_of_dropping(fail_fast_over_a_value);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -EPROTO);
    cr_assert_null(exit.value);
    cr_assert_eq(values_dropped, 1);
}

WORKER_TEST(scope, a_value_whose_place_a_failure_took_is_dropped)
{
    struct fm_exit exit = exit_of_dropping(value_under_a_failing_finalizer);
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, -EIO);
    cr_assert_eq(values_dropped, 1);
}

static int forget_a_scope_and_a_mask(void *arg, struct fm_exit exit)
{
    struct fm_scope *scope;
    (void)exit;
    cr_assert_eq(fm_unmask(), 0);
    cr_assert_eq(fm_scope_open(&scope), 0);
    return fm_defer(note, arg);
}

static int note_masked(void *arg, struct fm_exit exit)
{
    cr_assert(fm_masked());
    return note(arg, exit);
}

static struct fm_exit forgetful_finalizers(void *arg)
{
    cr_assert_eq(fm_defer(note_masked, TEXT("2")), 0);
    cr_assert_eq(fm_defer(forget_a_scope_and_a_mask, TEXT("1")), 0);
    return fm_ok(arg);
}

WORKER_TEST(scope, what_a_finalizer_forgets_is_closed_before_the_next)
{
    trace[0] = 0;
    struct fm_exit exit = fm_scoped(forgetful_finalizers, NULL);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    cr_assert_str_eq(trace, "12");
    cr_assert_not(fm_masked());
}

static struct fm_exit return_at_once(void *arg)
{
    return fm_ok(arg);
}

static void use_the_scope_after_the_end(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    (void)fiber;
    (void)exit;
    cr_assert_eq(fm_fiber_spawn(return_at_once, NULL, NULL, NULL), -ESHUTDOWN);
    cr_assert_eq(fm_defer(note, NULL), -EPERM);
    cr_assert_eq(fm_scope_wait(FM_NEVER), -EPERM);
    options.flags = FM_SPAWN_DETACHED;
    *(int *)arg = fm_fiber_spawn(return_at_once, NULL, &options, NULL);
}

WORKER_TEST(scope, an_observer_has_no_scope_to_spawn_in)
{
    int result = 1;
    struct fm_fiber *fiber = start(return_at_once, NULL);
    struct fm_observer observer = { .fn = use_the_scope_after_the_end, .arg = &result };
    cr_assert_eq(fm_fiber_observe(fiber, &observer), 0);
    finish(fiber);
    cr_assert_eq(fm_yield(), 0);
    cr_assert_eq(result, 0);
}
