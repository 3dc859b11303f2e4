/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test.h - a unit test is a promise
 *
 *     TEST(deque, pop_and_steal_meet_at_last_task)
 *     {
 *         cr_assert_eq(...);
 *     }
 *
 * TEST_WITH takes Criterion's settings as well: TEST_WITH(map, name, .timeout = 5, .signal = SIGSEGV).
 * Each test runs in a process of its own, so a test starts and ends the runtimes that it needs.
 *
 * Why not Criterion's Test() itself: under AddressSanitizer it reports a leak and lets the test
 * pass. TEST asks the leak checker when the body has returned and fails the test that leaked. Memory
 * still in use at that point must be reachable from a global or from a live thread. Failing an
 * assertion skips the question: the test has failed anyway.
 */
#ifndef TESTS_SUPPORT_TEST_H
#define TESTS_SUPPORT_TEST_H

#include <criterion/criterion.h>

#if defined __has_feature
#if __has_feature(address_sanitizer)
#define TEST_FINDS_LEAKS 1
#endif
#endif
#if defined __SANITIZE_ADDRESS__
#define TEST_FINDS_LEAKS 1
#endif

#ifdef TEST_FINDS_LEAKS
#include <sanitizer/lsan_interface.h>
#define TEST_LEAKS() __lsan_do_recoverable_leak_check()
#else
#define TEST_LEAKS() 0
#endif

#define TEST_BODY_(suite, promise)                                                              \
    {                                                                                           \
        test_##suite##_##promise();                                                             \
        cr_assert(TEST_LEAKS() == 0, "the test leaked memory, see the report above");           \
    }                                                                                           \
    static void test_##suite##_##promise(void)

#define TEST(suite, promise)                                                                    \
    static __attribute__((noinline)) void test_##suite##_##promise(void);                       \
    Test(suite, promise)                                                                        \
    TEST_BODY_(suite, promise)

#define TEST_WITH(suite, promise, ...)                                                          \
    static __attribute__((noinline)) void test_##suite##_##promise(void);                       \
    Test(suite, promise, __VA_ARGS__)                                                           \
    TEST_BODY_(suite, promise)

#endif
