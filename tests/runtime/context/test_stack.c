/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stack.c - classes, guards, pools, what comes back, and what happens when the system
 * refuses
 */
#include "runtime/context/stack.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fm/runtime.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/pages.h"
#include "tests/runtime/context/trip.h"
#include "tests/support/child.h"
#include "tests/support/test.h"

enum {
    MANY = FM_ASAN || FM_TSAN ? 200 : 20000,
    HUNDRED_THOUSAND = FM_ASAN || FM_TSAN ? 1000 : 100000,
};

static struct stack *take(struct stack_cache *cache, int stack_class)
{
    int error = 0;
    struct stack *stack = fm__stack_take(cache, stack_class, &error);
    cr_assert(stack, "error %d", error);
    return stack;
}

/* Whether the kernel can read there for us. */
static bool is_readable(const void *address)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    ssize_t n = write(ends[1], address, 1);
    close(ends[0]);
    close(ends[1]);
    return n == 1;
}

static size_t slot_start(const struct stack *stack)
{
    return (uintptr_t)stack & ~(fm__stack_class_bytes(stack->stack_class) - 1);
}

static void cr_assert_guarded(const struct stack *stack)
{
    uintptr_t start = slot_start(stack);
    cr_assert(start < (uintptr_t)stack->low);
    for (uintptr_t at = start; at < (uintptr_t)stack->low; at += fm__page_bytes())
        cr_assert_not(is_readable((void *)at));
    cr_assert(is_readable(stack->low));
}

static uint64_t status_kib(const char *name)
{
    char line[256];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0)
            kib = strtoull(line + strlen(name) + 1, NULL, 10);
    }
    fclose(file);
    return kib;
}

static size_t count_maps(void)
{
    size_t lines = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    for (int c; (c = getc(file)) != EOF;)
        lines += c == '\n';
    fclose(file);
    return lines;
}

static void cr_assert_stats(uint64_t live, uint64_t pooled)
{
    struct stack_stats stats;
    fm__stack_stats(&stats);
    cr_assert_eq(stats.live, live, "live %lu", (unsigned long)stats.live);
    cr_assert_eq(stats.pooled, pooled, "pooled %lu", (unsigned long)stats.pooled);
}

static void touch_down_to(struct stack *stack, size_t bytes)
{
    for (size_t at = 64; at <= bytes; at += 512)
        ((volatile char *)stack->top)[-(ptrdiff_t)at] = 1;
}

/* --- shape ------------------------------------------------------------------------------- */

TEST(stack, class_holds_what_is_asked_for)
{
    cr_assert_eq(fm__stack_class(0), 0);
    cr_assert_eq(fm__stack_class(16 << 10), 0);
    cr_assert_eq(fm__stack_class((16 << 10) + 1), 1);
    cr_assert_eq(fm__stack_class(64 << 10), 1);
    cr_assert_eq(fm__stack_class(256 << 10), 2);
    cr_assert_eq(fm__stack_class(1 << 20), 3);
    cr_assert_eq(fm__stack_class((1 << 20) + 1), -1);
    for (int i = 0; i < STACK_CLASSES; i++) {
        struct stack *stack = take(NULL, i);
        size_t usable = (size_t)((char *)stack->top - (char *)stack->low);
        cr_assert_eq(stack->stack_class, i);
        cr_assert(usable >= fm__stack_class_bytes(i) * 2 / 3 &&
                  usable < fm__stack_class_bytes(i));
        cr_assert_eq((uintptr_t)stack->top % 16, 0);
        cr_assert_null(atomic_load(&stack->owner));
        memset(stack->low, 1, usable);
        fm__stack_give(NULL, stack);
    }
}

