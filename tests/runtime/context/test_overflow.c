/* SPDX-License-Identifier: Apache-2.0 */
/* test_overflow.c - what the handler says of an overflow, and to whom it hands the signal */
#include "runtime/context/overflow.h"

#include <setjmp.h>
#include <stdio.h>
#include <sys/mman.h>

#include "fm/runtime.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/pages.h"
#include "tests/runtime/context/trip.h"
#include "tests/support/child.h"
#include "tests/support/test.h"

static char deep[] = "17 \"deep\" key user/4 from test_overflow.c:1";
static char victim[] = "18 \"victim\"";

static void describe(void *owner, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s", (const char *)owner);
}

/*
 * Frames of at least 200 bytes; the assembly keeps them whole. ThreadSanitizer follows 65536
 * calls and no more, and the largest stack must overflow before that.
 */
static __attribute__((noinline)) int recurse(int depth)
{
    char room[200];
    room[0] = (char)depth;
    __asm__ volatile("" : : "r"(room) : "memory");
    int below = depth > 0 ? recurse(depth - 1) : 0;
    return below + room[0];
}

static void recurse_for_ever(void *arg)
{
    recurse(1 << 24);
}

static __attribute__((noinline)) void use_large_frame(void *arg)
{
    volatile char room[100 << 10 << (FM_STACK_SCALE / 2)];
    for (size_t i = sizeof room; i-- > 0;)
        room[i] = 1;
}

static void wild_write(void *arg)
{
    /* below every mapping */
    uintptr_t nowhere = arg ? 16 : 32;
    *(volatile char *)nowhere = 1;
}

static void overflow_on(int stack_class, unsigned guard, void (*body)(void *))
{
    int r = fm__stack_init(guard);
    if (r < 0)
        _exit(77);
    struct trip trip;
    void *altstack = NULL;
    if (fm__overflow_install(describe) < 0 || fm__overflow_attach_thread(&altstack) < 0)
        _exit(78);
    struct stack *stack = fm__stack_take(NULL, stack_class, NULL);
    if (!stack)
        _exit(79);
    atomic_store(&stack->owner, deep);
    trip_start(&trip, stack, body, stack);
    fm__stack_check(stack);
}

static void overflow_install(void *arg)
{
    overflow_on(fm__stack_class(64 << 10), FM_GUARD_INSTALL, recurse_for_ever);
}

static void overflow_mprotect(void *arg)
{
    overflow_on(fm__stack_class(64 << 10), FM_GUARD_MPROTECT, recurse_for_ever);
}

/* Just over the canary and not as far as the neighbour. */
static void write_below_low(void *arg)
{
    struct stack *stack = arg;
    ((volatile char *)stack->low)[-100] = 1;
}

static void overflow_canary(void *arg)
{
    overflow_on(fm__stack_class(64 << 10), FM_GUARD_CANARY, write_below_low);
}

static void cr_assert_overflow(const struct child *child)
{
    cr_assert_eq(child->signal, SIGSEGV, "signal %d, exit code %d: %s", child->signal,
                 child->exit_code, child->said);
    cr_assert_eq(
        child_said(
            child,
            "stack overflow of fiber 17 \"deep\" key user/4 from test_overflow.c:1 (stack "),
        1, "exit code %d: %s", child->exit_code, child->said);
}

TEST(overflow, guard_installed_by_madvise_names_the_owner)
{
    struct child child;
    child_run(&child, overflow_install, NULL);
    if (child.exit_code == 77)
        cr_skip_test("the kernel has no MADV_GUARD_INSTALL");
    cr_assert_overflow(&child);
}

TEST(overflow, guard_made_by_mprotect_names_the_owner)
{
    struct child child;
    child_run(&child, overflow_mprotect, NULL);
    cr_assert_overflow(&child);
}

TEST(overflow, canary_stops_the_program)
{
    struct child child;
    child_run(&child, overflow_canary, NULL);
    cr_assert_eq(child.signal, SIGABRT);
    cr_assert_eq(child_said(&child, "stack overflow: the canary"), 1, "%s", child.said);
}

static void overflow_each_class(void *arg)
{
    overflow_on(*(int *)arg, FM_GUARD_AUTO, recurse_for_ever);
}

TEST(overflow, every_class_is_guarded)
{
    for (int stack_class = 0; stack_class < STACK_CLASSES; stack_class++) {
        struct child child;
        char words[32];
        child_run(&child, overflow_each_class, &stack_class);
        cr_assert_overflow(&child);
        snprintf(words, sizeof words, "(stack %zu KiB at",
                 fm__stack_class_bytes(stack_class) >> 10);
        cr_assert_eq(child_said(&child, words), 1, "%s", child.said);
    }
}

