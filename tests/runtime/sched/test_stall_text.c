/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stall_text.c - what a stall is said to come from, how it is printed, and how many of them are
 */
#include "runtime/stall.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/test.h"

TEST(stall_text, the_cause_is_what_took_most_of_the_time)
{
    static const struct {
        int64_t ran, queued, throttled;
        char state;
        enum fm_stall_cause cause;
    } cases[] = {
        { 39, 0, 0, 'R', FM_STALL_RUNNING },   { 25, 15, 0, 'R', FM_STALL_RUNNING },
        { 2, 37, 0, 'R', FM_STALL_QUEUED },    { 2, 37, 30, 'R', FM_STALL_THROTTLED },
        { 5, 0, 35, 'R', FM_STALL_THROTTLED }, { 0, 0, 0, 'S', FM_STALL_KERNEL },
        { 1, 1, 0, 'D', FM_STALL_KERNEL },     { 1, 1, 0, 'R', FM_STALL_KERNEL },
        { 39, 0, 0, 'T', FM_STALL_STOPPED },   { 39, 0, 0, 't', FM_STALL_STOPPED },
        { 12, 12, 0, '?', FM_STALL_UNKNOWN },  { 12, 12, 0, 'R', FM_STALL_RUNNING },
        { 25, 0, 0, 'S', FM_STALL_RUNNING },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sched_stall stall = { .ms = 45,
                                     .watched_ns = 40000000,
                                     .times = { cases[i].ran * 1000000,
                                                cases[i].queued * 1000000 },
                                     .throttled_ns = cases[i].throttled * 1000000 };
        cr_expect_eq(fm__stall_cause(&stall, cases[i].state), cases[i].cause, "case %zu", i);
    }
}

TEST(stall_text, a_flood_is_cut_and_counted)
{
    uint64_t left_out = 9;
    int64_t second = 1000000000;
    for (int i = 0; i < STALLS_A_SECOND; i++)
        cr_assert(fm__stall_may_print(second + i, &left_out));
    cr_assert_eq(left_out, 0);
    for (int i = 0; i < 7; i++)
        cr_assert_not(fm__stall_may_print(second + 100 + i, &left_out));
    cr_assert(fm__stall_may_print(2 * second + 1, &left_out));
    cr_assert_eq(left_out, 7);
    cr_assert(fm__stall_may_print(2 * second + 2, &left_out));
    cr_assert_eq(left_out, 0);
}

/* ---- the text ---- */

static char text[4096];

/* The whole text of a stall without frames, which begins and ends like each other. */
static const char *cause_of(struct fm_stall stall)
{
    static const char begin[] = "fibermap: fiber 7 \"x\" has not let others run for 80 ms; its "
                                "thread 4711 ";
    stall.ms = 80;
    stall.thread_id = 4711;
    stall.wait_channel = stall.wait_channel ? stall.wait_channel : "";
    size_t length = fm__stall_text(text, sizeof text, &stall, "7 \"x\"", 0);
    cr_assert_eq(length, strlen(text));
    cr_assert_eq(strncmp(text, begin, strlen(begin)), 0, "%s", text);
    cr_assert_eq(text[length - 1], '\n', "%s", text);
    text[length - 1] = '\0';
    return text + strlen(begin);
}

TEST(stall_text, each_cause_has_words_of_its_own)
{
    static const struct {
        struct fm_stall stall;
        const char *words;
    } cases[] = {
        { { .cause = FM_STALL_RUNNING, .ran_ns = 39999999 }, "was on a processor for 39 ms" },
        { { .cause = FM_STALL_QUEUED, .queued_ns = 41000000 }, "waited 41 ms for a processor" },
        { { .cause = FM_STALL_THROTTLED },
          "was throttled: the quota of its control group is used up" },
        { { .cause = FM_STALL_STOPPED }, "is stopped" },
        { { .cause = FM_STALL_UNKNOWN }, "does something unknown" },
        { { .cause = FM_STALL_KERNEL, .system_call = 35 },
          "is in the kernel, in system call 35" },
        { { .cause = FM_STALL_KERNEL, .system_call = 0, .wait_channel = "pipe_read" },
          "is in the kernel, in system call 0 at pipe_read" },
        { { .cause = FM_STALL_KERNEL, .system_call = -1 }, "sleeps in the kernel" },
        { { .cause = FM_STALL_KERNEL, .system_call = -1, .wait_channel = "futex_wait" },
          "sleeps in the kernel at futex_wait" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_str_eq(cause_of(cases[i].stall), cases[i].words, "case %zu", i);
}

TEST(stall_text, what_was_left_out_comes_first_and_the_calls_last)
{
    void *frames[] = { (void *)(uintptr_t)&cause_of, (void *)(uintptr_t)&cause_of };
    struct fm_stall stall = {
        .cause = FM_STALL_STOPPED, .wait_channel = "", .frames = frames, .frame_count = 2
    };
    fm__stall_text(text, sizeof text, &stall, "9", 12);
    cr_assert_eq(strncmp(text, "fibermap: 12 stalls were not printed\nfibermap: fiber 9 ", 55),
                 0, "%s", text);
    char *first = strstr(text, " is stopped\nfibermap:   #0 ");
    cr_assert_not_null(first, "%s", text);
    cr_assert_not_null(strstr(first, "\nfibermap:   #1 "), "%s", text);
}

TEST(stall_text, it_is_cut_to_the_room_that_there_is)
{
    enum { ROOM = 1024, FRAMES = 64 };
    void *frames[FRAMES];
    struct fm_stall stall = {
        .cause = FM_STALL_STOPPED, .wait_channel = "", .frames = frames, .frame_count = FRAMES
    };
    for (int i = 0; i < FRAMES; i++)
        frames[i] = (void *)(uintptr_t)&cause_of;
    memset(text, '!', sizeof text);
    cr_assert_eq(fm__stall_text(text, ROOM, &stall, "9", 0), ROOM - 1);
    cr_assert_eq(strlen(text), ROOM - 1);
    cr_assert_eq(text[ROOM], '!', "nothing is written beyond");
}
