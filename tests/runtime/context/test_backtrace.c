/* SPDX-License-Identifier: Apache-2.0 */
/* test_backtrace.c - the walk along a stack, from a saved context and from registers */
#include "runtime/context/backtrace.h"

#include <signal.h>
#include <string.h>

#include "runtime/platform/sanitizer.h"
#include "tests/runtime/context/trip.h"
#include "tests/support/test.h"

static uintptr_t into_outer, into_middle, into_inner; /* where calls will return to */
static bool cut;                                      /* middle keeps no frame pointer */

static __attribute__((noinline)) void inner(void)
{
    into_middle = (uintptr_t)__builtin_return_address(0);
    trip_away();
    __asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) void middle(void)
{
    void *volatile *link = __builtin_frame_address(0);
    void *kept = link[0];
    into_outer = (uintptr_t)__builtin_return_address(0);
    if (cut)
        link[0] = (void *)1;
    inner();
    link[0] = kept;
}

static __attribute__((noinline)) void outer(void *arg)
{
    into_inner = (uintptr_t)__builtin_return_address(0);
    (void)arg;
    middle();
    __asm__ volatile("" ::: "memory");
}

static void park(struct trip *trip, bool broken)
{
    cut = broken;
    fm__modules_note();
    trip_start(trip, fm__stack_take(NULL, 1, NULL), outer, NULL);
}

static void end(struct trip *trip)
{
    trip_back(trip);
    fm__stack_give(NULL, trip->stack);
}

/* The last three of what the walk tells, and how many there were; `gap`: before the last. */
static unsigned last_three(struct walk *walk, uintptr_t told[3], bool *gap)
{
    unsigned count = 0;
    for (uintptr_t pc; (pc = fm__walk_next(walk)); count++) {
        told[0] = told[1];
        told[1] = told[2];
        told[2] = pc;
        *gap = walk->gap;
    }
    return count;
}

TEST(backtrace, a_saved_context_tells_its_callers_up_to_the_first_frame)
{
    struct trip trip;
    struct walk walk;
    uintptr_t told[3] = { 0 };
    bool gap = true;
    park(&trip, false);
    cr_assert(
        fm__walk_above(&walk, trip.stack->low, trip.stack->top, (uintptr_t)trip.fiber.fctx));
    unsigned count = last_three(&walk, told, &gap);
    cr_assert_geq(count, 4);
    cr_assert_leq(count, 6);
    cr_assert_not(gap);
    cr_assert_eq(told[0], into_middle);
    cr_assert_eq(told[1], into_outer);
    cr_assert_eq(told[2], into_inner);
    end(&trip);
}

TEST(backtrace, code_without_frame_pointers_leaves_a_gap_and_no_more)
{
    struct trip trip;
    struct walk walk;
    uintptr_t told[3] = { 0 };
    bool gap = false;
    park(&trip, true);
    cr_assert(
        fm__walk_above(&walk, trip.stack->low, trip.stack->top, (uintptr_t)trip.fiber.fctx));
    last_three(&walk, told, &gap);
    cr_assert(gap);
    cr_assert_eq(told[0], into_middle);
    cr_assert_eq(told[1], into_outer);
    cr_assert_eq(told[2], into_inner);
    end(&trip);
}

static uintptr_t sampled[64];
static unsigned sampled_count;
static struct stack *sampled_stack;

static void sample(int number, siginfo_t *info, void *context)
{
    struct walk walk;
    (void)number, (void)info;
    fm__walk_from(&walk, sampled_stack->low, sampled_stack->top, fm__registers_of(context));
    while (sampled_count < 64 && (sampled[sampled_count] = fm__walk_next(&walk)))
        sampled_count++;
}

static __attribute__((noinline)) void interrupted(void *arg)
{
    into_inner = (uintptr_t)__builtin_return_address(0);
    (void)arg;
    raise(SIGUSR1);
    __asm__ volatile("" ::: "memory");
}

TEST(backtrace, a_handler_tells_where_it_interrupted)
{
    struct trip trip;
    struct sigaction action = { .sa_sigaction = sample, .sa_flags = SA_SIGINFO };
    if (FM_TSAN)
        cr_skip_test("its handlers run later, and elsewhere");
    fm__modules_note();
    sigaction(SIGUSR1, &action, NULL);
    sampled_stack = fm__stack_take(NULL, 1, NULL);
    trip_start(&trip, sampled_stack, interrupted, NULL);
    cr_assert_geq(sampled_count, 2);
    cr_assert_eq(sampled[sampled_count - 1], into_inner);
    fm__stack_give(NULL, sampled_stack);
}

/* What it walks may be written meanwhile: it must end, and stay within its bounds. */
TEST(backtrace, any_words_are_walked_to_an_end)
{
    enum { WORDS = 512, ROUNDS = 2000 };
    static uintptr_t words[WORDS];
    uint64_t random = 1;
    fm__modules_note();
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < WORDS; i++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uint64_t r = random >> 33;
            words[i] = r % 3 == 0   ? (uintptr_t)&words[r % WORDS]
                       : r % 3 == 1 ? (uintptr_t)&fm__modules_note + r % 64
                                    : (uintptr_t)(r % 100 ? r : 0);
        }
        struct walk walk;
        unsigned count = 0;
        uintptr_t place = (uintptr_t)&words[round % WORDS] + (uintptr_t)(round % 8);
        struct registers at = { 1, place, words[(unsigned)round % WORDS] };
        fm__walk_from(&walk, words, words + WORDS, at);
        while (fm__walk_next(&walk))
            cr_assert_leq(++count, WORDS);
        if (fm__walk_above(&walk, words, words + WORDS, place))
            while (fm__walk_next(&walk))
                cr_assert_leq(++count, 2 * WORDS);
    }
}

TEST(backtrace, a_place_is_told_with_module_and_offset_and_name)
{
    char text[PLACE_TEXT];
    fm__modules_note();
    size_t length = fm__place_text(text, (uintptr_t)&getenv + 1, true);
    cr_assert_eq(length, strlen(text));
    cr_assert_eq(strncmp(text, "0x", 2), 0, "%s", text);
    cr_assert_not_null(strstr(text, "+0x"), "%s", text);
    cr_assert_not_null(strstr(text, "getenv+0x1"), "%s", text);
    fm__place_text(text, 16, true);
    cr_assert_str_eq(text, "0x10");
}