TEST(stack, neighbours_have_different_colours)
{
    struct stack *stack[32];
    uint64_t colours = 0;
    for (int i = 0; i < 32; i++) {
        stack[i] = take(NULL, 1);
        colours |= UINT64_C(1) << ((uintptr_t)stack[i]->top % fm__page_bytes() / 64 % 64);
    }
    cr_assert_eq(__builtin_popcountll(colours), 16);
    for (int i = 0; i < 32; i++)
        fm__stack_give(NULL, stack[i]);
}

TEST(stack, shallow_use_costs_one_page)
{
    if (FM_ASAN || FM_TSAN)
        return;
    static struct stack *stack[MANY];
    for (int i = 0; i < MANY; i++)
        stack[i] = NULL;
    fm__stack_give(NULL, take(NULL, 1));
    uint64_t before = status_kib("RssAnon:") + status_kib("VmPTE:");
    for (int i = 0; i < MANY; i++) {
        stack[i] = take(NULL, 1);
        touch_down_to(stack[i], 2048);
    }
    uint64_t bytes = (status_kib("RssAnon:") + status_kib("VmPTE:") - before) * 1024 / MANY;
    cr_assert(bytes <= 4096 + 128 + 40, "%lu bytes a stack", (unsigned long)bytes);
    for (int i = 0; i < MANY; i++)
        fm__stack_give(NULL, stack[i]);
}

TEST(stack, find_knows_each_address)
{
    bool in_guard;
    for (int i = 0; i < STACK_CLASSES; i++) {
        for (int j = 0; j < 40; j++) {
            struct stack *stack = take(NULL, i);
            char *start = (char *)slot_start(stack);
            char *end = start + fm__stack_class_bytes(i);
            cr_assert_eq(fm__stack_find(start, &in_guard), stack);
            cr_assert(in_guard);
            cr_assert_eq(fm__stack_find((char *)stack->low - 1, &in_guard), stack);
            cr_assert(in_guard);
            cr_assert_eq(fm__stack_find(stack->low, &in_guard), stack);
            cr_assert_not(in_guard);
            cr_assert_eq(fm__stack_find((char *)stack->top - 1, &in_guard), stack);
            cr_assert_not(in_guard);
            cr_assert_eq(fm__stack_find(end - 1, NULL), stack);
            cr_assert_neq(fm__stack_find(start - 1, NULL), stack);
            cr_assert_neq(fm__stack_find(end, NULL), stack);
        }
    }
    cr_assert_null(fm__stack_find(NULL, NULL));
    cr_assert_null(fm__stack_find(&in_guard, NULL));
    cr_assert_null(fm__stack_find((void *)UINTPTR_MAX, NULL));
    cr_assert_null(fm__stack_find((void *)((uintptr_t)1 << 47), NULL));
}

/* --- guards ------------------------------------------------------------------------------ */

/* F89 */
TEST(stack, forced_rungs)
{
    static const unsigned rungs[] = { FM_GUARD_CANARY, FM_GUARD_MPROTECT, FM_GUARD_INSTALL };
    cr_assert_eq(fm__stack_init(FM_GUARD_CANARY + 1), -EINVAL);
    for (int i = 0; i < 3; i++) {
        int r = fm__stack_init(rungs[i]);
        if (r == -ENOTSUP && rungs[i] == FM_GUARD_INSTALL)
            break;
        cr_assert_eq(r, 0);
        cr_assert_eq(fm__stack_guard(), rungs[i]);
        struct stack *stack = take(NULL, 1);
        cr_assert_eq(stack->guard, rungs[i]);
        if (rungs[i] != FM_GUARD_CANARY)
            cr_assert_guarded(stack);
        fm__stack_check(stack);
    }
}