static void overflow_by_one_frame(void *arg)
{
    overflow_on(fm__stack_class(16 << 10), FM_GUARD_AUTO, use_large_frame);
}

TEST(overflow, a_frame_of_100_kib_meets_the_guard)
{
    struct child child;
    child_run(&child, overflow_by_one_frame, NULL);
    cr_assert_overflow(&child);
}

TEST(overflow, backtrace_shows_both_ends)
{
    struct child child;
    child_run(&child, overflow_install, NULL);
    if (child.exit_code == 77)
        child_run(&child, overflow_mprotect, NULL);
    cr_assert_eq(child_said(&child, "fibermap:   #"), 24 + 8, "%s", child.said);
    cr_assert_eq(child_said(&child, " more ..."), 1);
    cr_assert(child_said(&child, "test_overflow+0x") > 20, "%s", child.said);
}

/* --- what is no overflow ----------------------------------------------------------------- */

static void wild_write_on_stack(void *arg)
{
    overflow_on(fm__stack_class(64 << 10), FM_GUARD_AUTO, wild_write);
}

TEST(overflow, another_fault_is_none)
{
    struct child child;
    child_run(&child, wild_write_on_stack, NULL);
    cr_assert_eq(child.signal, SIGSEGV);
    cr_assert_eq(child_said(&child, "fibermap"), 0, "%s", child.said);
}

static void touch_guard_of_other(void *arg)
{
    struct stack *other = fm__stack_take(NULL, 1, NULL);
    atomic_store(&other->owner, victim);
    ((volatile char *)other->low)[-64] = 1;
}

static void touch_other_on_stack(void *arg)
{
    overflow_on(1, FM_GUARD_AUTO, touch_guard_of_other);
}

TEST(overflow, a_wild_pointer_into_a_guard_names_both)
{
    struct child child;
    child_run(&child, touch_other_on_stack, NULL);
    cr_assert_eq(child.signal, SIGSEGV);
    cr_assert_eq(child_said(&child, "access to the stack guard of fiber 18 \"victim\""), 1,
                 "%s", child.said);
    cr_assert_eq(child_said(&child, "by fiber 17 \"deep\""), 1, "%s", child.said);
}

static void raise_segv(void *arg)
{
    fm__overflow_install(describe);
    raise(SIGSEGV);
    _exit(1);
}

TEST(overflow, a_signal_that_was_sent_still_kills)
{
    struct child child;
    child_run(&child, raise_segv, NULL);
    cr_assert_eq(child.signal, SIGSEGV);
}

static void ignore_sent_segv(void *arg)
{
    signal(SIGSEGV, SIG_IGN);
    fm__overflow_install(describe);
    raise(SIGSEGV);
    _exit(7);
}

TEST(overflow, a_sent_signal_that_was_ignored_stays_ignored)
{
    struct child child;
    child_run(&child, ignore_sent_segv, NULL);
    cr_assert_eq(child.exit_code, 7);
}

/* --- who had the signal before ----------------------------------------------------------- */

static void former_exits(int signal_number, siginfo_t *info, void *context)
{
    _exit(info && context ? 42 : 43);
}

static void install_former(void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigaction(SIGSEGV, &action, NULL);
}

static void overflow_with_former(void *arg)
{
    install_former(former_exits);
    overflow_on(1, FM_GUARD_AUTO, recurse_for_ever);
}

static void wild_write_with_former(void *arg)
{
    install_former(former_exits);
    overflow_on(1, FM_GUARD_AUTO, wild_write);
}

TEST(overflow, former_handler_is_called_after_the_report)
{
    struct child child;
    child_run(&child, overflow_with_former, NULL);
    cr_assert_eq(child.exit_code, 42);
    cr_assert_eq(child_said(&child, "stack overflow of fiber 17"), 1);
    child_run(&child, wild_write_with_former, NULL);
    cr_assert_eq(child.exit_code, 42);
    cr_assert_eq(child_said(&child, "stack overflow"), 0);
}

static void former_returns(int signal_number) {}

static void overflow_nobody_cures(void *arg)
{
    signal(SIGSEGV, former_returns);
    overflow_on(1, FM_GUARD_AUTO, recurse_for_ever);
}

TEST(overflow, a_former_handler_that_returns_makes_no_loop)
{
    struct child child;
    child_run(&child, overflow_nobody_cures, NULL);
    cr_assert_overflow(&child);
}

static char *locked_page;

static void former_unlocks(int signal_number, siginfo_t *info, void *context)
{
    mprotect(locked_page, fm__page_bytes(), PROT_READ | PROT_WRITE);
}

