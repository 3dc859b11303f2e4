/* SPDX-License-Identifier: Apache-2.0 */
/* test_context.c - what a switch keeps and what a new stack starts with */
#include "runtime/context/context.h"

#include <execinfo.h>
#include <fenv.h>
#include <stdio.h>
#include <string.h>

#include "tests/runtime/context/mask_trip.h"
#include "tests/runtime/context/trip.h"
#include "tests/support/test.h"

static struct stack *take(void)
{
    struct stack *stack = fm__stack_take(NULL, fm__stack_class(64 << 10), NULL);
    cr_assert(stack);
    return stack;
}

static void note_alignment(void *arg)
{
    _Alignas(16) volatile char aligned[16];
    aligned[0] = 0;
    *(uintptr_t *)arg = (uintptr_t)aligned & 15;
}

static void note_address(void *arg)
{
    *(char **)arg = __builtin_frame_address(0);
}

TEST(context, entry_runs_on_its_stack)
{
    struct trip trip;
    struct stack *stack = take();
    char *here = NULL;
    trip_start(&trip, stack, note_address, &here);
    cr_assert(trip.ended);
    cr_assert(here >= (char *)stack->low && here < (char *)stack->top);
    fm__stack_give(NULL, stack);
}

TEST(context, frames_are_aligned)
{
    for (int i = 0; i < 20; i++) {
        struct trip trip;
        struct stack *stack = take();
        uintptr_t off = 1;
        trip_start(&trip, stack, note_alignment, &off);
        cr_assert_eq(off, 0);
        fm__stack_give(NULL, stack);
    }
}

struct walk {
    int frame_pointers;
    int unwound;
};

static FM_NO_ASAN __attribute__((noinline)) void walk_up(void *arg)
{
    struct walk *walk = arg;
    void *pc[64];
    for (void **frame = __builtin_frame_address(0); frame && walk->frame_pointers < 64;
         frame = frame[0])
        walk->frame_pointers++;
    walk->unwound = backtrace(pc, 64);
}

static __attribute__((noinline)) void walk_deeper(void *arg)
{
    walk_up(arg);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

TEST(context, walks_end_at_the_entry_of_a_dirty_stack)
{
    struct trip trip;
    struct stack *stack = take();
    struct walk walk = { 0 };
    /* what looks like return addresses, all the way up */
    for (char *at = (char *)stack->top - 8192; at < (char *)stack->top; at += sizeof(void *))
        *(volatile uintptr_t *)at = (uintptr_t)walk_up;
    trip_start(&trip, stack, walk_deeper, &walk);
    cr_assert_eq(walk.frame_pointers, 3, "walk_up, walk_deeper, entry: %d",
                 walk.frame_pointers);
    cr_assert(walk.unwound >= 3 && walk.unwound <= 4, "%d", walk.unwound);
    fm__stack_give(NULL, stack);
}

#if defined __x86_64__
static void round_up(void *arg)
{
    fesetround(FE_UPWARD);
    trip_away();
    *(int *)arg = fegetround();
}

TEST(context, each_has_its_own_floating_point_environment)
{
    struct trip trip;
    struct stack *stack = take();
    int rounding = -1;
    fesetround(FE_DOWNWARD);
    trip_start(&trip, stack, round_up, &rounding);
    cr_assert_eq(fegetround(), FE_DOWNWARD);
    fesetround(FE_TONEAREST);
    trip_back(&trip);
    cr_assert_eq(rounding, FE_UPWARD);
    cr_assert_eq(fegetround(), FE_TONEAREST);
    fm__stack_give(NULL, stack);
}
#endif

enum { SWITCHES = FM_ASAN || FM_TSAN ? 100000 : 1000000 };

static void count_switches(void *arg)
{
    volatile long a = 1, b = 2, c = 3;
    for (long i = 0; i < SWITCHES; i++) {
        trip_away();
        a = a + 1, b = b + 2, c = c + 3;
    }
    *(bool *)arg = a == 1 + SWITCHES && b == 2 + 2 * SWITCHES && c == 3 + 3 * SWITCHES;
}

TEST(context, locals_survive_a_million_switches)
{
    struct trip trip;
    struct stack *stack = take();
    bool intact = false;
    trip_start(&trip, stack, count_switches, &intact);
    long switches = 0;
    for (; !trip.ended; switches++)
        trip_back(&trip);
    cr_assert_eq(switches, SWITCHES);
    cr_assert(intact);
    fm__stack_give(NULL, stack);
}

static void nothing(void *arg)
{
    ++*(int *)arg;
}

TEST(context, a_stack_is_used_many_times_over)
{
    struct stack_cache cache = { 0 };
    int runs = 0;
    for (int i = 0; i < 3000; i++) {
        struct trip trip;
        struct stack *stack = fm__stack_take(&cache, 1, NULL);
        trip_start(&trip, stack, nothing, &runs);
        fm__stack_give(&cache, stack);
    }
    cr_assert_eq(runs, 3000);
    struct stack_stats stats;
    fm__stack_stats(&stats);
    cr_assert_eq(stats.pooled, 1, "always the same one");
    fm__stack_cache_flush(&cache);
}

#if defined __x86_64__
static void spoil_masks(void *arg)
{
    trip_away();
    mask_spoil();
}

/* Nobody saves them: a compiler must not leave anything in one. */
TEST(context, a_mask_of_the_vector_unit_outlives_a_switch)
{
    struct trip trip;
    struct stack *stack = take();
    int32_t in[16] = { [3] = 40, [9] = 90 }, out[16];
    if (!__builtin_cpu_supports("avx512f"))
        cr_skip_test("no AVX-512");
    trip_start(&trip, stack, spoil_masks, NULL);
    trip_now = &trip;
    mask_trip(&trip.home, &trip.fiber, in, out);
    cr_assert(trip.ended);
    for (int i = 0; i < 16; i++)
        cr_assert_eq(out[i], in[i] ? in[i] + 1 : 0, "%d: %d", i, out[i]);
    fm__stack_give(NULL, stack);
}
#endif