TEST(stack, refused_rung_is_said_if_forced_and_passed_over_if_not)
{
    fm__fault_set(FAULT_PROTECT, 1, true);
    cr_assert_eq(fm__stack_init(FM_GUARD_INSTALL), -ENOTSUP);
    cr_assert_eq(fm__stack_init(FM_GUARD_MPROTECT), -ENOTSUP);
    cr_assert_eq(fm__stack_init(FM_GUARD_AUTO), 0);
    cr_assert_eq(fm__stack_guard(), FM_GUARD_CANARY);
    fm__fault_set(FAULT_PROTECT, 1, false);
    cr_assert_eq(fm__stack_init(FM_GUARD_AUTO), 0);
    cr_assert_eq(fm__stack_guard(), FM_GUARD_MPROTECT);
}

/* F89 */
TEST(stack, one_failing_guard_falls_to_the_next_rung)
{
    if (fm__stack_init(FM_GUARD_INSTALL) < 0)
        cr_skip_test("the kernel has no MADV_GUARD_INSTALL");
    fm__fault_set(FAULT_PROTECT, 1, false);
    struct stack *second = take(NULL, 1);
    cr_assert_eq(second->guard, FM_GUARD_MPROTECT);
    cr_assert_guarded(second);
    fm__fault_set(FAULT_PROTECT, 1, true);
    struct stack *third = take(NULL, 1);
    cr_assert_eq(third->guard, FM_GUARD_CANARY);
    fm__stack_check(third);
    fm__fault_set(FAULT_PROTECT, 0, false);
    struct stack *first = take(NULL, 1);
    cr_assert_eq(first->guard, FM_GUARD_INSTALL);
    cr_assert_guarded(first);
}

static void overrun_and_check(void *arg)
{
    struct stack *stack = arg;
    ((volatile char *)stack->low)[-1] = 1;
    fm__stack_check(stack);
}

TEST(stack, canary_is_there_after_deep_use_and_gone_after_an_overrun)
{
    cr_assert_eq(fm__stack_init(FM_GUARD_CANARY), 0);
    struct stack *stack = take(NULL, 0);
    memset(stack->low, 0xff, (size_t)((char *)stack->top - (char *)stack->low));
    fm__stack_check(stack);
    struct child child;
    child_run(&child, overrun_and_check, stack);
    cr_assert_eq(child.signal, SIGABRT);
    cr_assert_eq(child_said(&child, "canary"), 1, "%s", child.said);
}

TEST(stack, canary_costs_no_page)
{
    if (FM_ASAN || FM_TSAN)
        return;
    static struct stack *stack[MANY];
    cr_assert_eq(fm__stack_init(FM_GUARD_CANARY), 0);
    for (int i = 0; i < MANY; i++)
        stack[i] = NULL;
    uint64_t before = status_kib("RssAnon:");
    for (int i = 0; i < MANY; i++)
        fm__stack_check(stack[i] = take(NULL, 1));
    uint64_t bytes = (status_kib("RssAnon:") - before) * 1024 / MANY;
    cr_assert(bytes <= 4096 + 64, "%lu bytes a stack", (unsigned long)bytes);
}

/* --- pools ------------------------------------------------------------------------------- */

TEST(stack, the_hottest_comes_first)
{
    struct stack_cache cache = { 0 };
    struct stack *a = take(&cache, 1);
    struct stack *b = take(&cache, 1);
    struct stack *other = take(&cache, 0);
    fm__stack_give(&cache, a);
    fm__stack_give(&cache, b);
    fm__stack_give(&cache, other);
    cr_assert_eq(take(&cache, 1), b);
    cr_assert_eq(take(&cache, 1), a);
    cr_assert_eq(take(&cache, 0), other);
}