static void cure_on_fiber(void *arg)
{
    *(volatile char *)locked_page = 1;
    ssize_t n = write(STDERR_FILENO, "went on", 7);
    (void)n;
}

static void fault_is_cured(void *arg)
{
    install_former(former_unlocks);
    locked_page = mmap(NULL, fm__page_bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    overflow_on(1, FM_GUARD_AUTO, cure_on_fiber);
}

TEST(overflow, a_former_handler_may_cure_its_fault)
{
    struct child child;
    child_run(&child, fault_is_cured, NULL);
    cr_assert_eq(child.exit_code, 0);
    cr_assert_str_eq(child.said, "went on");
}

static void above_ours(int signal_number, siginfo_t *info, void *context)
{
    _exit(50);
}

TEST(overflow, installed_twice_and_uninstalled_twice_leaves_no_trace)
{
    struct sigaction before, during, after;
    sigaction(SIGSEGV, NULL, &before);
    cr_assert_eq(fm__overflow_install(describe), 0);
    cr_assert_eq(fm__overflow_install(describe), 0);
    fm__overflow_uninstall();
    sigaction(SIGSEGV, NULL, &during);
    cr_assert_neq(during.sa_sigaction, before.sa_sigaction);
    fm__overflow_uninstall();
    sigaction(SIGSEGV, NULL, &after);
    cr_assert_eq(after.sa_sigaction, before.sa_sigaction);
}

TEST(overflow, a_handler_set_above_ours_stays)
{
    struct sigaction now;
    cr_assert_eq(fm__overflow_install(describe), 0);
    install_former(above_ours);
    fm__overflow_uninstall();
    sigaction(SIGSEGV, NULL, &now);
    cr_assert_eq(now.sa_sigaction, above_ours);
    cr_assert_eq(fm__overflow_install(describe), 0);
    sigaction(SIGSEGV, NULL, &now);
    cr_assert_eq(now.sa_sigaction, above_ours,
                 "it may call ours: above it we would go in a circle");
    fm__overflow_uninstall();
    signal(SIGSEGV, SIG_DFL);
    cr_assert_eq(fm__overflow_install(describe), 0);
    sigaction(SIGSEGV, NULL, &now);
    cr_assert_neq(now.sa_handler, SIG_DFL, "nobody is above any more");
    fm__overflow_uninstall();
    sigaction(SIGSEGV, NULL, &now);
    cr_assert_eq(now.sa_handler, SIG_DFL);
}

static sigjmp_buf saved_place;

static void former_jumps(int signal_number, siginfo_t *info, void *context)
{
    siglongjmp(saved_place, 1);
}

static void overflow_until_jump(void *arg)
{
    if (sigsetjmp(saved_place, 1) == 0)
        recurse(1 << 24);
}

static void overflow_and_jump_twice(void *arg)
{
    install_former(former_jumps);
    overflow_on(1, FM_GUARD_AUTO, overflow_until_jump);
    overflow_on(1, FM_GUARD_AUTO, overflow_until_jump);
}

TEST(overflow, a_former_handler_may_jump_out)
{
    /* the jump passes frames that the sanitizers still count */
    if (FM_ASAN || FM_TSAN)
        return;
    struct child child;
    child_run(&child, overflow_and_jump_twice, NULL);
    cr_assert_eq(child.exit_code, 0);
    cr_assert_eq(child_said(&child, "stack overflow of fiber 17"), 2, "%s", child.said);
}

/* --- alternate stacks -------------------------------------------------------------------- */

TEST(overflow, altstack_comes_and_goes)
{
    stack_t before, during, after;
    void *altstack = NULL;
    sigaltstack(NULL, &before);
    cr_assert_eq(fm__overflow_attach_thread(&altstack), 0);
    sigaltstack(NULL, &during);
    cr_assert(during.ss_size >= 64 << 10);
    cr_assert_eq(during.ss_flags & SS_DISABLE, 0);
    fm__overflow_detach_thread(altstack);
    sigaltstack(NULL, &after);
    cr_assert_eq(after.ss_sp, before.ss_sp);
    cr_assert_eq(after.ss_flags, before.ss_flags);
    fm__overflow_detach_thread(NULL);
}

TEST(overflow, altstack_without_memory)
{
    void *altstack = &altstack;
    fm__fault_set(FAULT_MAP, 1, false);
    cr_assert_eq(fm__overflow_attach_thread(&altstack), -ENOMEM);
    cr_assert_eq(altstack, &altstack);
    fm__fault_set(FAULT_MAP, 0, false);
    cr_assert_eq(fm__overflow_attach_thread(&altstack), 0);
    fm__overflow_detach_thread(altstack);
}