TEST(stack, caches_share_through_the_depot)
{
    struct stack_cache here = { 0 }, there = { 0 };
    static struct stack *stack[MANY];
    struct stack_stats before, after;
    for (int i = 0; i < MANY; i++)
        stack[i] = take(&here, 1);
    cr_assert_stats(MANY, 0);
    fm__stack_stats(&before);
    for (int i = 0; i < MANY; i++)
        fm__stack_give(&there, stack[i]);
    cr_assert_stats(0, MANY);
    for (int i = 0; i < MANY / 2; i++)
        stack[i] = take(&here, 1);
    cr_assert_stats(MANY / 2, MANY - MANY / 2);
    for (int i = 0; i < MANY / 2; i++)
        fm__stack_give(i % 2 ? &here : NULL, stack[i]);
    cr_assert_stats(0, MANY);
    fm__stack_cache_flush(&here);
    fm__stack_cache_flush(&there);
    cr_assert_stats(0, MANY);
    for (int i = 0; i < MANY; i++)
        stack[i] = take(&here, 1);
    fm__stack_stats(&after);
    cr_assert_eq(after.mapped_bytes, before.mapped_bytes, "nothing was lost");
    cr_assert_stats(MANY, 0);
    fm__stack_cache_flush(&here);
}

TEST(stack, none_is_handed_out_twice)
{
    struct stack_cache cache = { 0 };
    static struct stack *stack[MANY];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            stack[i] = take(&cache, 1);
            cr_assert_null(atomic_load(&stack[i]->owner), "it belongs to somebody");
            atomic_store(&stack[i]->owner, stack);
        }
        for (int i = 0; i < MANY; i++)
            fm__stack_give(&cache, stack[i]);
        fm__stack_trim(INT64_MAX, MANY / 3);
    }
    fm__stack_cache_flush(&cache);
}

/* F89 */
TEST(stack, a_hundred_thousand_under_the_default_map_count)
{
    static struct stack *stack[HUNDRED_THOUSAND];
    struct stack_cache cache = { 0 };
    size_t most = fm__pages_max_maps();
    unsigned guards[FM_GUARD_CANARY + 1] = { 0 };
    cr_assert_eq(fm__stack_init(FM_GUARD_MPROTECT), 0);
    for (int i = 0; i < HUNDRED_THOUSAND; i++) {
        stack[i] = take(&cache, 1);
        guards[stack[i]->guard]++;
    }
    size_t maps = count_maps();
    cr_assert(maps < most * 2 / 3, "%zu mappings", maps);
    if (HUNDRED_THOUSAND > most / 4) {
        cr_assert(guards[FM_GUARD_MPROTECT] > 0 && guards[FM_GUARD_CANARY] > 0);
        cr_assert_eq(fm__stack_guard(), FM_GUARD_CANARY);
    }
    for (int i = 0; i < HUNDRED_THOUSAND; i++)
        fm__stack_give(&cache, stack[i]);
    fm__stack_cache_flush(&cache);
}

TEST(stack, installed_guards_split_no_mapping)
{
    static struct stack *stack[MANY];
    if (fm__stack_init(FM_GUARD_INSTALL) < 0)
        cr_skip_test("the kernel has no MADV_GUARD_INSTALL");
    size_t before = count_maps();
    for (int i = 0; i < MANY; i++)
        stack[i] = take(NULL, 1);
    size_t windows = MANY * fm__stack_class_bytes(1) / (64 << 20) + 1;
    if (!FM_ASAN && !FM_TSAN)
        cr_assert(count_maps() <= before + windows + 2);
    cr_assert_guarded(stack[0]);
    cr_assert_guarded(stack[MANY - 1]);
}

/* --- trimming ---------------------------------------------------------------------------- */

TEST(stack, trim_gives_memory_back_and_keeps_guards)
{
    static struct stack *stack[MANY / 10];
    struct stack_cache cache = { 0 };
    struct stack_stats stats;
    enum { COUNT = MANY / 10 };
    for (int i = 0; i < COUNT; i++) {
        stack[i] = take(&cache, 1);
        touch_down_to(stack[i], 30000);
    }
    uint64_t full = status_kib("RssAnon:");
    for (int i = 0; i < COUNT; i++)
        fm__stack_give(&cache, stack[i]);
    fm__stack_cache_flush(&cache);
    cr_assert_eq(fm__stack_trim(INT64_MAX, SIZE_MAX), COUNT);
    if (!FM_ASAN && !FM_TSAN)
        cr_assert(full - status_kib("RssAnon:") > COUNT * 30, "8 pages each");
    cr_assert_stats(0, 0);
    fm__stack_stats(&stats);
    cr_assert_eq(stats.trimmed, COUNT);
    cr_assert_null(fm__stack_find((char *)stack[0] - 1, NULL));

    fm__fault_set(FAULT_PROTECT, 1, true);
    for (int i = 0; i < COUNT; i++) {
        stack[i] = take(&cache, 1);
        cr_assert_neq(stack[i]->guard, FM_GUARD_CANARY, "it has the guard it had");
        cr_assert_guarded(stack[i]);
        cr_assert_eq(((volatile char *)stack[i]->top)[-64], 0);
    }
    fm__fault_set(FAULT_PROTECT, 0, false);
    cr_assert_stats(COUNT, 0);
}

TEST(stack, trim_spares_the_young_and_keeps_to_its_limit)
{
    struct stack *stack[40];
    for (int i = 0; i < 40; i++)
        stack[i] = take(NULL, 1);
    struct stack_cache cache = { 0 };
    for (int i = 0; i < 20; i++)
        fm__stack_give(&cache, stack[i]);
    fm__stack_cache_flush(&cache);
    int64_t between = fm__clock_ns() + 1;
    while (fm__clock_ns() < between)
        ;
    for (int i = 20; i < 40; i++)
        fm__stack_give(&cache, stack[i]);
    fm__stack_cache_flush(&cache);

    cr_assert_eq(fm__stack_trim(0, SIZE_MAX), 0);
    cr_assert_eq(fm__stack_trim(between, 0), 0);
    cr_assert_eq(fm__stack_trim(between, 3), 3);
    cr_assert_stats(0, 37);
    cr_assert_eq(fm__stack_trim(between, SIZE_MAX), 17);
    cr_assert_stats(0, 20);
    cr_assert_eq(fm__stack_trim(between, SIZE_MAX), 0);
    for (int i = 0; i < 40; i++)
        stack[i] = take(&cache, 1);
    cr_assert_stats(40, 0);
}

TEST(stack, high_water_is_what_was_touched)
{
    size_t page = fm__page_bytes();
    for (unsigned guard = FM_GUARD_AUTO; guard <= FM_GUARD_CANARY; guard += FM_GUARD_CANARY) {
        cr_assert_eq(fm__stack_init(guard), 0);
        struct stack *stack = take(NULL, 1);
        fm__stack_check(stack);
        size_t usable = (size_t)((char *)stack->top - (char *)stack->low);
        cr_assert(fm__stack_high_water(stack) <= page);
        touch_down_to(stack, 5 * page + 100);
        size_t water = fm__stack_high_water(stack);
        cr_assert(water >= 5 * page && water <= 6 * page + 64, "%zu", water);
        ((volatile char *)stack->low)[2 * page] = 1;
        water = fm__stack_high_water(stack);
        cr_assert(water >= usable - 2 * page - page && water <= usable, "%zu", water);
    }
}

/* --- refusals ---------------------------------------------------------------------------- */

TEST(stack, without_memory_there_is_none_and_later_there_is)
{
    static const enum fault_kind kinds[] = { FAULT_MAP, FAULT_MALLOC };
    cr_assert_eq(fm__stack_init(FM_GUARD_AUTO), 0);
    for (int i = 0; i < 2; i++) {
        int error = 0;
        fm__fault_set(kinds[i], 1, false);
        cr_assert_null(fm__stack_take(NULL, i, &error));
        cr_assert_eq(error, -ENOMEM);
        cr_assert_eq(fm__fault_hits(kinds[i]), 1);
        fm__fault_set(kinds[i], 0, false);
        fm__stack_give(NULL, take(NULL, i));
    }
}

TEST(stack, no_reservation_leaks_when_a_later_step_fails)
{
    struct stack_stats stats;
    cr_assert_eq(fm__stack_init(FM_GUARD_AUTO), 0);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        int error = 0;
        uint64_t before = status_kib("VmSize:");
        fm__fault_set(FAULT_MALLOC, nth, true);
        cr_assert_null(fm__stack_take(NULL, 1, &error));
        fm__fault_set(FAULT_MALLOC, 0, false);
        cr_assert_eq(error, -ENOMEM);
        if (!FM_TSAN && !FM_ASAN)
            cr_assert(status_kib("VmSize:") < before + 32768);
    }
    fm__stack_stats(&stats);
    cr_assert_eq(stats.mapped_bytes, 0);
    cr_assert(take(NULL, 1));
}

static void take_within_limit(void *arg)
{
    struct rlimit limit;
    int error = 0;
    limit.rlim_cur = limit.rlim_max = (status_kib("VmSize:") << 10) + (300u << 20);
    setrlimit(RLIMIT_AS, &limit);
    int count = 0;
    struct stack *last = NULL;
    while (count < 10000) {
        struct stack *stack = fm__stack_take(NULL, 1, &error);
        if (!stack)
            break;
        last = stack;
        count++;
    }
    /* four windows fit */
    if (error != -ENOMEM || count != 4 * 1024)
        _exit(1);
    fm__stack_give(NULL, last);
    if (fm__stack_take(NULL, 1, NULL) != last)
        _exit(2);
}

/* F94 */
TEST(stack, limited_address_space_is_used_up_and_then_refused)
{
    if (FM_ASAN || FM_TSAN)
        return;
    struct child child;
    child_run(&child, take_within_limit, NULL);
    cr_assert_eq(child.exit_code, 0, "%d", child.exit_code);
}

/* --- the sanitizers ---------------------------------------------------------------------- */

#if FM_ASAN
/*
 * The only pointer to the memory is in the frame, or in a register that the switch saves there.
 */
static void hold_in_frame(void *arg)
{
    void *held = malloc(32);
    *(uintptr_t *)arg = ~(uintptr_t)held;
    trip_away();
    free(held);
}

static void leave_in_frame(void *arg)
{
    void **place = __builtin_alloca(sizeof *place);
    *place = malloc(32);
    *(uintptr_t *)arg = ~(uintptr_t)*place;
    __asm__ volatile("" : : "r"(place) : "memory");
}

static void write_to_pooled(void *arg)
{
    struct stack *stack = take(NULL, 1);
    volatile char *dangling = (char *)stack->top - 256;
    *dangling = 1;
    fm__stack_give(NULL, stack);
    *dangling = 2;
}

TEST(stack, memory_held_by_a_parked_frame_is_no_leak)
{
    struct trip trip;
    struct stack *stack = take(NULL, 1);
    uintptr_t hidden = 0;
    trip_start(&trip, stack, hold_in_frame, &hidden);
    cr_assert_eq(__lsan_do_recoverable_leak_check(), 0);
    trip_back(&trip);
    cr_assert(trip.ended);
    fm__stack_give(NULL, stack);
}

TEST(stack, a_pointer_left_in_a_pooled_stack_hides_no_leak)
{
    struct trip trip;
    struct stack *stack = take(NULL, 1);
    uintptr_t hidden = 0;
    trip_start(&trip, stack, leave_in_frame, &hidden);
    fm__stack_give(NULL, stack);
    cr_assert_neq(__lsan_do_recoverable_leak_check(), 0);
    free((void *)~hidden);
}

/* F35 */
TEST(stack, use_after_the_fiber_is_reported)
{
    struct child child;
    child_run(&child, write_to_pooled, NULL);
    cr_assert_neq(child.exit_code, 0);
    cr_assert(child_said(&child, "AddressSanitizer: use-after-poison"), "%s", child.said);
}
#endif
